//! `x * sigmoid(x)` and its derivative, and the sigmoid alone.

use pulp::Arch;

use super::curves::sigmoid;
use super::threads;

/// Work on one value, in the multiply-adds that `threads` counts in.
const VALUE_MACS: usize = 32;

/// Values that a thread takes at once.
const CHUNK: usize = 4096;

/// Every value becomes `x * sigmoid(x)`.
pub(crate) fn in_place(values: &mut [f32]) {
    replace(values, |x| x * sigmoid(x));
}

/// Every value becomes its sigmoid.
pub(crate) fn sigmoid_in_place(values: &mut [f32]) {
    replace(values, sigmoid);
}

fn replace(values: &mut [f32], curve: impl Fn(f32) -> f32 + Copy + Sync + Send) {
    let arch = Arch::new();
    let work = |values: &mut [f32]| {
        arch.dispatch(|| {
            for value in values {
                *value = curve(*value);
            }
        });
    };
    let whole = values.len() / CHUNK * CHUNK;
    let (chunks, rest) = values.split_at_mut(whole);
    threads::for_each_chunk(chunks, CHUNK, CHUNK * VALUE_MACS, |(), _, chunk| {
        work(chunk)
    });
    work(rest);
}

/// The gradient by `x` from that of the output: `grad * s * (1 + x * (1 - s))` with `s = sigmoid(x)`.
pub(crate) fn backward(x: &[f32], grad: &[f32]) -> Vec<f32> {
    let arch = Arch::new();
    let mut gradient = vec![0.0; x.len()];
    let work = |x: &[f32], grad: &[f32], gradient: &mut [f32]| {
        arch.dispatch(|| {
            for ((gradient, x), grad) in gradient.iter_mut().zip(x).zip(grad) {
                let s = sigmoid(*x);
                *gradient = *grad * s * (1.0 + *x * (1.0 - s));
            }
        });
    };
    let whole = x.len() / CHUNK * CHUNK;
    let (chunks, rest) = gradient.split_at_mut(whole);
    threads::for_each_chunk(chunks, CHUNK, CHUNK * VALUE_MACS, |(), index, chunk| {
        let range = index * CHUNK..(index + 1) * CHUNK;
        work(&x[range.clone()], &grad[range], chunk);
    });
    work(&x[whole..], &grad[whole..], rest);
    gradient
}

#[cfg(test)]
mod tests {
    use super::in_place;

    #[test]
    fn values_are_accurate_from_end_to_end() {
        let inputs: Vec<f32> = (-40_000_i32..=40_000).map(|i| i as f32 / 1000.0).collect();
        let mut values = inputs.clone();
        in_place(&mut values);
        for (x, found) in inputs.iter().zip(&values) {
            let x = f64::from(*x);
            let exact = x / (1.0 + (-x).exp());
            let error = (f64::from(*found) - exact).abs();
            assert!(error <= 2e-6 * exact.abs().max(1e-3), "{x}: {found}");
        }
        let mut ends = [f32::INFINITY, 1e30, -1e4, f32::NAN];
        in_place(&mut ends);
        assert_eq!(ends[..2], [f32::INFINITY, 1e30]);
        assert!(ends[2].abs() < 1e-30);
        assert!(ends[3].is_nan());
    }
}
