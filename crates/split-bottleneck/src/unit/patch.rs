use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use super::UnitConfig;
use super::conv::pixel_shuffle;
use crate::ops::conv2d;

/// One linear map of each patch of `stride` x `stride` pixels: the form of a KLT.
#[derive(Module, Debug)]
pub struct PatchEncoder {
    pub(crate) map: Conv2d,
}

impl PatchEncoder {
    pub(super) fn init(config: &UnitConfig, device: &Device) -> Self {
        let side = config.stride;
        let channels = [config.activation.channels, config.latent_channels];
        Self {
            map: Conv2dConfig::new(channels, [side, side])
                .with_stride([side, side])
                .with_bias(true)
                .init(device),
        }
    }

    pub(super) fn forward(&self, activation: Tensor<4>) -> Tensor<4> {
        let [side, _] = self.map.stride;
        let bias = self.map.bias.as_ref().map(|bias| bias.val());
        conv2d(activation, self.map.weight.val(), bias, side, 0, 1)
    }
}

/// One linear map of each latent pixel back to its patch.
#[derive(Module, Debug)]
pub struct PatchDecoder {
    pub(crate) map: Conv2d,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    rectified: bool,
}

impl PatchDecoder {
    pub(super) fn init(config: &UnitConfig, rectified: bool, device: &Device) -> Self {
        Self {
            map: patch_map(config, device),
            stride: config.stride,
            rectified,
        }
    }

    pub(super) fn forward(&self, latent: Tensor<4>) -> Tensor<4> {
        let patches = linear(&self.map, latent);
        let patches = if self.rectified {
            relu(patches)
        } else {
            patches
        };
        pixel_shuffle(patches, self.stride)
    }
}

/// The layer from a latent pixel to the values of its patch.
pub(super) fn patch_map(config: &UnitConfig, device: &Device) -> Conv2d {
    let patch = config.activation.channels * config.stride * config.stride;
    Conv2dConfig::new([config.latent_channels, patch], [1, 1])
        .with_bias(true)
        .init(device)
}

/// A 1x1 convolution with its bias.
pub(super) fn linear(map: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let bias = map.bias.as_ref().map(|bias| bias.val());
    conv2d(x, map.weight.val(), bias, 1, 0, 1)
}
