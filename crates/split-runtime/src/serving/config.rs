use super::clients::ClientLimits;
use crate::proto::{ConfigError, check_range};

/// In which order waiting jobs of one key are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Fifo,
    /// Earliest deadline first.
    EarliestDeadline,
    /// Newest first.
    NewestFirst,
}

/// Which jobs are dropped when a batch is formed.
///
/// In overload this decides, not the order: growing a batch makes its first members late.
/// [`DropRule::AtFinalSize`] is the one to use; the others are there to be compared with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropRule {
    /// None, not even expired ones.
    Never,
    /// Those that would be late if the batch ran with the members it has so far.
    AtCurrentSize,
    /// Those that would be late at the size that the batch may grow to.
    AtFinalSize,
}

/// Settings of an [`EdgeScheduler`](crate::EdgeScheduler).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// Most jobs in a batch.
    pub batch_max: usize,
    /// Most jobs that wait.
    pub waiting_max: usize,
    /// Most bytes that wait.
    pub waiting_bytes_max: usize,
    /// Order within a key.
    pub order: Order,
    /// What is dropped.
    pub drop_rule: DropRule,
    /// Whether a job that can't be done in time is refused when it arrives. It doesn't bring more
    /// answers, but tells the device at once.
    pub admission: bool,
    /// Waiting time above which a queue that never gets shorter counts as standing; 0 turns the
    /// control off.
    pub standing_target_us: u64,
    /// How long it has to stay above it.
    pub standing_interval_us: u64,
    /// First guess of a batch's fixed time, for keys that bring none of their own.
    pub fixed_us: u32,
    /// First guess of a batch's time for each member, for keys that bring none of their own.
    pub each_us: u32,
    /// Limits of each client.
    pub client: ClientLimits,
}

impl SchedulerConfig {
    /// Batches of up to 16 from at most 1,024 waiting jobs and 16 MiB, oldest first, dropped at
    /// the final size, admission on, standing above 5 ms for 100 ms, clients unlimited.
    #[must_use]
    pub const fn new(fixed_us: u32, each_us: u32) -> Self {
        Self {
            batch_max: 16,
            waiting_max: 1024,
            waiting_bytes_max: 16 * 1024 * 1024,
            order: Order::Fifo,
            drop_rule: DropRule::AtFinalSize,
            admission: true,
            standing_target_us: 5_000,
            standing_interval_us: 100_000,
            fixed_us,
            each_us,
            client: ClientLimits::UNLIMITED,
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_range("batch_max", self.batch_max as u64, 1, 4096)?;
        check_range("waiting_max", self.waiting_max as u64, 1, 1 << 24)?;
        check_range(
            "waiting_bytes_max",
            self.waiting_bytes_max as u64,
            1,
            1 << 40,
        )?;
        check_range(
            "standing_interval_us",
            self.standing_interval_us,
            1,
            60_000_000,
        )?;
        self.client.check()
    }
}
