//! The pieces that a YOLOX detector is built of.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use split_bottleneck::ops::{max_pool2d, silu};

use super::YoloxConfig;
use crate::conv::{ConvNorm, ConvShape, Weights};
use crate::ops::ConvGeometry;

/// The epsilon that the official networks were trained with.
const NORM_EPSILON: f64 = 1e-3;

/// Whether convolutions carry a batch norm or a bias.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Norms {
    Separate,
    Folded,
}

/// Everything that building a layer needs.
pub(super) struct Scales<'a> {
    pub(super) config: &'a YoloxConfig,
    pub(super) norms: Norms,
    pub(super) weights: &'a mut Weights,
    pub(super) device: &'a Device,
}

impl Scales<'_> {
    /// A dense convolution with its activation.
    pub(super) fn conv(
        &mut self,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
    ) -> ConvAct {
        self.grouped([inputs, outputs], kernel, stride, 1)
    }

    /// A 3x3 convolution, depthwise and pointwise where the configuration says so.
    pub(super) fn spatial(&mut self, inputs: usize, outputs: usize, stride: usize) -> Spatial {
        if !self.config.depthwise() {
            return Spatial {
                conv: Some(self.conv(inputs, outputs, 3, stride).conv),
                dconv: None,
                pconv: None,
            };
        }
        Spatial {
            conv: None,
            dconv: Some(self.grouped([inputs, inputs], 3, stride, inputs)),
            pconv: Some(self.conv(inputs, outputs, 1, 1)),
        }
    }

    /// A cross-stage partial layer.
    pub(super) fn csp(
        &mut self,
        inputs: usize,
        outputs: usize,
        depth: usize,
        shortcut: bool,
    ) -> Csp {
        let hidden = outputs / 2;
        Csp {
            conv1: self.conv(inputs, hidden, 1, 1),
            conv2: self.conv(inputs, hidden, 1, 1),
            conv3: self.conv(2 * hidden, outputs, 1, 1),
            m: (0..depth)
                .map(|_| Bottleneck {
                    conv1: self.conv(hidden, hidden, 1, 1),
                    conv2: self.spatial(hidden, hidden, 1),
                    shortcut,
                })
                .collect(),
        }
    }

    /// A stage that halves the size and doubles the channels; the last one pools over several
    /// sizes.
    pub(super) fn dark(&mut self, inputs: usize, depth: usize, last: bool) -> Dark {
        let outputs = 2 * inputs;
        Dark {
            down: self.spatial(inputs, outputs, 2),
            spp: last.then(|| Spp {
                conv1: self.conv(outputs, outputs / 2, 1, 1),
                conv2: self.conv(outputs * 2, outputs, 1, 1),
            }),
            csp: self.csp(outputs, outputs, depth, !last),
        }
    }

    /// A 1x1 convolution with bias and nothing behind it.
    pub(super) fn prediction(&mut self, inputs: usize, outputs: usize) -> ConvNorm {
        let shape = ConvShape {
            inputs,
            outputs,
            kernel: 1,
        };
        ConvNorm::with_bias(shape, geometry(1, 1, 1), self.weights, self.device)
    }

    fn grouped(
        &mut self,
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        stride: usize,
        groups: usize,
    ) -> ConvAct {
        let shape = ConvShape {
            inputs,
            outputs,
            kernel,
        };
        let geometry = geometry(kernel, stride, groups);
        let conv = match self.norms {
            Norms::Separate => ConvNorm::new(shape, geometry, self.weights, self.device),
            Norms::Folded => ConvNorm::with_bias(shape, geometry, self.weights, self.device),
        };
        ConvAct {
            conv: conv.with_epsilon(NORM_EPSILON),
        }
    }
}

fn geometry(kernel: usize, stride: usize, groups: usize) -> ConvGeometry {
    ConvGeometry {
        stride,
        padding: kernel / 2,
        dilation: 1,
        groups,
    }
}

/// Convolution, norm and `x * sigmoid(x)`.
#[derive(Module, Debug)]
pub(super) struct ConvAct {
    conv: ConvNorm,
}

impl ConvAct {
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        silu(self.conv.forward(input))
    }

    pub(super) fn fold(&self) -> Self {
        Self {
            conv: self.conv.fold(),
        }
    }
}

/// A 3x3 convolution: dense (`conv`), or depthwise and pointwise.
#[derive(Module, Debug)]
pub(super) struct Spatial {
    conv: Option<ConvNorm>,
    dconv: Option<ConvAct>,
    pconv: Option<ConvAct>,
}

impl Spatial {
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let mut output = input;
        if let Some(conv) = &self.conv {
            output = silu(conv.forward(output));
        }
        for part in [&self.dconv, &self.pconv].into_iter().flatten() {
            output = part.forward(output);
        }
        output
    }

    pub(super) fn fold(&self) -> Self {
        Self {
            conv: self.conv.as_ref().map(ConvNorm::fold),
            dconv: self.dconv.as_ref().map(ConvAct::fold),
            pconv: self.pconv.as_ref().map(ConvAct::fold),
        }
    }
}

/// 1x1 and 3x3 convolution, with or without a shortcut around them.
#[derive(Module, Debug)]
struct Bottleneck {
    conv1: ConvAct,
    conv2: Spatial,
    shortcut: bool,
}

impl Bottleneck {
    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let output = self.conv2.forward(self.conv1.forward(input.clone()));
        if self.shortcut {
            output + input
        } else {
            output
        }
    }
}

/// Half of the channels go through bottlenecks, the other half around them.
#[derive(Module, Debug)]
pub(super) struct Csp {
    conv1: ConvAct,
    conv2: ConvAct,
    conv3: ConvAct,
    m: Vec<Bottleneck>,
}

impl Csp {
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let around = self.conv2.forward(input.clone());
        let first = self.conv1.forward(input);
        let through = self.m.iter().fold(first, |x, layer| layer.forward(x));
        self.conv3.forward(Tensor::cat(vec![through, around], 1))
    }

    pub(super) fn fold(&self) -> Self {
        let bottleneck = |layer: &Bottleneck| Bottleneck {
            conv1: layer.conv1.fold(),
            conv2: layer.conv2.fold(),
            shortcut: layer.shortcut,
        };
        Self {
            conv1: self.conv1.fold(),
            conv2: self.conv2.fold(),
            conv3: self.conv3.fold(),
            m: self.m.iter().map(bottleneck).collect(),
        }
    }
}

/// Max pools of 5, 9 and 13 pixels beside the input.
#[derive(Module, Debug)]
struct Spp {
    conv1: ConvAct,
    conv2: ConvAct,
}

impl Spp {
    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let narrow = self.conv1.forward(input);
        let pool = |x| max_pool2d(x, 5, 1, 2);
        // The largest of 9x9 is the largest of 5x5 over 5x5 neighbours, and so on: the same
        // values for less work.
        let five = pool(narrow.clone());
        let nine = pool(five.clone());
        let thirteen = pool(nine.clone());
        self.conv2
            .forward(Tensor::cat(vec![narrow, five, nine, thirteen], 1))
    }
}

/// One stage of the backbone.
#[derive(Module, Debug)]
pub(super) struct Dark {
    down: Spatial,
    spp: Option<Spp>,
    csp: Csp,
}

impl Dark {
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let mut output = self.down.forward(input);
        if let Some(spp) = &self.spp {
            output = spp.forward(output);
        }
        self.csp.forward(output)
    }

    pub(super) fn fold(&self) -> Self {
        let spp = |spp: &Spp| Spp {
            conv1: spp.conv1.fold(),
            conv2: spp.conv2.fold(),
        };
        Self {
            down: self.down.fold(),
            spp: self.spp.as_ref().map(spp),
            csp: self.csp.fold(),
        }
    }
}
