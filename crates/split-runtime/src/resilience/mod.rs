//! The device in front of its connections: one ending for each request.

mod breaker;
mod config;
mod dispatcher;
mod latency;

pub use breaker::BreakerConfig;
pub use config::DispatcherConfig;
pub use dispatcher::{Action, AttemptId, Dispatcher, DispatcherCounts, Ending, RequestId};
