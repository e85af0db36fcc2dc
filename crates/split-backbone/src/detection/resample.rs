//! How sure a difference between two ways of detecting is: a paired bootstrap over pictures.

use std::collections::BTreeMap;

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use rayon::prelude::*;

use super::coco::{CocoSet, ScoredBox};
use super::precision::average_precision;

/// A difference of mean average precision with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// On the pictures as they are.
    pub difference: f64,
    /// 2.5 % of the draws lie below.
    pub low: f64,
    /// 2.5 % of the draws lie above.
    pub high: f64,
    /// Standard deviation over the draws.
    pub deviation: f64,
}

/// Draws of pictures with replacement, on each of which two ways of detecting are compared.
#[derive(Clone, Debug)]
pub struct PairedBootstrap<'a> {
    set: &'a CocoSet,
    /// Score of the base on the pictures as they are.
    base: f64,
    draws: Vec<Draw>,
}

#[derive(Clone, Debug)]
struct Draw {
    picked: Vec<usize>,
    set: CocoSet,
    /// Score of the base.
    base: f64,
}

impl<'a> PairedBootstrap<'a> {
    /// Scores the detections that all others are compared with on `draws` draws. Draws without
    /// a true box say nothing and are left out.
    ///
    /// `None` if the set has no true box.
    #[must_use]
    pub fn new(set: &'a CocoSet, base: &[ScoredBox], draws: usize, seed: u64) -> Option<Self> {
        let whole = average_precision(set, base)?.map;
        let mut rng = Pcg64::seed_from_u64(seed);
        let picked: Vec<_> = (0..draws)
            .map(|_| draw(set.pictures.len(), &mut rng))
            .collect();
        let draws = picked.into_par_iter().filter_map(|picked| {
            let drawn = repeat_set(set, &picked);
            let base = average_precision(&drawn, &repeat_boxes(set, &picked, base))?.map;
            Some(Draw {
                picked,
                set: drawn,
                base,
            })
        });
        Some(Self {
            set,
            base: whole,
            draws: draws.collect(),
        })
    }

    /// Difference of `ours` to the base in mean average precision.
    ///
    /// `None` for less than two draws.
    #[must_use]
    pub fn interval(&self, ours: &[ScoredBox]) -> Option<Interval> {
        let difference = average_precision(self.set, ours)?.map - self.base;
        let differences = self.draws.par_iter().filter_map(|draw| {
            let ours = repeat_boxes(self.set, &draw.picked, ours);
            Some(average_precision(&draw.set, &ours)?.map - draw.base)
        });
        let mut differences: Vec<f64> = differences.collect();
        if differences.len() < 2 {
            return None;
        }
        differences.sort_by(f64::total_cmp);
        let count = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / count;
        let squares = differences.iter().map(|d| (d - mean) * (d - mean));
        let tail = differences.len() * 25 / 1000;
        Some(Interval {
            difference,
            low: differences[tail],
            high: differences[differences.len() - 1 - tail],
            deviation: (squares.sum::<f64>() / (count - 1.0)).sqrt(),
        })
    }
}

/// As many indices as there are pictures, with replacement.
fn draw(count: usize, rng: &mut Pcg64) -> Vec<usize> {
    let bound = u128::try_from(count).expect("a count fits 128 bits");
    let one = |_| usize::try_from((u128::from(rng.next_u64()) * bound) >> 64).unwrap_or(0);
    (0..count).map(one).collect()
}

/// The drawn pictures, numbered anew: one that was drawn twice counts twice.
fn repeat_set(set: &CocoSet, picked: &[usize]) -> CocoSet {
    let mut pictures = Vec::with_capacity(picked.len());
    let mut annotations = Vec::new();
    for (&index, id) in picked.iter().zip(0_u64..) {
        let mut picture = set.pictures[index].clone();
        let old = std::mem::replace(&mut picture.id, id);
        pictures.push(picture);
        let own = set.annotations.iter().filter(|a| a.image_id == old);
        annotations.extend(own.cloned().map(|mut annotation| {
            annotation.image_id = id;
            annotation
        }));
    }
    CocoSet {
        pictures,
        annotations,
        categories: set.categories.clone(),
    }
}

fn repeat_boxes(set: &CocoSet, picked: &[usize], found: &[ScoredBox]) -> Vec<ScoredBox> {
    let mut by_picture: BTreeMap<u64, Vec<&ScoredBox>> = BTreeMap::new();
    for one in found {
        by_picture.entry(one.image_id).or_default().push(one);
    }
    let drawn = picked.iter().zip(0_u64..);
    drawn
        .flat_map(|(&index, id)| {
            let own = by_picture.get(&set.pictures[index].id);
            own.into_iter().flatten().map(move |one| ScoredBox {
                image_id: id,
                ..(*one).clone()
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::{Annotation, CocoCategory, CocoPicture};

    /// Twelve pictures with one box each.
    fn set() -> CocoSet {
        let ids = 1..=12_u64;
        CocoSet {
            pictures: ids
                .clone()
                .map(|id| CocoPicture {
                    id,
                    file_name: format!("{id}.jpg"),
                    width: 100,
                    height: 100,
                })
                .collect(),
            annotations: ids
                .map(|id| Annotation {
                    image_id: id,
                    category_id: 3,
                    bbox: [0.0, 0.0, 10.0, 10.0],
                    iscrowd: false,
                })
                .collect(),
            categories: vec![CocoCategory {
                id: 3,
                name: "car".into(),
            }],
        }
    }

    fn found(pictures: impl Iterator<Item = u64>) -> Vec<ScoredBox> {
        pictures
            .map(|image_id| ScoredBox {
                image_id,
                category_id: 3,
                bbox: [0.0, 0.0, 10.0, 10.0],
                score: 0.9,
            })
            .collect()
    }

    #[test]
    fn equal_detections_do_not_differ_in_any_draw() {
        let found = found(1..=7);
        let set = set();
        let bootstrap = PairedBootstrap::new(&set, &found, 50, 1).unwrap();
        let interval = bootstrap.interval(&found).unwrap();
        assert_eq!((interval.low, interval.high), (0.0, 0.0));
        assert_eq!(interval.deviation, 0.0);
    }

    #[test]
    fn the_interval_holds_the_difference_and_repeats_with_its_seed() {
        let (ours, base) = (found(1..=6), found(1..=12));
        let set = set();
        let of = |seed| {
            let bootstrap = PairedBootstrap::new(&set, &base, 200, seed).unwrap();
            bootstrap.interval(&ours).unwrap()
        };
        let interval = of(5);
        assert!(
            (interval.difference + 50.0 / 101.0).abs() < 1e-9,
            "{interval:?}"
        );
        assert!(interval.low < interval.difference && interval.difference < interval.high);
        // Of twelve boxes, each found with probability 1/2: sqrt(1/4/12) = 0.144.
        assert!((interval.deviation - 0.144).abs() < 0.03, "{interval:?}");
        assert_eq!(of(5), interval);
        assert_ne!(of(6), interval);
    }

    #[test]
    fn without_boxes_or_draws_there_is_no_interval() {
        let found = found(1..=3);
        let mut empty = set();
        empty.annotations.clear();
        assert!(PairedBootstrap::new(&empty, &found, 9, 1).is_none());
        let set = set();
        let bootstrap = PairedBootstrap::new(&set, &found, 1, 1).unwrap();
        assert_eq!(bootstrap.interval(&found), None);
    }
}
