//! The weight gradient of dense and grouped convolutions.

use pulp::{Arch, Simd, WithSimd};

use super::geometry::ConvGeometry;
use super::panels;
use super::planes::Scratch;
use super::threads;
use super::tile::{Epilogue, PANEL, RowBlock};

/// Partial sums of a batch. Fixed, so that the order of summation does not depend on the threads.
const PARTS: usize = 8;

/// Adds one image's share to a group's gradient, `[out, height, width, in]`.
struct GroupGradient<'a> {
    /// Panels of the output gradient: output channels down, output positions along.
    panels: &'a [f32],
    /// The padded input with channels innermost.
    pixels: &'a [f32],
    /// Start of each output position's first tap in `pixels`.
    offsets: &'a [usize],
    channels_out: usize,
    /// Floats of one kernel row: its columns times the input channels, contiguous in `pixels`.
    kernel_row: usize,
    /// Floats of one row of `pixels`.
    pixel_row: usize,
    target: &'a mut [f32],
}

impl WithSimd for GroupGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let depth = self.offsets.len();
        let row_stride = self.target.len() / self.channels_out;
        let epilogue = Epilogue {
            accumulate: true,
            ..Epilogue::default()
        };
        for first in (0..self.channels_out).step_by(PANEL) {
            for ky in 0..row_stride / self.kernel_row {
                let block = RowBlock {
                    a: &self.panels[first * depth..][..PANEL * depth],
                    b: &self.pixels[ky * self.pixel_row..],
                    offsets: self.offsets,
                    first_column: 0,
                    rows: PANEL.min(self.channels_out - first),
                    columns: self.kernel_row,
                    row_stride,
                };
                let start = first * row_stride + ky * self.kernel_row;
                let target = &mut self.target[start..];
                block.compute(simd, [0, self.kernel_row], target, &epilogue);
            }
        }
    }
}

/// The gradient of the weight, `[out, in / groups, height, width]`.
pub(crate) fn weight_gradient(geometry: &ConvGeometry, x: &[f32], grad: &[f32]) -> Vec<f32> {
    let [kernel_height, kernel_width] = geometry.kernel;
    let channels_in = geometry.channels_in / geometry.groups;
    let positions = kernel_height * kernel_width;
    let len = geometry.channels_out * channels_in * positions;
    let share = geometry.batch.div_ceil(PARTS).max(1);
    let mut parts = vec![0.0; geometry.batch.div_ceil(share) * len];
    let [rows, columns] = geometry.output();
    let macs = share * len * rows * columns;
    threads::for_each_chunk(&mut parts, len, macs, |scratch, part, sum| {
        for image in part * share..((part + 1) * share).min(geometry.batch) {
            add_image(geometry, image, [x, grad], scratch, sum);
        }
    });
    // From `[out, position, in]` to `[out, in, position]`, adding the parts in order.
    let mut gradient = vec![0.0; len];
    for part in parts.chunks_exact(len) {
        let rows = gradient.chunks_exact_mut(channels_in * positions);
        for (row, part) in rows.zip(part.chunks_exact(channels_in * positions)) {
            for (position, values) in part.chunks_exact(channels_in).enumerate() {
                let targets = row[position..].iter_mut().step_by(positions);
                for (target, value) in targets.zip(values) {
                    *target += *value;
                }
            }
        }
    }
    gradient
}

fn add_image(
    geometry: &ConvGeometry,
    image: usize,
    [x, grad]: [&[f32]; 2],
    scratch: &mut Scratch,
    sum: &mut [f32],
) {
    let arch = Arch::new();
    let [rows, columns] = geometry.output();
    let [height, width] = geometry.input;
    let (padding, stride) = (geometry.padding, geometry.stride);
    let [channels_in, channels_out] = geometry.group_channels();
    let depth = rows * columns;
    let pixel_row = (width + 2 * padding) * channels_in;
    let pixels = scratch.aligned((height + 2 * padding) * pixel_row);
    let offsets: Vec<usize> = (0..depth)
        .map(|at| (at / columns * stride) * pixel_row + at % columns * stride * channels_in)
        .collect();
    pixels.fill(0.0);
    for group in 0..geometry.groups {
        let first_in = image * geometry.channels_in + group * channels_in;
        for channel in 0..channels_in {
            let map = &x[(first_in + channel) * height * width..][..height * width];
            for (y, line) in map.chunks_exact(width).enumerate() {
                let start = (y + padding) * pixel_row + padding * channels_in + channel;
                let targets = pixels[start..].iter_mut().step_by(channels_in);
                for (target, value) in targets.zip(line) {
                    *target = *value;
                }
            }
        }
        let first_out = image * geometry.channels_out + group * channels_out;
        let grad = &grad[first_out * depth..][..channels_out * depth];
        let panels = panels::from_rows(grad, depth);
        let group_len = sum.len() / geometry.groups;
        arch.dispatch(GroupGradient {
            panels: &panels,
            pixels,
            offsets: &offsets,
            channels_out,
            kernel_row: geometry.kernel[1] * channels_in,
            pixel_row,
            target: &mut sum[group * group_len..][..group_len],
        });
    }
}

/// The gradient of the bias: each channel's sum over images and points.
pub(crate) fn bias_gradient(grad: &[f32], channels: usize, points: usize) -> Vec<f32> {
    let mut sums = vec![0.0; channels];
    for image in grad.chunks_exact(channels * points) {
        for (sum, map) in sums.iter_mut().zip(image.chunks_exact(points)) {
            *sum += map_sum(map);
        }
    }
    sums
}

/// A sum in sixteen interleaved parts, which the compiler can keep in vector registers.
fn map_sum(map: &[f32]) -> f32 {
    let (chunks, rest) = map.as_chunks::<16>();
    let mut lanes = [0.0_f32; 16];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += *value;
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()
}
