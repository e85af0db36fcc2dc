//! `search`: unit shapes, steps and prices by successive halving.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::module::Module;
use clap::Args;
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use records::{TradeOff, better_half, pareto_ranks};
use serde::{Deserialize, Serialize};
use split_backbone::Part;
use split_bottleneck::{
    ActivationCache, ActivationShape, Bank, ClassifierDistortion, EncoderKind, Objective, Rung,
    TrainConfig, Training, UnitConfig, evaluate,
};

use crate::files::{folder, read, write_whole};
use crate::report::{base_row, test_cache};
use crate::run_folder;
use crate::rung::{bar, count, now};
use crate::setup::{Setup, SetupArgs};

/// Training pictures whose symbols are counted for a trial's tables.
const TABLE_PICTURES: usize = 1000;
/// The picture that a search leaves at its end.
const PLOT: &str = "search.svg";

/// Options of `search`.
#[derive(Args, Debug, Clone, Serialize)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    #[serde(skip)]
    setup: SetupArgs,
    /// Units drawn at the start; every round keeps the better half.
    #[arg(long, default_value_t = 8)]
    trials: usize,
    /// Rounds; each doubles the steps that the units left have been trained.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Optimizer steps of the first round.
    #[arg(long, default_value_t = 60)]
    steps: usize,
    /// Pictures of a step.
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
    /// Peak learning rate.
    #[arg(long, default_value_t = 4e-3)]
    learning_rate: f64,
    /// Seed of the draws and of all trials.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for trials, results and plot.
    #[arg(long, default_value = "out/search")]
    #[serde(skip)]
    out: PathBuf,
    /// Go on with an interrupted search in the same folder.
    #[arg(long)]
    #[serde(skip)]
    resume: bool,
}

/// One unit at one price.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Trial {
    name: String,
    unit: UnitConfig,
    lambda: f64,
}

/// What a trial came to in a round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Outcome {
    round: u32,
    trial: Trial,
    steps: usize,
    bytes: f64,
    value: f64,
    device_macs: u64,
    train_s: f64,
}

impl Outcome {
    fn trade_off(&self) -> TradeOff {
        TradeOff {
            bytes: self.bytes,
            value: self.value,
            device_macs: float(self.device_macs),
        }
    }
}

/// Everything that is kept between two processes.
#[derive(Debug, Serialize, Deserialize)]
struct Journal {
    schema: String,
    options: serde_json::Value,
    outcomes: Vec<Outcome>,
}

pub(crate) fn run(args: &SearchArgs) -> Result<()> {
    if args.trials == 0 || args.rounds == 0 || args.steps == 0 {
        bail!("--trials, --rounds and --steps must be at least 1");
    }
    let started = now();
    let out = folder(&args.out)?;
    let path = out.join("search.json");
    let setup = args.setup.open()?;
    let mut journal = open_journal(args, &setup, &path)?;
    let training = setup.cache(&setup.pictures(Part::Train)?, false, |_| {})?;
    let pictures = setup.pictures(Part::Test)?;
    let ground = Ground {
        args,
        setup: &setup,
        training: &training,
        test: test_cache(&setup, &pictures)?,
        head_macs: base_row(&setup, args.seed, &pictures)?.device_macs,
        out: &out,
    };
    let mut trials = drawn(args.trials, args.seed, training.shape());
    for round in 0..args.rounds {
        let bar = bar(trials.len(), &format!("round {}", round + 1));
        for trial in &trials {
            if find(&journal, round, trial).is_none() {
                let outcome = ground
                    .outcome(round, trial)
                    .with_context(|| format!("trial {}", trial.name))?;
                journal.outcomes.push(outcome);
                write_whole(&path, &serde_json::to_vec_pretty(&journal)?)?;
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        let outcomes: Vec<&Outcome> = trials
            .iter()
            .filter_map(|trial| find(&journal, round, trial))
            .collect();
        let trade_offs: Vec<TradeOff> = outcomes.iter().map(|one| one.trade_off()).collect();
        let kept = better_half(&trade_offs);
        trials = kept.iter().map(|i| outcomes[*i].trial.clone()).collect();
    }
    let front = front(&journal.outcomes);
    print(&journal.outcomes, &front);
    crate::plot::scatter(
        &out.join(PLOT),
        &journal
            .outcomes
            .iter()
            .zip(&front)
            .map(|(one, best)| (one.bytes, one.value, *best))
            .collect::<Vec<_>>(),
    )?;
    say!(
        "search.json and search.svg are in {} ({:.0} s)",
        out.display(),
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// The journal of this search, empty unless it goes on.
fn open_journal(args: &SearchArgs, setup: &Setup, path: &Path) -> Result<Journal> {
    let mut options = serde_json::to_value(args)?;
    options["backbone"] = serde_json::to_value(&setup.opened.note)?;
    options["data"] = serde_json::to_value(setup.args.data.split(':').next())?;
    options["pictures"] =
        serde_json::to_value([setup.args.train_pictures, setup.args.test_pictures])?;
    let fresh = Journal {
        schema: "split-search/1".to_owned(),
        options,
        outcomes: Vec::new(),
    };
    if !args.resume {
        run_folder::make_room(&args.out, PLOT)?;
        return Ok(fresh);
    }
    let old: Journal = serde_json::from_slice(&read(path)?)
        .with_context(|| format!("{} is no search to go on with", path.display()))?;
    // Numbers that went through a file are compared in the form of a file.
    let text = |options: &serde_json::Value| serde_json::to_string(options);
    if old.schema != fresh.schema || text(&old.options)? != text(&fresh.options)? {
        bail!(
            "{} was written by a search with other options; repeat them or use another --out",
            path.display()
        );
    }
    Ok(old)
}

fn find<'a>(journal: &'a Journal, round: u32, trial: &Trial) -> Option<&'a Outcome> {
    let mut outcomes = journal.outcomes.iter();
    outcomes.find(|one| one.round == round && one.trial.name == trial.name)
}

/// What trials are trained and measured on.
struct Ground<'a> {
    args: &'a SearchArgs,
    setup: &'a Setup,
    training: &'a ActivationCache,
    test: ActivationCache,
    head_macs: u64,
    out: &'a Path,
}

impl Ground<'_> {
    /// Trains a trial to the steps of its round, starting where its last round ended, and
    /// measures it with real frames.
    fn outcome(&self, round: u32, trial: &Trial) -> Result<Outcome> {
        let started = now();
        let steps = self.args.steps << round;
        let config = TrainConfig {
            warmup_steps: if round == 0 { steps / 4 } else { 0 },
            batch_size: self.args.batch_size,
            learning_rate: self.args.learning_rate * if round == 0 { 1.0 } else { 0.5 },
            seed: self
                .args
                .seed
                .wrapping_mul(1000)
                .wrapping_add(u64::from(round)),
            ..TrainConfig::new(
                if round == 0 { steps } else { steps / 2 },
                Objective::Lambda(trial.lambda),
            )
        };
        let device = self.setup.device.clone().autodiff();
        let file = |round: u32| self.out.join(format!("{}-{round}.checkpoint", trial.name));
        let warm = match round.checked_sub(1) {
            None => None,
            Some(last) => Some(Training::warm_start(&read(&file(last))?)?),
        };
        let mut training =
            Training::start(&trial.unit, &config, warm.as_ref(), self.training, &device)?;
        let loss = ClassifierDistortion::unsupervised(self.setup.opened.tail.clone().train());
        while !training.is_done() {
            training.advance(self.training, &loss)?;
        }
        write_whole(&file(round), &training.to_checkpoint()?)?;
        let rung = Rung::from_training(
            &trial.name,
            "unit",
            &trial.unit,
            &training,
            self.training,
            TABLE_PICTURES,
            &self.setup.device,
        )?;
        let bank = Bank::new(self.setup.opened.note.clone(), vec![rung])?;
        let codec = bank.open(0, &self.setup.device)?;
        let result = evaluate(
            &codec,
            &self.setup.opened.tail,
            &self.test,
            &self.setup.device,
        )?;
        Ok(Outcome {
            round,
            trial: trial.clone(),
            steps,
            bytes: result.mean_bytes(),
            value: result.top1(),
            device_macs: self.head_macs + count(trial.unit.encoder_macs()),
            train_s: started.elapsed().as_secs_f64(),
        })
    }
}

/// Units and prices drawn from a seed: layout, width of the latent, stride, step, price.
fn drawn(trials: usize, seed: u64, shape: ActivationShape) -> Vec<Trial> {
    let mut rng = Pcg64::seed_from_u64(seed);
    let mut pick = |of: usize| {
        let draw = (u128::from(rng.next_u64()) * u128::from(count(of))) >> 64;
        usize::try_from(draw).unwrap_or(0)
    };
    let fits = |stride: &usize| {
        shape.height.is_multiple_of(*stride) && shape.width.is_multiple_of(*stride)
    };
    let strides: Vec<usize> = [1, 2, 4].into_iter().filter(fits).collect();
    (0..trials)
        .map(|index| {
            let stride = strides[pick(strides.len())];
            let eighths = [2, 3, 4, 6, 8][pick(5)];
            let latent = (eighths * shape.channels).div_ceil(8).max(1);
            let step = [0.25, 0.5, 1.0][pick(3)];
            let lambda = [0.02, 0.05, 0.1, 0.2, 0.4, 0.8][pick(6)];
            let (word, unit) = match pick(4) {
                0 => ("conv", UnitConfig::conv(shape, latent, stride, step)),
                1 => ("paper", UnitConfig::paper(shape, latent, stride, step)),
                2 => ("light", UnitConfig::light(shape, latent, stride, step, 1)),
                _ => {
                    let light = UnitConfig::light(shape, latent, stride, step, 2);
                    let hidden = shape.channels;
                    let encoder = EncoderKind::Light {
                        hidden,
                        groups: hidden,
                        gdn: true,
                    };
                    ("gdn", UnitConfig { encoder, ..light })
                }
            };
            Trial {
                name: format!("{}-{word}", index + 1),
                unit,
                lambda,
            }
        })
        .collect()
}

/// Whether each outcome is on the front of the last outcomes of all trials.
fn front(outcomes: &[Outcome]) -> Vec<bool> {
    let is_last = |index: usize| {
        let name = &outcomes[index].trial.name;
        !outcomes[index + 1..]
            .iter()
            .any(|later| later.trial.name == *name)
    };
    let last: Vec<usize> = (0..outcomes.len())
        .filter(|index| is_last(*index))
        .collect();
    let trade_offs: Vec<TradeOff> = last.iter().map(|i| outcomes[*i].trade_off()).collect();
    let mut best = vec![false; outcomes.len()];
    for (index, rank) in last.iter().zip(pareto_ranks(&trade_offs)) {
        best[*index] = rank == 0;
    }
    best
}

fn print(outcomes: &[Outcome], front: &[bool]) {
    say!(
        "{:<12} {:>5} {:>5} {:>6} {:>2} {:>5} {:>6} {:>9} {:>7} {:>13}  front",
        "trial",
        "round",
        "steps",
        "latent",
        "s",
        "step",
        "lambda",
        "bytes",
        "top-1",
        "device MACs"
    );
    for (one, best) in outcomes.iter().zip(front) {
        let unit = &one.trial.unit;
        say!(
            "{:<12} {:>5} {:>5} {:>6} {:>2} {:>5} {:>6} {:>9.1} {:>7.2} {:>13}  {}",
            one.trial.name,
            one.round + 1,
            one.steps,
            unit.latent_channels,
            unit.stride,
            unit.step,
            one.trial.lambda,
            one.bytes,
            one.value,
            one.device_macs,
            if *best { "*" } else { "" }
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "compared, not counted")]
fn float(macs: u64) -> f64 {
    macs as f64
}
