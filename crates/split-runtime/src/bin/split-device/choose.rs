//! Which rung a picture is sent as.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use split_bottleneck::Bank;
use split_runtime::{
    AnswerSeen, Choice, DynamicSplit, Entry, EntryKind, InFlight, MAX_MENU_BYTES, Menu,
    Neurosurgeon, Observation, Own, OwnConfig, Policy, Throughput, Time,
};

use crate::config::DeviceSettings;
use crate::program::POLICIES;
use crate::program::settings::read;

/// Name under which a menu lists the device alone.
const ALONE: &str = "device";

/// 95th percentile of a frame's length over its mean, where a bank names the mean alone.
const P95_RATIO: f64 = 1.3;

/// Time of a batch at the edge that a menu made here starts from: half a millisecond for what
/// isn't computing, and a tail ten times as fast as here. Policies correct it from answers.
const EDGE_US: u64 = 500;
const EDGE_SPEED: u64 = 10;

/// Weight of the newest time between two pictures.
const NEWEST: f64 = 0.2;

/// Times measured at the start, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Head, unit encoder and coder.
    pub(crate) head_us: u64,
    /// Tail on the activation; the head's time where it never runs here.
    pub(crate) tail_us: u64,
}

/// What is done with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    /// Send it as this rung; `entry` is how the policy calls it.
    Rung { rung: u16, entry: usize },
    /// Run the whole network here.
    Local,
    /// Nothing would be in time.
    GiveUp,
}

/// A policy with what it needs to know from picture to picture.
pub(crate) enum Chooser {
    Fixed(u16),
    Local,
    Policy(Box<Learning>),
}

/// A policy that learns from answers.
pub(crate) struct Learning {
    policy: Box<dyn Policy>,
    menu: Menu,
    /// For each entry of the menu, the bank's rung; none for the device alone.
    rungs: Vec<Option<u16>>,
    answers: Vec<AnswerSeen>,
    last: Option<Time>,
    period_us: f64,
}

/// What the settings ask for, checked before a model is loaded.
pub(crate) enum Wanted {
    Fixed,
    Local,
    Policy(Box<dyn Policy>, Option<Menu>),
}

impl Wanted {
    /// # Errors
    /// For an unknown policy, and for a menu that can't be read.
    pub(crate) fn new(settings: &DeviceSettings) -> Result<Self> {
        let policy: Box<dyn Policy> = match settings.policy()? {
            "fixed" => return Ok(Self::Fixed),
            "device-only" => {
                ensure!(
                    settings.falls_back()?,
                    "policy = \"device-only\" and fallback = \"none\": the one answers every picture \
                     here, the other none; leave out one of them"
                );
                return Ok(Self::Local);
            }
            "own" => Box::new(Own::new(OwnConfig::default())),
            "throughput" => Box::new(Throughput::default()),
            "neurosurgeon" => Box::new(Neurosurgeon::default()),
            "dynamic-split" => Box::new(DynamicSplit::default()),
            other => bail!(
                "policy {other:?} is unknown; known are {}",
                POLICIES.join(", ")
            ),
        };
        let menu = settings.menu.as_deref().map(menu_of_file).transpose()?;
        Ok(Self::Policy(policy, menu))
    }
}

impl Chooser {
    /// What was wanted, for the rungs of a bank; `local` says whether the whole network may run here.
    ///
    /// # Errors
    /// For an unknown rung, and for a menu that doesn't fit the bank.
    pub(crate) fn new(
        wanted: Wanted,
        rung: u16,
        bank: &Bank,
        measured: Measured,
        local: bool,
    ) -> Result<Self> {
        let (policy, menu) = match wanted {
            Wanted::Fixed => return Ok(Self::Fixed(rung)),
            Wanted::Local => return Ok(Self::Local),
            Wanted::Policy(policy, menu) => (policy, menu),
        };
        let all = match menu {
            Some(menu) => menu,
            None => menu_of_bank(bank, measured)?,
        };
        let (menu, rungs) = usable(&all, bank, local)?;
        Ok(Self::Policy(Box::new(Learning {
            policy,
            menu,
            rungs,
            answers: Vec::new(),
            last: None,
            period_us: 0.0,
        })))
    }

    /// Chooses for a picture that has `budget_us` left, behind frames that are `in_flight`.
    pub(crate) fn pick(&mut self, now: Time, budget_us: u64, in_flight: &[InFlight]) -> Pick {
        match self {
            Self::Fixed(rung) => Pick::Rung {
                rung: *rung,
                entry: 0,
            },
            Self::Local => Pick::Local,
            Self::Policy(learning) => learning.pick(now, budget_us, in_flight),
        }
    }

    /// Shows what became of a frame.
    pub(crate) fn learn(&mut self, seen: AnswerSeen) {
        if let Self::Policy(learning) = self {
            learning.answers.push(seen);
        }
    }
}

impl Learning {
    fn pick(&mut self, now: Time, budget_us: u64, in_flight: &[InFlight]) -> Pick {
        if let Some(last) = self.last {
            let us = u32::try_from(now.since(last)).map_or(f64::from(u32::MAX), f64::from);
            self.period_us += NEWEST * (us - self.period_us);
        }
        self.last = Some(now);
        let observation = Observation {
            budget_us,
            device_wait_us: 0,
            period_us: whole(self.period_us),
            batch: 1,
            in_flight,
            answers: &self.answers,
        };
        let choice = self.policy.decide(&observation, &self.menu, now);
        self.answers.clear();
        match choice {
            Choice::GiveUp => Pick::GiveUp,
            Choice::Entry(entry) => match self.rungs.get(entry) {
                Some(&Some(rung)) => Pick::Rung { rung, entry },
                _ => Pick::Local,
            },
        }
    }
}

fn menu_of_file(path: &Path) -> Result<Menu> {
    let text = read(path, MAX_MENU_BYTES as u64)?;
    Menu::parse_json(&text).with_context(|| format!("the menu {}", path.display()))
}

/// The rungs as the bank measured them, and the device alone, which loses nothing and so counts as
/// accurate as the best rung.
fn menu_of_bank(bank: &Bank, times: Measured) -> Result<Menu> {
    let mut entries = Vec::new();
    for (rung, place) in bank.rungs().iter().zip(0_u16..) {
        let Some(measured) = &rung.measured else {
            bail!(
                "rung {} of the bank was never measured, so no policy can weigh it; give --menu \
                 FILE or --policy fixed",
                rung.name
            );
        };
        entries.push(Entry {
            name: rung.name.clone(),
            kind: EntryKind::Split,
            split: 0,
            rung: place,
            bytes_mean: measured.bytes,
            bytes_p95: measured.bytes * P95_RATIO,
            accuracy: measured.top1,
            head_us: times.head_us,
            tail_us: EDGE_US,
            tail_each_us: times.tail_us / EDGE_SPEED,
        });
    }
    let best = entries.iter().map(|entry| entry.accuracy);
    entries.push(Entry {
        name: "all".to_owned(),
        kind: EntryKind::DeviceOnly,
        split: 1,
        rung: 0,
        bytes_mean: 0.0,
        bytes_p95: 0.0,
        accuracy: best.fold(0.0, f64::max),
        head_us: times.head_us + times.tail_us,
        tail_us: 0,
        tail_each_us: 0,
    });
    let splits = vec![bank.backbone().split.clone(), ALONE.to_owned()];
    Menu::new(splits, entries).context("the menu made of the bank")
}

/// What of a menu this device can do: rungs of its bank, found by name, and the device alone where it
/// is `local`. It holds one bank and sends no pictures.
fn usable(menu: &Menu, bank: &Bank, local: bool) -> Result<(Menu, Vec<Option<u16>>)> {
    let split = &bank.backbone().split;
    let mut entries = Vec::new();
    let mut rungs = Vec::new();
    for entry in menu.entries() {
        let rung = match entry.kind {
            EntryKind::DeviceOnly if local => None,
            EntryKind::Split if menu.splits()[entry.split] == *split => {
                let named = bank.rungs().iter().position(|rung| rung.name == entry.name);
                let Some(rung) = named.and_then(|place| u16::try_from(place).ok()) else {
                    continue;
                };
                Some(rung)
            }
            EntryKind::DeviceOnly | EntryKind::Split | EntryKind::Picture => continue,
        };
        entries.push(entry.clone());
        rungs.push(rung);
    }
    ensure!(
        rungs.iter().any(Option::is_some),
        "no entry of the menu is a rung of this bank at {split}; make the menu from the bank's own \
         record"
    );
    let menu = Menu::new(menu.splits().to_vec(), entries).context("the menu")?;
    Ok((menu, rungs))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a mean of times that fit 32 bits"
)]
fn whole(us: f64) -> u64 {
    us.max(0.0).round() as u64
}
