use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor};

use super::UnitConfig;
use super::conv::convolve;
use crate::ops::{ConvTransposeSpec, batch_norm_relu, conv_transpose2d};

/// Device side as released (arXiv 2208.11596; field names are those of the checkpoints).
#[derive(Module, Debug)]
pub struct PaperEncoder {
    conv2_2: Conv2d,
    bn2_1: BatchNorm,
    conv2_3: Conv2d,
    bn3_1: BatchNorm,
    #[module(skip)]
    padding: usize,
}

impl PaperEncoder {
    pub(super) fn init(config: &UnitConfig, padding: usize, device: &Device) -> Self {
        let channels = config.activation.channels;
        let latent = config.latent_channels;
        Self {
            conv2_2: Conv2dConfig::new([channels, channels], [3, 3])
                .with_stride([config.stride, config.stride])
                .with_groups(channels)
                .with_padding(PaddingConfig2d::Explicit(
                    padding, padding, padding, padding,
                ))
                .with_bias(false)
                .init(device),
            bn2_1: BatchNormConfig::new(channels).init(device),
            conv2_3: Conv2dConfig::new([channels, latent], [1, 1])
                .with_bias(false)
                .init(device),
            bn3_1: BatchNormConfig::new(latent).init(device),
            padding,
        }
    }

    pub(super) fn forward(&self, activation: Tensor<4>) -> Tensor<4> {
        let x = convolve(&self.conv2_2, activation, self.padding);
        let x = batch_norm_relu(&self.bn2_1, x, None);
        batch_norm_relu(&self.bn3_1, convolve(&self.conv2_3, x, 0), None)
    }
}

/// Edge side as released.
#[derive(Module, Debug)]
pub struct PaperDecoder {
    conv2_4: ConvTranspose2d,
    bn4_1: BatchNorm,
    conv2_5: ConvTranspose2d,
    bn5_1: BatchNorm,
}

impl PaperDecoder {
    pub(super) fn init(
        config: &UnitConfig,
        kernel: usize,
        padding: usize,
        output_padding: [usize; 2],
        device: &Device,
    ) -> Self {
        let channels = config.activation.channels;
        Self {
            conv2_4: ConvTranspose2dConfig::new([config.latent_channels, channels], [1, 1])
                .with_bias(false)
                .init(device),
            bn4_1: BatchNormConfig::new(channels).init(device),
            conv2_5: ConvTranspose2dConfig::new([channels, channels], [kernel, kernel])
                .with_stride([config.stride, config.stride])
                .with_padding([padding, padding])
                .with_padding_out(output_padding)
                .with_groups(channels)
                .with_bias(false)
                .init(device),
            bn5_1: BatchNormConfig::new(channels).init(device),
        }
    }

    pub(super) fn forward(&self, latent: Tensor<4>) -> Tensor<4> {
        let x = batch_norm_relu(&self.bn4_1, transpose(&self.conv2_4, latent), None);
        batch_norm_relu(&self.bn5_1, transpose(&self.conv2_5, x), None)
    }
}

/// The layer through this crate's transposed convolution where rows and columns are padded
/// alike, else through Burn's.
pub(super) fn transpose(layer: &ConvTranspose2d, x: Tensor<4>) -> Tensor<4> {
    let [rows, columns] = layer.padding_out;
    if rows != columns {
        return layer.forward(x);
    }
    let spec = ConvTransposeSpec {
        stride: layer.stride[0],
        padding: layer.padding[0],
        padding_out: rows,
        groups: layer.groups,
    };
    conv_transpose2d(x, layer.weight.val(), None, spec)
}
