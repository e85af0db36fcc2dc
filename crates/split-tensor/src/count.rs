//! Counting training symbols.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::error::TableError;
use crate::latent::LatentShape;
use crate::limits::{MAX_ALPHABET, MAX_CHANNELS, small_u32};
use crate::math;
use crate::symbols::Symbols;
use crate::table::{FreqTable, TableSet};

/// How often each symbol was seen in each channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrequencyCount {
    channels: Vec<BTreeMap<i32, u64>>,
}

impl FrequencyCount {
    /// An empty count.
    ///
    /// # Errors
    /// [`TableError::BadChannelCount`] for no channels or more than [`MAX_CHANNELS`].
    pub fn new(channels: usize) -> Result<Self, TableError> {
        if channels == 0 || channels > MAX_CHANNELS {
            return Err(TableError::BadChannelCount {
                found: channels,
                allowed: MAX_CHANNELS,
            });
        }
        Ok(Self {
            channels: alloc::vec![BTreeMap::new(); channels],
        })
    }

    /// Adds every symbol once.
    ///
    /// # Errors
    /// [`TableError::ChannelMismatch`] for symbols with another number of channels.
    pub fn add(&mut self, symbols: &Symbols) -> Result<(), TableError> {
        let shape = symbols.shape();
        if shape.channels() != self.channels.len() {
            return Err(TableError::ChannelMismatch {
                found: shape.channels(),
                allowed: self.channels.len(),
            });
        }
        self.add_planes(shape, symbols.values());
        Ok(())
    }

    /// For symbols whose channels are as many as those counted.
    pub(crate) fn add_planes(&mut self, shape: LatentShape, symbols: &[i32]) {
        let planes = symbols.chunks_exact(shape.plane());
        for (counts, plane) in self.channels.iter_mut().zip(planes) {
            for &symbol in plane {
                *counts.entry(symbol).or_insert(0) += 1;
            }
        }
    }

    /// How often a symbol was seen in a channel.
    ///
    /// # Panics
    /// For a channel that this count does not have.
    #[must_use]
    pub fn count(&self, channel: usize, symbol: i32) -> u64 {
        self.channels[channel].get(&symbol).copied().unwrap_or(0)
    }

    /// One table from the counts of all channels together.
    ///
    /// # Errors
    /// [`TableError::NoSymbols`] where nothing was counted.
    pub fn shared_table(&self) -> Result<FreqTable, TableError> {
        let mut all = BTreeMap::new();
        for counts in &self.channels {
            for (&symbol, &count) in counts {
                *all.entry(symbol).or_insert(0) += count;
            }
        }
        table_from(weights_of(&all))
    }

    /// A table for each channel. Each is backed off to the counts of all channels, which
    /// weigh as much as `prior_count` symbols, so that a rarely used channel is not trusted
    /// beyond what it has seen.
    ///
    /// # Errors
    /// [`TableError::NoSymbols`] where nothing was counted, [`TableError::BadWeight`] for a
    /// negative or non-finite `prior_count`.
    pub fn channel_tables(&self, prior_count: f64) -> Result<TableSet, TableError> {
        let mut all: BTreeMap<i32, f64> = BTreeMap::new();
        for counts in &self.channels {
            for (&symbol, &count) in counts {
                *all.entry(symbol).or_insert(0.0) += math::to_f64(count);
            }
        }
        let total: f64 = all.values().sum();
        if total <= 0.0 {
            return Err(TableError::NoSymbols);
        }
        let prior: Vec<(i32, f64)> = all
            .iter()
            .map(|(&symbol, &weight)| (symbol, weight / total))
            .collect();
        self.tables_with_prior(|_| prior.iter().copied(), prior_count)
    }

    /// A table for each channel from its counts plus a prior, for example a learned density:
    /// `prior(channel)` gives symbols and their probabilities, which weigh as much as
    /// `prior_count` symbols.
    ///
    /// # Errors
    /// [`TableError::BadWeight`] for negative or non-finite weights, [`TableError::NoWeight`]
    /// where a channel has neither counts nor prior.
    pub fn tables_with_prior<P>(
        &self,
        prior: impl Fn(usize) -> P,
        prior_count: f64,
    ) -> Result<TableSet, TableError>
    where
        P: IntoIterator<Item = (i32, f64)>,
    {
        if !prior_count.is_finite() || prior_count < 0.0 {
            return Err(TableError::BadWeight {
                found: prior_count,
                index: 0,
            });
        }
        let tables = self.channels.iter().enumerate().map(|(channel, counts)| {
            let mut weights = weights_of(counts);
            for (index, (symbol, probability)) in prior(channel).into_iter().enumerate() {
                if !probability.is_finite() || probability < 0.0 {
                    return Err(TableError::BadWeight {
                        found: probability,
                        index,
                    });
                }
                *weights.entry(symbol).or_insert(0.0) += probability * prior_count;
            }
            table_from(weights)
        });
        TableSet::per_channel(tables.collect::<Result<_, _>>()?)
    }
}

fn weights_of(counts: &BTreeMap<i32, u64>) -> BTreeMap<i32, f64> {
    counts
        .iter()
        .map(|(&symbol, &count)| (symbol, math::to_f64(count)))
        .collect()
}

/// A table of the weights; where they span too many symbols, the lighter end goes to the
/// escape until they fit.
pub(crate) fn table_from(mut weights: BTreeMap<i32, f64>) -> Result<FreqTable, TableError> {
    weights.retain(|_, weight| *weight > 0.0);
    let total: f64 = weights.values().sum();
    // Something unseen is expected once in 16,384 symbols, or in twice as many as were seen.
    let mut escape = (total / 16384.0).max(0.5);
    let (min, max) = loop {
        let (Some((&min, &low)), Some((&max, &high))) =
            (weights.first_key_value(), weights.last_key_value())
        else {
            return Err(TableError::NoSymbols);
        };
        if i64::from(max) - i64::from(min) < i64::from(small_u32(MAX_ALPHABET)) {
            break (min, max);
        }
        escape += low.min(high);
        weights.remove(if low < high { &min } else { &max });
    };
    let listed: Vec<f64> = (min..=max)
        .map(|symbol| weights.get(&symbol).copied().unwrap_or(0.0))
        .collect();
    FreqTable::from_weights(min, &listed, escape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latent::LatentShape;

    fn symbols(values: &[i32]) -> Symbols {
        let shape = LatentShape::new(2, 1, values.len() / 2).unwrap();
        Symbols::new(shape, values.to_vec()).unwrap()
    }

    #[test]
    fn tables_follow_the_counts_of_their_channel() {
        let mut count = FrequencyCount::new(2).unwrap();
        count.add(&symbols(&[0, 0, 0, 1, 5, 5, 5, 5])).unwrap();
        assert_eq!(
            (count.count(0, 0), count.count(1, 5), count.count(1, 0)),
            (3, 4, 0)
        );
        let set = count.channel_tables(1.0).unwrap();
        assert!(set.table_of(0).code_length_bits(0) < 1.0);
        assert!(set.table_of(1).code_length_bits(5) < 1.0);
        assert!(set.table_of(1).code_length_bits(0) > 3.0);
        assert!(matches!(
            count.add(&Symbols::new(LatentShape::new(1, 1, 1).unwrap(), alloc::vec![0]).unwrap()),
            Err(TableError::ChannelMismatch {
                found: 1,
                allowed: 2
            })
        ));
    }

    #[test]
    fn wide_alphabets_are_cut_at_their_lighter_end() {
        let mut count = FrequencyCount::new(2).unwrap();
        count
            .add(&symbols(&[0, 0, 0, 1, 1_000_000, 0, 0, 0]))
            .unwrap();
        let table = count.shared_table().unwrap();
        assert_eq!(table.frequency(1_000_000), None);
        assert_eq!(table.max(), 1);
    }

    #[test]
    fn an_empty_count_gives_no_table() {
        let count = FrequencyCount::new(1).unwrap();
        assert_eq!(count.shared_table(), Err(TableError::NoSymbols));
        assert_eq!(count.channel_tables(1.0), Err(TableError::NoSymbols));
    }
}
