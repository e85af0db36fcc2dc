use burn::module::{Module, Param};
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{Device, Tensor, TensorData};
use split_tensor::{FreqTable, Symbols, TableError, TableSet};

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
    #[expect(clippy::missing_panics_doc, reason = "there is at least one component")]
    pub fn bits(&self, symbols: Tensor<4>) -> Tensor<1> {
        let [n, channels, height, width] = symbols.dims();
        let x = symbols.reshape([n, channels, height * width]);
        let weights = softmax(self.weights.val(), 0);
        let inverse_scales = self.log_scales.val().neg().exp();
        let locations = self.locations.val();
        let mut probability: Option<Tensor<3>> = None;
        for component in 0..COMPONENTS {
            let of = |parameter: &Tensor<2>| {
                parameter
                    .clone()
                    .slice([component..component + 1, 0..channels])
                    .reshape([1, channels, 1])
            };
            let centred = x.clone() - of(&locations);
            let inverse = of(&inverse_scales);
            let upper = sigmoid(centred.clone().add_scalar(0.5) * inverse.clone());
            let lower = sigmoid(centred.sub_scalar(0.5) * inverse);
            let mass = (upper - lower) * of(&weights);
            probability = Some(match probability {
                None => mass,
                Some(sum) => sum + mass,
            });
        }
        let probability = probability.expect("at least one component");
        let nats = probability.clamp_min(0.0).add_scalar(FLOOR).log().neg();
        let bits = nats.div_scalar(std::f32::consts::LN_2);
        bits.sum_dim(2).sum_dim(1).reshape([n])
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
