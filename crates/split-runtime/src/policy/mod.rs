//! Which split point and rung a device uses next.
//!
//! A [`Policy`] sees what a device knows anyway (time left, answers that came, frames under way)
//! and picks an [`Entry`] of a measured [`Menu`]. It reads no clock and draws no random numbers:
//! the same observations give the same choices.

mod base;
mod baselines;
mod belief;
mod entry;
mod forecast;
#[cfg(feature = "menu")]
mod menu_json;
mod outlook;
mod own;

pub use baselines::{DynamicSplit, Fixed, Neurosurgeon, Plan, Throughput};
pub use entry::{Entry, EntryKind, MAX_MENU_ENTRIES, Menu, MenuError};
#[cfg(feature = "menu")]
pub use menu_json::{MAX_MENU_BYTES, MENU_SCHEMA, MenuFileError, Speeds};
pub use own::{Own, OwnConfig};

use crate::time::Time;

/// Picks what is done with each request.
pub trait Policy {
    /// What is done with the request at hand.
    ///
    /// Called once a request, in the order of requests; `now` never goes back. Each answer is
    /// shown once. An entry of the choice is an index into the entries of `menu`, which has to be
    /// the same in every call.
    fn decide(&mut self, observation: &Observation<'_>, menu: &Menu, now: Time) -> Choice;
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Run this entry of the menu: a split point and a rung, the picture itself, or the device
    /// alone, as its kind says.
    Entry(usize),
    /// Nothing can be in time and a frame would only stand in the way of later ones: answer with
    /// an error now.
    GiveUp,
}

/// What a device knows when a request comes.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// Time left for the request in microseconds.
    pub budget_us: u64,
    /// How long the device is still busy with earlier requests, in microseconds.
    pub device_wait_us: u64,
    /// Mean time between requests in microseconds; 0 where it isn't known.
    pub period_us: u64,
    /// Pictures in the request, at least 1; each has a frame of its own, and all are answered together.
    pub batch: u32,
    /// Frames without an answer yet, in the order in which they were sent.
    pub in_flight: &'a [InFlight],
    /// Answers since the last call, in the order in which they came.
    pub answers: &'a [AnswerSeen],
}

/// A frame without an answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Bytes as handed to the transport.
    pub bytes: u32,
    /// When; may lie ahead while the device is still computing it.
    pub sent: Time,
}

/// What an answer tells about the link and the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerSeen {
    /// Entry of the menu that was used.
    pub entry: usize,
    /// Bytes of the frame.
    pub bytes: u32,
    /// When the frame was handed to the transport.
    pub sent: Time,
    /// When the answer came; when it was given up, for one that never came.
    pub arrived: Time,
    /// Whether it came at all. One that didn't says that the link took at least this long.
    pub came: bool,
    /// Time in the edge's queue in microseconds, as the answer reports it.
    pub queue_us: u64,
    /// Time of the batch in microseconds, as the answer reports it.
    pub compute_us: u64,
    /// Size of that batch.
    pub batch: u32,
}

impl AnswerSeen {
    /// Time that the network took, in microseconds: all but queue and computing.
    #[must_use]
    pub const fn network_us(&self) -> u64 {
        self.arrived
            .since(self.sent)
            .saturating_sub(self.queue_us.saturating_add(self.compute_us))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::entry::tests::small;
}
