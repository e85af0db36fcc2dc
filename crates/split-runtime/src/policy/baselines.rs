//! Policies to compare with: a fixed choice, three rules from the literature, a plan.

use std::collections::VecDeque;

use super::{Choice, Entry, Menu, Observation, Policy};
use crate::time::Time;

/// Always the same entry.
#[derive(Clone, Copy, Debug)]
pub struct Fixed(pub usize);

impl Policy for Fixed {
    fn decide(&mut self, _: &Observation<'_>, _: &Menu, _: Time) -> Choice {
        Choice::Entry(self.0)
    }
}

/// Choices that were made beforehand, such as those of an oracle; gives up where they end.
#[derive(Clone, Debug)]
pub struct Plan(VecDeque<Choice>);

impl Plan {
    /// One choice a request, in order.
    #[must_use]
    pub fn new(choices: impl IntoIterator<Item = Choice>) -> Self {
        Self(choices.into_iter().collect())
    }
}

impl Policy for Plan {
    fn decide(&mut self, _: &Observation<'_>, _: &Menu, _: Time) -> Choice {
        self.0.pop_front().unwrap_or(Choice::GiveUp)
    }
}

/// Samples in the harmonic mean, as in rate control for video.
const SAMPLES: usize = 5;

/// Rate as bytes over time of the last few answers. For messages of a few hundred bytes it
/// measures the round trip and not the rate, which is why it serves as a rival only.
#[derive(Clone, Debug, Default)]
struct MeanRate {
    us_per_byte: VecDeque<f64>,
    /// Edge's time over the menu's, smoothed.
    load: Option<f64>,
}

impl MeanRate {
    fn learn(&mut self, observation: &Observation<'_>, menu: &Menu) {
        for answer in observation.answers {
            if self.us_per_byte.len() == SAMPLES {
                self.us_per_byte.pop_front();
            }
            let us = real(answer.network_us().max(1));
            self.us_per_byte
                .push_back(us / f64::from(answer.bytes.max(1)));
            if let Some(entry) = menu.entries().get(answer.entry).filter(|_| answer.came) {
                let expected = real(entry.tail_batch_us(1).max(1));
                let found = real(answer.queue_us.saturating_add(answer.compute_us)) / expected;
                self.load = Some(self.load.map_or(found, |load| 0.8 * load + 0.2 * found));
            }
        }
    }

    /// Microseconds that a byte takes.
    fn us_per_byte(&self) -> Option<f64> {
        let sum: f64 = self.us_per_byte.iter().sum();
        (!self.us_per_byte.is_empty()).then(|| sum / count(self.us_per_byte.len()))
    }
}

fn count(of: usize) -> f64 {
    f64::from(u32::try_from(of).unwrap_or(u32::MAX))
}

pub(crate) const fn real(us: u64) -> f64 {
    us as f64
}

/// The best accuracy that fits the deadline at the measured rate, as rate-based rules for video
/// streaming choose; the entry of fewest bytes before the first answer and where nothing fits.
#[derive(Clone, Debug, Default)]
pub struct Throughput(MeanRate);

impl Policy for Throughput {
    fn decide(&mut self, observation: &Observation<'_>, menu: &Menu, _: Time) -> Choice {
        self.0.learn(observation, menu);
        let smallest = menu.smallest_sent();
        let Some(us_per_byte) = self.0.us_per_byte() else {
            return Choice::Entry(smallest);
        };
        let wait_us = real(observation.device_wait_us);
        let fits = |entry: &Entry| {
            let each = real(entry.head_us) + entry.bytes_mean * us_per_byte;
            let all = f64::from(observation.batch.max(1)) * each;
            let tail = real(entry.tail_batch_us(observation.batch));
            wait_us + all + tail <= real(observation.budget_us)
        };
        let fitting = (0..menu.entries().len()).filter(|&index| fits(&menu.entries()[index]));
        let best = fitting.max_by(|&a, &b| {
            let [a, b] = [a, b].map(|index| menu.entries()[index].accuracy);
            a.total_cmp(&b)
        });
        Choice::Entry(best.unwrap_or(smallest))
    }
}

/// Neurosurgeon (Kang et al., ASPLOS 2017): the split point of least expected latency, from times
/// per split point, the current rate and the edge's load. It knows no rungs: each split point is
/// used at its best accuracy, the whole network on the device and the picture included.
#[derive(Clone, Debug, Default)]
pub struct Neurosurgeon(MeanRate);

impl Policy for Neurosurgeon {
    fn decide(&mut self, observation: &Observation<'_>, menu: &Menu, _: Time) -> Choice {
        self.0.learn(observation, menu);
        let us_per_byte = self.0.us_per_byte().unwrap_or(DEFAULT_US_PER_BYTE);
        let load = self.0.load.unwrap_or(1.0);
        let latency = |index: usize| {
            let entry = &menu.entries()[index];
            let tail = load * real(entry.tail_batch_us(observation.batch));
            real(entry.head_us) + entry.bytes_mean * us_per_byte + tail
        };
        least(best_of_splits(menu), latency)
    }
}

/// A rate to start from: 1 Mbit/s.
const DEFAULT_US_PER_BYTE: f64 = 8.0;

/// Dynamic split computing (Bakhtiarnia et al., arXiv 2205.11269): the split point of least
/// latency from a table over data rate and batch size. The table is what its rows are: head,
/// transmission and tail times at a data rate rounded to a power of two and at the batch size of
/// the request. Neither rungs nor the load of the edge are part of it.
#[derive(Clone, Debug, Default)]
pub struct DynamicSplit(MeanRate);

impl Policy for DynamicSplit {
    fn decide(&mut self, observation: &Observation<'_>, menu: &Menu, _: Time) -> Choice {
        self.0.learn(observation, menu);
        let measured = self.0.us_per_byte().unwrap_or(DEFAULT_US_PER_BYTE);
        let us_per_byte = measured.log2().round().exp2();
        let batch = observation.batch.max(1);
        let latency = |index: usize| {
            let entry = &menu.entries()[index];
            let each = real(entry.head_us) + entry.bytes_mean * us_per_byte;
            f64::from(batch) * each + real(entry.tail_batch_us(batch))
        };
        least(best_of_splits(menu), latency)
    }
}

/// The entry of best accuracy of each split point, the smallest of equals.
fn best_of_splits(menu: &Menu) -> Vec<usize> {
    let entries = menu.entries();
    let of_split = |split| (0..entries.len()).filter(move |&index| entries[index].split == split);
    (0..menu.splits().len())
        .filter_map(|split| {
            of_split(split).max_by(|&a, &b| {
                let [a, b] =
                    [a, b].map(|index| (entries[index].accuracy, -entries[index].bytes_mean));
                a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
            })
        })
        .collect()
}

fn least(candidates: Vec<usize>, latency: impl Fn(usize) -> f64) -> Choice {
    let best = candidates
        .into_iter()
        .min_by(|&a, &b| latency(a).total_cmp(&latency(b)));
    best.map_or(Choice::GiveUp, Choice::Entry)
}

#[cfg(test)]
mod tests {
    use super::super::AnswerSeen;
    use super::super::entry::tests::small;
    use super::*;

    fn seen(bytes: u32, network_us: u64) -> AnswerSeen {
        AnswerSeen {
            entry: 0,
            bytes,
            sent: Time::ZERO,
            arrived: Time::from_us(network_us + 1_000),
            came: true,
            queue_us: 0,
            compute_us: 1_000,
            batch: 1,
        }
    }

    fn choice(policy: &mut dyn Policy, us_per_byte: u64, batch: u32) -> Choice {
        let answers = [seen(1_000, 1_000 * us_per_byte); SAMPLES];
        let observation = Observation {
            budget_us: 100_000,
            device_wait_us: 0,
            period_us: 100_000,
            batch,
            in_flight: &[],
            answers: &answers,
        };
        policy.decide(&observation, &small(), Time::from_us(1))
    }

    #[test]
    fn the_throughput_rule_takes_what_fits_at_the_measured_rate() {
        // 5,000 bytes in 52 ms, 900 in 93 ms, 200 in 81 ms; below that the fewest bytes.
        let check = |us_per_byte, entry| {
            let found = choice(&mut Throughput::default(), us_per_byte, 1);
            assert_eq!(found, Choice::Entry(entry), "{us_per_byte}");
        };
        check(10, 4);
        check(80, 2);
        check(300, 1);
        check(10_000, 0);
    }

    #[test]
    fn neurosurgeon_moves_the_split_with_the_rate() {
        let check = |us_per_byte, entry| {
            let found = choice(&mut Neurosurgeon::default(), us_per_byte, 1);
            assert_eq!(found, Choice::Entry(entry), "{us_per_byte}");
        };
        check(1, 4);
        check(50, 2);
        check(1_000, 5);
    }

    #[test]
    fn dynamic_split_depends_on_the_batch() {
        let check = |us_per_byte, batch, entry| {
            let found = choice(&mut DynamicSplit::default(), us_per_byte, batch);
            assert_eq!(found, Choice::Entry(entry), "{us_per_byte} {batch}");
        };
        check(1, 1, 4);
        check(64, 1, 2);
        check(1_024, 4, 5);
    }

    #[test]
    fn a_plan_ends_in_giving_up() {
        let mut plan = Plan::new([Choice::Entry(3)]);
        assert_eq!(choice(&mut plan, 1, 1), Choice::Entry(3));
        assert_eq!(choice(&mut plan, 1, 1), Choice::GiveUp);
    }
}
