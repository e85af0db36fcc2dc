//! What a residual network looks like: pure numbers, no tensors.

use burn::tensor::Device;
use thiserror::Error;

use super::ResNet;
use crate::conv::Weights;

/// Most stages that a [`ResNetConfig`] may have (`layer1` to `layer4`).
pub const MAX_STAGES: usize = 4;
/// Most blocks in one stage; ResNet-152 has 36, ResNet-1202 has 200.
pub const MAX_BLOCKS: usize = 512;
/// Most channels that any tensor of a network may have.
pub const MAX_CHANNELS: usize = 1 << 16;
/// Most classes.
pub const MAX_CLASSES: usize = 1 << 16;

/// The network's shape breaks a rule.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number lies outside its range.
    #[error("{what} is {found}, but has to be between {min} and {max}")]
    OutOfRange {
        /// Which number.
        what: &'static str,
        /// Its value.
        found: usize,
        /// Least allowed value.
        min: usize,
        /// Greatest allowed value.
        max: usize,
    },
    /// Two lists that describe the same stages have different lengths.
    #[error("{widths} widths but {blocks} block counts: one of each per stage is needed")]
    StageCount {
        /// Number of widths.
        widths: usize,
        /// Number of block counts.
        blocks: usize,
    },
    /// The name is neither a residual network nor a detector.
    #[error(
        "unknown backbone {name:?}; known are {}, {}",
        ResNetConfig::NAMES.join(", "),
        crate::YoloxConfig::NAMES.join(", ")
    )]
    UnknownBackbone {
        /// The name that was asked for.
        name: String,
    },
    /// The name is none of the known detectors.
    #[error("unknown detector {name:?}; known are {}", crate::YoloxConfig::NAMES.join(", "))]
    UnknownDetector {
        /// The name that was asked for.
        name: String,
    },
    /// The name is none of the known ones.
    #[error("unknown backbone {name:?}; known are {}", ResNetConfig::NAMES.join(", "))]
    UnknownName {
        /// The name that was asked for.
        name: String,
    },
}

/// The kind of residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3, 1x1, with four times as many channels at the end.
    Bottleneck,
}

/// What a block adds to its result where the shape changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShortcutKind {
    /// A strided 1x1 convolution with batch norm (torchvision).
    Projection,
    /// Every second row and column and zero channels on both sides; no weights (CIFAR).
    ZeroPad,
}

/// The layers in front of the first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StemConfig {
    /// Kernel size; odd. The padding keeps the size at stride 1.
    pub kernel: usize,
    /// Stride of the convolution.
    pub stride: usize,
    /// Channels.
    pub width: usize,
    /// Whether a 3x3 max pool with stride 2 follows.
    pub max_pool: bool,
}

/// One stage: blocks of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageConfig {
    /// Channels of the 3x3 convolutions before groups and base width count.
    pub planes: usize,
    /// Number of blocks.
    pub blocks: usize,
    /// Stride of the first block.
    pub stride: usize,
    /// Dilation of the first block's 3x3 convolution.
    pub dilation_first: usize,
    /// Dilation of the other blocks.
    pub dilation: usize,
}

/// The shape of a residual network.
///
/// ```
/// use split_backbone::ResNetConfig;
///
/// let config = ResNetConfig::named("resnet56")?;
/// assert_eq!(config.classes(), 10);
/// # Ok::<(), split_backbone::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResNetConfig {
    stem: StemConfig,
    block: BlockKind,
    shortcut: ShortcutKind,
    stages: Vec<StageConfig>,
    groups: usize,
    width_per_group: usize,
    classes: usize,
}

/// One block with every number worked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockPlan {
    pub(crate) kind: BlockKind,
    pub(crate) shortcut: ShortcutKind,
    pub(crate) inputs: usize,
    pub(crate) width: usize,
    pub(crate) outputs: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    pub(crate) groups: usize,
}

impl BlockPlan {
    /// Whether input and output of the block differ in shape.
    pub(crate) fn reshapes(&self) -> bool {
        self.stride != 1 || self.inputs != self.outputs
    }
}

impl ResNetConfig {
    /// The names that [`ResNetConfig::named`] knows.
    pub const NAMES: [&'static str; 16] = [
        "resnet20",
        "resnet32",
        "resnet44",
        "resnet56",
        "resnet110",
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "wide_resnet50_2",
        "wide_resnet101_2",
        "resnext50_32x4d",
        "resnext101_32x8d",
        "resnext101_64x4d",
        "resnet14",
    ];

    /// A network by its customary name.
    ///
    /// Depths 14, 20, 32, 44, 56 and 110 are CIFAR networks with ten classes; the others have
    /// torchvision's layout with 1000 classes.
    ///
    /// # Errors
    ///
    /// [`ConfigError::UnknownName`] with the list of known names.
    pub fn named(name: &str) -> Result<Self, ConfigError> {
        let imagenet =
            |block, blocks: [usize; 4], groups, width| Self::imagenet(block, blocks, groups, width);
        let bottleneck = BlockKind::Bottleneck;
        Ok(match name {
            "resnet14" => Self::cifar(2)?,
            "resnet20" => Self::cifar(3)?,
            "resnet32" => Self::cifar(5)?,
            "resnet44" => Self::cifar(7)?,
            "resnet56" => Self::cifar(9)?,
            "resnet110" => Self::cifar(18)?,
            "resnet18" => imagenet(BlockKind::Basic, [2, 2, 2, 2], 1, 64),
            "resnet34" => imagenet(BlockKind::Basic, [3, 4, 6, 3], 1, 64),
            "resnet50" => imagenet(bottleneck, [3, 4, 6, 3], 1, 64),
            "resnet101" => imagenet(bottleneck, [3, 4, 23, 3], 1, 64),
            "resnet152" => imagenet(bottleneck, [3, 8, 36, 3], 1, 64),
            "wide_resnet50_2" => imagenet(bottleneck, [3, 4, 6, 3], 1, 128),
            "wide_resnet101_2" => imagenet(bottleneck, [3, 4, 23, 3], 1, 128),
            "resnext50_32x4d" => imagenet(bottleneck, [3, 4, 6, 3], 32, 4),
            "resnext101_32x8d" => imagenet(bottleneck, [3, 4, 23, 3], 32, 8),
            "resnext101_64x4d" => imagenet(bottleneck, [3, 4, 23, 3], 64, 4),
            other => {
                return Err(ConfigError::UnknownName {
                    name: other.to_owned(),
                });
            }
        })
    }

    /// A CIFAR network with `blocks` blocks in each of three stages: depth `6 * blocks + 2`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] for no blocks or more than [`MAX_BLOCKS`].
    pub fn cifar(blocks: usize) -> Result<Self, ConfigError> {
        let stem = StemConfig {
            kernel: 3,
            stride: 1,
            width: 16,
            max_pool: false,
        };
        let mut config = Self::small(stem, &[16, 32, 64], &[blocks; 3], 10)?;
        config.shortcut = ShortcutKind::ZeroPad;
        Ok(config)
    }

    /// A free form of basic blocks with projection shortcuts.
    ///
    /// `widths` and `blocks` name channels and blocks of each stage; every stage but the first
    /// halves the picture.
    ///
    /// # Errors
    ///
    /// [`ConfigError::StageCount`] where the lists differ in length, else
    /// [`ConfigError::OutOfRange`] for the first number outside its range.
    pub fn small(
        stem: StemConfig,
        widths: &[usize],
        blocks: &[usize],
        classes: usize,
    ) -> Result<Self, ConfigError> {
        if widths.len() != blocks.len() {
            return Err(ConfigError::StageCount {
                widths: widths.len(),
                blocks: blocks.len(),
            });
        }
        let config = Self {
            stem,
            block: BlockKind::Basic,
            shortcut: ShortcutKind::Projection,
            stages: stages(widths, blocks),
            groups: 1,
            width_per_group: 64,
            classes,
        };
        config.check()?;
        Ok(config)
    }

    /// Side in pixels of the square pictures that published weights were trained for: a stem with a
    /// max pool is ImageNet's, one without is CIFAR's.
    pub(crate) fn default_side(&self) -> u32 {
        if self.stem.max_pool { 224 } else { 32 }
    }

    /// The same network with another number of classes.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] for none or more than [`MAX_CLASSES`].
    pub fn with_classes(mut self, classes: usize) -> Result<Self, ConfigError> {
        in_range("classes", classes, 1, MAX_CLASSES)?;
        self.classes = classes;
        Ok(self)
    }

    /// The same network with other channels: `stem` behind the first convolution, `planes` of
    /// each stage's 3x3 convolutions before groups and base width count.
    ///
    /// # Errors
    ///
    /// [`ConfigError::StageCount`] where a stage has no number, else
    /// [`ConfigError::OutOfRange`], also where no channel is left for a group.
    pub fn with_widths(mut self, stem: usize, planes: &[usize]) -> Result<Self, ConfigError> {
        if planes.len() != self.stages.len() {
            return Err(ConfigError::StageCount {
                widths: planes.len(),
                blocks: self.stages.len(),
            });
        }
        self.stem.width = stem;
        for (stage, &planes) in self.stages.iter_mut().zip(planes) {
            stage.planes = planes;
        }
        self.check()?;
        Ok(self)
    }

    /// The same network with the stride of the named stages (counted from 1) turned into
    /// dilation, as segmentation networks use it. The stages after them dilate too.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] for a stage that the network lacks.
    pub fn with_dilated_stages(mut self, stages: &[usize]) -> Result<Self, ConfigError> {
        for &stage in stages {
            in_range("dilated stage", stage, 1, self.stages.len())?;
        }
        let mut dilation = 1;
        for (index, stage) in self.stages.iter_mut().enumerate() {
            stage.dilation_first = dilation;
            if stages.contains(&(index + 1)) {
                dilation *= stage.stride;
                stage.stride = 1;
            }
            stage.dilation = dilation;
        }
        Ok(self)
    }

    /// A network whose weights wait to be loaded: convolutions are zero, norms are neutral.
    #[must_use]
    pub fn init(&self, device: &Device) -> ResNet {
        ResNet::build(self, &mut Weights::Zero, device)
    }

    /// A network to be trained: weights are uniform with the variance that He et al. derive
    /// for rectifiers, drawn on the host, so one seed gives the same network on every backend.
    #[must_use]
    pub fn init_seeded(&self, seed: u64, device: &Device) -> ResNet {
        ResNet::build(self, &mut Weights::seeded(seed), device)
    }

    /// The layers in front of the first block.
    #[must_use]
    pub fn stem(&self) -> StemConfig {
        self.stem
    }

    /// The stages, first to last.
    #[must_use]
    pub fn stages(&self) -> &[StageConfig] {
        &self.stages
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Channels of the last stage, which the classifier reads.
    pub(crate) fn features(&self) -> usize {
        let last = self.stages.last().expect("a network has a stage");
        self.outputs(last.planes)
    }

    /// Every block of every stage, in order.
    pub(crate) fn plan(&self) -> Vec<Vec<BlockPlan>> {
        let mut inputs = self.stem.width;
        let mut plan = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let outputs = self.outputs(stage.planes);
            let width = match self.block {
                BlockKind::Basic => stage.planes,
                BlockKind::Bottleneck => stage.planes * self.width_per_group / 64 * self.groups,
            };
            let mut blocks = Vec::with_capacity(stage.blocks);
            for index in 0..stage.blocks {
                let first = index == 0;
                blocks.push(BlockPlan {
                    kind: self.block,
                    shortcut: self.shortcut,
                    inputs,
                    width,
                    outputs,
                    stride: if first { stage.stride } else { 1 },
                    dilation: if first {
                        stage.dilation_first
                    } else {
                        stage.dilation
                    },
                    groups: self.groups,
                });
                inputs = outputs;
            }
            plan.push(blocks);
        }
        plan
    }

    fn imagenet(
        block: BlockKind,
        blocks: [usize; 4],
        groups: usize,
        width_per_group: usize,
    ) -> Self {
        Self {
            stem: StemConfig {
                kernel: 7,
                stride: 2,
                width: 64,
                max_pool: true,
            },
            block,
            shortcut: ShortcutKind::Projection,
            stages: stages(&[64, 128, 256, 512], &blocks),
            groups,
            width_per_group,
            classes: 1000,
        }
    }

    fn outputs(&self, planes: usize) -> usize {
        match self.block {
            BlockKind::Basic => planes,
            BlockKind::Bottleneck => planes * 4,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        in_range("number of stages", self.stages.len(), 1, MAX_STAGES)?;
        in_range("stem kernel", self.stem.kernel, 1, 15)?;
        // An even kernel has no padding that keeps the size.
        in_range("stem kernel % 2", self.stem.kernel % 2, 1, 1)?;
        in_range("stem stride", self.stem.stride, 1, 8)?;
        in_range("stem width", self.stem.width, 1, MAX_CHANNELS)?;
        in_range("classes", self.classes, 1, MAX_CLASSES)?;
        for stage in &self.stages {
            in_range("stage width", stage.planes, 1, MAX_CHANNELS)?;
            in_range("blocks of a stage", stage.blocks, 1, MAX_BLOCKS)?;
            if self.block == BlockKind::Bottleneck {
                let share = stage.planes * self.width_per_group / 64;
                in_range("channels of a group", share, 1, MAX_CHANNELS / self.groups)?;
            }
        }
        Ok(())
    }
}

fn stages(planes: &[usize], blocks: &[usize]) -> Vec<StageConfig> {
    planes
        .iter()
        .zip(blocks)
        .enumerate()
        .map(|(index, (&planes, &blocks))| StageConfig {
            planes,
            blocks,
            stride: if index == 0 { 1 } else { 2 },
            dilation_first: 1,
            dilation: 1,
        })
        .collect()
}

fn in_range(what: &'static str, found: usize, min: usize, max: usize) -> Result<(), ConfigError> {
    if (min..=max).contains(&found) {
        return Ok(());
    }
    Err(ConfigError::OutOfRange {
        what,
        found,
        min,
        max,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_name_is_known() {
        for name in ResNetConfig::NAMES {
            assert!(ResNetConfig::named(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = ResNetConfig::named("resnet57").unwrap_err().to_string();
        assert!(error.contains("resnet57") && error.contains("resnet56"));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let stem = StemConfig {
            kernel: 3,
            stride: 2,
            width: 16,
            max_pool: false,
        };
        assert!(ResNetConfig::small(stem, &[16, 32], &[1], 10).is_err());
        assert!(ResNetConfig::small(stem, &[16, 0], &[1, 1], 10).is_err());
        assert!(ResNetConfig::small(stem, &[16; 5], &[1; 5], 10).is_err());
        assert!(ResNetConfig::small(stem, &[16], &[1], 0).is_err());
        let even = StemConfig { kernel: 4, ..stem };
        assert!(ResNetConfig::small(even, &[16], &[1], 10).is_err());
        assert!(ResNetConfig::cifar(0).is_err());
    }

    #[test]
    fn other_widths_need_a_number_for_each_stage_and_channels_for_each_group() {
        let config = ResNetConfig::named("resnext50_32x4d").unwrap();
        let narrow = config.clone().with_widths(8, &[16; 4]).unwrap();
        assert_eq!((narrow.stem().width, narrow.features()), (8, 64));
        assert!(config.clone().with_widths(8, &[16; 3]).is_err());
        assert!(config.clone().with_widths(0, &[16; 4]).is_err());
        assert!(config.with_widths(8, &[16, 16, 16, 15]).is_err());
    }

    #[test]
    fn dilation_takes_the_place_of_stride() {
        let config = ResNetConfig::named("resnet50")
            .unwrap()
            .with_dilated_stages(&[3, 4])
            .unwrap();
        let seen: Vec<_> = config
            .stages()
            .iter()
            .map(|s| (s.stride, s.dilation_first, s.dilation))
            .collect();
        assert_eq!(seen, [(1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 4)]);
    }
}
