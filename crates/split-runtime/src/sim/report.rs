use super::nodes::DeviceNode;
use crate::resilience::Ending;
use crate::serving::{EdgeHub, SchedulerConfig};

/// What happened in a world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorldReport {
    /// Requests that were taken.
    pub requests: u64,
    /// Requests that a device refused itself, with as many open as may be.
    pub not_taken: u64,
    /// Requests that an edge answered.
    pub answered: u64,
    /// Requests that the device answered itself.
    pub fallback: u64,
    /// Requests that ended in an error.
    pub errors: u64,
    /// Endings beyond the first of a request. Must be 0.
    pub double: u64,
    /// Requests without an ending. Must be 0.
    pub lost: u64,
    /// Times that a bound was found broken. Must be 0.
    pub bound_broken: u64,
    /// Attempts sent again, hedges included.
    pub retries: u64,
    /// Latencies of what was answered, sorted.
    pub latencies_us: Vec<u64>,
    /// Things that happened in the simulation.
    pub happenings: u64,
    /// One line a thing worth telling, if a log was asked for.
    pub log: String,
}

/// Requests that no dispatcher knew of.
#[derive(Default)]
pub(crate) struct OwnTally {
    pub(crate) taken: u64,
    pub(crate) answered: u64,
    pub(crate) errors: u64,
}

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) not_taken: u64,
    pub(crate) double: u64,
    pub(crate) happenings: u64,
    pub(crate) own: OwnTally,
    report: WorldReport,
}

impl Tally {
    pub(crate) fn ended(&mut self, ending: &Ending, latency_us: u64, budget_us: u64) {
        match ending {
            Ending::Answered(_) => self.report.answered += 1,
            Ending::Fallback => self.report.fallback += 1,
            _ => self.report.errors += 1,
        }
        if matches!(ending, Ending::Answered(_) | Ending::Fallback) {
            self.report.latencies_us.push(latency_us);
            // No late answer may count as one.
            self.check(latency_us <= budget_us);
        }
    }

    /// A request that a device kept to itself ended.
    pub(crate) fn own_ended(&mut self, in_time: bool, latency_us: u64) {
        if in_time {
            self.own.answered += 1;
            self.report.latencies_us.push(latency_us);
        } else {
            self.own.errors += 1;
        }
    }

    pub(crate) fn check(&mut self, holds: bool) {
        self.report.bound_broken += u64::from(!holds);
    }

    pub(crate) fn add_device(&mut self, node: &DeviceNode) {
        for (_, endings) in node.asked.values() {
            self.report.requests += 1;
            match endings {
                0 => self.report.lost += 1,
                more => self.double += u64::from(more - 1),
            }
        }
        self.report.lost += node.computing();
        let counts = node.dispatcher.counts();
        self.report.retries += counts.retries + counts.hedges;
        let ended =
            counts.answered + counts.fallback + counts.expired + counts.refused + counts.lost;
        self.check(counts.submitted == ended + counts.open);
    }

    pub(crate) fn check_hub(&mut self, hub: &EdgeHub, config: &SchedulerConfig) {
        let counts = hub.counts();
        self.check(counts.is_conserved());
        self.check(counts.waiting <= config.waiting_max as u64);
        self.check(hub.scheduler().waiting_bytes() <= config.waiting_bytes_max);
    }

    pub(crate) fn into_report(self, log: String) -> WorldReport {
        let OwnTally {
            taken,
            answered,
            errors,
        } = self.own;
        let mut report = self.report;
        report.requests += taken;
        report.fallback += answered;
        report.errors += errors;
        report.latencies_us.sort_unstable();
        WorldReport {
            not_taken: self.not_taken,
            double: self.double,
            happenings: self.happenings,
            log,
            ..report
        }
    }
}
