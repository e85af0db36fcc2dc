use crate::time::Time;

/// Tells a standing queue from a burst: the *smallest* waiting time over an interval stays above
/// the target only if the queue never came near empty in it (the idea of CoDel).
#[derive(Clone, Debug)]
pub(crate) struct StandingQueue {
    target_us: u64,
    interval_us: u64,
    /// Start of the interval and the smallest wait seen in it.
    since: Time,
    least_us: Option<u64>,
    standing: bool,
}

impl StandingQueue {
    pub(crate) const fn new(target_us: u64, interval_us: u64, now: Time) -> Self {
        Self {
            target_us,
            interval_us,
            since: now,
            least_us: None,
            standing: false,
        }
    }

    /// Takes the waiting time of a job that leaves the queue.
    pub(crate) fn left(&mut self, now: Time, waited_us: u64) {
        let least = self
            .least_us
            .map_or(waited_us, |least| least.min(waited_us));
        self.least_us = Some(least);
        if least <= self.target_us {
            self.standing = false;
        }
        if now.since(self.since) >= self.interval_us {
            self.standing = least > self.target_us;
            self.since = now;
            self.least_us = None;
        }
    }

    /// An empty queue doesn't stand.
    pub(crate) const fn emptied(&mut self, now: Time) {
        self.standing = false;
        self.since = now;
        self.least_us = None;
    }

    pub(crate) const fn is_standing(&self) -> bool {
        self.standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_does_not_stand_and_a_steady_wait_does() {
        let mut queue = StandingQueue::new(5_000, 100_000, Time::ZERO);
        for step in 0..40_u64 {
            // Long waits, but one short one in each interval.
            let waited = if step % 10 == 3 { 1_000 } else { 50_000 };
            queue.left(Time::from_us(step * 10_000), waited);
            assert!(!queue.is_standing());
        }
        for step in 40..61_u64 {
            queue.left(Time::from_us(step * 10_000), 50_000);
        }
        assert!(queue.is_standing());
        queue.emptied(Time::from_us(700_000));
        assert!(!queue.is_standing());
    }
}
