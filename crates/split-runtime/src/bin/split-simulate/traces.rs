//! Recorded traces of a folder, by family.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use split_runtime::sim::{SYNTHETIC_FAMILY, Trace, synthetic_trace};

/// Which traces of a family are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// All of them
    All,
    /// Every other one, the first included: what settings may be chosen on
    Develop,
    /// The rest, which no setting was chosen on
    HeldOut,
}

/// What isn't in a trace: round trip and jitter each way, in milliseconds, by the start of the
/// family's name. Usual values of such networks, not measured.
const DELAYS_MS: [(&str, u64, u64); 4] = [
    ("hsdpa", 60, 8),
    ("fcc", 15, 2),
    ("puffer", 25, 4),
    (SYNTHETIC_FAMILY, 20, 4),
];

/// Traces with one name and one set of delays.
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) rtt_ms: u64,
    pub(crate) jitter_ms: u64,
    pub(crate) traces: Vec<Arc<Trace>>,
}

/// Reads the families of a folder and draws the synthetic one. Without a folder it is
/// `traces` under SPLIT_ASSETS, else under `../shared/assets`; where that isn't there either,
/// the synthetic family is all.
pub(crate) fn load(
    folder: Option<&Path>,
    part: Part,
    seed: u64,
    synthetic: u64,
) -> Result<Vec<Family>> {
    let mut named: BTreeMap<String, Vec<Arc<Trace>>> = BTreeMap::new();
    match folder.map(Path::to_owned).or_else(usual_folder) {
        Some(folder) => {
            for (family, trace) in read(&folder)? {
                named.entry(family).or_default().push(Arc::new(trace));
            }
        }
        None => eprintln!("no folder of traces: the synthetic family only"),
    }
    let drawn = (0..synthetic).map(|index| synthetic_trace(seed.wrapping_mul(1_000) + index, 300));
    named.insert(SYNTHETIC_FAMILY.to_owned(), drawn.map(Arc::new).collect());
    let families = named.into_iter().map(|(name, traces)| {
        let kept = traces.into_iter().zip(0..).filter(|(_, index)| match part {
            Part::All => true,
            Part::Develop => index % 2 == 0,
            Part::HeldOut => index % 2 == 1,
        });
        let delays = DELAYS_MS.iter().find(|(start, ..)| name.starts_with(start));
        let &(_, rtt_ms, jitter_ms) = delays.unwrap_or(&("", 20, 4));
        Family {
            name,
            rtt_ms,
            jitter_ms,
            traces: kept.map(|(trace, _)| trace).collect(),
        }
    });
    Ok(families
        .filter(|family| !family.traces.is_empty())
        .collect())
}

#[expect(clippy::disallowed_methods, reason = "a program reads its environment")]
fn usual_folder() -> Option<PathBuf> {
    let assets =
        env::var("SPLIT_ASSETS").map_or_else(|_| PathBuf::from("../shared/assets"), PathBuf::from);
    Some(assets.join("traces")).filter(|folder| folder.is_dir())
}

/// Family and trace of each file `FAMILY-*.csv` but the manifest, in the order of their names.
fn read(folder: &Path) -> Result<Vec<(String, Trace)>> {
    let listing = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in listing {
        let name = entry.context("reading a folder")?.file_name();
        let name = name.to_string_lossy().into_owned();
        if name.ends_with(".csv") && name != "MANIFEST.csv" {
            names.push(name);
        }
    }
    names.sort();
    if names.is_empty() {
        bail!("no traces in {}", folder.display());
    }
    let read_one = |name: String| {
        let path = folder.join(&name);
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let trace =
            Trace::parse_csv(&text).with_context(|| format!("reading {}", path.display()))?;
        let family = name.split(['-', '.']).next().unwrap_or_default();
        Ok((family.to_owned(), trace))
    };
    names.into_iter().map(read_one).collect()
}
