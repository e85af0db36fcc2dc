use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use burn::store::burn_pack::Tensor as StoredTensor;
use burn::store::{ModuleStore, PytorchStore, bridge};
use burn::tensor::{DType, Device};
use rand_core::SeedableRng;
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};
use split_tensor::{MAX_ALPHABET, MAX_CHANNELS};
use thiserror::Error;

use super::{ActivationShape, DecoderKind, EncoderKind, Unit, UnitConfig};
use crate::error::ConfigError;
use crate::state::{HostTensor, ModuleState, load_state, module_state};

/// Largest checkpoint of a unit that is read, in bytes; the released ones have up to 2.4 MB.
pub const MAX_RELEASED_BYTES: u64 = 64 << 20;
/// Where the checkpoints keep their tensors.
const TOP_LEVEL_KEY: &str = "state_dict";
/// The rate estimator that the released inference never runs, and counters of batches.
const IGNORED_PREFIXES: [&str; 3] = ["priorEncoder.", "priorDecoder.", "bitEstimator_z."];
const IGNORED_SUFFIX: &str = "num_batches_tracked";
/// How many tensors an error message lists before it only counts.
const MAX_LISTED: usize = 8;

/// Network that a released unit was trained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleasedTask {
    /// ResNet-50 on 224x224 pictures.
    Classification,
    /// DeepLabv3 with a ResNet-50 on 513x513 pictures.
    Segmentation,
}

/// Where a released unit sits; the units trained without labels use the places of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReleasedPlace {
    /// Before the last layers: `layer4[2]`, or one branch of the pyramid in segmentation.
    S1,
    /// After the first (segmentation: second) block of `layer4`.
    S2,
    /// Before the last block of `layer3` (segmentation: before `layer4`).
    S3,
}

/// A released unit before its weights are read: layout and counted symbols.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleasedUnit {
    /// Layout, as released: it need not give back the activation's size.
    pub config: UnitConfig,
    /// How often each symbol `0, 1, ..` was counted on the training pictures.
    pub counts: Vec<u64>,
}

/// Two shapes of one tensor that should be equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MisshapenTensor {
    /// Name in the checkpoint.
    pub name: String,
    /// Shape that the unit needs.
    pub unit: Vec<usize>,
    /// Shape in the checkpoint.
    pub checkpoint: Vec<usize>,
}

/// Why a released unit cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReleasedError {
    /// The file cannot be read.
    #[error("cannot read the checkpoint {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is too large for a unit.
    #[error("{} has {bytes} bytes; at most {MAX_RELEASED_BYTES} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The file is no checkpoint.
    #[error("{} is damaged or no PyTorch checkpoint: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the reader said, first line.
        reason: String,
    },
    /// The tensors are those of another unit.
    #[error("{} does not fit the unit{}", path.display(), differences(missing, misshapen, unexpected))]
    WrongUnit {
        /// The file.
        path: PathBuf,
        /// Tensors that the unit needs and the checkpoint lacks.
        missing: Vec<String>,
        /// Tensors of another shape.
        misshapen: Vec<MisshapenTensor>,
        /// Tensors that neither the unit nor its rate estimator has.
        unexpected: Vec<String>,
    },
    /// A weight is infinite or no number.
    #[error("{}: tensor {name} holds an infinite value or NaN at index {index}", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// First bad value in row-major order.
        index: usize,
    },
    /// The layout does not hold.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The description is not JSON, or lacks a field.
    #[error("the description of the unit cannot be read: {0}")]
    Description(#[from] serde_json::Error),
    /// The description says something that no released unit is.
    #[error("the description says {field} = {found}, allowed are {allowed}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it may say.
        allowed: &'static str,
    },
}

impl UnitConfig {
    /// A layout of the public release (IntelLabs/spic at 640c26c), padding and kernels included.
    ///
    /// Its output has the size that the release gives back: with `S3` of classification 15x15 or
    /// 17x17 where 14x14 went in. [`UnitConfig::paper`] is the same layout with the size restored.
    #[must_use]
    pub fn released(
        task: ReleasedTask,
        place: ReleasedPlace,
        latent_channels: usize,
        stride: usize,
        step: f32,
    ) -> Self {
        use ReleasedPlace::{S1, S2, S3};
        use ReleasedTask::{Classification, Segmentation};
        let (channels, side) = match (task, place) {
            (Classification, S1 | S2) => (2048, 7),
            (Classification, S3) => (1024, 14),
            (Segmentation, S1) => (256, 65),
            (Segmentation, S2) => (2048, 65),
            (Segmentation, S3) => (1024, 65),
        };
        let (kernel, padding) = match (task, place, stride) {
            (Classification, S1 | S2, 2) => (3, 1),
            (Classification, S1 | S2, _) | (Classification | Segmentation, S2 | S3, 2) => (3, 0),
            (Segmentation, S1, 8) => (9, 0),
            _ => (5, 0),
        };
        Self {
            activation: ActivationShape {
                channels,
                height: side,
                width: side,
            },
            latent_channels,
            stride,
            step,
            step_factors: Vec::new(),
            encoder: EncoderKind::Paper {
                padding: usize::from(task == Classification),
            },
            decoder: DecoderKind::Paper {
                kernel,
                padding,
                output_padding: [0, 0],
            },
        }
    }
}

#[derive(Deserialize)]
struct Description {
    task: String,
    split_point: String,
    architecture: Architecture,
    frequency_table: FrequencyTable,
}

#[derive(Deserialize)]
struct Architecture {
    latent_channels: usize,
    stride: usize,
    qp: f32,
}

#[derive(Deserialize)]
struct FrequencyTable {
    symbols: Vec<Counted>,
}

#[derive(Deserialize)]
struct Counted {
    symbol: usize,
    count: u64,
}

impl ReleasedUnit {
    /// Reads a unit's description: JSON with `task` (`classification` or `segmentation` first),
    /// `split_point` (`S1` to `S3`, with a `U` before it for units trained without labels),
    /// `architecture` (`latent_channels`, `stride`, `qp`) and `frequency_table` (`symbols`, each
    /// with `symbol` and `count`). The checkpoints themselves say neither stride nor step.
    ///
    /// # Errors
    ///
    /// [`ReleasedError`] names the field that is missing or out of range.
    pub fn parse(json: &str) -> Result<Self, ReleasedError> {
        let description: Description = serde_json::from_str(json)?;
        let field = |field, found: &dyn ToString, allowed| ReleasedError::Field {
            field,
            found: found.to_string(),
            allowed,
        };
        let task = match description.task.split(',').next().map(str::trim) {
            Some("classification") => ReleasedTask::Classification,
            Some("segmentation") => ReleasedTask::Segmentation,
            _ => {
                let allowed = "classification and segmentation";
                return Err(field("task", &description.task, allowed));
            }
        };
        let place = match description.split_point.trim_start_matches('U') {
            "S1" => ReleasedPlace::S1,
            "S2" => ReleasedPlace::S2,
            "S3" => ReleasedPlace::S3,
            _ => {
                let allowed = "S1, S2, S3, US1, US2";
                return Err(field("split_point", &description.split_point, allowed));
            }
        };
        let Architecture {
            latent_channels,
            stride,
            qp,
        } = description.architecture;
        if !(1..=MAX_CHANNELS).contains(&latent_channels) {
            return Err(field("latent_channels", &latent_channels, "1 to 16384"));
        }
        if !(1..=64).contains(&stride) {
            return Err(field("stride", &stride, "1 to 64"));
        }
        let config = UnitConfig::released(task, place, latent_channels, stride, qp);
        config.latent_shape()?;
        let mut counts = Vec::new();
        for Counted { symbol, count } in description.frequency_table.symbols {
            if symbol >= MAX_ALPHABET {
                return Err(field("symbol", &symbol, "0 to 4094"));
            }
            if counts.len() <= symbol {
                counts.resize(symbol + 1, 0);
            }
            counts[symbol] = count;
        }
        Ok(Self { config, counts })
    }

    /// Reads the weights from a released checkpoint (`.pth.tar`) and puts the unit on `device`.
    ///
    /// The 39 tensors of the rate estimator, which the released inference never runs, are left
    /// out by name.
    ///
    /// # Errors
    ///
    /// [`ReleasedError`]: the file, or each tensor that is missing, unknown or of another shape.
    #[expect(
        clippy::missing_panics_doc,
        reason = "each tensor is compared with the layout first"
    )]
    pub fn load(&self, path: &Path, device: &Device) -> Result<Unit, ReleasedError> {
        let tensors = read_tensors(path)?;
        // Weights are overwritten below; the generator only fills the layout.
        let fresh = self.config.init(device, &mut Pcg64::seed_from_u64(0))?;
        let state = matched(path, &module_state(&fresh), tensors)?;
        let unit = load_state(fresh, &state).expect("each tensor was compared with the layout");
        Ok(unit)
    }
}

fn read_tensors(path: &Path) -> Result<BTreeMap<String, StoredTensor>, ReleasedError> {
    let bytes = std::fs::metadata(path)
        .map_err(|source| ReleasedError::Io {
            path: path.to_owned(),
            source,
        })?
        .len();
    if bytes > MAX_RELEASED_BYTES {
        return Err(ReleasedError::TooLarge {
            path: path.to_owned(),
            bytes,
        });
    }
    let mut store = PytorchStore::from_file(path)
        .map_indices_contiguous(false)
        .with_top_level_key(TOP_LEVEL_KEY);
    let tensors = store
        .get_all_tensors()
        .map_err(|error| unreadable(path, &error.to_string()))?;
    Ok(tensors
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.clone()))
        .collect())
}

/// The checkpoint's tensors under the unit's own paths, each compared with the layout.
fn matched(
    path: &Path,
    layout: &ModuleState,
    mut tensors: BTreeMap<String, StoredTensor>,
) -> Result<ModuleState, ReleasedError> {
    tensors.retain(|name, _| {
        !name.ends_with(IGNORED_SUFFIX)
            && !IGNORED_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
    });
    let (mut missing, mut misshapen) = (Vec::new(), Vec::new());
    let mut found = Vec::new();
    for (own, wanted) in layout {
        let name = released_name(own);
        match tensors.remove(&name) {
            None => missing.push(name),
            Some(tensor) if tensor.shape.to_vec() != wanted.shape => {
                misshapen.push(MisshapenTensor {
                    unit: wanted.shape.clone(),
                    checkpoint: tensor.shape.to_vec(),
                    name,
                });
            }
            Some(tensor) => found.push((own, name, tensor)),
        }
    }
    let unexpected: Vec<String> = tensors.into_keys().collect();
    // Convolutions say most about which unit it is, so they come first.
    misshapen.sort_by_key(|tensor| std::cmp::Reverse(tensor.unit.len()));
    if !(missing.is_empty() && misshapen.is_empty() && unexpected.is_empty()) {
        return Err(ReleasedError::WrongUnit {
            path: path.to_owned(),
            missing,
            misshapen,
            unexpected,
        });
    }
    let mut state = ModuleState::new();
    for (own, name, tensor) in found {
        let shape = tensor.shape.to_vec();
        let values = values_of(path, &name, tensor)?;
        state.insert(own.clone(), HostTensor { shape, values });
    }
    Ok(state)
}

/// `encoder.bn2_1.gamma` here is `bn2_1.weight` there.
fn released_name(own: &str) -> String {
    let mut parts = own.rsplit('.');
    let (last, layer) = (parts.next().unwrap_or(own), parts.next().unwrap_or(""));
    let last = match last {
        "gamma" => "weight",
        "beta" => "bias",
        other => other,
    };
    format!("{layer}.{last}")
}

fn values_of(path: &Path, name: &str, tensor: StoredTensor) -> Result<Vec<f32>, ReleasedError> {
    let data = bridge::into_data(tensor).map_err(|error| unreadable(path, &error.to_string()))?;
    let values: Vec<f32> = data
        .convert_dtype(DType::F32)
        .try_to_vec()
        .map_err(|error| unreadable(path, &format!("{error:?}")))?;
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(ReleasedError::NotFinite {
            path: path.to_owned(),
            name: name.to_owned(),
            index,
        });
    }
    Ok(values)
}

fn unreadable(path: &Path, reason: &str) -> ReleasedError {
    let first = reason.trim().lines().next();
    ReleasedError::Unreadable {
        path: path.to_owned(),
        reason: first.unwrap_or("no reason given").to_owned(),
    }
}

fn differences(missing: &[String], misshapen: &[MisshapenTensor], unexpected: &[String]) -> String {
    let mut text = String::new();
    for tensor in misshapen.iter().take(MAX_LISTED) {
        let MisshapenTensor {
            name,
            unit,
            checkpoint,
        } = tensor;
        let _ = write!(
            text,
            "; {name} is {unit:?} in the unit and {checkpoint:?} in the checkpoint"
        );
    }
    if misshapen.len() > MAX_LISTED {
        let _ = write!(
            text,
            "; {} more shapes differ",
            misshapen.len() - MAX_LISTED
        );
    }
    for (what, names) in [
        ("the checkpoint lacks", missing),
        ("the unit has no", unexpected),
    ] {
        if names.is_empty() {
            continue;
        }
        let listed: Vec<&str> = names.iter().take(MAX_LISTED).map(String::as_str).collect();
        let _ = write!(text, "; {what} {}", listed.join(", "));
        if names.len() > MAX_LISTED {
            let _ = write!(text, " and {} more", names.len() - MAX_LISTED);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(task: ReleasedTask, place: ReleasedPlace, stride: usize) -> ([usize; 2], [usize; 2]) {
        let config = UnitConfig::released(task, place, 4, stride, 1.0);
        let shape = config.latent_shape().unwrap();
        let DecoderKind::Paper {
            kernel, padding, ..
        } = config.decoder
        else {
            unreachable!("released units have the paper's decoder");
        };
        let back = |side: usize| (side - 1) * stride + kernel - 2 * padding;
        let latent = [shape.height(), shape.width()];
        (latent, latent.map(back))
    }

    #[test]
    fn released_geometry_is_that_of_the_release() {
        use ReleasedPlace::{S1, S2, S3};
        use ReleasedTask::{Classification, Segmentation};
        let expected = [
            (Classification, S1, 2, 4, 7),
            (Classification, S1, 4, 2, 7),
            (Classification, S2, 2, 4, 7),
            (Classification, S2, 4, 2, 7),
            (Classification, S3, 2, 7, 15),
            (Classification, S3, 4, 4, 17),
            (Segmentation, S1, 6, 11, 65),
            (Segmentation, S1, 8, 8, 65),
            (Segmentation, S2, 4, 16, 65),
            (Segmentation, S2, 6, 11, 65),
            (Segmentation, S3, 4, 16, 65),
            (Segmentation, S3, 6, 11, 65),
        ];
        for (task, place, stride, latent, output) in expected {
            let found = sizes(task, place, stride);
            assert_eq!(
                found,
                ([latent; 2], [output; 2]),
                "{task:?} {place:?} {stride}"
            );
        }
    }

    #[test]
    fn descriptions_out_of_range_are_refused_by_field() {
        let text = |split: &str, stride: usize, symbol: usize| {
            format!(
                r#"{{"task": "classification, x", "split_point": "{split}",
                "architecture": {{"latent_channels": 4, "stride": {stride}, "qp": 1.0}},
                "frequency_table": {{"symbols": [{{"symbol": {symbol}, "count": 3}}]}}}}"#
            )
        };
        let unit = ReleasedUnit::parse(&text("US1", 2, 2)).unwrap();
        assert_eq!(unit.counts, [0, 0, 3]);
        for (bad, field) in [
            (text("S4", 2, 2), "split_point"),
            (text("S1", 0, 2), "stride"),
            (text("S1", 2, 9999), "symbol"),
        ] {
            let error = ReleasedUnit::parse(&bad).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
        assert!(ReleasedUnit::parse("{").is_err());
    }
}
