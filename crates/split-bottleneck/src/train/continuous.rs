use burn::module::{Module, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor, TensorData};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};

use super::{StepReport, TrainError, adam, cosine, shuffled};
use crate::bank::{BankError, Rung, TablePictures};
use crate::cache::{ActivationCache, floats};
use crate::error::ConfigError;
use crate::loss::relative_error;
use crate::proxy::{straight_through_round, uniform_noise};
use crate::rate::{RateKind, RateModel, channel_moments};
use crate::split::Distortion;
use crate::state::{ModuleState, load_state, module_state};
use crate::unit::{Unit, UnitConfig};

/// Batches from which a rung takes the statistics of its decoder's norms; with their momentum of 0.1 the last twenty
/// or so count.
const CALIBRATION_STEPS: usize = 40;

/// Highest price while warming up, as for single rungs.
const WARMUP_LAMBDA: f64 = 0.01;

/// How one unit is trained for a whole range of rates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContinuousConfig {
    /// Optimizer steps, warm-up included.
    pub steps: usize,
    /// First steps that only restore the activation, at the finest step.
    pub warmup_steps: usize,
    /// Pictures of a step.
    pub batch_size: usize,
    /// Peak learning rate of the unit and of the channels' steps (Adam, cosine to zero).
    pub learning_rate: f64,
    /// Peak learning rate of the rate models.
    pub rate_learning_rate: f64,
    /// Factors of the unit's step at which rate models are trained, rising; every training step
    /// draws one of them.
    pub anchors: Vec<f32>,
    /// Price of a kilobit at factor 1.
    pub lambda: f64,
    /// The price grows with the factor to this power; 2 where distortion is a squared error.
    pub lambda_power: f64,
    /// Seed of weights, order and draws.
    pub seed: u64,
}

impl ContinuousConfig {
    /// `count` factors from `first` to `last`, each the same multiple of the one before.
    #[must_use]
    pub fn ladder(first: f32, last: f32, count: usize) -> Vec<f32> {
        let gaps = crate::state::usize_to_f32(count.saturating_sub(1).max(1));
        let at =
            |index: usize| first * (last / first).powf(crate::state::usize_to_f32(index) / gaps);
        (0..count).map(at).collect()
    }

    fn check(&self) -> Result<(), ConfigError> {
        let rising = self.anchors.windows(2).all(|pair| pair[0] < pair[1]);
        let positive = self
            .anchors
            .iter()
            .all(|factor| factor.is_normal() && *factor > 0.0);
        if self.anchors.is_empty() || !rising || !positive {
            return Err(ConfigError::Anchors {
                found: self.anchors.clone(),
            });
        }
        Ok(())
    }
}

/// How each channel's step follows the rate.
#[derive(Module, Debug)]
struct ChannelSteps {
    /// Log of each channel's share of the step at factor 1, `[channels]`.
    offsets: Param<Tensor<1>>,
    /// Power with which each channel's step follows the factor, `[channels]`.
    powers: Param<Tensor<1>>,
}

impl ChannelSteps {
    fn init(channels: usize, device: &Device) -> Self {
        let parameter = |value: f32| {
            let values = vec![value; channels];
            Param::from_data(TensorData::new(values, [channels]), device)
        };
        Self {
            offsets: parameter(0.0),
            powers: parameter(1.0),
        }
    }

    /// Factors of the unit's step, `[channels]`.
    fn factors(&self, factor: f32) -> Tensor<1> {
        (self.offsets.val() + self.powers.val().mul_scalar(factor.ln())).exp()
    }
}

/// One unit for all rates, in training: the rate is set by the step alone, and each channel
/// learns how its own step follows.
///
/// On the wire this is a bank of rungs that share their weights and differ in steps, integer tables and
/// the statistics of the decoder's norms, as many and as fine as wanted: see [`rung`](Self::rung).
pub struct ContinuousTraining {
    unit_config: UnitConfig,
    config: ContinuousConfig,
    unit: Unit,
    steps: ChannelSteps,
    rates: Vec<RateModel>,
    unit_optimizer: ModuleOptimizer,
    steps_optimizer: ModuleOptimizer,
    rate_optimizers: Vec<ModuleOptimizer>,
    step: usize,
    device: Device,
}

impl std::fmt::Debug for ContinuousTraining {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContinuousTraining")
            .field("unit_config", &self.unit_config)
            .field("config", &self.config)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

impl ContinuousTraining {
    /// Starts on an autodiff `device`, from saved `weights` of the same layout or from drawn ones.
    ///
    /// # Errors
    ///
    /// When a configuration does not hold, the weights have another layout, or the cache has
    /// fewer pictures than a batch.
    pub fn start(
        unit_config: &UnitConfig,
        config: &ContinuousConfig,
        weights: Option<&ModuleState>,
        cache: &ActivationCache,
        device: &Device,
    ) -> Result<Self, TrainError> {
        config.check()?;
        if cache.len() < config.batch_size || config.batch_size == 0 {
            return Err(TrainError::TooFewPictures {
                pictures: cache.len(),
                batch_size: config.batch_size,
            });
        }
        unit_config.check_cache(cache)?;
        let drawn = || {
            let fresh = unit_config.init(device, &mut Pcg64::seed_from_u64(config.seed))?;
            match weights {
                Some(weights) => Ok::<_, TrainError>(load_state(fresh, weights)?),
                None => Ok(fresh),
            }
        };
        let order: Vec<usize> = (0..config.batch_size).collect();
        // On a twin: the pass leaves its mark on running statistics.
        let latent = drawn()?
            .encoder
            .forward(unit_config.input(&cache.batch(&order, device)))
            .detach();
        let [_, channels, height, width] = latent.dims();
        let rates = config
            .anchors
            .iter()
            .map(|factor| {
                let symbols = floats(
                    unit_config
                        .divided(latent.clone())
                        .div_scalar(*factor)
                        .round(),
                );
                let moments = channel_moments(&symbols, channels, height * width);
                RateKind::Mixture.init(&moments, unit_config.is_rectified(), device)
            })
            .collect();
        Ok(Self {
            unit_config: unit_config.clone(),
            config: config.clone(),
            unit: drawn()?,
            steps: ChannelSteps::init(channels, device),
            rates,
            unit_optimizer: adam(),
            steps_optimizer: adam(),
            rate_optimizers: config.anchors.iter().map(|_| adam()).collect(),
            step: 0,
            device: device.clone(),
        })
    }

    /// Whether all steps are done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.step >= self.config.steps
    }

    /// Does one optimizer step at one of the anchors.
    ///
    /// # Errors
    ///
    /// When the loss is not finite; the weights are then those before the step.
    pub fn advance(
        &mut self,
        cache: &ActivationCache,
        distortion: &impl Distortion,
    ) -> Result<StepReport, TrainError> {
        let batch = cache.batch(&self.indices_at(self.step, cache.len()), &self.device);
        let warming = self.step < self.config.warmup_steps;
        let anchor = if warming { 0 } else { self.drawn_anchor() };
        let factor = self.config.anchors[anchor];
        let latent = self.unit.encoder.forward(self.unit_config.input(&batch));
        let [_, channels, _, _] = latent.dims();
        let factors = self.steps.factors(factor).reshape([1, channels, 1, 1]);
        let scaled = self.unit_config.divided(latent) / factors.clone();
        let noise = uniform_noise(self.config.seed, self.step, scaled.dims(), &self.device);
        let noisy = scaled.clone() + noise;
        let symbols = straight_through_round(scaled);
        let bits = self.rates[anchor].symbol_bits(symbols.clone().detach());
        let latent = self.unit_config.multiplied(symbols * factors);
        let restored = self.unit.decoder.forward(latent);
        let lost = if warming {
            relative_error(restored, batch.activation.clone())
        } else {
            distortion.distortion(restored, &batch)
        };
        let kilobits = self.rates[anchor].bits(noisy).mean().div_scalar(1000.0);
        let lambda = self.lambda(factor, warming);
        let loss = lost.clone() + kilobits.mul_scalar(lambda);
        let [lost, total] =
            [lost, loss.clone()].map(|scalar| f64::from(scalar.detach().into_scalar::<f32>()));
        if !total.is_finite() {
            return Err(TrainError::NotFinite {
                step: self.step,
                loss: total,
                lambda,
            });
        }
        self.update(loss, anchor);
        self.step += 1;
        Ok(StepReport {
            step: self.step,
            steps: self.config.steps,
            distortion: lost,
            bits,
            lambda,
        })
    }

    /// The rung at `factor` times the unit's step, with tables fitted to its symbols.
    ///
    /// Encoder and all learned weights are those of every other rung. The running statistics of the decoder's batch
    /// norms are taken anew at this factor: training normalizes each batch by what its own step restores, and a mean
    /// over all steps fits none of them at the ends of the range.
    ///
    /// # Errors
    ///
    /// When the factor leaves no positive step or a table cannot be built.
    ///
    /// # Panics
    ///
    /// Never: the weights are of the unit's own layout.
    pub fn rung(
        &self,
        name: &str,
        kind: &str,
        factor: f32,
        pictures: TablePictures<'_>,
    ) -> Result<Rung, BankError> {
        let learned = floats(self.steps.factors(factor));
        let config = UnitConfig {
            step_factors: self
                .unit_config
                .channel_steps()
                .iter()
                .zip(learned)
                .map(|(step, factor)| step / self.unit_config.step * factor)
                .collect(),
            ..self.unit_config.clone()
        };
        let weights = self.calibrated(&config, pictures.cache);
        let rung = Rung::fitted(name, kind, &config, &weights, pictures)?;
        Ok(Rung {
            lambda: self.lambda(factor, false),
            steps: self.step,
            ..rung
        })
    }

    /// The unit's weights with statistics of the decoder's norms as they are under these steps, over
    /// [`CALIBRATION_STEPS`] batches.
    fn calibrated(&self, config: &UnitConfig, cache: &ActivationCache) -> ModuleState {
        // `valid` first takes in what the last forward pass left pending in running statistics.
        let weights = module_state(&self.unit.valid());
        let drawn = config
            .init(&self.device, &mut Pcg64::seed_from_u64(self.config.seed))
            .expect("the configuration held at the start");
        let unit = load_state(drawn, &weights).expect("weights of this very unit");
        let encoder = unit.encoder.valid();
        for step in 0..CALIBRATION_STEPS {
            let indices = self.indices_at(step, cache.len());
            let batch = cache.batch(&indices, &self.device);
            let latent = encoder.forward(config.input(&batch).inner());
            let symbols = config.divided(latent).round();
            let sent = Tensor::from_inner(config.multiplied(symbols));
            // Statistics move with the pass.
            let _ = unit.decoder.forward(sent);
        }
        module_state(&unit.valid())
    }

    fn lambda(&self, factor: f32, warming: bool) -> f64 {
        let lambda = self.config.lambda * f64::from(factor).powf(self.config.lambda_power);
        if warming {
            lambda.min(WARMUP_LAMBDA)
        } else {
            lambda
        }
    }

    /// Pictures of a step.
    fn indices_at(&self, step: usize, pictures: usize) -> Vec<usize> {
        let size = self.config.batch_size;
        let per_epoch = pictures / size;
        let order = shuffled(pictures, self.config.seed, step / per_epoch);
        let start = step % per_epoch * size;
        order[start..start + size].to_vec()
    }

    /// Drawn anew for each step from the seed, so that no state has to be kept.
    fn drawn_anchor(&self) -> usize {
        let stream = u128::try_from(self.step).expect("a step fits 128 bits");
        let mut rng = Pcg64::new(u128::from(self.config.seed) | (1 << 65), stream);
        let count = u64::try_from(self.config.anchors.len()).expect("a count fits 64 bits");
        let draw = (u128::from(rng.next_u64()) * u128::from(count)) >> 64;
        usize::try_from(draw).expect("below the number of anchors")
    }

    fn update(&mut self, loss: Tensor<1>, anchor: usize) {
        let factor = cosine(self.step, self.config.steps);
        let [unit_rate, rate_rate] =
            [self.config.learning_rate, self.config.rate_learning_rate].map(|rate| rate * factor);
        let mut grads = loss.backward();
        let unit = GradientsParams::from_module(&mut grads, &self.unit);
        let steps = GradientsParams::from_module(&mut grads, &self.steps);
        let rate = GradientsParams::from_module(&mut grads, &self.rates[anchor]);
        self.unit = self.unit_optimizer.step(unit_rate, self.unit.clone(), unit);
        self.steps = self
            .steps_optimizer
            .step(unit_rate, self.steps.clone(), steps);
        self.rates[anchor] =
            self.rate_optimizers[anchor].step(rate_rate, self.rates[anchor].clone(), rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ladders_are_geometric_and_keep_their_ends() {
        let ladder = ContinuousConfig::ladder(0.5, 8.0, 5);
        for (found, expected) in ladder.iter().zip([0.5, 1.0, 2.0, 4.0, 8.0]) {
            assert!((found - expected).abs() < 1e-5, "{ladder:?}");
        }
        assert_eq!(ContinuousConfig::ladder(3.0, 9.0, 1), [3.0]);
    }
}
