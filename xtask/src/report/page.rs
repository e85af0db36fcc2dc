//! `report --out DIR`: every record as one page.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use records::{Assumed, Compute, Link, RaDocument, RecordFile, check_line, report_page};

use super::{RECORDS, load, read, stems};
use crate::shell;

/// Options of `report`. The figures after `--out` are what latencies are computed with; where
/// `speed.jsonl` times the backbone, its figures come first.
#[derive(Args, Debug)]
pub(crate) struct PageArgs {
    /// Write DIR/index.html instead of the docs
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Assumed speed of the device, million multiply-accumulates a second; a tenth and ten times
    /// of it are computed too
    #[arg(long, default_value_t = 100.0, requires = "out")]
    device_mmacs: f64,
    /// Assumed speed of the edge, million multiply-accumulates a second
    #[arg(long, default_value_t = 10_000.0, requires = "out")]
    edge_mmacs: f64,
    /// Assumed round trip of the link, ms
    #[arg(long, default_value_t = 20.0, requires = "out")]
    rtt_ms: f64,
    /// Assumed share of packets lost, 0 to 0.5
    #[arg(long, default_value_t = 0.0, requires = "out", alias = "loss")]
    packet_loss: f64,
    /// Records besides those of the workspace: results.json of a run, or lines that `bench` or `privacy` wrote
    #[arg(value_name = "RECORD", requires = "out")]
    more: Vec<PathBuf>,
}

/// Writes `out/index.html`.
pub(crate) fn write(root: &Path, out: &Path, args: &PageArgs) -> Result<()> {
    let assumed = Assumed {
        device: Compute::entered(args.device_mmacs, 0.0)
            .context("--device-mmacs")?
            .with_source("assumed"),
        edge: Compute::entered(args.edge_mmacs, 0.0)
            .context("--edge-mmacs")?
            .with_source("assumed"),
        // The page varies the rate.
        link: Link::new(1.0, args.rtt_ms, args.packet_loss)?,
    };
    let page = report_page(&files(root, &args.more)?, &assumed);
    fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    let path = out.join("index.html");
    fs::write(&path, page).with_context(|| format!("writing {}", path.display()))?;
    shell::say(&format!("{}: written", path.display()));
    Ok(())
}

/// All records, documents first, each sort by name, then those of `more`.
fn files(root: &Path, more: &[PathBuf]) -> Result<Vec<RecordFile>> {
    let folder = root.join(RECORDS);
    let mut files = Vec::new();
    for name in stems(&folder, "json")? {
        let document = Box::new(load(root, &name)?);
        files.push(RecordFile::Document(name, document));
    }
    for name in stems(&folder, "jsonl")? {
        let path = folder.join(format!("{name}.jsonl"));
        files.push(RecordFile::Lines(name, lines(&path)?));
    }
    for path in more {
        let name = path.with_extension("").display().to_string();
        files.push(if path.extension().is_some_and(|end| end == "jsonl") {
            RecordFile::Lines(name, lines(path)?)
        } else {
            let document = RaDocument::parse(&read(path)?)
                .with_context(|| format!("the record {}", path.display()))?;
            RecordFile::Document(name, Box::new(document))
        });
    }
    Ok(files)
}

fn lines(path: &Path) -> Result<Vec<serde_json::Value>> {
    let text = read(path)?;
    let mut lines = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let place = || format!("{}:{}", path.display(), i + 1);
        check_line(line).with_context(place)?;
        lines.push(serde_json::from_str(line).with_context(place)?);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_line_is_named_with_its_place() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(RECORDS);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("speed.jsonl"), "{}\n").unwrap();
        let error = format!("{:#}", files(root.path(), &[]).unwrap_err());
        assert!(error.contains("speed.jsonl:1: unknown schema"), "{error}");
    }
}
