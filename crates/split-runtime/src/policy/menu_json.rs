//! Menus as JSON, and from measured rate-accuracy records.

use serde_json::{Value, json};

use super::{Entry, EntryKind, MAX_MENU_ENTRIES, Menu, MenuError};

/// Schema of a menu file.
pub const MENU_SCHEMA: &str = "split-menu/1";

/// Longest menu file or record that is read.
pub const MAX_MENU_BYTES: usize = 4 << 20;

/// Why a file is no menu.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MenuFileError {
    /// Too long.
    #[error("{found} bytes, allowed are {MAX_MENU_BYTES}")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// Not JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Another schema.
    #[error("schema {found:?}, expected {expected:?}")]
    Schema {
        /// What it says.
        found: String,
        /// What it should say.
        expected: &'static str,
    },
    /// A field is missing or holds something else.
    #[error("field {field:?} of {of} is missing or not {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it should hold.
        expected: &'static str,
        /// The entry or row.
        of: String,
    },
    /// Records of two backbones can't be one menu.
    #[error("a record of {found:?} among those of {first:?}")]
    Backbones {
        /// Backbone of the first record.
        first: String,
        /// Backbone of another one.
        found: String,
    },
    /// Speeds whose numbers can't be meant.
    #[error("{field} is {found}, expected {expected}")]
    Speeds {
        /// The field.
        field: &'static str,
        /// What it is.
        found: f64,
        /// What it should be.
        expected: &'static str,
    },
    /// What was read makes no menu.
    #[error(transparent)]
    Menu(#[from] MenuError),
}

/// How fast device and edge are, to turn the multiplications of a record into times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speeds {
    /// Multiply-accumulates a second on the device.
    pub device_macs_per_s: f64,
    /// Fixed time of a picture on the device in microseconds: reading it, coding a frame.
    pub device_us: u64,
    /// Time of coding a picture for sending, in microseconds.
    pub picture_us: u64,
    /// Multiply-accumulates a second on the edge.
    pub edge_macs_per_s: f64,
    /// Fixed time of a batch on the edge in microseconds.
    pub edge_us: u64,
    /// 95th percentile of a frame's length over its mean, where the record names none.
    pub p95_ratio: f64,
    /// Rows that lose more points than this to the unsplit network are left out.
    pub points_lost_max: f64,
}

impl Default for Speeds {
    /// A device of 0.2 and an edge of 20 billion multiply-accumulates a second: assumptions, as a
    /// microcontroller with vector instructions and a few server cores may reach.
    fn default() -> Self {
        Self {
            device_macs_per_s: 0.2e9,
            device_us: 500,
            picture_us: 2_000,
            edge_macs_per_s: 20e9,
            edge_us: 1_000,
            p95_ratio: 1.3,
            points_lost_max: 10.0,
        }
    }
}

impl Menu {
    /// Reads a menu file:
    ///
    /// ```json
    /// { "schema": "split-menu/1", "splits": ["layer2", "device"],
    ///   "entries": [
    ///     { "name": "unit-1", "kind": "split", "split": 0, "rung": 0, "bytes_mean": 182.4, "bytes_p95": 237.1,
    ///       "accuracy": 91.0, "head_us": 52396, "tail_us": 1000, "tail_each_us": 997 },
    ///     { "name": "all", "kind": "device-only", "split": 1, "rung": 0, "bytes_mean": 0, "bytes_p95": 0,
    ///       "accuracy": 91.75, "head_us": 152140, "tail_us": 0, "tail_each_us": 0 } ] }
    /// ```
    ///
    /// `kind` is `split`, `picture` or `device-only`, `split` an index into `splits`, `accuracy`
    /// in per cent; the other fields are those of [`Entry`]. Unknown fields are ignored.
    ///
    /// # Errors
    /// [`MenuFileError`] naming entry and field.
    pub fn parse_json(text: &str) -> Result<Self, MenuFileError> {
        let file = parse(text, MENU_SCHEMA)?;
        let names = array(&file, "splits", "the menu")?;
        let splits = names.iter().map(|name| {
            let name = name.as_str().map(str::to_owned);
            name.ok_or_else(|| wrong("splits", "names", "the menu"))
        });
        let list = array(&file, "entries", "the menu")?;
        if list.len() > MAX_MENU_ENTRIES {
            let found = list.len();
            return Err(MenuError::Count { found }.into());
        }
        let entries = list.iter().map(parse_entry);
        let splits = splits.collect::<Result<_, _>>()?;
        Ok(Self::new(splits, entries.collect::<Result<_, _>>()?)?)
    }

    /// Writes the file that [`Self::parse_json`] reads.
    #[must_use]
    pub fn to_json(&self) -> String {
        let entries: Vec<Value> = self.entries().iter().map(entry_json).collect();
        let file = json!({"schema": MENU_SCHEMA, "splits": self.splits(), "entries": entries});
        format!("{file:#}\n")
    }

    /// Makes a menu from rate-accuracy records (`split-ra/1`) of one backbone, one for each split
    /// point, and the speeds of device and edge.
    ///
    /// Rows of kind `unit` become split entries, JPEG, WebP and lossless pictures picture
    /// entries, `device-only` the device alone. Times are multiplications over speed. A row that
    /// another one of its split point beats in bytes and accuracy is left out. `bytes_p95` of a
    /// row is used where there is one.
    ///
    /// # Errors
    /// [`MenuFileError`] naming row and field.
    pub fn from_records(records: &[&str], speeds: &Speeds) -> Result<Self, MenuFileError> {
        check_speeds(speeds)?;
        let mut splits = vec!["picture".to_owned(), "device".to_owned()];
        let mut entries: Vec<Entry> = Vec::new();
        let mut first: Option<String> = None;
        for text in records {
            let record = parse(text, "split-ra/1")?;
            let backbone = &record["backbone"];
            let found = string(backbone, "name", "backbone")?;
            let first = first.get_or_insert_with(|| found.clone());
            if *first != found {
                let first = first.clone();
                return Err(MenuFileError::Backbones { first, found });
            }
            let macs = number(backbone, "macs", "backbone")?;
            let accuracy = number(backbone, "value", "backbone")?;
            splits.push(string(backbone, "split", "backbone")?);
            let split = splits.len() - 1;
            for row in array(&record, "rows", "the record")? {
                let entry = row_entry(row, split, macs, speeds)?;
                entries.extend(
                    entry.filter(|entry| entry.accuracy >= accuracy - speeds.points_lost_max),
                );
            }
        }
        let mut kept = undominated(entries);
        number_rungs(&mut kept);
        Ok(Self::new(splits, kept)?)
    }
}

fn parse(text: &str, expected: &'static str) -> Result<Value, MenuFileError> {
    let found = text.len();
    if found > MAX_MENU_BYTES {
        return Err(MenuFileError::TooLong { found });
    }
    let file: Value = serde_json::from_str(text)?;
    match file["schema"].as_str() {
        Some(found) if found == expected => Ok(file),
        found => Err(MenuFileError::Schema {
            found: found.unwrap_or_default().to_owned(),
            expected,
        }),
    }
}

fn wrong(field: &'static str, expected: &'static str, of: &str) -> MenuFileError {
    let of = of.to_owned();
    MenuFileError::Field {
        field,
        expected,
        of,
    }
}

fn array<'a>(
    of: &'a Value,
    field: &'static str,
    name: &str,
) -> Result<&'a Vec<Value>, MenuFileError> {
    let found = of[field].as_array();
    found.ok_or_else(|| wrong(field, "a list", name))
}

fn number(of: &Value, field: &'static str, name: &str) -> Result<f64, MenuFileError> {
    let found = of[field].as_f64();
    found.ok_or_else(|| wrong(field, "a number", name))
}

fn count(of: &Value, field: &'static str, name: &str) -> Result<u64, MenuFileError> {
    let found = of[field].as_u64();
    found.ok_or_else(|| wrong(field, "a whole number from 0", name))
}

fn string(of: &Value, field: &'static str, name: &str) -> Result<String, MenuFileError> {
    let found = of[field].as_str().map(str::to_owned);
    found.ok_or_else(|| wrong(field, "a text", name))
}

const KINDS: [(EntryKind, &str); 3] = [
    (EntryKind::Split, "split"),
    (EntryKind::Picture, "picture"),
    (EntryKind::DeviceOnly, "device-only"),
];

fn parse_entry(value: &Value) -> Result<Entry, MenuFileError> {
    let name = string(value, "name", "an entry")?;
    let kind = string(value, "kind", &name)?;
    let known = KINDS.iter().find(|(_, known)| *known == kind);
    let &(kind, _) = known.ok_or_else(|| wrong("kind", "split, picture or device-only", &name))?;
    let narrow = || wrong("rung", "a 16-bit number", &name);
    Ok(Entry {
        kind,
        split: usize::try_from(count(value, "split", &name)?).unwrap_or(usize::MAX),
        rung: u16::try_from(count(value, "rung", &name)?).map_err(|_| narrow())?,
        bytes_mean: number(value, "bytes_mean", &name)?,
        bytes_p95: number(value, "bytes_p95", &name)?,
        accuracy: number(value, "accuracy", &name)?,
        head_us: count(value, "head_us", &name)?,
        tail_us: count(value, "tail_us", &name)?,
        tail_each_us: count(value, "tail_each_us", &name)?,
        name,
    })
}

fn entry_json(entry: &Entry) -> Value {
    let kind = KINDS.iter().find(|(kind, _)| *kind == entry.kind);
    json!({
        "name": entry.name,
        "kind": kind.map(|(_, name)| *name),
        "split": entry.split,
        "rung": entry.rung,
        "bytes_mean": entry.bytes_mean,
        "bytes_p95": entry.bytes_p95,
        "accuracy": entry.accuracy,
        "head_us": entry.head_us,
        "tail_us": entry.tail_us,
        "tail_each_us": entry.tail_each_us,
    })
}

fn check_speeds(speeds: &Speeds) -> Result<(), MenuFileError> {
    let check = |field, found, expected, range: std::ops::RangeInclusive<f64>| match range
        .contains(&found)
    {
        true => Ok(()),
        false => Err(MenuFileError::Speeds {
            field,
            found,
            expected,
        }),
    };
    let usual = "10^4 to 10^15 a second";
    check(
        "device_macs_per_s",
        speeds.device_macs_per_s,
        usual,
        1e4..=1e15,
    )?;
    check("edge_macs_per_s", speeds.edge_macs_per_s, usual, 1e4..=1e15)?;
    check("p95_ratio", speeds.p95_ratio, "1 to 3", 1.0..=3.0)?;
    check(
        "points_lost_max",
        speeds.points_lost_max,
        "0 to 100 points",
        0.0..=100.0,
    )
}

/// The entry of a row, or nothing for kinds that nobody would deploy.
fn row_entry(
    row: &Value,
    split: usize,
    macs: f64,
    speeds: &Speeds,
) -> Result<Option<Entry>, MenuFileError> {
    let name = string(row, "name", "a row")?;
    let (kind, split) = match string(row, "kind", &name)?.as_str() {
        "unit" => (EntryKind::Split, split),
        "jpeg" | "webp" | "webp-lossless" => (EntryKind::Picture, 0),
        "device-only" => (EntryKind::DeviceOnly, 1),
        _ => return Ok(None),
    };
    let device_macs = number(row, "device_macs", &name)?;
    let edge_macs = match kind {
        EntryKind::DeviceOnly => 0.0,
        _ => (macs - device_macs).max(0.0),
    };
    let sent = kind != EntryKind::DeviceOnly;
    let bytes = match sent {
        true => number(row, "bytes", &name)?,
        false => 0.0,
    };
    let p95 = row["bytes_p95"].as_f64().filter(|_| sent);
    let coding_us = match kind {
        EntryKind::Picture => speeds.picture_us,
        _ => speeds.device_us,
    };
    Ok(Some(Entry {
        kind,
        split,
        rung: 0,
        bytes_mean: bytes,
        bytes_p95: p95.unwrap_or(bytes * speeds.p95_ratio),
        accuracy: number(row, "value", &name)?,
        head_us: coding_us + us(device_macs / speeds.device_macs_per_s),
        tail_us: if sent { speeds.edge_us } else { 0 },
        tail_each_us: us(edge_macs / speeds.edge_macs_per_s),
        name: name.replace(' ', "-"),
    }))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and a menu refuses what is longer than an hour"
)]
fn us(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

/// Without entries that one of the same split point beats or equals in bytes, accuracy and time;
/// fewest bytes first.
fn undominated(mut entries: Vec<Entry>) -> Vec<Entry> {
    let key = |entry: &Entry| (entry.kind, entry.split);
    entries.sort_by(|a, b| {
        let bytes = a.bytes_mean.total_cmp(&b.bytes_mean);
        let accuracy = b.accuracy.total_cmp(&a.accuracy);
        key(a).cmp(&key(b)).then(bytes).then(accuracy)
    });
    let mut kept: Vec<Entry> = Vec::new();
    for entry in entries {
        let beaten = kept.iter().any(|better| {
            key(better) == key(&entry)
                && better.accuracy >= entry.accuracy
                && better.head_us <= entry.head_us
        });
        if !beaten {
            kept.push(entry);
        }
    }
    kept
}

fn number_rungs(entries: &mut [Entry]) {
    let mut last = None;
    let mut rung = 0;
    for entry in entries {
        rung = if last == Some(entry.split) {
            rung + 1
        } else {
            0
        };
        last = Some(entry.split);
        entry.rung = rung;
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::small;
    use super::*;

    #[test]
    fn a_menu_survives_its_file() {
        let menu = small();
        assert_eq!(Menu::parse_json(&menu.to_json()).unwrap(), menu);
    }

    #[test]
    fn broken_files_are_refused_by_field() {
        let refused = |change: &dyn Fn(&mut Value), expected: &str| {
            let mut file: Value = serde_json::from_str(&small().to_json()).unwrap();
            change(&mut file);
            let error = Menu::parse_json(&file.to_string()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        refused(
            &|file| file["schema"] = "split-menu/2".into(),
            "split-menu/2",
        );
        refused(&|file| file["splits"] = 3.into(), "\"splits\"");
        refused(
            &|file| file["entries"][0]["kind"] = "magic".into(),
            "\"kind\" of low",
        );
        refused(
            &|file| file["entries"][1]["head_us"] = (-1).into(),
            "\"head_us\" of mid",
        );
        refused(
            &|file| file["entries"][1]["rung"] = 70_000.into(),
            "\"rung\" of mid",
        );
        refused(
            &|file| file["entries"][1]["split"] = 9.into(),
            "split point 9",
        );
        assert!(Menu::parse_json("{").is_err());
        assert!(Menu::parse_json(&" ".repeat(MAX_MENU_BYTES + 1)).is_err());
    }

    fn record() -> String {
        let row = |name: &str, kind: &str, bytes: f64, value: f64, device_macs: u64| json!({"name": name, "kind": kind, "bytes": bytes, "value": value, "device_macs": device_macs});
        json!({"schema": "split-ra/1",
        "backbone": {"name": "net", "split": "layer2", "macs": 30_000_000, "value": 92.0},
        "rows": [
            row("unit-1", "unit", 200.0, 91.0, 10_000_000),
            row("unit-2", "unit", 60.0, 88.0, 10_000_000),
            row("unit-3", "unit", 250.0, 90.0, 10_000_000),
            row("unit-4", "unit", 10.0, 20.0, 10_000_000),
            row("webp q5", "webp", 300.0, 85.0, 0),
            row("paper-unit-1", "paper-unit", 240.0, 91.0, 9_000_000),
            row("device only", "device-only", 2.0, 92.0, 30_000_000),
        ]})
        .to_string()
    }

    #[test]
    fn records_become_menus_without_beaten_and_useless_rows() {
        let menu = Menu::from_records(&[&record()], &Speeds::default()).unwrap();
        let names: Vec<&str> = menu
            .entries()
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        assert_eq!(names, ["unit-2", "unit-1", "webp-q5", "device-only"]);
        let unit = &menu.entries()[1];
        assert_eq!(
            (unit.rung, unit.head_us, unit.tail_each_us),
            (1, 50_500, 1_000)
        );
        assert_eq!(menu.label(1), "layer2-unit-1");
        let alone = &menu.entries()[3];
        assert_eq!((alone.head_us, alone.bytes_mean), (150_500, 0.0));
    }

    #[test]
    fn records_of_two_backbones_are_refused() {
        let other = record().replace("\"net\"", "\"other\"");
        let error = Menu::from_records(&[&record(), &other], &Speeds::default());
        assert!(error.unwrap_err().to_string().contains("\"other\""));
        let slow = Speeds {
            device_macs_per_s: 0.0,
            ..Speeds::default()
        };
        assert!(Menu::from_records(&[&record()], &slow).is_err());
    }
}
