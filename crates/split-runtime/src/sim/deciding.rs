//! Devices of a world that choose what they send: each has a policy of its own.

use std::collections::BTreeMap;

use super::nodes::DeviceNode;
use super::random::EntityRandom;
use super::report::WorldReport;
use super::study::frame_length;
use super::world::{Happening, World, WorldConfig};
use crate::policy::{AnswerSeen, Choice, Entry, EntryKind, InFlight, Menu, Observation, Policy};
use crate::proto::Contract;
use crate::resilience::{Ending, RequestId};
use crate::serving::{BatchKey, CostGuess, ServedKey};
use crate::time::Time;

/// Longest frame that a device of a world sends, in bytes: menus may name longer ones than a message holds.
const FRAME_BYTES_MAX: u32 = 60_000;

/// What happened in a world whose devices choose.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecidingReport {
    /// Requests and how they ended. What the device alone was chosen for counts as `fallback`, what was given
    /// up as an error.
    pub world: WorldReport,
    /// Sum of the accuracies of what was answered in time, in points.
    pub points: f64,
    /// Bytes of frames, each counted once however often it was sent.
    pub bytes: u64,
    /// Changes of split point of all devices.
    pub switches: u64,
    /// Requests that policies gave up.
    pub given_up: u64,
    /// How often each entry of the menu was chosen.
    pub chosen: Vec<u64>,
}

/// Runs a world whose devices choose from `menu` what they send, each with a policy of its own; the world's
/// `frame_bytes`, `batch_us` and time of the fallback give way to those of the menu. A device computes one head
/// at a time.
///
/// # Panics
/// As [`simulate`](super::simulate), if a policy picks an entry that the menu hasn't, and if the menu has none
/// that is sent.
#[must_use]
pub fn simulate_deciding(
    config: &WorldConfig,
    menu: &Menu,
    policy: impl Fn() -> Box<dyn Policy>,
) -> DecidingReport {
    let mut world = World::new(config, Some(menu));
    for (node, index) in world.devices.iter_mut().zip(0..) {
        let random = EntityRandom::new(config.seed, (4 << 32) + index);
        node.decider = Some(Decider::new(policy(), menu, random));
    }
    world.run();
    let mut report = DecidingReport {
        chosen: vec![0; menu.entries().len()],
        ..DecidingReport::default()
    };
    for node in &world.devices {
        let Some(decider) = &node.decider else {
            continue;
        };
        report.points += decider.points;
        report.bytes += decider.bytes;
        report.switches += decider.switches;
        report.given_up += decider.given_up;
        for (sum, chosen) in report.chosen.iter_mut().zip(&decider.chosen) {
            *sum += chosen;
        }
    }
    report.world = world.finish();
    report
}

/// A device's policy with what it needs to know from request to request.
pub(crate) struct Decider {
    policy: Box<dyn Policy>,
    random: EntityRandom,
    answers: Vec<AnswerSeen>,
    /// What the device computes, by the order in which it was asked for.
    computing: BTreeMap<u64, Computing>,
    /// Frames that the dispatcher has.
    sent: BTreeMap<RequestId, Sent>,
    tickets: u64,
    /// When the device has computed all that it was asked to.
    free_ns: u64,
    split: Option<usize>,
    points: f64,
    bytes: u64,
    switches: u64,
    given_up: u64,
    chosen: Vec<u64>,
}

struct Computing {
    entry: usize,
    bytes: u32,
    asked: Time,
    ready: Time,
}

pub(crate) struct Sent {
    entry: usize,
    bytes: u32,
    at: Time,
    /// Time that the rest of the network takes on the device.
    fallback_us: u64,
}

impl Decider {
    fn new(policy: Box<dyn Policy>, menu: &Menu, random: EntityRandom) -> Self {
        Self {
            policy,
            random,
            answers: Vec::new(),
            computing: BTreeMap::new(),
            sent: BTreeMap::new(),
            tickets: 0,
            free_ns: 0,
            split: None,
            points: 0.0,
            bytes: 0,
            switches: 0,
            given_up: 0,
            chosen: vec![0; menu.entries().len()],
        }
    }

    /// Requests that are still being computed.
    pub(crate) fn open(&self) -> u64 {
        self.computing.len() as u64
    }

    /// The frame of a request: contract, rung and length.
    pub(crate) fn frame(&self, request: RequestId, menu: &Menu) -> Option<(u8, u16, usize)> {
        let sent = self.sent.get(&request)?;
        let split = menu.entries()[sent.entry].split;
        let contract = sent_splits(menu).position(|one| one == split)?;
        let of_split = |entry: &&Entry| entry.split == split;
        let rung = menu.entries()[..sent.entry].iter().filter(of_split).count();
        Some((
            u8::try_from(contract).ok()?,
            u16::try_from(rung).ok()?,
            usize::try_from(sent.bytes).ok()?,
        ))
    }

    /// Time that the device needs to answer a request itself.
    pub(crate) fn fallback_us(&self, request: RequestId) -> Option<u64> {
        self.sent.get(&request).map(|sent| sent.fallback_us)
    }

    /// What the end of a request tells.
    pub(crate) fn ended(&mut self, now: Time, request: RequestId, ending: &Ending, menu: &Menu) {
        let Some(sent) = self.sent.remove(&request) else {
            return;
        };
        let mut seen = AnswerSeen {
            entry: sent.entry,
            bytes: sent.bytes,
            sent: sent.at,
            arrived: now,
            came: false,
            queue_us: 0,
            compute_us: 0,
            batch: 1,
        };
        match ending {
            Ending::Answered(answer) => {
                seen.came = true;
                seen.queue_us = u64::from(answer.queue_us);
                seen.compute_us = u64::from(answer.compute_us);
                seen.batch = u32::from(answer.batch);
                self.points += menu.entries()[sent.entry].accuracy;
            }
            // The device answers with the whole network.
            Ending::Fallback => self.points += alone(menu).map_or(0.0, |entry| entry.accuracy),
            _ => {}
        }
        self.answers.push(seen);
    }
}

impl World<'_> {
    /// Has a device's policy choose for a request, where it has one.
    pub(crate) fn decide(&mut self, device: usize) {
        let (config, now_ns) = (self.config, self.now_ns);
        let Some(menu) = self.menu else {
            return;
        };
        let DeviceNode { decider, clock, .. } = &mut self.devices[device];
        let Some(decider) = decider else {
            return;
        };
        let now = clock.monotonic(now_ns);
        let wait_us = decider.free_ns.saturating_sub(now_ns) / 1_000;
        let sent = decider.sent.values().map(|sent| (sent.bytes, sent.at));
        let ahead = decider.computing.values();
        let ahead = ahead.filter(|one| menu.entries()[one.entry].is_sent());
        let in_flight: Vec<InFlight> = sent
            .chain(ahead.map(|one| (one.bytes, one.ready)))
            .map(|(bytes, sent)| InFlight { bytes, sent })
            .collect();
        let observation = Observation {
            budget_us: config.budget_us,
            device_wait_us: wait_us,
            period_us: config.period_ns / 1_000,
            batch: 1,
            in_flight: &in_flight,
            answers: &decider.answers,
        };
        let choice = decider.policy.decide(&observation, menu, now);
        decider.answers.clear();
        self.tally.own.taken += 1;
        let Choice::Entry(index) = choice else {
            decider.given_up += 1;
            self.tally.own.errors += 1;
            self.note(format_args!("device {device} gives up"));
            return;
        };
        let entry = &menu.entries()[index];
        decider.chosen[index] += 1;
        if decider.split != Some(entry.split) {
            decider.switches += u64::from(decider.split.is_some());
            decider.split = Some(entry.split);
        }
        let normal = decider.random.normal();
        let bytes = match entry.is_sent() {
            true => frame_length(entry.bytes_mean, entry.bytes_p95, normal).min(FRAME_BYTES_MAX),
            false => 0,
        };
        let ticket = decider.tickets;
        decider.tickets += 1;
        decider.free_ns = decider.free_ns.max(now_ns) + entry.head_us * 1_000;
        let at = decider.free_ns;
        let computing = Computing {
            entry: index,
            bytes,
            asked: now,
            ready: now.after(wait_us + entry.head_us),
        };
        decider.computing.insert(ticket, computing);
        self.note(format_args!("device {device} chooses {}", entry.name));
        self.plan(at, Happening::Computed { device, ticket });
    }

    /// The device is through with a head, or with the whole network.
    pub(crate) fn computed(&mut self, device: usize, ticket: u64) {
        let now_ns = self.now_ns;
        let Some(menu) = self.menu else {
            return;
        };
        let node = &mut self.devices[device];
        let Some(decider) = &mut node.decider else {
            return;
        };
        let Some(done) = decider.computing.remove(&ticket) else {
            self.tally.double += 1;
            return;
        };
        let entry = &menu.entries()[done.entry];
        let now = node.clock.monotonic(now_ns);
        let took_us = now.since(done.asked);
        let budget_us = self.config.budget_us;
        if !entry.is_sent() {
            let in_time = took_us <= budget_us;
            if in_time {
                decider.points += entry.accuracy;
            }
            self.tally.own_ended(in_time, took_us);
            return;
        }
        if took_us >= budget_us {
            self.tally.own_ended(false, took_us);
            return;
        }
        // From here on the dispatcher counts the request.
        self.tally.own.taken -= 1;
        let falls_back = self.config.dispatcher.fallback_us.and_then(|_| alone(menu));
        let fallback_us = falls_back.map(|all| all.head_us.saturating_sub(entry.head_us));
        let local = node.clock.local(now_ns);
        let left_us = budget_us - took_us;
        match node.dispatcher.submit_with(local, left_us, fallback_us) {
            Some(id) => {
                node.asked.insert(id, (done.asked, 0));
                decider.bytes += u64::from(done.bytes);
                let sent = Sent {
                    entry: done.entry,
                    bytes: done.bytes,
                    at: now,
                    fallback_us: fallback_us.unwrap_or(0),
                };
                decider.sent.insert(id, sent);
            }
            None => self.tally.not_taken += 1,
        }
        self.settle_device(device);
    }
}

/// Contracts of the split points of a menu, in the order of their numbers, with what batches of them cost.
pub(crate) fn served(menu: &Menu) -> Vec<(Contract, ServedKey)> {
    let served = sent_splits(menu).zip(0_u16..).map(|(split, number)| {
        let entries = menu.entries().iter().filter(|entry| entry.split == split);
        let rungs = u16::try_from(entries.clone().count()).unwrap_or(u16::MAX);
        let contract = Contract {
            backbone: 1,
            split: menu.splits()[split].clone(),
            unit: 2,
            tables: 3,
            bank: 4 + u32::from(number),
            rungs,
        };
        let most = |of: fn(&Entry) -> u64| {
            let us = entries.clone().map(of).max().unwrap_or(0);
            u32::try_from(us).unwrap_or(u32::MAX)
        };
        let key = ServedKey {
            key: BatchKey {
                backbone: 1,
                split: number,
                shape: [4, 16, 16],
            },
            cost: Some(CostGuess {
                fixed_us: most(|entry| entry.tail_us),
                each_us: most(|entry| entry.tail_each_us),
            }),
        };
        (contract, key)
    });
    served.collect()
}

/// Split points of which something is sent.
fn sent_splits(menu: &Menu) -> impl Iterator<Item = usize> {
    let is_sent = |split: &usize| {
        let mut entries = menu.entries().iter();
        entries.any(|entry| entry.split == *split && entry.is_sent())
    };
    (0..menu.splits().len()).filter(is_sent)
}

/// The whole network on the device.
fn alone(menu: &Menu) -> Option<&Entry> {
    let mut entries = menu.entries().iter();
    entries.find(|entry| entry.kind == EntryKind::DeviceOnly)
}
