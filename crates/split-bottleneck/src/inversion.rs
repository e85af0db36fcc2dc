//! What a listener can see: pictures guessed from the latents on the wire.
//!
//! Whoever knows the bank and has pictures like those of the device can train a decoder from latents
//! to pictures. [`Inversion`] is such an attacker, a small one: what it restores, a larger one
//! restores too, so its figures are a lower bound of what leaks.

mod decoder;
mod leaked;

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Tensor};
use thiserror::Error;

use self::decoder::InversionDecoder;
pub use self::leaked::{LeakedPictures, PSNR_MAX_DB};
use crate::cache::floats;
use crate::state::parameter_count;
use crate::train::{cosine, shuffled};

/// How the attacker is trained. It sees the training pictures, never those it is judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct InversionConfig {
    /// Channels at the latent's size.
    pub hidden: usize,
    /// Residual blocks at the latent's size.
    pub blocks: usize,
    /// Optimizer steps.
    pub steps: usize,
    /// Pictures of a step.
    pub batch_size: usize,
    /// Peak learning rate (Adam, cosine to zero).
    pub learning_rate: f64,
    /// Seed of initial weights and of the order of the pictures.
    pub seed: u64,
}

/// Why an attacker cannot be trained or judged.
#[derive(Debug, Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum InversionError {
    /// Latents and pictures differ in number.
    #[error("{latents} latents for {pictures} pictures")]
    Count {
        /// Latents given.
        latents: usize,
        /// Pictures given.
        pictures: usize,
    },
    /// A latent or picture has another shape than those before.
    #[error("{what} of shape {found:?} among some of {expected:?}")]
    Shape {
        /// `latent` or `picture`.
        what: &'static str,
        /// Shape of those before.
        expected: [usize; 3],
        /// Shape found.
        found: [usize; 3],
    },
    /// The picture is not larger than the latent, which a decoder of this kind needs.
    #[error("a picture of {picture:?} cannot be restored from a latent of {latent:?}")]
    Size {
        /// Channels, height and width of the latent.
        latent: [usize; 3],
        /// Channels, height and width of the picture.
        picture: [usize; 3],
    },
    /// There is nothing to train on or to judge by.
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

/// How like the restored pictures are to the true ones, means over pictures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leak {
    /// Peak signal-to-noise ratio, decibels.
    pub psnr_db: f64,
    /// Structural similarity; none for pictures with fewer than 11 pixels a side.
    pub ssim: Option<f64>,
}

/// A trained attacker.
#[derive(Debug)]
pub struct Inversion {
    decoder: InversionDecoder,
    device: Device,
}

impl Inversion {
    /// Trains an attacker on an autodiff `device` by the squared error of the pictures, which is what
    /// PSNR counts; `on_step` gets the steps done and the loss.
    ///
    /// # Errors
    ///
    /// When there are fewer pictures than a batch, the picture is smaller than the latent, or the loss
    /// is not finite.
    pub fn train(
        config: &InversionConfig,
        training: &LeakedPictures,
        device: &Device,
        mut on_step: impl FnMut(usize, f32),
    ) -> Result<Self, InversionError> {
        let batch_size = config.batch_size.max(1);
        training.need(batch_size)?;
        let mut decoder = InversionDecoder::new(config, training, device)?;
        let mut optimizer = AdamConfig::new().init();
        let per_epoch = training.len() / batch_size;
        let mut order = Vec::new();
        for step in 0..config.steps {
            if step % per_epoch == 0 {
                order = shuffled(training.len(), config.seed, step / per_epoch);
            }
            let start = step % per_epoch * batch_size;
            let indices = &order[start..start + batch_size];
            let guess = decoder.forward(training.latents_on(indices, device));
            let error = guess - training.pictures_on(indices, device);
            let squared = error.powf_scalar(2.0).mean();
            let loss: f32 = squared.clone().detach().into_scalar();
            if !loss.is_finite() {
                return Err(InversionError::NotFinite { step, loss });
            }
            let mut gradients = squared.backward();
            let gradients = GradientsParams::from_module(&mut gradients, &decoder);
            let rate = config.learning_rate * cosine(step, config.steps);
            decoder = optimizer.step(rate, decoder, gradients);
            on_step(step + 1, loss);
        }
        Ok(Self {
            decoder: decoder.valid(),
            device: device.clone().inner(),
        })
    }

    /// Pictures guessed from latents.
    ///
    /// # Shapes
    ///
    /// - `latents`: `[n, latent channels, height', width']`
    /// - output: `[n, channels, height, width]`, values from 0 to 1
    #[must_use]
    pub fn restore(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decoder.forward(latents).clamp(0.0, 1.0)
    }

    /// How well it does on pictures that it has not seen.
    ///
    /// # Errors
    ///
    /// When there is no picture.
    pub fn leak(&self, test: &LeakedPictures) -> Result<Leak, InversionError> {
        test.judge(|indices| {
            let latents = test.latents_on(indices, &self.device);
            floats(self.restore(latents))
        })
    }

    /// Parameters of the attacker.
    #[must_use]
    pub fn parameters(&self) -> usize {
        parameter_count(&self.decoder)
    }
}
