//! Stand-ins for the traits of split-bottleneck.

use burn::tensor::Tensor;

/// The part of a network in front of the cut.
pub trait Head {
    /// Maps pictures `[n, 3, h, w]` to the activation at the cut.
    fn forward(&self, input: Tensor<4>) -> Tensor<4>;
}

/// The part of a network behind the cut.
pub trait Tail {
    /// What the network predicts.
    type Output;
    /// Maps the activation at the cut to predictions.
    fn forward(&self, activation: Tensor<4>) -> Self::Output;
}
