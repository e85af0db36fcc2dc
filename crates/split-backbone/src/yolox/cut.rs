//! Where a YOLOX detector can be cut, and the two parts.

use std::fmt;
use std::str::FromStr;

use burn::module::Module;
use burn::tensor::{Tensor, s};
use split_bottleneck::{Head, Tail};

use super::{Yolox, YoloxConfig};
use crate::cut::CutError;

/// What is added to an activation so that it has no negative values: the depth of
/// `x * sigmoid(x)`, which is deepest at -1.2785.
pub const SILU_DEPTH: f32 = 0.278_464_55;

/// A place where a detector is cut: inside the backbone, where one tensor carries everything, or behind it, where
/// three do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum YoloxPoint {
    /// Behind the first convolution: half the size.
    Stem,
    /// Behind the stage at a quarter of the size.
    Dark2,
    /// Behind the stage at an eighth of the size.
    Dark3,
    /// Behind the last stage, where the pyramid takes the outputs of `dark3`, `dark4` and `dark5`
    /// ([`Yolox::pyramid`]). They cross as one activation on the grid of the last one, a thirty-second of the size:
    /// 4x4 pixels of `dark3`, then 2x2 pixels of `dark4` lie in its channels, as
    /// [`pyramid_channels`](Self::pyramid_channels) says.
    Dark5,
}

impl YoloxPoint {
    /// All places, from the input on.
    pub const ALL: [Self; 4] = [Self::Stem, Self::Dark2, Self::Dark3, Self::Dark5];

    /// Channels of each tensor in the activation of [`Dark5`](Self::Dark5), in their order: those of `dark3`
    /// sixteen times, of `dark4` four times, of `dark5` once.
    #[must_use]
    pub fn pyramid_channels(config: &YoloxConfig) -> [usize; 3] {
        let base = config.base_channels();
        [
            4 * base * FINE * FINE,
            8 * base * MIDDLE * MIDDLE,
            16 * base,
        ]
    }
}

/// Pixels of `dark3` and `dark4` along a pixel of `dark5`.
const FINE: usize = 4;
const MIDDLE: usize = 2;

/// Three tensors on the grid of the last.
fn joined([fine, middle, coarse]: [Tensor<4>; 3]) -> Tensor<4> {
    Tensor::cat(
        vec![
            pixels_to_channels(fine, FINE),
            pixels_to_channels(middle, MIDDLE),
            coarse,
        ],
        1,
    )
}

/// What [`joined`] took.
fn parted(activation: Tensor<4>, config: &YoloxConfig) -> [Tensor<4>; 3] {
    let [fine, middle, _] = YoloxPoint::pyramid_channels(config);
    let part = |from: usize, to: usize| activation.clone().slice(s![.., from..to]);
    [
        channels_to_pixels(part(0, fine), FINE),
        channels_to_pixels(part(fine, fine + middle), MIDDLE),
        activation.clone().slice(s![.., fine + middle..]),
    ]
}

/// `side` x `side` pixels of each channel become channels beside each other.
fn pixels_to_channels(x: Tensor<4>, side: usize) -> Tensor<4> {
    let [n, channels, height, width] = x.dims();
    let (rows, columns) = (height / side, width / side);
    x.reshape([n, channels, rows, side, columns, side])
        .permute([0, 1, 3, 5, 2, 4])
        .reshape([n, channels * side * side, rows, columns])
}

/// The way back.
fn channels_to_pixels(x: Tensor<4>, side: usize) -> Tensor<4> {
    let [n, channels, rows, columns] = x.dims();
    let channels = channels / (side * side);
    x.reshape([n, channels, side, side, rows, columns])
        .permute([0, 1, 4, 2, 5, 3])
        .reshape([n, channels, rows * side, columns * side])
}

impl fmt::Display for YoloxPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stem => "stem",
            Self::Dark2 => "dark2",
            Self::Dark3 => "dark3",
            Self::Dark5 => "dark5",
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
        lifted: false,
    };
    let tail = YoloxTail {
        network: network.clone(),
        point,
        lifted: false,
    };
    (head, tail)
}

/// The part of a detector that runs on the device.
#[derive(Module, Debug)]
pub struct YoloxHead {
    network: Yolox,
    #[module(skip)]
    point: YoloxPoint,
    lifted: bool,
}

impl YoloxHead {
    /// The same head with [`SILU_DEPTH`] added to its activation: bottleneck units end in a
    /// rectifier, which would lose all that lies below zero. Belongs to
    /// [`YoloxTail::lifted`].
    #[must_use]
    pub fn lifted(self) -> Self {
        Self {
            lifted: true,
            ..self
        }
    }
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
        if self.point == YoloxPoint::Dark5 {
            activation = joined(self.network.pyramid_from_dark3(activation));
        }
        if self.lifted {
            activation.add_scalar(SILU_DEPTH)
        } else {
            activation
        }
    }
}

/// The part of a detector that runs on the edge.
#[derive(Module, Debug)]
pub struct YoloxTail {
    network: Yolox,
    #[module(skip)]
    point: YoloxPoint,
    lifted: bool,
}

impl YoloxTail {
    /// The tail of [`YoloxHead::lifted`]: together they are the whole network but for the
    /// rounding of a sum and a difference.
    #[must_use]
    pub fn lifted(self) -> Self {
        Self {
            lifted: true,
            ..self
        }
    }

    /// The three inputs of the detection heads, finest first, from an activation at the cut.
    ///
    /// # Shapes
    ///
    /// - `activation`: `[n, channels, height, width]`
    /// - output: `[n, c, h, w]` at an eighth, a sixteenth and a thirty-second of the picture
    #[must_use]
    pub fn head_inputs(&self, activation: Tensor<4>) -> [Tensor<4>; 3] {
        let mut activation = if self.lifted {
            activation.sub_scalar(SILU_DEPTH)
        } else {
            activation
        };
        if self.point == YoloxPoint::Dark5 {
            let pyramid = parted(activation, self.network.config());
            return self.network.neck.forward(pyramid);
        }
        if self.point < YoloxPoint::Dark2 {
            activation = self.network.dark2.forward(activation);
        }
        if self.point < YoloxPoint::Dark3 {
            activation = self.network.dark3.forward(activation);
        }
        let pyramid = self.network.pyramid_from_dark3(activation);
        self.network.neck.forward(pyramid)
    }

    /// The tensors that cross the cut: the activation alone, or the three that it holds.
    #[must_use]
    pub(super) fn tensors(&self, activation: Tensor<4>) -> Vec<Tensor<4>> {
        if self.point == YoloxPoint::Dark5 {
            parted(activation, self.network.config()).into()
        } else {
            vec![activation]
        }
    }

    /// Raw predictions from [`head_inputs`](Self::head_inputs), with logits in the place of
    /// objectness and class scores.
    ///
    /// # Shapes
    ///
    /// - output: `[n, cells, 5 + classes]`
    #[must_use]
    pub fn logits(&self, head_inputs: [Tensor<4>; 3]) -> Tensor<3> {
        self.network.head.logits(head_inputs)
    }
}

impl Tail for YoloxTail {
    type Output = Tensor<3>;

    fn forward(&self, activation: Tensor<4>) -> Tensor<3> {
        self.network.head.forward(self.head_inputs(activation))
    }
}
