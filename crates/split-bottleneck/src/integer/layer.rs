//! Convolutions in floats and in integers.

use std::ops::{AddAssign, Mul};

use super::{FRACTION_BITS, IntegerError, range_of};

/// Products of a weight (127 at most) and a value (255 at most) that 32 bits hold the sum of.
const PRODUCTS_MAX: usize = 1 << 16;

/// Channels and sides of what a layer takes or gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

/// A convolution with folded batch norm.
#[derive(Clone, Debug)]
pub(super) struct FloatLayer {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
    pub(super) groups: usize,
    pub(super) relu: bool,
}

impl FloatLayer {
    /// Channels out and in, one group, stride 1, no padding, no ReLU; weights still to come.
    pub(super) fn new([outputs, inputs]: [usize; 2], kernel: usize) -> Self {
        Self {
            weight: Vec::new(),
            bias: Vec::new(),
            outputs,
            inputs,
            kernel,
            stride: 1,
            padding: 0,
            groups: 1,
            relu: false,
        }
    }

    pub(super) fn weight_shape(&self) -> [usize; 4] {
        let inputs = self.inputs / self.groups.max(1);
        [self.outputs, inputs, self.kernel, self.kernel]
    }

    /// Multiplies each output channel.
    pub(super) fn scale(&mut self, gains: &[f32]) {
        let each = self.weight.len() / self.outputs.max(1);
        for (weights, gain) in self.weight.chunks_exact_mut(each.max(1)).zip(gains) {
            weights.iter_mut().for_each(|weight| *weight *= gain);
        }
    }

    /// Products that one output sums.
    fn products(&self) -> usize {
        self.weight.len() / self.outputs.max(1)
    }

    fn output_side(&self, input: Side) -> Side {
        let one = |side: usize| (side + 2 * self.padding - self.kernel) / self.stride + 1;
        Side {
            channels: self.outputs,
            height: one(input.height),
            width: one(input.width),
        }
    }

    /// Sums of products, without bias: weights and values of one type, sums of another.
    fn sums<T, A>(&self, weight: &[T], input: &[T], side: Side) -> Vec<A>
    where
        T: Copy + Into<A>,
        A: Copy + Default + AddAssign + Mul<Output = A>,
    {
        let output = self.output_side(side);
        let plane = output.height * output.width;
        let mut sums = vec![A::default(); self.outputs * plane];
        let in_group = self.inputs / self.groups;
        let out_group = self.outputs / self.groups;
        let taps = self.kernel * self.kernel;
        for (out, sums) in sums.chunks_exact_mut(plane.max(1)).enumerate() {
            let begin = out / out_group * in_group;
            for channel in 0..in_group {
                let from = &input[(begin + channel) * side.height * side.width..];
                for tap in 0..taps {
                    let weight: A = weight[(out * in_group + channel) * taps + tap].into();
                    let (row, column) = (tap / self.kernel, tap % self.kernel);
                    self.add_tap((weight, row, column), from, side, (sums, output));
                }
            }
        }
        sums
    }

    /// Adds one weight times all values that it meets.
    fn add_tap<T, A>(
        &self,
        (weight, row, column): (A, usize, usize),
        from: &[T],
        side: Side,
        (sums, output): (&mut [A], Side),
    ) where
        T: Copy + Into<A>,
        A: Copy + AddAssign + Mul<Output = A>,
    {
        for y in 0..output.height {
            let Some(line) = (y * self.stride + row).checked_sub(self.padding) else {
                continue;
            };
            if line >= side.height {
                continue;
            }
            let line = &from[line * side.width..][..side.width];
            // The first place whose value lies inside.
            let start = self.padding.saturating_sub(column).div_ceil(self.stride);
            let sums = &mut sums[y * output.width..][..output.width];
            let first = start * self.stride + column;
            let values = line
                .get(first.saturating_sub(self.padding)..)
                .unwrap_or(&[]);
            let sums = sums.iter_mut().skip(start);
            for (sum, value) in sums.zip(values.iter().step_by(self.stride)) {
                *sum += weight * (*value).into();
            }
        }
    }

    /// The layer in floats.
    fn forward(&self, input: &[f32], side: Side) -> Vec<f32> {
        let mut sums: Vec<f32> = self.sums(&self.weight, input, side);
        let plane = sums.len() / self.outputs.max(1);
        for (sums, bias) in sums.chunks_exact_mut(plane.max(1)).zip(&self.bias) {
            for sum in sums {
                *sum += bias;
                if self.relu {
                    *sum = sum.max(0.0);
                }
            }
        }
        sums
    }
}

/// A factor as an integer and a shift: the product is rounded, halves up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Factor {
    /// 30 bits and a sign.
    mantissa: i64,
    shift: u32,
}

impl Factor {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a mantissa of 31 bits; done once, when the encoder is made"
    )]
    fn new(factor: f64) -> Self {
        let mut shift = 0;
        let mut mantissa = factor;
        while mantissa.abs() < f64::from(1 << 29) && shift < 62 {
            mantissa *= 2.0;
            shift += 1;
        }
        Self {
            mantissa: mantissa.round() as i64,
            shift,
        }
    }

    fn times(self, value: i64) -> i64 {
        let product = i128::from(value) * i128::from(self.mantissa);
        let half = if self.shift == 0 {
            0
        } else {
            1_i128 << (self.shift - 1)
        };
        let rounded = (product + half) >> self.shift;
        i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
    }
}

/// A convolution in integers.
#[derive(Clone, Debug)]
struct IntegerLayer {
    /// Its geometry; the float weights are gone.
    geometry: FloatLayer,
    /// -127 to 127.
    weight: Vec<i16>,
    bias: Vec<i64>,
    factors: Vec<Factor>,
}

impl IntegerLayer {
    /// With values of step `input`, and outputs of a step for each channel.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "weights are clamped to eight bits, a bias to 40"
    )]
    fn new(layer: FloatLayer, input: f64, outputs: &[f64]) -> Result<Self, IntegerError> {
        let found = layer.products();
        if found > PRODUCTS_MAX {
            let allowed = PRODUCTS_MAX;
            return Err(IntegerError::TooWide { found, allowed });
        }
        let mut weight = Vec::with_capacity(layer.weight.len());
        let mut bias = Vec::with_capacity(layer.outputs);
        let mut factors = Vec::with_capacity(layer.outputs);
        let channels = layer.weight.chunks_exact(found.max(1));
        for ((weights, shift), output) in channels.zip(&layer.bias).zip(outputs) {
            let largest = weights.iter().fold(0.0_f32, |max, w| max.max(w.abs()));
            let step = f64::from(if largest.is_normal() { largest } else { 1.0 }) / 127.0;
            let rounded = |w: &f32| (f64::from(*w) / step).round().clamp(-127.0, 127.0) as i16;
            weight.extend(weights.iter().map(rounded));
            let limit = f64::from(1 << 30) * 1024.0;
            bias.push(
                (f64::from(*shift) / (step * input))
                    .round()
                    .clamp(-limit, limit) as i64,
            );
            factors.push(Factor::new(step * input / output));
        }
        Ok(Self {
            geometry: FloatLayer {
                weight: Vec::new(),
                ..layer
            },
            weight,
            bias,
            factors,
        })
    }

    fn forward(&self, input: &[i16], side: Side) -> Vec<i64> {
        let sums: Vec<i32> = self.geometry.sums(&self.weight, input, side);
        let plane = sums.len() / self.geometry.outputs.max(1);
        let channels = sums.chunks_exact(plane.max(1));
        let of_channel = channels.zip(self.bias.iter().zip(&self.factors));
        of_channel
            .flat_map(|(sums, (bias, factor))| {
                let relu = self.geometry.relu;
                sums.iter().map(move |sum| {
                    let value = factor.times(i64::from(*sum) + bias);
                    if relu { value.max(0) } else { value }
                })
            })
            .collect()
    }
}

/// A chain of convolutions, the last of which gives the latent in steps.
#[derive(Clone, Debug)]
pub(super) struct Branch(Vec<IntegerLayer>);

impl Branch {
    /// Layers in integers: ranges between them are those that `pictures` take.
    pub(super) fn quantize(
        layers: Vec<FloatLayer>,
        (input, input_step): (Side, f32),
        pictures: &[&[f32]],
        latent_steps: &[f32],
    ) -> Result<Self, IntegerError> {
        let last = layers.len().saturating_sub(1);
        let mut values: Vec<Vec<f32>> = pictures.iter().map(|one| one.to_vec()).collect();
        let (mut side, mut step) = (input, f64::from(input_step));
        let mut quantized = Vec::with_capacity(layers.len());
        for (place, layer) in layers.into_iter().enumerate() {
            let output = layer.output_side(side);
            if place == last {
                let fine = f64::from(1 << FRACTION_BITS);
                let steps: Vec<f64> = latent_steps.iter().map(|s| f64::from(*s) / fine).collect();
                quantized.push(IntegerLayer::new(layer, step, &steps)?);
                break;
            }
            for one in &mut values {
                *one = layer.forward(one, side);
            }
            let largest = range_of(values.iter().flat_map(|one| one.iter().copied()));
            let next = f64::from(largest) / if layer.relu { 255.0 } else { 127.0 };
            quantized.push(IntegerLayer::new(
                layer,
                step,
                &vec![next; output.channels],
            )?);
            (side, step) = (output, next);
        }
        Ok(Self(quantized))
    }

    /// The latent in steps, with [`FRACTION_BITS`] behind the point.
    pub(super) fn forward(&self, input: &[i16], side: Side) -> Vec<i64> {
        let mut side = side;
        let mut input = input.to_vec();
        let Some((last, before)) = self.0.split_last() else {
            return Vec::new();
        };
        for layer in before {
            let (low, high) = if layer.geometry.relu {
                (0, 255)
            } else {
                (-127, 127)
            };
            let output = layer.forward(&input, side);
            side = layer.geometry.output_side(side);
            let narrow = |value: i64| i16::try_from(value.clamp(low, high)).unwrap_or(0);
            input = output.into_iter().map(narrow).collect();
        }
        last.forward(&input, side)
    }

    pub(super) fn weight_bytes(&self) -> usize {
        self.0.iter().map(|layer| layer.weight.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};

    use super::*;
    use crate::ops::conv2d;

    /// Values from a formula, so that failures can be repeated by hand.
    fn drawn(count: usize, seed: usize) -> Vec<f32> {
        let one = |place: usize| ((place * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0;
        (0..count).map(one).collect()
    }

    #[test]
    fn convolutions_are_those_of_burn() {
        let device = Device::flex();
        let cases = [
            (1, 3, 1, 1, 5, 7),
            (1, 3, 2, 1, 8, 8),
            (1, 3, 2, 0, 9, 7),
            (2, 3, 2, 1, 6, 5),
            (4, 3, 1, 2, 5, 5),
            (1, 2, 2, 0, 8, 6),
            (1, 1, 1, 0, 3, 4),
            (1, 3, 3, 1, 9, 9),
        ];
        for (groups, kernel, stride, padding, height, width) in cases {
            let layer = FloatLayer {
                stride,
                padding,
                groups,
                ..FloatLayer::new([8, 4], kernel)
            };
            let shape = layer.weight_shape();
            let weight = drawn(shape.iter().product(), 1);
            let input = drawn(4 * height * width, 2);
            let side = Side {
                channels: 4,
                height,
                width,
            };
            let found: Vec<f32> = layer.sums(&weight, &input, side);
            let tensor = |values: Vec<f32>, shape: [usize; 4]| {
                Tensor::<4>::from_data(TensorData::new(values, shape), &device)
            };
            let expected = conv2d(
                tensor(input, [1, 4, height, width]),
                tensor(weight, shape),
                None,
                stride,
                padding,
                groups,
            );
            let expected = expected.into_data().try_to_vec::<f32>().unwrap();
            assert_eq!(
                found.len(),
                expected.len(),
                "{groups} {kernel} {stride} {padding}"
            );
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
            }
        }
    }

    #[test]
    fn factors_round_products_to_the_nearest_integer() {
        for factor in [1e-9, 3e-5, 0.25, 0.7, 1.0, 13.5, -0.3] {
            for value in [-1_000_000_i64, -7, -1, 0, 1, 2, 3, 99, 12_345_678] {
                let exact = factor * value as f64;
                let found = Factor::new(factor).times(value) as f64;
                assert!(
                    (found - exact).abs() <= 0.5 + 1e-6 * exact.abs(),
                    "{found} for {exact}"
                );
            }
        }
    }

    #[test]
    fn a_sum_that_could_overflow_is_refused() {
        let wide = FloatLayer {
            weight: vec![1.0; PRODUCTS_MAX + 9],
            bias: vec![0.0],
            ..FloatLayer::new([1, PRODUCTS_MAX / 9 + 1], 3)
        };
        let error = IntegerLayer::new(wide, 1.0, &[1.0]).unwrap_err();
        assert!(matches!(error, IntegerError::TooWide { .. }), "{error}");
        // The largest sum that is allowed: eight bits times nine.
        assert!(i32::try_from(PRODUCTS_MAX * 127 * 255).is_ok());
    }
}
