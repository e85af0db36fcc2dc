//! The timed steps: what each does, and what they hand on to each other.

use anyhow::{Result, ensure};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde_json::Value;
use split_backbone::{Part, Pictures, ResNetTail, SplitPoint};
use split_bottleneck::{
    ActivationCache, ClassifierDistortion, Head, Objective, RungCodec, Tail, TrainConfig, Training,
    UnitConfig, module_state,
};
use split_tensor::{Latent, Symbols};

use super::line::Subject;
use super::peers::{CHECKED, Handed, classifier_layout, training_layout};
use crate::memory::heap_peak_bytes;
use crate::rung::now;
use crate::setup::Setup;

/// A step of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The uncut network.
    Forward,
    Head,
    /// The unit encoder alone.
    UnitEncoder,
    /// Unit encoder, transfer to the host, quantizer.
    UnitEncode,
    /// Latents on the host to frames.
    QuantizeCode,
    /// Symbols to frames: the coder alone.
    Code,
    /// Frames to latents on the device.
    Decode,
    UnitDecode,
    Tail,
    /// All of it, pictures to answers.
    Split,
    /// One optimizer step of the unit: forward, backward, Adam.
    Train,
    /// The same on the activation's error alone, without the tail.
    Feature,
}

pub(super) const STEPS: [Step; 12] = [
    Step::Forward,
    Step::Head,
    Step::UnitEncoder,
    Step::UnitEncode,
    Step::QuantizeCode,
    Step::Code,
    Step::Decode,
    Step::UnitDecode,
    Step::Tail,
    Step::Split,
    Step::Train,
    Step::Feature,
];

impl Step {
    /// Its name in records.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Head => "head",
            Self::UnitEncoder => "unit-encoder",
            Self::UnitEncode => "unit-encode",
            Self::QuantizeCode => "quantize-code",
            Self::Code => "code",
            Self::Decode => "decode",
            Self::UnitDecode => "unit-decode",
            Self::Tail => "tail",
            Self::Split => "split",
            Self::Train => "train-step",
            Self::Feature => "feature-step",
        }
    }
}

/// A backend ready to run every step of the split.
pub(super) struct Bench {
    pub(super) setup: Setup,
    pub(super) codec: RungCodec,
    /// Layout of the unit, for the training step.
    pub(super) unit: UnitConfig,
    /// Its rung and latent, for records.
    pub(super) unit_name: String,
    /// What computes, as `--list-devices` names it.
    pub(super) device: String,
}

impl Bench {
    /// As lines name it.
    pub(super) fn subject(&self) -> Subject<'_> {
        let note = &self.setup.opened.note;
        Subject {
            model: &note.name,
            split: Some(&note.split),
            unit: Some(&self.unit_name),
            backend: self.setup.backend,
            device: &self.device,
            seed: 0,
        }
    }
}

/// What the steps of one batch hand on.
pub(super) struct Inputs {
    pub(super) input: Tensor<4>,
    pub(super) activation: Tensor<4>,
    latents: Vec<Latent>,
    symbols: Vec<Symbols>,
    frames: Vec<Vec<u8>>,
    latent: Tensor<4>,
    restored: Tensor<4>,
    cache: ActivationCache,
    training: Training,
    /// Only restores the activation.
    restoring: Training,
    distortion: ClassifierDistortion<ResNetTail>,
    /// Milliseconds of the first call of each step, in the order of [`STEPS`].
    pub(super) first_ms: Vec<f64>,
}

impl Inputs {
    /// Runs every step once, the first time at this batch size. `rounds`: how often the training
    /// step will be repeated.
    pub(super) fn new(bench: &Bench, batch: usize, rounds: usize) -> Result<Self> {
        let Bench { setup, codec, .. } = bench;
        let device = &setup.device;
        let pictures = pictures(setup, Part::Test, batch)?;
        let input = setup.opened.preprocess.input(&pictures, 0..batch, device);
        let mut first = First::default();
        first.call(Step::Forward, || {
            done(setup.opened.network.forward(input.clone()), device)
        });
        let activation = first.call(Step::Head, || {
            done(setup.opened.head.forward(input.clone()), device)
        });
        let encoded = first.call(Step::UnitEncoder, || {
            Ok::<_, anyhow::Error>(done(codec.unit_latent(activation.clone())?, device))
        })?;
        let shape = codec.codec().shape();
        let values = encoded.into_data().convert::<f32>();
        let latents = values
            .as_slice::<f32>()
            .expect("converted above")
            .chunks_exact(shape.len())
            .map(|one| Latent::new(shape, one.to_vec()))
            .collect::<Result<Vec<_>, _>>()?;
        let symbols = first.call(Step::UnitEncode, || codec.symbols(activation.clone()))?;
        first.call(Step::QuantizeCode, || quantize_code(codec, &latents))?;
        let frames = first.call(Step::Code, || code(codec, &symbols))?;
        let latent = first.call(Step::Decode, || {
            Ok::<_, anyhow::Error>(done(codec.latent(&frames)?, device))
        })?;
        let restored = first.call(Step::UnitDecode, || {
            done(codec.restore(latent.clone()), device)
        });
        first.call(Step::Tail, || {
            done(setup.opened.tail.forward(restored.clone()), device)
        });
        // The cache runs the head too, so it is made after the head's first call was timed.
        let cache = setup.cache(&self::pictures(setup, Part::Train, batch)?, false, |_| {})?;
        let tracked = device.clone().autodiff();
        let config = TrainConfig {
            steps: rounds + 1,
            batch_size: batch,
            ..TRAINING
        };
        let restoring = TrainConfig {
            warmup_steps: config.steps,
            ..config.clone()
        };
        let mut inputs = Self {
            input,
            activation,
            latents,
            symbols,
            frames,
            latent,
            restored,
            training: Training::start(&bench.unit, &config, None, &cache, &tracked)?,
            restoring: Training::start(&bench.unit, &restoring, None, &cache, &tracked)?,
            cache,
            distortion: ClassifierDistortion::unsupervised(setup.opened.tail.clone().train()),
            first_ms: Vec::new(),
        };
        first.call(Step::Split, || inputs.run(bench, Step::Split))?;
        first.call(Step::Train, || inputs.run(bench, Step::Train))?;
        first.call(Step::Feature, || inputs.run(bench, Step::Feature))?;
        inputs.first_ms = first.in_order();
        Ok(inputs)
    }

    /// Runs one step; returns when the device has finished it.
    pub(super) fn run(&mut self, bench: &Bench, step: Step) -> Result<()> {
        let Bench { setup, codec, .. } = bench;
        let device = &setup.device;
        match step {
            Step::Forward => drop(done(
                setup.opened.network.forward(self.input.clone()),
                device,
            )),
            Step::Head => drop(done(setup.opened.head.forward(self.input.clone()), device)),
            Step::UnitEncoder => {
                done(codec.unit_latent(self.activation.clone())?, device);
            }
            Step::UnitEncode => {
                std::hint::black_box(codec.symbols(self.activation.clone())?);
            }
            Step::QuantizeCode => {
                std::hint::black_box(quantize_code(codec, &self.latents)?);
            }
            Step::Code => {
                std::hint::black_box(code(codec, &self.symbols)?);
            }
            Step::Decode => drop(done(codec.latent(&self.frames)?, device)),
            Step::UnitDecode => drop(done(codec.restore(self.latent.clone()), device)),
            Step::Tail => drop(done(
                setup.opened.tail.forward(self.restored.clone()),
                device,
            )),
            Step::Split => {
                let frames = codec.encode(setup.opened.head.forward(self.input.clone()))?;
                done(setup.opened.tail.forward(codec.decode(&frames)?), device);
            }
            Step::Train => {
                self.training.advance(&self.cache, &self.distortion)?;
                device.sync().expect("the device finishes its queue");
            }
            Step::Feature => {
                self.restoring.advance(&self.cache, &self.distortion)?;
                device.sync().expect("the device finishes its queue");
            }
        }
        Ok(())
    }

    /// Times one step, in milliseconds.
    pub(super) fn time(&mut self, bench: &Bench, step: Step) -> Result<f64> {
        let started = now();
        self.run(bench, step)?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    }

    /// Most heap of this process that one step held beyond what was held before, in bytes.
    pub(super) fn heap_peak_bytes(&mut self, bench: &Bench, step: Step) -> Result<u64> {
        let (result, bytes) = heap_peak_bytes(|| self.run(bench, step));
        result.map(|()| bytes)
    }

    /// What peers are given of this batch.
    pub(super) fn handed(&self, bench: &Bench, batch: usize) -> Handed<'_> {
        let network = &bench.setup.opened.network;
        let checked = batch.min(CHECKED);
        Handed {
            layout: classifier_layout(network.config()),
            state: module_state(network),
            input: self.input.clone(),
            symbols: &self.symbols,
            training: head_blocks(bench)
                .map_or(Value::Null, |blocks| training_layout(&bench.unit, blocks)),
            checked,
            scores: self.scores(bench, checked),
        }
    }

    /// Mean bytes of a picture's frame.
    pub(super) fn frame_bytes(&self) -> f64 {
        let bytes: usize = self.frames.iter().map(Vec::len).sum();
        bytes as f64 / self.frames.len() as f64
    }

    /// Class scores of the first pictures of the batch by the uncut network, row after row.
    pub(super) fn scores(&self, bench: &Bench, pictures: usize) -> Vec<f32> {
        let input = self.input.clone().narrow(0, 0, pictures);
        let data = bench.setup.opened.network.forward(input).into_data();
        let scores = data.convert::<f32>().try_to_vec();
        scores.expect("converted to f32 above")
    }
}

/// How the unit of the training step is trained; its weights do not matter here.
const TRAINING: TrainConfig = TrainConfig {
    batch_size: 1,
    learning_rate: 1e-4,
    rate_learning_rate: 1e-4,
    ..TrainConfig::new(1, Objective::Lambda(0.1))
};

/// First calls as they happen.
#[derive(Default)]
struct First(Vec<(Step, f64)>);

impl First {
    fn call<T>(&mut self, step: Step, work: impl FnOnce() -> T) -> T {
        let started = now();
        let result = work();
        self.0.push((step, started.elapsed().as_secs_f64() * 1e3));
        result
    }

    fn in_order(&self) -> Vec<f64> {
        let of = |step: &Step| self.0.iter().find(|(called, _)| called == step);
        STEPS
            .iter()
            .map(|step| of(step).map_or(0.0, |(_, ms)| *ms))
            .collect()
    }
}

/// Blocks in front of the cut; nothing where it lies behind the pool, which no unit is trained for.
fn head_blocks(bench: &Bench) -> Option<usize> {
    let opened = &bench.setup.opened;
    let point: SplitPoint = opened.note.split.parse().ok()?;
    // The first place is the stem, each other one lies behind one block more.
    let place = opened.network.config().locate(point).ok()?;
    (point != SplitPoint::Pool).then_some(place)
}

/// As many pictures as a batch holds.
fn pictures(setup: &Setup, part: Part, batch: usize) -> Result<Pictures> {
    let mut few = setup.clone();
    (few.args.test_pictures, few.args.train_pictures) = (Some(batch), Some(batch));
    let pictures = few.pictures(part)?;
    ensure!(
        pictures.len() == batch,
        "--batch {batch}: {} has only {} pictures of a kind",
        setup.args.data,
        pictures.len()
    );
    Ok(pictures)
}

fn quantize_code(codec: &RungCodec, latents: &[Latent]) -> Result<Vec<Vec<u8>>> {
    let frames = latents.iter().map(|one| codec.codec().encode(one));
    Ok(frames.collect::<Result<Vec<_>, _>>()?)
}

fn code(codec: &RungCodec, symbols: &[Symbols]) -> Result<Vec<Vec<u8>>> {
    let frames = symbols.iter().map(|one| codec.codec().encode_symbols(one));
    Ok(frames.collect::<Result<Vec<_>, _>>()?)
}

/// Waits until the device has computed the tensor.
pub(super) fn done<const D: usize>(tensor: Tensor<D>, device: &Device) -> Tensor<D> {
    std::hint::black_box(&tensor);
    device.sync().expect("the device finishes its queue");
    tensor
}
