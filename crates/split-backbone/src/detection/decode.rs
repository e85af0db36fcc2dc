//! From raw predictions to boxes.

use burn::tensor::Tensor;

use super::Letterbox;

/// Pixels between two cells of the three grids.
const STRIDES: [usize; 3] = [8, 16, 32];

/// Which predictions become detections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectOptions {
    /// Least score, between 0 and 1.
    pub score_min: f32,
    /// A box is dropped if its overlap (intersection over union) with a better one of the same
    /// class is larger.
    pub overlap_max: f32,
}

impl Default for DetectOptions {
    /// The settings of COCO evaluations: score 0.001, overlap 0.65.
    fn default() -> Self {
        Self {
            score_min: 0.001,
            overlap_max: 0.65,
        }
    }
}

/// A box with its class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Class, from 0.
    pub class: usize,
    /// Objectness times class score.
    pub score: f32,
    /// Left, top, width and height in pixels of the picture before letterboxing.
    pub bbox: [f32; 4],
}

/// Boxes of one picture from its raw predictions, best first.
///
/// Boxes that are no numbers are left out.
///
/// # Shapes
///
/// - `raw`: `[1, cells, 5 + classes]`, as [`Yolox::forward`](crate::Yolox::forward) gives it
///
/// # Panics
///
/// If the number of cells is not that of the letterbox's canvas, or the tensor is not of 32-bit
/// floats.
#[must_use]
pub fn decode(raw: Tensor<3>, letterbox: &Letterbox, options: &DetectOptions) -> Vec<Detection> {
    let [batch, count, width] = raw.dims();
    let side = usize::try_from(letterbox.canvas().width()).unwrap_or(usize::MAX);
    assert_eq!(batch, 1, "one picture at a time");
    assert_eq!(count, cells(side).count(), "cells of a canvas of {side}");
    let data = raw.into_data();
    let values = data
        .as_slice::<f32>()
        .expect("predictions are 32-bit floats");
    let mut found: Vec<Detection> = values
        .chunks_exact(width)
        .zip(cells(side))
        .filter_map(|(row, cell)| one(row, cell, letterbox.scale(), options.score_min))
        .collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    suppress(&found, options.overlap_max)
}

/// Column, row and stride of every cell in order of the predictions.
fn cells(side: usize) -> impl Iterator<Item = [u16; 3]> {
    let narrow = |value: usize| u16::try_from(value).unwrap_or(u16::MAX);
    STRIDES.into_iter().flat_map(move |stride| {
        let grid = side / stride;
        (0..grid * grid).map(move |cell| [cell % grid, cell / grid, stride].map(narrow))
    })
}

fn one(
    row: &[f32],
    [column, line, stride]: [u16; 3],
    scale: f64,
    score_min: f32,
) -> Option<Detection> {
    let (place, scores) = row.split_at(5);
    let (class, best) = scores
        .iter()
        .enumerate()
        .rev()
        .max_by(|a, b| a.1.total_cmp(b.1))?;
    let score = place[4] * best;
    if score.is_nan() || score < score_min {
        return None;
    }
    let stride = f64::from(stride) / scale;
    let centre = [
        (f64::from(place[0]) + f64::from(column)) * stride,
        (f64::from(place[1]) + f64::from(line)) * stride,
    ];
    let size = [2, 3].map(|index: usize| f64::from(place[index]).exp() * stride);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "pixels need no more than an f32's precision"
    )]
    let bbox = [
        centre[0] - size[0] / 2.0,
        centre[1] - size[1] / 2.0,
        size[0],
        size[1],
    ]
    .map(|value| value as f32);
    bbox.iter()
        .all(|value| value.is_finite())
        .then_some(Detection { class, score, bbox })
}

/// Drops what overlaps a better box of its class; `sorted` comes best first and stays so.
fn suppress(sorted: &[Detection], overlap_max: f32) -> Vec<Detection> {
    let mut kept: Vec<Detection> = Vec::new();
    for candidate in sorted {
        let covered = kept.iter().any(|better| {
            better.class == candidate.class
                && overlap(&better.bbox, &candidate.bbox) > f64::from(overlap_max)
        });
        if !covered {
            kept.push(*candidate);
        }
    }
    kept
}

/// Intersection over union of two boxes.
fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f64 {
    let [a, b] = [a, b].map(|bbox| bbox.map(f64::from));
    let shared = intersection(&a, &b);
    let union = a[2] * a[3] + b[2] * b[3] - shared;
    if union > 0.0 { shared / union } else { 0.0 }
}

/// Shared area of two boxes given as left, top, width and height.
pub(super) fn intersection(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let along = |axis: usize| {
        let end = (a[axis] + a[axis + 2]).min(b[axis] + b[axis + 2]);
        (end - a[axis].max(b[axis])).max(0.0)
    };
    along(0) * along(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};
    use image::{Rgb, RgbImage};

    fn letterbox() -> Letterbox {
        Letterbox::new(&RgbImage::from_pixel(64, 64, Rgb([0; 3])), 32).unwrap()
    }

    /// Predictions of two classes where some cells hold the given rows.
    fn raw(rows: &[(usize, [f32; 7])]) -> Tensor<3> {
        let mut values = vec![0.0; 21 * 7];
        for (cell, row) in rows {
            values[cell * 7..(cell + 1) * 7].copy_from_slice(row);
        }
        Tensor::from_data(TensorData::new(values, [1, 21, 7]), &Device::flex())
    }

    #[test]
    fn boxes_are_placed_by_cell_stride_and_scale() {
        // The cell in column 1 and row 2 of the finest grid.
        let raw = raw(&[(9, [0.5, 0.25, 0.0, 2_f32.ln(), 0.5, 0.25, 0.75])]);
        let found = decode(raw, &letterbox(), &DetectOptions::default());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].class, found[0].score), (1, 0.375));
        for (value, expected) in found[0].bbox.iter().zip([16.0, 20.0, 16.0, 32.0]) {
            assert!((value - expected).abs() < 1e-4, "{:?}", found[0].bbox);
        }
    }

    #[test]
    fn worse_boxes_of_the_same_class_are_dropped() {
        let near = |score, class: usize| {
            let mut row = [0.5, 0.5, 1.0, 1.0, score, 0.0, 0.0];
            row[5 + class] = 1.0;
            row
        };
        let shifted = |score| {
            let mut row = near(score, 0);
            row[0] = -0.45;
            row
        };
        let raw = raw(&[
            (0, near(0.6, 0)),
            (1, shifted(0.9)),
            (5, near(0.8, 1)),
            (10, near(0.7, 0)),
        ]);
        let found = decode(raw, &letterbox(), &DetectOptions::default());
        let seen: Vec<_> = found.iter().map(|d| (d.class, d.score)).collect();
        assert_eq!(seen, [(0, 0.9), (1, 0.8), (0, 0.7)]);
    }

    #[test]
    fn boxes_without_bounds_are_left_out() {
        let raw = raw(&[
            (0, [0.0, 0.0, 1e9, 0.0, 1.0, 1.0, 0.0]),
            (1, [f32::NAN, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0]),
            (2, [0.0, 0.0, 0.0, 0.0, f32::NAN, 1.0, 0.0]),
        ]);
        assert_eq!(decode(raw, &letterbox(), &DetectOptions::default()), []);
    }
}
