//! The pieces of a residual network.

use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig, Linear};
use burn::tensor::activation::relu;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor, TensorData};
use rand_core::Rng;
use rand_pcg::Pcg64;

use super::config::{BlockKind, BlockPlan, ShortcutKind, StemConfig};
use crate::ops::{ConvGeometry, conv2d, conv2d_relu, subsample};

/// Where the first values of convolutions come from.
pub(crate) enum Weights {
    /// All zero: a file will fill them.
    Zero,
    /// Drawn from a generator on the host.
    Seeded(Box<Pcg64>),
}

impl Weights {
    /// Values with the given bound, uniform in `-bound..bound`.
    fn draw(&mut self, count: usize, bound: f32) -> Vec<f32> {
        match self {
            Self::Zero => vec![0.0; count],
            Self::Seeded(rng) => (0..count)
                .map(|_| {
                    // 24 bits fit an f32 exactly, so the value is the same on every machine.
                    let unit = (rng.next_u32() >> 8) as f32 / 8_388_608.0 - 1.0;
                    unit * bound
                })
                .collect(),
        }
    }
}

/// A convolution with its batch norm, or with a bias once the norm is folded into it.
#[derive(Module, Debug)]
pub(crate) struct ConvNorm {
    weight: Param<Tensor<4>>,
    bias: Option<Param<Tensor<1>>>,
    norm: Option<BatchNorm>,
    stride: usize,
    padding: usize,
    dilation: usize,
    groups: usize,
}

/// Channels and kernel of a [`ConvNorm`].
#[derive(Clone, Copy)]
struct ConvShape {
    inputs: usize,
    outputs: usize,
    kernel: usize,
}

impl ConvNorm {
    fn new(
        shape: ConvShape,
        geometry: ConvGeometry,
        weights: &mut Weights,
        device: &Device,
    ) -> Self {
        let ConvShape {
            inputs,
            outputs,
            kernel,
        } = shape;
        let fan_in = inputs / geometry.groups * kernel * kernel;
        let bound = bound(6.0, fan_in);
        let dims = [outputs, inputs / geometry.groups, kernel, kernel];
        let values = weights.draw(outputs * fan_in, bound);
        Self {
            weight: Param::from_data(TensorData::new(values, dims), device),
            bias: None,
            norm: Some(BatchNormConfig::new(outputs).init(device)),
            stride: geometry.stride,
            padding: geometry.padding,
            dilation: geometry.dilation,
            groups: geometry.groups,
        }
    }

    fn geometry(&self) -> ConvGeometry {
        ConvGeometry {
            stride: self.stride,
            padding: self.padding,
            dilation: self.dilation,
            groups: self.groups,
        }
    }

    /// `relu(forward(input) + residual)`; in one pass once the norm is folded.
    pub(crate) fn forward_relu(&self, input: Tensor<4>, residual: Option<Tensor<4>>) -> Tensor<4> {
        if self.norm.is_none() {
            let bias = self.bias.as_ref().map(Param::val);
            return conv2d_relu(input, self.weight.val(), bias, residual, self.geometry());
        }
        let output = self.forward(input);
        relu(match residual {
            Some(residual) => output + residual,
            None => output,
        })
    }

    pub(crate) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let bias = self.bias.as_ref().map(Param::val);
        let output = conv2d(input, self.weight.val(), bias, self.geometry());
        match &self.norm {
            Some(norm) => norm.forward(output),
            None => output,
        }
    }

    /// The same map as one convolution with bias.
    ///
    /// With running mean m and variance v, `gamma * (w * x - m) / sqrt(v + eps) + beta` is a
    /// convolution with weight `s * w` and bias `beta - s * m`, where `s = gamma / sqrt(v + eps)`.
    pub(crate) fn fold(&self) -> Self {
        let Some(norm) = &self.norm else {
            return self.clone();
        };
        let variance = norm.running_var.value_sync().detach();
        let mean = norm.running_mean.value_sync().detach();
        let scale = norm.gamma.val().detach() / (variance + norm.epsilon).sqrt();
        let bias = norm.beta.val().detach() - mean * scale.clone();
        let [outputs] = scale.dims();
        let weight = self.weight.val().detach() * scale.reshape([outputs, 1, 1, 1]);
        Self {
            weight: Param::from_tensor(weight),
            bias: Some(Param::from_tensor(bias)),
            norm: None,
            ..self.clone()
        }
    }
}

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
        let options = MaxPoolOptions::new([3, 3])
            .with_stride([2, 2])
            .with_padding([1, 1]);
        max_pool2d(output, options)
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

/// `sqrt(numerator / fan_in)`; a square root is rounded the same way everywhere.
fn bound(numerator: f32, fan_in: usize) -> f32 {
    let fan_in = u32::try_from(fan_in).expect("limits keep a fan-in below 2^32");
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a bound needs no more than an f32's precision"
    )]
    let bound = (f64::from(numerator) / f64::from(fan_in)).sqrt() as f32;
    bound
}
