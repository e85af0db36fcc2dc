//! Dense and grouped convolution: forward and input gradient.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::geometry::{ConvGeometry, Tap};
use super::planes::{PlaneLayout, Scratch};
use super::tile::{Epilogue, PANEL, RowBlock, pack_panels};

/// Multiply-adds below which work is not handed to other threads.
const WORTH_SPLITTING: usize = 200_000;

/// What a forward convolution adds to the sums.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extras<'a> {
    /// One value an output channel.
    pub(crate) bias: Option<&'a [f32]>,
    /// As large as the output.
    pub(crate) residual: Option<&'a [f32]>,
    /// Negative outputs become zero.
    pub(crate) relu: bool,
}

/// One group's product of packed weights with the planes of one image.
struct GroupProduct<'a> {
    panels: &'a [f32],
    offsets: &'a [usize],
    planes: &'a [f32],
    rows: usize,
    columns: usize,
    target: &'a mut [f32],
    bias: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
    relu: bool,
}

impl WithSimd for GroupProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = 3 * S::F32_LANES;
        let depth = self.offsets.len();
        let mut from = 0;
        // Columns outside, rows inside: the runs of a column block stay in the cache.
        while from < self.columns {
            let to = (from + width).min(self.columns);
            for first in (0..self.rows).step_by(PANEL) {
                let rows = PANEL.min(self.rows - first);
                let block = RowBlock {
                    a: &self.panels[first * depth..][..PANEL * depth],
                    b: self.planes,
                    offsets: self.offsets,
                    rows,
                    columns: self.columns,
                    row_stride: self.columns,
                };
                let start = first * self.columns;
                let epilogue = Epilogue {
                    bias: self.bias.map(|bias| &bias[first..][..rows]),
                    residual: self.residual.map(|all| &all[start..]),
                    relu: self.relu,
                    accumulate: false,
                };
                block.compute(simd, [from, to], &mut self.target[start..], &epilogue);
            }
            from = to;
        }
    }
}

/// A convolution with packed weights, ready for any number of images.
struct Prepared {
    layout: PlaneLayout,
    /// Panels of each group.
    panels: Vec<Vec<f32>>,
    offsets: Vec<usize>,
    channels_in: usize,
    channels_out: usize,
    source_len: usize,
    columns: usize,
}

impl Prepared {
    /// `read(group, row, channel, position)` gives the weight.
    fn new(
        [channels_in, channels_out, groups]: [usize; 3],
        [source, grid]: [[usize; 2]; 2],
        stride: usize,
        taps: &[Tap],
        read: impl Fn(usize, usize, usize, usize) -> f32,
    ) -> Self {
        let layout = PlaneLayout::new(source, grid, stride, taps);
        let depth = channels_in * taps.len();
        let pack = |group| {
            pack_panels(channels_out, depth, |row, k| {
                let (channel, tap) = (k / taps.len(), k % taps.len());
                read(group, row, channel, taps[tap].position)
            })
        };
        Self {
            offsets: layout.offsets(channels_in),
            layout,
            panels: (0..groups).map(pack).collect(),
            channels_in,
            channels_out,
            source_len: source[0] * source[1],
            columns: grid[0] * grid[1],
        }
    }

    fn macs(&self) -> usize {
        self.panels.len() * self.channels_out * self.offsets.len() * self.columns
    }

    /// One image by the calling thread.
    fn image(
        &self,
        arch: Arch,
        image: &[f32],
        target: &mut [f32],
        scratch: &mut Scratch,
        extras: &Extras<'_>,
    ) {
        let planes = scratch.aligned(self.channels_in * self.layout.channel_len());
        let image_group = self.channels_in * self.source_len;
        let target_group = self.channels_out * self.columns;
        for (group, panels) in self.panels.iter().enumerate() {
            let source = &image[group * image_group..][..image_group];
            let packed = planes.chunks_exact_mut(self.layout.channel_len());
            for (channel, target) in source.chunks_exact(self.source_len).zip(packed) {
                self.layout.pack_channel(channel, target);
            }
            arch.dispatch(GroupProduct {
                panels,
                offsets: &self.offsets,
                planes,
                rows: self.channels_out,
                columns: self.columns,
                target: &mut target[group * target_group..][..target_group],
                bias: extras
                    .bias
                    .map(|all| &all[group * self.channels_out..][..self.channels_out]),
                residual: extras
                    .residual
                    .map(|all| &all[group * target_group..][..target_group]),
                relu: extras.relu,
            });
        }
    }

    /// One image by all threads: rows of the product are shared out.
    fn image_shared(&self, arch: Arch, image: &[f32], target: &mut [f32], extras: &Extras<'_>) {
        let mut scratch = Scratch::default();
        let planes = scratch.aligned(self.channels_in * self.layout.channel_len());
        let image_group = self.channels_in * self.source_len;
        let target_group = self.channels_out * self.columns;
        let share = self
            .channels_out
            .div_ceil(rayon::current_num_threads())
            .next_multiple_of(PANEL);
        for (group, panels) in self.panels.iter().enumerate() {
            let source = &image[group * image_group..][..image_group];
            let packed = planes.chunks_exact_mut(self.layout.channel_len());
            for (channel, target) in source.chunks_exact(self.source_len).zip(packed) {
                self.layout.pack_channel(channel, target);
            }
            let planes = &*planes;
            let target = &mut target[group * target_group..][..target_group];
            let residual = extras
                .residual
                .map(|all| &all[group * target_group..][..target_group]);
            target
                .par_chunks_mut(share * self.columns)
                .enumerate()
                .for_each(|(index, target)| {
                    let first = index * share;
                    let rows = target.len() / self.columns;
                    let channel = group * self.channels_out + first;
                    arch.dispatch(GroupProduct {
                        panels: &panels[first * self.offsets.len()..],
                        offsets: &self.offsets,
                        planes,
                        rows,
                        columns: self.columns,
                        target,
                        bias: extras.bias.map(|all| &all[channel..][..rows]),
                        residual: residual
                            .map(|all| &all[first * self.columns..][..rows * self.columns]),
                        relu: extras.relu,
                    });
                });
        }
    }

    /// All images of a batch.
    fn batch(&self, images: &[f32], target: &mut [f32], extras: &Extras<'_>) {
        let arch = Arch::new();
        let image_len = self.panels.len() * self.channels_in * self.source_len;
        let target_len = self.panels.len() * self.channels_out * self.columns;
        let batch = images.len() / image_len;
        let extras_of = |index: usize| Extras {
            residual: extras
                .residual
                .map(|all| &all[index * target_len..][..target_len]),
            ..*extras
        };
        let threads = rayon::current_num_threads();
        if threads == 1 || batch * self.macs() < WORTH_SPLITTING {
            let mut scratch = Scratch::default();
            for (index, target) in target.chunks_exact_mut(target_len).enumerate() {
                let image = &images[index * image_len..][..image_len];
                self.image(arch, image, target, &mut scratch, &extras_of(index));
            }
        } else if batch < threads {
            for (index, target) in target.chunks_exact_mut(target_len).enumerate() {
                let image = &images[index * image_len..][..image_len];
                self.image_shared(arch, image, target, &extras_of(index));
            }
        } else {
            target
                .par_chunks_exact_mut(target_len)
                .enumerate()
                .for_each_init(Scratch::default, |scratch, (index, target)| {
                    let image = &images[index * image_len..][..image_len];
                    self.image(arch, image, target, scratch, &extras_of(index));
                });
        }
    }
}

/// The convolution of `x` with `weight` (`[out, in / groups, height, width]`).
pub(crate) fn forward(
    geometry: &ConvGeometry,
    x: &[f32],
    weight: &[f32],
    extras: &Extras<'_>,
) -> Vec<f32> {
    let grid = geometry
        .output()
        .expect("the caller checked that the kernel fits");
    let (channels_in, channels_out) = (
        geometry.channels_in / geometry.groups,
        geometry.channels_out / geometry.groups,
    );
    let taps = geometry.forward_taps();
    let positions = taps.len();
    let prepared = Prepared::new(
        [channels_in, channels_out, geometry.groups],
        [geometry.input, grid],
        geometry.stride,
        &taps,
        |group, row, channel, position| {
            weight[((group * channels_out + row) * channels_in + channel) * positions + position]
        },
    );
    let mut output = vec![0.0; geometry.batch * geometry.channels_out * grid[0] * grid[1]];
    prepared.batch(x, &mut output, extras);
    output
}

/// The gradient of the input, from that of the output.
pub(crate) fn input_gradient(geometry: &ConvGeometry, grad: &[f32], weight: &[f32]) -> Vec<f32> {
    let source = geometry
        .output()
        .expect("the caller checked that the kernel fits");
    let (channels_in, channels_out) = (
        geometry.channels_in / geometry.groups,
        geometry.channels_out / geometry.groups,
    );
    let positions = geometry.kernel[0] * geometry.kernel[1];
    let [height, width] = geometry.input;
    let mut gradient = vec![0.0; geometry.batch * geometry.channels_in * height * width];
    for py in 0..geometry.stride.min(height) {
        for px in 0..geometry.stride.min(width) {
            let taps = geometry.adjoint_taps([py, px]);
            if taps.is_empty() {
                continue;
            }
            let grid = geometry.phase_grid([py, px]);
            let prepared = Prepared::new(
                [channels_out, channels_in, geometry.groups],
                [source, grid],
                1,
                &taps,
                |group, row, channel, position| {
                    weight[((group * channels_out + channel) * channels_in + row) * positions
                        + position]
                },
            );
            if geometry.stride == 1 {
                prepared.batch(grad, &mut gradient, &Extras::default());
                return gradient;
            }
            let mut part = vec![0.0; geometry.batch * geometry.channels_in * grid[0] * grid[1]];
            prepared.batch(grad, &mut part, &Extras::default());
            for (maps, part) in gradient
                .chunks_exact_mut(height * width)
                .zip(part.chunks_exact(grid[0] * grid[1]))
            {
                for (line, part) in maps[py * width..]
                    .chunks_mut(geometry.stride * width)
                    .zip(part.chunks_exact(grid[1]))
                {
                    for (value, part) in line[px..width]
                        .iter_mut()
                        .step_by(geometry.stride)
                        .zip(part)
                    {
                        *value = *part;
                    }
                }
            }
        }
    }
    gradient
}
