//! Lines of `benches/records/codec.jsonl` and the table on the terminal.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// One figure.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) coder: String,
    pub(crate) path: &'static str,
    pub(crate) lanes: usize,
    pub(crate) contexts: usize,
    pub(crate) entropy: f64,
    pub(crate) symbols: usize,
    pub(crate) op: &'static str,
    pub(crate) msym_s: f64,
    pub(crate) ratio_constriction: f64,
    pub(crate) bytes: f64,
    pub(crate) ideal_bytes: f64,
    pub(crate) data: String,
}

pub(crate) fn print(rows: &[Row]) {
    let Some(first) = rows.first() else { return };
    println!(
        "\n{} symbols at {:.3} bits ({}), ideal {:.1} bytes\n{:<24} {:>7} {:>5} {:>8} {:>6} {:>8} {:>6} {:>10}",
        first.symbols,
        first.entropy,
        first.data,
        first.ideal_bytes,
        "coder",
        "path",
        "lanes",
        "enc",
        "ratio",
        "dec",
        "ratio",
        "bytes over"
    );
    for pair in rows.chunks(2) {
        let [encode, decode] = pair else { continue };
        println!(
            "{:<24} {:>7} {:>5} {:>8.0} {:>6.2} {:>8.0} {:>6.2} {:>10.2}",
            encode.coder,
            encode.path,
            encode.lanes,
            encode.msym_s,
            encode.ratio_constriction,
            decode.msym_s,
            decode.ratio_constriction,
            encode.bytes - encode.ideal_bytes
        );
    }
}

pub(crate) fn append(path: &Path, rows: &[Row], seed: u64) -> Result<()> {
    let common = json!({
        "schema": "split-codec/1",
        "command": command(),
        "git": git(),
        "date": date()?,
        "machine": machine(),
        "versions": {
            "burn": "none",
            "backend": "none",
            "constriction": "0.5.0",
            "huffman-coding": "0.1.2",
            "zstd": zstd::zstd_safe::version_string(),
        },
        "seed": seed,
    });
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    for row in rows {
        let mut line = common.clone();
        let fields = json!({
            "coder": row.coder, "path": row.path, "lanes": row.lanes, "contexts": row.contexts,
            "entropy": rounded(row.entropy, 4), "symbols": row.symbols, "op": row.op,
            "msym_s": rounded(row.msym_s, 2), "ratio_constriction": rounded(row.ratio_constriction, 3),
            "bytes": rounded(row.bytes, 3), "ideal_bytes": rounded(row.ideal_bytes, 3),
            "data": row.data,
        });
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
            line.extend(fields);
        }
        writeln!(file, "{line}")?;
    }
    println!("\n{} lines appended to {}", rows.len(), path.display());
    Ok(())
}

/// This run as it was asked for.
fn command() -> String {
    let options = std::env::args().skip(1);
    let words = ["cargo xtask bench codec".to_owned()].into_iter();
    words.chain(options).collect::<Vec<_>>().join(" ")
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// The commit, `+dirty` where files differ from it.
fn git() -> String {
    let run = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = run(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    // The record itself changes as it is written.
    let changed = run(&["status", "--porcelain", "--", ".", ":!benches/records"]);
    if changed.is_none_or(|files| files.is_empty()) {
        commit
    } else {
        format!("{commit}+dirty")
    }
}

#[expect(clippy::disallowed_methods, reason = "a record says when it was made")]
fn date() -> Result<String> {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .context("the clock is before 1970")?;
    let seconds = since.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    Ok(format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    ))
}

/// Year, month and day of a day since 1970, counting years from March.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

fn machine() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    json!({ "cpu": cpu, "cores": cores, "os": std::env::consts::OS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_780), (2026, 11, 23));
    }
}
