//! Exponentials and logarithms in arithmetic that the compiler can turn into vectors.

/// `1 / (1 + exp(-x))`, to about 2e-6 of its value.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp2(-x * std::f32::consts::LOG2_E))
}

/// `2^x` to about 2e-7 of its value, in arithmetic that the compiler can turn into vectors; the
/// exponent is kept within what a normal float can hold.
#[inline(always)]
fn exp2(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves the nearest integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-126.0, 126.0);
    let shifted = x + ROUND;
    let rest = (x - (shifted - ROUND)) * std::f32::consts::LN_2;
    let series = 1.0 + rest * (1.0 + rest * (0.5 + rest * (1.0 / 6.0 + rest * tail(rest))));
    f32::from_bits(series.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// The series of the exponential from the fourth power on, divided by it.
#[inline(always)]
fn tail(rest: f32) -> f32 {
    1.0 / 24.0 + rest * (1.0 / 120.0 + rest * (1.0 / 720.0 + rest / 5040.0))
}

/// The logarithm of a positive normal float, to about 2e-7.
#[inline(always)]
pub(super) fn ln(x: f32) -> f32 {
    // Bits of the square root of a half: mantissas are taken between it and the root of two.
    const ROOT_HALF: u32 = 0x3f35_04f3;
    // An integer below 2^23 in the lowest bits of 2^23 is that float plus 2^23.
    const TWO_23: u32 = 0x4b00_0000;
    let exponent = x.to_bits().wrapping_add((127 << 23) - ROOT_HALF) >> 23;
    let mantissa = f32::from_bits(x.to_bits().wrapping_sub(exponent.wrapping_sub(127) << 23));
    let power = f32::from_bits(TWO_23 | exponent) - 8_388_608.0 - 127.0;
    // ln((1 + s) / (1 - s)) = 2 (s + s^3 / 3 + ..)
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series = 1.0 / 3.0 + square * (0.2 + square * (1.0 / 7.0 + square / 9.0));
    power * std::f32::consts::LN_2 + 2.0 * (s + s * square * series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_accurate_over_its_range() {
        for step in 0..4000_u16 {
            let x = 1e-7_f32 * 1.0105_f32.powi(i32::from(step));
            if x > 1e6 {
                break;
            }
            let error = (f64::from(ln(x)) - f64::from(x).ln()).abs();
            assert!(error <= 1e-6 * f64::from(x).ln().abs().max(0.3), "{x}");
        }
    }

    #[test]
    fn the_sigmoid_is_accurate_and_saturates() {
        for step in -2000_i16..=2000 {
            let x = f32::from(step) / 50.0;
            let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
            let error = (f64::from(sigmoid(x)) - exact).abs();
            assert!(error <= 2e-6 * exact.max(1e-3), "{x}");
        }
        assert_eq!(sigmoid(1e30), 1.0);
        assert!(sigmoid(-1e30) < 1e-37);
    }
}
