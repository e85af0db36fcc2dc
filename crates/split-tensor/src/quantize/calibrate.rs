//! Ranges of values, from samples.

use alloc::vec::Vec;

use super::steps::check_channel_count;
use crate::error::QuantizerError;
use crate::latent::Latent;
use crate::math;

/// Smallest and largest value that a quantizer should keep apart; both finite, in order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValueRange {
    min: f32,
    max: f32,
}

impl ValueRange {
    /// From `min` to `max`.
    ///
    /// # Errors
    /// [`QuantizerError::BadRange`] where one is not finite or `min > max`.
    pub fn new(min: f32, max: f32) -> Result<Self, QuantizerError> {
        if min.is_finite() && max.is_finite() && min <= max {
            return Ok(Self { min, max });
        }
        Err(QuantizerError::BadRange { min, max })
    }

    /// From the smallest to the largest of `values`.
    ///
    /// # Errors
    /// [`QuantizerError::NoValues`] without values, [`QuantizerError::BadValue`] where one is
    /// not finite.
    pub fn min_max(values: &[f32]) -> Result<Self, QuantizerError> {
        Self::percentile(values, 0.0)
    }

    /// As [`Self::min_max`] after leaving out the share `tail` of the values at each end
    /// (0.001 keeps 99.8 %), rounded down to whole values.
    ///
    /// # Errors
    /// As [`Self::min_max`]; [`QuantizerError::BadParameter`] for a tail outside 0 to 0.5.
    pub fn percentile(values: &[f32], tail: f64) -> Result<Self, QuantizerError> {
        if !(0.0..=0.5).contains(&tail) {
            return Err(QuantizerError::BadParameter {
                what: "tail",
                found: math::to_f32(tail),
                min: 0.0,
                max: 0.5,
            });
        }
        let sorted = sorted(values)?;
        let left_out = math::floor_to_usize(tail * math::to_f64(sorted.len() as u64));
        // At a tail of one half the middle is left.
        let low = left_out.min((sorted.len() - 1) / 2);
        Self::new(sorted[low], sorted[sorted.len() - 1 - low])
    }

    /// One range for each channel, over the values of that channel in all samples:
    /// `of_channel` is [`Self::min_max`] or a [`Self::percentile`].
    ///
    /// # Errors
    /// [`QuantizerError::NoValues`] without samples, [`QuantizerError::BadChannelCount`]
    /// where they differ in channels, and those of `of_channel`.
    pub fn per_channel(
        samples: &[Latent],
        of_channel: impl Fn(&[f32]) -> Result<Self, QuantizerError>,
    ) -> Result<Vec<Self>, QuantizerError> {
        let allowed = samples
            .first()
            .map_or(0, |latent| latent.shape().channels());
        if allowed == 0 {
            return Err(QuantizerError::NoValues);
        }
        check_channel_count(allowed)?;
        let mut ranges = Vec::with_capacity(allowed);
        let mut values = Vec::new();
        for channel in 0..allowed {
            values.clear();
            for latent in samples {
                let found = latent.shape().channels();
                if found != allowed {
                    return Err(QuantizerError::BadChannelCount { found, allowed });
                }
                let plane = latent.shape().plane();
                values.extend_from_slice(&latent.values()[channel * plane..][..plane]);
            }
            ranges.push(of_channel(&values)?);
        }
        Ok(ranges)
    }

    /// The smaller end.
    #[must_use]
    pub fn min(self) -> f32 {
        self.min
    }

    /// The larger end.
    #[must_use]
    pub fn max(self) -> f32 {
        self.max
    }
}

/// The values in rising order.
pub(super) fn sorted(values: &[f32]) -> Result<Vec<f32>, QuantizerError> {
    if let Some(&found) = values.iter().find(|value| !value.is_finite()) {
        return Err(QuantizerError::BadValue { found });
    }
    if values.is_empty() {
        return Err(QuantizerError::NoValues);
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    Ok(sorted)
}
