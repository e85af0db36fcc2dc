//! The kernels as operations of the flex backend, with their gradients.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex, TensorMetadata};
use burn::tensor::{DType, Device, GradientCheckpointingStrategy, Tensor, TensorData};

use super::dense::{self, Extras};
use super::geometry::ConvGeometry;
use super::weight_gradient::{bias_gradient, weight_gradient};

type Tracked = FloatTensor<Autodiff<Flex>>;

/// Whether the kernels can compute on this tensor: flex, 32-bit floats, no recomputation of
/// activations in the backward pass.
pub(super) fn handles<const D: usize>(tensor: &Tensor<D>) -> bool {
    let device = tensor.device();
    let strategy = device.gradient_checkpointing_strategy();
    let plain = strategy.is_none_or(|strategy| strategy == GradientCheckpointingStrategy::Disabled);
    plain && device.inner() == Device::flex() && tensor.dtype() == DType::F32
}

/// A convolution's tensors.
pub(super) struct Operands {
    pub(super) x: Tensor<4>,
    pub(super) weight: Tensor<4>,
    pub(super) bias: Option<Tensor<1>>,
    pub(super) residual: Option<Tensor<4>>,
    pub(super) relu: bool,
}

/// The fused convolution; the caller has checked shapes and that `handles` holds for all tensors.
pub(super) fn convolve(geometry: &ConvGeometry, operands: Operands) -> Tensor<4> {
    let Operands {
        x,
        weight,
        bias,
        residual,
        relu,
    } = operands;
    let tracked = [
        Some(x.device()),
        Some(weight.device()),
        bias.as_ref().map(Tensor::device),
        residual.as_ref().map(Tensor::device),
    ]
    .iter()
    .flatten()
    .any(Device::is_autodiff);
    if !tracked {
        let output = run(
            geometry,
            &plain(x),
            &plain(weight),
            bias.map(plain).as_ref(),
            residual.map(plain).as_ref(),
            relu,
        );
        return Tensor::from_primitive::<Flex>(output);
    }
    let (x, weight) = (lift(x), lift(weight));
    let output = match (bias.map(lift), residual.map(lift)) {
        (None, None) => tracked_convolve(*geometry, [x, weight], Roles::default(), relu),
        (Some(bias), None) => tracked_convolve(
            *geometry,
            [x, weight, bias],
            Roles {
                bias: Some(2),
                residual: None,
            },
            relu,
        ),
        (None, Some(residual)) => tracked_convolve(
            *geometry,
            [x, weight, residual],
            Roles {
                bias: None,
                residual: Some(2),
            },
            relu,
        ),
        (Some(bias), Some(residual)) => tracked_convolve(
            *geometry,
            [x, weight, bias, residual],
            Roles {
                bias: Some(2),
                residual: Some(3),
            },
            relu,
        ),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(output)
}

fn plain<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    tensor
        .try_into_primitive::<Flex>()
        .expect("the device was checked to be plain flex")
}

/// The tensor on the autodiff device; a plain one becomes a constant.
fn lift<const D: usize>(tensor: Tensor<D>) -> Tracked {
    let tensor = if tensor.device().is_autodiff() {
        tensor
    } else {
        Tensor::from_inner(tensor)
    };
    tensor
        .try_into_primitive::<Autodiff<Flex>>()
        .expect("the device was checked to be flex without checkpointing")
}

/// Contiguous floats of a tensor.
fn with_floats<T>(tensor: &FlexTensor, read: impl FnOnce(&[f32]) -> T) -> T {
    match tensor.as_slice::<f32>() {
        Some(floats) => read(floats),
        None => read(
            tensor
                .to_contiguous()
                .as_slice::<f32>()
                .expect("it was just made contiguous"),
        ),
    }
}

fn tensor<const D: usize>(floats: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(floats, shape))
}

fn run(
    geometry: &ConvGeometry,
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: Option<&FlexTensor>,
    residual: Option<&FlexTensor>,
    relu: bool,
) -> FlexTensor {
    let [rows, columns] = geometry
        .output()
        .expect("the caller checked that the kernel fits");
    let bias = bias.map(FlexTensor::to_contiguous);
    let residual = residual.map(FlexTensor::to_contiguous);
    let extras = Extras {
        bias: bias.as_ref().and_then(FlexTensor::as_slice),
        residual: residual.as_ref().and_then(FlexTensor::as_slice),
        relu,
    };
    let output = with_floats(x, |x| {
        with_floats(weight, |weight| {
            dense::forward(geometry, x, weight, &extras)
        })
    });
    tensor(
        output,
        [geometry.batch, geometry.channels_out, rows, columns],
    )
}

/// Which parent is the bias and which the residual.
#[derive(Clone, Copy, Debug, Default)]
struct Roles {
    bias: Option<usize>,
    residual: Option<usize>,
}

/// What the backward pass needs; only what some tracked parent asks for is kept.
#[derive(Clone, Debug)]
struct Kept {
    geometry: ConvGeometry,
    roles: Roles,
    x: Option<FlexTensor>,
    weight: Option<FlexTensor>,
    /// The output, where its sign tells which gradients a ReLU lets through.
    output: Option<FlexTensor>,
}

#[derive(Debug)]
struct FusedConvolution;

impl<const N: usize> Backward<Flex, N> for FusedConvolution {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let kept = ops.state;
        let geometry = &kept.geometry;
        let mut grad = grads.consume::<Flex>(&ops.node);
        if let Some(output) = &kept.output {
            grad = masked(&grad, output);
        }
        let [channels_in, channels_out] = [geometry.channels_in, geometry.channels_out];
        let [height, width] = geometry.input;
        let kernel = geometry.kernel;
        for (index, node) in ops.parents.into_iter().enumerate() {
            let Some(node) = node else { continue };
            let gradient = if kept.roles.residual == Some(index) {
                grad.clone()
            } else if kept.roles.bias == Some(index) {
                tensor(
                    with_floats(&grad, |grad| bias_gradient(geometry, grad)),
                    [channels_out],
                )
            } else if index == 0 {
                let weight = kept
                    .weight
                    .as_ref()
                    .expect("kept because the input is tracked");
                let floats = with_floats(&grad, |grad| {
                    with_floats(weight, |weight| {
                        dense::input_gradient(geometry, grad, weight)
                    })
                });
                tensor(floats, [geometry.batch, channels_in, height, width])
            } else {
                let x = kept.x.as_ref().expect("kept because the weight is tracked");
                let floats = with_floats(&grad, |grad| {
                    with_floats(x, |x| weight_gradient(geometry, x, grad))
                });
                tensor(
                    floats,
                    [
                        channels_out,
                        channels_in / geometry.groups,
                        kernel[0],
                        kernel[1],
                    ],
                )
            };
            grads.register::<Flex>(node.id, gradient);
        }
    }
}

/// The gradient where the output of a ReLU is positive, zero elsewhere.
fn masked(grad: &FlexTensor, output: &FlexTensor) -> FlexTensor {
    let shape = grad.shape();
    let floats = with_floats(grad, |grad| {
        with_floats(output, |output| {
            let passed = |(grad, output): (&f32, &f32)| if *output > 0.0 { *grad } else { 0.0 };
            grad.iter().zip(output).map(passed).collect::<Vec<f32>>()
        })
    });
    FlexTensor::from_data(TensorData::new(floats, shape))
}

fn tracked_convolve<const N: usize>(
    geometry: ConvGeometry,
    parents: [Tracked; N],
    roles: Roles,
    relu: bool,
) -> Tracked {
    let output = run(
        &geometry,
        parents[0].primitive(),
        parents[1].primitive(),
        roles.bias.map(|index| parents[index].primitive()),
        roles.residual.map(|index| parents[index].primitive()),
        relu,
    );
    let nodes = parents.each_ref().map(Tracked::node);
    match FusedConvolution
        .prepare::<NoCheckpointing>(nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => {
            let keep = |needed: bool, tensor: &FlexTensor| needed.then(|| tensor.clone());
            let kept = Kept {
                geometry,
                roles,
                x: keep(parents[1].is_tracked(), parents[0].primitive()),
                weight: keep(parents[0].is_tracked(), parents[1].primitive()),
                output: keep(relu, &output),
            };
            prep.finish(kept, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
