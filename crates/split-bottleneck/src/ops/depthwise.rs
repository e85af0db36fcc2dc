//! Depthwise convolution: one kernel a channel, forward and both gradients.
//!
//! A register tile of channels would be empty here, so each channel is a sum of shifted runs,
//! several vectors of points at a time.

use pulp::{Arch, Simd, WithSimd};

use super::dense::{Extras, Scatter};
use super::geometry::{ConvGeometry, Tap};
use super::planes::{PlaneLayout, Scratch};
use super::threads;
use super::tile::load;

/// Vectors of points that are summed at the same time.
const UNROLL: usize = 4;

/// `target[x] = bias + residual[x] + sum_t weight[t] * plane[starts[t] + x]`.
struct MapSum<'a> {
    weight: &'a [f32],
    starts: &'a [usize],
    plane: &'a [f32],
    target: &'a mut [f32],
    bias: f32,
    residual: Option<&'a [f32]>,
    relu: bool,
}

impl WithSimd for MapSum<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = S::F32_LANES;
        let width = UNROLL * lanes;
        let zero = simd.splat_f32s(0.0);
        for (index, target) in self.target.chunks_mut(width).enumerate() {
            let column = index * width;
            let mut sums = [simd.splat_f32s(self.bias); UNROLL];
            for (&start, &weight) in self.starts.iter().zip(self.weight) {
                let factor = simd.splat_f32s(weight);
                let run = &self.plane[start + column..][..width];
                let (vectors, _) = S::as_simd_f32s(run);
                let vectors: &[S::f32s; UNROLL] = vectors.first_chunk().expect("width was sliced");
                for j in 0..UNROLL {
                    sums[j] = simd.mul_add_f32s(factor, vectors[j], sums[j]);
                }
            }
            for (j, sum) in sums.into_iter().enumerate() {
                let from = (j * lanes).min(target.len());
                let to = (from + lanes).min(target.len());
                let mut value = sum;
                if let Some(residual) = self.residual {
                    let old = load(simd, &residual[column + from..column + to]);
                    value = simd.add_f32s(value, old);
                }
                if self.relu {
                    value = simd.max_f32s(value, zero);
                }
                let target = &mut target[from..to];
                if let ([whole], []) = S::as_mut_simd_f32s(target) {
                    *whole = value;
                } else {
                    simd.partial_store_f32s(target, value);
                }
            }
        }
    }
}

/// `sums[t] += sum_x grad[x] * plane[starts[t] + x]`.
struct MapDots<'a> {
    grad: &'a [f32],
    starts: &'a [usize],
    plane: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for MapDots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (grads, rest) = S::as_simd_f32s(self.grad);
        let tail = self.grad.len() - rest.len();
        let rest_grad = simd.partial_load_f32s(rest);
        for (&start, sum) in self.starts.iter().zip(self.sums) {
            let run = &self.plane[start..][..self.grad.len()];
            let (values, rest) = S::as_simd_f32s(run);
            let mut parts = [simd.splat_f32s(0.0); UNROLL];
            let (blocks, singles) = grads.as_chunks::<UNROLL>();
            let (value_blocks, value_singles) = values.as_chunks::<UNROLL>();
            for (grads, values) in blocks.iter().zip(value_blocks) {
                for j in 0..UNROLL {
                    parts[j] = simd.mul_add_f32s(grads[j], values[j], parts[j]);
                }
            }
            for (grad, value) in singles.iter().zip(value_singles) {
                parts[0] = simd.mul_add_f32s(*grad, *value, parts[0]);
            }
            if tail < self.grad.len() {
                parts[1] = simd.mul_add_f32s(rest_grad, simd.partial_load_f32s(rest), parts[1]);
            }
            let [a, b, c, d] = parts;
            let total = simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d));
            *sum += simd.reduce_sum_f32s(total);
        }
    }
}

/// One convolution of single maps, such as a phase of a gradient.
struct MapProduct {
    layout: PlaneLayout,
    starts: Vec<usize>,
    positions: Vec<usize>,
    points: usize,
    scatter: Option<Scatter>,
}

impl MapProduct {
    fn new(source: [usize; 2], grid: [usize; 2], stride: usize, taps: &[Tap]) -> Self {
        let layout = PlaneLayout::new(source, grid, stride, taps);
        Self {
            starts: layout.offsets(1),
            layout,
            positions: taps.iter().map(|tap| tap.position).collect(),
            points: grid[0] * grid[1],
            scatter: None,
        }
    }
}

/// Memory that one thread needs.
#[derive(Default)]
struct Workspace {
    plane: Scratch,
    part: Vec<f32>,
    weight: Vec<f32>,
}

/// Applies `products` to every map; `weight` has `positions` values a channel.
fn maps(
    products: &[MapProduct],
    [source_len, target_len, positions]: [usize; 3],
    source: &[f32],
    weight: &[f32],
    extras: &Extras<'_>,
) -> Vec<f32> {
    let arch = Arch::new();
    let channels = weight.len() / positions;
    let mut target = vec![0.0; source.len() / source_len * target_len];
    let one = |workspace: &mut Workspace, index: usize, target: &mut [f32]| {
        let source = &source[index * source_len..][..source_len];
        let channel = index % channels;
        let weight = &weight[channel * positions..][..positions];
        for product in products {
            let plane = workspace.plane.aligned(product.layout.channel_len());
            product.layout.pack_channel(source, plane);
            workspace.weight.clear();
            let picked = product.positions.iter().map(|position| weight[*position]);
            workspace.weight.extend(picked);
            workspace.part.resize(product.points, 0.0);
            let range = index * target_len..(index + 1) * target_len;
            arch.dispatch(MapSum {
                weight: &workspace.weight,
                starts: &product.starts,
                plane,
                target: match product.scatter {
                    Some(_) => &mut workspace.part,
                    None => target,
                },
                bias: extras.bias.map_or(0.0, |bias| bias[channel]),
                residual: extras.residual.map(|all| &all[range]),
                relu: extras.relu,
            });
            if let Some(scatter) = &product.scatter {
                scatter.write(&workspace.part, target);
            }
        }
    };
    threads::for_each_chunk(&mut target, target_len, target_len * positions, one);
    target
}

/// The depthwise convolution of `x` with `weight` (`[channels, 1, height, width]`).
pub(crate) fn forward(
    geometry: &ConvGeometry,
    x: &[f32],
    weight: &[f32],
    extras: &Extras<'_>,
) -> Vec<f32> {
    let grid = geometry.output();
    let taps = geometry.forward_taps();
    let product = MapProduct::new(geometry.input, grid, geometry.stride, &taps);
    let lens = [
        geometry.input[0] * geometry.input[1],
        grid[0] * grid[1],
        taps.len(),
    ];
    maps(&[product], lens, x, weight, extras)
}

/// The adjoint of [`forward`]: the gradient of the input, from that of the output.
///
/// Extras are for kernels at least as large as the stride; there is no residual for a stride
/// above one.
pub(crate) fn adjoint(
    geometry: &ConvGeometry,
    grad: &[f32],
    weight: &[f32],
    extras: &Extras<'_>,
) -> Vec<f32> {
    let source = geometry.output();
    let product = |phase: [usize; 2]| {
        let grid = geometry.phase_grid(phase);
        let mut product = MapProduct::new(source, grid, 1, &geometry.adjoint_taps(phase));
        product.scatter = (geometry.stride > 1).then_some(Scatter {
            map: geometry.input,
            grid,
            stride: geometry.stride,
            phase,
        });
        product
    };
    let products: Vec<MapProduct> = geometry.phases().into_iter().map(product).collect();
    let lens = [
        source[0] * source[1],
        geometry.input[0] * geometry.input[1],
        geometry.kernel[0] * geometry.kernel[1],
    ];
    maps(&products, lens, grad, weight, extras)
}

/// The gradient of the weight: a channel's images in order, channels on any thread.
pub(crate) fn weight_gradient(geometry: &ConvGeometry, x: &[f32], grad: &[f32]) -> Vec<f32> {
    let arch = Arch::new();
    let grid = geometry.output();
    let taps = geometry.forward_taps();
    let product = MapProduct::new(geometry.input, grid, geometry.stride, &taps);
    let source_len = geometry.input[0] * geometry.input[1];
    let mut gradient = vec![0.0; geometry.channels_out * taps.len()];
    let macs = geometry.batch * product.points * taps.len();
    let one = |scratch: &mut Scratch, channel: usize, sums: &mut [f32]| {
        for image in 0..geometry.batch {
            let map = image * geometry.channels_in + channel;
            let plane = scratch.aligned(product.layout.channel_len());
            let source = &x[map * source_len..][..source_len];
            product.layout.pack_channel(source, plane);
            arch.dispatch(MapDots {
                grad: &grad[map * product.points..][..product.points],
                starts: &product.starts,
                plane,
                sums,
            });
        }
    };
    threads::for_each_chunk(&mut gradient, taps.len(), macs, one);
    gradient
}
