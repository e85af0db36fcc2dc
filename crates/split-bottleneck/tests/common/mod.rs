//! A small frozen network on made-up activations, shared by the tests.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail loudly")]

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use split_bottleneck::{
    ActivationCache, ClassifierDistortion, Head, Objective, Tail, TrainConfig, Training, redraw,
};

pub(crate) const CHANNELS: usize = 6;
pub(crate) const SIDE: usize = 8;
pub(crate) const CLASSES: usize = 4;

/// Gives its input back: the made-up pictures are activations already.
#[derive(Debug)]
pub(crate) struct Identity;

impl Head for Identity {
    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        input
    }
}

/// Mean over the picture and a linear layer.
#[derive(Module, Debug)]
pub(crate) struct ToyTail {
    linear: Linear,
}

impl ToyTail {
    pub(crate) fn new(device: &Device) -> Self {
        let linear = LinearConfig::new(CHANNELS, CLASSES).init(device);
        redraw(Self { linear }, &mut Pcg64::seed_from_u64(7))
    }
}

impl Tail for ToyTail {
    type Output = Tensor<2>;

    fn forward(&self, activation: Tensor<4>) -> Tensor<2> {
        let [n, channels, height, width] = activation.dims();
        let mean = activation
            .reshape([n, channels, height * width])
            .mean_dim(2)
            .reshape([n, channels]);
        self.linear.forward(mean)
    }
}

/// Rectified, smooth activations whose channels tell the class.
pub(crate) fn cache(pictures: usize, device: &Device) -> ActivationCache {
    let mut rng = Pcg64::seed_from_u64(11);
    let mut draw = || f32::from(u16::try_from(rng.next_u32() >> 16).unwrap()) / 65_536.0;
    let mut values = Vec::new();
    let mut labels = Vec::new();
    for picture in 0..pictures {
        let class = picture % CLASSES;
        labels.push(i32::try_from(class).unwrap());
        for channel in 0..CHANNELS {
            let level = if channel % CLASSES == class { 2.0 } else { 0.3 };
            let tilt = draw();
            for row in 0..SIDE {
                for column in 0..SIDE {
                    let slope = tilt * (row as f32 - column as f32) / SIDE as f32;
                    values.push((level + slope + 0.3 * draw() - 0.2).max(0.0));
                }
            }
        }
    }
    let shape = [pictures, CHANNELS, SIDE, SIDE];
    let input = Tensor::from_data(TensorData::new(values, shape), device);
    ActivationCache::build(&Identity, &ToyTail::new(device), [(input, labels)], 1 << 26).unwrap()
}

pub(crate) fn config(steps: usize, objective: Objective) -> TrainConfig {
    TrainConfig {
        warmup_steps: steps / 4,
        batch_size: 16,
        learning_rate: 1e-2,
        seed: 5,
        ..TrainConfig::new(steps, objective)
    }
}

pub(crate) fn distortion(device: &Device) -> ClassifierDistortion<ToyTail> {
    ClassifierDistortion::unsupervised(ToyTail::new(device))
}

pub(crate) fn run(
    training: &mut Training,
    cache: &ActivationCache,
    steps: usize,
    device: &Device,
) -> f64 {
    let distortion = distortion(device);
    let mut last = f64::NAN;
    for _ in 0..steps {
        last = training.advance(cache, &distortion).unwrap().distortion;
    }
    last
}
