use burn::module::Module;
use burn::nn::conv::{Conv2d, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::{Device, Tensor};

use super::UnitConfig;
use super::conv::{conv3x3, convolve};
use super::paper::transpose;
use crate::ops::{batch_norm, batch_norm_relu, sigmoid};

/// Device side of BottleNet++: one convolution, and values between 0 and 1.
#[derive(Module, Debug)]
pub struct BottleNetEncoder {
    conv: Conv2d,
    bn: BatchNorm,
}

impl BottleNetEncoder {
    pub(super) fn init(config: &UnitConfig, device: &Device) -> Self {
        let channels = [config.activation.channels, config.latent_channels];
        Self {
            conv: conv3x3(channels, config.stride, device),
            bn: BatchNormConfig::new(config.latent_channels).init(device),
        }
    }

    pub(super) fn forward(&self, activation: Tensor<4>) -> Tensor<4> {
        sigmoid(batch_norm(&self.bn, convolve(&self.conv, activation, 1)))
    }
}

/// Edge side of BottleNet++: one transposed convolution.
#[derive(Module, Debug)]
pub struct BottleNetDecoder {
    conv: ConvTranspose2d,
    bn: BatchNorm,
}

impl BottleNetDecoder {
    pub(super) fn init(config: &UnitConfig, output_padding: [usize; 2], device: &Device) -> Self {
        let channels = [config.latent_channels, config.activation.channels];
        Self {
            conv: ConvTranspose2dConfig::new(channels, [3, 3])
                .with_stride([config.stride, config.stride])
                .with_padding([1, 1])
                .with_padding_out(output_padding)
                .with_bias(false)
                .init(device),
            bn: BatchNormConfig::new(config.activation.channels).init(device),
        }
    }

    pub(super) fn forward(&self, latent: Tensor<4>) -> Tensor<4> {
        batch_norm_relu(&self.bn, transpose(&self.conv, latent), None)
    }
}
