use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, TensorData};

use super::UnitConfig;
use super::conv::convolve;
use crate::ops::{batch_norm, batch_norm_relu, conv2d};
use crate::state::usize_to_f32;

/// Smallest denominator of a divisive normalisation, squared.
const FLOOR: f32 = 1e-6;

/// A grouped 3x3 with the stride, then 1x1 to the latent: an encoder for a weak device.
#[derive(Module, Debug)]
pub struct LightEncoder {
    conv1: Conv2d,
    bn1: BatchNorm,
    gdn: Option<Gdn>,
    conv2: Conv2d,
    bn2: BatchNorm,
}

impl LightEncoder {
    pub(super) fn init(
        config: &UnitConfig,
        hidden: usize,
        groups: usize,
        gdn: bool,
        device: &Device,
    ) -> Self {
        Self {
            conv1: Conv2dConfig::new([config.activation.channels, hidden], [3, 3])
                .with_stride([config.stride, config.stride])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .with_groups(groups)
                .with_bias(false)
                .init(device),
            bn1: BatchNormConfig::new(hidden).init(device),
            gdn: gdn.then(|| Gdn::init(hidden, false, device)),
            conv2: Conv2dConfig::new([hidden, config.latent_channels], [1, 1])
                .with_bias(false)
                .init(device),
            bn2: BatchNormConfig::new(config.latent_channels).init(device),
        }
    }

    pub(super) fn forward(&self, activation: Tensor<4>) -> Tensor<4> {
        let x = convolve(&self.conv1, activation, 1);
        let x = match &self.gdn {
            Some(gdn) => gdn.forward(batch_norm(&self.bn1, x)),
            None => batch_norm_relu(&self.bn1, x, None),
        };
        batch_norm(&self.bn2, convolve(&self.conv2, x, 0))
    }
}

/// Generalised divisive normalisation (Ballé 2016): `x / sqrt(beta + gamma x^2)`, or its
/// approximate inverse `x * sqrt(beta + gamma x^2)`, over the channels of each pixel.
#[derive(Module, Debug)]
pub struct Gdn {
    /// Root of `beta`, `[channels]`.
    beta_root: Param<Tensor<1>>,
    /// Root of `gamma`, `[channels * channels]` in row-major order. Flat, since matrices are drawn
    /// at random when a unit starts, and this one starts as a multiple of the identity.
    gamma_root: Param<Tensor<1>>,
    #[module(skip)]
    inverse: bool,
}

impl Gdn {
    pub(super) fn init(channels: usize, inverse: bool, device: &Device) -> Self {
        let mut gamma = vec![(0.01 / usize_to_f32(channels)).sqrt(); channels * channels];
        for channel in 0..channels {
            gamma[channel * (channels + 1)] = 0.1_f32.sqrt();
        }
        let parameter = |values: Vec<f32>| {
            let count = values.len();
            Param::from_data(TensorData::new(values, [count]), device)
        };
        Self {
            beta_root: parameter(vec![1.0; channels]),
            gamma_root: parameter(gamma),
            inverse,
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, channels, _, _] = x.dims();
        // Squares keep both non-negative without a projection after each step.
        let gamma = self.gamma_root.val().powi_scalar(2);
        let gamma = gamma.reshape([channels, channels, 1, 1]);
        let beta = self.beta_root.val().powi_scalar(2).add_scalar(FLOOR);
        let energy = conv2d(x.clone().powi_scalar(2), gamma, Some(beta), 1, 0, 1).sqrt();
        if self.inverse { x * energy } else { x / energy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalisation_is_the_formula() {
        let device = Device::flex();
        let x = Tensor::<4>::from_data([[[[3.0_f32]], [[-1.0]]]], &device);
        let gamma = [0.1, 0.005];
        let expected = |inverse: bool| -> Vec<f32> {
            let energy = |own: f32, other: f32| {
                (1.0 + FLOOR + gamma[0] * own * own + gamma[1] * other * other).sqrt()
            };
            let [a, b] = [energy(3.0, 1.0), energy(1.0, 3.0)];
            if inverse {
                vec![3.0 * a, -b]
            } else {
                vec![3.0 / a, -1.0 / b]
            }
        };
        for inverse in [false, true] {
            let found = Gdn::init(2, inverse, &device).forward(x.clone());
            let found = found.into_data().try_to_vec::<f32>().unwrap();
            for (found, expected) in found.iter().zip(expected(inverse)) {
                assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
            }
        }
    }
}
