//! The pieces of a residual network.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData};
use split_bottleneck::ops::max_pool2d;

use super::config::{BlockKind, BlockPlan, ShortcutKind, StemConfig};
use crate::conv::{ConvNorm, ConvShape, Weights, bound};
use crate::ops::{ConvGeometry, subsample};

/// Convolution, norm, rectifier and perhaps a max pool.
#[derive(Module, Debug)]
pub(crate) struct Stem {
    conv1: ConvNorm,
    max_pool: bool,
}

impl Stem {
    pub(crate) fn new(config: StemConfig, weights: &mut Weights, device: &Device) -> Self {
        let shape = ConvShape {
            inputs: 3,
            outputs: config.width,
            kernel: config.kernel,
        };
        let geometry = ConvGeometry {
            stride: config.stride,
            padding: config.kernel / 2,
            dilation: 1,
            groups: 1,
        };
        Self {
            conv1: ConvNorm::new(shape, geometry, weights, device),
            max_pool: config.max_pool,
        }
    }

    pub(crate) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let output = self.conv1.forward_relu(input, None);
        if !self.max_pool {
            return output;
        }
        max_pool2d(output, 3, 2, 1)
    }

    pub(crate) fn fold(&self) -> Self {
        Self {
            conv1: self.conv1.fold(),
            max_pool: self.max_pool,
        }
    }
}

/// One residual block.
#[derive(Module, Debug)]
pub(crate) struct Block {
    conv1: ConvNorm,
    conv2: ConvNorm,
    /// Only in bottleneck blocks.
    conv3: Option<ConvNorm>,
    /// Only where a projection changes the shape.
    downsample: Option<ConvNorm>,
    stride: usize,
    /// Zero channels that the shortcut without weights puts in front and behind.
    pad_front: usize,
    pad_back: usize,
}

impl Block {
    pub(crate) fn new(plan: &BlockPlan, weights: &mut Weights, device: &Device) -> Self {
        let conv = |inputs, outputs, kernel, geometry, weights: &mut Weights| {
            let shape = ConvShape {
                inputs,
                outputs,
                kernel,
            };
            ConvNorm::new(shape, geometry, weights, device)
        };
        let spatial = |stride, dilation| ConvGeometry {
            stride,
            padding: dilation,
            dilation,
            groups: plan.groups,
        };
        let pointwise = |stride| ConvGeometry {
            stride,
            padding: 0,
            dilation: 1,
            groups: 1,
        };
        let BlockPlan {
            inputs,
            width,
            outputs,
            stride,
            dilation,
            ..
        } = *plan;
        let (conv1, conv2, conv3) = match plan.kind {
            BlockKind::Basic => (
                conv(inputs, width, 3, spatial(stride, dilation), weights),
                conv(width, outputs, 3, spatial(1, dilation), weights),
                None,
            ),
            BlockKind::Bottleneck => (
                conv(inputs, width, 1, pointwise(1), weights),
                conv(width, width, 3, spatial(stride, dilation), weights),
                Some(conv(width, outputs, 1, pointwise(1), weights)),
            ),
        };
        let projects = plan.reshapes() && plan.shortcut == ShortcutKind::Projection;
        let extra = outputs.saturating_sub(inputs);
        let padded = plan.reshapes() && plan.shortcut == ShortcutKind::ZeroPad;
        Self {
            conv1,
            conv2,
            conv3,
            downsample: projects.then(|| conv(inputs, outputs, 1, pointwise(stride), weights)),
            stride,
            pad_front: if padded { extra / 2 } else { 0 },
            pad_back: if padded { extra - extra / 2 } else { 0 },
        }
    }

    pub(crate) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let shortcut = self.shortcut(input.clone());
        let output = self.conv1.forward_relu(input, None);
        match &self.conv3 {
            Some(conv3) => {
                let output = self.conv2.forward_relu(output, None);
                conv3.forward_relu(output, Some(shortcut))
            }
            None => self.conv2.forward_relu(output, Some(shortcut)),
        }
    }

    pub(crate) fn fold(&self) -> Self {
        Self {
            conv1: self.conv1.fold(),
            conv2: self.conv2.fold(),
            conv3: self.conv3.as_ref().map(ConvNorm::fold),
            downsample: self.downsample.as_ref().map(ConvNorm::fold),
            ..self.clone()
        }
    }

    fn shortcut(&self, input: Tensor<4>) -> Tensor<4> {
        if let Some(downsample) = &self.downsample {
            return downsample.forward(input);
        }
        let input = subsample(input, self.stride);
        if self.pad_front + self.pad_back == 0 {
            return input;
        }
        let [batch, _, height, width] = input.dims();
        let zeros = |channels| Tensor::zeros([batch, channels, height, width], &input.device());
        let (front, back) = (zeros(self.pad_front), zeros(self.pad_back));
        Tensor::cat(vec![front, input, back], 1)
    }
}

/// The mean of every channel, as `[n, c, 1, 1]`.
pub(crate) fn pool(input: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = input.dims();
    input
        .reshape([batch, channels, height * width])
        .mean_dim(2)
        .reshape([batch, channels, 1, 1])
}

pub(crate) fn classifier(
    features: usize,
    classes: usize,
    weights: &mut Weights,
    device: &Device,
) -> Linear {
    let bound = bound(1.0, features);
    let weight = TensorData::new(weights.draw(features * classes, bound), [features, classes]);
    let bias = TensorData::new(weights.draw(classes, bound), [classes]);
    Linear {
        weight: Param::from_data(weight, device),
        bias: Some(Param::from_data(bias, device)),
    }
}
