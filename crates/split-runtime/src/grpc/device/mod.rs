//! The device as a client.

mod client;
mod connect;
mod core;
mod options;

pub use self::core::{DeviceError, Fallback, OwnedRequest, Reply};
pub use client::Device;
pub use options::{DeviceOptions, EdgeAddress};
