//! Counts of training symbols by channel and neighbourhood.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::super::context::{MAX_CLASSES, Measure};
use super::for_each_with_sum;
use crate::error::TableError;
use crate::limits::small_i32;
use crate::math;
use crate::symbols::Symbols;
use crate::table::FreqTable;

/// Widest range of symbols that is counted; what lies outside will be escaped.
const MAX_WINDOW: usize = 1024;

/// Most neighbour sums of one channel that are sorted to place its classes.
const MAX_SUMS: usize = 20_000;

/// Weights of the symbols of a window.
pub(super) type Weights = Vec<f64>;

/// The range of symbols that tables may list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    min: i32,
    len: usize,
}

impl Window {
    /// All symbols seen, without the lighter end where they span too many.
    pub(super) fn over(samples: &[&Symbols]) -> Self {
        let mut seen: BTreeMap<i32, u64> = BTreeMap::new();
        for symbols in samples {
            for &value in symbols.values() {
                *seen.entry(value).or_insert(0) += 1;
            }
        }
        loop {
            let (Some((&min, &low)), Some((&max, &high))) =
                (seen.first_key_value(), seen.last_key_value())
            else {
                return Self { min: 0, len: 1 };
            };
            let len = max.abs_diff(min) as usize + 1;
            if len <= MAX_WINDOW {
                return Self { min, len };
            }
            seen.remove(if low < high { &min } else { &max });
        }
    }

    fn index_of(&self, symbol: i32) -> Option<usize> {
        let index = usize::try_from(i64::from(symbol) - i64::from(self.min)).ok()?;
        (index < self.len).then_some(index)
    }

    pub(super) fn count_channels(&self, samples: &[&Symbols]) -> Vec<Weights> {
        let channels = samples[0].shape().channels();
        let mut counts = alloc::vec![alloc::vec![0.0; self.len]; channels];
        for symbols in samples {
            let planes = symbols.values().chunks_exact(symbols.shape().plane());
            for (counts, plane) in counts.iter_mut().zip(planes) {
                for index in plane.iter().filter_map(|&symbol| self.index_of(symbol)) {
                    counts[index] += 1.0;
                }
            }
        }
        counts
    }

    /// The table of these weights; something unseen is expected once in 16,384 symbols.
    pub(super) fn table(&self, weights: &[f64]) -> Result<FreqTable, TableError> {
        let total: f64 = weights.iter().sum();
        if total <= 0.0 {
            return Err(TableError::NoSymbols);
        }
        FreqTable::from_weights(self.min, weights, (total / 16384.0).max(0.25))
    }

    pub(super) fn tables(&self, weights: &[Weights]) -> Result<Vec<FreqTable>, TableError> {
        weights.iter().map(|weights| self.table(weights)).collect()
    }
}

pub(super) fn sum(parts: &[Weights]) -> Weights {
    let mut whole = alloc::vec![0.0; parts.first().map_or(0, Vec::len)];
    for part in parts {
        for (whole, part) in whole.iter_mut().zip(part) {
            *whole += part;
        }
    }
    whole
}

/// Counts plus `prior_count` symbols spread as in `parent`.
pub(super) fn backed_off(counts: &[f64], parent: &[f64], prior_count: f64) -> Weights {
    let total: f64 = parent.iter().sum();
    let scale = if total > 0.0 {
        prior_count / total
    } else {
        0.0
    };
    counts
        .iter()
        .zip(parent)
        .map(|(count, parent)| count + parent * scale)
        .collect()
}

/// Counts of one channel by neighbour class.
pub(super) struct Classes {
    pub(super) thresholds: Vec<i32>,
    pub(super) counts: Vec<Weights>,
    /// Counts of the first symbol of the channel.
    pub(super) first: Weights,
}

impl Classes {
    /// Counts every channel, in as many classes as the format allows.
    pub(super) fn count(samples: &[&Symbols], measure: Measure, window: &Window) -> Vec<Self> {
        let thresholds = place_thresholds(samples, measure);
        let mut classes: Vec<Self> = thresholds
            .into_iter()
            .map(|thresholds| Self {
                counts: alloc::vec![alloc::vec![0.0; window.len]; thresholds.len() + 1],
                thresholds,
                first: alloc::vec![0.0; window.len],
            })
            .collect();
        for symbols in samples {
            for_each_with_sum(symbols, measure, |channel, sum, symbol| {
                let Some(index) = window.index_of(symbol) else {
                    return;
                };
                let classes = &mut classes[channel];
                let counts = match sum {
                    None => &mut classes.first,
                    Some(sum) => {
                        let class = classes.thresholds.iter().filter(|&&t| sum >= t).count();
                        &mut classes.counts[class]
                    }
                };
                counts[index] += 1.0;
            });
        }
        classes
    }
}

/// Thresholds that share the neighbour sums of each channel out evenly.
fn place_thresholds(samples: &[&Symbols], measure: Measure) -> Vec<Vec<i32>> {
    let channels = samples[0].shape().channels();
    let mut sums = alloc::vec![Vec::new(); channels];
    let plane = samples[0].shape().plane();
    let every = (samples.len() * plane).div_ceil(MAX_SUMS).max(1);
    for symbols in samples.iter().step_by(every) {
        for_each_with_sum(symbols, measure, |channel, sum, _| {
            sums[channel].extend(sum)
        });
    }
    sums.into_iter()
        .map(|mut sums| {
            sums.sort_unstable();
            let mut thresholds: Vec<i32> = (1..MAX_CLASSES)
                .filter_map(|class| sums.get(class * sums.len() / MAX_CLASSES).copied())
                .filter(|&threshold| Some(threshold) > sums.first().copied())
                .collect();
            thresholds.dedup();
            thresholds
        })
        .collect()
}

/// Joins neighbouring classes as long as that shortens the description: the bits of the
/// symbols plus half a logarithm of their number for each parameter.
pub(super) fn merged_classes(mut channels: Vec<Classes>) -> Vec<Classes> {
    for classes in &mut channels {
        let mut costs: Vec<f64> = classes.counts.iter().map(|c| description_bits(c)).collect();
        let mut joined: Vec<(f64, Weights)> = classes
            .counts
            .windows(2)
            .map(|pair| with_cost(sum(pair)))
            .collect();
        loop {
            let gains = (0..joined.len()).map(|at| costs[at] + costs[at + 1] - joined[at].0);
            let best = gains.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
            let Some((at, gain)) = best.filter(|&(_, gain)| gain >= 0.0) else {
                break;
            };
            debug_assert!(gain.is_finite());
            let (cost, counts) = joined.remove(at);
            costs[at] = cost;
            costs.remove(at + 1);
            classes.counts[at] = counts;
            classes.counts.remove(at + 1);
            classes.thresholds.remove(at);
            for pair in [at.checked_sub(1), Some(at)].into_iter().flatten() {
                if pair < joined.len() {
                    joined[pair] = with_cost(sum(&classes.counts[pair..pair + 2]));
                }
            }
        }
    }
    channels
}

fn with_cost(counts: Weights) -> (f64, Weights) {
    (description_bits(&counts), counts)
}

fn description_bits(counts: &[f64]) -> f64 {
    let total: f64 = counts.iter().sum();
    if total <= 0.0 {
        return 0.0;
    }
    let mut bits = total * log2(total);
    let mut distinct = 0;
    for &count in counts.iter().filter(|&&count| count > 0.0) {
        bits -= count * log2(count);
        distinct += 1;
    }
    bits + 0.5 * f64::from(small_i32(distinct)) * log2(total + 1.0)
}

/// The logarithm of a count; fractions of a count do not matter here.
#[expect(clippy::cast_possible_truncation, reason = "counts are far below 2^64")]
#[expect(clippy::cast_sign_loss, reason = "counts are not negative")]
fn log2(count: f64) -> f64 {
    math::log2((count.max(1.0)) as u64)
}
