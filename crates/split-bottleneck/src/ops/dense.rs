//! Dense and grouped convolution: forward and input gradient.

use std::borrow::Cow;
use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::geometry::{ConvGeometry, Tap};
use super::panels;
use super::planes::{PlaneLayout, Scratch};
use super::threads;
use super::tile::{Epilogue, PANEL, RowBlock};

/// What a forward convolution adds to the sums.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extras<'a> {
    /// One value an output channel.
    pub(crate) bias: Option<&'a [f32]>,
    /// As large as the output.
    pub(crate) residual: Option<&'a [f32]>,
    /// Negative outputs become zero.
    pub(crate) relu: bool,
    /// The weights of each group, packed before; only for [`forward`].
    pub(crate) panels: Option<&'a [Vec<f32>]>,
}

/// Columns that a block has at most: three vectors of sixteen.
const BLOCK: usize = 48;

/// Runs that some columns of a product are read from.
#[derive(Clone, Copy)]
struct Runs<'a> {
    floats: &'a [f32],
    /// Where the run of each row of the right operand starts.
    starts: &'a [usize],
    columns: [usize; 2],
}

/// One group's product of packed weights with the runs of one image.
struct GroupProduct<'a> {
    panels: &'a [f32],
    /// All columns, one part after the other.
    parts: &'a [Runs<'a>],
    columns: usize,
    target: &'a mut [f32],
    extras: Extras<'a>,
}

impl WithSimd for GroupProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = 3 * S::F32_LANES;
        let all_rows = self.target.len() / self.columns;
        for part in self.parts {
            let depth = part.starts.len();
            let [mut from, end] = part.columns;
            // Columns outside, rows inside: the runs of a column block stay in the cache.
            while from < end {
                let to = (from + width).min(end);
                for first in (0..all_rows).step_by(PANEL) {
                    let rows = PANEL.min(all_rows - first);
                    let block = RowBlock {
                        a: &self.panels[first * depth..][..PANEL * depth],
                        b: part.floats,
                        offsets: part.starts,
                        first_column: part.columns[0],
                        rows,
                        columns: self.columns,
                        row_stride: self.columns,
                    };
                    let start = first * self.columns;
                    let epilogue = Epilogue {
                        bias: self.extras.bias.map(|bias| &bias[first..][..rows]),
                        residual: self.extras.residual.map(|all| &all[start..]),
                        relu: self.extras.relu,
                        accumulate: false,
                    };
                    block.compute(simd, [from, to], &mut self.target[start..], &epilogue);
                }
                from = to;
            }
        }
    }
}

/// Where the points of a product go in the map that they are a part of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scatter {
    pub(crate) map: [usize; 2],
    pub(crate) grid: [usize; 2],
    pub(crate) stride: usize,
    pub(crate) phase: [usize; 2],
}

impl Scatter {
    /// Writes the maps of `part`, each of `grid` points, to every `stride`-th point of `target`.
    pub(crate) fn write(&self, part: &[f32], target: &mut [f32]) {
        let [height, width] = self.map;
        let [rows, columns] = self.grid;
        let [first_row, first_column] = self.phase;
        let maps = target.chunks_exact_mut(height * width);
        for (map, part) in maps.zip(part.chunks_exact(rows * columns)) {
            let lines = map[first_row * width..].chunks_mut(self.stride * width);
            for (line, part) in lines.zip(part.chunks_exact(columns)) {
                let points = line[first_column..width].iter_mut().step_by(self.stride);
                for (point, value) in points.zip(part) {
                    *point = *value;
                }
            }
        }
    }
}

/// Left operands of a product, one for each group.
enum Weights<'a> {
    /// As panels, for any number of images.
    Packed(Cow<'a, [Vec<f32>]>),
    /// As rows, for one image, which packs some at a time: all at once, the weights of a unit at a wide
    /// activation took more memory than anything else.
    Rows(Vec<&'a [f32]>),
}

/// Floats that are packed at a time of rows.
const PACKED_FLOATS: usize = 1 << 17;

impl Weights<'_> {
    fn groups(&self) -> usize {
        match self {
            Self::Packed(groups) => groups.len(),
            Self::Rows(groups) => groups.len(),
        }
    }

    /// Calls `multiply(rows, panels)` until all of `rows` of a group had their turn.
    fn for_each_piece(
        &self,
        group: usize,
        rows: Range<usize>,
        depth: usize,
        mut multiply: impl FnMut(Range<usize>, &[f32]),
    ) {
        match self {
            Self::Packed(groups) => {
                let panels = &groups[group][rows.start * depth..];
                multiply(rows, panels);
            }
            Self::Rows(groups) => {
                let count = (PACKED_FLOATS / depth / PANEL).max(1) * PANEL;
                for start in rows.clone().step_by(count) {
                    let piece = start..rows.end.min(start + count);
                    let floats = &groups[group][piece.start * depth..piece.end * depth];
                    multiply(piece, &panels::from_rows(floats, depth));
                }
            }
        }
    }
}

/// Runs of a product whose right operand is the image itself: all whole blocks of columns are read where
/// they lie, the rest from a copy, since the last vector of a run reads beyond its end.
struct Direct {
    starts: Vec<usize>,
    /// Columns of whole blocks.
    whole: usize,
    rest_starts: Vec<usize>,
    /// Floats of a channel in the copy.
    rest_len: usize,
}

impl Direct {
    fn new(channels: usize, columns: usize) -> Self {
        let whole = columns / BLOCK * BLOCK;
        let rest_len = (columns - whole).next_multiple_of(16);
        let starts = |len: usize| (0..channels).map(|channel| channel * len).collect();
        Self {
            starts: starts(columns),
            whole,
            rest_starts: starts(rest_len),
            rest_len,
        }
    }
}

/// A product, ready for its images.
struct Product<'a> {
    layout: PlaneLayout,
    weights: Weights<'a>,
    /// Where runs start in packed planes.
    offsets: Vec<usize>,
    /// Set where there is nothing to pack but the rest of the columns.
    direct: Option<Direct>,
    channels_in: usize,
    channels_out: usize,
    source_len: usize,
    columns: usize,
    /// Set where the product gives only some points of its target.
    scatter: Option<Scatter>,
}

impl<'a> Product<'a> {
    fn new(
        [channels_in, channels_out]: [usize; 2],
        [source, grid]: [[usize; 2]; 2],
        stride: usize,
        taps: &[Tap],
        weights: Weights<'a>,
    ) -> Self {
        let layout = PlaneLayout::new(source, grid, stride, taps);
        let columns = grid[0] * grid[1];
        Self {
            offsets: layout.offsets(channels_in),
            direct: layout
                .is_source()
                .then(|| Direct::new(channels_in, columns)),
            layout,
            weights,
            channels_in,
            channels_out,
            source_len: source[0] * source[1],
            columns,
            scatter: None,
        }
    }

    fn macs(&self) -> usize {
        self.weights.groups() * self.channels_out * self.offsets.len() * self.columns
    }

    /// Floats that the packed part of a group takes.
    fn packed_len(&self) -> usize {
        let channel = self.direct.as_ref().map(|direct| direct.rest_len);
        self.channels_in * channel.unwrap_or(self.layout.channel_len())
    }

    /// The right operand of a group: what is read from `source`, and what is packed into `packed`.
    fn runs<'r>(&'r self, source: &'r [f32], packed: &'r mut [f32]) -> [Runs<'r>; 2] {
        let channels = source.chunks_exact(self.source_len);
        let none = Runs {
            floats: &[],
            starts: &self.offsets,
            columns: [0; 2],
        };
        let Some(direct) = &self.direct else {
            let targets = packed.chunks_exact_mut(self.layout.channel_len());
            for (channel, target) in channels.zip(targets) {
                self.layout.pack_channel(channel, target);
            }
            let columns = [0, self.columns];
            let all = Runs {
                floats: packed,
                columns,
                ..none
            };
            return [all, none];
        };
        if direct.rest_len > 0 {
            let targets = packed.chunks_exact_mut(direct.rest_len);
            for (channel, target) in channels.zip(targets) {
                let rest = &channel[direct.whole..];
                target[..rest.len()].copy_from_slice(rest);
            }
        }
        let whole = Runs {
            floats: source,
            starts: &direct.starts,
            columns: [0, direct.whole],
        };
        let rest = Runs {
            floats: packed,
            starts: &direct.rest_starts,
            columns: [direct.whole, self.columns],
        };
        [whole, rest]
    }

    /// One image, all its points; `shared` hands rows of the product to other threads.
    fn image(
        &self,
        image: &[f32],
        target: &mut [f32],
        planes: &mut Scratch,
        extras: &Extras<'_>,
        shared: bool,
    ) {
        let arch = Arch::new();
        let packed = planes.aligned(self.packed_len());
        let image_group = self.channels_in * self.source_len;
        let target_group = self.channels_out * self.columns;
        let threads = if shared {
            rayon::current_num_threads()
        } else {
            1
        };
        let share = self.channels_out.div_ceil(threads).next_multiple_of(PANEL);
        for group in 0..self.weights.groups() {
            let source = &image[group * image_group..][..image_group];
            let parts = self.runs(source, packed);
            let depth = self.offsets.len();
            let multiply = |index: usize, target: &mut [f32]| {
                let first = index * share;
                let rows = first..first + target.len() / self.columns;
                let piece = |rows: Range<usize>, panels: &[f32]| {
                    let target = &mut target[(rows.start - first) * self.columns..];
                    let [from, to] =
                        [rows.start, rows.end].map(|row| group * self.channels_out + row);
                    let range = from * self.columns..to * self.columns;
                    arch.dispatch(GroupProduct {
                        panels,
                        parts: &parts,
                        columns: self.columns,
                        target: &mut target[..range.len()],
                        extras: Extras {
                            bias: extras.bias.map(|all| &all[from..to]),
                            residual: extras.residual.map(|all| &all[range]),
                            relu: extras.relu,
                            panels: None,
                        },
                    });
                };
                self.weights.for_each_piece(group, rows, depth, piece);
            };
            let target = &mut target[group * target_group..][..target_group];
            if shared {
                target
                    .par_chunks_mut(share * self.columns)
                    .enumerate()
                    .for_each(|(index, target)| multiply(index, target));
            } else {
                multiply(0, target);
            }
        }
    }
}

/// Memory that one thread needs for an image.
#[derive(Default)]
struct Workspace {
    planes: Scratch,
    part: Vec<f32>,
}

/// The products that together make a target, such as the four phases of a stride-2 gradient.
struct Job<'a> {
    products: Vec<Product<'a>>,
    image_len: usize,
    target_len: usize,
}

impl Job<'_> {
    fn image(
        &self,
        image: &[f32],
        target: &mut [f32],
        workspace: &mut Workspace,
        extras: &Extras<'_>,
        shared: bool,
    ) {
        for product in &self.products {
            let Some(scatter) = &product.scatter else {
                product.image(image, target, &mut workspace.planes, extras, shared);
                continue;
            };
            let channels = product.weights.groups() * product.channels_out;
            workspace.part.resize(channels * product.columns, 0.0);
            let part = &mut workspace.part[..];
            product.image(image, part, &mut workspace.planes, extras, shared);
            scatter.write(part, target);
        }
    }

    fn batch(&self, images: &[f32], extras: &Extras<'_>) -> Vec<f32> {
        let batch = images.len() / self.image_len;
        let mut target = vec![0.0; batch * self.target_len];
        let macs = self.products.iter().map(Product::macs).sum::<usize>();
        let one = |index: usize, target: &mut [f32], workspace: &mut Workspace, shared: bool| {
            let image = &images[index * self.image_len..][..self.image_len];
            let range = index * self.target_len..(index + 1) * self.target_len;
            let extras = Extras {
                residual: extras.residual.map(|all| &all[range]),
                ..*extras
            };
            self.image(image, target, workspace, &extras, shared);
        };
        let shared = threads::worth(macs) && batch < rayon::current_num_threads();
        if shared {
            let mut workspace = Workspace::default();
            for (index, target) in target.chunks_exact_mut(self.target_len).enumerate() {
                one(index, target, &mut workspace, true);
            }
        } else {
            threads::for_each_chunk(
                &mut target,
                self.target_len,
                macs,
                |workspace, index, target| {
                    one(index, target, workspace, false);
                },
            );
        }
        target
    }
}

/// The convolution of `x` with `weight` (`[out, in / groups, height, width]`).
pub(crate) fn forward(
    geometry: &ConvGeometry,
    x: &[f32],
    weight: &[f32],
    extras: &Extras<'_>,
) -> Vec<f32> {
    let grid = geometry.output();
    let taps = geometry.forward_taps();
    let [channels_in, channels_out] = geometry.group_channels();
    let depth = channels_in * taps.len();
    let weights = if let Some(panels) = extras.panels {
        Weights::Packed(Cow::Borrowed(panels))
    } else if geometry.batch == 1 {
        Weights::Rows(weight.chunks_exact(channels_out * depth).collect())
    } else {
        Weights::Packed(Cow::Owned(pack(geometry, weight)))
    };
    let product = Product::new(
        [channels_in, channels_out],
        [geometry.input, grid],
        geometry.stride,
        &taps,
        weights,
    );
    let job = Job {
        products: vec![product],
        image_len: geometry.channels_in * geometry.input[0] * geometry.input[1],
        target_len: geometry.channels_out * grid[0] * grid[1],
    };
    job.batch(x, extras)
}

/// Weights of a convolution as [`Extras::panels`] takes them.
pub(crate) fn pack(geometry: &ConvGeometry, weight: &[f32]) -> Vec<Vec<f32>> {
    let [channels_in, channels_out] = geometry.group_channels();
    let depth = channels_in * geometry.kernel[0] * geometry.kernel[1];
    let groups = weight.chunks_exact(channels_out * depth);
    groups
        .map(|group| panels::from_rows(group, depth))
        .collect()
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
    let [channels_in, channels_out] = geometry.group_channels();
    let positions = geometry.kernel[0] * geometry.kernel[1];
    let group_len = channels_out * channels_in * positions;
    let product = |phase: [usize; 2]| {
        let taps = geometry.adjoint_taps(phase);
        let grid = geometry.phase_grid(phase);
        let pack = |weight: &[f32]| {
            if taps.len() == positions {
                return panels::transposed(weight, channels_in, positions);
            }
            panels::gathered(channels_in, channels_out * taps.len(), |row, k| {
                let (channel, tap) = (k / taps.len(), k % taps.len());
                weight[(channel * channels_in + row) * positions + taps[tap].position]
            })
        };
        let groups = weight.chunks_exact(group_len);
        let weights = Weights::Packed(groups.map(pack).collect());
        let channels = [channels_out, channels_in];
        let mut product = Product::new(channels, [source, grid], 1, &taps, weights);
        product.scatter = (geometry.stride > 1).then_some(Scatter {
            map: geometry.input,
            grid,
            stride: geometry.stride,
            phase,
        });
        product
    };
    let job = Job {
        products: geometry.phases().into_iter().map(product).collect(),
        image_len: geometry.channels_out * source[0] * source[1],
        target_len: geometry.channels_in * geometry.input[0] * geometry.input[1],
    };
    job.batch(grad, extras)
}
