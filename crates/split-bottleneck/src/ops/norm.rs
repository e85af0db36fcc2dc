//! Batch norm of maps: statistics, the map itself and its gradients, in as few passes as possible.

use pulp::Arch;

use super::threads::{self, PASS_MACS};

/// Sizes of a `[batch, channels, ..]` tensor whose last axes are taken together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maps {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) points: usize,
}

impl Maps {
    /// One channel of all images, in order.
    fn of(self, values: &[f32], channel: usize) -> impl Iterator<Item = &[f32]> {
        let maps = values.chunks_exact(self.points);
        maps.skip(channel).step_by(self.channels)
    }

    fn samples(self) -> f64 {
        let samples = u32::try_from(self.batch * self.points);
        f64::from(samples.expect("tensors hold fewer than 2^32 values a channel"))
    }
}

/// What one channel is normalized with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Normal {
    pub(crate) mean: f32,
    pub(crate) variance: f32,
}

/// Mean and biased variance of every channel.
pub(crate) fn statistics(maps: Maps, x: &[f32]) -> Vec<Normal> {
    let arch = Arch::new();
    let mut pairs = vec![0.0; 2 * maps.channels];
    let work = 2 * PASS_MACS * maps.batch * maps.points;
    threads::for_each_chunk(&mut pairs, 2, work, |(), channel, pair| {
        let sum: f64 = maps
            .of(x, channel)
            .map(|map| arch.dispatch(|| f64::from(lane_sum(map, map, |value, _| value))))
            .sum();
        let mean = narrow(sum / maps.samples());
        let squares: f64 = maps
            .of(x, channel)
            .map(|map| {
                let square = |value: f32, _| (value - mean) * (value - mean);
                arch.dispatch(|| f64::from(lane_sum(map, map, square)))
            })
            .sum();
        pair.copy_from_slice(&[mean, narrow(squares / maps.samples())]);
    });
    let (pairs, _) = pairs.as_chunks::<2>();
    let normal = |&[mean, variance]: &[f32; 2]| Normal { mean, variance };
    pairs.iter().map(normal).collect()
}

/// `1 / sqrt(variance + epsilon)` of every channel.
pub(crate) fn inverse_deviations(normals: &[Normal], epsilon: f64) -> Vec<f32> {
    let inverse = |normal: &Normal| narrow(1.0 / (f64::from(normal.variance) + epsilon).sqrt());
    normals.iter().map(inverse).collect()
}

/// `relu(gamma * (x - mean) * inverse + beta + residual)`, the ReLU where asked for.
pub(crate) fn apply(
    maps: Maps,
    x: &[f32],
    [mean, inverse, gamma, beta]: [&[f32]; 4],
    residual: Option<&[f32]>,
    relu: bool,
) -> Vec<f32> {
    let arch = Arch::new();
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let mut output = vec![0.0; x.len()];
    let work = PASS_MACS * maps.points;
    threads::for_each_chunk(&mut output, maps.points, work, |(), index, output| {
        let channel = index % maps.channels;
        let range = index * maps.points..(index + 1) * maps.points;
        let (scale, mean) = (gamma[channel] * inverse[channel], mean[channel]);
        let beta = beta[channel];
        let x = &x[range.clone()];
        match residual {
            None => arch.dispatch(|| {
                for (output, x) in output.iter_mut().zip(x) {
                    *output = ((*x - mean) * scale + beta).max(floor);
                }
            }),
            Some(residual) => {
                let residual = &residual[range];
                arch.dispatch(|| {
                    for ((output, x), residual) in output.iter_mut().zip(x).zip(residual) {
                        *output = ((*x - mean) * scale + beta + *residual).max(floor);
                    }
                });
            }
        }
    });
    output
}

/// Gradients of a training batch norm.
pub(crate) struct Gradients {
    pub(crate) x: Vec<f32>,
    pub(crate) gamma: Vec<f32>,
    pub(crate) beta: Vec<f32>,
}

/// Gradients of input, gamma and beta, from that of the output.
///
/// With normalized input n, scale s and N samples a channel:
/// `dx = s * (g - sum(g) / N - n * sum(g * n) / N)`, `dgamma = sum(g * n)`, `dbeta = sum(g)`.
pub(crate) fn backward(
    maps: Maps,
    x: &[f32],
    grad: &[f32],
    [mean, inverse, gamma]: [&[f32]; 3],
) -> Gradients {
    let arch = Arch::new();
    let mut sums = vec![0.0; 2 * maps.channels];
    let work = 2 * PASS_MACS * maps.batch * maps.points;
    threads::for_each_chunk(&mut sums, 2, work, |(), channel, sums| {
        let mean = mean[channel];
        let (mut plain, mut centred) = (0.0, 0.0);
        for (x, grad) in maps.of(x, channel).zip(maps.of(grad, channel)) {
            plain += arch.dispatch(|| f64::from(lane_sum(grad, grad, |grad, _| grad)));
            let product = |grad: f32, x: f32| grad * (x - mean);
            centred += arch.dispatch(|| f64::from(lane_sum(grad, x, product)));
        }
        sums.copy_from_slice(&[narrow(plain), narrow(centred * f64::from(inverse[channel]))]);
    });
    let (sums, _) = sums.as_chunks::<2>();
    let samples = narrow(maps.samples());
    let mut gradient = vec![0.0; x.len()];
    let work = PASS_MACS * maps.points;
    threads::for_each_chunk(&mut gradient, maps.points, work, |(), index, gradient| {
        let channel = index % maps.channels;
        let range = index * maps.points..(index + 1) * maps.points;
        let [plain, normalized] = sums[channel];
        let (mean, inverse) = (mean[channel], inverse[channel]);
        let scale = gamma[channel] * inverse;
        let offset = scale * plain / samples;
        let slope = scale * inverse * normalized / samples;
        let (x, grad) = (&x[range.clone()], &grad[range]);
        arch.dispatch(|| {
            for ((gradient, x), grad) in gradient.iter_mut().zip(x).zip(grad) {
                *gradient = scale * *grad - slope * (*x - mean) - offset;
            }
        });
    });
    Gradients {
        x: gradient,
        gamma: sums.iter().map(|sums| sums[1]).collect(),
        beta: sums.iter().map(|sums| sums[0]).collect(),
    }
}

/// The sum of `term(a, b)` in sixteen interleaved parts, which fit vector registers.
#[inline(always)]
fn lane_sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<16>();
    let (b_chunks, b_rest) = b.as_chunks::<16>();
    let mut lanes = [0.0_f32; 16];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..16 {
            lanes[i] += term(a[i], b[i]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| term(*a, *b)).sum();
    lanes.iter().sum::<f32>() + rest
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "statistics are kept as floats; the sums were wider on the way"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}
