//! Cuts a network that this workspace does not know, and trains a bottleneck unit for it.
//!
//! ```text
//! cargo run -p split-backbone --example own_network
//! ```

use std::error::Error;
use std::io::Write;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, TensorData, activation::relu, s};
use rand_core::SeedableRng;
use rand_pcg::Pcg64;
use split_bottleneck::{
    ActivationCache, BackboneNote, Bank, Batch, Distortion, Head, Objective, Rung, Tail,
    TrainConfig, Training, UnitConfig, redraw, relative_error,
};

// ---- Any Burn module. Yours would be trained; this one keeps the weights that it is drawn with.

#[derive(Module, Debug)]
struct OwnNet {
    early: Conv2d,
    late: Conv2d,
    score: Linear,
}

impl OwnNet {
    fn new(device: &Device) -> Self {
        let conv = |channels, stride| {
            Conv2dConfig::new(channels, [3, 3])
                .with_stride([stride, stride])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(device)
        };
        let network = Self {
            early: conv([3, 16], 2),
            late: conv([16, 32], 2),
            score: LinearConfig::new(32, 10).init(device),
        };
        redraw(network, &mut Pcg64::seed_from_u64(7))
    }

    fn first(&self, picture: Tensor<4>) -> Tensor<4> {
        relu(self.early.forward(picture))
    }

    fn rest(&self, activation: Tensor<4>) -> Tensor<2> {
        let [n, _, height, width] = activation.dims();
        let late = relu(self.late.forward(activation));
        let mean = late
            .reshape([n, 32, (height / 2) * (width / 2)])
            .mean_dim(2);
        self.score.forward(mean.reshape([n, 32]))
    }
}

// ---- The cut: one trait for each side, and one for what counts as lost.

impl Head for OwnNet {
    fn forward(&self, picture: Tensor<4>) -> Tensor<4> {
        self.first(picture)
    }
}

impl Tail for OwnNet {
    type Output = Tensor<2>;

    fn forward(&self, activation: Tensor<4>) -> Tensor<2> {
        self.rest(activation)
    }
}

/// Squared difference to the unsplit answer, and a share of the activation's error.
struct Lost {
    tail: OwnNet,
}

impl Distortion for Lost {
    fn distortion(&self, restored: Tensor<4>, batch: &Batch) -> Tensor<1> {
        let answer = self.tail.rest(restored.clone()) - batch.reference.clone();
        let activation = relative_error(restored, batch.activation.clone());
        answer.powi_scalar(2).mean() + activation.mul_scalar(0.1)
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Distortion of the first step.
    pub(crate) before: f64,
    /// Distortion of the last step.
    pub(crate) after: f64,
    /// Bytes of one picture's frame.
    pub(crate) frame_bytes: usize,
    /// Bytes of the activation as 32-bit floats.
    pub(crate) raw_bytes: usize,
    /// Largest difference between the answers from the frame and from the whole network.
    pub(crate) answer_error: f32,
}

/// Trains a unit for `steps` steps and sends one picture through it.
pub(crate) fn run(steps: usize) -> Result<Outcome, Box<dyn Error>> {
    let device = Device::flex();
    let network = OwnNet::new(&device);
    let pictures = pictures(32, &device);

    // Head and tail stay as they are, so their results are computed once.
    let inputs = [(pictures.clone(), vec![0; 32])];
    let cache = ActivationCache::build(&network, &network, inputs, 1 << 28)?;
    let unit = UnitConfig::conv(cache.shape(), 8, 2, 0.5);
    let config = TrainConfig {
        batch_size: 8,
        learning_rate: 1e-2,
        ..TrainConfig::new(steps, Objective::Lambda(0.01))
    };
    let training_device = device.clone().autodiff();
    let mut training = Training::start(&unit, &config, None, &cache, &training_device)?;
    let lost = Lost {
        tail: network.clone().train().freeze(),
    };
    let mut losses = Vec::with_capacity(steps);
    while !training.is_done() {
        losses.push(training.advance(&cache, &lost)?.distortion);
    }

    // A bank holds what device and edge need; from here on everything goes over the wire.
    let rung = Rung::from_training("own-1", "unit", &unit, &training, &cache, 32, &device)?;
    let note = BackboneNote {
        name: "own".to_owned(),
        split: "early".to_owned(),
        weights_sha256: "drawn from seed 7".to_owned(),
    };
    let codec = Bank::new(note, vec![rung])?.open(0, &device)?;
    let picture = pictures.slice(s![0..1]);
    let frames = codec.encode(network.first(picture.clone()))?;
    let answer = network.rest(codec.decode(&frames)?);
    let whole = network.rest(network.first(picture));
    Ok(Outcome {
        before: *losses.first().ok_or("no step was made")?,
        after: *losses.last().ok_or("no step was made")?,
        frame_bytes: frames[0].len(),
        raw_bytes: cache.shape().len() * size_of::<f32>(),
        answer_error: (answer - whole).abs().max().into_scalar(),
    })
}

/// Slopes and waves, so that there is something to learn.
fn pictures(count: usize, device: &Device) -> Tensor<4> {
    let side = 32;
    let values = (0..count * 3 * side * side).map(|index| {
        let (x, y) = (index % side, index / side % side);
        let (channel, picture) = (index / (side * side) % 3, index / (3 * side * side));
        let wave = (x * (picture % 5 + 1) + y * (picture % 7 + channel)) % 64;
        wave as f32 / 32.0 - 1.0
    });
    let values: Vec<f32> = values.collect();
    Tensor::from_data(TensorData::new(values, [count, 3, side, side]), device)
}

#[allow(dead_code, reason = "a test calls `run` and leaves `main` aside")]
fn main() -> Result<(), Box<dyn Error>> {
    let outcome = run(60)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "loss before {:.4}", outcome.before)?;
    writeln!(out, "loss after  {:.4}", outcome.after)?;
    writeln!(
        out,
        "one frame: {} bytes in the place of {}; answers differ by at most {:.3}",
        outcome.frame_bytes, outcome.raw_bytes, outcome.answer_error
    )?;
    Ok(())
}
