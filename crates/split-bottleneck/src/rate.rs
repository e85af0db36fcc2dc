use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};
use split_tensor::{FreqTable, Symbols, TableError, TableSet};

use crate::cache::floats;
use crate::ops::{LogisticMixture, mixture_nats};
use crate::state::{module_state, usize_to_f32};

/// Logistic components of each channel's density.
const COMPONENTS: usize = 3;
/// Added to each probability, so that a symbol costs at most about 20 bits while training.
const FLOOR: f32 = 1e-6;
/// Weight of the learned density against counted training symbols when tables are made, in
/// symbols per channel: it decides only where training saw little.
const PRIOR_SYMBOLS: f64 = 64.0;
/// Widest alphabet of a table; rarer symbols go through the escape.
const MAX_ALPHABET: i32 = 1024;

/// A learned density of symbols: a mixture of three logistics for each latent channel,
/// integrated over the quantizer's unit bins. Its cross-entropy is the differentiable rate;
/// [`export`](Self::export) turns it into the coder's integer tables.
#[derive(Module, Debug)]
pub struct RateModel {
    /// Unnormalised log weights, `[components, channels]`.
    weights: Param<Tensor<2>>,
    /// Locations in symbols, `[components, channels]`.
    locations: Param<Tensor<2>>,
    /// Log scales in symbols, `[components, channels]`.
    log_scales: Param<Tensor<2>>,
    /// Whether symbols are never negative, so that zero takes the whole lower tail.
    #[module(skip)]
    rectified: bool,
}

impl RateModel {
    /// A density for `channels` channels around zero, a few symbols wide.
    #[must_use]
    pub fn init(channels: usize, rectified: bool, device: &Device) -> Self {
        Self::with_moments(&vec![(0.0, 2.0); channels], rectified, device)
    }

    /// A density that starts at each channel's mean and standard deviation, in symbols.
    #[must_use]
    pub fn with_moments(moments: &[(f32, f32)], rectified: bool, device: &Device) -> Self {
        let channels = moments.len();
        let spread = [-0.8_f32, 0.0, 0.8];
        let mut locations = Vec::with_capacity(COMPONENTS * channels);
        let mut log_scales = Vec::with_capacity(COMPONENTS * channels);
        for offset in spread {
            for (mean, deviation) in moments {
                let deviation = deviation.max(0.3);
                locations.push(mean + offset * deviation);
                // A logistic of scale s has deviation 1.81 s; components overlap.
                log_scales.push((deviation * 0.45).ln());
            }
        }
        let parameter = |values: Vec<f32>| {
            Param::from_data(TensorData::new(values, [COMPONENTS, channels]), device)
        };
        Self {
            weights: parameter(vec![0.0; COMPONENTS * channels]),
            locations: parameter(locations),
            log_scales: parameter(log_scales),
            rectified,
        }
    }

    /// Bits of each picture under the density, shape `[n]`, differentiable.
    ///
    /// Train on latents divided by the step plus uniform noise of -0.5..0.5 (Ballé 2018): on
    /// rounded values the gradient jumps at rounding borders, and channels that should fall
    /// silent settle right on a border instead, where they chatter between two symbols.
    ///
    /// The lower tail of a rectified latent is not added to zero here, though tables add it:
    /// its gradient would push small values away from zero.
    ///
    /// # Shapes
    ///
    /// - `symbols`: `[n, channels, height, width]`, in units of the step
    #[must_use]
    pub fn bits(&self, symbols: Tensor<4>) -> Tensor<1> {
        let [n, channels, height, width] = symbols.dims();
        let x = symbols.reshape([n, channels, height * width]);
        let mixture = LogisticMixture {
            weights: softmax(self.weights.val(), 0),
            locations: self.locations.val(),
            inverse_scales: self.log_scales.val().neg().exp(),
        };
        mixture_nats(x, mixture, FLOOR).div_scalar(std::f32::consts::LN_2)
    }

    /// Mean bits of a picture's symbols under the density: what the coder will spend, but for
    /// counted tables and contexts. Not differentiable; computed on the host.
    ///
    /// Unlike [`bits`](Self::bits) this takes rounded symbols, and zero takes the lower tail of a
    /// rectified latent, as in the tables.
    ///
    /// # Shapes
    ///
    /// - `symbols`: `[n, channels, height, width]`, whole numbers
    #[must_use]
    pub fn symbol_bits(&self, symbols: Tensor<4>) -> f64 {
        let [n, channels, height, width] = symbols.dims();
        let densities = self.densities();
        let mut counts: Vec<BTreeMap<i32, f64>> = vec![BTreeMap::new(); channels];
        for (index, map) in floats(symbols)
            .chunks_exact((height * width).max(1))
            .enumerate()
        {
            for symbol in map {
                *counts[index % channels].entry(whole(*symbol)).or_default() += 1.0;
            }
        }
        let bits: f64 = counts
            .iter()
            .zip(&densities)
            .flat_map(|(counts, density)| {
                counts.iter().map(|(symbol, count)| {
                    let probability = density.probability(*symbol) + f64::from(FLOOR);
                    -probability.log2() * count
                })
            })
            .sum();
        bits / f64::from(usize_to_f32(n.max(1)))
    }

    /// Integer tables, one for each channel: counted training symbols, with the learned
    /// density as prior where training saw little.
    ///
    /// This is the only step from the density to what the coder uses; both ends of a link
    /// share the resulting integers.
    ///
    /// # Errors
    ///
    /// When a table cannot be built (no symbols and a degenerate density).
    pub fn export(&self, symbols: &[Symbols]) -> Result<TableSet, TableError> {
        let tables = self
            .densities()
            .iter()
            .enumerate()
            .map(|(channel, density)| density.table(&count_channel(symbols, channel)))
            .collect::<Result<Vec<_>, _>>()?;
        TableSet::per_channel(tables)
    }

    /// The density of each channel, in double precision on the host.
    #[must_use]
    pub fn densities(&self) -> Vec<Density> {
        let state = module_state(self);
        let channels = state["weights"].shape[1];
        (0..channels)
            .map(|channel| {
                let of = |name: &str, component: usize| {
                    f64::from(state[name].values[component * channels + channel])
                };
                let total: f64 = (0..COMPONENTS).map(|k| of("weights", k).exp()).sum();
                Density {
                    components: (0..COMPONENTS)
                        .map(|k| Component {
                            weight: of("weights", k).exp() / total,
                            location: of("locations", k),
                            scale: of("log_scales", k).exp(),
                        })
                        .collect(),
                    rectified: self.rectified,
                }
            })
            .collect()
    }
}

/// Density of one channel's symbols.
#[derive(Debug, Clone)]
pub struct Density {
    components: Vec<Component>,
    rectified: bool,
}

#[derive(Debug, Clone, Copy)]
struct Component {
    weight: f64,
    location: f64,
    scale: f64,
}

impl Density {
    /// Probability of a symbol, in `0..=1`.
    #[must_use]
    pub fn probability(&self, symbol: i32) -> f64 {
        if self.rectified && symbol < 0 {
            return 0.0;
        }
        let mass = |component: &Component| {
            let centred = f64::from(symbol) - component.location;
            let upper = logistic((centred + 0.5) / component.scale);
            let lower = if self.rectified && symbol == 0 {
                0.0
            } else {
                logistic((centred - 0.5) / component.scale)
            };
            component.weight * (upper - lower)
        };
        self.components.iter().map(mass).sum()
    }

    fn table(&self, counts: &Counts) -> Result<FreqTable, TableError> {
        let prior: Vec<f64> = (counts.min..)
            .take(counts.values.len())
            .map(|symbol| self.probability(symbol))
            .collect();
        let weights: Vec<f64> = prior
            .iter()
            .zip(&counts.values)
            .map(|(probability, count)| count + PRIOR_SYMBOLS * probability)
            .collect();
        let beyond = (1.0 - prior.iter().sum::<f64>()).max(0.0);
        FreqTable::from_weights(
            counts.min,
            &weights,
            counts.outside + PRIOR_SYMBOLS * beyond,
        )
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the cast saturates, and symbols are whole numbers far below that"
)]
fn whole(symbol: f32) -> i32 {
    symbol as i32
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Symbols of one channel: `values[i]` counts `min + i`.
struct Counts {
    min: i32,
    values: Vec<f64>,
    outside: f64,
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

/// Mean and standard deviation of each channel of `values`, laid out `[n, channels, plane]`.
pub(crate) fn channel_moments(values: &[f32], channels: usize, plane: usize) -> Vec<(f32, f32)> {
    let mut sums = vec![(0.0_f64, 0.0_f64); channels];
    for (index, row) in values.chunks_exact(plane).enumerate() {
        let (sum, squares) = &mut sums[index % channels];
        for value in row {
            let value = f64::from(*value);
            *sum += value;
            *squares += value * value;
        }
    }
    let count = f64::from(usize_to_f32(values.len() / channels.max(1)).max(1.0));
    sums.iter()
        .map(|(sum, squares)| {
            let mean = sum / count;
            let variance = (squares / count - mean * mean).max(0.0);
            (to_f32(mean), to_f32(variance.sqrt()))
        })
        .collect()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a start value needs no more digits"
)]
fn to_f32(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_symbols_are_the_densitys_code_lengths() {
        let device = Device::flex();
        for rectified in [false, true] {
            let moments = [(0.4, 0.8), (2.0, 3.0)];
            let rate = RateModel::with_moments(&moments, rectified, &device);
            let values = [0.0_f32, 1.0, 0.0, 2.0, 1.0, 0.0, 3.0, 1.0];
            let symbols =
                Tensor::from_data(TensorData::new(values.to_vec(), [2, 2, 1, 2]), &device);
            let densities = rate.densities();
            let expected: f64 = values
                .iter()
                .enumerate()
                .map(|(index, symbol)| -densities[index / 2 % 2].probability(whole(*symbol)).log2())
                .sum();
            let found = rate.symbol_bits(symbols);
            assert!((found - expected / 2.0).abs() < 1e-3, "{found}");
        }
    }

    #[test]
    fn zero_takes_the_lower_tail_of_a_rectified_latent() {
        let device = Device::flex();
        let silent = Tensor::<4>::zeros([1, 1, 4, 4], &device);
        let of = |rectified| {
            RateModel::with_moments(&[(-3.0, 0.5)], rectified, &device).symbol_bits(silent.clone())
        };
        assert!(of(true) < 1.0, "{}", of(true));
        assert!(of(false) > 50.0, "{}", of(false));
    }
}
