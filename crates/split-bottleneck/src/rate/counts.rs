use std::collections::BTreeMap;

use burn::tensor::Tensor;
use split_tensor::{FreqTable, Symbols, TableError, TableSet};

use crate::cache::floats;

/// Weight of a learned density against counted training symbols when tables are made, in
/// symbols per channel: it decides only where training saw little.
const PRIOR_SYMBOLS: f64 = 64.0;
/// Widest alphabet of a table; rarer symbols go through the escape.
const MAX_ALPHABET: i32 = 1024;

/// One table for each channel: counted symbols, with `density(channel, symbol)` as prior.
pub(super) fn tables_with_prior(
    symbols: &[Symbols],
    density: impl Fn(usize, i32) -> f64,
) -> Result<TableSet, TableError> {
    let first = symbols.first().ok_or(TableError::NoSymbols)?;
    let tables = (0..first.shape().channels())
        .map(|channel| {
            let counts = count_channel(symbols, channel);
            counts.table(|symbol| density(channel, symbol))
        })
        .collect::<Result<Vec<_>, _>>()?;
    TableSet::per_channel(tables)
}

/// How far from zero symbols are counted in an array: nearly all, and a map takes ten times as long.
const NEAR: u16 = 256;

/// How often each symbol stands in each channel of a batch `[n, channels, height, width]`.
pub(super) fn histograms(symbols: Tensor<4>) -> Vec<BTreeMap<i32, f64>> {
    let [_, channels, height, width] = symbols.dims();
    let mut counts: Vec<BTreeMap<i32, f64>> = vec![BTreeMap::new(); channels];
    let mut near = vec![vec![0_u32; 2 * usize::from(NEAR)]; channels];
    for (index, map) in floats(symbols)
        .chunks_exact((height * width).max(1))
        .enumerate()
    {
        let channel = index % channels;
        for symbol in map {
            let symbol = whole(*symbol);
            let place = usize::try_from(symbol.saturating_add(i32::from(NEAR)));
            match place.ok().and_then(|place| near[channel].get_mut(place)) {
                Some(count) => *count += 1,
                None => *counts[channel].entry(symbol).or_default() += 1.0,
            }
        }
    }
    for (counts, near) in counts.iter_mut().zip(&near) {
        let seen = (-i32::from(NEAR)..)
            .zip(near)
            .filter(|(_, count)| **count > 0);
        counts.extend(seen.map(|(symbol, count)| (symbol, f64::from(*count))));
    }
    counts
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the cast saturates, and symbols are whole numbers far below that"
)]
pub(super) fn whole(symbol: f32) -> i32 {
    symbol as i32
}

/// Symbols of one channel: `values[i]` counts `min + i`.
struct Counts {
    min: i32,
    values: Vec<f64>,
    outside: f64,
}

impl Counts {
    fn table(&self, density: impl Fn(i32) -> f64) -> Result<FreqTable, TableError> {
        let prior: Vec<f64> = (self.min..).take(self.values.len()).map(density).collect();
        let weights: Vec<f64> = prior
            .iter()
            .zip(&self.values)
            .map(|(probability, count)| count + PRIOR_SYMBOLS * probability)
            .collect();
        let beyond = (1.0 - prior.iter().sum::<f64>()).max(0.0);
        let escape = self.outside + PRIOR_SYMBOLS * beyond;
        FreqTable::from_weights(self.min, &weights, escape)
    }
}

fn count_channel(symbols: &[Symbols], channel: usize) -> Counts {
    let plane = |one: &Symbols| {
        let size = one.shape().height() * one.shape().width();
        channel * size..(channel + 1) * size
    };
    let all = || {
        symbols
            .iter()
            .flat_map(|s| s.values()[plane(s)].iter().copied())
    };
    let min = all().min().unwrap_or(0).max(-MAX_ALPHABET / 2);
    let max = all().max().unwrap_or(0).clamp(min, min + MAX_ALPHABET - 1);
    let length = usize::try_from(max - min + 1).expect("max is not below min");
    let mut counts = Counts {
        min,
        values: vec![0.0; length],
        outside: 0.0,
    };
    for symbol in all() {
        match usize::try_from(i64::from(symbol) - i64::from(min)) {
            Ok(index) if index < length => counts.values[index] += 1.0,
            _ => counts.outside += 1.0,
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};

    use super::*;

    #[test]
    fn symbols_are_counted_however_far_from_zero_they_lie() {
        let values = [0.0, 0.0, -256.0, 255.0, -257.0, 256.0, 256.0, 1e20_f32];
        let data = TensorData::new(values.to_vec(), [2, 2, 1, 2]);
        let counts = histograms(Tensor::from_data(data, &Device::flex()));
        // The second picture's channels follow the first one's.
        let first = BTreeMap::from([(0, 2.0), (-257, 1.0), (256, 1.0)]);
        let second = BTreeMap::from([(-256, 1.0), (255, 1.0), (256, 1.0), (i32::MAX, 1.0)]);
        assert_eq!(counts, [first, second]);
    }
}
