use burn::tensor::{Device, Tensor, TensorData};
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};

use crate::state::uniform;

/// What stands in for rounding while gradients are needed.
///
/// Noise is uniform in -0.5..0.5 of a step (Ballé 2017); straight-through is rounding whose
/// gradient is that of the identity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proxy {
    /// The decoder sees rounded symbols, the rate model noisy ones: the decoder learns what it
    /// will get, and the rate's gradient does not jump at rounding borders.
    #[default]
    Mixed,
    /// Both see noise.
    Noise,
    /// Both see rounded symbols.
    StraightThrough,
    /// Noise for both during this share of the steps (0 to 1), then as [`Proxy::Mixed`].
    Annealed {
        /// Share of the steps with noise.
        noise_share: f32,
    },
}

impl Proxy {
    /// What the decoder and what the rate model sees, at `progress` of the run (0 to 1).
    pub(crate) fn views(
        self,
        progress: f32,
        noisy: Tensor<4>,
        rounded: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        match self {
            Self::Noise => (noisy.clone(), noisy),
            Self::StraightThrough => (rounded.clone(), rounded),
            Self::Annealed { noise_share } if progress < noise_share => (noisy.clone(), noisy),
            Self::Mixed | Self::Annealed { .. } => (rounded, noisy),
        }
    }
}

/// Uniform noise of -0.5..0.5 for one training step, drawn on the host: the same on every backend
/// and after a resume.
pub(crate) fn uniform_noise(
    seed: u64,
    step: usize,
    shape: [usize; 4],
    device: &Device,
) -> Tensor<4> {
    let stream = u128::try_from(step).expect("a step fits 128 bits");
    let mut rng = Pcg64::new(u128::from(seed) | (1 << 64), stream);
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| uniform(&mut rng) - 0.5).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Rounds to the nearest integer, halves to even, with the gradient of the identity
/// (straight-through estimator, as the released units are trained).
///
/// # Shapes
///
/// Input and output have the same shape.
#[must_use]
pub fn straight_through_round<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let rounded = x.clone().detach().round();
    x.clone() + (rounded - x.detach())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_turns_from_noise_to_rounding() {
        let device = Device::flex();
        let noisy = Tensor::<4>::full([1, 1, 1, 1], 0.25, &device);
        let rounded = Tensor::<4>::zeros([1, 1, 1, 1], &device);
        let seen = |proxy: Proxy, progress: f32| {
            let (decoder, rate) = proxy.views(progress, noisy.clone(), rounded.clone());
            [decoder, rate].map(|view| view.into_scalar::<f32>())
        };
        let annealed = Proxy::Annealed { noise_share: 0.5 };
        assert_eq!(seen(annealed, 0.4), [0.25, 0.25]);
        assert_eq!(seen(annealed, 0.6), [0.0, 0.25]);
        assert_eq!(seen(Proxy::Mixed, 0.0), [0.0, 0.25]);
        assert_eq!(seen(Proxy::StraightThrough, 0.0), [0.0, 0.0]);
        assert_eq!(seen(Proxy::Noise, 1.0), [0.25, 0.25]);
    }

    #[test]
    fn rounding_is_half_to_even_and_passes_the_gradient() {
        let device = Device::flex().autodiff();
        let values = [-2.5_f32, -1.5, -0.4, 0.5, 1.5, 2.5, 7.2];
        let x = Tensor::<1>::from_floats(values, &device).require_grad();
        let y = straight_through_round(x.clone());
        let expected: Vec<f32> = values.iter().map(|v| v.round_ties_even()).collect();
        assert_eq!(y.clone().into_data().try_to_vec::<f32>().unwrap(), expected);
        let grads = (y * 3.0).sum().backward();
        let grad = x.grad(&grads).unwrap().into_data();
        assert_eq!(grad.try_to_vec::<f32>().unwrap(), vec![3.0; 7]);
    }
}
