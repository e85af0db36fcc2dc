//! `x * sigmoid(x)`, whose exponential Burn computes value by value.

use pulp::Arch;
use rayon::prelude::*;

use super::mixture::sigmoid;
use super::threads;

/// Work of one value, in the multiply-adds that `threads` counts in.
const VALUE_MACS: usize = 10;

/// Values that a thread takes at a time.
const PIECE: usize = 1 << 15;

/// Replaces every value by `x * sigmoid(x)`.
pub(crate) fn silu(values: &mut [f32]) {
    let arch = Arch::new();
    let piece = |values: &mut [f32]| arch.dispatch(|| all(values));
    if threads::worth(VALUE_MACS * values.len()) {
        values.par_chunks_mut(PIECE).for_each(piece);
    } else {
        piece(values);
    }
}

#[inline(always)]
fn all(values: &mut [f32]) {
    for value in values {
        *value *= sigmoid(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::silu;

    #[test]
    fn values_are_accurate_from_end_to_end() {
        let inputs: Vec<f32> = (-40_000_i32..=40_000).map(|i| i as f32 / 1000.0).collect();
        let mut values = inputs.clone();
        silu(&mut values);
        for (x, found) in inputs.iter().zip(&values) {
            let x = f64::from(*x);
            let exact = x / (1.0 + (-x).exp());
            let error = (f64::from(*found) - exact).abs();
            assert!(error <= 2e-6 * exact.abs().max(1e-3), "{x}: {found}");
        }
        let mut ends = [f32::INFINITY, 1e30, -1e4, f32::NAN];
        silu(&mut ends);
        assert_eq!(ends[..2], [f32::INFINITY, 1e30]);
        assert!(ends[2].abs() < 1e-30);
        assert!(ends[3].is_nan());
    }
}
