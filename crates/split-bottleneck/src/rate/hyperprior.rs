use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::activation::softplus;
use burn::tensor::{Device, Tensor};
use rand_core::SeedableRng;
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};

use super::factorised::FactorisedRate;
use super::{FLOOR, bits_of_mass};
use crate::ops::{batch_norm, batch_norm_relu, conv2d};
use crate::proxy::straight_through_round;
use crate::state::redraw;

/// Channels of the hyper latent in all released units.
const HYPER_CHANNELS: usize = 8;
/// Smallest scale of a symbol's density.
const SCALE_MIN: f32 = 0.05;

/// Density of a symbol given the hyper latent; the release does not say which the paper used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HyperDensity {
    /// Zero-mean Laplace, as in the public code that the released key names come from.
    #[default]
    Laplace,
    /// Zero-mean Gaussian, as the paper's text says.
    Gaussian,
}

/// The follow-up's estimator (CVPR Workshops 2023): a hyper latent computed from the symbols says
/// how wide each symbol's density is; its own bits come from a factorised density.
///
/// Only training runs it: nothing of it is sent, and the tables are counted.
#[derive(Module, Debug)]
pub struct HyperpriorRate {
    analysis1: Conv2d,
    bn1: BatchNorm,
    analysis2: Conv2d,
    bn2: BatchNorm,
    synthesis1: Conv2d,
    bn3: BatchNorm,
    synthesis2: Conv2d,
    hyper: FactorisedRate,
    #[module(skip)]
    gaussian: bool,
}

impl HyperpriorRate {
    /// Draws the weights from a fixed generator: the estimator is no part of the unit's seed.
    pub(super) fn new(channels: usize, density: HyperDensity, device: &Device) -> Self {
        let depthwise = || {
            Conv2dConfig::new([channels, channels], [3, 3])
                .with_groups(channels)
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(device)
        };
        let pointwise = |from: usize, to: usize| Conv2dConfig::new([from, to], [1, 1]).init(device);
        let norm = |channels: usize| BatchNormConfig::new(channels).init(device);
        let hyper = || FactorisedRate::with_moments(&[(0.0, 1.0); HYPER_CHANNELS], device);
        let fresh = Self {
            analysis1: depthwise(),
            bn1: norm(channels),
            analysis2: pointwise(channels, HYPER_CHANNELS),
            bn2: norm(HYPER_CHANNELS),
            synthesis1: pointwise(HYPER_CHANNELS, channels),
            bn3: norm(channels),
            synthesis2: depthwise(),
            hyper: hyper(),
            gaussian: density == HyperDensity::Gaussian,
        };
        let drawn = redraw(fresh, &mut Pcg64::seed_from_u64(0));
        Self {
            // After the draw, which would overwrite its matrices.
            hyper: hyper(),
            ..drawn
        }
    }

    /// Bits of each picture, hyper latent included.
    pub(super) fn bits(&self, symbols: Tensor<4>) -> Tensor<1> {
        let x = layer(&self.analysis1, symbols.clone(), 1);
        let x = batch_norm_relu(&self.bn1, x, None);
        let hyper = batch_norm(&self.bn2, layer(&self.analysis2, x, 0));
        // Rounded and not noised: a density has no generator of its own.
        let hyper = straight_through_round(hyper);
        let x = batch_norm_relu(&self.bn3, layer(&self.synthesis1, hyper.clone(), 0), None);
        let scale = softplus(layer(&self.synthesis2, x, 1), 1.0).add_scalar(SCALE_MIN);
        let [n, channels, height, width] = symbols.dims();
        let flat = |x: Tensor<4>| x.reshape([n, channels, height * width]);
        let mass = self.mass(flat(symbols), flat(scale));
        let [_, hypers, _, _] = hyper.dims();
        let hyper = hyper.reshape([n, hypers, height * width]);
        bits_of_mass(mass) + bits_of_mass(self.hyper.mass(hyper))
    }

    fn mass(&self, x: Tensor<3>, scale: Tensor<3>) -> Tensor<3> {
        let below = |edge: Tensor<3>| {
            let edge = edge / scale.clone();
            if self.gaussian {
                return edge
                    .div_scalar(std::f32::consts::SQRT_2)
                    .erf()
                    .mul_scalar(0.5);
            }
            let side = edge.clone().detach().sign();
            let tail = edge.abs().neg().exp();
            side * tail.neg().add_scalar(1.0).mul_scalar(0.5)
        };
        let mass = below(x.clone().add_scalar(0.5)) - below(x.sub_scalar(0.5));
        mass.clamp_min(FLOOR)
    }
}

fn layer(layer: &Conv2d, x: Tensor<4>, padding: usize) -> Tensor<4> {
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    conv2d(x, layer.weight.val(), bias, 1, padding, layer.groups)
}
