use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, TensorData};
use rand_core::SeedableRng;
use rand_pcg::Pcg64;

use super::{InversionConfig, InversionError, LeakedPictures};
use crate::ops::{batch_norm_relu, conv2d};
use crate::state::redraw;
use crate::unit::{conv3x3, convolve, pixel_shuffle};

/// Channels at the picture's size, before the last convolution.
const FINE_CHANNELS: usize = 16;

/// Convolutions at the latent's size, one enlarging step, one convolution at the picture's size.
#[derive(Module, Debug)]
pub(super) struct InversionDecoder {
    conv1: Conv2d,
    bn1: BatchNorm,
    blocks: Vec<(Conv2d, BatchNorm)>,
    up: Conv2d,
    bn_up: BatchNorm,
    last: Conv2d,
    /// Mean of each latent channel and one over its deviation: a coarse step is no handicap by scale.
    #[module(skip)]
    scales: Vec<(f32, f32)>,
    #[module(skip)]
    enlarge: usize,
    #[module(skip)]
    size: [usize; 2],
}

impl InversionDecoder {
    pub(super) fn new(
        config: &InversionConfig,
        training: &LeakedPictures,
        device: &Device,
    ) -> Result<Self, InversionError> {
        let (latent, picture) = (training.latent, training.picture);
        if latent.contains(&0) || picture[1] < latent[1] || picture[2] < latent[2] {
            return Err(InversionError::Size { latent, picture });
        }
        let enlarge = picture[1]
            .div_ceil(latent[1])
            .max(picture[2].div_ceil(latent[2]));
        let hidden = config.hidden.max(1);
        let up = FINE_CHANNELS * enlarge * enlarge;
        let norm = |channels| BatchNormConfig::new(channels).init(device);
        let block = |_| (conv3x3([hidden, hidden], 1, device), norm(hidden));
        let decoder = Self {
            conv1: conv3x3([latent[0], hidden], 1, device),
            bn1: norm(hidden),
            blocks: (0..config.blocks).map(block).collect(),
            up: Conv2dConfig::new([hidden, up], [1, 1])
                .with_bias(false)
                .init(device),
            bn_up: norm(up),
            last: Conv2dConfig::new([FINE_CHANNELS, picture[0]], [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(device),
            scales: channel_scales(&training.latents, latent),
            enlarge,
            size: [picture[1], picture[2]],
        };
        Ok(redraw(decoder, &mut Pcg64::seed_from_u64(config.seed)))
    }

    pub(super) fn forward(&self, latents: Tensor<4>) -> Tensor<4> {
        let device = latents.device();
        let channels = self.scales.len();
        let part = |values: Vec<f32>| {
            Tensor::<4>::from_data(TensorData::new(values, [1, channels, 1, 1]), &device)
        };
        let means = part(self.scales.iter().map(|(mean, _)| *mean).collect());
        let factors = part(self.scales.iter().map(|(_, factor)| *factor).collect());
        let x = (latents - means) * factors;
        let mut x = batch_norm_relu(&self.bn1, convolve(&self.conv1, x, 1), None);
        for (conv, norm) in &self.blocks {
            x = batch_norm_relu(norm, convolve(conv, x.clone(), 1), Some(x));
        }
        let x = batch_norm_relu(&self.bn_up, convolve(&self.up, x, 0), None);
        let x = pixel_shuffle(x, self.enlarge);
        let bias = self.last.bias.as_ref().map(Param::val);
        let x = conv2d(x, self.last.weight.val(), bias, 1, 1, 1);
        let [height, width] = self.size;
        x.narrow(2, 0, height).narrow(3, 0, width)
    }
}

/// Mean and inverse deviation of each channel; a silent channel keeps factor 1.
fn channel_scales(latents: &[f32], [channels, height, width]: [usize; 3]) -> Vec<(f32, f32)> {
    let plane = height * width;
    let mut sums = vec![(0.0_f64, 0.0_f64, 0.0_f64); channels];
    for (at, values) in latents.chunks_exact(plane).enumerate() {
        let (count, sum, squares) = &mut sums[at % channels];
        for value in values.iter().map(|value| f64::from(*value)) {
            *count += 1.0;
            *sum += value;
            *squares += value * value;
        }
    }
    sums.into_iter()
        .map(|(count, sum, squares)| {
            let mean = sum / count;
            let deviation = (squares / count - mean * mean).max(0.0).sqrt();
            let factor = if deviation > 1e-6 {
                1.0 / deviation
            } else {
                1.0
            };
            #[expect(clippy::cast_possible_truncation, reason = "statistics of f32 values")]
            let pair = (mean as f32, factor as f32);
            pair
        })
        .collect()
}
