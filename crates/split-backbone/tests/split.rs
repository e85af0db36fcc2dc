//! A cut network is the whole network.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;
use split_backbone::{Head, ResNet, ResNetConfig, StemConfig, Tail, cut};

/// Smooth values in about -1..1 that depend on `seed`.
fn input(shape: [usize; 4], seed: u32, device: &Device) -> Tensor<4> {
    let count: usize = shape.iter().product();
    let mut state = seed;
    let values: Vec<f32> = (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        })
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn bits(tensor: Tensor<2>) -> Vec<u32> {
    let values = tensor.into_data().try_to_vec::<f32>().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

fn assert_cuts_change_nothing(network: &ResNet, input: &Tensor<4>) {
    let whole = bits(network.forward(input.clone()));
    for point in network.split_points() {
        let (head, tail) = cut(network, point).unwrap();
        let parts = bits(tail.forward(head.forward(input.clone())));
        assert_eq!(whole, parts, "cut at {point}");
    }
}

fn largest_difference(a: Tensor<2>, b: Tensor<2>) -> (f32, f32) {
    let size = a.clone().abs().max().into_scalar::<f32>();
    ((a - b).abs().max().into_scalar::<f32>(), size)
}

fn small(widths: &[usize], blocks: &[usize], stem_stride: usize) -> ResNetConfig {
    let stem = StemConfig {
        kernel: 3,
        stride: stem_stride,
        width: widths[0],
        max_pool: false,
    };
    ResNetConfig::small(stem, widths, blocks, 7).unwrap()
}

#[test]
fn cuts_change_nothing_in_cifar_networks() {
    let device = Device::flex();
    let network = ResNetConfig::named("resnet20")
        .unwrap()
        .init_seeded(1, &device);
    assert_cuts_change_nothing(&network, &input([2, 3, 32, 32], 5, &device));
    assert_cuts_change_nothing(
        &network.fold_batch_norm(),
        &input([1, 3, 32, 32], 6, &device),
    );
}

#[test]
fn cuts_change_nothing_in_imagenet_networks() {
    let device = Device::flex();
    for name in ["resnet18", "resnet50", "resnext50_32x4d"] {
        let config = ResNetConfig::named(name).unwrap();
        let config = config.with_classes(5).unwrap();
        let network = config.init_seeded(2, &device);
        assert_cuts_change_nothing(&network, &input([1, 3, 33, 47], 7, &device));
    }
}

#[test]
fn dilated_networks_keep_the_size_and_can_be_cut() {
    let device = Device::flex();
    let config = ResNetConfig::named("resnet18").unwrap();
    let config = config.with_dilated_stages(&[3, 4]).unwrap();
    let network = config.init_seeded(3, &device);
    let input = input([1, 3, 40, 56], 8, &device);
    assert_cuts_change_nothing(&network, &input);
    let (head, _) = cut(&network, "layer4".parse().unwrap()).unwrap();
    assert_eq!(head.forward(input).dims(), [1, 512, 5, 7]);
}

#[test]
fn shapes_at_every_cut_are_those_of_the_profile() {
    let device = Device::flex();
    let config = small(&[4, 8, 12], &[2, 1, 2], 2);
    let network = config.init_seeded(4, &device);
    let profile = config.profile(37, 22);
    for expected in profile.cuts {
        let (head, _) = cut(&network, expected.point).unwrap();
        let [_, c, h, w] = head.forward(input([1, 3, 37, 22], 1, &device)).dims();
        let shape = expected.shape;
        assert_eq!((c, h, w), (shape.channels, shape.height, shape.width));
    }
}

#[test]
fn parameters_are_those_of_the_profile() {
    let config = ResNetConfig::named("resnext50_32x4d").unwrap();
    let network = config.init(&Device::flex());
    let count: usize = network
        .tensor_names()
        .iter()
        .filter(|(name, _)| !name.contains("running_"))
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum();
    assert_eq!(count as u64, config.profile(64, 64).parameters);
}

#[test]
fn one_seed_gives_one_network() {
    let device = Device::flex();
    let config = small(&[4, 8], &[1, 1], 1);
    let input = input([1, 3, 16, 16], 3, &device);
    let run = |seed| bits(config.init_seeded(seed, &device).forward(input.clone()));
    assert_eq!(run(9), run(9));
    assert_ne!(run(9), run(10));
}

#[test]
fn folding_the_norms_keeps_the_outputs() {
    let device = Device::flex();
    let training = device.clone().autodiff();
    let network = small(&[8, 16], &[2, 2], 1).init_seeded(5, &training);
    // Two training passes move the running statistics away from their neutral start.
    for seed in 0..2 {
        let batch = input([4, 3, 16, 16], seed, &device) * 3.0 + 0.7;
        let _ = network.forward(Tensor::from_inner(batch));
    }
    let network = network.valid();
    let batch = input([3, 3, 16, 16], 11, &device);
    let (difference, size) = largest_difference(
        network.forward(batch.clone()),
        network.fold_batch_norm().forward(batch),
    );
    assert!(difference <= 1e-5 * size.max(1.0), "{difference} of {size}");
}

#[test]
fn a_folded_tail_is_frozen_but_lets_gradients_through() {
    let device = Device::flex();
    let network = small(&[4, 8], &[1, 1], 1).init_seeded(6, &device.clone().autodiff());
    let (_, tail) = cut(
        &network.valid().fold_batch_norm(),
        "layer1".parse().unwrap(),
    )
    .unwrap();
    let tail = tail.train().freeze();
    let activation = Tensor::from_inner(input([1, 4, 8, 8], 2, &device)).require_grad();
    let gradients = tail
        .forward(activation.clone())
        .powi_scalar(2)
        .sum()
        .backward();
    let gradient = activation
        .grad(&gradients)
        .expect("the activation is tracked");
    assert!(gradient.abs().sum().into_scalar::<f32>() > 0.0);
    assert_eq!(
        burn::optim::GradientsParams::from_grads(gradients, &tail).len(),
        0
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn cuts_change_nothing_in_any_small_network(
        stages in prop::collection::vec((1_usize..=6, 1_usize..=2), 1..=4),
        stem_stride in 1_usize..=3,
        (height, width) in (1_usize..=21, 1_usize..=21),
        seed in any::<u32>(),
    ) {
        let device = Device::flex();
        let (widths, blocks): (Vec<_>, Vec<_>) = stages.into_iter().unzip();
        let network = small(&widths, &blocks, stem_stride).init_seeded(u64::from(seed), &device);
        assert_cuts_change_nothing(&network, &input([2, 3, height, width], seed, &device));
    }
}
