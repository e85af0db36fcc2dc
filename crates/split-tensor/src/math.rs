//! Logarithms from sums and products alone: the same bits on every machine, and no `std`.

/// `ln(1 + 1/n)` for `n >= 1`, by the series of `2 atanh(1 / (2n + 1))`.
pub(crate) fn ln_step(n: u32) -> f64 {
    let z = 1.0 / (2.0 * f64::from(n) + 1.0);
    2.0 * atanh_series(z)
}

/// `log2(n)` for `n >= 1`.
pub(crate) fn log2(n: u64) -> f64 {
    debug_assert!(n >= 1);
    let exponent = n.ilog2();
    // The mantissa lies in [1, 2); beyond 53 bits its tail does not matter here.
    let mantissa = to_f64(n) / to_f64(1u64 << exponent);
    let ln_mantissa = 2.0 * atanh_series((mantissa - 1.0) / (mantissa + 1.0));
    f64::from(exponent) + ln_mantissa * core::f64::consts::LOG2_E
}

/// `z + z^3/3 + z^5/5 + ...` for `0 <= z <= 1/3`: 20 terms reach the last bit.
fn atanh_series(z: f64) -> f64 {
    let square = z * z;
    let mut power = z;
    let mut sum = 0.0;
    let mut odd = 1.0;
    for _ in 0..20 {
        sum += power / odd;
        power *= square;
        odd += 2.0;
    }
    sum
}

/// A count as a float; counts above 2^53 lose their last bits, which no table can see.
#[expect(
    clippy::cast_precision_loss,
    reason = "a weight needs no more than 53 bits"
)]
pub(crate) fn to_f64(n: u64) -> f64 {
    n as f64
}

/// The nearest `f32`; what lies beyond becomes an infinity.
#[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest")]
pub(crate) fn to_f32(value: f64) -> f32 {
    value as f32
}

/// The whole part of a number that is not negative.
#[expect(clippy::cast_possible_truncation, reason = "cuts the fraction off")]
#[expect(clippy::cast_sign_loss, reason = "negative numbers become zero")]
pub(crate) fn floor_to_usize(value: f64) -> usize {
    value as usize
}

/// `exp(-x)` for `x >= 0`, to about twelve digits.
pub(crate) fn exp_of_minus(x: f64) -> f64 {
    debug_assert!(x >= 0.0);
    let halvings = floor_to_usize(x * core::f64::consts::LOG2_E);
    if halvings >= 1000 {
        return 0.0;
    }
    // Below ln 2 sixteen terms reach 2^-53.
    let rest = x - to_f64(halvings as u64) * core::f64::consts::LN_2;
    let (mut term, mut sum) = (1.0, 1.0);
    for k in 1..17u32 {
        term *= -rest / f64::from(k);
        sum += term;
    }
    for _ in 0..halvings {
        sum *= 0.5;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_agree_with_the_standard_library() {
        for n in (1..5000u32).chain([1 << 20, u32::MAX]) {
            assert!((ln_step(n) - (1.0 / f64::from(n)).ln_1p()).abs() < 1e-15);
            assert!((log2(u64::from(n)) - f64::from(n).log2()).abs() < 1e-12);
        }
        for n in 0..3000u32 {
            let x = f64::from(n) * 0.037;
            assert!((exp_of_minus(x) - (-x).exp()).abs() < 1e-12);
        }
        assert_eq!(exp_of_minus(1e300), 0.0);
    }
}
