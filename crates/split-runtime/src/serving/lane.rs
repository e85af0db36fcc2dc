use std::collections::{BTreeMap, BTreeSet};

use super::config::Order;
use super::job::Job;
use crate::time::Time;

/// A job and when it came.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) job: Job,
    pub(crate) arrived: Time,
}

/// The jobs of one key, reachable by arrival and by deadline.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    jobs: BTreeMap<u64, Waiting>,
    deadlines: BTreeSet<(Time, u64)>,
    /// Turn at which the lane was last served.
    pub(crate) served: u64,
}

impl Lane {
    /// A lane that enters at the back of the rotation: one that empties and fills again all the
    /// time must not overtake one that waits.
    pub(crate) fn new(served: u64) -> Self {
        Self {
            served,
            ..Self::default()
        }
    }

    pub(crate) fn push(&mut self, ticket: u64, waiting: Waiting) {
        self.deadlines.insert((waiting.job.deadline, ticket));
        self.jobs.insert(ticket, waiting);
    }

    pub(crate) fn remove(&mut self, ticket: u64) -> Option<Waiting> {
        let waiting = self.jobs.remove(&ticket)?;
        self.deadlines.remove(&(waiting.job.deadline, ticket));
        Some(waiting)
    }

    pub(crate) fn take_first(&mut self, order: Order) -> Option<Waiting> {
        let ticket = match order {
            Order::Fifo => *self.jobs.first_key_value()?.0,
            Order::NewestFirst => *self.jobs.last_key_value()?.0,
            Order::EarliestDeadline => self.deadlines.first()?.1,
        };
        self.remove(ticket)
    }

    /// Takes the oldest job if it came before `limit`.
    pub(crate) fn take_older_than(&mut self, limit: Time) -> Option<Waiting> {
        let (&ticket, waiting) = self.jobs.first_key_value()?;
        if waiting.arrived >= limit {
            return None;
        }
        self.remove(ticket)
    }

    /// Takes the job with the earliest deadline if that is `now` or before.
    pub(crate) fn take_expired(&mut self, now: Time) -> Option<Waiting> {
        let &(deadline, ticket) = self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.remove(ticket)
    }

    pub(crate) fn earliest_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    pub(crate) fn oldest_arrival(&self) -> Option<Time> {
        self.jobs
            .first_key_value()
            .map(|(_, waiting)| waiting.arrived)
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }
}
