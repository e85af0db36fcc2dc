//! Help from the backbone: a tail whose batch norms are fitted to what a unit restores.
//!
//! The backbone is not frozen then, so its figures stand apart from those of units alone. Frames stay what they
//! are; the edge needs norms of its own for each rung.

use burn::module::{Module, ParamGroup};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Tensor};
use thiserror::Error;

use crate::cache::ActivationCache;
use crate::loss::divergence;
use crate::split::Tail;
use crate::state::module_state;
use crate::train::{cosine, shuffled};

/// Softens both distributions of the distillation, as units are trained.
const TEMPERATURE: f32 = 2.0;

/// How the norms of a tail are fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct NormsConfig {
    /// Batches over which running means and variances are taken anew, at least 1; with the norms' momentum of 0.1
    /// the last twenty or so count.
    pub statistics_steps: usize,
    /// Optimizer steps on scale and shift after them; none leaves both as they are.
    pub affine_steps: usize,
    /// Pictures of a batch.
    pub batch_size: usize,
    /// Peak learning rate of scale and shift (Adam, cosine to zero).
    pub learning_rate: f64,
    /// Seed of the order of the pictures.
    pub seed: u64,
}

impl Default for NormsConfig {
    /// Statistics alone, over sixty batches of 64.
    fn default() -> Self {
        Self {
            statistics_steps: 60,
            affine_steps: 0,
            batch_size: 64,
            learning_rate: 1e-3,
            seed: 1,
        }
    }
}

/// Why the norms of a tail can't be fitted.
#[derive(Debug, Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum NormsError {
    /// The tail has none, or they were folded into its convolutions.
    #[error("the tail has no batch norms; give it as it was trained, before they are folded")]
    NoNorms,
    /// Fewer pictures than a batch.
    #[error("{found} pictures, at least {needed} are needed")]
    TooFewPictures {
        /// Pictures there are.
        found: usize,
        /// Pictures that are needed.
        needed: usize,
    },
    /// The loss is not a number.
    #[error("the loss became {loss} at step {step}; use a lower learning rate")]
    NotFinite {
        /// Step at which it happened.
        step: usize,
        /// The loss.
        loss: f32,
    },
}

/// Fits the batch norms of a tail to `restored` activations, on an autodiff `device`: first their running statistics
/// (as Li et al. 2017, arXiv 1603.04779, adapt a network to another domain), then, where steps are given, scale and
/// shift too, by the divergence of the answers from those of the unsplit network, without labels. All other weights
/// stay. The tail that comes back is on the device without autodiff.
///
/// # Errors
///
/// [`NormsError`] for a tail without norms, too few pictures, and a loss that isn't finite.
pub fn fit_norms<T: Tail<Output = Tensor<2>> + Module>(
    tail: T,
    restored: &ActivationCache,
    config: &NormsConfig,
    device: &Device,
) -> Result<T, NormsError> {
    let (batch_size, found) = (config.batch_size.max(1), restored.len());
    if norm_parameters(&tail) == 0 {
        return Err(NormsError::NoNorms);
    }
    if found < batch_size {
        return Err(NormsError::TooFewPictures {
            found,
            needed: batch_size,
        });
    }
    let mut tail = tail.unfreeze().train().no_grad();
    let per_epoch = found / batch_size;
    let mut order = Vec::new();
    let mut batch_at = |step: usize| {
        if step.is_multiple_of(per_epoch) {
            order = shuffled(found, config.seed, step / per_epoch);
        }
        let start = step % per_epoch * batch_size;
        restored.batch(&order[start..start + batch_size], device)
    };
    let statistics_steps = config.statistics_steps.max(1);
    for step in 0..statistics_steps {
        let _ = tail.forward(batch_at(step).activation);
    }
    tail = tail.unfreeze_group(ParamGroup::from_any_predicates(vec![".gamma", ".beta"]));
    let mut optimizer = AdamConfig::new().init();
    for step in 0..config.affine_steps {
        let batch = batch_at(statistics_steps + step);
        let lost = divergence(tail.forward(batch.activation), batch.reference, TEMPERATURE);
        let loss: f32 = lost.clone().detach().into_scalar();
        if !loss.is_finite() {
            return Err(NormsError::NotFinite { step, loss });
        }
        let mut gradients = lost.backward();
        let gradients = GradientsParams::from_module(&mut gradients, &tail);
        let rate = config.learning_rate * cosine(step, config.affine_steps);
        tail = optimizer.step(rate, tail, gradients);
    }
    Ok(tail.valid())
}

/// Scales and shifts of all norms of a module: what an edge would have to hold for each rung, once statistics are
/// folded into them.
#[must_use]
pub fn norm_parameters<M: Module>(module: &M) -> usize {
    let state = module_state(module).into_iter();
    let of_norms = state.filter(|(path, _)| path.ends_with(".gamma") || path.ends_with(".beta"));
    of_norms.map(|(_, tensor)| tensor.values.len()).sum()
}
