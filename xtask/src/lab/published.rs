//! `train --published`: published bottlenecks, trained on the same ground: two without an entropy coder, and Entropic
//! Student.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use burn::module::Module as _;
use clap::ValueEnum;
use split_backbone::Part;
use split_bottleneck::{
    ActivationCache, Bank, ClassifierDistortion, Objective, Rung, TablePictures, TrainConfig,
    UnitConfig, evaluate,
};

use crate::record::{Document, Row};
use crate::report::{base_row, rung_row, test_cache_keeping};
use crate::rung::{Task, Trained, count, now};
use crate::setup::Setup;
use crate::train::{Layout, Loss, TrainArgs, rungs_of, train_rungs};

/// Bits of each value that is sent, in both papers.
const BITS: u32 = 8;
/// Channels of the bottlenecks, from the smallest frame on (arXiv 2007.15818 has 2 to 12).
const CHANNELS: [usize; 5] = [1, 2, 3, 6, 9];
/// Training pictures from which a range is taken.
const RANGE_PICTURES: usize = 2000;
/// The price of the rate: what is sent has a fixed length.
const FREE: f64 = 1e-9;

/// Entropic Student's share of the learning rate: without batch norms it takes smaller steps.
const STUDENT_PACE: f64 = 0.25;

/// A published bottleneck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Published {
    /// Channel reduction and bottleneck quantization (arXiv 2007.15818): trained to restore the activation.
    CrBq,
    /// BottleNet++ (Shao and Zhang 2020): trained on labels.
    #[value(name = "bottlenet-pp")]
    BottleNet,
    /// Entropic Student (Matsubara et al. 2022).
    EntropicStudent,
}

impl Published {
    /// Kind of its rows.
    fn kind(self) -> &'static str {
        match self {
            Self::CrBq => "cr-bq",
            Self::BottleNet => "bottlenet-pp",
            Self::EntropicStudent => "entropic-student",
        }
    }
}

/// Trains the bottlenecks that were asked for.
pub(crate) fn train(
    setup: &Setup,
    args: &TrainArgs,
    cache: &ActivationCache,
    out: &Path,
    stop: &AtomicBool,
) -> Result<Vec<Trained>> {
    let mut trained = Vec::new();
    let asked = |published: &&Published| args.published.contains(published);
    for published in Published::value_variants().iter().filter(asked) {
        trained.extend(match published {
            Published::EntropicStudent => students(setup, args, cache, out, stop)?,
            Published::CrBq => {
                let unit = |channels| UnitConfig::conv(cache.shape(), channels, args.stride, 0.01);
                let task = (published.kind(), args.steps);
                integers(setup, args, cache, (out, stop), task, unit)?
            }
            Published::BottleNet => {
                let unit = |channels| UnitConfig::bottlenet(cache.shape(), channels, args.stride);
                let task = (published.kind(), args.warmup_steps);
                integers(setup, args, cache, (out, stop), task, unit)?
            }
        });
    }
    Ok(trained)
}

/// Entropic Student (Matsubara et al. 2022): its layout, trained as ours are, so that what differs is where the encoder
/// stands and how much it costs. The tail stays frozen; the paper goes on to train it too.
fn students(
    setup: &Setup,
    args: &TrainArgs,
    cache: &ActivationCache,
    out: &Path,
    stop: &AtomicBool,
) -> Result<Vec<Trained>> {
    let picture = cache.picture_shape();
    let picture = picture.context("the cache was built without pictures")?;
    let channels = (3 * cache.shape().channels).div_ceil(4);
    let unit = UnitConfig::student(cache.shape(), picture, channels, 0.5);
    if let Err(error) = unit.latent_shape() {
        eprintln!("Entropic Student is left out at this cut: {error}");
        return Ok(Vec::new());
    }
    let layout = Layout {
        loss: Loss::Logits,
        kind: Published::EntropicStudent.kind(),
        word: Published::EntropicStudent.kind(),
        unit,
        from_klt: false,
        pace: STUDENT_PACE,
    };
    train_rungs(setup, args, rungs_of(args, &layout), cache, out, stop)
}

/// Bottlenecks that send integers, each with its own number of channels.
fn integers(
    setup: &Setup,
    args: &TrainArgs,
    cache: &ActivationCache,
    (out, stop): (&Path, &AtomicBool),
    (kind, warmup_steps): (&'static str, usize),
    unit: impl Fn(usize) -> UnitConfig,
) -> Result<Vec<Trained>> {
    let tail = setup.opened.tail.clone().train();
    let distortion = ClassifierDistortion::supervised(tail);
    let mut trained = Vec::new();
    for channels in CHANNELS {
        let unit = unit(channels);
        let train = TrainConfig {
            warmup_steps,
            batch_size: args.batch_size,
            learning_rate: args.learning_rate,
            rate: args.rate.kind(),
            weight_decay: args.weight_decay,
            averaging: args.averaging,
            finish_steps: args.finish_steps,
            seed: args.seed.wrapping_mul(1000).wrapping_add(count(channels)),
            ..TrainConfig::new(args.steps, Objective::Lambda(FREE))
        };
        let name = format!("{kind}-{channels}");
        let started = now();
        let task = Task {
            name: &name,
            unit: &unit,
            train: &train,
            file: &out.join(format!("{name}.checkpoint")),
            frame_bytes: &|bits| bits / 8.0,
        };
        let (training, earlier) =
            task.run((args.resume, stop), None, cache, &distortion, &setup.device)?;
        let pictures = TablePictures {
            cache,
            limit: RANGE_PICTURES,
            mixing: false,
            device: &setup.device,
        };
        let weights = training.weights().unit;
        let rung = Rung::integers(&name, kind, &unit, &weights, BITS, pictures)?;
        let seen = f64::from(u32::try_from(train.steps * train.batch_size)?);
        trained.push(Trained {
            rung: Rung {
                steps: train.steps,
                ..rung
            },
            epochs: seen / f64::from(u32::try_from(cache.len())?),
            seconds: earlier + started.elapsed().as_secs_f64(),
        });
    }
    Ok(trained)
}

/// Adds a row for each of them, closed loop on the whole test set.
pub(crate) fn measure(
    setup: &Setup,
    args: &TrainArgs,
    trained: &[Trained],
    document: &mut Document,
) -> Result<()> {
    let pictures = setup.pictures(Part::Test)?;
    let keeps = args.published.contains(&Published::EntropicStudent);
    let cache = test_cache_keeping(keeps, setup, &pictures)?;
    let base = base_row(setup, args.seed, &pictures)?;
    let rungs = trained.iter().map(|one| one.rung.clone()).collect();
    let bank = Bank::new(setup.opened.note.clone(), rungs)?;
    for (index, one) in trained.iter().enumerate() {
        let codec = bank.open(index, &setup.device)?;
        let result = evaluate(&codec, &setup.opened.tail, &cache, &setup.device)?;
        let row = rung_row(&base, setup, one, &codec, &result)?;
        let is_coded = one.rung.kind == Published::EntropicStudent.kind();
        document.rows.push(match is_coded {
            true => row,
            // What is sent has a fixed length: there is nothing to estimate.
            false => Row {
                estimated_bytes: None,
                flush_bytes: None,
                ..row
            },
        });
    }
    Ok(())
}
