//! Record files with one JSON object a line.

use serde_json::Value;
use thiserror::Error;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Type {
    Number,
    Count,
    Text,
    Object,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// `false`, `true` or `"mutual"`.
    Tls,
    /// Each part is a count.
    Outcomes,
    List,
}

use Type::{Count, List, Number, Object, OneOf, Outcomes, Text, Tls};

type Fields = &'static [(&'static str, Type)];

const COMMON: Fields = &[
    ("schema", Text),
    ("command", Text),
    ("git", Text),
    ("date", Text),
    ("machine", Object),
    ("versions", Object),
    ("seed", Count),
];

/// Fields of each schema besides the common ones.
const SCHEMAS: [(&str, Fields); 9] = [
    (
        "split-accuracy/1",
        &[
            ("model", Text),
            ("weights_sha256", Text),
            ("backend", Text),
            ("data", Text),
            ("data_sha256", Text),
            ("metric", OneOf(&["top1", "map"])),
            ("correct", Count),
            ("n", Count),
            ("value", Number),
        ],
    ),
    (
        "split-codec/1",
        &[
            ("coder", Text),
            ("path", Text),
            ("lanes", Count),
            ("contexts", Count),
            ("entropy", Number),
            ("symbols", Count),
            ("op", OneOf(&["encode", "decode"])),
            ("msym_s", Number),
            ("ratio_constriction", Number),
            ("bytes", Number),
            ("ideal_bytes", Number),
            ("data", Text),
        ],
    ),
    (
        "split-graph/1",
        &[
            ("model", Text),
            ("input", List),
            ("macs", Count),
            ("parameters", Count),
            ("peak_bytes", Count),
            ("cuts", List),
        ],
    ),
    (
        "split-speed/1",
        &[
            ("what", Text),
            ("model", Text),
            ("backend", Text),
            ("device", Text),
            ("batch", Count),
            ("threads", Count),
            ("ms_median", Number),
            ("ms_p25", Number),
            ("ms_p75", Number),
            ("n", Count),
        ],
    ),
    (
        "split-runtime/1",
        &[
            ("what", Text),
            ("transport", Text),
            ("tls", Tls),
            ("in_flight", Count),
            ("bytes", Number),
            ("p50_us", Number),
            ("p99_us", Number),
            ("per_s", Number),
        ],
    ),
    (
        "split-link/1",
        &[
            ("mode", OneOf(&["split", "picture", "device-only"])),
            ("kbit_s", Number),
            ("rtt_ms", Number),
            ("loss", Number),
            ("p50_ms", Number),
            ("p95_ms", Number),
            ("p99_ms", Number),
            ("value", Number),
            ("bytes", Number),
            ("how", OneOf(&["netns", "proxy"])),
        ],
    ),
    (
        "split-policy/1",
        &[
            ("policy", Text),
            ("family", Text),
            ("scale", Number),
            ("deadline_ms", Number),
            ("in_time", Number),
            ("value", Number),
            ("bytes", Number),
            ("switches", Number),
            ("regret", Number),
            ("requests", Count),
            ("ci95_in_time", Number),
        ],
    ),
    (
        "split-privacy/1",
        &[
            ("rung", Text),
            ("kind", Text),
            ("model", Text),
            ("split", Text),
            ("weights_sha256", Text),
            ("bank", Text),
            ("data", Text),
            ("data_sha256", Text),
            ("bytes", Number),
            ("metric", OneOf(&["top1"])),
            ("value", Number),
            ("psnr_db", Number),
            ("ssim", Number),
            ("psnr_mean_db", Number),
            ("ssim_mean", Number),
            ("n", Count),
            ("n_train", Count),
            ("steps", Count),
            ("attacker_params", Count),
        ],
    ),
    (
        "split-faults/1",
        &[
            ("what", Text),
            ("first_seed", Count),
            ("seeds", Count),
            ("requests", Count),
            ("outcomes", Outcomes),
            ("double", Count),
            ("lost", Count),
            ("bound_broken", Count),
        ],
    ),
];

/// Why a line is no record.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LineError {
    /// Not JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The schema is none that we know.
    #[error("unknown schema {found:?}")]
    Schema {
        /// What the line says.
        found: String,
    },
    /// A field is missing.
    #[error("field {field:?} is missing")]
    Missing {
        /// Name of the field.
        field: String,
    },
    /// A field holds something else.
    #[error("field {field:?} is {found}, expected {expected}")]
    Type {
        /// Name of the field.
        field: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
}

/// Checks one line of a record file against its schema; fields may be added, none may be missing.
///
/// # Errors
/// [`LineError`], one variant per broken promise.
pub fn check_line(line: &str) -> Result<(), LineError> {
    let value: Value = serde_json::from_str(line)?;
    let schema = value["schema"].as_str().unwrap_or_default();
    let Some((_, fields)) = SCHEMAS.iter().find(|(name, _)| *name == schema) else {
        let found = schema.to_owned();
        return Err(LineError::Schema { found });
    };
    for (field, expected) in COMMON.iter().chain(fields.iter()) {
        check_field(&value, field, *expected)?;
    }
    match schema {
        "split-speed/1" if value.get("peer").is_some_and(|peer| !peer.is_null()) => {
            check_field(&value, "peer", Text)?;
            check_field(&value, "ratio_peer", Number)
        }
        "split-runtime/1" if value["transport"] == "stream" => {
            check_field(&value, "ratio_raw_tcp", Number)?;
            check_field(&value, "ratio_tonic_echo", Number)
        }
        _ => Ok(()),
    }
}

fn check_field(line: &Value, field: &str, expected: Type) -> Result<(), LineError> {
    let Some(found) = line.get(field) else {
        let field = field.to_owned();
        return Err(LineError::Missing { field });
    };
    if expected.fits(found) {
        return Ok(());
    }
    Err(LineError::Type {
        field: field.to_owned(),
        expected: expected.shown(),
        found: found.to_string(),
    })
}

impl Type {
    fn fits(self, found: &Value) -> bool {
        match self {
            Number => found.is_number(),
            Count => found.is_u64(),
            Text => found.as_str().is_some_and(|text| !text.is_empty()),
            Object => found.is_object(),
            List => found.is_array(),
            OneOf(texts) => found.as_str().is_some_and(|text| texts.contains(&text)),
            Tls => found.is_boolean() || found == "mutual",
            Outcomes => ["result", "fallback", "error"]
                .iter()
                .all(|part| found[part].is_u64()),
        }
    }

    fn shown(self) -> String {
        match self {
            Number => "a number".to_owned(),
            Count => "a whole number from 0".to_owned(),
            Text => "a text".to_owned(),
            Object => "an object".to_owned(),
            List => "a list".to_owned(),
            OneOf(texts) => format!("one of {texts:?}"),
            Tls => "false, true or \"mutual\"".to_owned(),
            Outcomes => "counts of result, fallback and error".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn codec_line() -> Value {
        json!({"schema": "split-codec/1", "command": "c", "git": "g", "date": "d", "machine": {},
            "versions": {}, "seed": 1, "coder": "split-rans", "path": "scalar", "lanes": 1,
            "contexts": 0, "entropy": 2.5, "symbols": 1000, "op": "encode", "msym_s": 100.0,
            "ratio_constriction": 1.5, "bytes": 320.0, "ideal_bytes": 312.5, "data": "laplace"})
    }

    fn check(change: impl FnOnce(&mut Value), expected: &str) {
        let mut line = codec_line();
        change(&mut line);
        let error = check_line(&line.to_string()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn complete_line_passes_and_may_have_more_fields() {
        let mut line = codec_line();
        line["note"] = "new".into();
        check_line(&line.to_string()).unwrap();
    }

    #[test]
    fn broken_lines_are_refused_by_field() {
        check(|line| line["schema"] = "split-x/1".into(), "split-x/1");
        check(
            |line| drop(line.as_object_mut().unwrap().remove("git")),
            "\"git\" is missing",
        );
        check(
            |line| line["op"] = "both".into(),
            "one of [\"encode\", \"decode\"]",
        );
        check(|line| line["lanes"] = 1.5.into(), "whole number");
        check(|line| line["entropy"] = "2.5".into(), "a number");
        assert!(check_line("{").is_err());
    }

    #[test]
    fn lines_of_leaks_need_both_measures_and_their_base() {
        let mut line = json!({"schema": "split-privacy/1", "command": "c", "git": "g", "date": "d",
            "machine": {}, "versions": {}, "seed": 1, "rung": "unit-1", "kind": "unit", "model": "m",
            "split": "s", "weights_sha256": "0", "bank": "0", "data": "d", "data_sha256": "0",
            "bytes": 90.5, "metric": "top1", "value": 89.5, "psnr_db": 15.0, "ssim": 0.4,
            "psnr_mean_db": 10.0, "ssim_mean": 0.2, "n": 10, "n_train": 10, "steps": 5,
            "attacker_params": 100});
        check_line(&line.to_string()).unwrap();
        line["ssim"] = Value::Null;
        let error = check_line(&line.to_string()).unwrap_err().to_string();
        assert!(error.contains("\"ssim\" is null"), "{error}");
    }

    #[test]
    fn stream_lines_need_both_ratios() {
        let mut line = json!({"schema": "split-runtime/1", "command": "c", "git": "g", "date": "d",
            "machine": {}, "versions": {}, "seed": 1, "what": "echo", "transport": "unary",
            "tls": "mutual", "in_flight": 1, "bytes": 300, "p50_us": 80, "p99_us": 200, "per_s": 9000});
        check_line(&line.to_string()).unwrap();
        line["transport"] = "stream".into();
        let error = check_line(&line.to_string()).unwrap_err().to_string();
        assert!(error.contains("ratio_raw_tcp"), "{error}");
    }
}
