//! Links, faults and whole systems in virtual time, from a seed.
//!
//! The simulator drives the same connections, scheduler and dispatcher as a real transport does.
//! Time is in nanoseconds, events of one moment happen in the order in which they were planned,
//! and every entity draws from its own stream of random numbers.

mod deciding;
mod faults;
mod link;
mod nodes;
mod random;
mod report;
mod study;
mod trace;
mod world;

pub use deciding::{DecidingReport, simulate_deciding};
pub use faults::{Fault, FaultPlan};
pub use link::{LinkConfig, PACKET_BYTES, PACKET_HEADER_BYTES, SimLink};
pub use random::EntityRandom;
pub use report::WorldReport;
pub use study::{
    Cell, Node, OraclePlan, Played, SYNTHETIC_FAMILY, Scenario, ScenarioConfig, Step, Summary,
    plan, play, synthetic_trace,
};
pub use trace::{Trace, TraceError};
pub use world::{WorldConfig, simulate};
