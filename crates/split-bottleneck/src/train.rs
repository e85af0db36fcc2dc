use burn::grad_clipping::GradientClippingConfig;
use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cache::{ActivationCache, floats};
use crate::error::{ConfigError, StateError};
use crate::loss::relative_error;
use crate::proxy::{Proxy, straight_through_round, uniform_noise};
use crate::rate::{RateKind, RateModel, channel_moments};
use crate::split::{Batch, Distortion};
use crate::state::{load_state, module_state};
use crate::unit::{Unit, UnitConfig};

mod checkpoint;
mod continuous;
mod start;
mod target;

pub use checkpoint::CheckpointError;
pub use continuous::{ContinuousConfig, ContinuousTraining};
pub use start::WarmStart;

/// Bounds of the price that dual ascent sets, as natural logarithms: below the lower one the
/// rate no longer matters, and a price that sank further would take long to come back.
const LOG_LAMBDA_MIN: f64 = -5.0;
const LOG_LAMBDA_MAX: f64 = 6.0;

/// Highest price while warming up: enough to teach the rate model, too little to hold back
/// the restoring of the activation.
const WARMUP_LAMBDA: f64 = 0.01;

/// What the rate costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// `distortion + lambda * rate`, lambda per kilobit of one picture.
    Lambda(f64),
    /// Lambda found by dual ascent so that a picture takes this many payload bits.
    TargetBits {
        /// Bits of one picture's payload.
        bits: f64,
        /// Lambda at the start, per kilobit; a warm start brings its own.
        start: f64,
    },
}

/// How one rung is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// Optimizer steps, warm-up included.
    pub steps: usize,
    /// First steps that only restore the activation (squared error), before the task counts.
    pub warmup_steps: usize,
    /// Pictures of a step.
    pub batch_size: usize,
    /// Peak learning rate of the unit (Adam, cosine to zero).
    pub learning_rate: f64,
    /// Peak learning rate of the rate model, which must follow the unit.
    pub rate_learning_rate: f64,
    /// Price of the rate.
    pub objective: Objective,
    /// What prices the latent.
    #[serde(default)]
    pub rate: RateKind,
    /// What stands in for rounding.
    #[serde(default)]
    pub proxy: Proxy,
    /// Whether the tables may mix predictions where that is smaller: fewer bytes, coded more slowly
    /// ([`split_tensor::FitConfig::mixing`]).
    #[serde(default)]
    pub mixing: bool,
    /// Seed of initial weights and of the order of the pictures.
    pub seed: u64,
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Steps done.
    pub step: usize,
    /// Steps of the run.
    pub steps: usize,
    /// Distortion of the batch, or the activation's relative error while warming up.
    pub distortion: f64,
    /// Estimated payload bits of a picture's rounded symbols, running mean; for
    /// [`Objective::TargetBits`] times what the coder's tables took of such an estimate last.
    pub bits: f64,
    /// Price of a kilobit.
    pub lambda: f64,
}

/// Why training stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The loss is not a number.
    #[error(
        "the loss became {loss} at step {step} (lambda {lambda:.3e}); start again with a lower \
         learning rate"
    )]
    NotFinite {
        /// Step at which it happened.
        step: usize,
        /// The loss.
        loss: f64,
        /// Price of a kilobit then.
        lambda: f64,
    },
    /// There is nothing to train on.
    #[error("the cache holds {pictures} pictures, a batch needs {batch_size}")]
    TooFewPictures {
        /// Pictures in the cache.
        pictures: usize,
        /// Pictures of a batch.
        batch_size: usize,
    },
    /// The unit's configuration does not hold.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The warm start is of another layout.
    #[error("the warm start does not fit: {0}")]
    State(#[from] StateError),
}

/// A rung in training: unit, rate model, optimizers and the price of the rate.
///
/// Head and tail never change: the head's activations are cached, the tail is frozen. The
/// same configuration and cache give the same weights, also across a checkpoint.
pub struct Training {
    unit_config: UnitConfig,
    config: TrainConfig,
    unit: Unit,
    rate: RateModel,
    unit_optimizer: ModuleOptimizer,
    rate_optimizer: ModuleOptimizer,
    step: usize,
    log_lambda: f64,
    mean_bits: f64,
    /// Coded bits for each estimated one.
    coded_share: f64,
    order: Vec<usize>,
    order_epoch: Option<usize>,
    device: Device,
}

impl std::fmt::Debug for Training {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Training")
            .field("unit_config", &self.unit_config)
            .field("config", &self.config)
            .field("step", &self.step)
            .field("log_lambda", &self.log_lambda)
            .finish_non_exhaustive()
    }
}

impl Training {
    /// Starts a rung on an autodiff `device`, from `warm` or from drawn weights.
    ///
    /// # Errors
    ///
    /// When the configuration does not hold, the warm start has another layout, or the cache
    /// has fewer pictures than a batch.
    pub fn start(
        unit_config: &UnitConfig,
        config: &TrainConfig,
        warm: Option<&WarmStart>,
        cache: &ActivationCache,
        device: &Device,
    ) -> Result<Self, TrainError> {
        if cache.len() < config.batch_size || config.batch_size == 0 {
            return Err(TrainError::TooFewPictures {
                pictures: cache.len(),
                batch_size: config.batch_size,
            });
        }
        unit_config.check_cache(cache)?;
        let drawn = || unit_config.init(device, &mut Pcg64::seed_from_u64(config.seed));
        let unit = drawn()?;
        let rectified = unit_config.is_rectified();
        let silent = vec![(0.0, 2.0); unit_config.latent_channels];
        let rate = config.rate.init(&silent, rectified, device);
        let (unit, rate) = match warm {
            Some(warm) => (load_state(unit, &warm.unit)?, load_state(rate, &warm.rate)?),
            None => {
                let order: Vec<usize> = (0..config.batch_size).collect();
                let batch = cache.batch(&order, device);
                // On a twin: the pass leaves its mark on running statistics.
                let moments = symbol_moments(&drawn()?, unit_config, unit_config.input(&batch));
                (unit, config.rate.init(&moments, rectified, device))
            }
        };
        let lambda = match (config.objective, warm) {
            (Objective::Lambda(lambda), _) => lambda,
            (Objective::TargetBits { .. }, Some(warm)) => warm.lambda,
            (Objective::TargetBits { start, .. }, None) => start,
        };
        Ok(Self {
            unit_config: unit_config.clone(),
            config: config.clone(),
            unit,
            rate,
            unit_optimizer: adam(),
            rate_optimizer: adam(),
            step: 0,
            log_lambda: lambda.max(1e-9).ln(),
            mean_bits: 0.0,
            coded_share: warm.map_or(1.0, |warm| warm.coded_share),
            order: Vec::new(),
            order_epoch: None,
            device: device.clone(),
        })
    }

    /// Whether all steps are done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.step >= self.config.steps
    }

    /// Steps done so far.
    #[must_use]
    pub fn step_count(&self) -> usize {
        self.step
    }

    /// Does one optimizer step.
    ///
    /// # Errors
    ///
    /// When the loss is not finite; the weights are then those before the step.
    pub fn advance(
        &mut self,
        cache: &ActivationCache,
        distortion: &impl Distortion,
    ) -> Result<StepReport, TrainError> {
        let batch = self.next_batch(cache);
        let warming = self.step < self.config.warmup_steps;
        let latent = self.unit.encoder.forward(self.unit_config.input(&batch));
        let latent = self.unit_config.divided(latent);
        let noisy = latent.clone() + self.noise(latent.dims());
        let symbols = straight_through_round(latent);
        let bits = self.rate.symbol_bits(symbols.clone().detach());
        let (sent, priced) = self.config.proxy.views(self.progress(), noisy, symbols);
        let restored = self.unit.decoder.forward(self.unit_config.multiplied(sent));
        let lost = if warming {
            relative_error(restored, batch.activation.clone())
        } else {
            distortion.distortion(restored, &batch)
        };
        let kilobits = self.rate.bits(priced).mean().div_scalar(1000.0);
        let lambda = if warming {
            self.log_lambda.exp().min(WARMUP_LAMBDA)
        } else {
            self.log_lambda.exp()
        };
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
        self.update(loss);
        self.follow_rate(bits, warming);
        self.step += 1;
        self.compare_with_coder(cache);
        Ok(StepReport {
            step: self.step,
            steps: self.config.steps,
            distortion: lost,
            bits: self.coded_bits(),
            lambda,
        })
    }

    /// The trained weights, for the rung and as warm start of the next.
    #[must_use]
    pub fn weights(&self) -> WarmStart {
        WarmStart {
            // `valid` first takes in what the last forward pass left pending in running statistics.
            unit: module_state(&self.unit.valid()),
            rate: module_state(&self.rate.valid()),
            lambda: self.lambda(),
            coded_share: self.coded_share,
        }
    }

    /// How it is trained.
    #[must_use]
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Price of a kilobit now.
    #[must_use]
    pub fn lambda(&self) -> f64 {
        self.log_lambda.exp()
    }

    /// The unit as it is now, for inference on the plain device.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.unit.valid()
    }

    /// The rate model as it is now.
    #[must_use]
    pub fn rate(&self) -> RateModel {
        self.rate.valid()
    }

    fn next_batch(&mut self, cache: &ActivationCache) -> Batch {
        let per_epoch = cache.len() / self.config.batch_size;
        let epoch = self.step / per_epoch;
        if self.order_epoch != Some(epoch) {
            self.order = shuffled(cache.len(), self.config.seed, epoch);
            self.order_epoch = Some(epoch);
        }
        let start = self.step % per_epoch * self.config.batch_size;
        let indices = &self.order[start..start + self.config.batch_size];
        cache.batch(indices, &self.device)
    }

    /// Share of the steps done.
    fn progress(&self) -> f32 {
        let [done, all] = [self.step, self.config.steps].map(crate::state::usize_to_f32);
        done / all.max(1.0)
    }

    /// Uniform noise of -0.5..0.5 for this step, drawn on the host: the same on every backend
    /// and after a resume.
    fn noise(&self, shape: [usize; 4]) -> Tensor<4> {
        uniform_noise(self.config.seed, self.step, shape, &self.device)
    }

    fn update(&mut self, loss: Tensor<1>) {
        let factor = cosine(self.step, self.config.steps);
        let mut grads = loss.backward();
        let unit_grads = GradientsParams::from_module(&mut grads, &self.unit);
        let rate_grads = GradientsParams::from_module(&mut grads, &self.rate);
        let unit_rate = self.config.learning_rate * factor;
        let rate_rate = self.config.rate_learning_rate * factor;
        self.unit = self
            .unit_optimizer
            .step(unit_rate, self.unit.clone(), unit_grads);
        self.rate = self
            .rate_optimizer
            .step(rate_rate, self.rate.clone(), rate_grads);
    }
}

fn adam() -> ModuleOptimizer {
    AdamConfig::new()
        .init()
        .with_grad_clipping(GradientClippingConfig::Norm(5.0).init())
}

/// Learning-rate factor: a short linear rise, then a cosine to zero.
pub(crate) fn cosine(step: usize, steps: usize) -> f64 {
    let ramp = (steps / 20).clamp(1, 40);
    let [step, steps, ramp] =
        [step, steps, ramp].map(|count| f64::from(crate::state::usize_to_f32(count)));
    let rise = ((step + 1.0) / ramp).min(1.0);
    rise * 0.5 * (1.0 + (std::f64::consts::PI * step / steps.max(1.0)).cos())
}

/// The order of an epoch: Fisher-Yates with a generator of its own, so that any step can be
/// resumed without replaying the draws before it.
pub(crate) fn shuffled(count: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let stream = u128::try_from(epoch).expect("an epoch fits 128 bits");
    let mut rng = Pcg64::new(u128::from(seed), stream);
    let mut order: Vec<usize> = (0..count).collect();
    for index in (1..count).rev() {
        let bound = u64::try_from(index + 1).expect("a count fits 64 bits");
        // Multiply-shift: the bias is below 2^-40 for any cache that fits memory.
        let draw = (u128::from(rng.next_u64()) * u128::from(bound)) >> 64;
        order.swap(index, usize::try_from(draw).expect("below the bound"));
    }
    order
}

pub(crate) fn symbol_moments(
    unit: &Unit,
    config: &UnitConfig,
    activation: Tensor<4>,
) -> Vec<(f32, f32)> {
    let latent = unit.encoder.forward(activation).detach();
    let symbols = config.divided(latent).round();
    let [_, channels, height, width] = symbols.dims();
    channel_moments(&floats(symbols), channels, height * width)
}
