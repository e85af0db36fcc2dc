//! Which rung a picture is sent as.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use split_bottleneck::Bank;
use split_runtime::{
    AnswerSeen, Choice, DynamicSplit, Entry, EntryKind, InFlight, MAX_MENU_BYTES, Menu,
    Neurosurgeon, Observation, Own, OwnConfig, Policy, Speeds, Throughput, Time,
};

use crate::config::DeviceSettings;
use crate::program::allowed::POLICIES;
use crate::program::picture::{self, Form};
use crate::program::settings::read;

/// Name under which a menu lists the device alone.
const ALONE: &str = "device";

/// 95th percentile of a frame's length over its mean, where a bank names the mean alone.
const P95_RATIO: f64 = 1.3;

/// Of a batch at the edge, the time in a menu made here that isn't computing. Policies correct it from
/// answers.
pub(crate) const EDGE_US: u64 = 500;

/// Weight of the newest time between two pictures.
const NEWEST: f64 = 0.2;

/// Times measured at the start, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Head, unit encoder and coder.
    pub(crate) head_us: u64,
    /// Tail on the activation; the head's time where it never runs here.
    pub(crate) tail_us: u64,
    /// A frame alone on the edge.
    pub(crate) edge_us: u64,
}

/// A rung of one of the models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which model, in the order in which they were named.
    pub(crate) model: usize,
    pub(crate) rung: u16,
}

/// A model that policies weigh.
pub(crate) struct Weighed<'a> {
    pub(crate) model: usize,
    pub(crate) bank: &'a Bank,
    pub(crate) times: Measured,
}

/// What can be sent of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The frame of a rung.
    Rung(Place),
    /// The picture itself.
    Picture(Form),
}

/// What is done with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    /// Send this; `entry` is how the policy calls it.
    Send { way: Way, entry: usize },
    /// Run the whole network here.
    Local,
    /// Nothing would be in time.
    GiveUp,
}

/// A policy with what it needs to know from picture to picture.
pub(crate) enum Chooser {
    Fixed(Way),
    Local,
    Policy(Box<Learning>),
}

/// Makes a policy that has seen nothing yet.
type MakePolicy = fn() -> Box<dyn Policy>;

/// A policy that learns from answers.
pub(crate) struct Learning {
    make: MakePolicy,
    /// Everything that this device can do.
    all: Choices,
    /// Models that edges were seen to serve last.
    accepted: Vec<u8>,
    /// Counts changes of `now`: an answer to an entry of another menu says nothing of this one.
    generation: u32,
    policy: Box<dyn Policy>,
    /// What of it edges serve.
    now: Choices,
    answers: Vec<AnswerSeen>,
    last: Option<Time>,
    period_us: f64,
}

/// What a policy chooses from.
#[derive(Clone)]
struct Choices {
    menu: Menu,
    /// For each entry of the menu, what is sent; nothing for the device alone.
    ways: Vec<Option<Way>>,
    /// The index below which edges know pictures: behind those of the models.
    pictures: usize,
}

/// What the settings ask for, checked before a model is loaded.
pub(crate) enum Wanted {
    Fixed,
    Local,
    Policy(MakePolicy, Source),
}

/// Where a menu comes from.
pub(crate) enum Source {
    File(Menu),
    /// It is made here, of the banks and of these pictures.
    Here(PictureEntries),
}

/// Pictures as a record measured them.
#[derive(Default)]
pub(crate) struct PictureEntries {
    /// Whose record it is; nothing where none was named.
    backbone: Option<String>,
    entries: Vec<PictureEntry>,
}

/// A form in which pictures may be sent, with the entry that it is. Its times are measured later.
#[derive(Clone, Debug)]
pub(crate) struct PictureEntry {
    pub(crate) form: Form,
    pub(crate) entry: Entry,
}

impl Wanted {
    /// # Errors
    /// For an unknown policy, and for a menu that can't be read.
    pub(crate) fn new(settings: &DeviceSettings) -> Result<Self> {
        let make: MakePolicy = match settings.policy()? {
            "fixed" => return Ok(Self::Fixed),
            "device-only" => {
                ensure!(
                    settings.falls_back()?,
                    "policy = \"device-only\" and fallback = \"none\": the one answers every picture \
                     here, the other none; leave out one of them"
                );
                return Ok(Self::Local);
            }
            // All models lie in memory: another cut takes no longer than the same one.
            "own" => || {
                Box::new(Own::new(OwnConfig {
                    switch_us: 0,
                    ..OwnConfig::default()
                }))
            },
            "throughput" => || Box::new(Throughput::default()),
            "neurosurgeon" => || Box::new(Neurosurgeon::default()),
            "dynamic-split" => || Box::new(DynamicSplit::default()),
            other => bail!(
                "policy {other:?} is unknown; known are {}",
                POLICIES.join(", ")
            ),
        };
        let (menu, record) = (settings.menu.as_deref(), settings.picture_record.as_deref());
        let source = match (menu, record) {
            (Some(_), Some(_)) => {
                bail!(
                    "menu and picture-record: a menu file names pictures itself; leave out one of them"
                )
            }
            (Some(menu), None) => Source::File(menu_of_file(menu)?),
            (None, Some(record)) => Source::Here(pictures_of_record(record)?),
            (None, None) => Source::Here(PictureEntries::default()),
        };
        Ok(Self::Policy(make, source))
    }

    /// Whether a policy chooses from a menu that is made here.
    pub(crate) fn makes_menu(&self) -> bool {
        matches!(self, Self::Policy(_, Source::Here(_)))
    }

    /// The pictures of a menu that is made here.
    pub(crate) fn pictures_mut(&mut self) -> &mut [PictureEntry] {
        match self {
            Self::Policy(_, Source::Here(pictures)) => &mut pictures.entries,
            _ => &mut [],
        }
    }

    /// # Errors
    /// Where a record of pictures is one of another backbone.
    pub(crate) fn check_backbone(&self, name: &str) -> Result<()> {
        if let Self::Policy(_, Source::Here(pictures)) = self
            && let Some(found) = &pictures.backbone
        {
            ensure!(
                found == name,
                "picture-record: the record is of {found}, the models are of {name}; what pictures cost in \
                 accuracy differs from network to network"
            );
        }
        Ok(())
    }

    /// Whether a policy chooses from a menu with pictures.
    pub(crate) fn has_pictures(&self) -> bool {
        match self {
            Self::Policy(_, Source::Here(pictures)) => !pictures.entries.is_empty(),
            Self::Policy(_, Source::File(menu)) => {
                let mut entries = menu.entries().iter();
                entries.any(|entry| form_of(entry).is_some())
            }
            Self::Fixed | Self::Local => false,
        }
    }
}

impl Chooser {
    /// What was wanted, for the rungs of these models; `fixed` is the one to send where no policy chooses, and
    /// `local` says whether the whole network may run here.
    ///
    /// # Errors
    /// For a menu that doesn't fit the banks, and for banks that were never measured.
    pub(crate) fn new(
        wanted: Wanted,
        fixed: Way,
        models: &[Weighed<'_>],
        local: bool,
    ) -> Result<Self> {
        let (make, source) = match wanted {
            Wanted::Fixed => return Ok(Self::Fixed(fixed)),
            Wanted::Local => return Ok(Self::Local),
            Wanted::Policy(make, source) => (make, source),
        };
        let all = match source {
            Source::File(menu) => menu,
            Source::Here(pictures) => menu_of_banks(models, pictures.entries)?,
        };
        let all = usable(&all, models, local)?;
        Ok(Self::Policy(Box::new(Learning {
            make,
            now: all.clone(),
            all,
            accepted: Vec::new(),
            generation: 0,
            policy: make(),
            answers: Vec::new(),
            last: None,
            period_us: 0.0,
        })))
    }

    /// Chooses for a picture that has `budget_us` left, behind frames that are `in_flight`.
    pub(crate) fn pick(&mut self, now: Time, budget_us: u64, in_flight: &[InFlight]) -> Pick {
        match self {
            Self::Fixed(way) => Pick::Send {
                way: *way,
                entry: 0,
            },
            Self::Local => Pick::Local,
            Self::Policy(learning) => learning.pick(now, budget_us, in_flight),
        }
    }

    /// What a policy chooses from.
    pub(crate) fn menu(&self) -> Option<&Menu> {
        match self {
            Self::Policy(learning) => Some(&learning.now.menu),
            Self::Fixed(_) | Self::Local => None,
        }
    }

    /// Tells which models edges serve now, pictures behind the last of them; gives those that are left out from
    /// here on, where that changed. If none were left everything stays: then the device answers, and says why.
    pub(crate) fn serve(&mut self, accepted: &[u8]) -> Option<Vec<usize>> {
        match self {
            Self::Policy(learning) => learning.serve(accepted),
            Self::Fixed(_) | Self::Local => None,
        }
    }

    /// Changes with the menu: entries of another one are not this one's.
    pub(crate) fn generation(&self) -> u32 {
        match self {
            Self::Policy(learning) => learning.generation,
            Self::Fixed(_) | Self::Local => 0,
        }
    }

    /// Shows what became of a frame that was chosen from the menu of `generation`.
    pub(crate) fn learn(&mut self, seen: AnswerSeen, generation: u32) {
        if let Self::Policy(learning) = self
            && learning.generation == generation
        {
            learning.answers.push(seen);
        }
    }
}

impl Learning {
    fn serve(&mut self, accepted: &[u8]) -> Option<Vec<usize>> {
        if self.accepted == accepted {
            return None;
        }
        self.accepted = accepted.to_vec();
        let pictures = self.all.pictures;
        let index = |way: &Way| match way {
            Way::Rung(place) => place.model,
            Way::Picture(_) => pictures,
        };
        let served = |way: &Way| accepted.iter().any(|one| usize::from(*one) == index(way));
        let now = self.all.only(|way| way.is_none_or(|way| served(&way)))?;
        if now.menu == self.now.menu {
            return None;
        }
        // What it learned of the link is lost too; edges change what they serve now and then.
        self.policy = (self.make)();
        self.answers.clear();
        self.generation += 1;
        self.now = now;
        let all = self.all.ways.iter().flatten();
        let mut left_out: Vec<usize> = all.filter(|way| !served(way)).map(index).collect();
        left_out.sort_unstable();
        left_out.dedup();
        Some(left_out)
    }

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
        let choice = self.policy.decide(&observation, &self.now.menu, now);
        self.answers.clear();
        match choice {
            Choice::GiveUp => Pick::GiveUp,
            Choice::Entry(entry) => match self.now.ways.get(entry) {
                Some(&Some(way)) => Pick::Send { way, entry },
                _ => Pick::Local,
            },
        }
    }
}

impl Choices {
    /// Those entries that are to stay; nothing if none of them is sent.
    fn only(&self, stays: impl Fn(Option<Way>) -> bool) -> Option<Self> {
        let pairs = self.menu.entries().iter().zip(&self.ways);
        let (entries, ways): (Vec<_>, Vec<_>) = pairs
            .filter(|(_, way)| stays(**way))
            .map(|(entry, way)| (entry.clone(), *way))
            .unzip();
        if ways.iter().all(Option::is_none) {
            return None;
        }
        let menu = Menu::new(self.menu.splits().to_vec(), entries).ok()?;
        let pictures = self.pictures;
        Some(Self {
            menu,
            ways,
            pictures,
        })
    }
}

fn menu_of_file(path: &Path) -> Result<Menu> {
    let text = read(path, MAX_MENU_BYTES as u64)?;
    Menu::parse_json(&text).with_context(|| format!("the menu {}", path.display()))
}

/// JPEG and WebP as a record (`split-ra/1`) measured them, without those that others beat.
///
/// # Errors
/// For a file that is no such record, or one without pictures.
fn pictures_of_record(path: &Path) -> Result<PictureEntries> {
    let text = read(path, MAX_MENU_BYTES as u64)?;
    let menu = Menu::from_records(&[&text], &Speeds::default())
        .with_context(|| format!("the record {}", path.display()))?;
    let pictures = menu.entries().iter().filter_map(|entry| {
        let form = form_of(entry)?;
        let entry = entry.clone();
        Some(PictureEntry { form, entry })
    });
    let entries: Vec<PictureEntry> = pictures.collect();
    ensure!(
        !entries.is_empty(),
        "the record {} has no rows of JPEG or WebP that lose less than ten points; give the results.json of \
         `cargo xtask train`, run without --no-rivals",
        path.display()
    );
    let record: serde_json::Value = serde_json::from_str(&text)?;
    Ok(PictureEntries {
        backbone: record["backbone"]["name"].as_str().map(str::to_owned),
        entries,
    })
}

/// The rungs as their banks measured them, `pictures`, and the device alone, which loses nothing and so counts
/// as accurate as the best of all.
///
/// # Errors
/// For a bank that was never measured, and for more rungs than a menu holds.
fn menu_of_banks(models: &[Weighed<'_>], pictures: Vec<PictureEntry>) -> Result<Menu> {
    let mut splits = Vec::new();
    let mut entries = Vec::new();
    for (split, Weighed { bank, times, .. }) in models.iter().enumerate() {
        splits.push(bank.backbone().split.clone());
        for (rung, place) in bank.rungs().iter().zip(0_u16..) {
            let Some(measured) = &rung.measured else {
                bail!(
                    "rung {} of the bank for {} was never measured, so no policy can weigh it; give \
                     --menu FILE or --policy fixed",
                    rung.name,
                    bank.backbone().split
                );
            };
            let mean = measured.bytes;
            let p95 = measured.bytes_p95.unwrap_or(mean * P95_RATIO);
            entries.push(Entry {
                name: rung.name.clone(),
                kind: EntryKind::Split,
                split,
                rung: place,
                bytes_mean: mean,
                // What a menu takes; a mean that can't be meant is refused below.
                bytes_p95: p95.min(3.0 * mean).max(mean),
                accuracy: measured.top1,
                head_us: times.head_us,
                tail_us: EDGE_US,
                tail_each_us: times.edge_us.saturating_sub(EDGE_US),
            });
        }
    }
    if !pictures.is_empty() {
        let split = splits.len();
        splits.push(picture::SPLIT.to_owned());
        let of_menu = |one: PictureEntry| Entry { split, ..one.entry };
        entries.extend(pictures.into_iter().map(of_menu));
    }
    let best = entries.iter().map(|entry| entry.accuracy);
    let times = models
        .iter()
        .map(|one| one.times.head_us + one.times.tail_us);
    entries.push(Entry {
        name: "all".to_owned(),
        kind: EntryKind::DeviceOnly,
        split: splits.len(),
        rung: 0,
        bytes_mean: 0.0,
        bytes_p95: 0.0,
        accuracy: best.fold(0.0, f64::max),
        head_us: times.min().unwrap_or(0),
        tail_us: 0,
        tail_each_us: 0,
    });
    splits.push(ALONE.to_owned());
    Menu::new(splits, entries).context(
        "the menu made of the banks; give --menu FILE with some of their rungs, or fewer of --model",
    )
}

/// What of a menu this device can do: rungs of its banks, found by split point and name, pictures in forms that
/// it knows, and the device alone where it is `local`.
fn usable(menu: &Menu, models: &[Weighed<'_>], local: bool) -> Result<Choices> {
    let mut entries = Vec::new();
    let mut ways = Vec::new();
    for entry in menu.entries() {
        let way = match entry.kind {
            EntryKind::DeviceOnly if local => None,
            EntryKind::DeviceOnly => continue,
            EntryKind::Split => match place_of(entry, &menu.splits()[entry.split], models) {
                Some(place) => Some(Way::Rung(place)),
                None => continue,
            },
            EntryKind::Picture => match form_of(entry) {
                Some(form) => Some(Way::Picture(form)),
                None => continue,
            },
        };
        entries.push(entry.clone());
        ways.push(way);
    }
    let splits: Vec<&str> = models
        .iter()
        .map(|one| one.bank.backbone().split.as_str())
        .collect();
    ensure!(
        ways.iter().any(Option::is_some),
        "no entry of the menu is a rung of this device's banks ({}) or a picture; make the menu from their \
         own records",
        splits.join(", ")
    );
    let menu = Menu::new(menu.splits().to_vec(), entries).context("the menu")?;
    Ok(Choices {
        menu,
        ways,
        pictures: models.len(),
    })
}

/// How the picture of an entry is coded, if it is one.
fn form_of(entry: &Entry) -> Option<Form> {
    let is_picture = entry.kind == EntryKind::Picture;
    is_picture.then(|| Form::named(&entry.name)).flatten()
}

/// The rung that an entry is, if this device has it.
fn place_of(entry: &Entry, split: &str, models: &[Weighed<'_>]) -> Option<Place> {
    let of_split = |one: &&Weighed<'_>| one.bank.backbone().split == split;
    let Weighed { model, bank, .. } = models.iter().find(of_split)?;
    let rung = bank
        .rungs()
        .iter()
        .position(|rung| rung.name == entry.name)?;
    let rung = u16::try_from(rung).ok()?;
    Some(Place {
        model: *model,
        rung,
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a mean of times that fit 32 bits"
)]
fn whole(us: f64) -> u64 {
    us.max(0.0).round() as u64
}
