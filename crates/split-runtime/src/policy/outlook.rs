//! What a request could have, entry by entry, and what each leaves to the next request.

use super::baselines::real;
use super::forecast::{Forecast, Prospect};
use super::own::EdgeTime;
use super::{Entry, Menu, Observation};

/// Share of a period after which the next request may come.
const EARLY: f64 = 0.9;

/// Points below the best promise at which an entry isn't looked at closely.
const HOPELESS_POINTS: f64 = 10.0;

/// Most requests that a wait of the device counts for beyond the next.
const BLOCKED_MAX: f64 = 10.0;

/// What is known when a request comes.
pub(super) struct Outlook<'a> {
    pub(super) menu: &'a Menu,
    pub(super) observation: &'a Observation<'a>,
    pub(super) forecast: Forecast,
    pub(super) edge: &'a EdgeTime,
    /// The split point in use.
    pub(super) split: Option<usize>,
    /// What a change of it takes on the device.
    pub(super) switch_us: f64,
}

impl Outlook<'_> {
    /// Prospects of every entry, with the device's own share of blocked requests.
    pub(super) fn prospects(&self) -> Vec<Prospect> {
        let entries = self.menu.entries();
        let wait_us = real(self.observation.device_wait_us);
        let ready_us: Vec<f64> = entries
            .iter()
            .map(|entry| wait_us + self.device_us(entry, self.split))
            .collect();
        let each = entries.iter().zip(&ready_us);
        let mut prospects: Vec<Prospect> = each
            .map(|(entry, &ready_us)| self.of(entry, ready_us, ready_us))
            .collect();
        if self.observation.period_us > 0 {
            let blocked = self.blocked_by_device(&prospects, &ready_us);
            for (prospect, blocked) in prospects.iter_mut().zip(blocked) {
                prospect.blocked += blocked;
            }
        }
        prospects
    }

    /// How many requests each entry makes late by keeping the device busy when the next one comes: that one has to
    /// make up for the wait, and loses the difference between what it could have then and without it.
    fn blocked_by_device(&self, prospects: &[Prospect], ready_us: &[f64]) -> Vec<f64> {
        let entries = self.menu.entries();
        let (period_us, budget_us) = (self.period_us(), real(self.observation.budget_us));
        if ready_us
            .iter()
            .all(|&ready_us| ready_us <= EARLY * period_us)
        {
            return vec![0.0; entries.len()];
        }
        let makes_up = self.makes_up_for_a_wait(prospects);
        let best = self.next_best(&makes_up, None, 0.0);
        let promise = |index: usize| entries[index].accuracy * prospects[index].in_time;
        let most = (0..entries.len()).map(promise).fold(0.0, f64::max);
        let of = |index: usize| {
            let late_us = ready_us[index] - EARLY * period_us;
            // What can't be chosen needs no second look.
            if late_us <= 0.0 || promise(index) < most - HOPELESS_POINTS {
                return 0.0;
            }
            let lost = best - self.next_best(&makes_up, Some(entries[index].split), late_us);
            let further = ((late_us - budget_us) / period_us).clamp(0.0, BLOCKED_MAX);
            (lost / self.menu.accuracy_max().max(1.0)).max(0.0) + further
        };
        (0..entries.len()).map(of).collect()
    }

    /// The best promise among these for a request that comes a period from now, after `split`, to a device that is
    /// busy for `late_us` more.
    fn next_best(&self, among: &[usize], split: Option<usize>, late_us: f64) -> f64 {
        let promises = among.iter().map(|&index| {
            let entry = &self.menu.entries()[index];
            let spent_us = late_us + self.device_us(entry, split);
            let prospect = self.of(entry, self.period_us() + spent_us, spent_us);
            entry.accuracy * prospect.in_time
        });
        promises.fold(0.0, f64::max)
    }

    /// Of each split point that leaves the device some of a period, the entry that promises most and the one that is
    /// done first: with these a device gets rid of a wait. Of all where there is none.
    fn makes_up_for_a_wait(&self, prospects: &[Prospect]) -> Vec<usize> {
        let entries = self.menu.entries();
        let rests =
            |index: &usize| self.device_us(&entries[*index], None) < EARLY * self.period_us();
        let any = (0..entries.len()).any(|index| rests(&index));
        let mut chosen = Vec::new();
        for split in 0..self.menu.splits().len() {
            let of_split = || {
                (0..entries.len())
                    .filter(move |&index| entries[index].split == split)
                    .filter(|index| !any || rests(index))
            };
            let promise = |index: usize| entries[index].accuracy * prospects[index].in_time;
            chosen.extend(of_split().max_by(|&a, &b| promise(a).total_cmp(&promise(b))));
            chosen.extend(of_split().min_by(|&a, &b| entries[a].cmp_soonness(&entries[b])));
        }
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }

    /// What can be had with the device's part done `ready_us` from now and `spent_us` of the request's time gone.
    fn of(&self, entry: &Entry, ready_us: f64, spent_us: f64) -> Prospect {
        let budget_us = real(self.observation.budget_us);
        if !entry.is_sent() {
            return Prospect {
                in_time: f64::from(u8::from(spent_us <= budget_us)),
                blocked: 0.0,
            };
        }
        let batch = self.observation.batch;
        let edge_us = self.edge.usual(entry, batch);
        self.forecast
            .of(entry, batch, ready_us, budget_us - spent_us, edge_us)
    }

    /// Time on the device of a request's pictures, after `split`.
    fn device_us(&self, entry: &Entry, split: Option<usize>) -> f64 {
        let change_us = match split {
            Some(split) if split != entry.split => self.switch_us,
            _ => 0.0,
        };
        change_us + f64::from(self.observation.batch) * real(entry.head_us)
    }

    fn period_us(&self) -> f64 {
        real(self.observation.period_us)
    }
}
