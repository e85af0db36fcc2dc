//! What a convolution costs. Every count of this crate comes from here.

use split_bottleneck::ActivationShape;

use crate::profile::product;

/// A convolution with batch norm or bias.
#[derive(Clone, Copy)]
pub(crate) struct Conv {
    pub(crate) outputs: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) dilation: usize,
    pub(crate) groups: usize,
    /// Trained values per output channel besides the kernel: two of a norm, one of a bias.
    pub(crate) shifts: usize,
}

/// What one layer costs for one picture.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) macs: u64,
    pub(crate) parameters: u64,
    pub(crate) output: ActivationShape,
    pub(crate) workspace_bytes: u64,
}

impl Conv {
    /// A dense convolution with norm whose padding keeps the size at stride 1.
    pub(crate) fn spatial(outputs: usize, kernel: usize, stride: usize) -> Self {
        Self {
            outputs,
            kernel,
            stride,
            padding: kernel / 2,
            dilation: 1,
            groups: 1,
            shifts: 2,
        }
    }

    pub(crate) fn cost(self, input: ActivationShape) -> Cost {
        let side = |size: usize| {
            let reach = self.dilation * (self.kernel - 1) + 1;
            (size + 2 * self.padding - reach) / self.stride + 1
        };
        let output = ActivationShape {
            channels: self.outputs,
            height: side(input.height),
            width: side(input.width),
        };
        let fan_in = input.channels / self.groups;
        let weights = product(&[self.outputs, fan_in, self.kernel, self.kernel]);
        let pixels = product(&[output.height, output.width]);
        Cost {
            macs: weights.saturating_mul(pixels),
            parameters: weights.saturating_add(product(&[self.shifts, self.outputs])),
            output,
            workspace_bytes: product(&[
                self.kernel,
                fan_in,
                input.height + 2 * self.padding,
                output.width,
                size_of::<f32>(),
            ]),
        }
    }
}
