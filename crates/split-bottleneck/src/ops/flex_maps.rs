//! Kernels on single maps, on tensors of flex that no gradient is asked of.

use burn::backend::Flex;
use burn::tensor::Tensor;

use super::flex::{plain, tensor, with_floats};
use super::maps::{self, Windows};

pub(super) fn max_pool(x: Tensor<4>, windows: Windows) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let output = with_floats(&plain(x), |x| maps::max_pool(x, [height, width], windows));
    let shape = [batch, channels, windows.count(height), windows.count(width)];
    Tensor::from_primitive::<Flex>(tensor(output, shape))
}

pub(super) fn doubled(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let output = with_floats(&plain(x), |x| maps::doubled(x, [height, width]));
    Tensor::from_primitive::<Flex>(tensor(output, [batch, channels, 2 * height, 2 * width]))
}
