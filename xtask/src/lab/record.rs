//! Rate-accuracy documents (`split-ra/1`): results.json, results.csv and the records.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::files::{read, write_whole};

pub(crate) const SCHEMA: &str = "split-ra/1";

/// A rate-accuracy document; extra fields of other writers are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) schema: String,
    pub(crate) command: String,
    pub(crate) git: String,
    pub(crate) date: String,
    pub(crate) machine: Machine,
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) seed: u64,
    pub(crate) data: Data,
    pub(crate) backbone: Backbone,
    pub(crate) rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) os: String,
    /// What computed the tensors, where it is not that processor.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) gpu: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Data {
    pub(crate) name: String,
    pub(crate) train: String,
    pub(crate) test: String,
    pub(crate) sha256: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Backbone {
    pub(crate) name: String,
    pub(crate) split: String,
    pub(crate) weights_sha256: String,
    pub(crate) macs: u64,
    pub(crate) params: u64,
    pub(crate) metric: String,
    pub(crate) value: f64,
}

/// One point of a curve.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) bytes: f64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) bytes_p95: Option<f64>,
    pub(crate) bytes_payload: f64,
    pub(crate) bpp: f64,
    pub(crate) value: f64,
    pub(crate) n: usize,
    pub(crate) device_macs: u64,
    pub(crate) device_params: u64,
    pub(crate) edge_params: u64,
    pub(crate) unit_params: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) lambda: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) step: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) epochs: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) train_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) estimated_bytes: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) flush_bytes: Option<f64>,
    /// Average precision at overlap 0.5, where the metric is mean average precision.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) map50: Option<f64>,
    /// Difference to the unsplit network on the same pictures.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) difference: Option<f64>,
    /// Ends of its 95 % interval by a paired bootstrap over the pictures.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) difference_low: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) difference_high: Option<f64>,
    pub(crate) seed: u64,
    pub(crate) command: String,
    pub(crate) git: String,
    /// Where it was measured, where that is not the document's machine.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) machine: Option<Machine>,
}

impl Machine {
    /// With the graphics card where this backend computes on one.
    pub(crate) fn computing(mut self, backend: Backend) -> Self {
        if !backend.is_cpu() {
            self.gpu = backend.adapter().ok();
        }
        self
    }
}

impl Document {
    pub(crate) fn new(seed: u64, data: Data, backbone: Backbone, backend: Backend) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            command: command_line(),
            git: git_state(),
            date: date(),
            machine: machine().computing(backend),
            versions: versions(backend)
                .into_iter()
                .map(|(name, version)| (name.to_owned(), version))
                .collect(),
            seed,
            data,
            backbone,
            rows: Vec::new(),
        }
    }

    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        write_whole(path, text.as_bytes())
    }

    pub(crate) fn save_csv(&self, path: &Path) -> Result<()> {
        let mut text = String::from(
            "name,kind,bytes,bytes_payload,bpp,value,n,device_macs,device_params,edge_params,\
             unit_params,lambda,step,epochs,train_s,estimated_bytes,flush_bytes,seed\n",
        );
        for row in &self.rows {
            let optional = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v}"));
            let fields = [
                row.name.clone(),
                row.kind.clone(),
                row.bytes.to_string(),
                row.bytes_payload.to_string(),
                row.bpp.to_string(),
                row.value.to_string(),
                row.n.to_string(),
                row.device_macs.to_string(),
                row.device_params.to_string(),
                row.edge_params.to_string(),
                row.unit_params.to_string(),
                optional(row.lambda),
                optional(row.step),
                optional(row.epochs),
                optional(row.train_s),
                optional(row.estimated_bytes),
                optional(row.flush_bytes),
                row.seed.to_string(),
            ];
            text.push_str(&fields.join(","));
            text.push('\n');
        }
        write_whole(path, text.as_bytes())
    }

    /// Puts this run's rows into a record: rows of the same name and seed are replaced, all
    /// others stay and keep the machine they were measured on.
    pub(crate) fn merge_into(&self, path: &Path) -> Result<()> {
        let mut merged = self.clone();
        if path.exists() {
            let old: Self = serde_json::from_slice(&read(path)?)
                .with_context(|| format!("{} is no {SCHEMA} document", path.display()))?;
            let subject = |document: &Self| {
                let Backbone {
                    name,
                    split,
                    weights_sha256,
                    ..
                } = document.backbone.clone();
                (document.data.sha256.clone(), name, split, weights_sha256)
            };
            if subject(&old) != subject(self) {
                bail!(
                    "{} holds {} cut at {} on other pictures or weights than this run of {} cut at {}; \
                     name another --record (the results are in the run folder)",
                    path.display(),
                    old.backbone.name,
                    old.backbone.split,
                    self.backbone.name,
                    self.backbone.split
                );
            }
            let same = |row: &Row| {
                self.rows
                    .iter()
                    .any(|new| new.name == row.name && new.seed == row.seed)
            };
            let there = |row: Row| Row {
                machine: row
                    .machine
                    .or_else(|| Some(old.machine.clone()))
                    .filter(|machine| *machine != self.machine),
                ..row
            };
            let others = old.rows.iter().filter(|row| !same(row)).cloned();
            let mut rows: Vec<Row> = others.map(there).collect();
            rows.append(&mut merged.rows);
            merged.rows = rows;
        }
        merged.rows.sort_by(|a, b| {
            (&a.kind, a.seed)
                .cmp(&(&b.kind, b.seed))
                .then(a.bytes.total_cmp(&b.bytes))
        });
        merged.save(path)
    }
}

/// Version of Burn and its crates.
pub(crate) const BURN: &str = "0.22.1";

/// Versions of what computed a figure.
pub(crate) fn versions(backend: Backend) -> BTreeMap<&'static str, String> {
    let mut versions: BTreeMap<&'static str, String> = [
        ("burn", BURN.to_owned()),
        ("backend", backend.name().to_owned()),
        ("split", env!("CARGO_PKG_VERSION").to_owned()),
    ]
    .into();
    // Set by Cargo settings that compile in another way than people do.
    if let Some(build) = option_env!("SPLIT_BUILD") {
        versions.insert("build", build.to_owned());
    }
    versions
}

/// The command as a user types it, without where this machine keeps its pictures and weights.
pub(crate) fn command_line() -> String {
    let mut words = vec!["cargo xtask".to_owned()];
    let mut previous = String::new();
    for word in std::env::args().skip(1) {
        words.push(match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => {
                format!("{option}={}", placeless(option, value))
            }
            _ => placeless(&previous, &word),
        });
        previous = word;
    }
    words.join(" ")
}

/// What a word of the command is elsewhere: data sets lose their folder, files theirs.
fn placeless(option: &str, word: &str) -> String {
    if let ("--data", Some((kind, _))) = (option, word.split_once(':')) {
        return format!("{kind}:DIR");
    }
    let path = Path::new(word);
    let name = path.file_name().map(|name| name.to_string_lossy());
    match (option, name) {
        ("--peers", _) => "PYTHON".to_owned(),
        ("--weights", Some(name)) => name.into_owned(),
        (_, Some(name)) if path.is_absolute() => name.into_owned(),
        _ => word.to_owned(),
    }
}

pub(crate) fn git_state() -> String {
    let run = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = run(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    // A record that was just written does not change the program that wrote it.
    match run(&[
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ":/",
        ":(top,exclude)benches/records",
    ]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}+dirty"),
    }
}

/// Today as year-month-day (UTC), from days since 1970 (civil-from-days, Hinnant).
#[expect(clippy::disallowed_methods, reason = "a record says when it was made")]
pub(crate) fn date() -> String {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let days = i64::try_from(seconds / 86_400).unwrap_or(0) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

pub(crate) fn machine() -> Machine {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    Machine {
        cpu,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        os: std::env::consts::OS.to_owned(),
        gpu: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_on(cpu: &str, name: &str, seed: u64) -> Document {
        let text = |word: &str| word.to_owned();
        Document {
            schema: text(SCHEMA),
            command: text("c"),
            git: text("g"),
            date: text("2026-11-23"),
            machine: Machine {
                cpu: text(cpu),
                cores: 2,
                os: text("linux"),
                gpu: None,
            },
            versions: BTreeMap::new(),
            seed,
            data: Data {
                name: text("d"),
                train: text("t"),
                test: text("t"),
                sha256: text("0"),
            },
            backbone: Backbone {
                name: text("b"),
                split: text("s"),
                weights_sha256: text("0"),
                macs: 1,
                params: 1,
                metric: text("top1"),
                value: 90.0,
            },
            rows: vec![Row {
                name: text(name),
                kind: text("unit"),
                seed,
                ..Row::default()
            }],
        }
    }

    #[test]
    fn rows_of_other_machines_keep_theirs_in_a_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record.json");
        let runs = [
            run_on("old", "one", 1),
            run_on("old", "two", 1),
            run_on("new", "one", 2),
            run_on("new", "two", 1),
            run_on("old", "three", 1),
        ];
        for run in runs {
            run.merge_into(&path).unwrap();
        }
        let merged: Document = serde_json::from_slice(&read(&path).unwrap()).unwrap();
        let cpu = |row: &Row| row.machine.clone().map(|machine| machine.cpu);
        let found: Vec<_> = merged
            .rows
            .iter()
            .map(|row| (row.name.as_str(), row.seed, cpu(row)))
            .collect();
        assert_eq!(merged.machine.cpu, "old");
        let new = Some("new".to_owned());
        let expected = [
            ("two", 1, new.clone()),
            ("one", 1, None),
            ("three", 1, None),
            ("one", 2, new),
        ];
        for row in &expected {
            assert!(found.contains(row), "{row:?} in {found:?}");
        }
        assert_eq!(found.len(), expected.len());
    }
}
