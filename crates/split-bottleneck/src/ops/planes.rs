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
    stride: usize,
    planes: Vec<Plane>,
    tap_starts: Vec<usize>,
    channel_len: usize,
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
        Self {
            source,
            grid,
            stride,
            tap_starts: taps.iter().map(start).collect(),
            planes,
            channel_len,
        }
    }

    /// Floats that one channel takes.
    pub(crate) fn channel_len(&self) -> usize {
        self.channel_len
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
        let [_, width] = self.grid;
        let whole_rows = self.stride == 1 && self.source[1] == width;
        for plane in &self.planes {
            let target = &mut target[plane.start..][..plane.rows * width];
            if whole_rows {
                pack_shifted(source, self.source, plane, target);
            } else {
                self.pack_rows(source, plane, target);
            }
        }
    }

    /// The general copy, row by row.
    fn pack_rows(&self, source: &[f32], plane: &Plane, target: &mut [f32]) {
        let [height, width] = self.source;
        let step = signed(self.stride);
        // Grid columns whose source column lies inside the source.
        let columns = |limit: isize| {
            let inside = (limit - plane.dx).max(0);
            let count = inside / step + isize::from(inside % step != 0);
            usize::try_from(count).map_or(0, |count| count.min(self.grid[1]))
        };
        let (from, to) = (columns(0), columns(signed(width)));
        for (q, row) in target.chunks_exact_mut(self.grid[1]).enumerate() {
            let y = (plane.first + signed(q)) * step + plane.residue;
            let y = usize::try_from(y).ok().filter(|y| *y < height);
            let Some(y) = y.filter(|_| from < to) else {
                row.fill(0.0);
                continue;
            };
            row[..from].fill(0.0);
            row[to..].fill(0.0);
            let first = (signed(from) * step + plane.dx).unsigned_abs();
            let line = &source[y * width..][..width];
            match self.stride {
                1 => row[from..to].copy_from_slice(&line[first..][..to - from]),
                2 => {
                    let (pairs, rest) = line[first..].as_chunks::<2>();
                    let firsts = pairs
                        .iter()
                        .map(|pair| pair[0])
                        .chain(rest.first().copied());
                    for (value, read) in row[from..to].iter_mut().zip(firsts) {
                        *value = read;
                    }
                }
                stride => {
                    let reads = line[first..].iter().step_by(stride);
                    for (value, read) in row[from..to].iter_mut().zip(reads) {
                        *value = *read;
                    }
                }
            }
        }
    }
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
