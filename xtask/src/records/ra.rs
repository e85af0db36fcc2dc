//! The rate-accuracy document, `split-ra/1`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::Point;

/// Schema name of [`RaDocument`].
const SCHEMA: &str = "split-ra/1";

/// Bytes and bits per pixel of all rows speak of pictures of one size; more than this
/// share of difference means that a row counts another thing.
const BPP_TOLERANCE: f64 = 0.02;

/// A payload without its flush may differ from the estimate by this share.
const ESTIMATE_TOLERANCE: f64 = 0.03;
/// Below some thirty bytes that share is less than a byte, and payloads end in whole ones.
const WHOLE_BYTE: f64 = 1.0;

/// One rate-accuracy run: a data set, a backbone, a split point, and one row per rate.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RaDocument {
    /// Always `split-ra/1`.
    pub schema: String,
    /// The command that wrote this document.
    pub command: String,
    /// Commit, with `+dirty` where the work tree had changes.
    pub git: String,
    /// Day of the run, `YYYY-MM-DD` first.
    pub date: String,
    /// Where it ran.
    pub machine: Machine,
    /// Versions of Burn, the backend and the rivals, by name.
    pub versions: BTreeMap<String, Value>,
    /// Seed of the run; a row may have its own.
    pub seed: u64,
    /// Pictures.
    pub data: DataSet,
    /// The frozen network and where it is cut.
    pub backbone: Backbone,
    /// One per rate and seed.
    pub rows: Vec<Row>,
}

/// The machine of a run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Machine {
    /// Name of the processor.
    pub cpu: String,
    /// Number of cores that the run could use.
    pub cores: u32,
    /// The graphics card that computed the tensors, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// Operating system.
    pub os: String,
}

/// The pictures of a run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DataSet {
    /// Name, such as `cifar10`.
    pub name: String,
    /// Training pictures: their number, or words where a number says too little.
    pub train: Value,
    /// Test pictures: their number, or words where a number says too little.
    pub test: Value,
    /// Digest of the pictures.
    pub sha256: String,
}

/// The frozen network of a run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Backbone {
    /// Name, such as `resnet56`.
    pub name: String,
    /// Split point, such as `layer1` or `layer1.2`.
    pub split: String,
    /// Digest of the weights.
    pub weights_sha256: String,
    /// Multiply-accumulates of the whole network for one picture.
    pub macs: f64,
    /// Parameters of the whole network.
    pub params: f64,
    /// `top1` (per cent) or `map` (0 to 1).
    pub metric: String,
    /// Value of the unsplit network on the same test pictures.
    pub value: f64,
}

impl Backbone {
    /// How much of `metric` people call one point: 1 per cent.
    #[must_use]
    pub fn points(&self) -> f64 {
        if self.metric == "map" { 0.01 } else { 1.0 }
    }
}

/// One rate of one kind, measured from the very bytes that were decoded.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Row {
    /// Name, unique together with the seed.
    pub name: String,
    /// What sort of thing it is, such as `unit`, `paper-unit`, `webp`.
    pub kind: String,
    /// Mean over the test set of whole frames, or of whole picture files.
    pub bytes: f64,
    /// Bytes that 95 of 100 of them stay within.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_p95: Option<f64>,
    /// The same without frame header, or without fixed headers and tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_payload: Option<f64>,
    /// Bits per input pixel of `bytes`.
    pub bpp: f64,
    /// Accuracy in the backbone's metric.
    pub value: f64,
    /// Pictures that it was measured on.
    pub n: u64,
    /// Multiply-accumulates of head and unit encoder for one picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_macs: Option<f64>,
    /// Parameters on the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_params: Option<f64>,
    /// Parameters on the edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge_params: Option<f64>,
    /// Parameters of the unit, both halves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_params: Option<f64>,
    /// Price of a bit in units of distortion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda: Option<f64>,
    /// Quantizer step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<f64>,
    /// Training epochs of this rung.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Wall time of this rung's training, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_s: Option<f64>,
    /// Cross-entropy under the integer tables, bytes, without flush and header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_bytes: Option<f64>,
    /// Bytes that ending the coder costs on average, as the coder states them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flush_bytes: Option<f64>,
    /// Seed, where it differs from the document's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Command, where it differs from the document's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Commit, where it differs from the document's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<String>,
    /// Machine, where it differs from the document's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// Fields that later versions added.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// Why a text is no `split-ra/1` document.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RaError {
    /// Not JSON, or a required field is missing or of another type.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The schema is another one.
    #[error("schema is {found:?}, expected {SCHEMA:?}")]
    Schema {
        /// What the document says.
        found: String,
    },
    /// A text that must say something is empty.
    #[error("field {field} is empty")]
    Empty {
        /// Name of the field.
        field: &'static str,
    },
    /// The metric is none that the tables can show.
    #[error("metric is {found:?}, expected \"top1\" or \"map\"")]
    Metric {
        /// What the document says.
        found: String,
    },
    /// A number is outside its range.
    #[error("row {row:?}: {field} is {found}, allowed are {allowed}")]
    Range {
        /// Name of the row.
        row: String,
        /// Name of the field.
        field: &'static str,
        /// What the row says.
        found: f64,
        /// What it may be.
        allowed: &'static str,
    },
    /// The estimate is not what the payloads took.
    #[error(
        "row {row:?}: payloads without flush take {found:.2} bytes, {estimated:.2} were estimated; \
         they may differ by 3 % or one byte"
    )]
    Estimate {
        /// Name of the row.
        row: String,
        /// Bytes of the payload without flush.
        found: f64,
        /// Bytes estimated.
        estimated: f64,
    },
    /// Two rows have one name and one seed.
    #[error("row {row:?} with seed {seed} stands there twice")]
    Twice {
        /// Name of the row.
        row: String,
        /// Its seed.
        seed: u64,
    },
    /// A row speaks of pictures of another size than the first row.
    #[error(
        "row {row:?}: {bytes} bytes at {bpp} bpp are {found:.1} pixels, other rows have {expected:.1}"
    )]
    Pixels {
        /// Name of the row.
        row: String,
        /// Its bytes.
        bytes: f64,
        /// Its bits per pixel.
        bpp: f64,
        /// Pixels that follow.
        found: f64,
        /// Pixels of the first row.
        expected: f64,
    },
}

impl RaDocument {
    /// Reads a document and checks what its schema promises.
    ///
    /// # Errors
    /// [`RaError`], one variant per broken promise.
    pub fn parse(text: &str) -> Result<Self, RaError> {
        let document: Self = serde_json::from_str(text)?;
        document.check()?;
        Ok(document)
    }

    /// Means over the seeds of rows with one name, in the order of first appearance.
    #[must_use]
    pub fn means(&self) -> Vec<Row> {
        let mut groups: Vec<Vec<&Row>> = Vec::new();
        for row in &self.rows {
            match groups.iter_mut().find(|group| group[0].name == row.name) {
                Some(group) => group.push(row),
                None => groups.push(vec![row]),
            }
        }
        groups.iter().map(|group| mean_of(group)).collect()
    }

    /// The points of one kind, means over seeds.
    #[must_use]
    pub fn points_of(&self, kind: &str) -> Vec<Point> {
        self.means()
            .iter()
            .filter(|row| row.kind == kind)
            .map(|row| Point {
                bytes: row.bytes,
                value: row.value,
            })
            .collect()
    }

    fn check(&self) -> Result<(), RaError> {
        if self.schema != SCHEMA {
            let found = self.schema.clone();
            return Err(RaError::Schema { found });
        }
        let texts = [
            ("command", &self.command),
            ("git", &self.git),
            ("date", &self.date),
            ("machine.cpu", &self.machine.cpu),
            ("machine.os", &self.machine.os),
            ("data.name", &self.data.name),
            ("data.sha256", &self.data.sha256),
            ("backbone.name", &self.backbone.name),
            ("backbone.split", &self.backbone.split),
            ("backbone.weights_sha256", &self.backbone.weights_sha256),
        ];
        if let Some((field, _)) = texts.iter().find(|(_, text)| text.is_empty()) {
            return Err(RaError::Empty { field });
        }
        for name in ["burn", "backend"] {
            if !self.versions.contains_key(name) {
                return Err(RaError::Empty { field: "versions" });
            }
        }
        if self.rows.is_empty() {
            return Err(RaError::Empty { field: "rows" });
        }
        let value_max = match self.backbone.metric.as_str() {
            "top1" => 100.0,
            "map" => 1.0,
            other => {
                let found = other.to_owned();
                return Err(RaError::Metric { found });
            }
        };
        self.check_rows(value_max)
    }

    fn check_rows(&self, value_max: f64) -> Result<(), RaError> {
        let mut seen = BTreeSet::new();
        let mut pixels: Option<f64> = None;
        for row in &self.rows {
            row.check(value_max)?;
            let seed = row.seed.unwrap_or(self.seed);
            if !seen.insert((&row.name, seed)) {
                let row = row.name.clone();
                return Err(RaError::Twice { row, seed });
            }
            if row.bpp == 0.0 {
                continue;
            }
            let found = 8.0 * row.bytes / row.bpp;
            let expected = *pixels.get_or_insert(found);
            if (found / expected - 1.0).abs() > BPP_TOLERANCE {
                let (row, bytes, bpp) = (row.name.clone(), row.bytes, row.bpp);
                return Err(RaError::Pixels {
                    row,
                    bytes,
                    bpp,
                    found,
                    expected,
                });
            }
        }
        Ok(())
    }
}

impl Row {
    fn check(&self, value_max: f64) -> Result<(), RaError> {
        let range = |field, found: f64, allowed, ok: bool| {
            if ok && found.is_finite() {
                return Ok(());
            }
            let row = self.name.clone();
            Err(RaError::Range {
                row,
                field,
                found,
                allowed,
            })
        };
        if self.name.is_empty() || self.kind.is_empty() {
            return Err(RaError::Empty {
                field: "rows.name or rows.kind",
            });
        }
        let (value, n) = (self.value, if self.n == 0 { 0.0 } else { 1.0 });
        range("bytes", self.bytes, "numbers from 0", self.bytes >= 0.0)?;
        range("bpp", self.bpp, "numbers from 0", self.bpp >= 0.0)?;
        let ok = (0.0..=value_max).contains(&value);
        range("value", value, "0..100 for top1, 0..1 for map", ok)?;
        range("n", n, "numbers from 1", n > 0.0)?;
        let optional = [
            ("bytes_payload", self.bytes_payload),
            ("device_macs", self.device_macs),
            ("device_params", self.device_params),
            ("edge_params", self.edge_params),
            ("unit_params", self.unit_params),
            ("lambda", self.lambda),
            ("train_s", self.train_s),
            ("estimated_bytes", self.estimated_bytes),
            ("flush_bytes", self.flush_bytes),
        ];
        for (field, number) in optional {
            let number = number.unwrap_or(0.0);
            range(field, number, "numbers from 0", number >= 0.0)?;
        }
        self.check_estimate()
    }

    /// Estimated and real bits must agree, where a row has both.
    fn check_estimate(&self) -> Result<(), RaError> {
        let (Some(payload), Some(estimated), Some(flush)) =
            (self.bytes_payload, self.estimated_bytes, self.flush_bytes)
        else {
            return Ok(());
        };
        let found = payload - flush;
        if (found - estimated).abs() <= (ESTIMATE_TOLERANCE * estimated).max(WHOLE_BYTE) {
            return Ok(());
        }
        Err(RaError::Estimate {
            row: self.name.clone(),
            found,
            estimated,
        })
    }
}

/// `group` is never empty; what the seeds share is taken from the first.
fn mean_of(group: &[&Row]) -> Row {
    let mean = |of: &dyn Fn(&Row) -> Option<f64>| {
        let found: Vec<f64> = group.iter().filter_map(|row| of(row)).collect();
        let count = u32::try_from(found.len()).unwrap_or(u32::MAX);
        (count > 0).then(|| found.iter().sum::<f64>() / f64::from(count))
    };
    let first = group[0];
    Row {
        bytes: mean(&|row| Some(row.bytes)).unwrap_or(first.bytes),
        bytes_payload: mean(&|row| row.bytes_payload),
        bpp: mean(&|row| Some(row.bpp)).unwrap_or(first.bpp),
        value: mean(&|row| Some(row.value)).unwrap_or(first.value),
        estimated_bytes: mean(&|row| row.estimated_bytes),
        flush_bytes: mean(&|row| row.flush_bytes),
        ..first.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::tests::document;

    fn check(change: impl FnOnce(&mut Value), expected: &str) {
        let mut json = serde_json::to_value(document()).unwrap();
        change(&mut json);
        let error = RaDocument::parse(&json.to_string())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn document_survives_writing_and_reading() {
        let text = serde_json::to_string(&document()).unwrap();
        assert_eq!(RaDocument::parse(&text).unwrap(), document());
    }

    #[test]
    fn broken_documents_are_refused_by_name() {
        check(|json| json["schema"] = "split-ra/2".into(), "split-ra/2");
        check(
            |json| drop(json["rows"][0].as_object_mut().unwrap().remove("bytes")),
            "missing field `bytes`",
        );
        check(|json| json["rows"][0]["bytes"] = (-1.0).into(), "is -1");
        check(|json| json["rows"][0]["value"] = 101.0.into(), "is 101");
        check(|json| json["rows"][1]["bpp"] = 9.0.into(), "pixels");
        check(|json| json["rows"][1] = json["rows"][0].clone(), "twice");
        check(|json| json["backbone"]["metric"] = "f1".into(), "f1");
        check(
            |json| {
                let row = &mut json["rows"][0];
                row["bytes_payload"] = 110.0.into();
                row["estimated_bytes"] = 100.0.into();
                row["flush_bytes"] = 2.0.into();
            },
            "3 %",
        );
        check(|json| json["rows"] = Value::Array(Vec::new()), "rows");
        check(|json| json["command"] = "".into(), "command");
        check(
            |json| drop(json["versions"].as_object_mut().unwrap().remove("burn")),
            "versions",
        );
    }

    #[test]
    fn seeds_of_one_name_are_averaged() {
        let mut document = document();
        let mut twin = document.rows[0].clone();
        twin.seed = Some(2);
        twin.bytes += 10.0;
        document.rows.push(twin);
        let means = document.means();
        assert_eq!(means.len(), document.rows.len() - 1);
        assert!((means[0].bytes - document.rows[0].bytes - 5.0).abs() < 1e-9);
    }
}
