use burn::tensor::Tensor;

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
    use burn::tensor::Device;

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
