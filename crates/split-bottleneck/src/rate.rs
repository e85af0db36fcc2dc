use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use split_tensor::{FitConfig, Symbols, TableError, TableSet};

use crate::cache::floats;
use crate::state::usize_to_f32;

mod counts;
mod factorised;
mod hyperprior;
mod laplace;
mod mixture;
mod neighbours;

use counts::{histograms, tables_with_prior};
pub use factorised::FactorisedRate;
pub use hyperprior::{HyperDensity, HyperpriorRate};
pub use laplace::{L1Rate, LaplaceRate};
pub use mixture::{Density, MixtureRate};
pub use neighbours::NeighbourRate;

/// Added to each probability, so that a symbol costs at most about 20 bits while training.
const FLOOR: f32 = 1e-6;
/// Symbols on each side of zero for which a learned density is tabulated.
const TABULATED: i32 = 1024;

/// Which rate model prices the latent in training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateKind {
    /// A mixture of three logistics for each channel.
    #[default]
    Mixture,
    /// The l1 norm of the symbols: a proxy, no density.
    L1,
    /// A zero-centred Laplace density for each channel.
    Laplace,
    /// A density of learned shape for each channel (Ballé 2018).
    Factorised,
    /// The follow-up paper's hyperprior, in training only.
    Hyperprior(HyperDensity),
    /// A mixture conditioned on the neighbours that the codec's contexts look at.
    Neighbours,
}

impl RateKind {
    /// A model that starts at each channel's mean and standard deviation, in symbols.
    #[must_use]
    pub fn init(self, moments: &[(f32, f32)], rectified: bool, device: &Device) -> RateModel {
        match self {
            Self::Mixture => {
                RateModel::Mixture(MixtureRate::with_moments(moments, rectified, device))
            }
            Self::L1 => RateModel::L1(L1Rate::new(rectified)),
            Self::Laplace => {
                RateModel::Laplace(LaplaceRate::with_moments(moments, rectified, device))
            }
            Self::Factorised => RateModel::Factorised(Factorised {
                density: FactorisedRate::with_moments(moments, device),
                rectified,
            }),
            Self::Hyperprior(density) => {
                RateModel::Hyperprior(HyperpriorRate::new(moments.len(), density, device))
            }
            Self::Neighbours => {
                RateModel::Neighbours(NeighbourRate::with_moments(moments, rectified, device))
            }
        }
    }
}

/// The differentiable rate of a latent in training, and the only door from a learned density to
/// the coder's integer tables.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a training run has one of them")]
pub enum RateModel {
    /// See [`RateKind::Mixture`].
    Mixture(MixtureRate),
    /// See [`RateKind::L1`].
    L1(L1Rate),
    /// See [`RateKind::Laplace`].
    Laplace(LaplaceRate),
    /// See [`RateKind::Factorised`].
    Factorised(Factorised),
    /// See [`RateKind::Hyperprior`].
    Hyperprior(HyperpriorRate),
    /// See [`RateKind::Neighbours`].
    Neighbours(NeighbourRate),
}

/// A [`FactorisedRate`] that knows whether symbols can be negative.
#[derive(Module, Debug)]
pub struct Factorised {
    density: FactorisedRate,
    #[module(skip)]
    rectified: bool,
}

impl RateModel {
    /// Price of each picture in bits, shape `[n]`, differentiable.
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
        match self {
            Self::Mixture(rate) => rate.bits(symbols),
            Self::L1(rate) => rate.bits(symbols),
            Self::Laplace(rate) => bits_of_mass(rate.mass(flat(symbols))),
            Self::Factorised(rate) => bits_of_mass(rate.density.mass(flat(symbols))),
            Self::Hyperprior(rate) => rate.bits(symbols),
            Self::Neighbours(rate) => bits_of_mass(rate.mass(symbols)),
        }
    }

    /// Mean bits of a picture's symbols: what the coder will spend, but for counted tables and
    /// contexts. Not differentiable; computed on the host.
    ///
    /// Unlike [`bits`](Self::bits) this takes rounded symbols, and zero takes the lower tail of a
    /// rectified latent, as in the tables. Models without a density that the coder could use
    /// (l1, hyperprior) give the empirical entropy of each channel in the batch.
    ///
    /// # Shapes
    ///
    /// - `symbols`: `[n, channels, height, width]`, whole numbers
    #[must_use]
    pub fn symbol_bits(&self, symbols: Tensor<4>) -> f64 {
        match self {
            Self::Mixture(rate) => rate.symbol_bits(symbols),
            Self::L1(_) | Self::Hyperprior(_) => empirical_bits(symbols),
            Self::Laplace(_) | Self::Factorised(_) => {
                let density = self.tabulated(symbols.dims()[1]);
                symbol_bits_under(symbols, |channel, symbol| density.of(channel, symbol))
            }
            Self::Neighbours(rate) => {
                let mass = if rate.is_rectified() {
                    rate.rectified_mass(symbols)
                } else {
                    rate.mass(symbols)
                };
                let bits: f32 = bits_of_mass(mass).mean().into_scalar();
                f64::from(bits)
            }
        }
    }

    /// Integer tables: counted training symbols, with the learned density as prior where
    /// training saw little. Models without one for the coder count alone; the one conditioned on
    /// neighbours counts by the codec's contexts.
    ///
    /// This is the only step from the density to what the coder uses; both ends of a link
    /// share the resulting integers.
    ///
    /// # Errors
    ///
    /// When a table cannot be built (no symbols and a degenerate density).
    pub fn export(&self, symbols: &[Symbols]) -> Result<TableSet, TableError> {
        let counted = |contexts: bool| {
            let fit = FitConfig {
                contexts,
                ..FitConfig::default()
            };
            TableSet::fit(symbols, &fit)
        };
        match self {
            Self::Mixture(rate) => rate.export(symbols),
            Self::L1(_) | Self::Hyperprior(_) => counted(false),
            Self::Neighbours(_) => counted(true),
            Self::Laplace(_) | Self::Factorised(_) => {
                let first = symbols.first().ok_or(TableError::NoSymbols)?;
                let density = self.tabulated(first.shape().channels());
                tables_with_prior(symbols, |channel, symbol| density.of(channel, symbol))
            }
        }
    }

    /// The density of each channel on whole numbers; only for models that have one.
    fn tabulated(&self, channels: usize) -> Tabulated {
        let symbols: Vec<f32> = (-TABULATED..=TABULATED).map(symbol_to_f32).collect();
        let count = symbols.len();
        let grid = symbols.repeat(channels);
        let on = |device: &Device| {
            Tensor::<3>::from_data(TensorData::new(grid, [1, channels, count]), device)
        };
        let (mass, rectified) = match self {
            Self::Laplace(rate) => (rate.mass(on(&rate.device())), false),
            Self::Factorised(rate) => {
                let grid = on(&rate.density.device());
                (rate.density.mass(grid), rate.rectified)
            }
            Self::Mixture(_) | Self::L1(_) | Self::Hyperprior(_) | Self::Neighbours(_) => {
                unreachable!("only called for densities over a channel's symbols")
            }
        };
        let values = floats(mass).into_iter().map(f64::from).collect();
        Tabulated {
            values,
            count,
            rectified,
        }
    }
}

/// Probabilities of `-TABULATED..=TABULATED`, channel after channel.
struct Tabulated {
    values: Vec<f64>,
    count: usize,
    rectified: bool,
}

impl Tabulated {
    fn of(&self, channel: usize, symbol: i32) -> f64 {
        let Ok(index) = usize::try_from(i64::from(symbol) + i64::from(TABULATED)) else {
            return 0.0;
        };
        if index >= self.count || (self.rectified && symbol < 0) {
            return 0.0;
        }
        let row = &self.values[channel * self.count..(channel + 1) * self.count];
        if self.rectified && symbol == 0 {
            return row[..=index].iter().sum();
        }
        row[index]
    }
}

fn flat(symbols: Tensor<4>) -> Tensor<3> {
    let [n, channels, height, width] = symbols.dims();
    symbols.reshape([n, channels, height * width])
}

/// Sum over all but the pictures, `[n]`.
fn per_picture(x: Tensor<4>) -> Tensor<1> {
    let [n, ..] = x.dims();
    flat(x).sum_dim(2).sum_dim(1).reshape([n])
}

/// Bits of each picture from the probabilities of its symbols, `[n, channels, points]` to `[n]`.
fn bits_of_mass(mass: Tensor<3>) -> Tensor<1> {
    let [n, ..] = mass.dims();
    let nats = mass.clamp_min(0.0).add_scalar(FLOOR).log().neg();
    let nats = nats.sum_dim(2).sum_dim(1).reshape([n]);
    nats.div_scalar(std::f32::consts::LN_2)
}

/// Mean bits of a picture under `density(channel, symbol)`.
fn symbol_bits_under(symbols: Tensor<4>, density: impl Fn(usize, i32) -> f64) -> f64 {
    let pictures = symbols.dims()[0].max(1);
    let counts = histograms(symbols);
    let bits: f64 = counts
        .iter()
        .enumerate()
        .flat_map(|(channel, counts)| counts.iter().map(move |entry| (channel, entry)))
        .map(|(channel, (symbol, count))| {
            -(density(channel, *symbol) + f64::from(FLOOR)).log2() * count
        })
        .sum();
    bits / f64::from(usize_to_f32(pictures))
}

/// Mean bits of a picture under its batch's own frequencies, channel by channel.
fn empirical_bits(symbols: Tensor<4>) -> f64 {
    let counts = histograms(symbols.clone());
    let totals: Vec<f64> = counts.iter().map(|counts| counts.values().sum()).collect();
    symbol_bits_under(symbols, |channel, symbol| {
        counts[channel].get(&symbol).copied().unwrap_or(0.0) / totals[channel].max(1.0)
    })
}

#[expect(clippy::cast_precision_loss, reason = "tabulated symbols are small")]
fn symbol_to_f32(symbol: i32) -> f32 {
    symbol as f32
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
