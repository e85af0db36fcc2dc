//! Rounding and the checks that all schemes share.

use crate::error::QuantizeError;
use crate::limits::MAX_SYMBOL;

pub(super) const MAX_SYMBOL_F32: f32 = 16_777_216.0;

/// `f32::round_ties_even`, which `core` lacks. Adding and taking away 2^23 leaves no room for
/// a fraction, and the addition itself rounds halves to even.
#[inline]
pub(super) fn round_ties_even(value: f32) -> f32 {
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
pub(super) fn float_to_i32(value: f32) -> i32 {
    value as i32
}

#[inline]
#[expect(
    clippy::cast_precision_loss,
    reason = "symbols up to 2^24 are exact in f32"
)]
pub(super) fn symbol_to_f32(symbol: i32) -> f32 {
    symbol as f32
}

/// The fault in a plane that a scheme could not quantize.
pub(super) fn first_fault(values: &[f32], step: f32, offset: usize) -> QuantizeError {
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

/// Refuses symbols that a clipping scheme never gives.
pub(super) fn check_symbols(
    symbols: &[i32],
    (min, max): (i32, i32),
    offset: usize,
) -> Result<(), QuantizeError> {
    let outside = |&symbol: &i32| symbol < min || symbol > max;
    match symbols.iter().position(outside) {
        None => Ok(()),
        Some(at) => Err(QuantizeError::SymbolOutOfRange {
            index: offset + at,
            found: symbols[at],
            min,
            max,
        }),
    }
}

/// Refuses products that left the range of `f32`.
pub(super) fn check_values(
    symbols: &[i32],
    values: &[f32],
    step: Option<f32>,
    offset: usize,
) -> Result<(), QuantizeError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(QuantizeError::Overflow {
            index: offset + at,
            value: symbol_to_f32(symbols[at]),
            step: step.unwrap_or(1.0),
            allowed: MAX_SYMBOL,
        }),
    }
}
