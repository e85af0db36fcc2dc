//! `bench`: what each step of a split costs on each backend, beside peers and earlier runs.

mod line;
mod peers;
#[cfg(feature = "remote")]
mod remote;
mod steps;
mod tensors;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use records::{Change, SpeedLine, compare, noise_remarks};
use split_backbone::Part;
use split_bottleneck::{
    BackboneNote, Bank, Objective, Rung, RungCodec, TrainConfig, Training, UnitConfig,
};

use self::line::{Line, Times, beside, first_use, line, parsed, show};
use self::peers::Peers;
use self::steps::{Bench, Inputs, STEPS, Step};
use self::tensors::Tensors;
use crate::files::{append_line, read};
use crate::setup::{Setup, SetupArgs};
use crate::values::at_least_one;

/// Rounds that are not timed, after the first call of each step.
const WARM_UP: usize = 2;

/// Options of `bench`.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    setup: SetupArgs,
    /// Bank whose first rung is timed; a unit without training where left out.
    #[arg(long)]
    bank: Option<PathBuf>,
    /// Pictures at once.
    #[arg(long, value_parser = at_least_one, value_delimiter = ',', default_value = "1,8,32")]
    batch: Vec<usize>,
    /// Timed repetitions of each step, after two to warm up.
    #[arg(long, value_parser = at_least_one, default_value_t = 15)]
    repeats: usize,
    /// Append the lines to this record.
    #[arg(long)]
    record: Option<PathBuf>,
    /// Python that has PyTorch, ONNX Runtime with onnx, or both: they run the whole network in turn
    /// with us, with our weights, on as many threads (benches/peers/README.md).
    #[arg(long, value_name = "PYTHON")]
    peers: Option<PathBuf>,
    /// Also send tensors instead of frames: burn-remote on loopback runs the tail, or all of it, and
    /// its bytes are counted.
    #[arg(long)]
    burn_remote: bool,
    /// Compare with the newest lines of this record; fails when a step became slower beyond the noise.
    #[arg(long, value_name = "RECORD")]
    compare: Option<PathBuf>,
    /// Print the lines as they go into a record, one JSON object a line; remarks go to standard error.
    #[arg(long)]
    json: bool,
    /// Only print what can compute for each `--backend` here.
    #[arg(long)]
    list_devices: bool,
}

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    if args.list_devices {
        return list_devices(args);
    }
    // Before anything is timed: a record that can't be read should not cost minutes.
    let old = args.compare.as_deref().map(earlier).transpose()?;
    let mut benches = Vec::new();
    for backend in &args.setup.backend {
        let setup = SetupArgs {
            backend: vec![*backend],
            ..args.setup.clone()
        }
        .open()?;
        let (codec, unit) = rung(args, &setup)?;
        let device = backend.adapters()?.into_iter().next().unwrap_or_default();
        benches.push(Bench {
            setup,
            codec,
            unit,
            device,
        });
    }
    if !args.json {
        say!(
            "{:<13} {:<8} {:>5} {:>10} {:>10} {:>10} {:>10} {:>10}   (ms; {} repeats; heap in MiB)",
            "step",
            "backend",
            "batch",
            "median",
            "p25",
            "p75",
            "first",
            "heap",
            args.repeats
        );
    }
    let mut lines = Vec::new();
    for batch in &args.batch {
        lines.extend(run_batch(args, &benches, *batch)?);
    }
    if let Some(path) = &args.record {
        for line in &lines {
            append_line(path, line)?;
        }
    }
    conclude(args, &lines, old.as_deref())
}

/// Remarks on noise and first calls, and the comparison that was asked for.
fn conclude(args: &BenchArgs, lines: &[Line], old: Option<&[SpeedLine]>) -> Result<()> {
    let remark = |text: String| {
        if args.json {
            eprintln!("{text}");
        } else {
            say!("{text}");
        }
    };
    let parsed = parsed(lines)?;
    for text in first_use(lines).into_iter().chain(noise_remarks(&parsed)) {
        remark(text);
    }
    let (Some(old), Some(path)) = (old, &args.compare) else {
        return Ok(());
    };
    let comparison =
        compare(old, &parsed).with_context(|| format!("--compare {}", path.display()))?;
    for step in &comparison.steps {
        let word = match step.change {
            Change::Slower => "SLOWER",
            Change::Faster => "faster",
            Change::Noise => "inside the noise",
        };
        remark(format!(
            "{:<34} {:>10.3} ms, was {:>10.3} ms ({:+.0} %): {word}",
            step.step,
            step.new_ms,
            step.old_ms,
            100.0 * (step.new_ms / step.old_ms - 1.0)
        ));
    }
    for step in &comparison.only_new {
        remark(format!("{step:<34} not timed before in this setting"));
    }
    let slower: Vec<&str> = comparison
        .regressions()
        .map(|one| one.step.as_str())
        .collect();
    if !slower.is_empty() {
        bail!(
            "{} of {} steps became slower than in {} beyond the noise: {}",
            slower.len(),
            comparison.steps.len(),
            path.display(),
            slower.join(", ")
        );
    }
    Ok(())
}

fn earlier(path: &Path) -> Result<Vec<SpeedLine>> {
    let text =
        String::from_utf8(read(path)?).with_context(|| format!("--compare {}", path.display()))?;
    SpeedLine::parse_all(&text).with_context(|| format!("--compare {}", path.display()))
}

fn list_devices(args: &BenchArgs) -> Result<()> {
    for backend in &args.setup.backend {
        let adapters = backend.adapters()?;
        if adapters.is_empty() {
            say!("{:<8} no adapter: install a driver", backend.name());
        }
        for adapter in adapters {
            say!("{:<8} {adapter}", backend.name());
        }
    }
    Ok(())
}

/// The bank's first rung and its layout, or the default layout with drawn weights: its cost is the
/// same.
fn rung(args: &BenchArgs, setup: &Setup) -> Result<(RungCodec, UnitConfig)> {
    if let Some(path) = &args.bank {
        let bank = Bank::from_bytes(&read(path)?)
            .with_context(|| format!("reading the bank {}", path.display()))?;
        let codec = bank.open(0, &setup.device)?;
        return Ok((codec, bank.rungs()[0].config.clone()));
    }
    let mut few = setup.args.clone();
    few.train_pictures = Some(32);
    let pictures = few.open()?.pictures(Part::Train)?;
    let cache = setup.cache(&pictures, false, |_| {})?;
    let unit = UnitConfig::conv(cache.shape(), 16, 2, 1.0);
    let config = TrainConfig {
        steps: 1,
        warmup_steps: 1,
        batch_size: 8,
        learning_rate: 1e-3,
        rate_learning_rate: 1e-3,
        objective: Objective::Lambda(0.1),
        rate: Default::default(),
        proxy: Default::default(),
        seed: 1,
    };
    let device = setup.device.clone().autodiff();
    let training = Training::start(&unit, &config, None, &cache, &device)?;
    let rung = Rung::from_training(
        "untrained",
        "unit",
        &unit,
        &training,
        &cache,
        32,
        &setup.device,
    )?;
    let note: BackboneNote = setup.note.clone();
    Ok((Bank::new(note, vec![rung])?.open(0, &setup.device)?, unit))
}

fn run_batch(args: &BenchArgs, benches: &[Bench], batch: usize) -> Result<Vec<Line>> {
    let rounds = args.repeats + WARM_UP;
    let mut inputs = benches
        .iter()
        .map(|bench| Inputs::new(bench, batch, rounds + 1))
        .collect::<Result<Vec<_>>>()?;
    let mut peers = match &args.peers {
        Some(python) => Peers::start(python, &benches[0], &inputs[0], batch)?,
        None => Peers::none(),
    };
    let mut tensors = Tensors::start(args, &benches[0], &inputs[0], batch)?;
    let mut times = vec![vec![Vec::new(); STEPS.len()]; benches.len()];
    let mut peer_times = vec![Vec::new(); peers.names().len()];
    // Backends and peers take turns inside every repetition, so that a busy moment hits all alike.
    for round in 0..rounds {
        for (place, (bench, inputs)) in benches.iter().zip(&mut inputs).enumerate() {
            if args.peers.is_some() {
                // After the peers' turn our threads have slept; peers get the same run before theirs.
                inputs.run(bench, Step::Forward)?;
            }
            for (index, step) in STEPS.iter().enumerate() {
                let ms = inputs.time(bench, *step)?;
                if round >= WARM_UP {
                    times[place][index].push(ms);
                }
            }
        }
        for (peer, times) in peer_times.iter_mut().enumerate() {
            let ms = peers.time(peer)?;
            if round >= WARM_UP {
                times.push(ms);
            }
        }
        tensors.round(&inputs[0], round >= WARM_UP);
    }
    let peer_times: Vec<Times> = peer_times.into_iter().map(Times::new).collect();
    let mut lines = Vec::new();
    for (index, step) in STEPS.iter().enumerate() {
        for (place, (bench, inputs)) in benches.iter().zip(&mut inputs).enumerate() {
            let times = Times::new(std::mem::take(&mut times[place][index]));
            let first = inputs.first_ms[index];
            let heap = inputs.heap_peak_bytes(bench, *step)?;
            let line = line(bench, *step, batch, &times, (first, heap));
            if *step == Step::Forward && !peer_times.is_empty() {
                let all = peers.names().iter().zip(&peer_times);
                lines.extend(all.map(|(name, times)| beside(&line, name, times)));
            } else if *step == Step::Split && place == 0 && args.burn_remote {
                let frame = args.bank.is_some().then(|| inputs.frame_bytes());
                lines.extend(tensors.beside(&line, frame, batch));
            } else {
                lines.push(line);
            }
        }
    }
    for (place, line) in lines.iter().enumerate() {
        // A step that was compared with two peers stands there twice.
        let again = place > 0
            && lines[place - 1].what == line.what
            && lines[place - 1].backend == line.backend;
        show(args.json, line, again)?;
    }
    Ok(lines)
}
