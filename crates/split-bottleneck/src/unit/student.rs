use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::conv::convolve;
use super::light::Gdn;
use super::size::product;
use super::{ActivationShape, UnitConfig};
use crate::error::ConfigError;

/// Device side of Entropic Student (Matsubara et al. 2022): three convolutions of the picture itself, in the
/// place of the network's first layers.
#[derive(Module, Debug)]
pub struct StudentEncoder {
    conv1: Conv2d,
    gdn1: Gdn,
    conv2: Conv2d,
    gdn2: Gdn,
    conv3: Conv2d,
}

/// Edge side of Entropic Student: three convolutions from the latent to the activation that the first layers
/// would have given.
#[derive(Module, Debug)]
pub struct StudentDecoder {
    conv1: Conv2d,
    gdn1: Gdn,
    conv2: Conv2d,
    gdn2: Gdn,
    conv3: Conv2d,
}

/// Sizes of a [`StudentEncoder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StudentLayers {
    /// What the encoder gets.
    pub picture: ActivationShape,
    /// Channels after the first and the second convolution.
    pub hidden: [usize; 2],
    /// Strides of the two; together the unit's.
    pub strides: [usize; 2],
}

impl StudentEncoder {
    pub(super) fn init(config: &UnitConfig, layers: StudentLayers, device: &Device) -> Self {
        let [first, second] = layers.hidden;
        let [outer, inner] = layers.strides;
        Self {
            conv1: square([layers.picture.channels, first], [5, outer, 2], device),
            gdn1: Gdn::init(first, false, device),
            conv2: square([first, second], [5, inner, 2], device),
            gdn2: Gdn::init(second, false, device),
            conv3: square([second, config.latent_channels], [2, 1, 0], device),
        }
    }

    pub(super) fn forward(&self, picture: Tensor<4>) -> Tensor<4> {
        let x = self.gdn1.forward(convolve(&self.conv1, picture, 2));
        let x = self.gdn2.forward(convolve(&self.conv2, x, 2));
        convolve(&self.conv3, x, 0)
    }
}

impl StudentDecoder {
    pub(super) fn init(config: &UnitConfig, hidden: [usize; 2], device: &Device) -> Self {
        let [first, second] = hidden;
        Self {
            conv1: square([config.latent_channels, first], [2, 1, 1], device),
            gdn1: Gdn::init(first, true, device),
            conv2: square([first, second], [2, 1, 0], device),
            gdn2: Gdn::init(second, true, device),
            conv3: square([second, config.activation.channels], [2, 1, 1], device),
        }
    }

    pub(super) fn forward(&self, latent: Tensor<4>) -> Tensor<4> {
        let x = self.gdn1.forward(convolve(&self.conv1, latent, 1));
        let x = self.gdn2.forward(convolve(&self.conv2, x, 0));
        convolve(&self.conv3, x, 1)
    }
}

/// A convolution with a kernel of one side, a stride and a padding, without bias.
fn square(channels: [usize; 2], [side, stride, padding]: [usize; 3], device: &Device) -> Conv2d {
    Conv2dConfig::new(channels, [side, side])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(
            padding, padding, padding, padding,
        ))
        .with_bias(false)
        .init(device)
}

/// Weights of the three convolutions and two normalisations of a side, and how often each is used: once for every
/// pixel that it gives.
pub(super) struct Costs {
    /// Weights of a layer, and pixels of its output.
    layers: [(u64, u64); 3],
}

impl Costs {
    pub(super) fn weights(&self) -> u64 {
        let weights = self.layers.iter().map(|(weights, _)| *weights);
        weights.fold(0, u64::saturating_add)
    }

    pub(super) fn macs(&self) -> u64 {
        let macs = self.layers.iter();
        macs.map(|(weights, pixels)| weights.saturating_mul(*pixels))
            .fold(0, u64::saturating_add)
    }
}

/// A convolution, and a normalisation of its output where `normalised`.
fn layer(channels: [usize; 2], side: usize, normalised: bool) -> u64 {
    let [from, to] = channels;
    let gamma = if normalised { product(&[to, to]) } else { 0 };
    product(&[from, to, side, side]).saturating_add(gamma)
}

/// What the encoder takes.
pub(super) fn encoder_costs(config: &UnitConfig, layers: StudentLayers) -> Costs {
    let StudentLayers {
        picture,
        hidden: [first, second],
        strides: [outer, _],
    } = layers;
    let sides = [picture.height, picture.width];
    let [rows, columns] = sides.map(|side| side.div_ceil(outer.max(1)));
    let ActivationShape { height, width, .. } = config.activation;
    let latent = config.latent_channels;
    Costs {
        layers: [
            (
                layer([picture.channels, first], 5, true),
                product(&[rows, columns]),
            ),
            (layer([first, second], 5, true), product(&[height, width])),
            (layer([second, latent], 2, false), fewer(height, width)),
        ],
    }
}

/// What the decoder takes.
pub(super) fn decoder_costs(config: &UnitConfig, [first, second]: [usize; 2]) -> Costs {
    let ActivationShape {
        channels,
        height,
        width,
    } = config.activation;
    let all = product(&[height, width]);
    Costs {
        layers: [
            (layer([config.latent_channels, first], 2, true), all),
            (layer([first, second], 2, true), fewer(height, width)),
            (layer([second, channels], 2, false), all),
        ],
    }
}

/// Pixels where a kernel of two found no padding.
fn fewer(height: usize, width: usize) -> u64 {
    product(&[height.saturating_sub(1), width.saturating_sub(1)])
}

/// Refuses layers that don't give what the decoder needs.
pub(super) fn check(config: &UnitConfig, layers: StudentLayers) -> Result<(), ConfigError> {
    let StudentLayers {
        picture,
        hidden,
        strides,
    } = layers;
    let sizes = [
        ("picture channels", picture.channels),
        ("hidden channels", hidden[0].min(hidden[1])),
        ("stride", strides[0].min(strides[1])),
    ];
    if let Some((field, _)) = sizes.iter().find(|(_, size)| *size == 0) {
        return Err(ConfigError::Zero { field });
    }
    let stride = strides[0].saturating_mul(strides[1]);
    let ActivationShape { height, width, .. } = config.activation;
    let fits = |side: usize, picture: usize| side >= 2 && side.checked_mul(stride) == Some(picture);
    if fits(height, picture.height) && fits(width, picture.width) && config.stride == stride {
        return Ok(());
    }
    Err(ConfigError::Picture {
        picture: [picture.height, picture.width],
        stride,
        activation: [height, width],
    })
}
