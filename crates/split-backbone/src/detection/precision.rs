//! Mean average precision by COCO's rules.

use std::collections::BTreeMap;

use super::coco::{CocoSet, ScoredBox};
use super::decode::intersection;

/// Overlaps at which a detection counts as right: 0.50 to 0.95 in steps of 0.05.
const OVERLAPS: usize = 10;
/// Points of the precision-recall curve that are averaged: recall 0 to 1 in steps of 0.01.
const RECALLS: u32 = 101;
/// Best detections of a category that count in one picture.
const MAX_DETECTIONS: usize = 100;

/// How well detections find the true boxes; every value is between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Precision {
    /// Average precision, over categories and overlaps from 0.50 to 0.95.
    pub map: f64,
    /// Average precision at overlap 0.50.
    pub map50: f64,
    /// Average precision at overlap 0.75.
    pub map75: f64,
    /// Share of true boxes found with 100 detections a picture, over categories and overlaps.
    pub recall: f64,
    /// Categories with a true box.
    pub categories: usize,
}

/// Scores detections by COCO's rules for boxes of all sizes, 100 detections per picture and
/// category. Detections in pictures or of categories that the set lacks count for nothing.
///
/// `None` if the set has no true box outside crowds.
#[must_use]
pub fn average_precision(set: &CocoSet, detections: &[ScoredBox]) -> Option<Precision> {
    let mut groups: BTreeMap<(u64, u64), Group> = BTreeMap::new();
    for annotation in &set.annotations {
        let key = (annotation.category_id, annotation.image_id);
        let truth = Truth {
            bbox: annotation.bbox,
            crowd: annotation.iscrowd,
        };
        groups.entry(key).or_default().truths.push(truth);
    }
    let known = |image: u64| set.pictures.iter().any(|picture| picture.id == image);
    for found in detections.iter().filter(|d| !d.score.is_nan()) {
        let key = (found.category_id, found.image_id);
        if groups.contains_key(&key) || known(found.image_id) {
            let candidate = (found.bbox, found.score);
            groups.entry(key).or_default().found.push(candidate);
        }
    }
    let mut by_category: BTreeMap<u64, Vec<Group>> = BTreeMap::new();
    for ((category, _), group) in groups {
        by_category.entry(category).or_default().push(group);
    }
    let curves: Vec<[Curve; OVERLAPS]> = by_category.into_values().filter_map(curves).collect();
    if curves.is_empty() {
        return None;
    }
    let mean = |value: &dyn Fn(&[Curve; OVERLAPS]) -> f64| {
        curves.iter().map(value).sum::<f64>() / curves.len() as f64
    };
    let over = |value: fn(&Curve) -> f64| {
        move |curves: &[Curve; OVERLAPS]| curves.iter().map(value).sum::<f64>() / OVERLAPS as f64
    };
    Some(Precision {
        map: mean(&over(|curve| curve.precision)),
        map50: mean(&|curves| curves[0].precision),
        map75: mean(&|curves| curves[5].precision),
        recall: mean(&over(|curve| curve.recall)),
        categories: curves.len(),
    })
}

/// Boxes of one category in one picture.
#[derive(Default)]
struct Group {
    truths: Vec<Truth>,
    found: Vec<([f64; 4], f64)>,
}

#[derive(Clone, Copy)]
struct Truth {
    bbox: [f64; 4],
    crowd: bool,
}

/// Average precision and greatest recall at one overlap.
struct Curve {
    precision: f64,
    recall: f64,
}

/// What became of a detection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Right,
    Wrong,
    /// In a crowd: counts neither way.
    Ignored,
}

/// Curves of one category at every overlap; `None` without a true box outside crowds.
fn curves(mut groups: Vec<Group>) -> Option<[Curve; OVERLAPS]> {
    let truths = groups.iter().flat_map(|group| &group.truths);
    let count = truths.filter(|truth| !truth.crowd).count();
    if count == 0 {
        return None;
    }
    for group in &mut groups {
        // Crowds come last, so that single objects are matched first.
        group.truths.sort_by_key(|truth| truth.crowd);
        group.found.sort_by(|a, b| b.1.total_cmp(&a.1));
        group.found.truncate(MAX_DETECTIONS);
    }
    Some(std::array::from_fn(|index| {
        let step = u8::try_from(index).unwrap_or(u8::MAX);
        let overlap = 0.5 + 0.05 * f64::from(step);
        let mut verdicts: Vec<(f64, Verdict)> = groups
            .iter()
            .flat_map(|group| judge(group, overlap))
            .collect();
        verdicts.sort_by(|a, b| b.0.total_cmp(&a.0));
        curve(&verdicts, count)
    }))
}

/// Matches the detections of a picture, best first, each to the free box that it covers best.
fn judge(group: &Group, overlap_min: f64) -> Vec<(f64, Verdict)> {
    let mut taken = vec![false; group.truths.len()];
    let verdict = |bbox: &[f64; 4], taken: &mut Vec<bool>| {
        let mut best: Option<usize> = None;
        let mut best_overlap = overlap_min.min(1.0 - 1e-10);
        for (index, truth) in group.truths.iter().enumerate() {
            if taken[index] && !truth.crowd {
                continue;
            }
            // A match with a single object is never given up for a crowd.
            if truth.crowd && best.is_some_and(|best| !group.truths[best].crowd) {
                break;
            }
            let overlap = overlap(bbox, truth);
            if overlap >= best_overlap {
                best_overlap = overlap;
                best = Some(index);
            }
        }
        let Some(best) = best else {
            return Verdict::Wrong;
        };
        taken[best] = true;
        if group.truths[best].crowd {
            Verdict::Ignored
        } else {
            Verdict::Right
        }
    };
    let found = group.found.iter();
    found
        .map(|(bbox, score)| (*score, verdict(bbox, &mut taken)))
        .collect()
}

/// Intersection over union; over the detection's own area where the truth is a crowd.
fn overlap(bbox: &[f64; 4], truth: &Truth) -> f64 {
    let shared = intersection(bbox, &truth.bbox);
    let own = bbox[2] * bbox[3];
    let whole = if truth.crowd {
        own
    } else {
        own + truth.bbox[2] * truth.bbox[3] - shared
    };
    if whole > 0.0 { shared / whole } else { 0.0 }
}

/// The curve of verdicts that come best first.
fn curve(verdicts: &[(f64, Verdict)], count: usize) -> Curve {
    let mut right = 0.0;
    let mut judged = 0.0;
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (_, verdict) in verdicts.iter().filter(|v| v.1 != Verdict::Ignored) {
        judged += 1.0;
        if *verdict == Verdict::Right {
            right += 1.0;
        }
        points.push((right / count as f64, right / judged));
    }
    // Precision at a recall is the best that this or any larger recall has.
    let mut best: f64 = 0.0;
    for point in points.iter_mut().rev() {
        best = best.max(point.1);
        point.1 = best;
    }
    let precision = (0..RECALLS)
        .map(|step| f64::from(step) / 100.0)
        .map(|recall| {
            let index = points.partition_point(|point| point.0 < recall);
            points.get(index).map_or(0.0, |point| point.1)
        })
        .sum::<f64>();
    Curve {
        precision: precision / f64::from(RECALLS),
        recall: points.last().map_or(0.0, |point| point.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::{Annotation, CocoCategory, CocoPicture};

    fn set(boxes: &[([f64; 4], bool)]) -> CocoSet {
        CocoSet {
            pictures: vec![CocoPicture {
                id: 1,
                file_name: "1.jpg".into(),
                width: 100,
                height: 100,
            }],
            categories: vec![CocoCategory {
                id: 3,
                name: "car".into(),
            }],
            annotations: boxes
                .iter()
                .map(|&(bbox, iscrowd)| Annotation {
                    image_id: 1,
                    category_id: 3,
                    bbox,
                    iscrowd,
                })
                .collect(),
        }
    }

    fn found(bbox: [f64; 4], score: f64) -> ScoredBox {
        ScoredBox {
            image_id: 1,
            category_id: 3,
            bbox,
            score,
        }
    }

    const A: [f64; 4] = [0.0, 0.0, 10.0, 10.0];
    const B: [f64; 4] = [50.0, 50.0, 10.0, 10.0];

    #[test]
    fn perfect_detections_score_one() {
        let set = set(&[(A, false), (B, false)]);
        let score = average_precision(&set, &[found(A, 0.9), found(B, 0.8)]).unwrap();
        assert!((score.map - 1.0).abs() < 1e-12 && (score.recall - 1.0).abs() < 1e-12);
    }

    #[test]
    fn half_of_the_boxes_give_half_of_the_recalls() {
        let set = set(&[(A, false), (B, false)]);
        let score = average_precision(&set, &[found(A, 0.9)]).unwrap();
        // Recall 0 to 0.5 has precision 1: 51 of 101 points.
        assert!((score.map - 51.0 / 101.0).abs() < 1e-12);
        assert!((score.recall - 0.5).abs() < 1e-12);
    }

    #[test]
    fn a_second_hit_on_the_same_box_is_wrong() {
        let set = set(&[(A, false), (B, false)]);
        let hits = [found(A, 0.9), found(A, 0.8), found(B, 0.7)];
        let score = average_precision(&set, &hits).unwrap();
        let expected = (51.0 + 50.0 * 2.0 / 3.0) / 101.0;
        assert!((score.map50 - expected).abs() < 1e-12);
    }

    #[test]
    fn overlaps_decide_at_which_thresholds_a_hit_counts() {
        let set = set(&[(A, false)]);
        // 10x10 against 10x8 overlaps by 0.8: right at 0.50 to 0.80, seven of ten.
        let score = average_precision(&set, &[found([0.0, 0.0, 10.0, 8.0], 0.9)]).unwrap();
        assert!((score.map50 - 1.0).abs() < 1e-12 && (score.map75 - 1.0).abs() < 1e-12);
        assert!((score.map - 0.7).abs() < 1e-12);
    }

    #[test]
    fn detections_in_crowds_count_neither_way() {
        let set = set(&[(A, false), ([40.0, 40.0, 40.0, 40.0], true)]);
        let hits = [found(B, 0.95), found(B, 0.93), found(A, 0.9)];
        let score = average_precision(&set, &hits).unwrap();
        assert!((score.map - 1.0).abs() < 1e-12);
    }

    #[test]
    fn without_true_boxes_there_is_no_score() {
        assert_eq!(average_precision(&set(&[]), &[found(A, 0.9)]), None);
        assert_eq!(
            average_precision(&set(&[(A, true)]), &[found(A, 0.9)]),
            None
        );
    }
}
