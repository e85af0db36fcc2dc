use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};
use split_tensor::{LatentShape, Quantizer, QuantizerError};

use crate::cache::ActivationCache;
use crate::error::ConfigError;
use crate::split::Batch;
use crate::state::redraw;

mod attention;
mod bottlenet;
mod conv;
mod light;
mod memory;
mod paper;
mod patch;
mod refined;
mod released;
mod scales;
mod size;
mod student;

pub use self::scales::{MAX_SCALES, Scale, ScaleCountError, ScaleList, ScalesEncoder};
pub use self::size::{MAX_ACTIVATION_VALUES, MAX_UNIT_PARAMETERS};
pub use bottlenet::{BottleNetDecoder, BottleNetEncoder};
pub use conv::{ConvDecoder, ConvEncoder, ResidualBlock};
pub(crate) use conv::{conv3x3, convolve, pixel_shuffle};
pub use light::{Gdn, LightEncoder};
pub use paper::{PaperDecoder, PaperEncoder};
pub use patch::{PatchDecoder, PatchEncoder};
pub use refined::{RefinedDecoder, RefinedEncoder};
pub use released::{
    MAX_RELEASED_BYTES, MisshapenTensor, ReleasedError, ReleasedPlace, ReleasedTask, ReleasedUnit,
};
pub use student::{StudentDecoder, StudentEncoder, StudentLayers};

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

    /// Bytes as uncoded 32-bit floats.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let sides = [self.channels, self.height, self.width];
        let values = sides.into_iter().fold(1_u64, |product, side| {
            product.saturating_mul(u64::try_from(side).unwrap_or(u64::MAX))
        });
        values.saturating_mul(4)
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
#[non_exhaustive]
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
    /// One linear map of patches of the stride's size, as a KLT is: signed symbols.
    Patch,
    /// Grouped 3x3 with the stride to `hidden` channels, BN, ReLU or divisive normalisation, 1x1
    /// to the latent: signed symbols for a fraction of the work of `Conv`.
    Light {
        /// Channels between the two convolutions, a multiple of `groups`.
        hidden: usize,
        /// Groups of the 3x3 convolution, a divisor of the activation's channels.
        groups: usize,
        /// Divisive normalisation in the place of the ReLU.
        gdn: bool,
    },
    /// `Patch` plus what 3x3 with the stride to `hidden`, BN, ReLU and 3x3 add to it, from zero:
    /// signed symbols.
    Refined {
        /// Channels between the two convolutions.
        hidden: usize,
    },
    /// One linear map for each of several tensors that cross the cut together, at a stride of 1: signed
    /// symbols in a segment for each tensor.
    Scales {
        /// The tensors.
        list: ScaleList,
    },
    /// 3x3 with the stride to the latent, BN, sigmoid: values between 0 and 1 (BottleNet++, Shao and Zhang
    /// 2020).
    BottleNet,
    /// 5x5 twice, each with a stride and divisive normalisation, and 2x2 to the latent, of the picture in the place of
    /// the activation: signed symbols (Entropic Student, Matsubara et al. 2022).
    Student {
        /// Its sizes.
        layers: StudentLayers,
    },
}

/// Layout of the unit decoder (edge side).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
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
    /// One linear map of each latent pixel to its patch.
    Patch {
        /// Whether activations are never negative, so that a ReLU follows.
        rectified: bool,
    },
    /// `Patch` plus what 3x3 to `hidden`, residual blocks and 1x1 add to it, from zero.
    Refined {
        /// Channels of the residual blocks.
        hidden: usize,
        /// Number of residual blocks.
        blocks: usize,
        /// Inverse divisive normalisation in the place of the first ReLU.
        gdn: bool,
        /// Whether activations are never negative, so that a ReLU follows.
        rectified: bool,
    },
    /// `Refined` with attention between all pixels of the latent's grid behind its blocks.
    Attentive {
        /// Channels of the residual blocks, a multiple of `heads`.
        hidden: usize,
        /// Number of residual blocks.
        blocks: usize,
        /// Heads of the attention.
        heads: usize,
        /// Whether activations are never negative, so that a ReLU follows.
        rectified: bool,
    },
    /// Transposed 3x3 with the stride, BN, ReLU (BottleNet++).
    BottleNet {
        /// Rows and columns added at the end (PyTorch's `output_padding`).
        output_padding: [usize; 2],
    },
    /// 2x2 three times, with inverse divisive normalisation between them (Entropic Student).
    Student {
        /// Channels after the first and the second.
        hidden: [usize; 2],
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
    /// Factor of the step for each latent channel; empty where all are 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub step_factors: Vec<f32>,
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
        let rest = |size: usize| missing(size, stride, kernel);
        Self {
            activation,
            latent_channels,
            stride,
            step,
            step_factors: Vec::new(),
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
            step_factors: Vec::new(),
            encoder: EncoderKind::Conv { hidden },
            decoder: DecoderKind::Conv {
                hidden: (3 * activation.channels).clamp(48, 128),
                blocks: 1,
            },
        }
    }

    /// A linear map of patches on both sides: the form of a KLT, whose weights
    /// [`Klt`](crate::Klt) brings.
    #[must_use]
    pub fn patch(
        activation: ActivationShape,
        latent_channels: usize,
        stride: usize,
        step: f32,
    ) -> Self {
        Self {
            encoder: EncoderKind::Patch,
            decoder: DecoderKind::Patch { rectified: true },
            ..Self::conv(activation, latent_channels, stride, step)
        }
    }

    /// A light encoder (grouped 3x3, 1x1) and a heavy decoder (linear map plus `blocks`
    /// residual blocks): little work on the device, much on the edge.
    #[must_use]
    pub fn light(
        activation: ActivationShape,
        latent_channels: usize,
        stride: usize,
        step: f32,
        blocks: usize,
    ) -> Self {
        let channels = activation.channels;
        Self {
            encoder: EncoderKind::Light {
                hidden: 2 * channels,
                groups: largest_divisor(channels, 4),
                gdn: false,
            },
            decoder: DecoderKind::Refined {
                hidden: (3 * channels).clamp(48, 128),
                blocks,
                gdn: false,
                rectified: true,
            },
            ..Self::conv(activation, latent_channels, stride, step)
        }
    }

    /// A linear map of patches with residual convolutions on both sides, `blocks` of them at the edge:
    /// starts as a KLT, whose weights [`Klt`](crate::Klt) brings, and ends as good as it learns to be.
    #[must_use]
    pub fn refined(
        activation: ActivationShape,
        latent_channels: usize,
        stride: usize,
        step: f32,
        blocks: usize,
    ) -> Self {
        Self {
            encoder: EncoderKind::Refined {
                hidden: (3 * activation.channels).div_ceil(4),
            },
            ..Self::light(activation, latent_channels, stride, step, blocks)
        }
    }

    /// [`refined`](Self::refined) with attention of four heads at the edge. What it costs there grows with the
    /// square of the latent's pixels.
    #[must_use]
    pub fn attentive(
        activation: ActivationShape,
        latent_channels: usize,
        stride: usize,
        step: f32,
        blocks: usize,
    ) -> Self {
        Self {
            decoder: DecoderKind::Attentive {
                hidden: (3 * activation.channels).clamp(48, 128).next_multiple_of(4),
                blocks,
                heads: 4,
                rectified: true,
            },
            ..Self::refined(activation, latent_channels, stride, step, blocks)
        }
    }

    /// The layout of BottleNet++ (Shao and Zhang 2020): one convolution and a sigmoid on the device, one
    /// transposed convolution on the edge. Its values are sent as integers of eight bits
    /// ([`Rung::integers`](crate::Rung::integers)), which is the step here. A stride above 2 leaves holes.
    #[must_use]
    pub fn bottlenet(activation: ActivationShape, latent_channels: usize, stride: usize) -> Self {
        let sides = [activation.height, activation.width];
        let output_padding = sides.map(|size| missing(size, stride, 3));
        Self {
            encoder: EncoderKind::BottleNet,
            decoder: DecoderKind::BottleNet { output_padding },
            ..Self::conv(activation, latent_channels, stride, 1.0 / 255.0)
        }
    }

    /// The layout of Entropic Student (Matsubara et al. 2022) for this picture, with the paper's proportions: an encoder
    /// that takes the place of head and unit encoder, and a decoder that gives the activation of the cut.
    /// Caches for it keep pictures ([`ActivationCache::build_with_pictures`](crate::ActivationCache::build_with_pictures)).
    #[must_use]
    pub fn student(
        activation: ActivationShape,
        picture: ActivationShape,
        latent_channels: usize,
        step: f32,
    ) -> Self {
        let stride = picture.height / activation.height.max(1);
        let strides = match stride {
            stride if stride > 2 && stride.is_multiple_of(2) => [stride / 2, 2],
            stride => [stride, 1],
        };
        Self {
            encoder: EncoderKind::Student {
                layers: StudentLayers {
                    picture,
                    hidden: [4 * latent_channels, 2 * latent_channels],
                    strides,
                },
            },
            decoder: DecoderKind::Student {
                hidden: [2 * activation.channels, activation.channels],
            },
            ..Self::conv(activation, latent_channels, stride, step)
        }
    }

    /// What the unit encoder gets: the activation, or the picture.
    #[must_use]
    pub fn encoder_input(&self) -> ActivationShape {
        match self.encoder {
            EncoderKind::Student { layers } => layers.picture,
            _ => self.activation,
        }
    }

    /// Whether the unit encoder gets the picture, so that no head runs before it.
    #[must_use]
    pub fn takes_pictures(&self) -> bool {
        matches!(self.encoder, EncoderKind::Student { .. })
    }

    /// Refuses a cache without the pictures that the encoder takes.
    pub(crate) fn check_cache(&self, cache: &ActivationCache) -> Result<(), ConfigError> {
        let (expected, found) = (self.encoder_input(), cache.picture_shape());
        if !self.takes_pictures() || found == Some(expected) {
            return Ok(());
        }
        let sides = |shape: ActivationShape| [shape.channels, shape.height, shape.width];
        Err(ConfigError::Pictures {
            expected: sides(expected),
            found: found.map(sides),
        })
    }

    /// What the unit encoder gets of a batch.
    pub(crate) fn input(&self, batch: &Batch) -> Tensor<4> {
        let pictures = batch.pictures.as_ref().filter(|_| self.takes_pictures());
        pictures.unwrap_or(&batch.activation).clone()
    }

    /// The quantizer of the latent: one step, or one for each channel.
    ///
    /// # Errors
    ///
    /// When the step or a factor is not positive, or factors and channels differ in number.
    pub fn quantizer(&self) -> Result<Quantizer, ConfigError> {
        self.check()?;
        let found = self.step;
        let refused = |_: QuantizerError| ConfigError::Step { found };
        if self.step_factors.is_empty() {
            return Quantizer::uniform(self.step).map_err(refused);
        }
        Quantizer::per_channel(self.channel_steps()).map_err(refused)
    }

    /// The step of each latent channel.
    #[must_use]
    pub fn channel_steps(&self) -> Vec<f32> {
        if self.step_factors.is_empty() {
            return vec![self.step; self.latent_channels];
        }
        let factors = self.step_factors.iter();
        factors.map(|factor| self.step * factor).collect()
    }

    /// Latent to units of the steps, before rounding.
    pub(crate) fn divided(&self, latent: Tensor<4>) -> Tensor<4> {
        if self.step_factors.is_empty() {
            return latent.div_scalar(self.step);
        }
        let steps = self.step_tensor(&latent.device());
        latent / steps
    }

    /// Units of the steps back to the latent.
    pub(crate) fn multiplied(&self, symbols: Tensor<4>) -> Tensor<4> {
        if self.step_factors.is_empty() {
            return symbols.mul_scalar(self.step);
        }
        let steps = self.step_tensor(&symbols.device());
        symbols * steps
    }

    fn step_tensor(&self, device: &Device) -> Tensor<4> {
        let steps = TensorData::new(self.channel_steps(), [1, self.latent_channels, 1, 1]);
        Tensor::from_data(steps, device)
    }

    /// Whether symbols are never negative.
    pub(crate) fn is_rectified(&self) -> bool {
        matches!(
            self.encoder,
            EncoderKind::Paper { .. } | EncoderKind::BottleNet
        )
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
        let unit = Unit {
            encoder: self.init_encoder(device),
            decoder: self.init_decoder(device),
        };
        Ok(redraw(unit, rng))
    }

    fn init_encoder(&self, device: &Device) -> UnitEncoder {
        match self.encoder {
            EncoderKind::Paper { padding } => {
                UnitEncoder::Paper(PaperEncoder::init(self, padding, device))
            }
            EncoderKind::Conv { hidden } => {
                UnitEncoder::Conv(ConvEncoder::init(self, hidden, device))
            }
            EncoderKind::Patch => UnitEncoder::Patch(PatchEncoder::init(self, device)),
            EncoderKind::Light {
                hidden,
                groups,
                gdn,
            } => UnitEncoder::Light(LightEncoder::init(self, hidden, groups, gdn, device)),
            EncoderKind::Refined { hidden } => {
                UnitEncoder::Refined(RefinedEncoder::init(self, hidden, device))
            }
            EncoderKind::Scales { list } => UnitEncoder::Scales(ScalesEncoder::init(&list, device)),
            EncoderKind::BottleNet => UnitEncoder::BottleNet(BottleNetEncoder::init(self, device)),
            EncoderKind::Student { layers } => {
                UnitEncoder::Student(StudentEncoder::init(self, layers, device))
            }
        }
    }

    fn init_decoder(&self, device: &Device) -> UnitDecoder {
        match self.decoder {
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
            DecoderKind::Patch { rectified } => {
                UnitDecoder::Patch(PatchDecoder::init(self, rectified, device))
            }
            DecoderKind::Refined {
                hidden,
                blocks,
                gdn,
                rectified,
            } => {
                let sizes = refined::Refinement {
                    hidden,
                    blocks,
                    gdn,
                    heads: 0,
                    rectified,
                };
                UnitDecoder::Refined(RefinedDecoder::init(self, sizes, device))
            }
            DecoderKind::Attentive {
                hidden,
                blocks,
                heads,
                rectified,
            } => {
                let sizes = refined::Refinement {
                    hidden,
                    blocks,
                    gdn: false,
                    heads,
                    rectified,
                };
                UnitDecoder::Refined(RefinedDecoder::init(self, sizes, device))
            }
            DecoderKind::BottleNet { output_padding } => {
                UnitDecoder::BottleNet(BottleNetDecoder::init(self, output_padding, device))
            }
            DecoderKind::Student { hidden } => {
                UnitDecoder::Student(StudentDecoder::init(self, hidden, device))
            }
        }
    }
}

/// Rows or columns that a transposed convolution of a padding of 1 leaves out of `size`.
fn missing(size: usize, stride: usize, kernel: usize) -> usize {
    let latent = (size + 2).saturating_sub(3) / stride.max(1) + 1;
    size.saturating_sub((latent - 1) * stride + kernel - 2)
}

/// The largest divisor of `count` that is at most `limit`, at least 1.
fn largest_divisor(count: usize, limit: usize) -> usize {
    let divisors = (1..=limit).rev();
    divisors
        .into_iter()
        .find(|divisor| count.is_multiple_of(*divisor))
        .unwrap_or(1)
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
#[non_exhaustive]
pub enum UnitEncoder {
    /// As released.
    Paper(PaperEncoder),
    /// Two full convolutions.
    Conv(ConvEncoder),
    /// A linear map of patches.
    Patch(PatchEncoder),
    /// A grouped and a 1x1 convolution.
    Light(LightEncoder),
    /// A linear map of patches and convolutions that add to it.
    Refined(RefinedEncoder),
    /// A linear map for each of several tensors.
    Scales(ScalesEncoder),
    /// One convolution and a sigmoid.
    BottleNet(BottleNetEncoder),
    /// Three convolutions of the picture.
    Student(StudentEncoder),
}

impl UnitEncoder {
    /// Activation to latent, before quantizing.
    ///
    /// # Shapes
    ///
    /// - `activation`: `[n, channels, height, width]`, of [`UnitConfig::encoder_input`]
    /// - output: `[n, latent channels, height', width']`
    #[must_use]
    pub fn forward(&self, activation: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Paper(encoder) => encoder.forward(activation),
            Self::Conv(encoder) => encoder.forward(activation),
            Self::Patch(encoder) => encoder.forward(activation),
            Self::Light(encoder) => encoder.forward(activation),
            Self::Refined(encoder) => encoder.forward(activation),
            Self::Scales(encoder) => encoder.forward(activation),
            Self::BottleNet(encoder) => encoder.forward(activation),
            Self::Student(encoder) => encoder.forward(activation),
        }
    }
}

/// Edge side of a unit.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a unit has one of them, and its tensors are elsewhere"
)]
#[non_exhaustive]
pub enum UnitDecoder {
    /// As released.
    Paper(PaperDecoder),
    /// Residual blocks and a pixel shuffle.
    Conv(ConvDecoder),
    /// A linear map to patches.
    Patch(PatchDecoder),
    /// A linear map to patches and residual blocks that add to it.
    Refined(RefinedDecoder),
    /// One transposed convolution.
    BottleNet(BottleNetDecoder),
    /// Three convolutions.
    Student(StudentDecoder),
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
            Self::Patch(decoder) => decoder.forward(latent),
            Self::Refined(decoder) => decoder.forward(latent),
            Self::BottleNet(decoder) => decoder.forward(latent),
            Self::Student(decoder) => decoder.forward(latent),
        }
    }
}
