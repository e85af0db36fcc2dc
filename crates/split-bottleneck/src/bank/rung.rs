use burn::module::Module;
use burn::tensor::Device;
use rand_core::SeedableRng;
use rand_pcg::Pcg64;
use split_tensor::{FitConfig, FreqTable, Latent, LatentShape, Symbols, TableError, TableSet};

use super::{BankError, Measured};
use crate::cache::{ActivationCache, floats};
use crate::error::ConfigError;
use crate::rate::RateModel;
use crate::state::{ModuleState, load_state, usize_to_f32};
use crate::train::Training;
use crate::unit::{ActivationShape, Unit, UnitConfig};

/// Pictures whose activations are in work at once.
const CHUNK: usize = 64;
/// One training picture in so many judges the tables that the others made.
const HELD_OUT_EVERY: usize = 5;

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
        let tables = choose_tables(
            Some(&training.rate()),
            &symbols,
            (training.config().mixing, &config.segments()),
        )
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
        let tables =
            choose_tables(None, &symbols, (mixing, &config.segments())).map_err(|source| {
                BankError::Table {
                    rung: rung(),
                    source,
                }
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

    /// Makes a rung that sends its latent as integers of `bits` bits with a fixed length, as the bottlenecks
    /// without entropy coding do (CR+BQ, arXiv 2007.15818; BottleNet++): the step spreads them over the range
    /// that the latents of the training pictures take, all equally likely. A value beyond it takes longer.
    /// `bits` is taken as 2 to 11 at most.
    ///
    /// # Errors
    ///
    /// As [`fitted`](Self::fitted); also when the latents are all alike.
    pub fn integers(
        name: &str,
        kind: &str,
        config: &UnitConfig,
        weights: &ModuleState,
        bits: u32,
        training: TablePictures<'_>,
    ) -> Result<Self, BankError> {
        let rung = || name.to_owned();
        let refused = |source| BankError::Config {
            rung: rung(),
            source,
        };
        let unit = opened(name, config, weights, training.device)?;
        config.check_cache(training.cache).map_err(refused)?;
        let [low, high] = latent_range(config, &unit, training);
        let levels = 1_u16 << bits.clamp(2, 11);
        let config = UnitConfig {
            step: (high - low) / f32::from(levels - 1),
            step_factors: Vec::new(),
            ..config.clone()
        };
        let smallest = symbol_of(low, &config).map_err(refused)?;
        let tables = FreqTable::from_counts(smallest, &vec![1; usize::from(levels)])
            .map(TableSet::shared)
            .map_err(|source| BankError::Table {
                rung: rung(),
                source,
            })?;
        Ok(Self {
            name: rung(),
            kind: kind.to_owned(),
            config,
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
pub(super) fn opened(
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
/// neighbours, or where `mixing` allows it mixed predictions, within segments of so many channels each: what takes
/// the fewest bits for symbols that none has seen.
fn choose_tables(
    rate: Option<&RateModel>,
    symbols: &[Symbols],
    (mixing, segments): (bool, &[usize]),
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
    if mixing && bits(&static_tables.with_mixing_in(&seen, segments)?) < static_bits {
        return chosen.with_mixing_in(symbols, segments);
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
    let tables = choose_tables(Some(rate), &symbols, (mixing, &config.segments())).ok()?;
    let bits: f64 = symbols.iter().map(|one| tables.code_length_bits(one)).sum();
    Some(bits / f64::from(usize_to_f32(symbols.len().max(1))))
}

/// The smallest and the largest value of the latents of training pictures.
fn latent_range(config: &UnitConfig, unit: &Unit, training: TablePictures<'_>) -> [f32; 2] {
    let TablePictures {
        cache,
        limit,
        device,
        ..
    } = training;
    let mut range = [f32::INFINITY, f32::NEG_INFINITY];
    for chunk in cache.spread(limit).chunks(CHUNK) {
        let latent = unit
            .encoder
            .forward(config.input(&cache.batch(chunk, device)));
        for value in floats(latent) {
            range = [range[0].min(value), range[1].max(value)];
        }
    }
    range
}

/// The symbol of one value.
fn symbol_of(value: f32, config: &UnitConfig) -> Result<i32, ConfigError> {
    let one = Latent::new(LatentShape::new(1, 1, 1)?, vec![value])?;
    let symbols = config.quantizer()?.quantize(&one);
    let symbols = symbols.map_err(|_| ConfigError::Step { found: config.step })?;
    Ok(symbols.values()[0])
}

/// Symbols of the first `limit` pictures of the cache, spread evenly over it.
fn training_symbols(
    config: &UnitConfig,
    unit: &Unit,
    cache: &ActivationCache,
    limit: usize,
    device: &Device,
) -> Result<Vec<Symbols>, ConfigError> {
    config.check_cache(cache)?;
    let shape = config.latent_shape()?;
    let quantizer = config.quantizer()?;
    let indices = cache.spread(limit);
    let mut symbols = Vec::with_capacity(indices.len());
    for chunk in indices.chunks(CHUNK) {
        let latent = unit
            .encoder
            .forward(config.input(&cache.batch(chunk, device)));
        for values in floats(latent).chunks_exact(shape.len()) {
            let latent = Latent::new(shape, values.to_vec())?;
            // A latent that is no number was refused while training; nothing to count here.
            symbols.extend(quantizer.quantize(&latent));
        }
    }
    Ok(symbols)
}
