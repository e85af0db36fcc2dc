//! Lines of records.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// The fields that every line has.
pub(crate) fn common(schema: &str, command: &str, seed: u64) -> Value {
    json!({
        "schema": schema,
        "command": command,
        "git": git(),
        "date": date(),
        "machine": machine(),
        "versions": {"split": env!("CARGO_PKG_VERSION"), "backend": "none"},
        "seed": seed,
    })
}

/// The arguments of this process behind `cargo xtask SUBCOMMAND`, as people type it.
pub(crate) fn command(subcommand: &str) -> String {
    let arguments = std::env::args().skip(1);
    let arguments: Vec<String> = arguments.map(|word| placeless(&word)).collect();
    format!("cargo xtask {subcommand} {}", arguments.join(" "))
}

/// What a word of the command is elsewhere: places of this machine mean nothing there.
fn placeless(word: &str) -> String {
    let name = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    match word.split_once(':') {
        Some((kind, place)) if Path::new(place).is_absolute() => format!("{kind}:DIR"),
        _ if Path::new(word).is_absolute() => {
            name(Path::new(word)).unwrap_or_else(|| word.to_owned())
        }
        _ => word.to_owned(),
    }
}

/// Appends lines to a file, or writes it anew.
pub(crate) fn write(path: &Path, lines: &[Value], anew: bool) -> Result<()> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    if anew {
        return fs::write(path, text).with_context(|| format!("writing {}", path.display()));
    }
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("writing {}", path.display()))
}

/// To six digits after the point: more are noise.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn git() -> String {
    let output = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(commit) = output(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    // The records themselves are what a run changes.
    let changes = output(&["status", "--porcelain", "--", ".", ":!benches/records"]);
    match changes.as_deref() {
        Some("") => commit,
        _ => commit + "+dirty",
    }
}

/// Today in UTC.
fn date() -> String {
    #[expect(clippy::disallowed_methods, reason = "a record says when it was made")]
    let now = SystemTime::now();
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut day = since.as_secs() / 86_400;
    let mut year = 1970;
    let is_leap = |year: u64| {
        (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
    };
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", day + 1)
}

fn machine() -> Value {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let cpu = line
        .and_then(|line| line.split(": ").nth(1))
        .unwrap_or("unknown");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    json!({"cpu": cpu, "cores": cores, "os": std::env::consts::OS})
}

/// Adds fields to a line.
pub(crate) fn add(line: &mut Value, more: Value) {
    if let (Value::Object(line), Value::Object(more)) = (line, more) {
        line.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::placeless;

    #[test]
    fn commands_name_no_place_of_this_machine() {
        assert_eq!(placeless("cifar10:/data/cifar"), "cifar10:DIR");
        assert_eq!(placeless("/data/resnet56.th"), "resnet56.th");
        assert_eq!(placeless("--kbit"), "--kbit");
        assert_eq!(
            placeless("out/train/bank.safetensors"),
            "out/train/bank.safetensors"
        );
    }
}
