use burn::module::{Module, Param};
use burn::nn::BatchNormConfig;
use burn::tensor::module::{
    conv_transpose2d as burn_conv_transpose2d, conv2d as burn_conv2d, max_pool2d as burn_max_pool2d,
};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions, MaxPoolOptions};
use burn::tensor::{
    Device, Tensor, TensorData,
    activation::{relu, sigmoid as burn_sigmoid, silu as burn_silu},
};
use proptest::prelude::*;
use rand_core::Rng;
use rand_pcg::Pcg64Mcg;

use super::{
    ConvSpec, ConvTransposeSpec, LogisticMixture, PackedWeights, batch_norm, batch_norm_relu,
    conv_transpose2d, conv2d, conv2d_add, conv2d_packed, conv2d_relu, double_nearest, max_pool2d,
    mixture_nats, sigmoid, silu,
};

/// One convolution to compare: sizes, then `ConvSpec`.
#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    channels: [usize; 2],
    size: [usize; 2],
    kernel: [usize; 2],
    spec: ConvSpec,
}

fn case(
    [batch, channels_in, channels_out]: [usize; 3],
    size: [usize; 2],
    kernel: [usize; 2],
    [stride, padding, groups]: [usize; 3],
) -> Case {
    Case {
        batch,
        channels: [channels_in, channels_out],
        size,
        kernel,
        spec: ConvSpec {
            stride,
            padding,
            groups,
        },
    }
}

pub(super) fn draw<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let mut rng = Pcg64Mcg::new(u128::from(seed) << 1 | 1);
    let unit = 2.0_f32.powi(-24);
    let mut next = || f32::from_bits(rng.next_u32() >> 8 | 0x3f80_0000) - 1.0 - unit;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| 4.0 * next() - 1.0)
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

pub(super) fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec::<f32>().unwrap()
}

pub(super) fn assert_close<const D: usize>(what: &str, ours: Tensor<D>, burns: Tensor<D>) {
    assert_eq!(ours.dims(), burns.dims(), "{what}: shape");
    let (ours, burns) = (floats(ours), floats(burns));
    let scale = burns
        .iter()
        .fold(1.0_f32, |scale, value| scale.max(value.abs()));
    for (index, (ours, burns)) in ours.iter().zip(&burns).enumerate() {
        assert!(
            (ours - burns).abs() <= 1e-4 * scale,
            "{what}[{index}]: {ours} is not {burns} (largest {scale})"
        );
    }
}

fn inputs(case: &Case, device: &Device) -> (Tensor<4>, Tensor<4>, Tensor<1>) {
    let [channels_in, channels_out] = case.channels;
    let [height, width] = case.size;
    let [kernel_height, kernel_width] = case.kernel;
    let x = draw([case.batch, channels_in, height, width], 1, device);
    let group_in = channels_in / case.spec.groups;
    let weight = draw(
        [channels_out, group_in, kernel_height, kernel_width],
        2,
        device,
    );
    (x, weight, draw([channels_out], 3, device))
}

fn burns(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, spec: ConvSpec) -> Tensor<4> {
    let options = ConvOptions::new([spec.stride; 2], [spec.padding; 2], [1, 1], spec.groups);
    burn_conv2d(x, weight, bias, options)
}

fn ours(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, spec: ConvSpec) -> Tensor<4> {
    conv2d(x, weight, bias, spec.stride, spec.padding, spec.groups)
}

/// Values and the gradients of input, weight and bias equal Burn's.
fn check(case: &Case) {
    let device = Device::flex();
    let (x, weight, bias) = inputs(case, &device);
    let output = ours(x.clone(), weight.clone(), Some(bias.clone()), case.spec);
    let expected = burns(x.clone(), weight.clone(), Some(bias.clone()), case.spec);
    assert_close("plain output", output, expected);

    let run = |convolve: fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, ConvSpec) -> Tensor<4>| {
        let x = Tensor::from_inner(x.clone()).require_grad();
        let weight = Tensor::from_inner(weight.clone()).require_grad();
        let bias = Tensor::from_inner(bias.clone()).require_grad();
        let output = convolve(x.clone(), weight.clone(), Some(bias.clone()), case.spec);
        let pull = Tensor::from_inner(draw(output.dims(), 4, &device));
        let grads = (output.clone() * pull).sum().backward();
        (
            output.inner(),
            x.grad(&grads).unwrap(),
            weight.grad(&grads).unwrap(),
            bias.grad(&grads).unwrap(),
        )
    };
    let (ours, burns) = (run(ours), run(burns));
    assert_close("output", ours.0, burns.0);
    assert_close("input gradient", ours.1, burns.1);
    assert_close("weight gradient", ours.2, burns.2);
    assert_close("bias gradient", ours.3, burns.3);
}

#[test]
fn residual_network_shapes_equal_burn() {
    for (batch, channels, size) in [(2, 16, 32), (3, 32, 16), (2, 64, 8), (1, 128, 4)] {
        check(&case(
            [batch, channels, channels],
            [size, size],
            [3, 3],
            [1, 1, 1],
        ));
        check(&case(
            [batch, channels, 2 * channels],
            [size, size],
            [3, 3],
            [2, 1, 1],
        ));
        check(&case(
            [batch, channels, 24],
            [size, size],
            [1, 1],
            [1, 0, 1],
        ));
        check(&case(
            [batch, channels, 24],
            [size, size],
            [1, 1],
            [2, 0, 1],
        ));
    }
}

#[test]
fn odd_shapes_equal_burn() {
    check(&case([2, 3, 5], [7, 9], [3, 3], [1, 1, 1]));
    check(&case([1, 1, 1], [1, 1], [1, 1], [1, 0, 1]));
    check(&case([1, 2, 3], [1, 1], [3, 3], [1, 1, 1]));
    check(&case([2, 4, 9], [5, 2], [3, 5], [1, 2, 1]));
    check(&case([1, 6, 12], [11, 13], [3, 3], [3, 0, 3]));
    check(&case([2, 8, 8], [9, 8], [5, 5], [2, 2, 2]));
    check(&case([1, 3, 8], [17, 15], [7, 7], [2, 3, 1]));
    check(&case([1, 2, 2], [6, 7], [2, 2], [3, 0, 1]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_small_convolution_equals_burn(
        batch in 1_usize..4,
        group_in in 1_usize..6,
        group_out in 1_usize..12,
        groups in 1_usize..4,
        height in 1_usize..14,
        width in 1_usize..14,
        kernel in 1_usize..6,
        stride in 1_usize..4,
        padding in 0_usize..3,
    ) {
        prop_assume!(height.min(width) + 2 * padding >= kernel && padding < kernel);
        check(&case(
            [batch, group_in * groups, group_out * groups],
            [height, width],
            [kernel, kernel],
            [stride, padding, groups],
        ));
    }
}

#[test]
fn depthwise_shapes_equal_burn() {
    for (channels, size) in [(16, 32), (32, 16), (64, 8), (5, 7)] {
        for stride in [1, 2] {
            check(&case(
                [2, channels, channels],
                [size, size + 1],
                [3, 3],
                [stride, 1, channels],
            ));
        }
    }
    check(&case([1, 3, 3], [9, 11], [5, 5], [2, 2, 3]));
    check(&case([2, 3, 3], [6, 6], [1, 1], [2, 0, 3]));
    check(&case([40, 2, 2], [3, 3], [3, 3], [3, 1, 2]));
}

/// As `check`, for a transposed convolution.
fn check_transpose(
    [batch, channels_in, group_out]: [usize; 3],
    size: [usize; 2],
    kernel: usize,
    spec: ConvTransposeSpec,
) {
    let device = Device::flex();
    let x = draw([batch, channels_in, size[0], size[1]], 1, &device);
    let weight = draw([channels_in, group_out, kernel, kernel], 2, &device);
    let bias = draw([group_out * spec.groups], 3, &device);
    let burns = |x, weight, bias| {
        let options = ConvTransposeOptions::new(
            [spec.stride; 2],
            [spec.padding; 2],
            [spec.padding_out; 2],
            [1, 1],
            spec.groups,
        );
        burn_conv_transpose2d(x, weight, bias, options)
    };
    let run = |fast: bool| {
        let x = Tensor::from_inner(x.clone()).require_grad();
        let weight = Tensor::from_inner(weight.clone()).require_grad();
        let bias = Tensor::from_inner(bias.clone()).require_grad();
        let output = if fast {
            conv_transpose2d(x.clone(), weight.clone(), Some(bias.clone()), spec)
        } else {
            burns(x.clone(), weight.clone(), Some(bias.clone()))
        };
        let pull = Tensor::from_inner(draw(output.dims(), 4, &device));
        let grads = (output.clone() * pull).sum().backward();
        (
            output.inner(),
            x.grad(&grads).unwrap(),
            weight.grad(&grads).unwrap(),
            bias.grad(&grads).unwrap(),
        )
    };
    let (ours, burns) = (run(true), run(false));
    assert_close("output", ours.0, burns.0);
    assert_close("input gradient", ours.1, burns.1);
    assert_close("weight gradient", ours.2, burns.2);
    assert_close("bias gradient", ours.3, burns.3);
}

#[test]
fn transposed_convolutions_equal_burn() {
    let spec = |stride, padding, padding_out, groups| ConvTransposeSpec {
        stride,
        padding,
        padding_out,
        groups,
    };
    check_transpose([2, 16, 1], [8, 8], 3, spec(2, 1, 1, 16));
    check_transpose([3, 5, 1], [7, 4], 3, spec(2, 1, 0, 5));
    check_transpose([2, 4, 1], [5, 6], 3, spec(1, 1, 0, 4));
    check_transpose([2, 12, 20], [8, 8], 3, spec(2, 1, 1, 1));
    check_transpose([1, 6, 5], [4, 3], 4, spec(2, 1, 0, 1));
    check_transpose([2, 8, 4], [5, 5], 2, spec(2, 0, 0, 2));
    // A stride beyond the kernel leaves gaps: Burn's own operation.
    check_transpose([1, 4, 4], [3, 3], 1, spec(2, 0, 1, 1));
}

#[test]
fn fused_relu_and_residual_equal_separate_operations() {
    let device = Device::flex();
    let case = case([3, 6, 10], [9, 8], [3, 3], [1, 1, 1]);
    let (x, weight, bias) = inputs(&case, &device);
    let residual = draw([3, 10, 9, 8], 5, &device);
    let run = |fused: bool, with_relu: bool| {
        let x = Tensor::from_inner(x.clone()).require_grad();
        let bias = Tensor::from_inner(bias.clone()).require_grad();
        let residual = Tensor::from_inner(residual.clone()).require_grad();
        let frozen = weight.clone();
        let output = match (fused, with_relu) {
            (true, true) => conv2d_relu(
                x.clone(),
                frozen,
                Some(bias.clone()),
                Some(residual.clone()),
                case.spec,
            ),
            (true, false) => conv2d_add(
                x.clone(),
                frozen,
                Some(bias.clone()),
                residual.clone(),
                case.spec,
            ),
            (false, true) => relu(
                burns(
                    x.clone(),
                    Tensor::from_inner(frozen),
                    Some(bias.clone()),
                    case.spec,
                ) + residual.clone(),
            ),
            (false, false) => {
                burns(
                    x.clone(),
                    Tensor::from_inner(frozen),
                    Some(bias.clone()),
                    case.spec,
                ) + residual.clone()
            }
        };
        let pull = Tensor::from_inner(draw(output.dims(), 4, &device));
        let grads = (output.clone() * pull).sum().backward();
        (
            output.inner(),
            x.grad(&grads).unwrap(),
            bias.grad(&grads).unwrap(),
            residual.grad(&grads).unwrap(),
        )
    };
    for with_relu in [true, false] {
        let (ours, burns) = (run(true, with_relu), run(false, with_relu));
        assert_close("output", ours.0, burns.0);
        assert_close("input gradient", ours.1, burns.1);
        assert_close("bias gradient", ours.2, burns.2);
        assert_close("residual gradient", ours.3, burns.3);
    }
}

#[test]
fn a_frozen_weight_gets_no_gradient() {
    let device = Device::flex();
    let case = case([2, 4, 8], [6, 6], [3, 3], [1, 1, 1]);
    let (x, weight, _) = inputs(&case, &device);
    let x = Tensor::from_inner(x).require_grad();
    let weight = Tensor::from_inner(weight);
    let grads = ours(x.clone(), weight.clone(), None, case.spec)
        .sum()
        .backward();
    assert!(x.grad(&grads).is_some());
    assert!(weight.grad(&grads).is_none());
}

#[test]
fn untracked_tensors_on_an_autodiff_device_give_an_untracked_output() {
    let device = Device::flex();
    let case = case([1, 4, 8], [6, 6], [3, 3], [1, 1, 1]);
    let (x, weight, _) = inputs(&case, &device);
    let output = ours(
        Tensor::from_inner(x.clone()),
        Tensor::from_inner(weight.clone()),
        None,
        case.spec,
    );
    assert!(!output.is_require_grad());
    assert_close("output", output.inner(), burns(x, weight, None, case.spec));
}

#[test]
fn transposed_views_are_read_in_their_logical_order() {
    let device = Device::flex();
    let case = case([2, 4, 8], [7, 5], [3, 3], [1, 1, 1]);
    let (x, weight, _) = inputs(&case, &device);
    let swapped = x.swap_dims(2, 3);
    let output = ours(swapped.clone(), weight.clone(), None, case.spec);
    assert_close("output", output, burns(swapped, weight, None, case.spec));
}

#[test]
fn shapes_outside_the_fast_path_fall_back_to_burn() {
    let device = Device::flex();
    // Padding as large as the kernel.
    let wide = case([1, 3, 4], [5, 5], [2, 2], [1, 3, 1]);
    let (x, weight, bias) = inputs(&wide, &device);
    let output = ours(x.clone(), weight.clone(), Some(bias.clone()), wide.spec);
    assert_eq!(output.dims(), [1, 4, 10, 10]);
    assert_close("output", output, burns(x, weight, Some(bias), wide.spec));
    // A device that recomputes activations in the backward pass.
    let device = Device::flex().autodiff().gradient_checkpointing();
    let case = case([1, 4, 8], [6, 6], [3, 3], [1, 1, 1]);
    let (x, weight, _) = inputs(&case, &device);
    let x = x.require_grad();
    let grads = ours(x.clone(), weight.clone(), None, case.spec)
        .sum()
        .backward();
    let expected = burns(x.clone(), weight, None, case.spec).sum().backward();
    let gradients = [grads, expected].map(|grads| x.grad(&grads).unwrap());
    let [ours, burns] = gradients;
    assert_close("input gradient", ours, burns);
}

#[test]
fn batch_norm_in_training_equals_burn() {
    for (shape, with_residual, with_relu) in [
        ([4, 3, 5, 7], false, false),
        ([8, 16, 8, 8], true, true),
        ([2, 5, 1, 1], false, true),
        ([3, 40, 16, 17], false, true),
    ] {
        let device = Device::flex();
        let channels = shape[1];
        let run = |fast: bool| {
            let mut norm = BatchNormConfig::new(channels).init(&device.clone().autodiff());
            let trained = |seed| {
                Param::from_tensor(
                    Tensor::from_inner(draw([channels], seed, &device)).require_grad(),
                )
            };
            (norm.gamma, norm.beta) = (trained(1), trained(2));
            let x = Tensor::from_inner(draw(shape, 3, &device)).require_grad();
            let residual = Tensor::from_inner(draw(shape, 4, &device)).require_grad();
            let output = match (fast, with_residual, with_relu) {
                (true, true, _) => batch_norm_relu(&norm, x.clone(), Some(residual.clone())),
                (true, false, true) => batch_norm_relu(&norm, x.clone(), None),
                (true, false, false) => batch_norm(&norm, x.clone()),
                (false, true, _) => relu(norm.forward(x.clone()) + residual.clone()),
                (false, false, true) => relu(norm.forward(x.clone())),
                (false, false, false) => norm.forward(x.clone()),
            };
            let pull = Tensor::from_inner(draw(shape, 5, &device));
            let grads = (output.clone() * pull).sum().backward();
            let maps = [Some(output.inner()), x.grad(&grads), residual.grad(&grads)];
            let values = [
                norm.gamma.val().grad(&grads).unwrap(),
                norm.beta.val().grad(&grads).unwrap(),
                norm.running_mean.value_sync().inner(),
                norm.running_var.value_sync().inner(),
            ];
            (maps, values)
        };
        let (ours, burns) = (run(true), run(false));
        for (ours, burns) in ours.0.into_iter().zip(burns.0) {
            assert_eq!(ours.is_some(), burns.is_some());
            if let (Some(ours), Some(burns)) = (ours, burns) {
                assert_close("output or gradient", ours, burns);
            }
        }
        for (ours, burns) in ours.1.into_iter().zip(burns.1) {
            assert_close("gradient or running statistic", ours, burns);
        }
    }
}

#[test]
fn batch_norm_outside_training_equals_burn() {
    let device = Device::flex();
    let tracked = device.clone().autodiff();
    let norm = BatchNormConfig::new(6).init(&tracked);
    let x = draw([4, 6, 5, 3], 1, &device);
    // Moves the running statistics away from their start.
    drop(norm.forward(Tensor::from_inner(x.clone())));
    let expected = relu(norm.clone().valid().forward(x.clone()) + x.clone());
    let output = batch_norm_relu(&norm.clone().valid(), x.clone(), Some(x.clone()));
    assert_close("plain", output, expected.clone());
    let frozen = norm.clone().freeze();
    let before = floats(frozen.running_mean.value_sync());
    let x = Tensor::from_inner(x);
    let output = batch_norm_relu(&frozen, x.clone(), Some(x));
    assert_close("frozen", output.inner(), expected);
    assert_eq!(before, floats(frozen.running_mean.value_sync()));
}

#[test]
fn mixture_nats_on_flex_equal_the_composed_ones() {
    // The composed form runs on the plain device, and, for gradients, where activations are
    // recomputed.
    let device = Device::flex();
    let run = |device: &Device, [batch, channels, points]: [usize; 3]| {
        let tracked =
            |tensor: Tensor<2>| Tensor::from_data(tensor.into_data(), device).require_grad();
        let cpu = Device::flex();
        let x: Tensor<3> = draw([batch, channels, points], 1, &cpu).mul_scalar(3.0);
        let x = Tensor::from_data(x.into_data(), device).require_grad();
        let weights = tracked(draw([3, channels], 2, &cpu).mul_scalar(0.1).add_scalar(0.3));
        let locations = tracked(draw([3, channels], 3, &cpu));
        let inverse = tracked(draw([3, channels], 4, &cpu).add_scalar(1.2));
        let mixture = LogisticMixture {
            weights: weights.clone(),
            locations: locations.clone(),
            inverse_scales: inverse.clone(),
        };
        let nats = mixture_nats(x.clone(), mixture, 1e-6);
        let pull = Tensor::from_data(draw([batch], 5, &cpu).into_data(), device);
        let grads = (nats.clone() * pull).sum().backward();
        let parameters = [weights, locations, inverse].map(|p| p.grad(&grads).unwrap());
        (nats.inner(), x.grad(&grads).unwrap(), parameters)
    };
    for shape in [[3, 5, 16], [2, 1, 7], [4, 12, 65]] {
        let ours = run(&device.clone().autodiff(), shape);
        let composed = run(&device.clone().autodiff().gradient_checkpointing(), shape);
        assert_close("nats", ours.0, composed.0);
        assert_close("slope", ours.1, composed.1);
        for (ours, composed) in ours.2.into_iter().zip(composed.2) {
            assert_close("derivative by a parameter", ours, composed);
        }
    }
}

#[test]
fn wide_weights_of_one_picture_are_packed_in_pieces() {
    // More floats than are packed at a time, in one group and in two.
    for groups in [1, 2] {
        let sizes = [1, 128, 264];
        check(&case(sizes, [5, 6], [3, 3], [1, 1, groups]));
        check(&case(sizes, [5, 6], [3, 3], [2, 1, groups]));
    }
}

#[cfg(feature = "flex")]
#[test]
fn results_do_not_depend_on_the_thread_count() {
    let run = |threads: usize, batch: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let device = Device::flex().autodiff();
            let case = case([batch, 32, 40], [16, 16], [3, 3], [1, 1, 1]);
            let (x, weight, _) = inputs(&case, &device);
            let (x, weight) = (x.require_grad(), weight.require_grad());
            let output = ours(x.clone(), weight.clone(), None, case.spec);
            let grads = (output.clone() * output.clone().detach()).sum().backward();
            [
                floats(output.inner()),
                floats(x.grad(&grads).unwrap()),
                floats(weight.grad(&grads).unwrap()),
            ]
        })
    };
    for batch in [1, 11] {
        let single = run(1, batch);
        for threads in [2, 3] {
            assert_eq!(
                single,
                run(threads, batch),
                "batch {batch}, {threads} threads"
            );
        }
    }
}

#[test]
fn silu_and_its_gradient_are_those_of_burn_for_whole_and_strided_tensors() {
    let device = Device::flex();
    // More than a chunk and a rest; far values saturate.
    let wide = draw([2, 3, 41, 43], 5, &device).mul_scalar(30.0);
    for x in [draw([2, 3, 41, 43], 5, &device), wide] {
        let strided = x.clone().swap_dims(2, 3);
        for x in [x, strided] {
            assert_close("output", silu(x.clone()), burn_silu(x.clone()));
            // In the buffer of a tensor that nobody else holds, and not in one that somebody does.
            let copy = x.clone().mul_scalar(1.0);
            assert_close("in place", silu(copy), burn_silu(x.clone()));
            assert_close("sigmoid", sigmoid(x.clone()), burn_sigmoid(x.clone()));
            let copy = x.clone().mul_scalar(1.0);
            assert_close("sigmoid in place", sigmoid(copy), burn_sigmoid(x.clone()));
            let gradient = |activation: fn(Tensor<4>) -> Tensor<4>| {
                let x = Tensor::from_inner(x.clone()).require_grad();
                let weight = Tensor::from_inner(draw(x.dims(), 6, &device));
                let gradients = (activation(x.clone()) * weight).sum().backward();
                x.grad(&gradients).unwrap()
            };
            assert_close("gradient", gradient(silu), gradient(burn_silu));
        }
    }
}

#[test]
fn max_pools_are_those_of_burn_at_every_border() {
    let device = Device::flex();
    for (side, pool) in [
        ([13, 13], [5, 1, 2]),
        ([56, 40], [3, 2, 1]),
        ([7, 9], [2, 2, 0]),
        ([4, 5], [3, 3, 1]),
        ([3, 3], [3, 1, 0]),
        ([2, 6], [4, 1, 2]),
    ] {
        let [size, stride, padding] = pool;
        let x = draw([2, 3, side[0], side[1]], 7, &device).sub_scalar(2.0);
        let strided = x.clone().swap_dims(2, 3);
        for x in [x, strided] {
            let options = MaxPoolOptions::new([size, size])
                .with_stride([stride, stride])
                .with_padding([padding, padding]);
            let wanted = burn_max_pool2d(x.clone(), options);
            let found = max_pool2d(x.clone(), size, stride, padding);
            found.into_data().assert_eq(&wanted.into_data(), true);
            // Tracked tensors keep their gradient.
            let x = Tensor::from_inner(x).require_grad();
            let gradients = max_pool2d(x.clone(), size, stride, padding)
                .sum()
                .backward();
            let sum: f32 = x.grad(&gradients).unwrap().sum().into_scalar();
            let windows = max_pool2d(x.inner(), size, stride, padding).dims();
            assert_eq!(sum, windows.iter().product::<usize>() as f32);
        }
    }
    let nan = Tensor::<4>::from_data([[[[1.0, f32::NAN, 0.0, 2.0]]]], &device);
    let found: Vec<f32> = max_pool2d(nan, 1, 1, 0).into_data().try_to_vec().unwrap();
    assert!(found[1].is_nan() && found[3] == 2.0, "{found:?}");
}

#[test]
fn doubled_maps_hold_each_value_in_a_square() {
    let device = Device::flex();
    let x = draw([2, 3, 5, 7], 8, &device);
    for x in [x.clone(), x.swap_dims(2, 3)] {
        let wanted = double_nearest(Tensor::from_inner(x.clone())).inner();
        let found = double_nearest(x);
        found.into_data().assert_eq(&wanted.into_data(), true);
    }
}

#[test]
fn packed_weights_change_nothing_and_follow_the_weights() {
    let device = Device::flex();
    for (index, sizes) in [
        case([1, 5, 11], [9, 7], [3, 3], [1, 1, 1]),
        case([3, 16, 24], [8, 8], [1, 1], [1, 0, 1]),
        case([1, 64, 200], [30, 30], [3, 3], [1, 1, 1]),
        case([2, 8, 12], [6, 10], [3, 3], [2, 1, 4]),
        case([2, 6, 6], [6, 6], [3, 3], [1, 1, 6]),
    ]
    .into_iter()
    .enumerate()
    {
        let spec = sizes.spec;
        let (x, weight, bias) = inputs(&sizes, &device);
        let packed = PackedWeights::default();
        let both = |weight: &Tensor<4>, x: &Tensor<4>, with_relu: bool| {
            let bias = || Some(bias.clone());
            let plain = if with_relu {
                conv2d_relu(x.clone(), weight.clone(), bias(), None, spec)
            } else {
                ours(x.clone(), weight.clone(), bias(), spec)
            };
            let weights = (weight.clone(), &packed);
            let kept = conv2d_packed(x.clone(), weights, bias(), None, spec, with_relu);
            (floats(plain), floats(kept))
        };
        for with_relu in [false, true, false] {
            let (plain, kept) = both(&weight, &x, with_relu);
            assert!(plain == kept, "case {index}");
        }
        // One picture and several read the same panels.
        let first = x.clone().narrow(0, 0, 1);
        let (plain, kept) = both(&weight, &first, false);
        assert!(plain == kept, "case {index}, one picture");
        // Other weights of the same layer, as after a step or from another file; then the first again.
        let other = weight.clone() * 0.5 + 1.0;
        for weight in [&other, &weight] {
            let (plain, kept) = both(weight, &x, false);
            assert!(plain == kept, "case {index}, other weights");
        }
        assert_ne!(both(&weight, &x, false).1, both(&other, &x, false).1);
        // A view whose values do not lie in a row.
        let turned = weight.clone().swap_dims(2, 3);
        let (plain, kept) = both(&turned, &x, false);
        assert!(plain == kept, "case {index}, a view");
        // Weights that are dropped and others that may take their place in memory.
        for seed in 10..30 {
            let fresh = draw(weight.dims(), seed, &device);
            let (plain, kept) = both(&fresh, &x, false);
            assert!(plain == kept, "case {index}, fresh weights {seed}");
        }
    }
}

#[test]
fn packed_weights_have_gradients_like_others() {
    let device = Device::flex().autodiff();
    let sizes = case([2, 4, 6], [6, 5], [3, 3], [1, 1, 1]);
    let (x, weight, bias) = inputs(&sizes, &device);
    let packed = PackedWeights::default();
    let gradient = |kept: bool| {
        let weight = weight.clone().require_grad();
        let bias = Some(bias.clone());
        let output = if kept {
            conv2d_packed(
                x.clone(),
                (weight.clone(), &packed),
                bias,
                None,
                sizes.spec,
                true,
            )
        } else {
            conv2d_relu(x.clone(), weight.clone(), bias, None, sizes.spec)
        };
        let gradients = (output.clone() * output).sum().backward();
        floats(weight.grad(&gradients).unwrap())
    };
    assert!(gradient(true) == gradient(false));
}
