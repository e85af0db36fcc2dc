use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;

use crate::split::{Batch, Distortion, Tail};

/// Distortion of a frozen classifier: a weighted sum of its parts.
///
/// A part of weight zero is not computed; without task parts the tail does not run.
#[derive(Debug, Clone)]
pub struct ClassifierDistortion<T> {
    /// The frozen tail, on the autodiff device of the unit.
    pub tail: T,
    /// Weight of the cross-entropy with the labels, in nats.
    pub labels: f32,
    /// Weight of the Kullback-Leibler divergence to the unsplit logits, in nats, times
    /// `temperature` squared (Hinton 2015); needs no labels.
    pub distillation: f32,
    /// Softens both distributions of the distillation.
    pub temperature: f32,
    /// Weight of the squared error of the activation relative to its mean square.
    pub activation: f32,
}

impl<T: Tail<Output = Tensor<2>> + Module> ClassifierDistortion<T> {
    /// Cross-entropy with the labels alone: the paper's supervised task loss.
    pub fn supervised(tail: T) -> Self {
        Self {
            tail: tail.freeze(),
            labels: 1.0,
            distillation: 0.0,
            temperature: 1.0,
            activation: 0.0,
        }
    }

    /// Divergence to the unsplit logits plus a share of the activation's error: no labels.
    pub fn unsupervised(tail: T) -> Self {
        Self {
            tail: tail.freeze(),
            labels: 0.0,
            distillation: 1.0,
            temperature: 2.0,
            activation: 0.3,
        }
    }
}

impl<T: Tail<Output = Tensor<2>>> Distortion for ClassifierDistortion<T> {
    fn distortion(&self, restored: Tensor<4>, batch: &Batch) -> Tensor<1> {
        let mut sum: Option<Tensor<1>> = None;
        let mut add = |weight: f32, part: Tensor<1>| {
            let part = part.mul_scalar(weight);
            sum = Some(match sum.take() {
                None => part,
                Some(sum) => sum + part,
            });
        };
        if self.activation > 0.0 {
            add(
                self.activation,
                relative_error(restored.clone(), batch.activation.clone()),
            );
        }
        if self.labels > 0.0 || self.distillation > 0.0 {
            let logits = self.tail.forward(restored.clone());
            if self.labels > 0.0 {
                add(self.labels, cross_entropy(logits.clone(), batch));
            }
            if self.distillation > 0.0 {
                let reference = batch.reference.clone();
                add(
                    self.distillation,
                    divergence(logits, reference, self.temperature),
                );
            }
        }
        sum.unwrap_or_else(|| restored.sum().mul_scalar(0.0))
    }
}

/// Mean squared error divided by the mean square of `target`, shape `[1]`.
#[must_use]
pub fn relative_error(restored: Tensor<4>, target: Tensor<4>) -> Tensor<1> {
    let energy = target.clone().powi_scalar(2).mean();
    (restored - target).powi_scalar(2).mean() / energy.add_scalar(1e-8)
}

fn cross_entropy(logits: Tensor<2>, batch: &Batch) -> Tensor<1> {
    let [n, _] = logits.dims();
    let indices = batch.labels.clone().reshape([n, 1]);
    log_softmax(logits, 1).gather(1, indices).mean().neg()
}

/// Mean divergence of softened answers from a reference, times `temperature` squared, shape `[1]`.
pub(crate) fn divergence(logits: Tensor<2>, reference: Tensor<2>, temperature: f32) -> Tensor<1> {
    let [n, _] = logits.dims();
    let of = |x: Tensor<2>| log_softmax(x.div_scalar(temperature), 1);
    let reference = of(reference);
    let difference = reference.clone() - of(logits);
    let per_batch = (reference.exp() * difference).sum();
    let count = crate::state::usize_to_f32(n.max(1));
    per_batch.mul_scalar(temperature * temperature / count)
}
