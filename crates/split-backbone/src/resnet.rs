//! Residual networks as plain modules: stem, stages of blocks, classifier.

mod config;
mod layers;

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};

pub(crate) use self::config::BlockPlan;
pub use self::config::{
    BlockKind, ConfigError, MAX_BLOCKS, MAX_CHANNELS, MAX_CLASSES, MAX_STAGES, ResNetConfig,
    ShortcutKind, StageConfig, StemConfig,
};
use self::layers::classifier;
pub(crate) use self::layers::{Block, Stem, pool};
use crate::conv::Weights;

/// A residual network that can be [cut](crate::cut()).
#[derive(Module, Debug)]
pub struct ResNet {
    pub(crate) stem: Stem,
    pub(crate) layers: Vec<Vec<Block>>,
    pub(crate) fc: Linear,
    #[module(skip)]
    config: ResNetConfig,
}

impl ResNet {
    pub(crate) fn build(config: &ResNetConfig, weights: &mut Weights, device: &Device) -> Self {
        let stem = Stem::new(config.stem(), weights, device);
        let layers = config
            .plan()
            .iter()
            .map(|stage| {
                stage
                    .iter()
                    .map(|plan| Block::new(plan, weights, device))
                    .collect()
            })
            .collect();
        Self {
            stem,
            layers,
            fc: classifier(config.features(), config.classes(), weights, device),
            config: config.clone(),
        }
    }

    /// Class scores of pictures.
    ///
    /// # Shapes
    ///
    /// - `input`: `[n, 3, height, width]`
    /// - output: `[n, classes]`
    #[must_use]
    pub fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let activation = self.stem.forward(input);
        let activation = run_blocks(self.blocks(), activation);
        classify(&self.fc, pool(activation))
    }

    /// The same network with every batch norm folded into its convolution.
    ///
    /// For inference and for frozen parts: fewer passes over memory, outputs equal to about
    /// 1e-5 of their size. It cannot be trained further as it was, since the norms are gone.
    #[must_use]
    pub fn fold_batch_norm(&self) -> Self {
        Self {
            stem: self.stem.fold(),
            layers: self
                .layers
                .iter()
                .map(|stage| stage.iter().map(Block::fold).collect())
                .collect(),
            fc: self.fc.clone(),
            config: self.config.clone(),
        }
    }

    /// The numbers this network was built from.
    #[must_use]
    pub fn config(&self) -> &ResNetConfig {
        &self.config
    }

    /// All blocks, first to last.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.layers.iter().flatten()
    }
}

/// Runs blocks in order.
pub(crate) fn run_blocks<'a>(
    blocks: impl Iterator<Item = &'a Block>,
    activation: Tensor<4>,
) -> Tensor<4> {
    blocks.fold(activation, |activation, block| block.forward(activation))
}

/// Class scores from pooled features `[n, c, 1, 1]`.
pub(crate) fn classify(fc: &Linear, pooled: Tensor<4>) -> Tensor<2> {
    fc.forward(pooled.flatten::<2>(1, 3))
}
