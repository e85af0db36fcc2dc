//! The door between floats and integers: `symbol = round(value / step)`, halves to even.

use alloc::vec::Vec;

use crate::error::{QuantizeError, QuantizerError};
use crate::latent::{Latent, LatentShape};
use crate::limits::{MAX_CHANNELS, MAX_SYMBOL};
use crate::symbols::Symbols;

/// Maps a latent to integers and back with one step, or one step for each channel.
///
/// Quantizing computes `(value / step).round_ties_even()` in `f32`, nothing else, so that
/// training can round with the very same result; it loses at most half a step per value.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantizer {
    /// One step, or one for each channel.
    steps: Vec<f32>,
    per_channel: bool,
}

impl Quantizer {
    /// One step for every channel.
    ///
    /// # Errors
    /// [`QuantizerError::BadStep`] unless the step is a positive normal number.
    pub fn uniform(step: f32) -> Result<Self, QuantizerError> {
        check_step(step, 0)?;
        Ok(Self {
            steps: alloc::vec![step],
            per_channel: false,
        })
    }

    /// One step for each channel.
    ///
    /// # Errors
    /// [`QuantizerError::BadStep`] unless every step is a positive normal number,
    /// [`QuantizerError::BadChannelCount`] for no steps or more than [`MAX_CHANNELS`].
    pub fn per_channel(steps: Vec<f32>) -> Result<Self, QuantizerError> {
        if steps.is_empty() || steps.len() > MAX_CHANNELS {
            return Err(QuantizerError::BadChannelCount {
                found: steps.len(),
                allowed: MAX_CHANNELS,
            });
        }
        for (channel, &step) in steps.iter().enumerate() {
            check_step(step, channel)?;
        }
        Ok(Self {
            steps,
            per_channel: true,
        })
    }

    /// The step of a channel.
    ///
    /// # Panics
    /// For a channel that a per-channel quantizer does not have.
    #[must_use]
    pub fn step_of(&self, channel: usize) -> f32 {
        if self.per_channel {
            self.steps[channel]
        } else {
            self.steps[0]
        }
    }

    /// Number of channels that this quantizer is made for; `None` where any number fits.
    #[must_use]
    pub fn channels(&self) -> Option<usize> {
        self.per_channel.then_some(self.steps.len())
    }

    /// The steps: one, or one for each channel.
    #[must_use]
    pub fn steps(&self) -> &[f32] {
        &self.steps
    }

    /// Rounds every value over its step, halves to even.
    ///
    /// # Errors
    /// [`QuantizeError`] names the first value that is NaN, infinite or too large, or the
    /// wrong number of channels.
    pub fn quantize(&self, latent: &Latent) -> Result<Symbols, QuantizeError> {
        let mut values = Vec::new();
        self.quantize_into(latent.shape(), latent.values(), &mut values)?;
        Ok(Symbols::from_checked(latent.shape(), values))
    }

    /// As [`Self::quantize`], into a buffer that the caller keeps.
    ///
    /// # Errors
    /// As [`Self::quantize`].
    ///
    /// # Panics
    /// Where `values` does not hold `shape.len()` values.
    pub fn quantize_into(
        &self,
        shape: LatentShape,
        values: &[f32],
        symbols: &mut Vec<i32>,
    ) -> Result<(), QuantizeError> {
        assert_eq!(values.len(), shape.len(), "values fill their shape");
        self.check_channels(shape)?;
        symbols.clear();
        symbols.resize(shape.len(), 0);
        let planes = values.chunks_exact(shape.plane());
        for (channel, (plane, out)) in planes
            .zip(symbols.chunks_exact_mut(shape.plane()))
            .enumerate()
        {
            let step = self.step_of(channel);
            if !quantize_plane(plane, step, out) {
                return Err(first_fault(plane, step, channel * shape.plane()));
            }
        }
        Ok(())
    }

    /// Multiplies every symbol by its step.
    ///
    /// # Errors
    /// [`QuantizeError::ChannelMismatch`] for the wrong number of channels,
    /// [`QuantizeError::Overflow`] where a product leaves the range of `f32`.
    pub fn dequantize(&self, symbols: &Symbols) -> Result<Latent, QuantizeError> {
        let mut values = Vec::new();
        self.dequantize_into(symbols.shape(), symbols.values(), &mut values)?;
        Ok(Latent::from_checked(symbols.shape(), values))
    }

    /// As [`Self::dequantize`], into a buffer that the caller keeps.
    ///
    /// # Errors
    /// As [`Self::dequantize`].
    ///
    /// # Panics
    /// Where `symbols` does not hold `shape.len()` values.
    pub fn dequantize_into(
        &self,
        shape: LatentShape,
        symbols: &[i32],
        values: &mut Vec<f32>,
    ) -> Result<(), QuantizeError> {
        assert_eq!(symbols.len(), shape.len(), "symbols fill their shape");
        self.check_channels(shape)?;
        values.clear();
        values.resize(shape.len(), 0.0);
        let planes = symbols.chunks_exact(shape.plane());
        for (channel, (plane, out)) in planes
            .zip(values.chunks_exact_mut(shape.plane()))
            .enumerate()
        {
            let step = self.step_of(channel);
            for (value, &symbol) in out.iter_mut().zip(plane) {
                *value = symbol_to_f32(symbol) * step;
            }
            if let Some(at) = out.iter().position(|value| !value.is_finite()) {
                return Err(QuantizeError::Overflow {
                    index: channel * shape.plane() + at,
                    value: symbol_to_f32(plane[at]),
                    step,
                    allowed: MAX_SYMBOL,
                });
            }
        }
        Ok(())
    }

    fn check_channels(&self, shape: LatentShape) -> Result<(), QuantizeError> {
        if self.per_channel && self.steps.len() != shape.channels() {
            return Err(QuantizeError::ChannelMismatch {
                found: shape.channels(),
                allowed: self.steps.len(),
            });
        }
        Ok(())
    }
}

fn check_step(step: f32, channel: usize) -> Result<(), QuantizerError> {
    if step.is_normal() && step > 0.0 {
        Ok(())
    } else {
        Err(QuantizerError::BadStep {
            found: step,
            channel,
        })
    }
}

/// Quantizes one channel; false where a value is not finite or too large.
fn quantize_plane(values: &[f32], step: f32, out: &mut [i32]) -> bool {
    let mut fits = true;
    for (symbol, &value) in out.iter_mut().zip(values) {
        let rounded = round_ties_even(value / step);
        // False for NaN too.
        fits &= rounded.abs() <= MAX_SYMBOL_F32;
        *symbol = float_to_i32(rounded);
    }
    fits
}

const MAX_SYMBOL_F32: f32 = 16_777_216.0;

fn first_fault(values: &[f32], step: f32, offset: usize) -> QuantizeError {
    for (at, &value) in values.iter().enumerate() {
        let index = offset + at;
        if value.is_nan() {
            return QuantizeError::NotANumber { index };
        }
        if value.is_infinite() {
            return QuantizeError::Infinite { index };
        }
        if round_ties_even(value / step).abs() > MAX_SYMBOL_F32 {
            return QuantizeError::Overflow {
                index,
                value,
                step,
                allowed: MAX_SYMBOL,
            };
        }
    }
    unreachable!("only called for a plane with a fault")
}

/// `f32::round_ties_even`, which `core` lacks. Adding and taking away 2^23 leaves no room for
/// a fraction, and the addition itself rounds halves to even.
#[inline]
fn round_ties_even(value: f32) -> f32 {
    const NO_FRACTION: f32 = 8_388_608.0;
    let magnitude = value.abs();
    let rounded = (magnitude + NO_FRACTION) - NO_FRACTION;
    let kept = if magnitude < NO_FRACTION {
        rounded
    } else {
        magnitude
    };
    kept.copysign(value)
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "saturates; out-of-range values are refused"
)]
fn float_to_i32(value: f32) -> i32 {
    value as i32
}

#[inline]
#[expect(
    clippy::cast_precision_loss,
    reason = "symbols up to 2^24 are exact in f32"
)]
fn symbol_to_f32(symbol: i32) -> f32 {
    symbol as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn latent(values: &[f32]) -> Latent {
        let shape = LatentShape::new(1, 1, values.len()).unwrap();
        Latent::new(shape, values.to_vec()).unwrap()
    }

    #[test]
    fn halves_round_to_even() {
        let quantizer = Quantizer::uniform(1.0).unwrap();
        let symbols = quantizer
            .quantize(&latent(&[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5]))
            .unwrap();
        assert_eq!(symbols.values(), [-2, -2, 0, 0, 2, 2, 4]);
    }

    #[test]
    fn nan_infinity_and_overflow_are_refused_by_name() {
        let quantizer = Quantizer::uniform(0.5).unwrap();
        let refused = |value: f32| quantizer.quantize(&latent(&[0.0, value])).unwrap_err();
        assert_eq!(refused(f32::NAN), QuantizeError::NotANumber { index: 1 });
        assert_eq!(
            refused(f32::NEG_INFINITY),
            QuantizeError::Infinite { index: 1 }
        );
        assert!(matches!(
            refused(1e9),
            QuantizeError::Overflow { index: 1, .. }
        ));
        assert!(matches!(
            refused(f32::MAX),
            QuantizeError::Overflow { index: 1, .. }
        ));
    }

    #[test]
    fn bad_steps_are_refused() {
        for step in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
            assert!(matches!(
                Quantizer::uniform(step),
                Err(QuantizerError::BadStep { .. })
            ));
        }
        assert!(Quantizer::per_channel(Vec::new()).is_err());
    }

    #[test]
    fn per_channel_steps_reach_their_channels_only() {
        let shape = LatentShape::new(2, 1, 2).unwrap();
        let quantizer = Quantizer::per_channel(alloc::vec![1.0, 0.25]).unwrap();
        let latent = Latent::new(shape, alloc::vec![1.0, 2.0, 1.0, 2.0]).unwrap();
        let symbols = quantizer.quantize(&latent).unwrap();
        assert_eq!(symbols.values(), [1, 2, 4, 8]);
        assert_eq!(quantizer.dequantize(&symbols).unwrap(), latent);
        let other = LatentShape::new(3, 1, 1).unwrap();
        let other = Latent::new(other, alloc::vec![0.0; 3]).unwrap();
        assert!(matches!(
            quantizer.quantize(&other),
            Err(QuantizeError::ChannelMismatch {
                found: 3,
                allowed: 2
            })
        ));
    }

    proptest! {
        #[test]
        fn rounding_equals_the_standard_library(bits in any::<u32>(), step in 1e-3f32..1e3) {
            let value = f32::from_bits(bits);
            prop_assume!(!value.is_nan());
            let ratio = value / step;
            prop_assert_eq!(round_ties_even(ratio), ratio.round_ties_even());
        }

        #[test]
        fn restoring_loses_at_most_half_a_step(value in -1e3f32..1e3, step in 1e-2f32..10.0) {
            let quantizer = Quantizer::uniform(step).unwrap();
            let restored = quantizer.dequantize(&quantizer.quantize(&latent(&[value])).unwrap());
            let error = (restored.unwrap().values()[0] - value).abs();
            prop_assert!(error <= step * 0.5 + value.abs() * 1e-6);
        }
    }
}
