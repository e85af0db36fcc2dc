//! Affine integers: `round(value / scale) + zero`, clamped to 2 to 8 bits.

use alloc::vec::Vec;

use super::calibrate::ValueRange;
use super::round::{float_to_i32, round_ties_even, symbol_to_f32};
use super::steps::{check_channel_count, check_step};
use crate::error::QuantizerError;

/// Scale and zero of one channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ScaleZero {
    pub(super) scale: f32,
    /// The symbol of 0.0, within the symbols' range.
    pub(super) zero: i32,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Affine {
    bits: u32,
    channels: Vec<ScaleZero>,
    per_channel: bool,
}

impl Affine {
    pub(super) fn shared(range: ValueRange, bits: u32) -> Result<Self, QuantizerError> {
        check_bits(bits)?;
        Self::from_parts(bits, alloc::vec![scale_zero(range, bits)], false)
    }

    pub(super) fn per_channel(ranges: &[ValueRange], bits: u32) -> Result<Self, QuantizerError> {
        check_bits(bits)?;
        let channels = ranges.iter().map(|&range| scale_zero(range, bits));
        Self::from_parts(bits, channels.collect(), true)
    }

    pub(super) fn from_parts(
        bits: u32,
        channels: Vec<ScaleZero>,
        per_channel: bool,
    ) -> Result<Self, QuantizerError> {
        check_bits(bits)?;
        check_channel_count(channels.len())?;
        let (min, max) = symbol_range(bits);
        for (channel, entry) in channels.iter().enumerate() {
            check_step(entry.scale, channel)?;
            if entry.zero < min || entry.zero > max {
                return Err(QuantizerError::BadParameter {
                    what: "zero point",
                    found: symbol_to_f32(entry.zero.clamp(-(1 << 24), 1 << 24)),
                    min: symbol_to_f32(min),
                    max: symbol_to_f32(max),
                });
            }
        }
        Ok(Self {
            bits,
            channels,
            per_channel,
        })
    }

    pub(super) fn of(&self, channel: usize) -> ScaleZero {
        self.channels[if self.per_channel { channel } else { 0 }]
    }

    pub(super) fn channels(&self) -> Option<usize> {
        self.per_channel.then_some(self.channels.len())
    }

    /// Bits, and scale and zero of each channel, or of all.
    pub(super) fn parts(&self) -> (u32, &[ScaleZero]) {
        (self.bits, &self.channels)
    }

    pub(super) fn symbol_range(&self) -> (i32, i32) {
        symbol_range(self.bits)
    }

    /// False where a value is not finite.
    pub(super) fn quantize(&self, channel: usize, values: &[f32], out: &mut [i32]) -> bool {
        let ScaleZero { scale, zero } = self.of(channel);
        let (min, max) = self.symbol_range();
        let (low, high) = (symbol_to_f32(min - zero), symbol_to_f32(max - zero));
        let mut fits = true;
        for (symbol, &value) in out.iter_mut().zip(values) {
            fits &= value.is_finite();
            let steps = round_ties_even(value / scale).max(low).min(high);
            *symbol = float_to_i32(steps) + zero;
        }
        fits
    }

    pub(super) fn dequantize(&self, channel: usize, symbols: &[i32], out: &mut [f32]) {
        let ScaleZero { scale, zero } = self.of(channel);
        for (value, &symbol) in out.iter_mut().zip(symbols) {
            *value = symbol_to_f32(symbol - zero) * scale;
        }
    }
}

fn symbol_range(bits: u32) -> (i32, i32) {
    let half = 1 << (bits - 1);
    (-half, half - 1)
}

fn check_bits(bits: u32) -> Result<(), QuantizerError> {
    if (2..=8).contains(&bits) {
        return Ok(());
    }
    Err(QuantizerError::BadBits { found: bits })
}

/// Scale and zero whose symbols cover the range and 0.0.
fn scale_zero(range: ValueRange, bits: u32) -> ScaleZero {
    let (min, max) = symbol_range(bits);
    let (low, high) = (range.min().min(0.0), range.max().max(0.0));
    let spaces = symbol_to_f32(max - min);
    // Over the number of spaces first: the span itself may leave the range of f32.
    let scale = high / spaces - low / spaces;
    if !scale.is_normal() {
        // Nothing but (as good as) zeros: any scale gives them back.
        return ScaleZero {
            scale: 1.0,
            zero: 0,
        };
    }
    let zero = min - float_to_i32(round_ties_even(low / scale));
    ScaleZero {
        scale,
        zero: zero.clamp(min, max),
    }
}
