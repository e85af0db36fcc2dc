//! `train --continuous`: one unit for all rates, and a trained rung with other steps.

use std::path::Path;

use anyhow::{Context, Result};
use burn::module::Module;
use split_backbone::Part;
use split_bottleneck::{
    ActivationCache, Bank, ClassifierDistortion, ContinuousConfig, ContinuousTraining, Rung,
    TablePictures, evaluate,
};

use crate::metrics::Metrics;
use crate::record::Document;
use crate::report::{base_row, measured, rung_row, test_cache};
use crate::rung::{Trained, bar, count, now};
use crate::setup::Setup;
use crate::train::{FRAME_OVERHEAD_BYTES, TABLE_PICTURES, TrainArgs, UnitKind};

/// Rungs of the ladder; each costs its tables only.
const LADDER: usize = 12;
/// Factors of the step at both ends of the ladder: about eight times in bytes.
const FACTORS: (f32, f32) = (0.5, 12.0);
/// Steps at which rate models are trained.
const ANCHORS: usize = 7;
/// Price of a kilobit at factor 1.
const LAMBDA: f64 = 0.05;
/// The price grows faster than the step: where it does not, channels learn to keep their steps
/// fine and the range of rates shrinks.
const LAMBDA_POWER: f64 = 1.5;
/// Steps of the free variant, in steps of its trained rung.
const FREE_FACTORS: [f32; 6] = [0.5, 0.707, 1.414, 2.0, 2.828, 4.0];

/// One continuous unit and, for each trained rung, what its own step alone can do.
pub(crate) struct Continuous {
    pub(crate) bank: Bank,
    rungs: Vec<Trained>,
}

/// Trains the continuous unit from the first trained rung of our own layout where there is one.
pub(crate) fn train(
    setup: &Setup,
    args: &TrainArgs,
    cache: &ActivationCache,
    trained: &[Trained],
    out: &Path,
) -> Result<Continuous> {
    let started = now();
    let device = setup.device.clone().autodiff();
    let shape = cache.shape();
    let place = args.units.iter().position(|kind| *kind == UnitKind::Conv);
    let step = args.step_at(place.unwrap_or(0));
    let unit = UnitKind::Conv.unit(shape, args.latent_channels, args.stride, step);
    let first = trained.iter().find(|one| one.rung.config == unit);
    let config = settings(args, first.is_some());
    let weights = first.map(|one| &one.rung.weights);
    let mut training = ContinuousTraining::start(&unit, &config, weights, cache, &device)?;
    let loss = ClassifierDistortion::unsupervised(setup.opened.tail.clone().train());
    let bar = bar(config.steps, "continuous");
    let mut metrics = Metrics::begin(out, "continuous", 0)?;
    while !training.is_done() {
        let report = training
            .advance(cache, &loss)
            .context("training the continuous unit")?;
        metrics.push(&report, report.bits / 8.0 + FRAME_OVERHEAD_BYTES);
        bar.set_position(count(report.step));
        bar.set_message(format!("lost {:.4}", report.distortion));
    }
    metrics.end()?;
    bar.finish_and_clear();
    let pictures = TablePictures {
        cache,
        limit: TABLE_PICTURES,
        mixing: args.mixing,
        device: &setup.device,
    };
    let epochs = f64::from(u32::try_from(config.steps * config.batch_size)?)
        / f64::from(u32::try_from(cache.len())?);
    let seconds = started.elapsed().as_secs_f64();
    let one = |rung: Rung, epochs: f64, seconds: f64| Trained {
        rung,
        epochs,
        seconds,
    };
    let mut rungs = Vec::new();
    for (index, factor) in ContinuousConfig::ladder(FACTORS.0, FACTORS.1, LADDER)
        .into_iter()
        .enumerate()
    {
        let name = format!("continuous-{}", index + 1);
        let rung = training.rung(&name, "continuous", factor, pictures)?;
        rungs.push(one(rung, epochs, seconds));
    }
    if let Some(trained) = trained.first() {
        for factor in FREE_FACTORS {
            let name = format!("{} step x{factor}", trained.rung.name);
            let rung = trained
                .rung
                .with_step_factor(&name, "step-only", factor, pictures)?;
            rungs.push(one(rung, trained.epochs, trained.seconds));
        }
    }
    let all = rungs.iter().map(|one| one.rung.clone()).collect();
    let bank = Bank::new(setup.opened.note.clone(), all)?;
    Ok(Continuous { bank, rungs })
}

/// How it is trained, from a trained rung or from drawn weights.
fn settings(args: &TrainArgs, is_warm: bool) -> ContinuousConfig {
    ContinuousConfig {
        steps: args.continuous_steps.unwrap_or(args.steps),
        warmup_steps: if is_warm { 0 } else { args.warmup_steps },
        batch_size: args.batch_size,
        learning_rate: args.learning_rate * if is_warm { 0.5 } else { 1.0 },
        rate_learning_rate: 0.02,
        anchors: ContinuousConfig::ladder(FACTORS.0, FACTORS.1, ANCHORS),
        lambda: LAMBDA,
        lambda_power: LAMBDA_POWER,
        seed: args.seed.wrapping_mul(1000).wrapping_add(500),
    }
}

/// Measures every rung closed loop and adds its row.
pub(crate) fn measure(
    setup: &Setup,
    args: &TrainArgs,
    continuous: &mut Continuous,
    document: &mut Document,
) -> Result<()> {
    let pictures = setup.pictures(Part::Test)?;
    let cache = test_cache(setup, &pictures)?;
    let base = base_row(setup, args.seed, &pictures)?;
    for (index, one) in continuous.rungs.iter().enumerate() {
        let codec = continuous.bank.open(index, &setup.device)?;
        let result = evaluate(&codec, &setup.opened.tail, &cache, &setup.device)?;
        continuous.bank.set_measured(index, measured(&result))?;
        let row = rung_row(&base, setup, one, &codec, &result)?;
        document.rows.push(row);
    }
    Ok(())
}
