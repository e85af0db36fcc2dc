//! Integer frequencies of symbols: the only door from floats to the coder.

pub(crate) mod context;
mod fit;
pub(crate) mod mixing;
mod normalise;
pub(crate) mod own;
mod serial;
pub(crate) mod set;

use alloc::vec::Vec;

use crate::bits::exp_golomb_bits;
use crate::error::TableError;
use crate::limits::{MAX_ALPHABET, MAX_SYMBOL, small_i32};
use crate::math;

pub use fit::{FitCandidate, FitConfig};
pub use set::{Lanes, TableSet};

/// Frequencies sum to `1 << SCALE_BITS`.
pub(crate) const SCALE_BITS: u32 = 12;

/// The sum of all frequencies, escape included.
pub(crate) const SCALE: u32 = 1 << SCALE_BITS;

/// Frequencies of the symbols `min..=max` and of one escape, with a sum of exactly 2^12.
///
/// A symbol outside `min..=max`, or one inside with frequency zero, is coded as the escape
/// followed by a few raw bits. The escape always has a slot, so every symbol can be coded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreqTable {
    min: i32,
    frequencies: Vec<u16>,
    escape: u16,
}

impl FreqTable {
    /// A table from how often each symbol `min, min + 1, ..` was seen.
    ///
    /// The escape is weighted as one symbol in 16,384 and at least half a count, besides what
    /// it takes over from symbols too rare to deserve a slot of their own.
    ///
    /// # Errors
    /// [`TableError`] for an empty or too large alphabet and where all counts are zero.
    pub fn from_counts(min: i32, counts: &[u64]) -> Result<Self, TableError> {
        let weights: Vec<f64> = counts.iter().map(|&count| math::to_f64(count)).collect();
        let total: f64 = weights.iter().sum();
        Self::from_weights(min, &weights, (total / 16384.0).max(0.5))
    }

    /// A table from the weight of each symbol `min, min + 1, ..` and of everything else.
    ///
    /// Frequencies are those with the least expected code length: from one slot each, units
    /// go to where they save most. Symbols whose slot would cost more than it saves share
    /// the escape. Weights need not sum to one.
    ///
    /// # Errors
    /// [`TableError`] for an empty or too large alphabet, for negative or non-finite weights
    /// and where all weights are zero.
    pub fn from_weights(min: i32, weights: &[f64], escape_weight: f64) -> Result<Self, TableError> {
        check_alphabet(min, weights.len())?;
        for (index, &found) in weights.iter().chain([&escape_weight]).enumerate() {
            if !found.is_finite() || found < 0.0 {
                return Err(TableError::BadWeight { found, index });
            }
        }
        normalise::best_table(min, weights, escape_weight)
    }

    /// A table from ready frequencies; the escape gets what they leave of 2^12.
    ///
    /// # Errors
    /// [`TableError`] for an empty or too large alphabet, where no slot is left, and where all
    /// are left: an escape alone would say nothing, and its frequency fits no entry.
    pub fn from_frequencies(min: i32, frequencies: &[u16]) -> Result<Self, TableError> {
        check_alphabet(min, frequencies.len())?;
        let found: u32 = frequencies.iter().map(|&f| u32::from(f)).sum();
        let allowed = SCALE - 1;
        let escape = match SCALE.checked_sub(found).map(u16::try_from) {
            Some(Ok(escape)) if escape >= 1 && found >= 1 => escape,
            _ => return Err(TableError::BadTotal { found, allowed }),
        };
        Ok(Self {
            min,
            frequencies: frequencies.to_vec(),
            escape,
        })
    }

    /// The smallest listed symbol.
    #[must_use]
    pub fn min(&self) -> i32 {
        self.min
    }

    /// The largest listed symbol.
    #[must_use]
    pub fn max(&self) -> i32 {
        self.min + small_i32(self.frequencies.len() - 1)
    }

    /// The frequency of a symbol out of 4096; `None` where it is coded as an escape.
    #[must_use]
    pub fn frequency(&self, symbol: i32) -> Option<u16> {
        self.index_of(symbol).map(|index| self.frequencies[index])
    }

    /// The frequency of the escape, at least 1.
    #[must_use]
    pub fn escape_frequency(&self) -> u16 {
        self.escape
    }

    /// Bits that a symbol costs, raw bits after an escape included.
    #[must_use]
    pub fn code_length_bits(&self, symbol: i32) -> f64 {
        match self.frequency(symbol) {
            Some(frequency) => slot_bits(frequency),
            None => slot_bits(self.escape) + f64::from(self.escape_tail_bits(symbol)),
        }
    }

    /// Bits per symbol that sources with these very frequencies cost.
    #[must_use]
    pub fn entropy_bits(&self) -> f64 {
        self.frequencies
            .iter()
            .chain([&self.escape])
            .filter(|&&frequency| frequency > 0)
            .map(|&frequency| slot_bits(frequency) * f64::from(frequency))
            .sum::<f64>()
            / f64::from(SCALE)
    }

    /// Frequencies of the listed symbols in order; zero marks a gap.
    pub(crate) fn frequencies(&self) -> &[u16] {
        &self.frequencies
    }

    /// Position of a symbol that has a slot.
    pub(crate) fn index_of(&self, symbol: i32) -> Option<usize> {
        let index = usize::try_from(i64::from(symbol) - i64::from(self.min)).ok()?;
        (*self.frequencies.get(index)? > 0).then_some(index)
    }

    /// An escaped symbol as one side bit and a distance: above the largest listed symbol, or
    /// below it.
    pub(crate) fn escape_code(&self, symbol: i32) -> (bool, u32) {
        let max = self.max();
        if symbol > max {
            (false, (symbol - max - 1).unsigned_abs())
        } else {
            (true, (max - symbol).unsigned_abs())
        }
    }

    /// The inverse of [`Self::escape_code`]; `None` for a symbol out of range or with a slot.
    pub(crate) fn escaped_symbol(&self, below: bool, distance: u32) -> Option<i32> {
        let max = i64::from(self.max());
        let distance = i64::from(distance);
        let symbol = if below {
            max - distance
        } else {
            max + 1 + distance
        };
        let symbol = i32::try_from(symbol).ok()?;
        let in_range = symbol.unsigned_abs() <= MAX_SYMBOL.unsigned_abs();
        (in_range && self.index_of(symbol).is_none()).then_some(symbol)
    }

    fn escape_tail_bits(&self, symbol: i32) -> u32 {
        1 + exp_golomb_bits(self.escape_code(symbol).1)
    }
}

/// Bits of a slot count out of 4096.
pub(crate) fn slot_bits(frequency: u16) -> f64 {
    f64::from(SCALE_BITS) - math::log2(u64::from(frequency))
}

fn check_alphabet(min: i32, count: usize) -> Result<(), TableError> {
    if count == 0 || count > MAX_ALPHABET {
        return Err(TableError::BadAlphabet {
            found: count,
            allowed: MAX_ALPHABET,
        });
    }
    let max = i64::from(min) + i64::try_from(count).expect("alphabets are small") - 1;
    if i64::from(min) < -i64::from(MAX_SYMBOL) || max > i64::from(MAX_SYMBOL) {
        return Err(TableError::AlphabetOutOfRange {
            min,
            count,
            allowed: MAX_SYMBOL,
        });
    }
    Ok(())
}
