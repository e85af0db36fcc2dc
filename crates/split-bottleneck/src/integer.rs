use split_tensor::{EncodeError, Latent, LatentShape, QuantizeError, Symbols};
use thiserror::Error;

use self::layer::{Branch, Side};
use self::layout::float_branches;
use crate::bank::{CodingError, Rung};
use crate::cache::ActivationCache;
use crate::error::{ConfigError, StateError};

mod layer;
mod layout;

/// Bits behind the point that a latent keeps, in steps, until it is rounded to symbols.
const FRACTION_BITS: u32 = 8;

/// Share of values that a range is made for; what lies beyond it saturates.
const WITHIN: f64 = 0.9999;

/// Why a unit encoder can't be had in integers.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IntegerError {
    /// The layout has more than convolutions and ReLUs.
    #[error("an encoder with {what} has no form in integers")]
    Unsupported {
        /// What it has.
        what: &'static str,
    },
    /// A sum of products would not fit 32 bits.
    #[error("a convolution sums {found} products, integers hold {allowed}")]
    TooWide {
        /// Products of one sum.
        found: usize,
        /// How many fit.
        allowed: usize,
    },
    /// There is nothing to measure ranges on.
    #[error("no picture to measure ranges on")]
    NoPictures,
    /// The configuration does not hold.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights do not fit the configuration.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A unit encoder whose weights and values are integers of eight bits, with sums of 32: for devices that compute
/// floats slowly. From the quantized activation on there is no float, so it gives the same symbols everywhere.
///
/// Made of a trained encoder: batch norms are folded into weights, each output channel has a step of its own,
/// and values have the range that they took on some pictures. Decoders take its symbols as they take others.
#[derive(Debug, Clone)]
pub struct IntegerEncoder {
    /// What a symbol is the sum of.
    branches: Vec<Branch>,
    input: Side,
    /// Step and smallest value of the quantized activation.
    input_step: f32,
    input_min: i16,
    shape: LatentShape,
}

impl IntegerEncoder {
    /// Makes the encoder of a rung in integers; ranges come from up to `limit` pictures of the cache, spread
    /// evenly.
    ///
    /// # Errors
    ///
    /// When the encoder is divisive or has a sigmoid, sums more products than 32 bits hold, or its weights do not
    /// fit its configuration.
    pub fn fit(rung: &Rung, cache: &ActivationCache, limit: usize) -> Result<Self, IntegerError> {
        let config = &rung.config;
        let shape = config.latent_shape()?;
        let indices = cache.spread(limit);
        let pictures: Vec<&[f32]> = indices
            .into_iter()
            .map(|index| cache.activation(index))
            .collect();
        let Some(first) = pictures.first() else {
            return Err(IntegerError::NoPictures);
        };
        let input = Side {
            channels: config.activation.channels,
            height: config.activation.height,
            width: config.activation.width,
        };
        if first.len() != config.activation.len() {
            let [expected, found] = [config.activation.len(), first.len()].map(|len| vec![len]);
            let path = "activation".to_owned();
            return Err(StateError::Shape {
                path,
                expected,
                found,
            }
            .into());
        }
        let signed = pictures.iter().any(|one| one.iter().any(|x| *x < 0.0));
        let (input_min, input_max) = if signed { (-127, 127.0) } else { (0, 255.0) };
        let largest = range_of(pictures.iter().flat_map(|one| one.iter().copied()));
        let input_step = largest / input_max;
        let steps = config.channel_steps();
        let branches = float_branches(rung)?
            .into_iter()
            .map(|layers| Branch::quantize(layers, (input, input_step), &pictures, &steps))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            branches,
            input,
            input_step,
            input_min,
            shape,
        })
    }

    /// The symbols of one activation `[channels, height, width]`.
    ///
    /// # Errors
    ///
    /// When it has another length, or a value is no number.
    pub fn symbols(&self, activation: &[f32]) -> Result<Symbols, CodingError> {
        // Its length is checked as that of any latent.
        let Side {
            channels,
            height,
            width,
        } = self.input;
        let checked = Latent::new(
            LatentShape::new(channels, height, width)?,
            activation.to_vec(),
        )?;
        if let Some(index) = activation.iter().position(|value| !value.is_finite()) {
            let refused = match activation[index].is_nan() {
                true => QuantizeError::NotANumber { index },
                false => QuantizeError::Infinite { index },
            };
            return Err(EncodeError::from(refused).into());
        }
        let quantized: Vec<i16> = checked
            .values()
            .iter()
            .map(|value| self.quantized(*value))
            .collect();
        let mut sums = vec![0_i64; self.shape.len()];
        for branch in &self.branches {
            for (sum, value) in sums.iter_mut().zip(branch.forward(&quantized, self.input)) {
                *sum = sum.saturating_add(value);
            }
        }
        let half = 1_i64 << (FRACTION_BITS - 1);
        let symbols = sums.into_iter().map(|sum| {
            let rounded = sum.saturating_add(half) >> FRACTION_BITS;
            i32::try_from(rounded).unwrap_or(if rounded < 0 { i32::MIN } else { i32::MAX })
        });
        Ok(Symbols::new(self.shape, symbols.collect())?)
    }

    /// Bytes of the weights.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        self.branches.iter().map(Branch::weight_bytes).sum()
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "clamped to nine bits before"
    )]
    fn quantized(&self, value: f32) -> i16 {
        let max = if self.input_min < 0 { 127.0 } else { 255.0 };
        let scaled = (value / self.input_step).round_ties_even();
        scaled.clamp(f32::from(self.input_min), max) as i16
    }
}

/// The largest magnitude of almost all values, and something above zero where all are zero.
fn range_of(values: impl Iterator<Item = f32>) -> f32 {
    let mut all: Vec<f32> = values.map(f32::abs).collect();
    if all.is_empty() {
        return 1.0;
    }
    let place = share_of(all.len(), WITHIN).min(all.len() - 1);
    let (_, found, _) = all.select_nth_unstable_by(place, f32::total_cmp);
    if found.is_normal() { *found } else { 1.0 }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place in a list; one more or less does not matter"
)]
fn share_of(count: usize, share: f64) -> usize {
    (count as f64 * share) as usize
}
