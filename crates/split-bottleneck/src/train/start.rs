//! Where a rung starts: weights, rate model, price, and a step near the wanted rate.

use burn::module::Module;
use burn::tensor::Device;
use rand_core::SeedableRng;
use rand_pcg::Pcg64;
use split_tensor::{FitConfig, Latent, Symbols, TableSet};

use super::{TrainConfig, TrainError, symbol_moments};
use crate::cache::{ActivationCache, floats};
use crate::error::ConfigError;
use crate::state::{ModuleState, load_state, module_state, usize_to_f32};
use crate::unit::{Unit, UnitConfig};

/// Pictures whose latents are coded at each step that is tried.
const TRIED_PICTURES: usize = 48;
/// Furthest that a step is moved, as a factor.
const FACTOR_MAX: f32 = 32.0;
/// Halvings of the range of steps: to a twentieth of a per cent of a factor of a thousand.
const HALVINGS: usize = 14;
/// How close the bits have to come, as a share of those asked for.
const CLOSE: f64 = 0.02;

/// Where a rung starts: a trained rung of the same layout, usually the neighbouring rate.
#[derive(Debug, Clone)]
pub struct WarmStart {
    /// Weights of the unit.
    pub unit: ModuleState,
    /// Weights of its rate model.
    pub rate: ModuleState,
    /// Price of a kilobit at its end, where dual ascent goes on.
    pub lambda: f64,
    /// Bits that the coder's tables took at its end for each bit that its rate model estimated.
    pub coded_share: f64,
}

impl WarmStart {
    /// The same weights with the quantizer step at which fitted tables take about `bits` for a picture
    /// of the cache, and a rate model that begins at the moments of those symbols.
    ///
    /// Training towards a lower rate by the price alone has to shrink the latent first, which takes
    /// hundreds of steps where a latent has thousands of symbols. From here the price has to hold the
    /// rate only. Steps are tried up to a factor of 32 either way; where none takes as few or as many
    /// bits, the furthest is taken.
    ///
    /// # Errors
    ///
    /// When the cache is empty, the configuration does not hold, or the weights are of another layout.
    pub fn at_bits(
        self,
        unit_config: &UnitConfig,
        train: &TrainConfig,
        bits: f64,
        cache: &ActivationCache,
        device: &Device,
    ) -> Result<(UnitConfig, Self), TrainError> {
        if cache.is_empty() {
            return Err(TrainError::TooFewPictures {
                pictures: 0,
                batch_size: train.batch_size,
            });
        }
        let fresh = unit_config.init(device, &mut Pcg64::seed_from_u64(0))?;
        let unit = load_state(fresh, &self.unit)?.valid();
        let every = cache.len().div_ceil(TRIED_PICTURES);
        let indices: Vec<usize> = (0..cache.len()).step_by(every).collect();
        unit_config.check_cache(cache)?;
        let inputs = unit_config.input(&cache.batch(&indices, &device.clone().inner()));
        let latents = latents(&unit, unit_config, inputs.clone())?;
        let mut config = unit_config.clone();
        config.step = step_for(unit_config, &latents, bits)?;
        let moments = symbol_moments(&unit, &config, inputs);
        let rate = train.rate.init(&moments, config.is_rectified(), device);
        let start = Self {
            rate: module_state(&rate),
            ..self
        };
        Ok((config, start))
    }
}

fn latents(
    unit: &Unit,
    config: &UnitConfig,
    activations: burn::tensor::Tensor<4>,
) -> Result<Vec<Latent>, ConfigError> {
    let shape = config.latent_shape()?;
    let values = floats(unit.encoder.forward(activations));
    values
        .chunks_exact(shape.len())
        .map(|one| Ok(Latent::new(shape, one.to_vec())?))
        .collect()
}

/// The step at which the latents take about so many bits each: by halving, since a coarser step
/// never takes more.
fn step_for(config: &UnitConfig, latents: &[Latent], bits: f64) -> Result<f32, ConfigError> {
    let (mut fine, mut coarse) = (config.step / FACTOR_MAX, config.step * FACTOR_MAX);
    let mut step = config.step;
    for _ in 0..HALVINGS {
        let tried = UnitConfig {
            step,
            ..config.clone()
        };
        // What can't be coded has symbols out of range: the step is too fine.
        let taken = mean_bits(&tried, latents)?.unwrap_or(f64::INFINITY);
        if (taken / bits - 1.0).abs() < CLOSE {
            break;
        }
        if taken > bits {
            fine = step;
        } else {
            coarse = step;
        }
        step = (fine * coarse).sqrt();
    }
    Ok(step)
}

/// Mean bits of a latent under tables that were fitted to all of them.
fn mean_bits(config: &UnitConfig, latents: &[Latent]) -> Result<Option<f64>, ConfigError> {
    let quantizer = config.quantizer()?;
    let symbols: Result<Vec<Symbols>, _> = latents
        .iter()
        .map(|latent| quantizer.quantize(latent))
        .collect();
    let Ok(symbols) = symbols else {
        return Ok(None);
    };
    let Ok(tables) = TableSet::fit(&symbols, &FitConfig::default()) else {
        return Ok(None);
    };
    let bits: f64 = symbols.iter().map(|one| tables.code_length_bits(one)).sum();
    Ok(Some(bits / f64::from(usize_to_f32(symbols.len()))))
}
