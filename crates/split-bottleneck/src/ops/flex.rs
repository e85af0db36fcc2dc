//! The kernels as operations of the flex backend, with their gradients.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{DType, Device, GradientCheckpointingStrategy, Tensor, TensorData};

use super::dense::{self, Extras};
use super::depthwise;
use super::geometry::ConvGeometry;
use super::packed::{PackedWeights, Panels};
use super::threads;
use super::weight_gradient::{bias_gradient, weight_gradient};

pub(super) type Tracked = FloatTensor<Autodiff<Flex>>;

/// Whether the kernels can compute on this tensor: flex, 32-bit floats, no recomputation of
/// activations in the backward pass.
pub(super) fn handles<const D: usize>(tensor: &Tensor<D>) -> bool {
    let device = tensor.device();
    let strategy = device.gradient_checkpointing_strategy();
    strategy.is_none_or(|strategy| strategy == GradientCheckpointingStrategy::Disabled)
        && device.inner() == Device::flex()
        && tensor.dtype() == DType::F32
}

/// Which way a geometry is used: as a convolution, or as its adjoint, the transposed convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Adjoint,
}

/// What is computed, without the tensors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) geometry: ConvGeometry,
    pub(super) direction: Direction,
    /// Negative outputs become zero.
    pub(super) relu: bool,
}

impl Plan {
    fn input_shape(&self) -> [usize; 4] {
        shape(&self.geometry, self.direction == Direction::Forward)
    }

    fn output_shape(&self) -> [usize; 4] {
        shape(&self.geometry, self.direction == Direction::Adjoint)
    }

    fn weight_shape(&self) -> [usize; 4] {
        let geometry = &self.geometry;
        let [group_in, _] = geometry.group_channels();
        let [height, width] = geometry.kernel;
        [geometry.channels_out, group_in, height, width]
    }
}

/// Shape of the convolution's input or output.
fn shape(geometry: &ConvGeometry, input: bool) -> [usize; 4] {
    let (channels, [height, width]) = if input {
        (geometry.channels_in, geometry.input)
    } else {
        (geometry.channels_out, geometry.output())
    };
    [geometry.batch, channels, height, width]
}

/// A convolution's tensors.
pub(super) struct Operands {
    pub(super) x: Tensor<4>,
    pub(super) weight: Tensor<4>,
    pub(super) bias: Option<Tensor<1>>,
    /// Only in the forward direction.
    pub(super) residual: Option<Tensor<4>>,
}

/// Weights that are packed for the forward direction, and where they are kept.
fn packed(plan: &Plan, weight: &FlexTensor, kept: Option<&PackedWeights>) -> Option<Panels> {
    let dense = plan.direction == Direction::Forward && !plan.geometry.is_depthwise();
    let kept = kept.filter(|_| dense)?;
    kept.of(weight, |floats| dense::pack(&plan.geometry, floats))
}

/// The fused convolution; the caller has checked shapes and that `handles` holds for all tensors.
pub(super) fn convolve(plan: Plan, operands: Operands, kept: Option<&PackedWeights>) -> Tensor<4> {
    let Operands {
        x,
        weight,
        bias,
        residual,
    } = operands;
    let tracked = x.device().is_autodiff()
        || weight.device().is_autodiff()
        || bias
            .as_ref()
            .is_some_and(|bias| bias.device().is_autodiff())
        || residual
            .as_ref()
            .is_some_and(|residual| residual.device().is_autodiff());
    if !tracked {
        let bias = bias.map(plain);
        let residual = residual.map(plain);
        let weight = plain(weight);
        let panels = packed(&plan, &weight, kept);
        let panels = panels.as_deref().map(Vec::as_slice);
        let added = [bias.as_ref(), residual.as_ref()];
        let output = run(&plan, [&plain(x), &weight], added, panels);
        return Tensor::from_primitive::<Flex>(output);
    }
    let (x, weight) = (lift(x), lift(weight));
    let output = match (bias.map(lift), residual.map(lift)) {
        (None, None) => record(plan, [x, weight], [None, None]),
        (Some(bias), None) => record(plan, [x, weight, bias], [Some(2), None]),
        (None, Some(residual)) => record(plan, [x, weight, residual], [None, Some(2)]),
        (Some(bias), Some(residual)) => {
            record(plan, [x, weight, bias, residual], [Some(2), Some(3)])
        }
    };
    Tensor::from_primitive::<Autodiff<Flex>>(output)
}

pub(super) fn plain<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    tensor
        .try_into_primitive::<Flex>()
        .expect("the device was checked to be plain flex")
}

/// The tensor on the autodiff device; a plain one becomes a constant.
pub(super) fn lift<const D: usize>(tensor: Tensor<D>) -> Tracked {
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
pub(super) fn with_floats<T>(tensor: &FlexTensor, read: impl FnOnce(&[f32]) -> T) -> T {
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

pub(super) fn tensor<const D: usize>(floats: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(floats, shape))
}

/// The tensor with its values from the start of its storage on.
pub(super) fn owned(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() && tensor.layout().start_offset() == 0 {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// The kernel for a direction: dense or depthwise.
fn kernel(
    geometry: &ConvGeometry,
    direction: Direction,
    x: &FlexTensor,
    weight: &FlexTensor,
    extras: &Extras<'_>,
) -> Vec<f32> {
    let kernel = match (direction, geometry.is_depthwise()) {
        (Direction::Forward, false) => dense::forward,
        (Direction::Forward, true) => depthwise::forward,
        (Direction::Adjoint, false) => dense::adjoint,
        (Direction::Adjoint, true) => depthwise::adjoint,
    };
    with_floats(x, |x| {
        with_floats(weight, |weight| kernel(geometry, x, weight, extras))
    })
}

fn run(
    plan: &Plan,
    [x, weight]: [&FlexTensor; 2],
    added: [Option<&FlexTensor>; 2],
    panels: Option<&[Vec<f32>]>,
) -> FlexTensor {
    let [bias, residual] = added.map(|tensor| tensor.map(FlexTensor::to_contiguous));
    let extras = Extras {
        bias: bias.as_ref().and_then(FlexTensor::as_slice),
        residual: residual.as_ref().and_then(FlexTensor::as_slice),
        relu: plan.relu,
        panels,
    };
    let output = kernel(&plan.geometry, plan.direction, x, weight, &extras);
    tensor(output, plan.output_shape())
}

/// What the backward pass needs; only what some tracked parent asks for is kept.
#[derive(Clone, Debug)]
struct Kept {
    plan: Plan,
    /// Which parent is the bias, and which the residual.
    extras: [Option<usize>; 2],
    x: Option<FlexTensor>,
    weight: Option<FlexTensor>,
    /// The output, where its sign tells which gradients a ReLU lets through.
    output: Option<FlexTensor>,
}

impl Kept {
    /// The gradient of the parent `index`, from that of the output before the ReLU.
    fn gradient(&self, index: usize, grad: &FlexTensor) -> FlexTensor {
        let plan = &self.plan;
        let geometry = &plan.geometry;
        let [bias, residual] = self.extras;
        if residual == Some(index) {
            return grad.clone();
        }
        if bias == Some(index) {
            let [_, channels, height, width] = plan.output_shape();
            let sums = with_floats(grad, |grad| bias_gradient(grad, channels, height * width));
            return tensor(sums, [channels]);
        }
        if index == 0 {
            let back = match plan.direction {
                Direction::Forward => Direction::Adjoint,
                Direction::Adjoint => Direction::Forward,
            };
            let weight = self.weight.as_ref().expect("kept for the tracked input");
            let floats = kernel(geometry, back, grad, weight, &Extras::default());
            return tensor(floats, plan.input_shape());
        }
        let x = self.x.as_ref().expect("kept for the tracked weight");
        // The adjoint's input is the convolution's output gradient, and the other way round.
        let (input, output_grad) = match plan.direction {
            Direction::Forward => (x, grad),
            Direction::Adjoint => (grad, x),
        };
        let kernel = if geometry.is_depthwise() {
            depthwise::weight_gradient
        } else {
            weight_gradient
        };
        let floats = with_floats(input, |input| {
            with_floats(output_grad, |grad| kernel(geometry, input, grad))
        });
        tensor(floats, plan.weight_shape())
    }
}

#[derive(Debug)]
struct FusedConvolution;

impl<const N: usize> Backward<Flex, N> for FusedConvolution {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let kept = ops.state;
        let mut grad = grads.consume::<Flex>(&ops.node);
        if let Some(output) = &kept.output {
            grad = masked(grad, output);
        }
        for (index, node) in ops.parents.into_iter().enumerate() {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, kept.gradient(index, &grad));
            }
        }
    }
}

/// The gradient where the output of a ReLU is positive, zero elsewhere.
pub(super) fn masked(mut grad: FlexTensor, output: &FlexTensor) -> FlexTensor {
    grad = owned(grad);
    with_floats(output, |output| {
        // Copies only where someone else holds the gradient too.
        let grad = grad.storage_mut::<f32>();
        threads::for_each_pair(grad, output, |grad, output| {
            for (grad, output) in grad.iter_mut().zip(output) {
                *grad = if *output > 0.0 { *grad } else { 0.0 };
            }
        });
    });
    grad
}

/// Computes the output and notes what its gradients need.
fn record<const N: usize>(
    plan: Plan,
    parents: [Tracked; N],
    extras: [Option<usize>; 2],
) -> Tracked {
    let [bias, residual] = extras.map(|index| index.map(|index| parents[index].primitive()));
    let (x, weight) = (parents[0].primitive(), parents[1].primitive());
    let output = run(&plan, [x, weight], [bias, residual], None);
    let nodes = parents.each_ref().map(Tracked::node);
    let prep = FusedConvolution.prepare::<NoCheckpointing>(nodes);
    match prep.compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let keep = |needed: bool, tensor: &FlexTensor| needed.then(|| tensor.clone());
            let kept = Kept {
                plan,
                extras,
                x: keep(parents[1].is_tracked(), x),
                weight: keep(parents[0].is_tracked(), weight),
                output: keep(plan.relu, &output),
            };
            prep.finish(kept, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
