//! The edge as a server.

mod acceptor;
mod admin;
mod core;
mod guard;
mod inference;
mod metrics;
mod model;
mod options;
mod server;
mod stream;
mod tensors;

pub use self::core::Placement;
pub use admin::answer as answer_http;
pub use inference::model_of;
pub use model::{EdgeModel, model_fn};
pub use options::{EdgeLimits, EdgeOptions};
pub use server::{Edge, StartError};
pub use tensors::{frames_of_infer, infer_of_frames};
