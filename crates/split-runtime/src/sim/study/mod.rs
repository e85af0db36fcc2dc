//! Policies over links: one device, one link, many requests, and an oracle beside them.
//!
//! All that is random is drawn before the first request and depends on its number alone, so every
//! policy meets the same jitter, losses, lengths and load, and an oracle can look ahead.

mod families;
mod oracle;
mod play;
mod scenario;
mod summary;

pub use families::{SYNTHETIC_FAMILY, synthetic_trace};
pub use oracle::{OraclePlan, plan};
pub use play::{Played, play};
pub(crate) use scenario::length as frame_length;
pub use scenario::{Node, Scenario, ScenarioConfig, Step};
pub use summary::{Cell, Summary};
