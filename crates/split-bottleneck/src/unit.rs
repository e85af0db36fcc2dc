use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};
use split_tensor::LatentShape;

use crate::error::ConfigError;
use crate::state::redraw;

mod conv;
mod paper;

pub use conv::{ConvDecoder, ConvEncoder};
pub use paper::{PaperDecoder, PaperEncoder};

/// Shape of the activation at the split point, for one picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivationShape {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ActivationShape {
    /// Values of one activation.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether the activation has no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Layout of the unit encoder (device side).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncoderKind {
    /// Depthwise 3x3 with the stride, BN, ReLU, 1x1, BN, ReLU: symbols are never negative
    /// (arXiv 2208.11596, as released).
    Paper {
        /// Zero padding of the depthwise convolution.
        padding: usize,
    },
    /// 3x3 with the stride to `hidden` channels, BN, ReLU, 3x3 to the latent: signed symbols.
    Conv {
        /// Channels between the two convolutions.
        hidden: usize,
    },
}

/// Layout of the unit decoder (edge side).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecoderKind {
    /// Transposed 1x1, BN, ReLU, depthwise transposed k x k with the stride, BN, ReLU.
    Paper {
        /// Kernel of the depthwise transposed convolution.
        kernel: usize,
        /// Its padding.
        padding: usize,
        /// Rows and columns added at the end (PyTorch's `output_padding`).
        output_padding: [usize; 2],
    },
    /// 3x3 to `hidden`, residual blocks at the latent's size, 1x1 and a pixel shuffle back to
    /// the activation's size, ReLU.
    Conv {
        /// Channels of the residual blocks.
        hidden: usize,
        /// Number of residual blocks.
        blocks: usize,
    },
}

/// A bottleneck unit before its weights exist.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitConfig {
    /// What the unit gets and gives back.
    pub activation: ActivationShape,
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Spatial stride of the unit encoder.
    pub stride: usize,
    /// Quantizer step: symbol = round(latent / step), halves to even.
    pub step: f32,
    /// Device side.
    pub encoder: EncoderKind,
    /// Edge side.
    pub decoder: DecoderKind,
}

impl UnitConfig {
    /// The released layout with the output padded so that the activation's size comes back.
    #[must_use]
    pub fn paper(
        activation: ActivationShape,
        latent_channels: usize,
        stride: usize,
        step: f32,
    ) -> Self {
        // A kernel smaller than the stride would leave holes between its outputs.
        let kernel = if stride <= 2 { 3 } else { stride + 1 };
        let padding = 1;
        let rest = |size: usize| {
            let latent = (size + 2).saturating_sub(3) / stride.max(1) + 1;
            size.saturating_sub((latent - 1) * stride + kernel - 2 * padding)
        };
        Self {
            activation,
            latent_channels,
            stride,
            step,
            encoder: EncoderKind::Paper { padding: 1 },
            decoder: DecoderKind::Paper {
                kernel,
                padding,
                output_padding: [rest(activation.height), rest(activation.width)],
            },
        }
    }

    /// Two 3x3 convolutions on the device, a residual decoder on the edge, signed symbols.
    #[must_use]
    pub fn conv(
        activation: ActivationShape,
        latent_channels: usize,
        stride: usize,
        step: f32,
    ) -> Self {
        let hidden = (activation.channels * 3 / 2).max(latent_channels);
        Self {
            activation,
            latent_channels,
            stride,
            step,
            encoder: EncoderKind::Conv { hidden },
            decoder: DecoderKind::Conv {
                hidden: (3 * activation.channels).clamp(48, 128),
                blocks: 1,
            },
        }
    }

    /// Shape of the latent of one picture.
    ///
    /// # Errors
    ///
    /// When a size is zero, the step is not positive, the stride does not fit, or the latent
    /// is larger than a frame may hold.
    pub fn latent_shape(&self) -> Result<LatentShape, ConfigError> {
        self.check()?;
        let [height, width] = self.latent_size();
        Ok(LatentShape::new(self.latent_channels, height, width)?)
    }

    /// Draws the weights from `rng` and puts the unit on `device`.
    ///
    /// # Errors
    ///
    /// As [`latent_shape`](Self::latent_shape).
    pub fn init(&self, device: &Device, rng: &mut Pcg64) -> Result<Unit, ConfigError> {
        self.latent_shape()?;
        let encoder = match self.encoder {
            EncoderKind::Paper { padding } => {
                UnitEncoder::Paper(PaperEncoder::init(self, padding, device))
            }
            EncoderKind::Conv { hidden } => {
                UnitEncoder::Conv(ConvEncoder::init(self, hidden, device))
            }
        };
        let decoder = match self.decoder {
            DecoderKind::Paper {
                kernel,
                padding,
                output_padding,
            } => UnitDecoder::Paper(PaperDecoder::init(
                self,
                kernel,
                padding,
                output_padding,
                device,
            )),
            DecoderKind::Conv { hidden, blocks } => {
                UnitDecoder::Conv(ConvDecoder::init(self, hidden, blocks, device))
            }
        };
        Ok(redraw(Unit { encoder, decoder }, rng))
    }

    /// Multiply-accumulates of the unit encoder for one picture.
    #[must_use]
    pub fn encoder_macs(&self) -> usize {
        let ActivationShape { channels, .. } = self.activation;
        let pixels = self.latent_size().iter().product::<usize>();
        match self.encoder {
            EncoderKind::Paper { .. } => pixels * channels * (9 + self.latent_channels),
            EncoderKind::Conv { hidden } => pixels * 9 * hidden * (channels + self.latent_channels),
        }
    }

    /// Multiply-accumulates of the unit decoder for one picture.
    #[must_use]
    pub fn decoder_macs(&self) -> usize {
        let ActivationShape { channels, .. } = self.activation;
        let pixels = self.latent_size().iter().product::<usize>();
        match self.decoder {
            DecoderKind::Paper { kernel, .. } => {
                pixels * channels * (self.latent_channels + kernel * kernel)
            }
            DecoderKind::Conv { hidden, blocks } => {
                let body = 9 * hidden * (self.latent_channels + 2 * blocks * hidden);
                pixels * (body + hidden * channels * self.stride * self.stride)
            }
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let ActivationShape {
            channels,
            height,
            width,
        } = self.activation;
        let sizes = [
            ("activation channels", channels),
            ("activation height", height),
            ("activation width", width),
            ("latent channels", self.latent_channels),
            ("stride", self.stride),
        ];
        if let Some((field, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(ConfigError::Zero { field });
        }
        if !(self.step.is_finite() && self.step > 0.0) {
            return Err(ConfigError::Step { found: self.step });
        }
        let padded = match self.encoder {
            EncoderKind::Paper { padding } => 2 * padding,
            EncoderKind::Conv { .. } => 2,
        };
        // The pixel shuffle of the conv decoder gives back multiples of the stride only.
        let uneven = matches!(self.decoder, DecoderKind::Conv { .. })
            && !(height.is_multiple_of(self.stride) && width.is_multiple_of(self.stride));
        if height + padded < 3 || width + padded < 3 || uneven {
            return Err(ConfigError::Stride {
                stride: self.stride,
                height,
                width,
            });
        }
        Ok(())
    }

    fn latent_size(&self) -> [usize; 2] {
        let padding = match self.encoder {
            EncoderKind::Paper { padding } => padding,
            EncoderKind::Conv { .. } => 1,
        };
        [self.activation.height, self.activation.width]
            .map(|size| (size + 2 * padding - 3) / self.stride + 1)
    }
}

/// The trained pair at the split point.
#[derive(Module, Debug)]
pub struct Unit {
    /// Device side.
    pub encoder: UnitEncoder,
    /// Edge side.
    pub decoder: UnitDecoder,
}

/// Device side of a unit.
#[derive(Module, Debug)]
pub enum UnitEncoder {
    /// As released.
    Paper(PaperEncoder),
    /// Two full convolutions.
    Conv(ConvEncoder),
}

impl UnitEncoder {
    /// Activation to latent, before quantizing.
    ///
    /// # Shapes
    ///
    /// - `activation`: `[n, channels, height, width]`
    /// - output: `[n, latent channels, height', width']`
    #[must_use]
    pub fn forward(&self, activation: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Paper(encoder) => encoder.forward(activation),
            Self::Conv(encoder) => encoder.forward(activation),
        }
    }
}

/// Edge side of a unit.
#[derive(Module, Debug)]
pub enum UnitDecoder {
    /// As released.
    Paper(PaperDecoder),
    /// Residual blocks and a pixel shuffle.
    Conv(ConvDecoder),
}

impl UnitDecoder {
    /// Dequantized latent to restored activation.
    ///
    /// # Shapes
    ///
    /// - `latent`: `[n, latent channels, height', width']`
    /// - output: `[n, channels, height, width]`
    #[must_use]
    pub fn forward(&self, latent: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Paper(decoder) => decoder.forward(latent),
            Self::Conv(decoder) => decoder.forward(latent),
        }
    }
}
