use burn::grad_clipping::GradientClippingConfig;
use burn::module::Module;
use burn::optim::{AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer};
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
use crate::state::{ModuleState, load_state, module_state};
use crate::unit::{Unit, UnitConfig};

mod averaging;
mod checkpoint;
mod continuous;
mod finish;
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
    /// Weight decay of the unit (AdamW: a share of each weight, times the learning rate, is taken off at
    /// each step); 0 is Adam.
    #[serde(default)]
    pub weight_decay: f32,
    /// Decay of the running mean of the unit's weights and statistics, 0 to below 1, which takes the place of the
    /// last weights in everything that leaves a training; 0 keeps the last weights. Early on less of the past
    /// counts: after `n` steps at most `(n + 1) / (n + 10)`.
    #[serde(default)]
    pub averaging: f32,
    /// Last steps, out of `steps`, that train the decoder alone, on the very symbols that the codec will send: the encoder
    /// and its statistics stand still, rounding is exact, rate model and price rest. The learning rate begins
    /// anew at half its peak, with fresh moments.
    #[serde(default)]
    pub finish_steps: usize,
    /// Seed of initial weights and of the order of the pictures.
    pub seed: u64,
}

impl TrainConfig {
    /// The settings that units of ResNets were trained with: no warm-up, batches of 64, learning rates of 4e-3 and
    /// 2e-2, a mixture of logistics for the rate, seed 1.
    #[must_use]
    pub const fn new(steps: usize, objective: Objective) -> Self {
        Self {
            steps,
            warmup_steps: 0,
            batch_size: 64,
            learning_rate: 4e-3,
            rate_learning_rate: 0.02,
            objective,
            rate: RateKind::Mixture,
            proxy: Proxy::Mixed,
            mixing: false,
            weight_decay: 0.0,
            averaging: 0.0,
            finish_steps: 0,
            seed: 1,
        }
    }

    /// Steps before the finish.
    fn main_steps(&self) -> usize {
        self.steps.saturating_sub(self.finish_steps)
    }

    fn check(&self, cache: &ActivationCache) -> Result<(), TrainError> {
        let Self { batch_size, .. } = *self;
        if cache.len() < batch_size || batch_size == 0 {
            return Err(TrainError::TooFewPictures {
                pictures: cache.len(),
                batch_size,
            });
        }
        if self.finish_steps > self.steps {
            return Err(TrainError::Finish {
                steps: self.steps,
                finish_steps: self.finish_steps,
            });
        }
        if !(0.0..1.0).contains(&self.averaging) {
            return Err(TrainError::Averaging {
                found: self.averaging,
            });
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return Err(TrainError::WeightDecay {
                found: self.weight_decay,
            });
        }
        Ok(())
    }
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
    /// The finish takes more steps than there are.
    #[error("{finish_steps} of {steps} steps to finish the decoder; take fewer, or more steps")]
    Finish {
        /// Steps of the run.
        steps: usize,
        /// Steps of its finish.
        finish_steps: usize,
    },
    /// No running mean decays so.
    #[error("averaging of {found}; it is at least 0 and below 1, for example 0.99")]
    Averaging {
        /// Decay found.
        found: f32,
    },
    /// No weight decays so.
    #[error("a weight decay of {found}; it is a number of at least 0, for example 1e-4")]
    WeightDecay {
        /// Weight decay found.
        found: f32,
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
    /// Running mean of the unit's weights, once there is one.
    averaged: Option<ModuleState>,
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
        config.check(cache)?;
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
            averaged: None,
            rate,
            unit_optimizer: unit_adam(config),
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
        if self.step >= self.config.main_steps() {
            return self.advance_finish(cache, distortion);
        }
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
        self.average();
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
            unit: self.averaged.clone().unwrap_or_else(|| self.last_weights()),
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
    ///
    /// # Panics
    ///
    /// Never: the running mean has the unit's own layout.
    #[must_use]
    pub fn unit(&self) -> Unit {
        match &self.averaged {
            None => self.unit.valid(),
            Some(averaged) => self.unit_of(averaged).valid(),
        }
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

    /// Share of the steps before the finish that are done.
    fn progress(&self) -> f32 {
        let [done, all] = [self.step, self.config.main_steps()].map(crate::state::usize_to_f32);
        done / all.max(1.0)
    }

    /// Uniform noise of -0.5..0.5 for this step, drawn on the host: the same on every backend
    /// and after a resume.
    fn noise(&self, shape: [usize; 4]) -> Tensor<4> {
        uniform_noise(self.config.seed, self.step, shape, &self.device)
    }

    fn update(&mut self, loss: Tensor<1>) {
        let factor = cosine(self.step, self.config.main_steps());
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
    clipped(AdamConfig::new().init())
}

/// The unit's optimizer.
fn unit_adam(config: &TrainConfig) -> ModuleOptimizer {
    match config.weight_decay {
        0.0 => adam(),
        decay => clipped(AdamWConfig::new().with_weight_decay(decay).init()),
    }
}

fn clipped(optimizer: ModuleOptimizer) -> ModuleOptimizer {
    optimizer.with_grad_clipping(GradientClippingConfig::Norm(5.0).init())
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
