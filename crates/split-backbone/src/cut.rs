//! Where a residual network can be cut, and the two parts of a cut.

use std::fmt;
use std::str::FromStr;

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::Tensor;
use split_bottleneck::{Head, Tail};
use thiserror::Error;

use crate::resnet::{Block, ResNet, ResNetConfig, Stem, classify, pool, run_blocks};

/// A place where exactly one tensor flows through a residual network.
///
/// Written `stem`, `layer2` (after the last block of the second stage), `layer1.3` (after the
/// block with index 3 of the first stage) and `pool`. Stages count from 1 and blocks from 0, as
/// in PyTorch's names.
///
/// ```
/// use split_backbone::SplitPoint;
///
/// let point: SplitPoint = "layer1.3".parse()?;
/// assert_eq!(point, SplitPoint::Block { stage: 1, block: 3 });
/// assert_eq!(point.to_string(), "layer1.3");
/// # Ok::<(), split_backbone::CutError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SplitPoint {
    /// Behind the layers in front of the first block.
    Stem,
    /// Behind one block.
    Block {
        /// Stage, from 1.
        stage: usize,
        /// Block in its stage, from 0.
        block: usize,
    },
    /// Behind the last block of a stage.
    Stage {
        /// Stage, from 1.
        stage: usize,
    },
    /// Behind the mean over the picture, in front of the classifier.
    Pool,
}

/// A cut cannot be made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CutError {
    /// The text names no split point.
    #[error("{text:?} is no split point; write stem, layerN, layerN.M or pool")]
    Unreadable {
        /// What was to be read.
        text: String,
    },
    /// The text names no split point of a detector.
    #[error("{text:?} is no split point of a detector; write stem, dark2, dark3 or dark5")]
    NotInDetector {
        /// What was to be read.
        text: String,
    },
    /// The network has no such stage or block.
    #[error(
        "the network cannot be cut at {point}; it can be cut at {}",
        list(known)
    )]
    Absent {
        /// The split point that was asked for.
        point: SplitPoint,
        /// All that the network has.
        known: Vec<SplitPoint>,
    },
}

impl fmt::Display for SplitPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stem => f.write_str("stem"),
            Self::Block { stage, block } => write!(f, "layer{stage}.{block}"),
            Self::Stage { stage } => write!(f, "layer{stage}"),
            Self::Pool => f.write_str("pool"),
        }
    }
}

impl FromStr for SplitPoint {
    type Err = CutError;

    fn from_str(text: &str) -> Result<Self, CutError> {
        let unreadable = || CutError::Unreadable {
            text: text.to_owned(),
        };
        match text {
            "stem" => return Ok(Self::Stem),
            "pool" => return Ok(Self::Pool),
            _ => {}
        }
        let rest = text.strip_prefix("layer").ok_or_else(unreadable)?;
        let number = |digits: &str| digits.parse::<usize>().map_err(|_| unreadable());
        Ok(match rest.split_once('.') {
            Some((stage, block)) => Self::Block {
                stage: number(stage)?,
                block: number(block)?,
            },
            None => Self::Stage {
                stage: number(rest)?,
            },
        })
    }
}

impl ResNetConfig {
    /// Every place where this network can be cut, from the input on.
    ///
    /// The last block of a stage appears under the stage's name.
    #[must_use]
    pub fn split_points(&self) -> Vec<SplitPoint> {
        let mut points = vec![SplitPoint::Stem];
        for (index, stage) in self.stages().iter().enumerate() {
            let number = index + 1;
            points.extend((0..stage.blocks - 1).map(|block| SplitPoint::Block {
                stage: number,
                block,
            }));
            points.push(SplitPoint::Stage { stage: number });
        }
        points.push(SplitPoint::Pool);
        points
    }

    /// Index of `point` in [`split_points`](Self::split_points); `layer1.8` of ResNet-56 finds
    /// `layer1`.
    ///
    /// # Errors
    ///
    /// [`CutError::Absent`] where the network has no such place.
    pub fn locate(&self, point: SplitPoint) -> Result<usize, CutError> {
        let points = self.split_points();
        let wanted = match point {
            SplitPoint::Block { stage, block }
                if stage >= 1
                    && self
                        .stages()
                        .get(stage - 1)
                        .is_some_and(|s| block + 1 == s.blocks) =>
            {
                SplitPoint::Stage { stage }
            }
            other => other,
        };
        points
            .iter()
            .position(|&known| known == wanted)
            .ok_or(CutError::Absent {
                point,
                known: points,
            })
    }
}

impl ResNet {
    /// Every place where this network can be cut, from the input on.
    #[must_use]
    pub fn split_points(&self) -> Vec<SplitPoint> {
        self.config().split_points()
    }
}

/// Cuts a network in two: running the tail on the head's result is the whole network, operation
/// for operation.
///
/// The parts share their weights with the network (tensors are reference counted).
///
/// # Errors
///
/// [`CutError::Absent`] where the network has no such place.
pub fn cut(network: &ResNet, point: SplitPoint) -> Result<(ResNetHead, ResNetTail), CutError> {
    let index = network.config().locate(point)?;
    let blocks: Vec<Block> = network.blocks().cloned().collect();
    // Position 0 is the stem, position k lies behind block k, the last one behind the pool.
    let before = index.min(blocks.len());
    let pooled = index > blocks.len();
    let (front, back) = blocks.split_at(before);
    let head = ResNetHead {
        stem: network.stem.clone(),
        blocks: front.to_vec(),
        pooled,
    };
    let tail = ResNetTail {
        blocks: back.to_vec(),
        pooled,
        fc: network.fc.clone(),
    };
    Ok((head, tail))
}

/// The part of a network that runs on the device.
#[derive(Module, Debug)]
pub struct ResNetHead {
    stem: Stem,
    blocks: Vec<Block>,
    pooled: bool,
}

impl Head for ResNetHead {
    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let activation = run_blocks(self.blocks.iter(), self.stem.forward(input));
        if self.pooled {
            pool(activation)
        } else {
            activation
        }
    }
}

/// The part of a network that runs on the edge.
#[derive(Module, Debug)]
pub struct ResNetTail {
    blocks: Vec<Block>,
    pooled: bool,
    fc: Linear,
}

impl ResNetTail {
    /// The same tail with every batch norm folded into its convolution, as
    /// [`ResNet::fold_batch_norm`] folds those of a network.
    #[must_use]
    pub fn fold_batch_norm(&self) -> Self {
        Self {
            blocks: self.blocks.iter().map(Block::fold).collect(),
            pooled: self.pooled,
            fc: self.fc.clone(),
        }
    }
}

impl Tail for ResNetTail {
    type Output = Tensor<2>;

    fn forward(&self, activation: Tensor<4>) -> Tensor<2> {
        let activation = run_blocks(self.blocks.iter(), activation);
        let pooled = if self.pooled {
            activation
        } else {
            pool(activation)
        };
        classify(&self.fc, pooled)
    }
}

fn list(points: &[SplitPoint]) -> String {
    let names: Vec<String> = points.iter().map(ToString::to_string).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_point_reads_back_as_written() {
        for name in ResNetConfig::NAMES {
            for point in ResNetConfig::named(name).unwrap().split_points() {
                assert_eq!(point.to_string().parse(), Ok(point));
            }
        }
    }

    #[test]
    fn nonsense_is_no_split_point() {
        for text in [
            "", "layer", "layerx", "layer1.", "layer1.x", "layer-1", "fc",
        ] {
            assert!(text.parse::<SplitPoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_last_block_and_its_stage_are_one_place() {
        let config = ResNetConfig::named("resnet56").unwrap();
        let by_block = config.locate("layer1.8".parse().unwrap()).unwrap();
        let by_stage = config.locate("layer1".parse().unwrap()).unwrap();
        assert_eq!(by_block, by_stage);
        assert_eq!(by_stage, 9);
    }

    #[test]
    fn an_absent_split_point_is_answered_with_the_list() {
        let config = ResNetConfig::named("resnet20").unwrap();
        for text in ["layer4", "layer1.3", "layer0", "layer0.0"] {
            let error = config.locate(text.parse().unwrap()).unwrap_err();
            assert!(error.to_string().contains("layer3"), "{error}");
        }
    }
}
