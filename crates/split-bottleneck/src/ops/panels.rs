//! Packing of left operands into panels of [`PANEL`] rows, one row's worth of `k` after another.

use super::tile::PANEL;

/// Packs a matrix with `depth` contiguous values a row.
pub(crate) fn from_rows(matrix: &[f32], depth: usize) -> Vec<f32> {
    let rows = matrix.len() / depth;
    let mut panels = vec![0.0; rows.next_multiple_of(PANEL) * depth];
    let blocks = matrix.chunks(PANEL * depth);
    for (panel, block) in panels.chunks_exact_mut(PANEL * depth).zip(blocks) {
        if block.len() == PANEL * depth {
            full_panel(block, depth, panel);
        } else {
            for (i, row) in block.chunks_exact(depth).enumerate() {
                let column = panel[i..].iter_mut().step_by(PANEL);
                for (value, read) in column.zip(row) {
                    *value = *read;
                }
            }
        }
    }
    panels
}

/// Eight rows at a time and eight values of each, so that a block stays in registers.
fn full_panel(block: &[f32], depth: usize, panel: &mut [f32]) {
    let (columns, _) = panel.as_chunks_mut::<PANEL>();
    let whole = depth / PANEL * PANEL;
    let mut rows = [&block[..0]; PANEL];
    for (row, values) in rows.iter_mut().zip(block.chunks_exact(depth)) {
        *row = values;
    }
    for (step, columns) in columns[..whole].chunks_exact_mut(PANEL).enumerate() {
        let mut square = [[0.0; PANEL]; PANEL];
        for (values, row) in square.iter_mut().zip(rows) {
            values.copy_from_slice(&row[step * PANEL..][..PANEL]);
        }
        for (k, column) in columns.iter_mut().enumerate() {
            *column = square.map(|values| values[k]);
        }
    }
    for (k, column) in columns.iter_mut().enumerate().skip(whole) {
        *column = rows.map(|row| row[k]);
    }
}

/// Packs `[outer, rows, inner]` as a matrix of `rows` rows, with `k` running over outer and inner.
pub(crate) fn transposed(values: &[f32], rows: usize, inner: usize) -> Vec<f32> {
    let outer = values.len() / (rows * inner);
    let depth = outer * inner;
    let mut panels = vec![0.0; rows.next_multiple_of(PANEL) * depth];
    for (block, panel) in panels.chunks_exact_mut(PANEL * depth).enumerate() {
        let first = block * PANEL;
        let count = PANEL.min(rows - first);
        let sources = values.chunks_exact(rows * inner);
        for (target, source) in panel.chunks_exact_mut(PANEL * inner).zip(sources) {
            let source = &source[first * inner..][..count * inner];
            match (inner, count) {
                (9, PANEL) => swap_block::<9>(source, target),
                (1, PANEL) => swap_block::<1>(source, target),
                _ => {
                    for (i, row) in source.chunks_exact(inner).enumerate() {
                        for (value, read) in target[i..].iter_mut().step_by(PANEL).zip(row) {
                            *value = *read;
                        }
                    }
                }
            }
        }
    }
    panels
}

/// A whole block of known size, which the compiler unrolls.
fn swap_block<const INNER: usize>(source: &[f32], target: &mut [f32]) {
    let (rows, _) = source.as_chunks::<INNER>();
    let rows: &[[f32; INNER]; PANEL] = rows.first_chunk().expect("the block has PANEL rows");
    let (columns, _) = target.as_chunks_mut::<PANEL>();
    for (k, column) in columns.iter_mut().enumerate().take(INNER) {
        *column = rows.map(|row| row[k]);
    }
}

/// Packs `rows` times `depth` values given by `read(row, k)`.
pub(crate) fn gathered(rows: usize, depth: usize, read: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let mut panels = vec![0.0; rows.next_multiple_of(PANEL) * depth];
    if depth == 0 {
        return panels;
    }
    for (block, panel) in panels.chunks_exact_mut(PANEL * depth).enumerate() {
        let first = block * PANEL;
        let count = PANEL.min(rows - first);
        for (k, column) in panel.chunks_exact_mut(PANEL).enumerate() {
            for (i, value) in column[..count].iter_mut().enumerate() {
                *value = read(first + i, k);
            }
        }
    }
    panels
}
