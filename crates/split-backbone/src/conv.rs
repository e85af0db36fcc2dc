//! Convolutions with their norms, as every backbone uses them.

use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use crate::ops::{ConvGeometry, PackedWeights, conv2d, conv2d_relu};

/// Where the first values of convolutions come from.
pub(crate) enum Weights {
    /// All zero: a file will fill them.
    Zero,
    /// Drawn from a generator on the host.
    Seeded(Box<Pcg64>),
}

impl Weights {
    /// Weights from a generator with this seed.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self::Seeded(Box::new(Pcg64::seed_from_u64(seed)))
    }

    /// Values with the given bound, uniform in `-bound..bound`.
    pub(crate) fn draw(&mut self, count: usize, bound: f32) -> Vec<f32> {
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
    #[module(skip)]
    packed: PackedWeights,
}

/// Channels and kernel of a [`ConvNorm`].
#[derive(Clone, Copy)]
pub(crate) struct ConvShape {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) kernel: usize,
}

impl ConvNorm {
    pub(crate) fn new(
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
            packed: PackedWeights::default(),
        }
    }

    /// A convolution with bias and without norm.
    pub(crate) fn with_bias(
        shape: ConvShape,
        geometry: ConvGeometry,
        weights: &mut Weights,
        device: &Device,
    ) -> Self {
        let bias = TensorData::new(vec![0.0_f32; shape.outputs], [shape.outputs]);
        Self {
            norm: None,
            bias: Some(Param::from_data(bias, device)),
            ..Self::new(shape, geometry, weights, device)
        }
    }

    /// The same layer whose norm uses another epsilon.
    pub(crate) fn with_epsilon(mut self, epsilon: f64) -> Self {
        if let Some(norm) = &mut self.norm {
            norm.epsilon = epsilon;
        }
        self
    }

    fn weights(&self) -> (Tensor<4>, &PackedWeights) {
        (self.weight.val(), &self.packed)
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
            return conv2d_relu(input, self.weights(), bias, residual, self.geometry());
        }
        let output = self.forward(input);
        relu(match residual {
            Some(residual) => output + residual,
            None => output,
        })
    }

    pub(crate) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let bias = self.bias.as_ref().map(Param::val);
        let output = conv2d(input, self.weights(), bias, self.geometry());
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
            packed: PackedWeights::default(),
            ..self.clone()
        }
    }
}

/// `sqrt(numerator / fan_in)`; a square root is rounded the same way everywhere.
pub(crate) fn bound(numerator: f32, fan_in: usize) -> f32 {
    let fan_in = u32::try_from(fan_in).expect("limits keep a fan-in below 2^32");
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a bound needs no more than an f32's precision"
    )]
    let bound = (f64::from(numerator) / f64::from(fan_in)).sqrt() as f32;
    bound
}
