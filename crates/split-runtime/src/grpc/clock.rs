#[cfg(feature = "otel")]
use std::time::SystemTime;
use std::time::{Duration, Instant};

use crate::time::Time;

/// The clock of one device or edge; what the core gets as [`Time`] starts when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the transport is where time enters"
    )]
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    pub(crate) fn now(self) -> Time {
        Time::from_us(whole_us(self.start.elapsed()))
    }

    /// When the clock shows `time`; a point too far to be named is a year away.
    pub(crate) fn instant(self, time: Time) -> tokio::time::Instant {
        const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);
        let after = Duration::from_micros(time.as_us()).min(YEAR);
        tokio::time::Instant::from_std(self.start + after)
    }
}

/// What time it is, for whoever compares machines; nothing else depends on it.
#[cfg(feature = "otel")]
#[expect(
    clippy::disallowed_methods,
    reason = "the transport is where time enters"
)]
pub(crate) fn wall_now() -> SystemTime {
    SystemTime::now()
}

pub(crate) fn whole_us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
