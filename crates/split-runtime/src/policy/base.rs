//! The part of a round trip that doesn't depend on bytes.

use std::collections::VecDeque;

/// Samples that the least is taken over; at ten answers a second the last half minute.
const WINDOW: usize = 300;

/// Least of the recent round trips, what their bytes took left out.
#[derive(Clone, Debug)]
pub(crate) struct BaseDelay {
    prior_us: f64,
    /// Number of the sample and its time, both rising: the first is the least of the window.
    rising: VecDeque<(u64, f64)>,
    seen: u64,
}

impl BaseDelay {
    pub(crate) const fn new(prior_us: f64) -> Self {
        Self {
            prior_us,
            rising: VecDeque::new(),
            seen: 0,
        }
    }

    pub(crate) fn learn(&mut self, us: f64) {
        let us = us.max(0.0);
        while self.rising.back().is_some_and(|&(_, last)| last >= us) {
            self.rising.pop_back();
        }
        self.rising.push_back((self.seen, us));
        self.seen += 1;
        let oldest = self.seen.saturating_sub(WINDOW as u64);
        while self.rising.front().is_some_and(|&(at, _)| at < oldest) {
            self.rising.pop_front();
        }
    }

    pub(crate) fn us(&self) -> f64 {
        self.rising.front().map_or(self.prior_us, |&(_, us)| us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_the_window_is_kept_and_forgotten() {
        let mut base = BaseDelay::new(30.0);
        assert_eq!(base.us(), 30.0);
        base.learn(50.0);
        base.learn(20.0);
        (0..WINDOW - 1).for_each(|_| base.learn(40.0));
        assert_eq!(base.us(), 20.0);
        base.learn(45.0);
        assert_eq!(base.us(), 40.0);
        base.learn(-5.0);
        assert_eq!(base.us(), 0.0);
        assert!(base.rising.len() <= WINDOW);
    }
}
