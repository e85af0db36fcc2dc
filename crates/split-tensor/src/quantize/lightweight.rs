//! Clip and few levels, fitted to samples: the codec for activations that nothing was trained
//! for (Cohen, Choi and Bajic, ICME 2020 and 2021). Their range comes from a model of the
//! activation alone; here the model gives a start and measured errors decide.

use alloc::vec::Vec;

use super::calibrate::{ValueRange, sorted};
use super::levels::{Levels, check_count};
use super::{Quantizer, Scheme};
use crate::error::QuantizerError;
use crate::math;

/// Ends of ranges tried on each side, as parts of the largest magnitude there.
const GRID: u32 = 32;

/// Ends of ranges tried under the model: up to 8 mean magnitudes, in eighths.
const MODEL_GRID: u32 = 64;

/// Halvings of the stride in the last search: it ends at 2^-12 of where it began.
const HALVINGS: u32 = 12;

/// Most turns of the entropy-constrained search; it stops earlier where nothing moves.
const TURNS: u32 = 200;

/// A quantizer with listed levels and what it costs on the values it was fitted to.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelFit {
    /// The quantizer.
    pub quantizer: Quantizer,
    /// Mean squared error, in squared units of the values.
    pub mean_squared_error: f64,
    /// Order-0 entropy of the symbols, in bits per value.
    pub entropy_bits: f64,
}

/// Sorted values with sums, so that the error of any levels takes a few searches.
struct Sample {
    sorted: Vec<f32>,
    /// Sums of the first `n` values and of their squares.
    sums: Vec<f64>,
    squares: Vec<f64>,
}

/// Values below one threshold and not below the last.
#[derive(Clone, Copy)]
struct Bin {
    count: f64,
    sum: f64,
    squares: f64,
}

pub(super) fn fit_even(values: &[f32], count: usize) -> Result<LevelFit, QuantizerError> {
    check_count(count)?;
    let sample = Sample::new(values)?;
    let levels = best_even(&sample, count)?;
    Ok(sample.judge(levels))
}

pub(super) fn fit_entropy_constrained(
    values: &[f32],
    count: usize,
    lambda: f64,
) -> Result<LevelFit, QuantizerError> {
    if !lambda.is_finite() || lambda < 0.0 {
        return Err(QuantizerError::BadParameter {
            what: "lambda",
            found: math::to_f32(lambda),
            min: 0.0,
            max: f32::MAX,
        });
    }
    check_count(count)?;
    let sample = Sample::new(values)?;
    let cost = |fit: &LevelFit| fit.mean_squared_error + lambda * fit.entropy_bits;
    let mut best = sample.judge(best_even(&sample, count)?);
    for _ in 0..TURNS {
        let Some(levels) = moved(&sample, &best, lambda) else {
            break;
        };
        let next = sample.judge(levels);
        // Fewer levels at no more cost count as progress, so that silent ones go.
        let fewer = next.quantizer.symbol_range() < best.quantizer.symbol_range();
        if cost(&next) < cost(&best) || (fewer && cost(&next) <= cost(&best)) {
            best = next;
        } else {
            break;
        }
    }
    Ok(best)
}

impl Sample {
    fn new(values: &[f32]) -> Result<Self, QuantizerError> {
        let sorted = sorted(values)?;
        let mut sums = alloc::vec![0.0];
        let mut squares = alloc::vec![0.0];
        let (mut sum, mut square) = (0.0, 0.0);
        for &value in &sorted {
            sum += f64::from(value);
            square += f64::from(value) * f64::from(value);
            sums.push(sum);
            squares.push(square);
        }
        Ok(Self {
            sorted,
            sums,
            squares,
        })
    }

    fn count(&self) -> f64 {
        math::to_f64(self.sorted.len() as u64)
    }

    fn min(&self) -> f32 {
        self.sorted[0]
    }

    fn max(&self) -> f32 {
        self.sorted[self.sorted.len() - 1]
    }

    /// What falls to each level, by the very rule of [`Levels::quantize`].
    fn bins(&self, levels: &Levels) -> Vec<Bin> {
        let (thresholds, _) = levels.parts();
        let mut begin = 0;
        let mut bins = Vec::with_capacity(thresholds.len() + 1);
        let ends = (1..).zip(thresholds).map(|(upper, &threshold)| {
            let below = |value: &f32| *value < threshold || (upper % 2 == 1 && *value == threshold);
            self.sorted.partition_point(below)
        });
        for end in ends.chain([self.sorted.len()]) {
            bins.push(Bin {
                count: math::to_f64((end - begin) as u64),
                sum: self.sums[end] - self.sums[begin],
                squares: self.squares[end] - self.squares[begin],
            });
            begin = end;
        }
        bins
    }

    fn squared_error(&self, levels: &Levels) -> f64 {
        let bins = self.bins(levels);
        let error = |(bin, &value): (&Bin, &f32)| {
            let value = f64::from(value);
            bin.squares - 2.0 * value * bin.sum + value * value * bin.count
        };
        let total: f64 = bins.iter().zip(levels.parts().1).map(error).sum();
        (total / self.count()).max(0.0)
    }

    fn judge(&self, levels: Levels) -> LevelFit {
        let bits = |bin: &Bin| bin.count / self.count() * self.bits_of(bin);
        LevelFit {
            mean_squared_error: self.squared_error(&levels),
            entropy_bits: self.bins(&levels).iter().map(bits).sum(),
            quantizer: Quantizer::of(Scheme::Levels(levels)),
        }
    }

    /// Ideal code length of a level; 0 for one that nothing falls to.
    fn bits_of(&self, bin: &Bin) -> f64 {
        if bin.count > 0.0 {
            math::log2(self.sorted.len() as u64)
                - math::log2(math::floor_to_usize(bin.count) as u64)
        } else {
            0.0
        }
    }
}

/// The evenly spaced levels of least measured error.
fn best_even(sample: &Sample, count: usize) -> Result<Levels, QuantizerError> {
    if sample.min() == sample.max() {
        return levels_around(sample.min(), count);
    }
    // Ends inside the values; where all values have one sign, the end at zero is tried too.
    let (floor, ceiling) = (sample.min().min(0.0), sample.max().max(0.0));
    let mut best: Option<(f64, f32, f32)> = None;
    let mut consider = |low: f32, high: f32| {
        let low = low.clamp(floor, ceiling);
        let high = high.clamp(floor, ceiling);
        let range = ValueRange::new(low, high).ok();
        let Some(levels) = range.and_then(|range| Levels::even(range, count).ok()) else {
            return best;
        };
        let error = sample.squared_error(&levels);
        if best.is_none_or(|(least, ..)| error < least) {
            best = Some((error, low, high));
        }
        best
    };
    consider(sample.min(), sample.max());
    let (low, high) = model_start(sample, count);
    consider(low, high);
    for part in 1..=GRID {
        let part = math::to_f32(f64::from(part) / f64::from(GRID));
        consider(floor * part, ceiling * part);
        consider(sample.min(), ceiling * part);
        consider(floor * part, sample.max());
    }
    let mut found = consider(sample.min(), sample.max());
    let mut stride = math::to_f32(0.25 * (f64::from(sample.max()) - f64::from(sample.min())));
    for _ in 0..HALVINGS {
        while let Some((before, low, high)) = found {
            for (down, up) in [(stride, 0.0), (-stride, 0.0), (0.0, stride), (0.0, -stride)] {
                found = consider(low + down, high + up);
            }
            if found.is_none_or(|(after, ..)| after >= before) {
                break;
            }
        }
        stride *= 0.5;
    }
    let Some((_, low, high)) = found else {
        return Err(QuantizerError::BadLevels {
            found: count,
            allowed: crate::limits::MAX_LEVELS,
        });
    };
    Levels::even(ValueRange::new(low, high)?, count)
}

/// Levels for values that are all the same: it is one of them.
fn levels_around(value: f32, count: usize) -> Result<Levels, QuantizerError> {
    let width = value.abs().max(1.0);
    Levels::even(ValueRange::new(value, value + width)?, count)
}

/// The range of least expected error where magnitudes below and above zero follow exponential
/// laws with the measured means: `step^2 / 12` inside, `2 mean^2 exp(-end / mean)` beyond an
/// end, weighted with the share of values on that side.
fn model_start(sample: &Sample, count: usize) -> (f32, f32) {
    let negative = sample.sorted.partition_point(|&value| value < 0.0);
    let not_positive = sample.sorted.partition_point(|&value| value <= 0.0);
    let positive = sample.sorted.len() - not_positive;
    let whole = sample.sums[sample.sorted.len()];
    let below = Tail::new(-sample.sums[negative], negative, sample);
    let above = Tail::new(whole - sample.sums[not_positive], positive, sample);
    let spaces = math::to_f64((count - 1) as u64);
    let mut best = (f64::INFINITY, 0.0, 0.0);
    for low in below.ends() {
        for high in above.ends() {
            let step = (low + high) / spaces;
            let error = step * step / 12.0 + below.beyond(low) + above.beyond(high);
            if error < best.0 {
                best = (error, low, high);
            }
        }
    }
    (math::to_f32(-best.1), math::to_f32(best.2))
}

/// One side of zero under the model.
struct Tail {
    share: f64,
    mean: f64,
}

impl Tail {
    fn new(sum: f64, count: usize, sample: &Sample) -> Self {
        let count = math::to_f64(count as u64);
        Self {
            share: count / sample.count(),
            mean: if count > 0.0 { sum / count } else { 0.0 },
        }
    }

    fn ends(&self) -> impl Iterator<Item = f64> {
        let last = if self.mean > 0.0 { MODEL_GRID } else { 0 };
        (u32::from(last > 0)..=last).map(|part| self.mean * f64::from(part) / 8.0)
    }

    fn beyond(&self, end: f64) -> f64 {
        if self.mean > 0.0 {
            2.0 * self.share * self.mean * self.mean * math::exp_of_minus(end / self.mean)
        } else {
            0.0
        }
    }
}

/// One turn: levels go to the means of what falls to them, empty ones out; a threshold goes
/// to where both neighbours cost the same, error plus `lambda` times code length. `None`
/// where fewer than two levels are left.
fn moved(sample: &Sample, fit: &LevelFit, lambda: f64) -> Option<Levels> {
    let Scheme::Levels(levels) = &fit.quantizer.scheme else {
        return None;
    };
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for bin in sample.bins(levels) {
        if bin.count > 0.0 {
            kept.push((bin.sum / bin.count, sample.bits_of(&bin)));
        }
    }
    // A level whose two thresholds cross is never the cheapest one: without it, again.
    let thresholds = loop {
        let thresholds: Vec<f64> = kept
            .windows(2)
            .map(|pair| {
                let ((low, low_bits), (high, high_bits)) = (pair[0], pair[1]);
                0.5 * (low + high) + 0.5 * lambda * (high_bits - low_bits) / (high - low)
            })
            .collect();
        match thresholds.windows(2).position(|pair| pair[0] >= pair[1]) {
            Some(at) => {
                kept.remove(at + 1);
            }
            None => break thresholds,
        }
    };
    let thresholds = thresholds.into_iter().map(math::to_f32).collect();
    let values = kept.iter().map(|&(mean, _)| math::to_f32(mean)).collect();
    Levels::new(thresholds, values).ok()
}
