use super::breaker::BreakerConfig;
use crate::proto::{ConfigError, check_range};

/// Settings of a [`Dispatcher`](crate::Dispatcher).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatcherConfig {
    /// How many edges there are.
    pub endpoints: usize,
    /// Most requests that are open at a time.
    pub open_max: usize,
    /// Most attempts a request gets, hedge included.
    pub attempts_max: u32,
    /// Retries and hedges for each success, in thousandths. A tenth keeps a retry storm below a
    /// tenth of the load.
    pub retry_per_success_permille: u32,
    /// Most retries that may be saved up.
    pub retries_saved_max: u32,
    /// First and longest wait before a retry; the actual one is drawn evenly from zero up.
    pub backoff_us: (u64, u64),
    /// With less time left than this a retry isn't worth sending.
    pub retry_least_us: u64,
    /// Whether an attempt that takes longer than 95 % of those before is doubled on another edge.
    pub hedge: bool,
    /// How long the device needs to answer by itself; `None` if it can't.
    pub fallback_us: Option<u64>,
    /// When an endpoint is left alone.
    pub breaker: BreakerConfig,
    /// Seed of the jitter. Two devices should differ in it.
    pub seed: u64,
}

impl DispatcherConfig {
    /// One endpoint, 64 open requests, 3 attempts, a tenth of the load as retries, no hedge, no
    /// fallback, a breaker that opens for a second after five failures.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            endpoints: 1,
            open_max: 64,
            attempts_max: 3,
            retry_per_success_permille: 100,
            retries_saved_max: 10,
            backoff_us: (5_000, 200_000),
            retry_least_us: 10_000,
            hedge: false,
            fallback_us: None,
            breaker: BreakerConfig {
                failures_max: 5,
                open_us: 1_000_000,
            },
            seed,
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_range("endpoints", self.endpoints as u64, 1, 1024)?;
        check_range("open_max", self.open_max as u64, 1, 65_536)?;
        check_range("attempts_max", u64::from(self.attempts_max), 1, 16)?;
        let permille = u64::from(self.retry_per_success_permille);
        check_range("retry_per_success_permille", permille, 0, 1_000)?;
        check_range("backoff_us", self.backoff_us.0, 1, self.backoff_us.1)?;
        check_range(
            "breaker.failures_max",
            u64::from(self.breaker.failures_max),
            1,
            1_000_000,
        )
    }
}
