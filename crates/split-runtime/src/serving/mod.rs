//! The edge behind its connections: bounded queue, batches, admission, fairness, drain.

mod bucket;
mod clients;
mod config;
mod cost;
mod hub;
mod job;
mod lane;
mod scheduler;
mod standing;

pub use clients::ClientLimits;
pub use config::{DropRule, Order, SchedulerConfig};
pub use cost::BatchCost;
#[cfg(feature = "otel")]
pub(crate) use hub::CALLS;
pub use hub::{Call, EdgeHub, HubConfig};
pub use job::{
    Batch, BatchKey, BatchMember, CostGuess, Dropped, Job, JobError, JobId, Refusal,
    SchedulerCounts, ServedKey,
};
pub use scheduler::EdgeScheduler;
