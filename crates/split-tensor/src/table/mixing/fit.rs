//! A mixing model from training symbols.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

use super::{
    EVEN_CELL, FEATURES, MAX_COARSE_WEIGHT, MAX_COEFFICIENT, MixChannel, MixModel, OWN_FEATURES,
    REFERENCES,
};
use crate::coder::mix::state::{self, State};
use crate::coder::mix::surroundings::Plane;
use crate::coder::mix::{self, Nowhere, WEIGHT_COUNT, cell_count};
use crate::limits::small_u16;
use crate::symbols::Symbols;

/// How often the training symbols are coded; a third time changes next to nothing.
const PASSES: usize = 2;

/// Where weights begin, 0.3 in 1/256; the constant begins without one.
const FIRST_WEIGHT: i16 = 77;

/// Symbols of one channel that linear predictions and references are fitted to, about.
const ENOUGH: usize = 40_000;

/// Added to the diagonal, so that channels without life have a prediction.
const RIDGE: f64 = 100.0;

/// Values beyond this tell nothing more, as in the coder.
const CUT: i32 = 20;

impl MixModel {
    /// A model for symbols like these, all of one number of channels, of which there are at
    /// most [`super::MAX_MIXED_CHANNELS`].
    pub(crate) fn fit(samples: &[&Symbols]) -> Self {
        let count = samples.first().map_or(1, |first| first.shape().channels());
        Self::fit_in(samples, &[count])
    }

    /// As [`Self::fit`], without references between segments of so many channels each.
    pub(super) fn fit_in(samples: &[&Symbols], segments: &[usize]) -> Self {
        let count = segments.iter().sum();
        let centres = centres(samples, count);
        let few = thinned(samples);
        let mut channels: Vec<MixChannel> = Vec::with_capacity(count);
        let begins = segments.iter().scan(0, |next, count| {
            let begin = *next;
            *next += count;
            Some(core::iter::repeat_n(begin, *count))
        });
        for (centre, begin) in centres.iter().zip(begins.flatten()) {
            let references = references(&few, &centres, begin..channels.len());
            let absent = alloc::vec![0; OWN_FEATURES + 2 * references.len()];
            channels.push(MixChannel {
                centre: *centre,
                references,
                value: absent.clone(),
                magnitude: absent,
            });
        }
        for channel in 0..count {
            let [value, magnitude] = predictions(&few, &channels, channel);
            channels[channel].value = value;
            channels[channel].magnitude = magnitude;
        }
        let mut model = Self {
            channels,
            weights: alloc::vec![FIRST_WEIGHT; WEIGHT_COUNT],
            cells: alloc::vec![EVEN_CELL; cell_count(count)],
        };
        for constant in model.weights.iter_mut().skip(7).step_by(state::WEIGHTS) {
            *constant = 0;
        }
        model.train(samples);
        model
    }

    /// Codes all samples and keeps the state in which that ends.
    fn train(&mut self, samples: &[&Symbols]) {
        let mut buffer = alloc::vec![0; self.state_length()];
        let mut seen = alloc::vec![0; self.cells.len()];
        let State { cells, weights, .. } = self.start(&mut buffer);
        // A new cell is right in the middle, so that it leans neither way.
        cells.fill(state::MIDDLE);
        let mut state = State {
            cells,
            weights,
            seen: &mut seen,
        };
        for symbols in (0..PASSES).flat_map(|_| samples) {
            let done = mix::visit(
                self,
                symbols.shape(),
                symbols.values(),
                &mut state,
                &mut Nowhere,
            );
            debug_assert!(done.is_ok(), "only decoders refuse");
        }
        let (weights, cells) = buffer.split_at(WEIGHT_COUNT);
        for (coarse, &weight) in self.weights.iter_mut().zip(weights) {
            *coarse = state::weight_to(weight).clamp(-MAX_COARSE_WEIGHT, MAX_COARSE_WEIGHT);
        }
        for ((coarse, &cell), &seen) in self.cells.iter_mut().zip(cells).zip(&seen) {
            *coarse = if seen == 0 {
                EVEN_CELL
            } else {
                state::cell_to(cell)
            };
        }
    }
}

/// As many samples, spread evenly, as have enough symbols.
fn thinned<'a>(samples: &[&'a Symbols]) -> Vec<&'a Symbols> {
    let total: usize = samples.iter().map(|symbols| symbols.shape().plane()).sum();
    let every = (total / ENOUGH).max(1);
    samples.iter().step_by(every).copied().collect()
}

/// The most frequent symbol of each channel, the least of several.
fn centres(samples: &[&Symbols], channels: usize) -> Vec<i32> {
    let mut counts: Vec<BTreeMap<i32, u64>> = alloc::vec![BTreeMap::new(); channels];
    for symbols in samples {
        let planes = symbols.values().chunks_exact(symbols.shape().plane());
        for (counts, plane) in counts.iter_mut().zip(planes) {
            for &value in plane {
                *counts.entry(value).or_insert(0) += 1;
            }
        }
    }
    let centre = |counts: &BTreeMap<i32, u64>| {
        let most = counts.iter().rev().max_by_key(|&(_, &count)| count);
        most.map_or(0, |(&symbol, _)| symbol)
    };
    counts.iter().map(centre).collect()
}

/// Earlier channels by how much they say about the value at the same place of the one behind them.
fn references(samples: &[&Symbols], centres: &[i32], earlier: Range<usize>) -> Vec<Option<u16>> {
    let channel = earlier.end;
    let mut ranked: Vec<(f64, u16)> = earlier
        .map(|other| {
            (
                correlation(samples, centres, [channel, other]),
                small_u16(other),
            )
        })
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let best = ranked.into_iter().take(REFERENCES);
    best.map(|(_, other)| Some(other)).collect()
}

/// The square of the correlation of two channels, 0 where one of them never changes.
fn correlation(samples: &[&Symbols], centres: &[i32], pair: [usize; 2]) -> f64 {
    let (mut count, mut sums, mut squares, mut product) = (0.0, [0.0; 2], [0.0; 2], 0.0);
    for symbols in samples {
        let plane = symbols.shape().plane();
        let of = |channel: usize| &symbols.values()[channel * plane..(channel + 1) * plane];
        for (&one, &other) in of(pair[0]).iter().zip(of(pair[1])) {
            let both = [one - centres[pair[0]], other - centres[pair[1]]];
            let both = both.map(|value| f64::from(value.clamp(-CUT, CUT)));
            for at in 0..2 {
                sums[at] += both[at];
                squares[at] += both[at] * both[at];
            }
            product += both[0] * both[1];
            count += 1.0;
        }
    }
    let variance = |at: usize| squares[at] - sums[at] * sums[at] / count;
    let shared = product - sums[0] * sums[1] / count;
    let scale = variance(0) * variance(1);
    if scale > 0.0 {
        shared * shared / scale
    } else {
        0.0
    }
}

/// Coefficients of the predicted value and of the predicted magnitude, by least squares.
fn predictions(samples: &[&Symbols], channels: &[MixChannel], channel: usize) -> [Vec<i32>; 2] {
    let used = OWN_FEATURES + 2 * channels[channel].references.len();
    let mut systems = [[[0.0; FEATURES + 1]; FEATURES]; 2];
    for symbols in samples {
        let shape = symbols.shape();
        let plane = Plane {
            shape,
            symbols: symbols.values(),
            channels,
            channel,
        };
        for at in 0..shape.plane() {
            let features = plane.features(at / shape.width(), at % shape.width());
            let symbol = symbols.values()[channel * shape.plane() + at];
            let value = (symbol - channels[channel].centre).clamp(-CUT, CUT);
            add(&mut systems[0], &features, value);
            add(&mut systems[1], &features.map(i32::abs), value.abs());
        }
    }
    systems.map(|mut system| solved(&mut system, used))
}

type System = [[f64; FEATURES + 1]; FEATURES];

fn add(system: &mut System, features: &[i32; FEATURES], target: i32) {
    for (row, &feature) in system.iter_mut().zip(features) {
        if feature == 0 {
            continue;
        }
        let feature = f64::from(feature);
        let columns = features.iter().chain([&target]);
        for (cell, &other) in row.iter_mut().zip(columns) {
            *cell += feature * f64::from(other);
        }
    }
}

/// Gauss and Jordan; the ridge keeps every pivot away from zero.
fn solved(system: &mut System, used: usize) -> Vec<i32> {
    for (at, row) in system.iter_mut().enumerate() {
        row[at] += RIDGE;
    }
    for at in 0..FEATURES {
        let pivot = system[at][at];
        let row = system[at].map(|cell| cell / pivot);
        system[at] = row;
        for (other, cells) in system.iter_mut().enumerate() {
            let factor = cells[at];
            if other != at && factor != 0.0 {
                for (cell, pivot) in cells.iter_mut().zip(&row) {
                    *cell -= factor * pivot;
                }
            }
        }
    }
    let coefficients = system.iter().take(used);
    coefficients.map(|row| coefficient(row[FEATURES])).collect()
}

/// In 1/4096, halves up.
#[expect(clippy::cast_possible_truncation, reason = "held within the limit")]
fn coefficient(value: f64) -> i32 {
    let limit = f64::from(MAX_COEFFICIENT);
    let scaled = (value * 4096.0 + limit + 0.5).clamp(0.0, 2.0 * limit);
    scaled as i32 - MAX_COEFFICIENT
}
