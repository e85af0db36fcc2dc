//! Dead zone: magnitudes are moved towards zero before they are rounded.

use super::round::{MAX_SYMBOL_F32, float_to_i32, round_ties_even, symbol_to_f32};
use super::steps::Steps;
use crate::error::QuantizerError;
use crate::latent::Latent;
use crate::math;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct DeadZone {
    steps: Steps,
    /// In steps, 0 to 0.5.
    shift: f32,
    /// In steps, 0 to 1.
    restore: f32,
}

impl DeadZone {
    pub(super) fn new(steps: Steps, shift: f32, restore: f32) -> Result<Self, QuantizerError> {
        for (what, found, max) in [("dead zone shift", shift, 0.5), ("restore", restore, 1.0)] {
            // False for NaN too; a negative zero would have a second serial form.
            if !(0.0..=max).contains(&found) || found.is_sign_negative() {
                return Err(QuantizerError::BadParameter {
                    what,
                    found,
                    min: 0.0,
                    max,
                });
            }
        }
        Ok(Self {
            steps,
            shift,
            restore,
        })
    }

    /// With the `restore` of least squared error: the mean of `|value| / step - |symbol|`
    /// over all symbols but zero.
    pub(super) fn centred(self, samples: &[Latent]) -> Result<Self, QuantizerError> {
        let (mut sum, mut count) = (0.0f64, 0u64);
        for latent in samples {
            let shape = latent.shape();
            if let Some(allowed) = self.steps.channels()
                && allowed != shape.channels()
            {
                return Err(QuantizerError::BadChannelCount {
                    found: shape.channels(),
                    allowed,
                });
            }
            for (channel, plane) in latent.values().chunks_exact(shape.plane()).enumerate() {
                let step = self.steps.of(channel);
                for &found in plane {
                    if !found.is_finite() {
                        return Err(QuantizerError::BadValue { found });
                    }
                    let scaled = found.abs() / step;
                    let magnitude = round_ties_even(scaled - self.shift);
                    if magnitude > 0.0 {
                        sum += f64::from(scaled) - f64::from(magnitude);
                        count += 1;
                    }
                }
            }
        }
        if count == 0 {
            return Err(QuantizerError::NoValues);
        }
        let restore = math::to_f32((sum / math::to_f64(count)).clamp(0.0, 1.0));
        Self::new(self.steps, self.shift, restore)
    }

    pub(super) fn steps(&self) -> &Steps {
        &self.steps
    }

    pub(super) fn into_steps(self) -> Steps {
        self.steps
    }

    /// Shift and restore.
    pub(super) fn offsets(&self) -> (f32, f32) {
        (self.shift, self.restore)
    }

    /// False where a value is not finite or too large.
    pub(super) fn quantize(&self, channel: usize, values: &[f32], out: &mut [i32]) -> bool {
        let step = self.steps.of(channel);
        let mut fits = true;
        for (symbol, &value) in out.iter_mut().zip(values) {
            let scaled = value / step;
            // At least -0.5, which rounds to zero: no symbol changes its sign.
            let magnitude = round_ties_even(scaled.abs() - self.shift);
            // The magnitude before the shift, so that the error names a value beyond the limit.
            fits &= round_ties_even(scaled.abs()) <= MAX_SYMBOL_F32;
            *symbol = float_to_i32(magnitude.copysign(scaled));
        }
        fits
    }

    pub(super) fn dequantize(&self, channel: usize, symbols: &[i32], out: &mut [f32]) {
        let step = self.steps.of(channel);
        for (value, &symbol) in out.iter_mut().zip(symbols) {
            let restore = if symbol == 0 { 0.0 } else { self.restore };
            let symbol = symbol_to_f32(symbol);
            *value = ((symbol.abs() + restore) * step).copysign(symbol);
        }
    }
}
