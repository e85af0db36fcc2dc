//! Listed levels: the symbol is the index of the level that a value falls to.

use alloc::vec::Vec;

use super::calibrate::ValueRange;
use super::round::symbol_to_f32;
use crate::error::QuantizerError;
use crate::limits::{MAX_LEVELS, small_i32};

/// Levels and the thresholds between them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Levels {
    /// Rising; one fewer than levels.
    thresholds: Vec<f32>,
    /// Rising.
    values: Vec<f32>,
}

impl Levels {
    /// Evenly spaced over the range, both ends among them.
    pub(super) fn even(range: ValueRange, count: usize) -> Result<Self, QuantizerError> {
        check_count(count)?;
        let spaces = symbol_to_f32(small_i32(count - 1));
        let step = range.max() / spaces - range.min() / spaces;
        let at = |position: f32| range.min() + position * step;
        let index = |i: usize| symbol_to_f32(small_i32(i));
        let thresholds = (1..count).map(|i| at(index(i) - 0.5)).collect();
        let values = (0..count).map(|i| at(index(i))).collect();
        Self::new(thresholds, values)
    }

    pub(super) fn new(thresholds: Vec<f32>, values: Vec<f32>) -> Result<Self, QuantizerError> {
        check_count(values.len())?;
        let bad = QuantizerError::BadLevels {
            found: values.len(),
            allowed: MAX_LEVELS,
        };
        let rising = |list: &[f32]| list.windows(2).all(|pair| pair[0] < pair[1]);
        let finite = |list: &[f32]| list.iter().all(|value| value.is_finite());
        if thresholds.len() + 1 != values.len()
            || !finite(&thresholds)
            || !finite(&values)
            || !rising(&thresholds)
            || !rising(&values)
        {
            return Err(bad);
        }
        Ok(Self { thresholds, values })
    }

    /// Thresholds and values.
    pub(super) fn parts(&self) -> (&[f32], &[f32]) {
        (&self.thresholds, &self.values)
    }

    pub(super) fn symbol_range(&self) -> (i32, i32) {
        (0, small_i32(self.thresholds.len()))
    }

    /// False where a value is not finite.
    pub(super) fn quantize(&self, values: &[f32], out: &mut [i32]) -> bool {
        out.fill(0);
        // Threshold by threshold: each pass is a plain comparison of whole vectors.
        for (upper, &threshold) in (1..).zip(&self.thresholds) {
            // A value on a threshold goes to the even one of its two symbols.
            if upper % 2 == 0 {
                for (symbol, &value) in out.iter_mut().zip(values) {
                    *symbol += i32::from(value >= threshold);
                }
            } else {
                for (symbol, &value) in out.iter_mut().zip(values) {
                    *symbol += i32::from(value > threshold);
                }
            }
        }
        values
            .iter()
            .fold(true, |fits, value| fits & value.is_finite())
    }

    /// For symbols within [`Self::symbol_range`].
    pub(super) fn dequantize(&self, symbols: &[i32], out: &mut [f32]) {
        for (value, &symbol) in out.iter_mut().zip(symbols) {
            let index = usize::try_from(symbol).expect("symbols were checked");
            *value = self.values[index];
        }
    }
}

pub(super) fn check_count(found: usize) -> Result<(), QuantizerError> {
    if (2..=MAX_LEVELS).contains(&found) {
        return Ok(());
    }
    Err(QuantizerError::BadLevels {
        found,
        allowed: MAX_LEVELS,
    })
}
