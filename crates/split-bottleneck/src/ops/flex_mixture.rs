//! The cross-entropy under a mixture of logistics as one operation of the flex backend.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Flex};
use burn::tensor::Tensor;

use super::LogisticMixture;
use super::flex::{Tracked, lift, tensor, with_floats};
use super::mixture::{self, Entropy, Mixture};
use super::norm::Maps;

/// What the backward pass needs: derivatives, since they cost little more than the value.
#[derive(Clone, Debug)]
struct Kept {
    maps: Maps,
    components: usize,
    entropy: Entropy,
}

#[derive(Debug)]
struct MixtureNats;

impl Backward<Flex, 4> for MixtureNats {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let kept = ops.state;
        let (maps, components) = (kept.maps, kept.components);
        let grad = grads.consume::<Flex>(&ops.node);
        let (by_value, by_parameter) = with_floats(&grad, |grad| {
            mixture::backward(maps, components, &kept.entropy, grad)
        });
        let shape = [components, maps.channels];
        let [weights, locations, inverse] = by_parameter.map(|values| tensor(values, shape));
        let by_value = tensor(by_value, [maps.batch, maps.channels, maps.points]);
        let gradients = [by_value, weights, locations, inverse];
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

/// Nats of each picture; all tensors are ones that flex handles, some of them tracked.
pub(super) fn nats(x: Tensor<3>, mixture: LogisticMixture, floor: f32) -> Tensor<1> {
    let [batch, channels, points] = x.dims();
    let [components, _] = mixture.weights.dims();
    let maps = Maps {
        batch,
        channels,
        points,
    };
    let parents = [
        lift(x),
        lift(mixture.weights),
        lift(mixture.locations),
        lift(mixture.inverse_scales),
    ];
    let [x, weights, locations, inverse] = parents.each_ref().map(Tracked::primitive);
    let entropy = with_floats(x, |x| {
        with_floats(weights, |weights| {
            with_floats(locations, |locations| {
                with_floats(inverse, |inverse_scales| {
                    let mixture = Mixture {
                        components,
                        weights,
                        locations,
                        inverse_scales,
                        floor,
                    };
                    mixture::entropy(maps, x, &mixture)
                })
            })
        })
    });
    let output = tensor(entropy.nats.clone(), [batch]);
    let nodes = parents.each_ref().map(Tracked::node);
    let prep = MixtureNats.prepare::<NoCheckpointing>(nodes);
    let output = match prep.compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let kept = Kept {
                maps,
                components,
                entropy,
            };
            prep.finish(kept, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(output),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(output)
}
