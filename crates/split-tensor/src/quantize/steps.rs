//! Uniform steps: `round(value / step)`.

use alloc::vec::Vec;

use super::round::{MAX_SYMBOL_F32, float_to_i32, round_ties_even, symbol_to_f32};
use crate::error::QuantizerError;
use crate::limits::MAX_CHANNELS;

/// One step for all channels, or one for each.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Steps {
    steps: Vec<f32>,
    per_channel: bool,
}

impl Steps {
    pub(super) fn shared(step: f32) -> Result<Self, QuantizerError> {
        check_step(step, 0)?;
        Ok(Self {
            steps: alloc::vec![step],
            per_channel: false,
        })
    }

    pub(super) fn per_channel(steps: Vec<f32>) -> Result<Self, QuantizerError> {
        check_channel_count(steps.len())?;
        for (channel, &step) in steps.iter().enumerate() {
            check_step(step, channel)?;
        }
        Ok(Self {
            steps,
            per_channel: true,
        })
    }

    pub(super) fn of(&self, channel: usize) -> f32 {
        self.steps[if self.per_channel { channel } else { 0 }]
    }

    pub(super) fn channels(&self) -> Option<usize> {
        self.per_channel.then_some(self.steps.len())
    }

    /// The steps: one, or one for each channel.
    pub(super) fn all(&self) -> &[f32] {
        &self.steps
    }

    /// False where a value is not finite or too large.
    pub(super) fn quantize(&self, channel: usize, values: &[f32], out: &mut [i32]) -> bool {
        let step = self.of(channel);
        let mut fits = true;
        for (symbol, &value) in out.iter_mut().zip(values) {
            let rounded = round_ties_even(value / step);
            // False for NaN too.
            fits &= rounded.abs() <= MAX_SYMBOL_F32;
            *symbol = float_to_i32(rounded);
        }
        fits
    }

    pub(super) fn dequantize(&self, channel: usize, symbols: &[i32], out: &mut [f32]) {
        let step = self.of(channel);
        for (value, &symbol) in out.iter_mut().zip(symbols) {
            *value = symbol_to_f32(symbol) * step;
        }
    }
}

pub(super) fn check_channel_count(found: usize) -> Result<(), QuantizerError> {
    if (1..=MAX_CHANNELS).contains(&found) {
        return Ok(());
    }
    Err(QuantizerError::BadChannelCount {
        found,
        allowed: MAX_CHANNELS,
    })
}

pub(super) fn check_step(step: f32, channel: usize) -> Result<(), QuantizerError> {
    if step.is_normal() && step > 0.0 {
        Ok(())
    } else {
        Err(QuantizerError::BadStep {
            found: step,
            channel,
        })
    }
}
