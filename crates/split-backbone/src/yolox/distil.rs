//! What a detector loses when its tail gets the restored activation, without labels.

use burn::module::Module;
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Tensor, s};
use split_bottleneck::{Batch, Distortion, relative_error};

use super::YoloxTail;

/// Distortion of a frozen detector: a weighted sum of differences to what the unsplit network
/// computes, at the cut, at the inputs of the heads, and at the predictions.
///
/// The unsplit side is computed anew for each batch: keeping it would take four times the memory
/// of the activations, computing it costs about a sixth of a step. A part of weight zero is not
/// computed. [`Batch::reference`] and [`Batch::labels`] are not read.
#[derive(Debug, Clone)]
pub struct DetectorDistortion {
    tail: YoloxTail,
    /// Weight of the squared error at the cut, relative to the activation's mean square; the mean over the
    /// tensors that cross it.
    pub activation: f32,
    /// Weight of the same at the inputs of the three heads, mean over them.
    pub pyramid: f32,
    /// Weight of the predictions: Kullback-Leibler divergence of objectness over all cells; of
    /// class scores and a smooth absolute difference of boxes where the unsplit network sees
    /// objects, weighted with its objectness. In nats per object seen.
    pub head: f32,
}

impl DetectorDistortion {
    /// Cut and pyramid, for the first steps: `tail` on the autodiff device of the unit, frozen.
    ///
    /// Predictions from a unit that does not yet restore much give gradients that destroy it;
    /// add them with [`with_head`](Self::with_head) once the pyramid's error is small.
    #[must_use]
    pub fn pyramid(tail: YoloxTail) -> Self {
        Self {
            tail: tail.freeze(),
            activation: 1.0,
            pyramid: 1.0,
            head: 0.0,
        }
    }

    /// The same with the predictions at the given weight.
    #[must_use]
    pub fn with_head(self, head: f32) -> Self {
        Self { head, ..self }
    }
}

impl Distortion for DetectorDistortion {
    fn distortion(&self, restored: Tensor<4>, batch: &Batch) -> Tensor<1> {
        let mut sum = restored.clone().sum().mul_scalar(0.0);
        let truth = batch.activation.clone();
        if self.activation > 0.0 {
            // Each tensor counts alike, however many values it has and however large they are.
            let found = self.tail.tensors(restored.clone());
            let wanted = self.tail.tensors(truth.clone());
            let share = self.activation / f32::from(u8::try_from(found.len()).unwrap_or(u8::MAX));
            for (found, wanted) in found.into_iter().zip(wanted) {
                sum = sum + relative_error(found, wanted).mul_scalar(share);
            }
        }
        if self.pyramid <= 0.0 && self.head <= 0.0 {
            return sum;
        }
        let found = self.tail.head_inputs(restored);
        let wanted = self.tail.head_inputs(truth).map(Tensor::detach);
        if self.pyramid > 0.0 {
            for (found, wanted) in found.iter().zip(&wanted) {
                let part = relative_error(found.clone(), wanted.clone());
                sum = sum + part.mul_scalar(self.pyramid / 3.0);
            }
        }
        if self.head > 0.0 {
            let wanted = self.tail.logits(wanted).detach();
            let part = prediction_loss(self.tail.logits(found), wanted);
            sum = sum + part.mul_scalar(self.head);
        }
        sum
    }
}

/// Difference of predictions `[n, cells, 5 + classes]` (scores as logits) in nats per object that
/// `wanted` sees; at least one a picture is counted.
fn prediction_loss(found: Tensor<3>, wanted: Tensor<3>) -> Tensor<1> {
    let [pictures, _, _] = wanted.dims();
    let part = |x: &Tensor<3>, from: usize, to: usize| x.clone().slice(s![.., .., from..to]);
    let width = wanted.dims()[2];
    let weight = sigmoid(part(&wanted, 4, 5));
    let least = f32::from(u16::try_from(pictures).unwrap_or(u16::MAX));
    let objects = weight.clone().sum().clamp_min(least);
    let object = divergence(part(&found, 4, 5), part(&wanted, 4, 5)).sum();
    let class = divergence(part(&found, 5, width), part(&wanted, 5, width));
    let class = (class.sum_dim(2) * weight.clone()).sum();
    let place = (part(&found, 0, 4) - part(&wanted, 0, 4)).abs();
    // d * d / 2 up to 1, then d - 1 / 2.
    let short = place.clone().clamp_max(1.0);
    let place = short.clone() * (place - short.mul_scalar(0.5));
    let place = (place.sum_dim(2) * weight).sum();
    (object + class + place) / objects
}

/// Divergence of one yes-or-no probability from another, both as logits, element by element.
fn divergence(found: Tensor<3>, wanted: Tensor<3>) -> Tensor<3> {
    // ln(1 + exp(x)) without overflow.
    let softplus = |x: Tensor<3>| relu(x.clone()) + x.abs().neg().exp().log1p();
    let probability = sigmoid(wanted.clone());
    softplus(found.clone()) - softplus(wanted.clone()) - probability * (found - wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yolox::{YoloxConfig, YoloxPoint, cut_yolox};
    use burn::tensor::{Device, Int, TensorData};

    fn scalar(tensor: Tensor<1>) -> f32 {
        tensor.into_scalar()
    }

    fn rows(values: Vec<f32>, width: usize) -> Tensor<3> {
        let cells = values.len() / width;
        let data = TensorData::new(values, [1, cells, width]);
        Tensor::from_data(data, &Device::flex())
    }

    #[test]
    fn divergence_is_that_of_two_coins() {
        let logit = |p: f32| (p / (1.0 - p)).ln();
        let found = divergence(rows(vec![logit(0.2)], 1), rows(vec![logit(0.7)], 1));
        let expected = 0.7 * (0.7_f64 / 0.2).ln() + 0.3 * (0.3_f64 / 0.8).ln();
        assert!((f64::from(scalar(found.sum())) - expected).abs() < 1e-5);
        let far = divergence(rows(vec![200.0], 1), rows(vec![-200.0], 1));
        assert!((scalar(far.sum()) - 200.0).abs() < 1e-3);
    }

    #[test]
    fn boxes_and_classes_count_where_objects_are() {
        // Objectness 0 and then 1; everything else off by two.
        let wanted = |object: f32| vec![0.0, 0.0, 0.0, 0.0, object, 3.0];
        let found = |object: f32| vec![2.0, 0.0, 0.0, 0.0, object, -3.0];
        let empty = prediction_loss(rows(found(-40.0), 6), rows(wanted(-40.0), 6));
        assert!(scalar(empty) < 1e-6);
        let full = scalar(prediction_loss(rows(found(40.0), 6), rows(wanted(40.0), 6)));
        let class = scalar(divergence(rows(vec![-3.0], 1), rows(vec![3.0], 1)).sum());
        // The box is off by 2 in one number: 2 - 1 / 2.
        assert!((full - 1.5 - class).abs() < 1e-5, "{full} {class}");
    }

    #[test]
    fn the_true_activation_has_no_distortion_and_a_false_one_has_gradients() {
        let device = Device::flex().autodiff();
        let config = YoloxConfig::named("yolox_nano").unwrap();
        let config = config
            .with_base_channels(4)
            .unwrap()
            .with_classes(2)
            .unwrap();
        let network = config.init_seeded(3, &device);
        let (_, tail) = cut_yolox(&network.valid().fold_batch_norm(), YoloxPoint::Dark3);
        let distortion = DetectorDistortion::pyramid(tail.train()).with_head(1.0);
        let values: Vec<f32> = (0..16 * 8 * 8)
            .map(|i| ((i * 37) % 101) as f32 / 50.0)
            .collect();
        let activation = Tensor::<4>::from_data(TensorData::new(values, [1, 16, 8, 8]), &device);
        let batch = Batch {
            activation: activation.clone(),
            pictures: None,
            reference: Tensor::zeros([1, 1], &device),
            labels: Tensor::<1, Int>::zeros([1], &device),
        };
        let none = scalar(distortion.distortion(activation.clone(), &batch));
        assert!(none.abs() < 1e-5, "{none}");
        let restored = activation.mul_scalar(0.5).require_grad();
        let lost = distortion.distortion(restored.clone(), &batch);
        assert!(scalar(lost.clone()) > 0.25);
        let gradients = lost.backward();
        let gradient = restored.grad(&gradients).unwrap().abs();
        assert!(gradient.sum().into_scalar::<f32>() > 0.0);
    }
}
