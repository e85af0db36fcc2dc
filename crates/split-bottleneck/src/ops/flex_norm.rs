//! Batch norm in training as one operation of the flex backend.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::Tensor;

use super::flex::{Tracked, lift, masked, plain, tensor, with_floats};
use super::norm::{self, Maps};

/// Tensors of a batch norm.
pub(super) struct Operands {
    pub(super) x: Tensor<4>,
    pub(super) gamma: Tensor<1>,
    pub(super) beta: Tensor<1>,
    pub(super) residual: Option<Tensor<4>>,
}

/// Output, and the batch's mean and biased variance.
pub(super) struct Trained {
    pub(super) output: Tensor<4>,
    pub(super) mean: Tensor<1>,
    pub(super) variance: Tensor<1>,
}

/// Normalizes with the statistics of the batch; all tensors are ones that flex handles.
pub(super) fn train(operands: Operands, epsilon: f64, relu: bool) -> Trained {
    let Operands {
        x,
        gamma,
        beta,
        residual,
    } = operands;
    let shape = x.dims();
    let parents = [lift(x), lift(gamma), lift(beta)];
    match residual.map(lift) {
        None => record(shape, parents, epsilon, relu),
        Some(residual) => {
            let [x, gamma, beta] = parents;
            record(shape, [x, gamma, beta, residual], epsilon, relu)
        }
    }
}

/// Normalizes plain tensors with known statistics.
pub(super) fn infer(
    operands: Operands,
    [mean, variance]: [Tensor<1>; 2],
    epsilon: f64,
    relu: bool,
) -> Tensor<4> {
    let shape = operands.x.dims();
    let (mean, variance) = (floats(&plain(mean)), floats(&plain(variance)));
    let normals: Vec<norm::Normal> = mean
        .iter()
        .zip(&variance)
        .map(|(&mean, &variance)| norm::Normal { mean, variance })
        .collect();
    let inverse = norm::inverse_deviations(&normals, epsilon);
    let (gamma, beta) = (
        floats(&plain(operands.gamma)),
        floats(&plain(operands.beta)),
    );
    let x = plain(operands.x).to_contiguous();
    let residual = operands
        .residual
        .map(|residual| plain(residual).to_contiguous());
    let residual = residual.as_ref().and_then(FlexTensor::as_slice);
    let output = with_floats(&x, |x| {
        norm::apply(
            maps(shape),
            x,
            [&mean, &inverse, &gamma, &beta],
            residual,
            relu,
        )
    });
    Tensor::from_primitive::<Flex>(tensor(output, shape))
}

fn maps([batch, channels, height, width]: [usize; 4]) -> Maps {
    Maps {
        batch,
        channels,
        points: height * width,
    }
}

fn floats(tensor: &FlexTensor) -> Vec<f32> {
    with_floats(tensor, <[f32]>::to_vec)
}

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct Kept {
    shape: [usize; 4],
    x: FlexTensor,
    gamma: Vec<f32>,
    mean: Vec<f32>,
    inverse: Vec<f32>,
    /// The output, where a ReLU followed.
    output: Option<FlexTensor>,
}

#[derive(Debug)]
struct NormInTraining;

impl<const N: usize> Backward<Flex, N> for NormInTraining {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let kept = ops.state;
        let mut grad = grads.consume::<Flex>(&ops.node);
        if let Some(output) = &kept.output {
            grad = masked(grad, output);
        }
        let statistics = [&kept.mean[..], &kept.inverse, &kept.gamma];
        let gradients = with_floats(&grad, |grad| {
            with_floats(&kept.x, |x| {
                norm::backward(maps(kept.shape), x, grad, statistics)
            })
        });
        let channels = [kept.shape[1]];
        let gradients = [
            tensor(gradients.x, kept.shape),
            tensor(gradients.gamma, channels),
            tensor(gradients.beta, channels),
            grad,
        ];
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

fn record<const N: usize>(
    shape: [usize; 4],
    parents: [Tracked; N],
    epsilon: f64,
    relu: bool,
) -> Trained {
    let x = parents[0].primitive().to_contiguous();
    let (gamma, beta) = (
        floats(parents[1].primitive()),
        floats(parents[2].primitive()),
    );
    let residual = parents
        .get(3)
        .map(|residual| residual.primitive().to_contiguous());
    let residual = residual.as_ref().and_then(FlexTensor::as_slice);
    let normals = with_floats(&x, |x| norm::statistics(maps(shape), x));
    let inverse = norm::inverse_deviations(&normals, epsilon);
    let mean: Vec<f32> = normals.iter().map(|normal| normal.mean).collect();
    let variance: Vec<f32> = normals.iter().map(|normal| normal.variance).collect();
    let output = with_floats(&x, |x| {
        norm::apply(
            maps(shape),
            x,
            [&mean, &inverse, &gamma, &beta],
            residual,
            relu,
        )
    });
    let output = tensor(output, shape);
    let statistic = |values: Vec<f32>| {
        let values = tensor(values, [shape[1]]);
        Tensor::from_inner(Tensor::<1>::from_primitive::<Flex>(values))
    };
    let nodes = parents.each_ref().map(Tracked::node);
    let prep = NormInTraining.prepare::<NoCheckpointing>(nodes);
    let output = match prep.compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let kept = Kept {
                shape,
                x,
                gamma,
                mean: mean.clone(),
                inverse,
                output: relu.then(|| output.clone()),
            };
            prep.finish(kept, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(output),
    };
    Trained {
        output: Tensor::from_primitive::<Autodiff<Flex>>(output),
        mean: statistic(mean),
        variance: statistic(variance),
    }
}
