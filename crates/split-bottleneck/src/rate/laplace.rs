use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

use super::per_picture;

/// The l1 norm of the symbols, as the paper's first version prices its latent: a symbol costs its
/// magnitude. No density stands behind it; it only says which symbols should shrink.
#[derive(Module, Debug)]
pub struct L1Rate {
    #[module(skip)]
    rectified: bool,
}

impl L1Rate {
    pub(super) fn new(rectified: bool) -> Self {
        Self { rectified }
    }

    pub(super) fn bits(&self, symbols: Tensor<4>) -> Tensor<1> {
        // Noise can carry a silent rectified symbol below zero, where nothing is to be gained.
        per_picture(if self.rectified {
            symbols.clamp_min(0.0)
        } else {
            symbols.abs()
        })
    }
}

/// A Laplace density around zero for each channel, one-sided where symbols are rectified, with
/// learned scales.
#[derive(Module, Debug)]
pub struct LaplaceRate {
    /// Log scales in symbols, `[channels]`.
    log_scales: Param<Tensor<1>>,
    #[module(skip)]
    rectified: bool,
}

impl LaplaceRate {
    /// Scales from each channel's mean and standard deviation.
    pub(super) fn with_moments(moments: &[(f32, f32)], rectified: bool, device: &Device) -> Self {
        let scale = |(mean, deviation): &(f32, f32)| {
            let spread = (mean * mean + deviation * deviation).sqrt();
            // The root mean square of a Laplace variable is the root of two scales.
            (spread / std::f32::consts::SQRT_2).max(0.05).ln()
        };
        let values: Vec<f32> = moments.iter().map(scale).collect();
        let count = values.len();
        Self {
            log_scales: Param::from_data(TensorData::new(values, [count]), device),
            rectified,
        }
    }

    pub(super) fn device(&self) -> Device {
        self.log_scales.val().device()
    }

    /// Probability of the unit bin around each value, `[n, channels, points]`.
    pub(super) fn mass(&self, x: Tensor<3>) -> Tensor<3> {
        let [channels] = self.log_scales.val().dims();
        let inverse = self.log_scales.val().neg().exp().reshape([1, channels, 1]);
        let below = |edge: Tensor<3>| {
            if self.rectified {
                return one_minus_exp(edge.clamp_min(0.0) * inverse.clone());
            }
            let side = edge.clone().detach().sign();
            side * one_minus_exp(edge.abs() * inverse.clone()).mul_scalar(0.5)
        };
        below(x.clone().add_scalar(0.5)) - below(x.sub_scalar(0.5))
    }
}

/// `1 - exp(-x)`.
fn one_minus_exp(x: Tensor<3>) -> Tensor<3> {
    x.neg().exp().neg().add_scalar(1.0)
}
