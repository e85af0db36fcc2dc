use burn::tensor::{Int, Tensor};

/// The part of a backbone that runs on the device, before the split point.
pub trait Head {
    /// Computes the activation at the split point.
    ///
    /// # Shapes
    ///
    /// - `input`: `[n, 3, height, width]`
    /// - output: `[n, channels, height', width']`
    fn forward(&self, input: Tensor<4>) -> Tensor<4>;
}

/// The part of a backbone that runs on the edge, after the split point.
pub trait Tail {
    /// What the backbone answers; logits `[n, classes]` for a classifier.
    type Output;

    /// Finishes the backbone from an activation.
    ///
    /// # Shapes
    ///
    /// - `activation`: `[n, channels, height, width]`
    fn forward(&self, activation: Tensor<4>) -> Self::Output;
}

/// Training examples at the split point.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Uncoded activations, `[n, channels, height, width]`.
    pub activation: Tensor<4>,
    /// The pictures, `[n, 3, height, width]`, of a cache that keeps them.
    pub pictures: Option<Tensor<4>>,
    /// Output of the unsplit tail on them, flattened, `[n, k]`.
    pub reference: Tensor<2>,
    /// Class of each picture, `[n]`.
    pub labels: Tensor<1, Int>,
}

/// What is lost when the tail gets the restored activation in place of the true one.
pub trait Distortion {
    /// Mean distortion of a batch, shape `[1]`, differentiable in `restored`.
    ///
    /// # Shapes
    ///
    /// - `restored`: `[n, channels, height, width]`
    fn distortion(&self, restored: Tensor<4>, batch: &Batch) -> Tensor<1>;
}
