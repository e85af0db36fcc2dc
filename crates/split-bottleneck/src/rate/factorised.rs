use burn::module::{Module, Param};
use burn::tensor::activation::{sigmoid, softplus};
use burn::tensor::{Device, Tensor, TensorData};

/// Widths of each channel's monotone net, input and output included.
const WIDTHS: [usize; 6] = [1, 3, 3, 3, 3, 1];
const LAYERS: usize = WIDTHS.len() - 1;

/// A factorised density (Ballé 2018, appendix 6.1): for each channel a small monotone net gives
/// the logit of the distribution function, so that the shape of the density is learned too.
///
/// Layer `k` computes `v = softplus(M) v + b`, then `v + tanh(a) tanh(v)`, the last one without
/// that gate.
#[derive(Module, Debug)]
pub struct FactorisedRate {
    /// `M` of each layer, `[channels, out, in]`.
    matrices: Vec<Param<Tensor<3>>>,
    /// `b` of each layer, `[channels, out, 1]`.
    biases: Vec<Param<Tensor<3>>>,
    /// `a` of each layer but the last, `[channels, out, 1]`.
    gates: Vec<Param<Tensor<3>>>,
}

impl FactorisedRate {
    /// A logistic-like density with each channel's mean and standard deviation, in symbols.
    pub(super) fn with_moments(moments: &[(f32, f32)], device: &Device) -> Self {
        let channels = moments.len();
        let parameter = |values: Vec<f32>, shape: [usize; 3]| {
            Param::from_data(TensorData::new(values, shape), device)
        };
        let (mut matrices, mut biases, mut gates) = (Vec::new(), Vec::new(), Vec::new());
        for layer in 0..LAYERS {
            let [inputs, outputs] = [WIDTHS[layer], WIDTHS[layer + 1]];
            let mut matrix = Vec::with_capacity(channels * inputs * outputs);
            let mut bias = Vec::with_capacity(channels * outputs);
            for (mean, deviation) in moments {
                // Slopes of all layers multiply to one over the logistic's scale.
                let slope = if layer == 0 {
                    1.0 / (0.55 * deviation.max(0.3))
                } else {
                    1.0
                };
                let weight = slope / small(inputs);
                matrix.extend(vec![weight.exp_m1().ln(); inputs * outputs]);
                for output in 0..outputs {
                    let offset = (small(output) + 0.5) / small(outputs) - 0.5;
                    let shift = if layer == 0 { slope * mean } else { 0.0 };
                    bias.push(offset - shift);
                }
            }
            matrices.push(parameter(matrix, [channels, outputs, inputs]));
            biases.push(parameter(bias, [channels, outputs, 1]));
            if layer + 1 < LAYERS {
                let gate = vec![0.0; channels * outputs];
                gates.push(parameter(gate, [channels, outputs, 1]));
            }
        }
        Self {
            matrices,
            biases,
            gates,
        }
    }

    pub(super) fn device(&self) -> Device {
        self.matrices[0].val().device()
    }

    /// Probability of the unit bin around each value, `[n, channels, points]`.
    pub(super) fn mass(&self, x: Tensor<3>) -> Tensor<3> {
        let [n, channels, points] = x.dims();
        let x = x.swap_dims(0, 1).reshape([channels, 1, n * points]);
        let upper = self.logit(x.clone().add_scalar(0.5));
        let lower = self.logit(x.sub_scalar(0.5));
        // In the upper tail both sigmoids are near one; mirrored, their difference keeps digits.
        let side = (upper.clone() + lower.clone()).detach().sign().neg();
        let mass = (sigmoid(upper * side.clone()) - sigmoid(lower * side)).abs();
        mass.reshape([channels, n, points]).swap_dims(0, 1)
    }

    /// Logit of the distribution function, `[channels, 1, points]` to the same.
    fn logit(&self, x: Tensor<3>) -> Tensor<3> {
        let mut v = x;
        for layer in 0..LAYERS {
            let matrix = softplus(self.matrices[layer].val(), 1.0);
            v = matrix.matmul(v) + self.biases[layer].val();
            if let Some(gate) = self.gates.get(layer) {
                v = v.clone() + gate.val().tanh() * v.tanh();
            }
        }
        v
    }
}

/// Widths are at most three.
fn small(count: usize) -> f32 {
    crate::state::usize_to_f32(count)
}
