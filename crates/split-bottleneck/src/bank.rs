use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use rand_core::SeedableRng;
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use split_tensor::{
    Codec, DecodeError, EncodeError, FitConfig, Latent, ShapeError, Symbols, TableError, TableSet,
};
use thiserror::Error;

use crate::cache::{ActivationCache, floats};
use crate::error::{ConfigError, StateError};
use crate::rate::RateModel;
use crate::state::{ModuleState, load_state, parameter_count, usize_to_f32};
use crate::store::{Archive, ArchiveError};
use crate::train::Training;
use crate::unit::{ActivationShape, Unit, UnitConfig, UnitDecoder, UnitEncoder};

mod digests;

pub use digests::BankDigests;

const SCHEMA: &str = "split-bank/1";
/// Most rungs of a bank: a frame names its rung with 16 bits.
pub const MAX_RUNGS: usize = 1 << 16;
/// Pictures whose activations are in work at once.
const CHUNK: usize = 64;
/// One training picture in so many judges the tables that the others made.
const HELD_OUT_EVERY: usize = 5;

/// Which backbone a bank was trained for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackboneNote {
    /// Name of the backbone (`resnet56`).
    pub name: String,
    /// Split point (`layer1`).
    pub split: String,
    /// SHA-256 of the weights, lower-case hex.
    pub weights_sha256: String,
}

/// What was measured of a rung: whole frames, decoded again, over a whole test set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Mean bytes of a frame, header included.
    pub bytes: f64,
    /// Mean bytes of its payload.
    pub bytes_payload: f64,
    /// Top-1 in per cent.
    pub top1: f64,
    /// Pictures it was measured on.
    pub pictures: usize,
}

/// One unit with its tables at one rate.
#[derive(Debug, Clone)]
pub struct Rung {
    /// Name within the bank.
    pub name: String,
    /// Kind of the unit as records call it (`paper-unit`, `unit`).
    pub kind: String,
    /// Layout of the unit.
    pub config: UnitConfig,
    /// Weights of the unit.
    pub weights: ModuleState,
    /// Integer tables of its symbols.
    pub tables: TableSet,
    /// Price of a kilobit at the end of training.
    pub lambda: f64,
    /// Optimizer steps of its training.
    pub steps: usize,
    /// What was measured, once it was.
    pub measured: Option<Measured>,
}

/// Why a bank cannot be made, read or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BankError {
    /// The bytes are no bank.
    #[error("not a bank: {0}")]
    Archive(#[from] ArchiveError),
    /// A rung's configuration does not hold.
    #[error("rung {rung}: {source}")]
    Config {
        /// Name of the rung.
        rung: String,
        /// What is wrong.
        source: ConfigError,
    },
    /// A rung's weights do not fit its configuration.
    #[error("rung {rung}: {source}")]
    State {
        /// Name of the rung.
        rung: String,
        /// What is wrong.
        source: StateError,
    },
    /// A rung's tables do not hold.
    #[error("rung {rung}: {source}")]
    Table {
        /// Name of the rung.
        rung: String,
        /// What is wrong.
        source: TableError,
    },
    /// The content is not what the bank's digest says.
    #[error("the bank is damaged: its digest is {found:016x}, its manifest says {expected:016x}")]
    Digest {
        /// Digest of the content.
        found: u64,
        /// Digest in the manifest.
        expected: u64,
    },
    /// There is no such rung.
    #[error("the bank has {rungs} rungs, rung {found} was asked for")]
    NoRung {
        /// Index asked for.
        found: usize,
        /// Rungs of the bank.
        rungs: usize,
    },
    /// No rung has this name or place.
    #[error("the bank has no rung {name}; it has {}", known.join(", "))]
    UnknownRung {
        /// Name or place asked for.
        name: String,
        /// Names of all rungs.
        known: Vec<String>,
    },
    /// Too many rungs.
    #[error("{found} rungs are more than the {MAX_RUNGS} a frame can name")]
    TooManyRungs {
        /// Rungs found.
        found: usize,
    },
}

/// Why an activation or a frame cannot be coded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CodingError {
    /// The activation has another shape than the unit.
    #[error("the activation is {found:?}, the unit was trained for {expected:?}")]
    Activation {
        /// Channels, height, width of the unit.
        expected: [usize; 3],
        /// Channels, height, width found.
        found: [usize; 3],
    },
    /// The latent cannot be held.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The latent cannot be coded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The frame cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// The rungs of one split point.
#[derive(Debug, Clone)]
pub struct Bank {
    backbone: BackboneNote,
    rungs: Vec<Rung>,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    backbone: BackboneNote,
    digest: u64,
    rungs: Vec<RungManifest>,
}

#[derive(Serialize, Deserialize)]
struct RungManifest {
    name: String,
    kind: String,
    config: UnitConfig,
    lambda: f64,
    steps: usize,
    measured: Option<Measured>,
    /// An earlier rung with the very same weights, which are then kept once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weights_of: Option<usize>,
}

impl Rung {
    /// Makes a rung of a trained unit: its symbols on up to `limit` cached pictures, with the
    /// learned density as prior, become the integer tables; with contexts where held-out
    /// pictures gain from them.
    ///
    /// # Errors
    ///
    /// When the latent cannot be coded or a table cannot be built.
    pub fn from_training(
        name: &str,
        kind: &str,
        config: &UnitConfig,
        training: &Training,
        cache: &ActivationCache,
        limit: usize,
        device: &Device,
    ) -> Result<Self, BankError> {
        let rung = || name.to_owned();
        let symbols =
            training_symbols(config, &training.unit(), cache, limit, device).map_err(|source| {
                BankError::Config {
                    rung: rung(),
                    source,
                }
            })?;
        let tables = choose_tables(Some(&training.rate()), &symbols, training.config().mixing)
            .map_err(|source| BankError::Table {
                rung: rung(),
                source,
            })?;
        Ok(Self {
            name: rung(),
            kind: kind.to_owned(),
            config: config.clone(),
            weights: training.weights().unit,
            tables,
            lambda: training.lambda(),
            steps: training.step_count(),
            measured: None,
        })
    }

    /// Makes a rung of ready weights: tables fitted to its symbols on up to `limit` cached
    /// pictures, with no learned density behind them.
    ///
    /// # Errors
    ///
    /// When the weights do not fit, the latent cannot be coded or a table cannot be built.
    pub fn fitted(
        name: &str,
        kind: &str,
        config: &UnitConfig,
        weights: &ModuleState,
        training: TablePictures<'_>,
    ) -> Result<Self, BankError> {
        let rung = || name.to_owned();
        let refused = |source| BankError::Config {
            rung: rung(),
            source,
        };
        let TablePictures {
            cache,
            limit,
            mixing,
            device,
        } = training;
        let unit = opened(name, config, weights, device)?;
        let symbols = training_symbols(config, &unit, cache, limit, device).map_err(refused)?;
        let tables = choose_tables(None, &symbols, mixing).map_err(|source| BankError::Table {
            rung: rung(),
            source,
        })?;
        Ok(Self {
            name: rung(),
            kind: kind.to_owned(),
            config: config.clone(),
            weights: weights.clone(),
            tables,
            lambda: 0.0,
            steps: 0,
            measured: None,
        })
    }

    /// The same trained unit with its step multiplied by `factor` and tables fitted anew: another
    /// rate for free, though the decoder never saw that step.
    ///
    /// # Errors
    ///
    /// As [`fitted`](Self::fitted); also for a factor that leaves no positive step.
    pub fn with_step_factor(
        &self,
        name: &str,
        kind: &str,
        factor: f32,
        training: TablePictures<'_>,
    ) -> Result<Self, BankError> {
        let config = UnitConfig {
            step: self.config.step * factor,
            ..self.config.clone()
        };
        let rung = Self::fitted(name, kind, &config, &self.weights, training)?;
        Ok(Self {
            lambda: self.lambda,
            steps: self.steps,
            ..rung
        })
    }

    /// Shape of the activation that the unit takes.
    #[must_use]
    pub fn activation(&self) -> ActivationShape {
        self.config.activation
    }
}

/// Cached training pictures from which tables are made.
#[derive(Debug, Clone, Copy)]
pub struct TablePictures<'a> {
    /// Their activations.
    pub cache: &'a ActivationCache,
    /// Most pictures to count, spread evenly over the cache.
    pub limit: usize,
    /// Whether the tables may mix predictions, as [`crate::TrainConfig::mixing`].
    pub mixing: bool,
    /// Where the unit encoder runs.
    pub device: &'a Device,
}

/// The unit of saved weights, for inference.
fn opened(
    name: &str,
    config: &UnitConfig,
    weights: &ModuleState,
    device: &Device,
) -> Result<Unit, BankError> {
    // Weights are overwritten below; the generator only fills the layout.
    let fresh = config
        .init(device, &mut Pcg64::seed_from_u64(0))
        .map_err(|source| BankError::Config {
            rung: name.to_owned(),
            source,
        })?;
    let unit = load_state(fresh, weights).map_err(|source| BankError::State {
        rung: name.to_owned(),
        source,
    })?;
    Ok(unit.valid())
}

/// Tables from the learned density where there is one, or tables that also look at a symbol's
/// neighbours, or where `mixing` allows it mixed predictions: what takes the fewest bits for symbols
/// that none has seen.
fn choose_tables(
    rate: Option<&RateModel>,
    symbols: &[Symbols],
    mixing: bool,
) -> Result<TableSet, TableError> {
    let fit = FitConfig::default();
    let exported = |part: &[Symbols]| rate.map(|rate| rate.export(part)).transpose();
    if rate.is_none() && !mixing {
        return TableSet::fit(symbols, &fit);
    }
    let (held_out, seen): (Vec<_>, Vec<_>) = symbols
        .iter()
        .cloned()
        .enumerate()
        .partition(|(index, _)| index % HELD_OUT_EVERY == 0);
    let [held_out, seen] =
        [held_out, seen].map(|part| part.into_iter().map(|(_, one)| one).collect::<Vec<_>>());
    if seen.is_empty() {
        return match exported(symbols)? {
            Some(learned) => Ok(learned),
            None => TableSet::fit(symbols, &fit),
        };
    }
    let bits = |tables: &TableSet| -> f64 {
        held_out
            .iter()
            .map(|one| tables.code_length_bits(one))
            .sum()
    };
    let fitted = TableSet::fit(&seen, &fit)?;
    let fitted_bits = bits(&fitted);
    let learned = exported(&seen)?.map(|tables| (bits(&tables), tables));
    let (static_bits, static_tables, chosen) = match learned {
        Some((learned_bits, learned)) if learned_bits <= fitted_bits => {
            let chosen = exported(symbols)?.unwrap_or_else(|| learned.clone());
            (learned_bits, learned, chosen)
        }
        _ => (fitted_bits, fitted, TableSet::fit(symbols, &fit)?),
    };
    if mixing && bits(&static_tables.with_mixing(&seen)?) < static_bits {
        return chosen.with_mixing(symbols);
    }
    Ok(chosen)
}

/// Mean bits of a picture under the tables that an export would choose now, from up to `limit`
/// pictures of the cache; nothing where their latents can't be coded.
pub(crate) fn coded_bits(
    config: &UnitConfig,
    unit: &Unit,
    rate: &RateModel,
    (cache, limit): (&ActivationCache, usize),
    mixing: bool,
    device: &Device,
) -> Option<f64> {
    let symbols = training_symbols(config, unit, cache, limit, device).ok()?;
    let tables = choose_tables(Some(rate), &symbols, mixing).ok()?;
    let bits: f64 = symbols.iter().map(|one| tables.code_length_bits(one)).sum();
    Some(bits / f64::from(usize_to_f32(symbols.len().max(1))))
}

/// Symbols of the first `limit` pictures of the cache, spread evenly over it.
fn training_symbols(
    config: &UnitConfig,
    unit: &Unit,
    cache: &ActivationCache,
    limit: usize,
    device: &Device,
) -> Result<Vec<Symbols>, ConfigError> {
    let shape = config.latent_shape()?;
    let quantizer = config.quantizer()?;
    let stride = cache.len().div_ceil(limit.max(1)).max(1);
    let indices: Vec<usize> = (0..cache.len()).step_by(stride).collect();
    let mut symbols = Vec::with_capacity(indices.len());
    for chunk in indices.chunks(CHUNK) {
        let latent = unit.encoder.forward(cache.batch(chunk, device).activation);
        for values in floats(latent).chunks_exact(shape.len()) {
            let latent = Latent::new(shape, values.to_vec())?;
            // A latent that is no number was refused while training; nothing to count here.
            symbols.extend(quantizer.quantize(&latent));
        }
    }
    Ok(symbols)
}

impl Bank {
    /// Gathers rungs of one split point.
    ///
    /// # Errors
    ///
    /// When there are more rungs than a frame can name.
    pub fn new(backbone: BackboneNote, rungs: Vec<Rung>) -> Result<Self, BankError> {
        if rungs.len() > MAX_RUNGS {
            return Err(BankError::TooManyRungs { found: rungs.len() });
        }
        Ok(Self { backbone, rungs })
    }

    /// The backbone and split point that the bank is for.
    #[must_use]
    pub fn backbone(&self) -> &BackboneNote {
        &self.backbone
    }

    /// The rungs in their order; a frame names a rung by its place.
    #[must_use]
    pub fn rungs(&self) -> &[Rung] {
        &self.rungs
    }

    /// The place of a rung that is named by its name or, in decimal, by its place.
    ///
    /// # Errors
    ///
    /// [`BankError::UnknownRung`] with the names of all rungs.
    pub fn find(&self, name: &str) -> Result<usize, BankError> {
        let by_name = self.rungs.iter().position(|rung| rung.name == name);
        let by_place = name.parse().ok().filter(|place| *place < self.rungs.len());
        by_name.or(by_place).ok_or_else(|| BankError::UnknownRung {
            name: name.to_owned(),
            known: self.rungs.iter().map(|rung| rung.name.clone()).collect(),
        })
    }

    /// Notes what was measured of a rung. This does not change the digest.
    ///
    /// # Errors
    ///
    /// When there is no such rung.
    pub fn set_measured(&mut self, rung: usize, measured: Measured) -> Result<(), BankError> {
        let rungs = self.rungs.len();
        let slot = self
            .rungs
            .get_mut(rung)
            .ok_or(BankError::NoRung { found: rung, rungs })?;
        slot.measured = Some(measured);
        Ok(())
    }

    /// Digest of all that decides what a frame means: backbone, split point, layouts, weights
    /// and tables.
    #[must_use]
    #[expect(
        clippy::missing_panics_doc,
        reason = "plain fields serialize and a SHA-256 has eight bytes"
    )]
    pub fn digest(&self) -> u64 {
        let mut hash = Sha256::new();
        let mut text = |part: &str| {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(part.as_bytes());
        };
        text(&self.backbone.name);
        text(&self.backbone.split);
        text(&self.backbone.weights_sha256);
        for rung in &self.rungs {
            let config = serde_json::to_string(&rung.config).expect("plain fields serialize");
            hash.update(config.as_bytes());
            hash.update(rung.tables.to_bytes());
            for (path, tensor) in &rung.weights {
                hash.update(path.as_bytes());
                for value in &tensor.values {
                    hash.update(value.to_le_bytes());
                }
            }
        }
        let digest = hash.finalize();
        let (head, _) = digest.split_at(8);
        u64::from_le_bytes(head.try_into().expect("eight bytes"))
    }

    /// The short name of the bank in its frames: the low 32 bits of the digest.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "masked to 32 bits")]
    pub fn id(&self) -> u32 {
        u32::try_from(self.digest() & 0xffff_ffff).expect("masked to 32 bits")
    }

    /// The bank as one safetensors file.
    ///
    /// # Errors
    ///
    /// When the container cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BankError> {
        let manifest = Manifest {
            backbone: self.backbone.clone(),
            digest: self.digest(),
            rungs: self
                .rungs
                .iter()
                .enumerate()
                .map(|(index, rung)| RungManifest {
                    weights_of: self.first_with_weights_of(index),
                    name: rung.name.clone(),
                    kind: rung.kind.clone(),
                    config: rung.config.clone(),
                    lambda: rung.lambda,
                    steps: rung.steps,
                    measured: rung.measured.clone(),
                })
                .collect(),
        };
        let mut archive = Archive::new(SCHEMA, &manifest)?;
        for (index, rung) in self.rungs.iter().enumerate() {
            if self.first_with_weights_of(index).is_none() {
                archive.insert_state(&format!("rung{index}"), &rung.weights);
            }
            archive.insert_bytes(&format!("tables{index}"), rung.tables.to_bytes());
        }
        Ok(archive.to_bytes()?)
    }

    /// The first rung before `index` that has the very same weights, as the rungs of one
    /// continuous unit have.
    fn first_with_weights_of(&self, index: usize) -> Option<usize> {
        let own = &self.rungs[index].weights;
        (0..index).find(|earlier| self.rungs[*earlier].weights == *own)
    }

    /// Reads a bank and checks its digest.
    ///
    /// # Errors
    ///
    /// When the container, the manifest or a table is damaged, or the digest differs.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BankError> {
        let archive = Archive::from_bytes(SCHEMA, bytes)?;
        let manifest: Manifest = archive.manifest()?;
        let rungs = manifest
            .rungs
            .into_iter()
            .enumerate()
            .map(|(index, rung)| {
                let tables = TableSet::from_bytes(archive.bytes(&format!("tables{index}"))?)
                    .map_err(|source| BankError::Table {
                        rung: rung.name.clone(),
                        source,
                    })?;
                let holder = rung.weights_of.unwrap_or(index);
                Ok(Rung {
                    weights: archive.state(&format!("rung{holder}")),
                    tables,
                    name: rung.name,
                    kind: rung.kind,
                    config: rung.config,
                    lambda: rung.lambda,
                    steps: rung.steps,
                    measured: rung.measured,
                })
            })
            .collect::<Result<Vec<_>, BankError>>()?;
        let bank = Self::new(manifest.backbone, rungs)?;
        let found = bank.digest();
        if found != manifest.digest {
            return Err(BankError::Digest {
                found,
                expected: manifest.digest,
            });
        }
        Ok(bank)
    }

    /// Puts a rung on a device, ready to code.
    ///
    /// # Errors
    ///
    /// When there is no such rung, or its weights do not fit its configuration.
    #[expect(
        clippy::missing_panics_doc,
        reason = "the constructor bounds the rungs"
    )]
    pub fn open(&self, rung: usize, device: &Device) -> Result<RungCodec, BankError> {
        let found = self.rungs.get(rung).ok_or(BankError::NoRung {
            found: rung,
            rungs: self.rungs.len(),
        })?;
        let name = || found.name.clone();
        let config = |source| BankError::Config {
            rung: name(),
            source,
        };
        let unit = opened(&found.name, &found.config, &found.weights, device)?;
        let quantizer = found.config.quantizer().map_err(config)?;
        let shape = found.config.latent_shape().map_err(config)?;
        let index = u16::try_from(rung).expect("a bank has at most 65,536 rungs");
        let codec = Codec::new(quantizer, found.tables.clone(), shape, index, self.id()).map_err(
            |source| BankError::Table {
                rung: name(),
                source,
            },
        )?;
        Ok(RungCodec {
            encoder_parameters: parameter_count(&unit.encoder),
            decoder_parameters: parameter_count(&unit.decoder),
            encoder: unit.encoder,
            decoder: unit.decoder,
            codec,
            activation: found.config.activation,
            device: device.clone(),
        })
    }
}

/// A rung on a compute device: activations to frames on the device side, frames to
/// activations on the edge side.
#[derive(Debug)]
pub struct RungCodec {
    encoder: UnitEncoder,
    decoder: UnitDecoder,
    codec: Codec,
    activation: ActivationShape,
    device: Device,
    /// Parameters of the unit encoder.
    pub encoder_parameters: usize,
    /// Parameters of the unit decoder.
    pub decoder_parameters: usize,
}

impl RungCodec {
    /// The integer part: quantizer, tables, frame.
    #[must_use]
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// What the unit encoder makes of an activation, before rounding; it stays on the device.
    ///
    /// # Shapes
    ///
    /// - `activation`: `[n, channels, height, width]`
    /// - output: `[n, latent channels, height', width']`
    ///
    /// # Errors
    ///
    /// When the activation has another shape.
    pub fn unit_latent(&self, activation: Tensor<4>) -> Result<Tensor<4>, CodingError> {
        let [_, channels, height, width] = activation.dims();
        let found = ActivationShape {
            channels,
            height,
            width,
        };
        if found != self.activation {
            let ActivationShape {
                channels: c,
                height: h,
                width: w,
            } = self.activation;
            return Err(CodingError::Activation {
                expected: [c, h, w],
                found: [channels, height, width],
            });
        }
        Ok(self.encoder.forward(activation))
    }

    /// The symbols of each picture, as the frames will carry them.
    ///
    /// # Shapes
    ///
    /// - `activation`: `[n, channels, height, width]`
    ///
    /// # Errors
    ///
    /// When the activation has another shape, or a latent is not finite.
    pub fn symbols(&self, activation: Tensor<4>) -> Result<Vec<Symbols>, CodingError> {
        let shape = self.codec.shape();
        let latent = floats(self.unit_latent(activation)?);
        latent
            .chunks_exact(shape.len())
            .map(|values| {
                let latent = Latent::new(shape, values.to_vec())?;
                Ok(self
                    .codec
                    .quantizer()
                    .quantize(&latent)
                    .map_err(EncodeError::from)?)
            })
            .collect()
    }

    /// One whole frame for each picture.
    ///
    /// # Shapes
    ///
    /// - `activation`: `[n, channels, height, width]`
    ///
    /// # Errors
    ///
    /// As [`symbols`](Self::symbols).
    pub fn encode(&self, activation: Tensor<4>) -> Result<Vec<Vec<u8>>, CodingError> {
        self.symbols(activation)?
            .iter()
            .map(|symbols| Ok(self.codec.encode_symbols(symbols)?))
            .collect()
    }

    /// The restored activations of the pictures that the frames carry,
    /// `[n, channels, height, width]`.
    ///
    /// # Errors
    ///
    /// When a frame is damaged or belongs to another bank or rung (the message names both).
    pub fn decode<F: AsRef<[u8]>>(&self, frames: &[F]) -> Result<Tensor<4>, CodingError> {
        Ok(self.restore(self.latent(frames)?))
    }

    /// The dequantized latents that the frames carry, `[n, latent channels, height, width]`:
    /// the integer half of [`decode`](Self::decode).
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    pub fn latent<F: AsRef<[u8]>>(&self, frames: &[F]) -> Result<Tensor<4>, CodingError> {
        let shape = self.codec.shape();
        let mut values = Vec::with_capacity(frames.len() * shape.len());
        for frame in frames {
            values.extend_from_slice(self.codec.decode(frame.as_ref())?.values());
        }
        let sizes = [
            frames.len(),
            shape.channels(),
            shape.height(),
            shape.width(),
        ];
        Ok(Tensor::from_data(
            TensorData::new(values, sizes),
            &self.device,
        ))
    }

    /// Latents to restored activations: the other half of [`decode`](Self::decode).
    ///
    /// # Shapes
    ///
    /// - `latent`: `[n, latent channels, height', width']`
    /// - output: `[n, channels, height, width]`
    #[must_use]
    pub fn restore(&self, latent: Tensor<4>) -> Tensor<4> {
        self.decoder.forward(latent)
    }
}
