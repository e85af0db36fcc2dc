use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Most entries of a menu: a decision looks at every one.
pub const MAX_MENU_ENTRIES: usize = 64;

/// Longest time that an entry may name, in microseconds: an hour.
const MAX_TIME_US: u64 = 3_600_000_000;

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// Head and unit encoder on the device, a frame, unit decoder and tail on the edge.
    Split,
    /// The picture goes to the edge, which runs the whole network.
    Picture,
    /// The whole network on the device; nothing is sent.
    DeviceOnly,
}

/// One way to answer a request, with what it costs and gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Unique among those of its split point.
    pub name: String,
    /// What it does.
    pub kind: EntryKind,
    /// Which split point: an index into the menu's names of split points.
    pub split: usize,
    /// Number of the rung within the bank or the picture codec.
    pub rung: u16,
    /// Mean length of a whole frame in bytes; 0 for the device alone.
    pub bytes_mean: f64,
    /// Length that 95 of 100 frames stay within.
    pub bytes_p95: f64,
    /// Accuracy in per cent.
    pub accuracy: f64,
    /// Time on the device for one picture, in microseconds.
    pub head_us: u64,
    /// Fixed time of a batch on the edge, in microseconds.
    pub tail_us: u64,
    /// Time that each picture of a batch adds, in microseconds.
    pub tail_each_us: u64,
}

impl Entry {
    /// Time of a batch on the edge in microseconds; 0 for the device alone.
    #[must_use]
    pub fn tail_batch_us(&self, batch: u32) -> u64 {
        self.tail_us + self.tail_each_us * u64::from(batch)
    }

    /// Whether something is sent.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.kind != EntryKind::DeviceOnly
    }

    /// Which of two leaves the device first; of these the smaller.
    pub(super) fn cmp_soonness(&self, other: &Self) -> Ordering {
        let by_time = self.head_us.cmp(&other.head_us);
        by_time.then(self.bytes_mean.total_cmp(&other.bytes_mean))
    }
}

/// What a policy can choose from.
#[derive(Clone, Debug, PartialEq)]
pub struct Menu {
    splits: Vec<String>,
    entries: Vec<Entry>,
}

/// Why a menu can't be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MenuError {
    /// Too few or too many entries.
    #[error("{found} entries, allowed are 1 to {MAX_MENU_ENTRIES}")]
    Count {
        /// How many there are.
        found: usize,
    },
    /// Two entries of a split point have one name.
    #[error("two entries of a split point are called {name:?}")]
    NameTwice {
        /// The name.
        name: String,
    },
    /// An entry names a split point that the menu hasn't.
    #[error("entry {name:?} has split point {found}, the menu has {splits}")]
    Split {
        /// The entry.
        name: String,
        /// The index it names.
        found: usize,
        /// How many split points there are.
        splits: usize,
    },
    /// A number that can't be meant.
    #[error("entry {name:?} has {field} {found}, expected {expected}")]
    Value {
        /// The entry.
        name: String,
        /// The field.
        field: &'static str,
        /// What it is.
        found: f64,
        /// What it should be.
        expected: &'static str,
    },
}

impl Menu {
    /// A menu of these entries, whose split points have these names.
    ///
    /// # Errors
    /// [`MenuError`], one variant per broken rule.
    pub fn new(splits: Vec<String>, entries: Vec<Entry>) -> Result<Self, MenuError> {
        let found = entries.len();
        if found == 0 || found > MAX_MENU_ENTRIES {
            return Err(MenuError::Count { found });
        }
        let mut names = BTreeSet::new();
        for entry in &entries {
            check(entry, splits.len())?;
            if !names.insert((entry.split, entry.name.as_str())) {
                let name = entry.name.clone();
                return Err(MenuError::NameTwice { name });
            }
        }
        Ok(Self { splits, entries })
    }

    /// Names of the split points.
    #[must_use]
    pub fn splits(&self) -> &[String] {
        &self.splits
    }

    /// The entries, at least one.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Name of an entry as records write it: split point and rung.
    ///
    /// # Panics
    /// If there is no such entry.
    #[must_use]
    pub fn label(&self, index: usize) -> String {
        let entry = &self.entries[index];
        format!("{}-{}", self.splits[entry.split], entry.name)
    }

    /// The same on a device that takes `times` as long for its part: for a menu that was measured on a faster
    /// machine than the one that is meant.
    ///
    /// # Errors
    /// [`MenuError::Value`] where a time gets longer than a menu may name.
    pub fn on_slower_device(&self, times: u32) -> Result<Self, MenuError> {
        let slower = |entry: &Entry| Entry {
            head_us: entry.head_us.saturating_mul(u64::from(times)),
            ..entry.clone()
        };
        Self::new(
            self.splits.clone(),
            self.entries.iter().map(slower).collect(),
        )
    }

    /// Best accuracy of all entries.
    #[must_use]
    pub fn accuracy_max(&self) -> f64 {
        let all = self.entries.iter().map(|entry| entry.accuracy);
        all.fold(0.0, f64::max)
    }

    /// The entry of fewest bytes among those that send something, else the first.
    #[must_use]
    pub fn smallest_sent(&self) -> usize {
        let sent = (0..self.entries.len()).filter(|&index| self.entries[index].is_sent());
        sent.min_by(|&a, &b| {
            let [a, b] = [a, b].map(|index| self.entries[index].bytes_mean);
            a.total_cmp(&b)
        })
        .unwrap_or(0)
    }
}

fn check(entry: &Entry, splits: usize) -> Result<(), MenuError> {
    let name = || entry.name.clone();
    if entry.split >= splits {
        return Err(MenuError::Split {
            name: name(),
            found: entry.split,
            splits,
        });
    }
    let value = |field, found, expected, holds: bool| match holds {
        true => Ok(()),
        false => Err(MenuError::Value {
            name: name(),
            field,
            found,
            expected,
        }),
    };
    let (mean, p95) = (entry.bytes_mean, entry.bytes_p95);
    let bytes = match entry.is_sent() {
        true => 1.0..=1e7,
        false => 0.0..=0.0,
    };
    value(
        "bytes_mean",
        mean,
        "1 to 10^7, 0 for the device alone",
        bytes.contains(&mean),
    )?;
    value(
        "bytes_p95",
        p95,
        "from the mean to three times it",
        (mean..=3.0 * mean).contains(&p95),
    )?;
    value(
        "accuracy",
        entry.accuracy,
        "0 to 100",
        (0.0..=100.0).contains(&entry.accuracy),
    )?;
    let times = [entry.head_us, entry.tail_us, entry.tail_each_us];
    for (field, us) in ["head_us", "tail_us", "tail_each_us"]
        .into_iter()
        .zip(times)
    {
        value(field, us as f64, "at most an hour", us <= MAX_TIME_US)?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A split with three rungs, a picture of two qualities, and the device alone.
    pub(crate) fn small() -> Menu {
        let entry = |name: &str, kind, split, bytes: f64, accuracy, head_us| Entry {
            name: name.to_owned(),
            kind,
            split,
            rung: 0,
            bytes_mean: bytes,
            bytes_p95: bytes * 1.3,
            accuracy,
            head_us,
            tail_us: if kind == EntryKind::DeviceOnly {
                0
            } else {
                1_000
            },
            tail_each_us: 0,
        };
        let entries = vec![
            entry("low", EntryKind::Split, 0, 60.0, 88.0, 20_000),
            entry("mid", EntryKind::Split, 0, 200.0, 90.0, 20_000),
            entry("high", EntryKind::Split, 0, 900.0, 91.0, 20_000),
            entry("coarse", EntryKind::Picture, 1, 800.0, 89.0, 1_000),
            entry("fine", EntryKind::Picture, 1, 5_000.0, 92.0, 1_000),
            entry("all", EntryKind::DeviceOnly, 2, 0.0, 92.0, 150_000),
        ];
        let splits = ["layer2", "picture", "device"].map(str::to_owned);
        Menu::new(splits.to_vec(), entries).unwrap()
    }

    #[test]
    fn broken_menus_are_refused_by_field() {
        let refused = |change: &dyn Fn(&mut Vec<Entry>), expected: &str| {
            let menu = small();
            let mut entries = menu.entries.clone();
            change(&mut entries);
            let error = Menu::new(menu.splits, entries).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        refused(&|entries| entries.clear(), "0 entries");
        refused(&|entries| entries[0].name = "mid".into(), "\"mid\"");
        refused(&|entries| entries[0].split = 3, "split point 3");
        refused(&|entries| entries[1].bytes_mean = f64::NAN, "bytes_mean");
        refused(&|entries| entries[1].bytes_p95 = 10.0, "bytes_p95");
        refused(&|entries| entries[5].bytes_mean = 2.0, "bytes_mean");
        refused(&|entries| entries[2].accuracy = 101.0, "accuracy");
        refused(&|entries| entries[2].head_us = u64::MAX, "head_us");
    }

    #[test]
    fn a_slower_device_takes_longer_for_its_part_alone() {
        let menu = small();
        let slower = menu.on_slower_device(30).unwrap();
        for (before, after) in menu.entries().iter().zip(slower.entries()) {
            assert_eq!(after.head_us, 30 * before.head_us);
            let same = Entry {
                head_us: before.head_us,
                ..after.clone()
            };
            assert_eq!(&same, before);
        }
        assert!(menu.on_slower_device(u32::MAX).is_err());
    }

    #[test]
    fn labels_name_split_point_and_rung() {
        let menu = small();
        assert_eq!(menu.label(1), "layer2-mid");
        assert_eq!(menu.smallest_sent(), 0);
    }
}
