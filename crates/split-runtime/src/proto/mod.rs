//! The protocol without transport: messages, and the two ends of a connection.

mod check;
mod contract;
mod device;
mod edge;
mod error;
mod limits;
mod message;
mod outbox;
mod outcome;
mod record;
mod replay;
mod wire;

pub use check::FrameError;
#[cfg(feature = "grpc")]
pub(crate) use check::bank_of;
pub(crate) use check::{check_body, check_bounds, rung_of};
pub use contract::Contract;
pub use device::{DeviceConfig, DeviceConnection};
pub use edge::{EdgeConfig, EdgeConnection, EdgeCounts, EdgeEvent, ReplyError};
pub(crate) use error::check_range;
pub use error::{ConfigError, MessageError, ProtocolError};
pub use limits::{
    MAX_BODY_BYTES, MAX_BUDGET_US, MAX_CONTRACTS, MAX_DETAIL_BYTES, MAX_IN_FLIGHT,
    MAX_MESSAGE_BYTES, MAX_NAME_BYTES, MAX_PROBE_BYTES, MAX_TRANSMIT_BYTES, PROTOCOL_VERSION,
};
pub use message::{Answer, Status};
pub use outbox::Transport;
pub use outcome::{DeviceEvent, Outcome, Request, SendError};
pub use record::FrameRecord;
