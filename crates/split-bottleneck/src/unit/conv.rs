use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor};

use super::UnitConfig;
use crate::ops::{batch_norm, batch_norm_relu, conv2d};

/// Two 3x3 convolutions; the last has no activation, so symbols are signed.
#[derive(Module, Debug)]
pub struct ConvEncoder {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
}

impl ConvEncoder {
    pub(super) fn init(config: &UnitConfig, hidden: usize, device: &Device) -> Self {
        Self {
            conv1: conv3x3([config.activation.channels, hidden], config.stride, device),
            bn1: BatchNormConfig::new(hidden).init(device),
            conv2: conv3x3([hidden, config.latent_channels], 1, device),
            bn2: BatchNormConfig::new(config.latent_channels).init(device),
        }
    }

    pub(super) fn forward(&self, activation: Tensor<4>) -> Tensor<4> {
        let x = batch_norm_relu(&self.bn1, convolve(&self.conv1, activation, 1), None);
        batch_norm(&self.bn2, convolve(&self.conv2, x, 1))
    }
}

/// Residual blocks at the latent's size, then a 1x1 convolution and a pixel shuffle.
#[derive(Module, Debug)]
pub struct ConvDecoder {
    conv1: Conv2d,
    bn1: BatchNorm,
    blocks: Vec<ResidualBlock>,
    up: Conv2d,
    bn_up: BatchNorm,
    #[module(skip)]
    stride: usize,
}

/// Two 3x3 convolutions around a shortcut.
#[derive(Module, Debug)]
pub struct ResidualBlock {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
}

impl ConvDecoder {
    pub(super) fn init(config: &UnitConfig, hidden: usize, blocks: usize, device: &Device) -> Self {
        let stride = config.stride;
        let up = config.activation.channels * stride * stride;
        Self {
            conv1: conv3x3([config.latent_channels, hidden], 1, device),
            bn1: BatchNormConfig::new(hidden).init(device),
            blocks: (0..blocks)
                .map(|_| ResidualBlock::init(hidden, device))
                .collect(),
            up: Conv2dConfig::new([hidden, up], [1, 1])
                .with_bias(false)
                .init(device),
            bn_up: BatchNormConfig::new(up).init(device),
            stride,
        }
    }

    pub(super) fn forward(&self, latent: Tensor<4>) -> Tensor<4> {
        let mut x = batch_norm_relu(&self.bn1, convolve(&self.conv1, latent, 1), None);
        for block in &self.blocks {
            x = block.forward(x);
        }
        // The shuffle only moves values, so the ReLU may come before it.
        let x = batch_norm_relu(&self.bn_up, convolve(&self.up, x, 0), None);
        pixel_shuffle(x, self.stride)
    }
}

impl ResidualBlock {
    pub(super) fn init(channels: usize, device: &Device) -> Self {
        Self {
            conv1: conv3x3([channels, channels], 1, device),
            bn1: BatchNormConfig::new(channels).init(device),
            conv2: conv3x3([channels, channels], 1, device),
            bn2: BatchNormConfig::new(channels).init(device),
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = batch_norm_relu(&self.bn1, convolve(&self.conv1, x.clone(), 1), None);
        batch_norm_relu(&self.bn2, convolve(&self.conv2, y, 1), Some(x))
    }
}

pub(crate) fn conv3x3(channels: [usize; 2], stride: usize, device: &Device) -> Conv2d {
    Conv2dConfig::new(channels, [3, 3])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .with_bias(false)
        .init(device)
}

/// The layer through this crate's convolution, which is faster than Burn's on flex.
pub(crate) fn convolve(layer: &Conv2d, x: Tensor<4>, padding: usize) -> Tensor<4> {
    let [stride, _] = layer.stride;
    conv2d(x, layer.weight.val(), None, stride, padding, layer.groups)
}

/// `[n, c * s * s, h, w]` to `[n, c, h * s, w * s]`.
pub(crate) fn pixel_shuffle(x: Tensor<4>, stride: usize) -> Tensor<4> {
    if stride == 1 {
        return x;
    }
    let [n, channels, height, width] = x.dims();
    let channels = channels / (stride * stride);
    x.reshape([n, channels, stride, stride, height, width])
        .permute([0, 1, 4, 2, 5, 3])
        .reshape([n, channels, height * stride, width * stride])
}
