//! A cut network is the whole network.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;
use split_backbone::{
    Head, ResNet, ResNetConfig, StemConfig, Tail, Yolox, YoloxConfig, YoloxPoint, cut, cut_yolox,
};

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

/// Every network by name, with its real depth, kinds of blocks, groups and shortcuts, but few
/// channels, so that all cuts of all of them take seconds.
fn narrow(name: &str) -> ResNetConfig {
    let config = ResNetConfig::named(name).unwrap().with_classes(3).unwrap();
    // A group of resnext has a channel from 16 planes on.
    let planes = match config.stages().len() {
        3 => vec![4, 6, 8],
        _ => vec![16, 16, 32, 32],
    };
    config.with_widths(planes[0], &planes).unwrap()
}

#[test]
fn cuts_change_nothing_in_any_known_network() {
    let device = Device::flex();
    for (index, name) in ResNetConfig::NAMES.into_iter().enumerate() {
        let network = narrow(name).init_seeded(2, &device);
        // Odd sizes, another one for each network.
        let (height, width) = (33 - index % 4, 27 + 2 * index % 11);
        let input = input([1, 3, height, width], 7, &device);
        assert_cuts_change_nothing(&network, &input);
        assert_cuts_change_nothing(&network.fold_batch_norm(), &input);
    }
}

#[test]
fn cuts_change_nothing_where_stages_dilate() {
    let device = Device::flex();
    for name in ["resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2"] {
        for stages in [&[4][..], &[3, 4], &[2, 3, 4], &[2]] {
            let config = narrow(name).with_dilated_stages(stages).unwrap();
            let network = config.init_seeded(2, &device).fold_batch_norm();
            assert_cuts_change_nothing(&network, &input([1, 3, 37, 29], 7, &device));
        }
    }
}

#[test]
fn cuts_change_nothing_at_full_width() {
    let device = Device::flex();
    let config = ResNetConfig::named("resnet50").unwrap();
    let network = config.with_classes(5).unwrap().init_seeded(2, &device);
    assert_cuts_change_nothing(&network, &input([1, 3, 33, 47], 7, &device));
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

/// A detector's cuts give the whole network's answer, bit for bit, as do its three scales.
fn assert_detector_cuts_change_nothing(network: &Yolox, input: &Tensor<4>) {
    let values = |tensor: Tensor<3>| {
        let values = tensor.into_data().try_to_vec::<f32>().unwrap();
        values.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let whole = values(network.forward(input.clone()));
    for point in YoloxPoint::ALL {
        let (head, tail) = cut_yolox(network, point);
        let parts = values(tail.forward(head.forward(input.clone())));
        assert!(whole == parts, "cut at {point}");
    }
    let pyramid = network.pyramid(input.clone());
    assert!(
        whole == values(network.from_pyramid(pyramid)),
        "three scales"
    );
}

#[test]
fn cuts_change_nothing_in_any_known_detector() {
    let device = Device::flex();
    for (name, (height, width)) in YoloxConfig::NAMES.into_iter().zip([
        (64, 96),
        (32, 32),
        (96, 32),
        (32, 64),
        (64, 64),
        (32, 160),
    ]) {
        let config = YoloxConfig::named(name).unwrap().with_classes(3).unwrap();
        // Real depth and kinds of convolution, few channels.
        let config = config.with_base_channels(8).unwrap();
        let network = config.init_seeded(1, &device);
        let input = input([1, 3, height, width], 4, &device) * 127.0 + 127.0;
        assert_detector_cuts_change_nothing(&network, &input);
        assert_detector_cuts_change_nothing(&network.fold_batch_norm(), &input);
    }
}

#[test]
fn lifted_detectors_cross_the_cut_without_negative_values_and_answer_the_same() {
    let device = Device::flex();
    let config = YoloxConfig::named("yolox_nano").unwrap();
    let network = config.init_seeded(1, &device);
    let input = input([1, 3, 64, 64], 4, &device) * 127.0 + 127.0;
    let whole = network.forward(input.clone());
    for point in YoloxPoint::ALL {
        let (head, tail) = cut_yolox(&network, point);
        let activation = head.lifted().forward(input.clone());
        let least = activation.clone().min().into_scalar::<f32>();
        assert!(least >= -1e-6, "{point}: {least}");
        let parts = tail.lifted().forward(activation);
        let size = whole.clone().abs().max().into_scalar::<f32>().max(1.0);
        let difference = (whole.clone() - parts).abs().max().into_scalar::<f32>();
        assert!(difference <= 1e-4 * size, "{point}: {difference} of {size}");
    }
}

#[test]
fn shapes_at_a_detectors_cuts_are_those_of_its_graph() {
    let device = Device::flex();
    for name in ["yolox_nano", "yolox_m"] {
        let config = YoloxConfig::named(name).unwrap();
        let config = config.with_base_channels(8).unwrap();
        let network = config.init_seeded(1, &device);
        let input = input([1, 3, 64, 96], 4, &device);
        let graph = config.graph(64, 96);
        let shape = |name: &str| {
            let layer = graph.layers().iter().find(|layer| layer.name == name);
            let shape = layer.unwrap().shape;
            [1, shape.channels, shape.height, shape.width]
        };
        for point in YoloxPoint::ALL {
            let (head, _) = cut_yolox(&network, point);
            let found = head.forward(input.clone()).dims();
            let mut expected = shape(&point.to_string());
            if point == YoloxPoint::Dark5 {
                // Three tensors on the grid of the last: as many values, all on its rows and columns.
                let channels = YoloxPoint::pyramid_channels(&config);
                expected[1] = channels.iter().sum();
                let values: [usize; 3] =
                    ["dark3", "dark4", "dark5"].map(|place| shape(place)[1..].iter().product());
                assert_eq!(channels.map(|one| one * 2 * 3), values, "{name}");
            }
            assert_eq!(found, expected, "{name} {point}");
        }
        let pyramid = network.pyramid(input);
        for (tensor, place) in pyramid.iter().zip(["dark3", "dark4", "dark5"]) {
            assert_eq!(tensor.dims(), shape(place), "{name} {place}");
        }
    }
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

    #[test]
    fn cuts_change_nothing_in_any_narrow_network_at_any_size(
        index in 0..ResNetConfig::NAMES.len(),
        dilated in prop::collection::vec(1_usize..=3, 0..=2),
        (height, width) in (1_usize..=40, 1_usize..=40),
        seed in any::<u32>(),
    ) {
        let device = Device::flex();
        let config = narrow(ResNetConfig::NAMES[index]);
        let network = config.with_dilated_stages(&dilated).unwrap();
        let network = network.init_seeded(u64::from(seed), &device).fold_batch_norm();
        let input = input([1, 3, height, width], seed, &device);
        let whole = bits(network.forward(input.clone()));
        // All cuts of the deepest would take too long for every case; one of them is drawn.
        let points = network.split_points();
        let point = points[usize::try_from(seed).unwrap() % points.len()];
        let (head, tail) = cut(&network, point).unwrap();
        let parts = bits(tail.forward(head.forward(input)));
        prop_assert_eq!(whole, parts, "cut at {}", point);
    }

    #[test]
    fn cuts_change_nothing_in_any_narrow_detector_at_any_size(
        index in 0..YoloxConfig::NAMES.len(),
        half_width in 1_usize..=4,
        (rows, columns) in (1_usize..=3, 1_usize..=3),
        seed in any::<u32>(),
    ) {
        let device = Device::flex();
        let config = YoloxConfig::named(YoloxConfig::NAMES[index]).unwrap();
        let config = config.with_classes(2).unwrap();
        let config = config.with_base_channels(2 * half_width).unwrap();
        let network = config.init_seeded(u64::from(seed), &device);
        let input = input([1, 3, 32 * rows, 32 * columns], seed, &device);
        assert_detector_cuts_change_nothing(&network, &input);
    }
}
