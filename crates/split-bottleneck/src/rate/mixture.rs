use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};
use split_tensor::{Symbols, TableError, TableSet};

use super::counts::tables_with_prior;
use super::symbol_bits_under;
use crate::ops::{LogisticMixture, mixture_nats};
use crate::state::module_state;

/// Logistic components of each channel's density.
const COMPONENTS: usize = 3;
/// A learned density of symbols: a mixture of three logistics for each latent channel,
/// integrated over the quantizer's unit bins. Its cross-entropy is the differentiable rate;
/// [`RateModel::export`](crate::RateModel::export) turns it into the coder's integer tables.
#[derive(Module, Debug)]
pub struct MixtureRate {
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

impl MixtureRate {
    /// A density that starts at each channel's mean and standard deviation, in symbols.
    #[must_use]
    pub(super) fn with_moments(moments: &[(f32, f32)], rectified: bool, device: &Device) -> Self {
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
    pub(super) fn bits(&self, symbols: Tensor<4>) -> Tensor<1> {
        let [n, channels, height, width] = symbols.dims();
        let x = symbols.reshape([n, channels, height * width]);
        let mixture = LogisticMixture {
            weights: softmax(self.weights.val(), 0),
            locations: self.locations.val(),
            inverse_scales: self.log_scales.val().neg().exp(),
        };
        mixture_nats(x, mixture, super::FLOOR).div_scalar(std::f32::consts::LN_2)
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
    pub(super) fn symbol_bits(&self, symbols: Tensor<4>) -> f64 {
        let densities = self.densities();
        symbol_bits_under(symbols, |channel, symbol| {
            densities[channel].probability(symbol)
        })
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
    pub(super) fn export(&self, symbols: &[Symbols]) -> Result<TableSet, TableError> {
        let densities = self.densities();
        tables_with_prior(symbols, |channel, symbol| {
            densities[channel].probability(symbol)
        })
    }

    /// The density of each channel, in double precision on the host.
    #[must_use]
    pub(super) fn densities(&self) -> Vec<Density> {
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
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::counts::whole;

    #[test]
    fn bits_of_symbols_are_the_densitys_code_lengths() {
        let device = Device::flex();
        for rectified in [false, true] {
            let moments = [(0.4, 0.8), (2.0, 3.0)];
            let rate = MixtureRate::with_moments(&moments, rectified, &device);
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
            MixtureRate::with_moments(&[(-3.0, 0.5)], rectified, &device)
                .symbol_bits(silent.clone())
        };
        assert!(of(true) < 1.0, "{}", of(true));
        assert!(of(false) > 50.0, "{}", of(false));
    }
}
