//! The door between floats and integers: every scheme rounds halves to even.

mod affine;
mod calibrate;
mod dead_zone;
mod levels;
mod lightweight;
mod round;
mod serial;
mod steps;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use crate::error::{DecodeError, QuantizeError, QuantizerError};
use crate::latent::{Latent, LatentShape};
use crate::symbols::Symbols;

use affine::Affine;
use dead_zone::DeadZone;
use levels::Levels;
use steps::Steps;

pub use calibrate::ValueRange;
pub use lightweight::LevelFit;

/// Maps a latent to integers and back.
///
/// | constructor | symbol | takes |
/// |---|---|---|
/// | [`Self::uniform`], [`Self::per_channel`] | `round(value / step)` | trained latents |
/// | [`Self::dead_zone`] | the same with a wider zero | latents that were not trained for their rate |
/// | [`Self::affine`], [`Self::affine_per_channel`] | `round(value / scale) + zero`, clamped | int8 and int4 baselines |
/// | [`Self::clipped`], [`Self::fit_clipped`], [`Self::fit_entropy_constrained`] | index of a level | activations without training, 1 to 3 bits |
///
/// Everything is computed in `f32` as the table says and in no other way, so that training
/// can round with the very same result.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantizer {
    scheme: Scheme,
}

#[derive(Debug, Clone, PartialEq)]
enum Scheme {
    Steps(Steps),
    DeadZone(DeadZone),
    Affine(Affine),
    Levels(Levels),
}

impl Quantizer {
    /// `round(value / step)` with one step for every channel; loses at most half a step.
    ///
    /// # Errors
    /// [`QuantizerError::BadStep`] unless the step is a positive normal number.
    pub fn uniform(step: f32) -> Result<Self, QuantizerError> {
        Ok(Self::of(Scheme::Steps(Steps::shared(step)?)))
    }

    /// `round(value / step)` with one step for each channel.
    ///
    /// # Errors
    /// [`QuantizerError::BadStep`] unless every step is a positive normal number,
    /// [`QuantizerError::BadChannelCount`] for no steps or more than [`crate::MAX_CHANNELS`].
    pub fn per_channel(steps: Vec<f32>) -> Result<Self, QuantizerError> {
        Ok(Self::of(Scheme::Steps(Steps::per_channel(steps)?)))
    }

    /// The same quantizer with a wider zero: `sign(value) * round(|value| / step - shift)`.
    /// A symbol `s` other than 0 comes back as `sign(s) * (|s| + restore) * step`.
    ///
    /// A shift of 0 is plain rounding, 0.5 cuts towards zero as JPEG 2000 does. The smaller a
    /// latent's rate, the more a shift saves for its distortion; [`Self::centred`] measures
    /// the `restore` that goes with it. Loses at most `(0.5 + shift) * step`.
    ///
    /// # Errors
    /// [`QuantizerError::BadParameter`] for a shift outside 0 to 0.5 or a `restore` outside
    /// 0 to 1, [`QuantizerError::WrongScheme`] for a quantizer without steps.
    pub fn dead_zone(self, shift: f32, restore: f32) -> Result<Self, QuantizerError> {
        let steps = self.into_steps()?;
        Ok(Self::of(Scheme::DeadZone(DeadZone::new(
            steps, shift, restore,
        )?)))
    }

    /// The same dead zone with the `restore` that loses least on `samples`: the mean distance
    /// of values from the lower edge of what their symbol stands for.
    ///
    /// # Errors
    /// [`QuantizerError::NoValues`] where every sample falls to zero,
    /// [`QuantizerError::WrongScheme`] for another scheme, [`QuantizerError::BadValue`] for
    /// values that are not finite, [`QuantizerError::BadChannelCount`] for samples with
    /// another number of channels.
    pub fn centred(self, samples: &[Latent]) -> Result<Self, QuantizerError> {
        match self.scheme {
            Scheme::DeadZone(zone) => Ok(Self::of(Scheme::DeadZone(zone.centred(samples)?))),
            _ => Err(not_for_this_scheme()),
        }
    }

    /// Affine integers of 2 to 8 bits over one range for every channel: the usual int8 and
    /// int4 of activations. The range is widened to hold zero, which stays exact; symbols
    /// lie in `-2^(bits-1)..2^(bits-1)`, so that raw mode takes `bits` bits for each.
    ///
    /// # Errors
    /// [`QuantizerError::BadBits`] for another number of bits.
    pub fn affine(range: ValueRange, bits: u32) -> Result<Self, QuantizerError> {
        Ok(Self::of(Scheme::Affine(Affine::shared(range, bits)?)))
    }

    /// As [`Self::affine`], with a range for each channel.
    ///
    /// # Errors
    /// [`QuantizerError::BadBits`] for another number of bits,
    /// [`QuantizerError::BadChannelCount`] for no ranges or too many.
    pub fn affine_per_channel(ranges: &[ValueRange], bits: u32) -> Result<Self, QuantizerError> {
        Ok(Self::of(Scheme::Affine(Affine::per_channel(ranges, bits)?)))
    }

    /// Clips to a range and rounds to one of `levels` evenly spaced values, both ends among
    /// them; the symbol is the level's index. 2, 4 and 8 levels are the 1 to 3 bits of the
    /// lightweight codec of Cohen, Choi and Bajic (ICME 2020).
    ///
    /// # Errors
    /// [`QuantizerError::BadLevels`] for fewer than 2 or more than 256 levels, or a range
    /// too narrow for them.
    pub fn clipped(range: ValueRange, levels: usize) -> Result<Self, QuantizerError> {
        Ok(Self::of(Scheme::Levels(Levels::even(range, levels)?)))
    }

    /// As [`Self::clipped`], with the range that loses least on `values`.
    ///
    /// The search begins at the best range under a model (zero and two exponential tails)
    /// and at a grid of ranges, and refines the better one by its measured mean squared error.
    ///
    /// # Errors
    /// [`QuantizerError::NoValues`] without values, [`QuantizerError::BadValue`] where one is
    /// not finite, [`QuantizerError::BadLevels`] as [`Self::clipped`].
    pub fn fit_clipped(values: &[f32], levels: usize) -> Result<LevelFit, QuantizerError> {
        lightweight::fit_even(values, levels)
    }

    /// Levels and thresholds that lower `mean squared error + lambda * bits per value`, bits
    /// being the order-0 entropy of the symbols; found from [`Self::fit_clipped`] by turns
    /// (Chou, Lookabaugh and Gray 1989). Levels that no longer pay are dropped, two stay.
    ///
    /// # Errors
    /// As [`Self::fit_clipped`]; [`QuantizerError::BadParameter`] for a negative or
    /// non-finite lambda.
    pub fn fit_entropy_constrained(
        values: &[f32],
        levels: usize,
        lambda: f64,
    ) -> Result<LevelFit, QuantizerError> {
        lightweight::fit_entropy_constrained(values, levels, lambda)
    }

    /// The step of a channel, or its scale; `None` where symbols stand for listed levels.
    ///
    /// # Panics
    /// For a channel that a per-channel quantizer does not have.
    #[must_use]
    pub fn step_of(&self, channel: usize) -> Option<f32> {
        match &self.scheme {
            Scheme::Steps(steps) => Some(steps.of(channel)),
            Scheme::DeadZone(zone) => Some(zone.steps().of(channel)),
            Scheme::Affine(affine) => Some(affine.of(channel).scale),
            Scheme::Levels(_) => None,
        }
    }

    /// Number of channels that this quantizer is made for; `None` where any number fits.
    #[must_use]
    pub fn channels(&self) -> Option<usize> {
        match &self.scheme {
            Scheme::Steps(steps) => steps.channels(),
            Scheme::DeadZone(zone) => zone.steps().channels(),
            Scheme::Affine(affine) => affine.channels(),
            Scheme::Levels(_) => None,
        }
    }

    /// Smallest and largest symbol, where the scheme clips.
    #[must_use]
    pub fn symbol_range(&self) -> Option<(i32, i32)> {
        match &self.scheme {
            Scheme::Steps(_) | Scheme::DeadZone(_) => None,
            Scheme::Affine(affine) => Some(affine.symbol_range()),
            Scheme::Levels(levels) => Some(levels.symbol_range()),
        }
    }

    /// Turns every value into its symbol.
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
            let fits = match &self.scheme {
                Scheme::Steps(steps) => steps.quantize(channel, plane, out),
                Scheme::DeadZone(zone) => zone.quantize(channel, plane, out),
                Scheme::Affine(affine) => affine.quantize(channel, plane, out),
                Scheme::Levels(levels) => levels.quantize(plane, out),
            };
            if !fits {
                let step = self.step_of(channel).unwrap_or(1.0);
                return Err(round::first_fault(plane, step, channel * shape.plane()));
            }
        }
        Ok(())
    }

    /// Turns every symbol into the value that it stands for.
    ///
    /// # Errors
    /// [`QuantizeError::ChannelMismatch`] for the wrong number of channels,
    /// [`QuantizeError::Overflow`] where a product leaves the range of `f32`,
    /// [`QuantizeError::SymbolOutOfRange`] for a symbol that a clipping scheme never gives.
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
            let offset = channel * shape.plane();
            if let Some((min, max)) = self.symbol_range() {
                round::check_symbols(plane, (min, max), offset)?;
            }
            self.restore_plane(channel, plane, out);
            round::check_values(plane, out, self.step_of(channel), offset)?;
        }
        Ok(())
    }

    /// The serial form: scheme and numbers, as files carry it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        serial::write(self, &mut out);
        out
    }

    /// Reads the serial form.
    ///
    /// # Errors
    /// [`DecodeError`] for bytes that are cut, left over or no valid quantizer.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut rest = bytes;
        let quantizer = serial::read(&mut rest)?;
        if rest.is_empty() {
            Ok(quantizer)
        } else {
            Err(DecodeError::TrailingBytes { found: rest.len() })
        }
    }

    /// What one symbol of a channel stands for; `None` where the scheme never gives it or the
    /// value leaves the range of `f32`.
    pub(crate) fn value_of(&self, channel: usize, symbol: i32) -> Option<f32> {
        let range = self.symbol_range();
        if range.is_some_and(|(min, max)| symbol < min || symbol > max) {
            return None;
        }
        let mut out = [0.0];
        self.restore_plane(channel, &[symbol], &mut out);
        Some(out[0]).filter(|value| value.is_finite())
    }

    /// For symbols within [`Self::symbol_range`].
    fn restore_plane(&self, channel: usize, symbols: &[i32], out: &mut [f32]) {
        match &self.scheme {
            Scheme::Steps(steps) => steps.dequantize(channel, symbols, out),
            Scheme::DeadZone(zone) => zone.dequantize(channel, symbols, out),
            Scheme::Affine(affine) => affine.dequantize(channel, symbols, out),
            Scheme::Levels(levels) => levels.dequantize(symbols, out),
        }
    }

    fn of(scheme: Scheme) -> Self {
        Self { scheme }
    }

    fn into_steps(self) -> Result<Steps, QuantizerError> {
        match self.scheme {
            Scheme::Steps(steps) => Ok(steps),
            Scheme::DeadZone(zone) => Ok(zone.into_steps()),
            _ => Err(not_for_this_scheme()),
        }
    }

    fn check_channels(&self, shape: LatentShape) -> Result<(), QuantizeError> {
        match self.channels() {
            Some(allowed) if allowed != shape.channels() => Err(QuantizeError::ChannelMismatch {
                found: shape.channels(),
                allowed,
            }),
            _ => Ok(()),
        }
    }
}

fn not_for_this_scheme() -> QuantizerError {
    QuantizerError::WrongScheme {
        wanted: "steps or a dead zone",
    }
}
