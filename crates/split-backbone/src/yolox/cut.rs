//! Where a YOLOX detector can be cut with one tensor, and the two parts.

use std::fmt;
use std::str::FromStr;

use burn::module::Module;
use burn::tensor::Tensor;
use split_bottleneck::{Head, Tail};

use super::Yolox;
use crate::cut::CutError;

/// A place in the backbone where one tensor carries everything. Behind `dark3` the pyramid reads
/// several: see [`Yolox::pyramid`] and [`Yolox::from_pyramid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum YoloxPoint {
    /// Behind the first convolution: half the size.
    Stem,
    /// Behind the stage at a quarter of the size.
    Dark2,
    /// Behind the stage at an eighth of the size.
    Dark3,
}

impl YoloxPoint {
    /// All places, from the input on.
    pub const ALL: [Self; 3] = [Self::Stem, Self::Dark2, Self::Dark3];
}

impl fmt::Display for YoloxPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stem => "stem",
            Self::Dark2 => "dark2",
            Self::Dark3 => "dark3",
        })
    }
}

impl FromStr for YoloxPoint {
    type Err = CutError;

    fn from_str(text: &str) -> Result<Self, CutError> {
        let point = Self::ALL.into_iter().find(|p| p.to_string() == text);
        point.ok_or_else(|| CutError::NotInDetector {
            text: text.to_owned(),
        })
    }
}

/// Cuts a detector in two: running the tail on the head's result is the whole network, operation
/// for operation. The parts share their weights with the network.
#[must_use]
pub fn cut_yolox(network: &Yolox, point: YoloxPoint) -> (YoloxHead, YoloxTail) {
    // Both parts hold the whole (weights are reference counted) and run their share of it.
    let head = YoloxHead {
        network: network.clone(),
        point,
    };
    let tail = YoloxTail {
        network: network.clone(),
        point,
    };
    (head, tail)
}

/// The part of a detector that runs on the device.
#[derive(Module, Debug)]
pub struct YoloxHead {
    network: Yolox,
    #[module(skip)]
    point: YoloxPoint,
}

impl Head for YoloxHead {
    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let mut activation = self.network.stem(input);
        if self.point >= YoloxPoint::Dark2 {
            activation = self.network.dark2.forward(activation);
        }
        if self.point >= YoloxPoint::Dark3 {
            activation = self.network.dark3.forward(activation);
        }
        activation
    }
}

/// The part of a detector that runs on the edge.
#[derive(Module, Debug)]
pub struct YoloxTail {
    network: Yolox,
    #[module(skip)]
    point: YoloxPoint,
}

impl Tail for YoloxTail {
    type Output = Tensor<3>;

    fn forward(&self, activation: Tensor<4>) -> Tensor<3> {
        let mut activation = activation;
        if self.point < YoloxPoint::Dark2 {
            activation = self.network.dark2.forward(activation);
        }
        if self.point < YoloxPoint::Dark3 {
            activation = self.network.dark3.forward(activation);
        }
        let pyramid = self.network.pyramid_from_dark3(activation);
        self.network.from_pyramid(pyramid)
    }
}
