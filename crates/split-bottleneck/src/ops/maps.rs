//! Kernels on single maps: the largest value of each window, and maps of twice the size.

use pulp::Arch;

use super::threads;

/// Windows of a max pool, the same in both directions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    pub(super) size: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Windows {
    /// Windows that fit along a side.
    pub(super) fn count(&self, side: usize) -> usize {
        (side + 2 * self.padding - self.size) / self.stride + 1
    }
}

/// The larger one; NaN where one of them is.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

/// `target` becomes the larger one, value by value.
#[inline(always)]
fn raise(target: &mut [f32], values: &[f32]) {
    for (target, value) in target.iter_mut().zip(values) {
        *target = larger(*target, *value);
    }
}

/// Memory of one thread.
#[derive(Default)]
struct Lines {
    /// Largest values of columns, with what lies outside on both sides.
    columns: Vec<f32>,
    /// Largest values of windows at every column.
    windows: Vec<f32>,
}

impl Lines {
    /// One map: columns first, then along the line, so that both are plain loops over neighbours.
    #[inline(always)]
    fn pool(&mut self, map: &[f32], width: usize, windows: Windows, target: &mut [f32]) {
        let Windows {
            size,
            stride,
            padding,
        } = windows;
        let height = map.len() / width;
        let across = windows.count(width);
        self.columns.clear();
        self.columns.resize(width + 2 * padding, f32::NEG_INFINITY);
        self.windows.resize(width + 2 * padding - size + 1, 0.0);
        for (y, target) in target.chunks_exact_mut(across).enumerate() {
            let first = (y * stride).saturating_sub(padding);
            let last = (y * stride + size).saturating_sub(padding).min(height);
            let columns = &mut self.columns[padding..padding + width];
            columns.fill(f32::NEG_INFINITY);
            for row in map[first * width..last * width].chunks_exact(width) {
                raise(columns, row);
            }
            let count = self.windows.len();
            self.windows.copy_from_slice(&self.columns[..count]);
            for shift in 1..size {
                raise(&mut self.windows, &self.columns[shift..shift + count]);
            }
            if stride == 1 {
                target.copy_from_slice(&self.windows);
            } else {
                for (value, window) in target.iter_mut().zip(self.windows.iter().step_by(stride)) {
                    *value = *window;
                }
            }
        }
    }
}

/// Every map (`height` times `width`) of `x` after a max pool.
pub(super) fn max_pool(x: &[f32], [height, width]: [usize; 2], windows: Windows) -> Vec<f32> {
    let target_len = windows.count(height) * windows.count(width);
    let maps = x.len() / (height * width);
    let mut target = vec![0.0; maps * target_len];
    let arch = Arch::new();
    // A comparison for each value of a column and of a line.
    let macs = 2 * windows.size * height * width;
    threads::for_each_chunk(
        &mut target,
        target_len,
        macs,
        |lines: &mut Lines, index, target| {
            let map = &x[index * height * width..][..height * width];
            arch.dispatch(|| lines.pool(map, width, windows, target));
        },
    );
    target
}

/// Every map of `x` with each value four times, in a square.
pub(super) fn doubled(x: &[f32], [height, width]: [usize; 2]) -> Vec<f32> {
    let map_len = height * width;
    let mut target = vec![0.0; 4 * x.len()];
    threads::for_each_chunk(
        &mut target,
        4 * map_len,
        4 * map_len,
        |(), index, target| {
            let rows = x[index * map_len..][..map_len].chunks_exact(width);
            for (row, pair) in rows.zip(target.chunks_exact_mut(4 * width)) {
                let (first, second) = pair.split_at_mut(2 * width);
                for (two, value) in first.as_chunks_mut::<2>().0.iter_mut().zip(row) {
                    *two = [*value; 2];
                }
                second.copy_from_slice(first);
            }
        },
    );
    target
}
