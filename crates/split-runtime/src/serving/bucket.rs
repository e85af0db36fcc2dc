use crate::time::Time;

/// A token bucket in integers: fills at `per_s` tokens a second up to `burst`.
#[derive(Clone, Debug)]
pub(crate) struct TokenBucket {
    per_s: u64,
    burst: u64,
    /// In millionths of a token, so that a microsecond is never rounded away.
    micro_tokens: u64,
    filled: Time,
}

const MICRO: u64 = 1_000_000;

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn new(per_s: u64, burst: u64, now: Time) -> Self {
        Self {
            per_s,
            burst,
            micro_tokens: burst.saturating_mul(MICRO),
            filled: now,
        }
    }

    /// Takes `tokens` or says after how many microseconds there are enough.
    ///
    /// More than the burst never fit: such a demand is measured by a full bucket, else nobody
    /// could ever meet it.
    pub(crate) fn take(&mut self, now: Time, tokens: u64) -> Result<(), u64> {
        self.fill(now);
        let wanted = tokens.min(self.burst).saturating_mul(MICRO);
        if wanted <= self.micro_tokens {
            self.micro_tokens -= wanted;
            return Ok(());
        }
        Err((wanted - self.micro_tokens).div_ceil(self.per_s.max(1)))
    }

    pub(crate) fn put_back(&mut self, tokens: u64) {
        let more = tokens.min(self.burst).saturating_mul(MICRO);
        let full = self.burst.saturating_mul(MICRO);
        self.micro_tokens = self.micro_tokens.saturating_add(more).min(full);
    }

    pub(crate) fn is_full(&mut self, now: Time) -> bool {
        self.fill(now);
        self.micro_tokens >= self.burst.saturating_mul(MICRO)
    }

    fn fill(&mut self, now: Time) {
        let more = now.since(self.filled).saturating_mul(self.per_s);
        let full = self.burst.saturating_mul(MICRO);
        self.micro_tokens = self.micro_tokens.saturating_add(more).min(full);
        self.filled = self.filled.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = TokenBucket::new(100, 5, Time::ZERO);
        for _ in 0..5 {
            assert_eq!(bucket.take(Time::ZERO, 1), Ok(()));
        }
        assert_eq!(bucket.take(Time::ZERO, 1), Err(10_000));
        assert_eq!(bucket.take(Time::from_us(9_999), 1), Err(1));
        assert_eq!(bucket.take(Time::from_us(10_000), 1), Ok(()));
        assert!(bucket.is_full(Time::from_us(1_000_000)));
        assert_eq!(
            bucket.take(Time::from_us(1_000_000), 50),
            Ok(()),
            "above the burst"
        );
    }

    #[test]
    fn a_clock_that_runs_back_gives_no_tokens() {
        let mut bucket = TokenBucket::new(1, 1, Time::from_us(5_000_000));
        assert_eq!(bucket.take(Time::from_us(5_000_000), 1), Ok(()));
        assert!(bucket.take(Time::ZERO, 1).is_err());
        assert!(bucket.take(Time::from_us(5_000_000), 1).is_err());
    }
}
