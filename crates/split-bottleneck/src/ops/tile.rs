//! The register tile that all dense kernels are made of.
//!
//! `rows[i][x] = start[i][x] + sum_k a[k][i] * b[offsets[k] + x]`: a matrix product whose right
//! side is a list of runs in one buffer. Each output is one chain of fused multiply-adds in the
//! order of `k`, on any instruction set, tile size and thread count.

use pulp::Simd;

/// Rows of a tile: left operands are packed in panels of this many.
pub(crate) const PANEL: usize = 8;

/// What happens to a tile's sums before they are stored.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Epilogue<'a> {
    /// Added to each row, one value a row.
    pub(crate) bias: Option<&'a [f32]>,
    /// Added element by element, laid out as the target.
    pub(crate) residual: Option<&'a [f32]>,
    /// Negative values become zero.
    pub(crate) relu: bool,
    /// The target's old values are added too.
    pub(crate) accumulate: bool,
}

/// A block of rows: `a` holds `offsets.len()` times `PANEL` floats.
pub(crate) struct RowBlock<'a> {
    pub(crate) a: &'a [f32],
    pub(crate) b: &'a [f32],
    pub(crate) offsets: &'a [usize],
    /// Column of the product that the runs of `b` begin with.
    pub(crate) first_column: usize,
    /// Rows that exist; the panel's other columns are padding.
    pub(crate) rows: usize,
    /// Columns of the product, and distance of two rows in the target.
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
}

impl RowBlock<'_> {
    /// Computes the columns `from..to` of this block into `target`, which starts at its first row.
    #[inline(always)]
    pub(crate) fn compute<S: Simd>(
        &self,
        simd: S,
        [from, to]: [usize; 2],
        target: &mut [f32],
        epilogue: &Epilogue<'_>,
    ) {
        let lanes = S::F32_LANES;
        let mut column = from;
        while column < to {
            let vectors = (to - column).div_ceil(lanes);
            let used = if S::REGISTER_COUNT >= 32 && vectors >= 3 {
                self.tile::<S, PANEL, 3>(simd, 0, column, target, epilogue);
                3
            } else if S::REGISTER_COUNT >= 32 && vectors == 2 {
                self.tile::<S, PANEL, 2>(simd, 0, column, target, epilogue);
                2
            } else if S::REGISTER_COUNT >= 32 || vectors == 1 {
                self.tile::<S, PANEL, 1>(simd, 0, column, target, epilogue);
                1
            } else {
                // Sixteen registers hold four rows of two vectors and their operands.
                self.tile::<S, { PANEL / 2 }, 2>(simd, 0, column, target, epilogue);
                self.tile::<S, { PANEL / 2 }, 2>(simd, PANEL / 2, column, target, epilogue);
                2
            };
            column += used * lanes;
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize>(
        &self,
        simd: S,
        first: usize,
        column: usize,
        target: &mut [f32],
        epilogue: &Epilogue<'_>,
    ) {
        let lanes = S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); N]; M];
        let (panel, _) = self.a.as_chunks::<PANEL>();
        for (row, &offset) in panel.iter().zip(self.offsets) {
            let start = offset + column - self.first_column;
            let (vectors, _) = S::as_simd_f32s(&self.b[start..start + N * lanes]);
            let vectors: &[S::f32s; N] = vectors.first_chunk().expect("N vectors were sliced");
            for i in 0..M {
                let factor = simd.splat_f32s(row[first + i]);
                for j in 0..N {
                    sums[i][j] = simd.mul_add_f32s(factor, vectors[j], sums[i][j]);
                }
            }
        }
        for (i, row_sums) in sums.into_iter().enumerate() {
            if first + i >= self.rows {
                break;
            }
            let row = first + i;
            let start = row * self.row_stride + column;
            let width = (N * lanes).min(self.columns - column);
            let old = &mut target[start..start + width];
            let residual = epilogue.residual.map(|all| &all[start..start + width]);
            let bias = epilogue.bias.map_or(0.0, |bias| bias[row]);
            store(simd, row_sums, old, residual, bias, epilogue);
        }
    }
}

#[inline(always)]
fn store<S: Simd, const N: usize>(
    simd: S,
    sums: [S::f32s; N],
    target: &mut [f32],
    residual: Option<&[f32]>,
    bias: f32,
    epilogue: &Epilogue<'_>,
) {
    let lanes = S::F32_LANES;
    let zero = simd.splat_f32s(0.0);
    let bias = simd.splat_f32s(bias);
    for (j, sum) in sums.into_iter().enumerate() {
        let from = j * lanes;
        if from >= target.len() {
            break;
        }
        let to = (from + lanes).min(target.len());
        let old = &mut target[from..to];
        let mut value = simd.add_f32s(sum, bias);
        if let Some(residual) = residual {
            value = simd.add_f32s(value, load(simd, &residual[from..to]));
        }
        if epilogue.accumulate {
            value = simd.add_f32s(value, load(simd, old));
        }
        if epilogue.relu {
            value = simd.max_f32s(value, zero);
        }
        if let ([whole], []) = S::as_mut_simd_f32s(old) {
            *whole = value;
        } else {
            simd.partial_store_f32s(old, value);
        }
    }
}

/// A vector of at most as many floats as there are lanes; a whole one without a mask.
#[inline(always)]
pub(crate) fn load<S: Simd>(simd: S, floats: &[f32]) -> S::f32s {
    if let ([whole], []) = S::as_simd_f32s(floats) {
        *whole
    } else {
        simd.partial_load_f32s(floats)
    }
}
