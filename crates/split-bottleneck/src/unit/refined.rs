use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};

use super::UnitConfig;
use super::attention::Attention;
use super::conv::{ResidualBlock, conv3x3, convolve, pixel_shuffle};
use super::light::Gdn;
use super::patch::{PatchEncoder, linear, patch_map};
use crate::ops::{batch_norm, batch_norm_relu};

/// A linear map of each patch, plus what two 3x3 convolutions add to it.
///
/// The added part starts at zero, so that an encoder whose map is a KLT begins where the KLT is.
#[derive(Module, Debug)]
pub struct RefinedEncoder {
    straight: PatchEncoder,
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    /// Strength of the added part, `[latent channels]`.
    gain: Param<Tensor<1>>,
}

impl RefinedEncoder {
    pub(super) fn init(config: &UnitConfig, hidden: usize, device: &Device) -> Self {
        let latent = config.latent_channels;
        let channels = config.activation.channels;
        Self {
            straight: PatchEncoder::init(config, device),
            conv1: conv3x3([channels, hidden], config.stride, device),
            bn1: BatchNormConfig::new(hidden).init(device),
            conv2: conv3x3([hidden, latent], 1, device),
            gain: zeros(latent, device),
        }
    }

    pub(super) fn forward(&self, activation: Tensor<4>) -> Tensor<4> {
        let x = convolve(&self.conv1, activation.clone(), 1);
        let x = batch_norm_relu(&self.bn1, x, None);
        let added = scaled(convolve(&self.conv2, x, 1), &self.gain);
        self.straight.forward(activation) + added
    }
}

/// A linear map of each latent pixel to its patch, plus what residual blocks add to it.
///
/// The added part starts at zero, so that a decoder whose map is a KLT begins where the KLT is.
#[derive(Module, Debug)]
pub struct RefinedDecoder {
    pub(crate) map: Conv2d,
    conv1: Conv2d,
    bn1: BatchNorm,
    gdn: Option<Gdn>,
    blocks: Vec<ResidualBlock>,
    attention: Option<Attention>,
    up: Conv2d,
    /// Strength of the added part, `[patch]`.
    gain: Param<Tensor<1>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    rectified: bool,
}

/// Sizes of a [`RefinedDecoder`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Refinement {
    pub(super) hidden: usize,
    pub(super) blocks: usize,
    pub(super) gdn: bool,
    /// Heads of the attention behind the blocks; 0 for none.
    pub(super) heads: usize,
    pub(super) rectified: bool,
}

impl RefinedDecoder {
    pub(super) fn init(config: &UnitConfig, sizes: Refinement, device: &Device) -> Self {
        let Refinement {
            hidden,
            blocks,
            gdn,
            heads,
            rectified,
        } = sizes;
        let patch = config.activation.channels * config.stride * config.stride;
        Self {
            map: patch_map(config, device),
            conv1: conv3x3([config.latent_channels, hidden], 1, device),
            bn1: BatchNormConfig::new(hidden).init(device),
            gdn: gdn.then(|| Gdn::init(hidden, true, device)),
            blocks: (0..blocks)
                .map(|_| ResidualBlock::init(hidden, device))
                .collect(),
            attention: (heads > 0).then(|| Attention::init(hidden, heads, device)),
            up: Conv2dConfig::new([hidden, patch], [1, 1])
                .with_bias(false)
                .init(device),
            gain: zeros(patch, device),
            stride: config.stride,
            rectified,
        }
    }

    pub(super) fn forward(&self, latent: Tensor<4>) -> Tensor<4> {
        let straight = linear(&self.map, latent.clone());
        let x = convolve(&self.conv1, latent, 1);
        let mut x = match &self.gdn {
            Some(gdn) => gdn.forward(batch_norm(&self.bn1, x)),
            None => batch_norm_relu(&self.bn1, x, None),
        };
        for block in &self.blocks {
            x = block.forward(x);
        }
        if let Some(attention) = &self.attention {
            x = attention.forward(x);
        }
        let added = scaled(convolve(&self.up, x, 0), &self.gain);
        let patches = straight + added;
        let patches = if self.rectified {
            relu(patches)
        } else {
            patches
        };
        pixel_shuffle(patches, self.stride)
    }
}

pub(super) fn zeros(channels: usize, device: &Device) -> Param<Tensor<1>> {
    let data = TensorData::new(vec![0.0_f32; channels], [channels]);
    Param::from_data(data, device)
}

pub(super) fn scaled(x: Tensor<4>, gain: &Param<Tensor<1>>) -> Tensor<4> {
    let [channels] = gain.val().dims();
    x * gain.val().reshape([1, channels, 1, 1])
}
