use burn::module::{Module, Param};
use burn::nn::attention::{MhaInput, MultiHeadAttention, MultiHeadAttentionConfig};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::{Device, Tensor};

use super::refined::{scaled, zeros};
use crate::ops::batch_norm;

/// Each pixel of the latent's grid looks at all others: batch norm, attention with several heads, and a shortcut
/// (Vaswani et al. 2017). Places are told apart by what convolutions before it left at the borders.
///
/// What it adds starts at zero.
#[derive(Module, Debug)]
pub(crate) struct Attention {
    norm: BatchNorm,
    heads: MultiHeadAttention,
    /// Strength of what is added, `[channels]`.
    gain: Param<Tensor<1>>,
}

impl Attention {
    pub(super) fn init(channels: usize, heads: usize, device: &Device) -> Self {
        Self {
            norm: BatchNormConfig::new(channels).init(device),
            heads: MultiHeadAttentionConfig::new(channels, heads)
                .with_dropout(0.0)
                .init(device),
            gain: zeros(channels, device),
        }
    }

    /// `[n, channels, height, width]` to the same.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [n, channels, height, width] = x.dims();
        let pixels = batch_norm(&self.norm, x.clone())
            .reshape([n, channels, height * width])
            .swap_dims(1, 2);
        let seen = self.heads.forward(MhaInput::self_attn(pixels)).context;
        let seen = seen.swap_dims(1, 2).reshape([n, channels, height, width]);
        x + scaled(seen, &self.gain)
    }
}
