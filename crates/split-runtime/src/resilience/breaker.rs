use crate::time::Time;

/// When an endpoint that keeps failing is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it.
    pub failures_max: u32,
    /// How long it stays open before one request may try.
    pub open_us: u64,
}

/// Closed, open, or half-open with one request on trial.
#[derive(Clone, Debug)]
pub(crate) struct Breaker {
    config: BreakerConfig,
    failures: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Time },
    Trial,
}

impl Breaker {
    pub(crate) const fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            failures: 0,
            state: State::Closed,
        }
    }

    /// Whether a request may be sent now.
    pub(crate) fn allows(&self, now: Time) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until } => now >= until,
            State::Trial => false,
        }
    }

    /// A request is sent.
    pub(crate) fn sent(&mut self, now: Time) {
        if let State::Open { until } = self.state
            && now >= until
        {
            self.state = State::Trial;
        }
    }

    pub(crate) const fn succeeded(&mut self) {
        self.failures = 0;
        self.state = State::Closed;
    }

    pub(crate) fn failed(&mut self, now: Time) {
        self.failures = self.failures.saturating_add(1);
        if self.state == State::Trial || self.failures >= self.config.failures_max {
            let until = now.after(self.config.open_us);
            self.state = State::Open { until };
        }
    }

    /// When an open one lets a request try.
    pub(crate) const fn reopens(&self) -> Option<Time> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed | State::Trial => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_open_it_and_one_trial_decides() {
        let config = BreakerConfig {
            failures_max: 2,
            open_us: 1_000,
        };
        let mut breaker = Breaker::new(config);
        breaker.failed(Time::ZERO);
        assert!(breaker.allows(Time::ZERO));
        breaker.failed(Time::ZERO);
        assert!(!breaker.allows(Time::from_us(999)));
        let later = Time::from_us(1_000);
        assert!(breaker.allows(later));
        breaker.sent(later);
        assert!(!breaker.allows(later), "one trial at a time");
        breaker.failed(later);
        assert!(!breaker.allows(Time::from_us(1_999)));
        breaker.sent(Time::from_us(2_000));
        breaker.succeeded();
        assert!(breaker.allows(Time::from_us(2_000)));
    }
}
