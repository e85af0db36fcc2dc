//! Shifted, zero-padded copies of an input, in which every kernel tap is one contiguous run.
//!
//! For each column shift of the kernel (and each row residue, where the stride is larger than
//! one) a channel is copied once so that its rows have exactly the width of the output. A tap
//! that reads another row is then the same copy at another offset, and a convolution becomes a
//! sum of scaled contiguous runs without any test for borders: three copies of the input for a
//! 3x3 kernel, where im2col makes nine.

use super::geometry::{Tap, signed};

/// Floats after the last plane that a vector load may touch.
const SLACK: usize = 64;

/// An index that no source has.
const ZERO: usize = usize::MAX;

/// One shifted copy of a channel.
#[derive(Clone, Copy, Debug)]
struct Plane {
    /// Column shift: column `x` holds source column `x * stride + dx`.
    dx: isize,
    /// Row `q` holds source row `(first + q) * stride + residue`.
    residue: isize,
    first: isize,
    rows: usize,
    /// Start within the channel's block.
    start: usize,
}

/// How one channel is laid out, and where each tap starts.
#[derive(Clone, Debug)]
pub(crate) struct PlaneLayout {
    source: [usize; 2],
    grid: [usize; 2],
    planes: Vec<Plane>,
    tap_starts: Vec<usize>,
    channel_len: usize,
    /// Where each float of a channel's block comes from, [`ZERO`] for a border. Empty where whole
    /// rows can be copied.
    gather: Vec<usize>,
}

impl PlaneLayout {
    /// Lays out what `taps` read from a source of `source` rows and columns for the points of
    /// `grid`.
    pub(crate) fn new(source: [usize; 2], grid: [usize; 2], stride: usize, taps: &[Tap]) -> Self {
        let step = signed(stride);
        let mut planes: Vec<Plane> = Vec::new();
        for tap in taps {
            let (residue, row) = (tap.dy.rem_euclid(step), tap.dy.div_euclid(step));
            let same = |plane: &&mut Plane| plane.dx == tap.dx && plane.residue == residue;
            match planes.iter_mut().find(same) {
                Some(plane) => {
                    let last = (plane.first + signed(plane.rows)).max(row + signed(grid[0]));
                    plane.first = plane.first.min(row);
                    plane.rows = last.abs_diff(plane.first);
                }
                None => planes.push(Plane {
                    dx: tap.dx,
                    residue,
                    first: row,
                    rows: grid[0],
                    start: 0,
                }),
            }
        }
        let mut channel_len = 0;
        for plane in &mut planes {
            plane.start = channel_len;
            channel_len += (plane.rows * grid[1]).next_multiple_of(16);
        }
        let start = |tap: &Tap| {
            let residue = tap.dy.rem_euclid(step);
            let plane = planes
                .iter()
                .find(|plane| plane.dx == tap.dx && plane.residue == residue)
                .expect("a plane was made for every tap above");
            plane.start + tap.dy.div_euclid(step).abs_diff(plane.first) * grid[1]
        };
        let whole_rows = stride == 1 && source[1] == grid[1];
        Self {
            source,
            grid,
            tap_starts: taps.iter().map(start).collect(),
            gather: if whole_rows {
                Vec::new()
            } else {
                gather(source, grid, stride, &planes, channel_len)
            },
            planes,
            channel_len,
        }
    }

    /// Floats that one channel takes.
    pub(crate) fn channel_len(&self) -> usize {
        self.channel_len
    }

    /// Whether the copy of a channel would be the channel itself, as for a kernel of one position.
    pub(crate) fn is_source(&self) -> bool {
        let [plane] = &self.planes[..] else {
            return false;
        };
        let whole = (plane.dx, plane.first, plane.rows) == (0, 0, self.source[0]);
        whole && self.gather.is_empty() && self.tap_starts.len() == 1
    }

    /// Starts of all taps of `channels` channels, channel after channel.
    pub(crate) fn offsets(&self, channels: usize) -> Vec<usize> {
        (0..channels)
            .flat_map(|channel| {
                self.tap_starts
                    .iter()
                    .map(move |start| channel * self.channel_len + start)
            })
            .collect()
    }

    /// Writes the copies of one channel; `target` has `channel_len` floats and is overwritten.
    pub(crate) fn pack_channel(&self, source: &[f32], target: &mut [f32]) {
        if self.gather.is_empty() {
            let [_, width] = self.grid;
            for plane in &self.planes {
                let target = &mut target[plane.start..][..plane.rows * width];
                pack_shifted(source, self.source, plane, target);
            }
        } else {
            // An index past the end stands for a zero.
            for (value, index) in target.iter_mut().zip(&self.gather) {
                *value = source.get(*index).copied().unwrap_or(0.0);
            }
        }
    }
}

/// The source index of every float of a channel's block.
fn gather(
    [height, width]: [usize; 2],
    [_, columns]: [usize; 2],
    stride: usize,
    planes: &[Plane],
    channel_len: usize,
) -> Vec<usize> {
    let step = signed(stride);
    let inside = |at: isize, limit: usize| usize::try_from(at).ok().filter(|at| *at < limit);
    let mut indices = vec![ZERO; channel_len];
    for plane in planes {
        let rows = indices[plane.start..].chunks_exact_mut(columns);
        for (q, row) in rows.take(plane.rows).enumerate() {
            let y = (plane.first + signed(q)) * step + plane.residue;
            let Some(y) = inside(y, height) else { continue };
            for (x, index) in row.iter_mut().enumerate() {
                if let Some(x) = inside(signed(x) * step + plane.dx, width) {
                    *index = y * width + x;
                }
            }
        }
    }
    indices
}

/// Copies a plane of unchanged width in one go, then clears the columns that wrapped around.
fn pack_shifted(source: &[f32], [height, width]: [usize; 2], plane: &Plane, target: &mut [f32]) {
    let above = usize::try_from(-plane.first).unwrap_or(0).min(plane.rows);
    let skipped = usize::try_from(plane.first).unwrap_or(0).min(height);
    let inside = (plane.rows - above).min(height - skipped);
    let (head, rest) = target.split_at_mut(above * width);
    let (body, tail) = rest.split_at_mut(inside * width);
    head.fill(0.0);
    tail.fill(0.0);
    let lines = &source[skipped * width..][..inside * width];
    let shift = plane.dx.unsigned_abs().min(width);
    if body.is_empty() {
        return;
    }
    if plane.dx >= 0 {
        body[..lines.len() - shift].copy_from_slice(&lines[shift..]);
        for row in body.chunks_exact_mut(width) {
            row[width - shift..].fill(0.0);
        }
    } else {
        body[shift..].copy_from_slice(&lines[..lines.len() - shift]);
        for row in body.chunks_exact_mut(width) {
            row[..shift].fill(0.0);
        }
    }
}

/// Memory for packed channels, reused from image to image and aligned to a cache line.
#[derive(Default)]
pub(crate) struct Scratch {
    floats: Vec<f32>,
}

impl Scratch {
    /// `len` floats of unspecified content, followed by room for one vector load too many.
    pub(crate) fn aligned(&mut self, len: usize) -> &mut [f32] {
        self.floats.resize(len + SLACK + 16, 0.0);
        // `align_offset` may decline to answer; alignment is only a matter of speed.
        let skip = self.floats.as_ptr().align_offset(64).min(16);
        &mut self.floats[skip..][..len + SLACK]
    }
}
