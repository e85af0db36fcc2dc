use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor, s};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::UnitConfig;
use super::patch::linear;

/// Most tensors of a cut.
pub const MAX_SCALES: usize = 8;

/// One of several tensors that cross a cut together, brought to the grid of the smallest one: its pixels
/// are moved into channels, as a pixel unshuffle does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scale {
    /// Its channels in the activation, patch included.
    pub channels: usize,
    /// Its channels in the latent.
    pub latent: usize,
}

/// The tensors of a cut, in the order of their channels in the activation and in the latent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Scale>", into = "Vec<Scale>")]
pub struct ScaleList {
    scales: [Scale; MAX_SCALES],
    count: usize,
}

/// More tensors than a cut may have, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{found} tensors in a cut; there are 1 to {MAX_SCALES}")]
pub struct ScaleCountError {
    /// Tensors found.
    pub found: usize,
}

impl ScaleList {
    /// Gathers the tensors of a cut.
    ///
    /// # Errors
    ///
    /// For none or more than [`MAX_SCALES`].
    pub fn new(scales: &[Scale]) -> Result<Self, ScaleCountError> {
        let found = scales.len();
        let mut all = [Scale::default(); MAX_SCALES];
        match all.get_mut(..found) {
            Some(own) if found > 0 => own.copy_from_slice(scales),
            _ => return Err(ScaleCountError { found }),
        }
        Ok(Self {
            scales: all,
            count: found,
        })
    }

    /// The tensors.
    #[must_use]
    pub fn as_slice(&self) -> &[Scale] {
        &self.scales[..self.count]
    }

    /// Channels of each tensor in the latent.
    #[must_use]
    pub fn latents(&self) -> Vec<usize> {
        self.as_slice().iter().map(|scale| scale.latent).collect()
    }
}

impl TryFrom<Vec<Scale>> for ScaleList {
    type Error = ScaleCountError;

    fn try_from(scales: Vec<Scale>) -> Result<Self, ScaleCountError> {
        Self::new(&scales)
    }
}

impl From<ScaleList> for Vec<Scale> {
    fn from(list: ScaleList) -> Self {
        list.as_slice().to_vec()
    }
}

/// One linear map for each tensor of a cut, from its own pixels to its own latent channels: no latent needs
/// another tensor, so each can be sent and lost alone.
#[derive(Module, Debug)]
pub struct ScalesEncoder {
    maps: Vec<Conv2d>,
}

impl ScalesEncoder {
    pub(super) fn init(list: &ScaleList, device: &Device) -> Self {
        let map = |scale: &Scale| {
            Conv2dConfig::new([scale.channels, scale.latent], [1, 1])
                .with_bias(true)
                .init(device)
        };
        Self {
            maps: list.as_slice().iter().map(map).collect(),
        }
    }

    pub(super) fn forward(&self, activation: Tensor<4>) -> Tensor<4> {
        let mut begin = 0;
        let latents = self.maps.iter().map(|map| {
            let [_, channels, _, _] = map.weight.dims();
            let own = s![.., begin..begin + channels];
            begin += channels;
            linear(map, activation.clone().slice(own))
        });
        Tensor::cat(latents.collect(), 1)
    }
}

impl UnitConfig {
    /// A linear map for each of several tensors on the device, a decoder with `blocks` residual blocks that sees
    /// all of them on the edge: for a cut that several tensors cross, as the three scales of a detector. The
    /// activation holds the tensors on the grid of the smallest one, one behind the other. Each has a segment of its own
    /// in the frame. [`Klt::for_unit`](crate::Klt::for_unit) brings its first weights.
    #[must_use]
    pub fn scales(list: ScaleList, [height, width]: [usize; 2], step: f32, blocks: usize) -> Self {
        let sum = |of: fn(&Scale) -> usize| {
            list.as_slice()
                .iter()
                .map(of)
                .fold(0, usize::saturating_add)
        };
        let activation = super::ActivationShape {
            channels: sum(|scale| scale.channels),
            height,
            width,
        };
        let latent = sum(|scale| scale.latent);
        Self {
            encoder: super::EncoderKind::Scales { list },
            decoder: super::DecoderKind::Refined {
                hidden: latent.clamp(128, 256),
                blocks,
                gdn: false,
                rectified: true,
            },
            ..Self::light(activation, latent, 1, step, blocks)
        }
    }

    /// Channels of the latent that lie in segments of their own in a frame; one number for all of them where the
    /// latent is of one tensor.
    #[must_use]
    pub fn segments(&self) -> Vec<usize> {
        match &self.encoder {
            super::EncoderKind::Scales { list } => list.latents(),
            _ => vec![self.latent_channels],
        }
    }
}
