//! From a belief to the prospects of each entry.

use super::baselines::real;
use super::belief::{BASES, BINS, Belief, SIDES, Side, Weights, arrived, rate};
use super::{Entry, InFlight};
use crate::time::Time;

/// Bytes of a packet that carry messages under a 1,500-byte path, and those it takes besides.
const PACKET_BYTES: f64 = 1_400.0;
const PACKET_HEADER_BYTES: f64 = 52.0;

/// A large frame on a stalled link blocks at most this many requests in the reckoning.
const BLOCKED_MAX: f64 = 30.0;

/// Rates with less weight don't count.
const WEIGHT_LEAST: f64 = 1e-5;

/// Lengths of a frame and times at the edge that stand for all: index into the shortest, mean and
/// longest that are usual, the same for the least, mean and longest time, and the weight.
const CASES: [(usize, usize, f64); 5] = [
    (0, 1, 0.15),
    (2, 1, 0.15),
    (1, 1, 0.3),
    (1, 0, 0.25),
    (1, 2, 0.15),
];

/// Bits on the wire of a message of `bytes`.
pub(crate) fn wire_bits(bytes: f64) -> f64 {
    let packets = (bytes / PACKET_BYTES).ceil().max(1.0);
    (bytes + packets * PACKET_HEADER_BYTES) * 8.0
}

/// What to expect of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Prospect {
    /// Probability that its answer is in time.
    pub(crate) in_time: f64,
    /// How many later requests it makes late, if those have as much time.
    pub(crate) blocked: f64,
}

/// What is known when a request comes, but for the entries.
pub(crate) struct Forecast {
    weights: [Weights; SIDES],
    /// Time from now at which the link is free, for each rate.
    free_us: Weights,
    bases_us: [f64; BASES.len()],
    period_us: f64,
}

impl Forecast {
    /// `least_us` is the least round trip seen, `tail_us` what a frame under way needs on the edge.
    /// `belief` is that of `now`.
    pub(crate) fn new(
        mut belief: Belief,
        in_flight: &[InFlight],
        now: Time,
        least_us: f64,
        tail_us: f64,
        period_us: f64,
    ) -> Self {
        let bases_us = BASES.map(|share| share * least_us);
        if let Some(oldest) = in_flight.first() {
            // What hasn't come back yet tells something, for as long as it hasn't.
            let waited_us = real(now.since(oldest.sent)) - tail_us;
            let less = bases_us.map(|base_us| waited_us - base_us);
            if less.iter().any(|&us| us > 0.0) {
                belief.learn_late(wire_bits(f64::from(oldest.bytes)), less);
            }
        }
        let mut free_us = [0.0; BINS];
        for (bin, free) in free_us.iter_mut().enumerate() {
            let mut at = f64::NEG_INFINITY;
            for frame in in_flight {
                let sent = real(frame.sent.as_us()) - real(now.as_us());
                at = sent.max(at) + wire_bits(f64::from(frame.bytes)) / rate(bin);
            }
            *free = at.max(0.0);
        }
        Self {
            weights: belief.rates_by_side(),
            free_us,
            bases_us,
            period_us,
        }
    }

    /// `batch` frames go together. `ready_us` is the time from now at which they are there, `spare_us` what is then left
    /// of the deadline, `edge_us` the least, mean and longest time at the edge that is usual.
    pub(crate) fn of(
        &self,
        entry: &Entry,
        batch: u32,
        ready_us: f64,
        spare_us: f64,
        edge_us: [f64; 3],
    ) -> Prospect {
        // Lengths of several frames even out.
        let frames = f64::from(batch.max(1));
        let usual = (entry.bytes_p95 / entry.bytes_mean).powf(1.0 / frames.sqrt());
        let mean = frames * entry.bytes_mean;
        let lengths = [mean / usual, mean, mean * usual];
        let mut prospect = Prospect::default();
        for (length, time, share) in CASES {
            let (bytes, spare_us) = (lengths[length], spare_us - edge_us[time]);
            let bits = wire_bits(bytes);
            for bin in 0..BINS {
                let passing = bits / rate(bin);
                let waits = (self.free_us[bin] - ready_us).max(0.0);
                for (side, weights) in self.weights.iter().enumerate() {
                    let weight = share * weights[bin];
                    if weight < WEIGHT_LEAST {
                        continue;
                    }
                    let side = Side::of(side);
                    let spare_us = spare_us - self.bases_us[side.base];
                    let chance = arrived(spare_us - waits - passing, passing, side);
                    prospect.in_time += weight * chance;
                    // The next frame is there a period later and has the same time to spare.
                    let over = waits + passing - self.period_us - spare_us.max(0.0);
                    let blocked = (over / self.period_us).clamp(0.0, BLOCKED_MAX);
                    prospect.blocked += weight * blocked;
                }
            }
        }
        prospect
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::small;
    use super::*;

    fn belief(rate: f64) -> Belief {
        let mut belief = Belief::new();
        for _ in 0..40 {
            belief.age(0.1);
            belief.learn(16_000.0, [16_000.0 / rate; BASES.len()], 0.1);
        }
        belief
    }

    fn prospect(rate: f64, in_flight: &[InFlight], entry: usize) -> Prospect {
        prospect_of(rate, in_flight, entry, 1)
    }

    fn prospect_of(rate: f64, in_flight: &[InFlight], entry: usize, batch: u32) -> Prospect {
        let now = Time::from_us(10_000_000);
        let mut belief = belief(rate);
        belief.age(0.5);
        let forecast = Forecast::new(belief, in_flight, now, 20_000.0, 1_000.0, 100_000.0);
        forecast.of(
            &small().entries()[entry],
            batch,
            20_000.0,
            80_000.0,
            [1_000.0; 3],
        )
    }

    #[test]
    fn more_bytes_are_never_more_likely_in_time() {
        for rate in [0.01, 0.1, 1.0, 10.0] {
            let chances: Vec<f64> = (0..3)
                .map(|entry| prospect(rate, &[], entry).in_time)
                .collect();
            assert!(chances.is_sorted_by(|a, b| a >= b), "{rate} {chances:?}");
        }
        assert!(prospect(10.0, &[], 2).in_time > 0.95);
        assert!(prospect(0.01, &[], 2).in_time < 0.1);
    }

    #[test]
    fn more_frames_at_once_are_as_many_bytes() {
        let chances: Vec<f64> = [1, 4, 16]
            .map(|batch| prospect_of(0.3, &[], 1, batch).in_time)
            .into();
        assert!(chances[0] > 0.95 && chances[2] < 0.3, "{chances:?}");
        assert!(chances.is_sorted_by(|a, b| a >= b), "{chances:?}");
    }

    #[test]
    fn a_frame_that_is_under_way_for_long_lowers_the_prospects() {
        let sent = Time::from_us(9_500_000);
        let waiting = [InFlight { bytes: 900, sent }];
        let (idle, busy) = (prospect(1.0, &[], 1), prospect(1.0, &waiting, 1));
        assert!(busy.in_time < idle.in_time - 0.1, "{idle:?} {busy:?}");
    }

    #[test]
    fn a_large_frame_on_a_slow_link_blocks_later_ones() {
        let large = prospect(0.02, &[], 4);
        assert!(large.blocked > 5.0, "{large:?}");
        assert!(prospect(10.0, &[], 4).blocked < 0.1);
    }
}
