//! Convolutions that are fast on the CPU and still differentiable.
//!
//! With the feature `flex`, tensors on the flex backend (tracked by autodiff or not) go through
//! kernels of this crate: a direct convolution on shifted copies of the input, with gradients
//! written by hand. A frozen weight costs no gradient. On every other backend, and without the
//! feature, the same functions call Burn's own operations and differ only in rounding.
//!
//! Results do not depend on the number of threads.

#[cfg(feature = "flex")]
mod curves;
#[cfg(feature = "flex")]
mod dense;
#[cfg(feature = "flex")]
mod depthwise;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod flex_maps;
#[cfg(feature = "flex")]
mod flex_mixture;
#[cfg(feature = "flex")]
mod flex_norm;
#[cfg(feature = "flex")]
mod flex_silu;
#[cfg(feature = "flex")]
mod geometry;
#[cfg(feature = "flex")]
mod maps;
#[cfg(feature = "flex")]
mod mixture;
#[cfg(feature = "flex")]
mod norm;
mod packed;
#[cfg(feature = "flex")]
mod panels;
#[cfg(feature = "flex")]
mod planes;
#[cfg(feature = "flex")]
mod silu_kernel;
#[cfg(feature = "flex")]
mod threads;
#[cfg(feature = "flex")]
mod tile;
#[cfg(feature = "flex")]
mod weight_gradient;

pub use packed::PackedWeights;

use burn::nn::BatchNorm;
use burn::tensor::module::{
    conv_transpose2d as burn_conv_transpose2d, conv2d as burn_conv2d, max_pool2d as burn_max_pool2d,
};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions, MaxPoolOptions};
use burn::tensor::{
    Tensor,
    activation::{relu, sigmoid as burn_sigmoid, silu as burn_silu},
};

/// Two-dimensional convolution, as [`burn::tensor::module::conv2d`] with one stride and one
/// padding for both axes.
///
/// # Shapes
///
/// - `x`: `[batch, channels_in, height, width]`
/// - `weight`: `[channels_out, channels_in / groups, kernel_height, kernel_width]`
/// - `bias`: `[channels_out]`
///
/// # Panics
///
/// As Burn's convolution, where the shapes do not fit together.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
    groups: usize,
) -> Tensor<4> {
    let spec = ConvSpec {
        stride,
        padding,
        groups,
    };
    fused(x, (weight, None), bias, None, spec, false)
}

/// Stride, zero padding on all four sides, and groups of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvSpec {
    /// Distance of two outputs in input pixels.
    pub stride: usize,
    /// Zeros added on each side, in pixels.
    pub padding: usize,
    /// Independent groups of channels.
    pub groups: usize,
}

/// `relu(conv2d(x) + bias + residual)` in one pass, with the ReLU's mask taken from the output in
/// the backward pass: a frozen network's block keeps one activation instead of four.
///
/// # Shapes
///
/// As [`conv2d`]; `residual` has the shape of the output.
///
/// # Panics
///
/// As [`conv2d`], or where `residual` has another shape than the output.
pub fn conv2d_relu(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    residual: Option<Tensor<4>>,
    spec: ConvSpec,
) -> Tensor<4> {
    fused(x, (weight, None), bias, residual, spec, true)
}

/// `conv2d(x) + bias + residual` in one pass.
///
/// # Shapes
///
/// As [`conv2d_relu`].
///
/// # Panics
///
/// As [`conv2d_relu`].
pub fn conv2d_add(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    residual: Tensor<4>,
    spec: ConvSpec,
) -> Tensor<4> {
    fused(x, (weight, None), bias, Some(residual), spec, false)
}

/// `conv2d(x) + bias + residual`, with a ReLU behind it where `with_relu`, from weights that are packed once: the
/// convolution of a network that doesn't learn. `packed` belongs to the weights.
///
/// # Shapes
///
/// As [`conv2d_relu`].
///
/// # Panics
///
/// As [`conv2d_relu`].
pub fn conv2d_packed(
    x: Tensor<4>,
    (weight, packed): (Tensor<4>, &PackedWeights),
    bias: Option<Tensor<1>>,
    residual: Option<Tensor<4>>,
    spec: ConvSpec,
    with_relu: bool,
) -> Tensor<4> {
    fused(x, (weight, Some(packed)), bias, residual, spec, with_relu)
}

fn fused(
    x: Tensor<4>,
    (weight, packed): (Tensor<4>, Option<&PackedWeights>),
    bias: Option<Tensor<1>>,
    residual: Option<Tensor<4>>,
    spec: ConvSpec,
    with_relu: bool,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(geometry) = fast(&x, &weight, bias.as_ref(), residual.as_ref(), spec) {
        let operands = flex::Operands {
            x,
            weight,
            bias,
            residual,
        };
        let plan = flex::Plan {
            geometry,
            direction: flex::Direction::Forward,
            relu: with_relu,
        };
        return flex::convolve(plan, operands, packed);
    }
    #[cfg(not(feature = "flex"))]
    let _ = packed;
    let ConvSpec {
        stride,
        padding,
        groups,
    } = spec;
    let options = ConvOptions::new([stride; 2], [padding; 2], [1, 1], groups);
    let mut output = burn_conv2d(x, weight, bias, options);
    if let Some(residual) = residual {
        output = output + residual;
    }
    if with_relu { relu(output) } else { output }
}

/// The geometry, where our kernels can take the operands and are faster than Burn's.
#[cfg(feature = "flex")]
fn fast(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    residual: Option<&Tensor<4>>,
    spec: ConvSpec,
) -> Option<geometry::ConvGeometry> {
    let [batch, channels_in, height, width] = x.dims();
    let [channels_out, group_in, kernel_height, kernel_width] = weight.dims();
    let ConvSpec {
        stride,
        padding,
        groups,
    } = spec;
    let numbers = [
        batch,
        channels_in,
        height,
        width,
        channels_out,
        group_in,
        kernel_height,
        kernel_width,
        stride,
        groups,
    ];
    let fits = !numbers.contains(&0)
        && group_in * groups == channels_in
        && channels_out % groups == 0
        && bias.is_none_or(|bias| bias.dims() == [channels_out]);
    if !fits {
        return None;
    }
    let geometry = geometry::ConvGeometry {
        batch,
        channels_in,
        channels_out,
        input: [height, width],
        kernel: [kernel_height, kernel_width],
        stride,
        padding,
        groups,
    };
    let ours = worth(&geometry)
        && flex::handles(x)
        && flex::handles(weight)
        && bias.is_none_or(flex::handles)
        && residual.is_none_or(flex::handles);
    if !ours {
        return None;
    }
    let [rows, columns] = geometry.output();
    let shape = [batch, channels_out, rows, columns];
    residual
        .is_none_or(|residual| residual.dims() == shape)
        .then_some(geometry)
}

/// Whether our kernels can compute this geometry and are the faster ones.
#[cfg(feature = "flex")]
fn worth(geometry: &geometry::ConvGeometry) -> bool {
    let [group_in, group_out] = geometry.group_channels();
    let [kernel_height, kernel_width] = geometry.kernel;
    // Panels of eight channels would be mostly empty for narrow groups.
    let wide = geometry.groups == 1 || group_in.min(group_out) >= 4;
    geometry.padding < kernel_height.min(kernel_width)
        && geometry.fits()
        && (wide || geometry.is_depthwise())
}

/// Stride, padding and groups of a transposed convolution, as in Burn and PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTransposeSpec {
    /// Distance of two inputs in output pixels.
    pub stride: usize,
    /// Output pixels cut off on each side.
    pub padding: usize,
    /// Output pixels added at the bottom and on the right.
    pub padding_out: usize,
    /// Independent groups of channels.
    pub groups: usize,
}

/// Two-dimensional transposed convolution, as [`burn::tensor::module::conv_transpose2d`].
///
/// # Shapes
///
/// - `x`: `[batch, channels_in, height, width]`
/// - `weight`: `[channels_in, channels_out / groups, kernel_height, kernel_width]`
/// - `bias`: `[channels_out]`
///
/// # Panics
///
/// As Burn's transposed convolution, where the shapes do not fit together.
pub fn conv_transpose2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    spec: ConvTransposeSpec,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(geometry) = fast_transpose(&x, &weight, bias.as_ref(), spec) {
        let operands = flex::Operands {
            x,
            weight,
            bias,
            residual: None,
        };
        let plan = flex::Plan {
            geometry,
            direction: flex::Direction::Adjoint,
            relu: false,
        };
        return flex::convolve(plan, operands, None);
    }
    let ConvTransposeSpec {
        stride,
        padding,
        padding_out,
        groups,
    } = spec;
    let options =
        ConvTransposeOptions::new([stride; 2], [padding; 2], [padding_out; 2], [1, 1], groups);
    burn_conv_transpose2d(x, weight, bias, options)
}

/// The geometry of the convolution whose adjoint this is, where our kernels are to be used.
#[cfg(feature = "flex")]
fn fast_transpose(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    spec: ConvTransposeSpec,
) -> Option<geometry::ConvGeometry> {
    let [batch, channels_in, height, width] = x.dims();
    let [rows, group_out, kernel_height, kernel_width] = weight.dims();
    let ConvTransposeSpec {
        stride,
        padding,
        padding_out,
        groups,
    } = spec;
    let numbers = [
        batch,
        channels_in,
        height,
        width,
        group_out,
        kernel_height,
        kernel_width,
        stride,
        groups,
    ];
    let fits = !numbers.contains(&0)
        && rows == channels_in
        && channels_in % groups == 0
        && padding_out < stride
        && stride <= kernel_height.min(kernel_width)
        && bias.is_none_or(|bias| bias.dims() == [group_out * groups]);
    if !fits {
        return None;
    }
    let length = |length: usize, kernel: usize| {
        ((length - 1) * stride + kernel + padding_out).checked_sub(2 * padding)
    };
    let geometry = geometry::ConvGeometry {
        batch,
        channels_in: group_out * groups,
        channels_out: channels_in,
        input: [length(height, kernel_height)?, length(width, kernel_width)?],
        kernel: [kernel_height, kernel_width],
        stride,
        padding,
        groups,
    };
    let ours = !geometry.input.contains(&0)
        && worth(&geometry)
        && geometry.output() == [height, width]
        && flex::handles(x)
        && flex::handles(weight)
        && bias.is_none_or(flex::handles);
    ours.then_some(geometry)
}

/// Batch norm, as [`BatchNorm::forward`].
///
/// # Shapes
///
/// - `x` and output: `[batch, channels, height, width]`
///
/// # Panics
///
/// Where `x` has other channels than `norm`.
pub fn batch_norm(norm: &BatchNorm, x: Tensor<4>) -> Tensor<4> {
    normalize(norm, x, None, false)
}

/// `relu(batch_norm(x) + residual)`, with the ReLU's mask taken from the output in the backward
/// pass. In training, the statistics and the gradients take two passes over the data each.
///
/// # Shapes
///
/// As [`batch_norm`]; `residual` has the shape of `x`.
///
/// # Panics
///
/// As [`batch_norm`], or where `residual` has another shape than `x`.
pub fn batch_norm_relu(norm: &BatchNorm, x: Tensor<4>, residual: Option<Tensor<4>>) -> Tensor<4> {
    normalize(norm, x, residual, true)
}

fn normalize(
    norm: &BatchNorm,
    x: Tensor<4>,
    residual: Option<Tensor<4>>,
    with_relu: bool,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if fast_norm(norm, &x, residual.as_ref()) {
        return normalize_fast(norm, x, residual, with_relu);
    }
    let mut output = norm.forward(x);
    if let Some(residual) = residual {
        output = output + residual;
    }
    if with_relu { relu(output) } else { output }
}

/// Whether our kernels can take this batch norm: in training, or on plain tensors.
#[cfg(feature = "flex")]
fn fast_norm(norm: &BatchNorm, x: &Tensor<4>, residual: Option<&Tensor<4>>) -> bool {
    let dims = x.dims();
    let device = x.device();
    let plain = |tensor: &Tensor<1>| !tensor.device().is_autodiff();
    let (gamma, beta) = (norm.gamma.val(), norm.beta.val());
    !dims.contains(&0)
        && gamma.dims() == [dims[1]]
        && flex::handles(x)
        && flex::handles(&gamma)
        && flex::handles(&beta)
        && residual.is_none_or(|residual| residual.dims() == dims && flex::handles(residual))
        && if device.is_autodiff() {
            norm.training.is_enabled()
        } else {
            plain(&gamma)
                && plain(&beta)
                && residual.is_none_or(|residual| {
                    residual.device() == device && !residual.device().is_autodiff()
                })
        }
}

#[cfg(feature = "flex")]
fn normalize_fast(
    norm: &BatchNorm,
    x: Tensor<4>,
    residual: Option<Tensor<4>>,
    with_relu: bool,
) -> Tensor<4> {
    let device = x.device();
    let operands = flex_norm::Operands {
        x,
        gamma: norm.gamma.val(),
        beta: norm.beta.val(),
        residual,
    };
    if !device.is_autodiff() {
        let statistics = [norm.running_mean.value(), norm.running_var.value()]
            .map(|statistic| statistic.to_device(&device));
        return flex_norm::infer(operands, statistics, norm.epsilon, with_relu);
    }
    let trained = flex_norm::train(operands, norm.epsilon, with_relu);
    let momentum = norm.momentum;
    for (running, batch) in [
        (&norm.running_mean, trained.mean),
        (&norm.running_var, trained.variance),
    ] {
        let old = running.value_sync().to_device(&device);
        let new = old.mul_scalar(1.0 - momentum) + batch.mul_scalar(momentum);
        running.update(new.detach());
    }
    trained.output
}

/// `x * sigmoid(x)` in one pass, in the buffer of `x` where nothing else holds it.
///
/// # Shapes
///
/// - `x`: `[batch, channels, height, width]`
/// - output: the same
pub fn silu(x: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if flex::handles(&x) {
        return flex_silu::silu(x);
    }
    burn_silu(x)
}

/// `1 / (1 + exp(-x))`, in the buffer of `x` where nothing else holds it.
///
/// # Shapes
///
/// - `x`: `[batch, channels, height, width]`
/// - output: the same
pub fn sigmoid(x: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if flex::handles(&x) && !x.device().is_autodiff() {
        return flex_silu::sigmoid(x);
    }
    burn_sigmoid(x)
}

/// The largest value of each square window, as [`burn::tensor::module::max_pool2d`]; values outside never win.
///
/// # Shapes
///
/// - `x`: `[batch, channels, height, width]`
/// - output: `[batch, channels, (height + 2 * padding - size) / stride + 1, ...]`
///
/// # Panics
///
/// If a window can lie outside altogether (`2 * padding > size`) or doesn't fit the padded map, and where the stride is 0.
pub fn max_pool2d(x: Tensor<4>, size: usize, stride: usize, padding: usize) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    assert!(
        2 * padding <= size && size <= height.min(width) + 2 * padding && stride > 0,
        "no windows of {size} at every {stride} with {padding} of padding on {height}x{width}"
    );
    #[cfg(feature = "flex")]
    if flex::handles(&x) && !x.device().is_autodiff() {
        let windows = maps::Windows {
            size,
            stride,
            padding,
        };
        return flex_maps::max_pool(x, windows);
    }
    let options = MaxPoolOptions::new([size, size])
        .with_stride([stride, stride])
        .with_padding([padding, padding]);
    burn_max_pool2d(x, options)
}

/// Each value four times, in a square: the nearest neighbour on maps of twice the size.
///
/// # Shapes
///
/// - `x`: `[batch, channels, height, width]`
/// - output: `[batch, channels, 2 * height, 2 * width]`
pub fn double_nearest(x: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if flex::handles(&x) && !x.device().is_autodiff() {
        return flex_maps::doubled(x);
    }
    let [batch, channels, height, width] = x.dims();
    x.reshape([batch, channels, height, 1, width, 1])
        .expand([batch, channels, height, 2, width, 2])
        .reshape([batch, channels, 2 * height, 2 * width])
}

/// A mixture of logistics for each channel; every tensor is `[components, channels]`.
#[derive(Clone, Debug)]
pub struct LogisticMixture {
    /// Share of each component; they sum to one over the components.
    pub weights: Tensor<2>,
    /// Centres.
    pub locations: Tensor<2>,
    /// One over the scales.
    pub inverse_scales: Tensor<2>,
}

/// Nats that each picture's values cost under their channels' mixtures, integrated over bins of
/// width one: `-ln(max(p, 0) + floor)`, summed over channels and points.
///
/// # Shapes
///
/// - `x`: `[batch, channels, points]`
/// - output: `[batch]`
///
/// # Panics
///
/// Where the mixture has other channels than `x`.
pub fn mixture_nats(x: Tensor<3>, mixture: LogisticMixture, floor: f32) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if fast_mixture(&x, &mixture) {
        return flex_mixture::nats(x, mixture, floor);
    }
    let [batch, channels, _] = x.dims();
    let [components, _] = mixture.weights.dims();
    let mut probability = x.zeros_like();
    for component in 0..components {
        let of = |parameter: &Tensor<2>| {
            let row = parameter
                .clone()
                .slice([component..component + 1, 0..channels]);
            row.reshape([1, channels, 1])
        };
        let centred = x.clone() - of(&mixture.locations);
        let inverse = of(&mixture.inverse_scales);
        let upper = burn_sigmoid(centred.clone().add_scalar(0.5) * inverse.clone());
        let lower = burn_sigmoid(centred.sub_scalar(0.5) * inverse);
        probability = probability + (upper - lower) * of(&mixture.weights);
    }
    let nats = probability.clamp_min(0.0).add_scalar(floor).log().neg();
    nats.sum_dim(2).sum_dim(1).reshape([batch])
}

/// Whether our kernel can take the mixture: on an autodiff device, since it computes derivatives.
#[cfg(feature = "flex")]
fn fast_mixture(x: &Tensor<3>, mixture: &LogisticMixture) -> bool {
    let [batch, channels, points] = x.dims();
    let LogisticMixture {
        weights,
        locations,
        inverse_scales,
    } = mixture;
    let [components, _] = weights.dims();
    let parameters = [weights, locations, inverse_scales];
    batch * points > 0
        && (1..=mixture::MAX_COMPONENTS).contains(&components)
        && (x.device().is_autodiff() || weights.device().is_autodiff())
        && flex::handles(x)
        && parameters.iter().all(|parameter| {
            parameter.dims() == [components, channels] && flex::handles(*parameter)
        })
}

#[cfg(test)]
mod tests;
