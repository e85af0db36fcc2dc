//! `x * sigmoid(x)` as one operation of the flex backend.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::Tensor;

use super::flex::{lift, owned, plain, tensor, with_floats};
use super::silu_kernel as kernel;

/// The activation of a tensor that flex handles.
pub(super) fn silu(x: Tensor<4>) -> Tensor<4> {
    let shape = x.dims();
    if !x.device().is_autodiff() {
        return Tensor::from_primitive::<Flex>(activated(plain(x)));
    }
    let x = lift(x);
    let output = activated(x.primitive().clone());
    let prep = Silu.prepare::<NoCheckpointing>([x.node()]);
    let output = match prep.compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((x.primitive().clone(), shape), output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(output)
}

/// The sigmoid of a tensor that flex handles and no gradient is asked of.
pub(super) fn sigmoid(x: Tensor<4>) -> Tensor<4> {
    let mut x = owned(plain(x));
    kernel::sigmoid_in_place(x.storage_mut());
    Tensor::from_primitive::<Flex>(x)
}

/// In the buffer of `x` where nobody else holds it.
fn activated(x: FlexTensor) -> FlexTensor {
    let mut x = owned(x);
    kernel::in_place(x.storage_mut());
    x
}

#[derive(Debug)]
struct Silu;

impl Backward<Flex, 1> for Silu {
    type State = (FlexTensor, [usize; 4]);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, shape) = ops.state;
        let grad = grads.consume::<Flex>(&ops.node);
        if let [Some(node)] = ops.parents {
            let gradient =
                with_floats(&grad, |grad| with_floats(&x, |x| kernel::backward(x, grad)));
            grads.register::<Flex>(node.id, tensor(gradient, shape));
        }
    }
}
