//! Our policy: a belief about the link, the deadline as a chance constraint, patience.

use super::base::BaseDelay;
use super::baselines::real;
use super::belief::{BASES, Belief};
use super::forecast::{Forecast, Prospect, wire_bits};
use super::outlook::Outlook;
use super::{AnswerSeen, Choice, Entry, Menu, Observation, Policy};
use crate::time::Time;

/// Settings of [`Own`]. The defaults were chosen on synthetic links and on half of the traces.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnConfig {
    /// The chance constraint: a better answer may cost this share of requests beyond those that
    /// the safest entry loses; between 0 and 1.
    pub risk: f64,
    /// Every so many requests a larger frame than needed is sent where it costs little, because
    /// equal lengths say nothing about the rate; 0 for never.
    pub dither_every: u32,
    /// The chance constraint of those.
    pub dither_risk: f64,
    /// A better split point has to be better in so many decisions in a row before it is taken.
    pub patience: u32,
    /// And by this much, in points of expected accuracy.
    pub margin: f64,
    /// Among entries of a split point that are this close in points of expected accuracy, the one of
    /// fewest bytes is taken: bytes are what a stall makes dear.
    pub thrift: f64,
    /// When nothing was sent for so long, in microseconds, a request goes over the link even where the
    /// device alone looks better: else a link that has recovered stays unused.
    pub probe_us: u64,
    /// Round trip without bytes to start from, in microseconds.
    pub base_us: f64,
    /// What the first picture after a change of split point takes longer on the device, in microseconds.
    pub switch_us: u64,
}

impl Default for OwnConfig {
    fn default() -> Self {
        Self {
            risk: 0.05,
            dither_every: 4,
            dither_risk: 0.2,
            patience: 1,
            margin: 0.05,
            thrift: 0.02,
            probe_us: 1_500_000,
            base_us: 30_000.0,
            switch_us: 10_000,
        }
    }
}

/// Takes the most accurate entry that meets the chance constraint.
///
/// - The link's rate is a distribution that answers, missing answers and age change; each entry's
///   probability of being in time follows from it, its spread of lengths and the frames under way.
/// - What an entry is charged with is its own risk, the later requests that it would block on a stalling
///   link, and what the next request loses by a device that is still busy: the difference between the best it could
///   have then and without a wait, of entries that leave the device some rest. So the whole network may run here
///   although it takes longer than a period, until others have to make up for it. The most accurate entry
///   wins among those charged at most [`OwnConfig::risk`] more than the least.
/// - It leaves a split point at once when that has become risky and changes for a gain only above a
///   margin, and after some patience; rungs change freely, since frames stand for themselves.
/// - When nothing can be in time and frames are under way it gives up on the request.
#[derive(Clone, Debug)]
pub struct Own {
    config: OwnConfig,
    belief: Belief,
    belief_at: Option<Time>,
    base: BaseDelay,
    /// When the last answer came, less its time at the edge.
    last: Option<Time>,
    /// When the last answer that didn't come was given up.
    late_until: Option<Time>,
    edge: EdgeTime,
    split: Option<usize>,
    wanted: Option<(usize, u32)>,
    decisions: u32,
    switches: u64,
    last_sent: Time,
}

impl Own {
    /// A policy that has seen nothing yet.
    #[must_use]
    pub fn new(config: OwnConfig) -> Self {
        let base = BaseDelay::new(config.base_us);
        Self {
            config,
            belief: Belief::new(),
            belief_at: None,
            base,
            last: None,
            late_until: None,
            edge: EdgeTime::default(),
            split: None,
            wanted: None,
            decisions: 0,
            switches: 0,
            last_sent: Time::ZERO,
        }
    }

    /// How often the split point changed.
    #[must_use]
    pub const fn switches(&self) -> u64 {
        self.switches
    }

    /// What is believed about the rate: what it exceeds with 95, 50 and 5 per cent, in bits per
    /// second.
    #[must_use]
    pub fn rate_bit_per_s(&self) -> [f64; 3] {
        [0.95, 0.5, 0.05].map(|share| self.belief.rate_exceeded(share) * 1e6)
    }

    fn learn(&mut self, answer: &AnswerSeen, menu: &Menu) {
        let bits = wire_bits(f64::from(answer.bytes));
        let for_s = self.age_to(answer.arrived);
        let bases_us = BASES.map(|share| share * self.base.us());
        if !answer.came {
            // What was sent behind a frame that was late already waits for the same reason.
            let same = self.late_until.is_some_and(|until| answer.sent < until);
            self.late_until = Some(answer.arrived);
            if same {
                return;
            }
            let waited_us = real(answer.arrived.since(answer.sent));
            let less = bases_us.map(|base_us| waited_us - base_us);
            self.belief.learn_late(bits, less);
            return;
        }
        let edge_us = answer.queue_us.saturating_add(answer.compute_us);
        let at_edge = answer.arrived.before(edge_us);
        let whole_us = real(answer.network_us());
        // A frame starts when it is sent, or when the one before has passed.
        let behind_us = self
            .last
            .map_or(f64::INFINITY, |last| real(at_edge.since(last)));
        let took_us = bases_us.map(|base_us| behind_us.min(whole_us - base_us));
        self.belief.learn(bits, took_us, for_s);
        if behind_us > whole_us {
            self.base.learn(whole_us);
        }
        self.last = Some(at_edge);
        if let Some(entry) = menu.entries().get(answer.entry) {
            self.edge.learn(answer, entry);
        }
    }

    /// Brings the belief to `now` and says how long that was, in seconds.
    fn age_to(&mut self, now: Time) -> f64 {
        let before = self.belief_at.unwrap_or(now);
        self.belief_at = Some(before.max(now));
        let seconds = real(now.since(before)) / 1e6;
        self.belief.age(seconds);
        seconds
    }

    /// Prospects of every entry, with what the device's own time costs the next request.
    fn prospects(&self, observation: &Observation<'_>, menu: &Menu, now: Time) -> Vec<Prospect> {
        let [.., tail_us] = self.edge.usual(&menu.entries()[menu.smallest_sent()], 1);
        // What counts is the rate while the frame passes.
        let mut belief = self.belief.clone();
        belief.age(0.5 * real(observation.budget_us) / 1e6);
        let forecast = Forecast::new(
            belief,
            observation.in_flight,
            now,
            self.base.us(),
            tail_us,
            real(observation.period_us.max(1)),
        );
        Outlook {
            menu,
            observation,
            forecast,
            edge: &self.edge,
            split: self.split,
            switch_us: real(self.config.switch_us),
        }
        .prospects()
    }

    /// Some entry has at least [`CHANCE_LEAST`].
    fn choose(&mut self, prospects: &[Prospect], menu: &Menu) -> usize {
        // A frame that blocks nothing is worth nothing if it can't be in time.
        let all = (0..prospects.len()).filter(|&index| prospects[index].in_time >= CHANCE_LEAST);
        let charge = |index: usize| 1.0 - prospects[index].in_time + prospects[index].blocked;
        let least = all.clone().map(charge).fold(f64::INFINITY, f64::min);
        let value = |index: usize| {
            let accuracy = menu.entries()[index].accuracy;
            accuracy * prospects[index].in_time - menu.accuracy_max() * prospects[index].blocked
        };
        let allowed = |risk: f64| {
            all.clone()
                .filter(move |&index| charge(index) <= least + risk)
        };
        let better = |&a: &usize, &b: &usize| value(a).total_cmp(&value(b));
        let best = allowed(self.config.risk).max_by(better).unwrap_or(0);
        let entries = menu.entries();
        let kept = self.split.and_then(|split| {
            let same = |index: &usize| entries[*index].split == split;
            allowed(self.config.risk).filter(same).max_by(better)
        });
        let chosen = match kept {
            // The split point in use has become risky, or there is none.
            None => best,
            Some(kept) if entries[kept].split == entries[best].split => kept,
            Some(kept) => {
                let gain = value(best) - value(kept);
                self.patient(entries[best].split, gain)
                    .map_or(kept, |()| best)
            }
        };
        let split = entries[chosen].split;
        let enough = value(chosen) - self.config.thrift;
        let near = |index: &usize| entries[*index].split == split && value(*index) >= enough;
        let chosen = allowed(self.config.risk)
            .filter(near)
            .min_by(|&a, &b| entries[a].bytes_mean.total_cmp(&entries[b].bytes_mean))
            .unwrap_or(chosen);
        if self.split != Some(split) {
            self.switches += u64::from(self.split.is_some());
            self.split = Some(split);
            self.wanted = None;
        }
        self.decisions = self.decisions.wrapping_add(1);
        let every = self.config.dither_every;
        if every > 0 && self.decisions.is_multiple_of(every) {
            let bytes = entries[chosen].bytes_mean;
            let larger = |index: &usize| {
                let entry = &entries[*index];
                entry.split == split && entry.bytes_mean > bytes
            };
            let next = allowed(self.config.dither_risk).filter(larger);
            return next
                .min_by(|&a, &b| entries[a].bytes_mean.total_cmp(&entries[b].bytes_mean))
                .unwrap_or(chosen);
        }
        chosen
    }

    /// Whether a gain at another split point has held for long enough.
    fn patient(&mut self, split: usize, gain: f64) -> Option<()> {
        if gain <= self.config.margin {
            self.wanted = None;
            return None;
        }
        let held = self.wanted.filter(|&(wanted, _)| wanted == split);
        let times = held.map_or(1, |(_, times)| times + 1);
        self.wanted = Some((split, times));
        (times >= self.config.patience).then_some(())
    }
}

/// The entry whose frame leaves the device first; of these the smallest.
fn soonest(menu: &Menu) -> usize {
    let entries = menu.entries();
    let sent = (0..entries.len()).filter(|&index| entries[index].is_sent());
    sent.min_by(|&a, &b| entries[a].cmp_soonness(&entries[b]))
        .unwrap_or(0)
}

/// Best chance below which a request isn't worth a frame while others are under way.
const CHANCE_LEAST: f64 = 0.03;

impl Policy for Own {
    fn decide(&mut self, observation: &Observation<'_>, menu: &Menu, now: Time) -> Choice {
        for answer in observation.answers {
            self.learn(answer, menu);
        }
        self.age_to(now);
        let prospects = self.prospects(observation, menu, now);
        let chances = prospects.iter().map(|prospect| prospect.in_time);
        let idle = observation.in_flight.is_empty();
        let index = if chances.fold(0.0, f64::max) >= CHANCE_LEAST {
            self.choose(&prospects, menu)
        } else if idle {
            // Only an answer can tell that it has become better, and the soonest tells most.
            soonest(menu)
        } else {
            return Choice::GiveUp;
        };
        let is_sent = |index: usize| menu.entries()[index].is_sent();
        let quiet = idle && now.since(self.last_sent) >= self.config.probe_us;
        let index = match quiet && !is_sent(index) {
            true => {
                let sent = (0..prospects.len()).filter(|&index| is_sent(index));
                let likely =
                    |&a: &usize, &b: &usize| prospects[a].in_time.total_cmp(&prospects[b].in_time);
                sent.max_by(likely).unwrap_or(index)
            }
            false => index,
        };
        if is_sent(index) {
            self.last_sent = now;
        }
        Choice::Entry(index)
    }
}

/// Time that an answer spends at the edge: its menu's time times a load, and what varies.
#[derive(Clone, Copy, Debug)]
pub(super) struct EdgeTime {
    extra_us: f64,
    spread_us: f64,
}

impl Default for EdgeTime {
    fn default() -> Self {
        Self {
            extra_us: 0.0,
            spread_us: 1_000.0,
        }
    }
}

impl EdgeTime {
    fn learn(&mut self, answer: &AnswerSeen, entry: &Entry) {
        let found = real(answer.queue_us.saturating_add(answer.compute_us));
        let extra = found - real(entry.tail_batch_us(1));
        let off = (extra - self.extra_us).abs();
        self.extra_us += 0.1 * (extra - self.extra_us);
        self.spread_us += 0.1 * (off - self.spread_us);
    }

    /// Least, mean and longest time of an entry that are usual: one mean deviation below and two
    /// above.
    pub(super) fn usual(&self, entry: &Entry, batch: u32) -> [f64; 3] {
        let mean = real(entry.tail_batch_us(batch)) + self.extra_us;
        [-1.0, 0.0, 2.0].map(|times| (mean + times * self.spread_us).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::InFlight;
    use super::super::entry::tests::small;
    use super::*;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time of a test"
    )]
    fn whole(us: f64) -> u64 {
        us as u64
    }

    /// A link of one rate that answers each frame before the next request.
    fn run(rate: f64, budget_us: u64, requests: u64) -> (Own, Vec<Choice>) {
        let menu = small();
        let mut own = Own::new(OwnConfig::default());
        let mut answers = Vec::new();
        let mut choices = Vec::new();
        for request in 0..requests {
            let now = Time::from_us(request * 200_000);
            let observation = Observation {
                budget_us,
                device_wait_us: 0,
                period_us: 200_000,
                batch: 1,
                in_flight: &[],
                answers: &answers,
            };
            let choice = own.decide(&observation, &menu, now);
            choices.push(choice);
            answers.clear();
            let Choice::Entry(entry) = choice else {
                continue;
            };
            if menu.entries()[entry].is_sent() {
                let bytes = whole(menu.entries()[entry].bytes_mean);
                let passing = wire_bits(menu.entries()[entry].bytes_mean) / rate;
                let sent = now.after(menu.entries()[entry].head_us);
                answers.push(AnswerSeen {
                    entry,
                    bytes: u32::try_from(bytes).unwrap(),
                    sent,
                    arrived: sent.after(21_000 + whole(passing) + request % 3 * 700),
                    came: true,
                    queue_us: 0,
                    compute_us: 1_000,
                    batch: 1,
                });
            }
        }
        (own, choices)
    }

    fn check(rate: f64, budget_us: u64, expected: usize) {
        let (own, choices) = run(rate, budget_us, 600);
        let last = &choices[500..];
        let same = last
            .iter()
            .filter(|&&choice| choice == Choice::Entry(expected));
        let found = own.rate_bit_per_s();
        assert!(same.count() >= 70, "{rate} {budget_us}: {last:?} {found:?}");
    }

    #[test]
    fn steady_links_get_the_most_accurate_entry_that_fits() {
        // The picture at 20 Mbit/s, the largest rung at 0.3, the smallest at 0.02.
        check(20.0, 60_000, 4);
        check(0.3, 100_000, 2);
        check(0.03, 100_000, 0);
        // The device alone where its time is there.
        check(0.03, 160_000, 5);
    }

    #[test]
    fn the_same_observations_give_the_same_choices() {
        assert_eq!(run(0.4, 90_000, 80).1, run(0.4, 90_000, 80).1);
    }

    #[test]
    fn a_stalled_link_is_left_alone_but_for_probes() {
        let (mut own, _) = run(1.0, 100_000, 50);
        let now = Time::from_us(60_000_000);
        let sent = now.before(5_000_000);
        let waiting = [InFlight { bytes: 200, sent }];
        let mut observation = Observation {
            budget_us: 100_000,
            device_wait_us: 0,
            period_us: 100_000,
            batch: 1,
            in_flight: &waiting,
            answers: &[],
        };
        assert_eq!(own.decide(&observation, &small(), now), Choice::GiveUp);
        observation.in_flight = &[];
        let choice = own.decide(&observation, &small(), now.after(1));
        assert!(matches!(choice, Choice::Entry(_)));
        // With time enough the device answers itself.
        observation.in_flight = &waiting;
        observation.budget_us = 160_000;
        let choice = own.decide(&observation, &small(), now.after(2));
        assert_eq!(choice, Choice::Entry(5));
    }
}
