//! `bench`: what each step of a split costs on each backend.

use std::path::PathBuf;

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor};
use clap::Args;
use serde::Serialize;
use split_backbone::Part;
use split_bottleneck::{
    BackboneNote, Bank, Head, Objective, Rung, RungCodec, Tail, TrainConfig, Training, UnitConfig,
};

use crate::files::{append_line, read};
use crate::record::{Machine, command_line, date, git_state, machine, versions};
use crate::setup::{Setup, SetupArgs};
use crate::train::now;

/// Options of `bench`.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    setup: SetupArgs,
    /// Bank whose first rung is timed; a unit without training where left out.
    #[arg(long)]
    bank: Option<PathBuf>,
    /// Pictures at once.
    #[arg(long, value_delimiter = ',', default_value = "1,32")]
    batch: Vec<usize>,
    /// Timed repetitions of each step, after two to warm up.
    #[arg(long, default_value_t = 15)]
    repeats: usize,
    /// Append the lines to this record.
    #[arg(long)]
    record: Option<PathBuf>,
    /// Only print what can compute for each `--backend` here.
    #[arg(long)]
    list_devices: bool,
}

/// One line of `speed.jsonl`.
#[derive(Serialize)]
struct Line {
    schema: &'static str,
    what: &'static str,
    model: String,
    backend: &'static str,
    device: String,
    batch: usize,
    threads: usize,
    ms_median: f64,
    ms_p25: f64,
    ms_p75: f64,
    n: usize,
    peer: Option<String>,
    ratio_peer: Option<f64>,
    command: String,
    git: String,
    date: String,
    machine: Machine,
    versions: std::collections::BTreeMap<&'static str, String>,
    seed: u64,
}

/// A backend ready to run every step of the split.
struct Bench {
    setup: Setup,
    codec: RungCodec,
    /// What computes, as `--list-devices` names it.
    device: String,
}

/// What the steps of one batch hand on.
struct Inputs {
    input: Tensor<4>,
    activation: Tensor<4>,
    symbols: Vec<split_tensor::Symbols>,
    frames: Vec<Vec<u8>>,
    latent: Tensor<4>,
    restored: Tensor<4>,
}

const STEPS: [&str; 8] = [
    "forward",
    "head",
    "unit-encode",
    "code",
    "decode",
    "unit-decode",
    "tail",
    "split",
];

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    if args.list_devices {
        return list_devices(args);
    }
    let mut benches = Vec::new();
    for backend in &args.setup.backend {
        let setup = SetupArgs {
            backend: vec![*backend],
            ..args.setup.clone()
        }
        .open()?;
        let codec = rung(args, &setup)?;
        let device = backend.adapters()?.into_iter().next().unwrap_or_default();
        benches.push(Bench {
            setup,
            codec,
            device,
        });
    }
    say!(
        "{:<12} {:<8} {:>5} {:>10} {:>10} {:>10}   (ms; {} repeats)",
        "step",
        "backend",
        "batch",
        "median",
        "p25",
        "p75",
        args.repeats
    );
    let mut lines = Vec::new();
    for batch in &args.batch {
        lines.extend(run_batch(args, &benches, *batch)?);
    }
    if let Some(path) = &args.record {
        for line in &lines {
            append_line(path, line)?;
        }
    }
    Ok(())
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

/// The bank's first rung, or the default layout with drawn weights: its cost is the same.
fn rung(args: &BenchArgs, setup: &Setup) -> Result<RungCodec> {
    if let Some(path) = &args.bank {
        let bank = Bank::from_bytes(&read(path)?)
            .with_context(|| format!("reading the bank {}", path.display()))?;
        return Ok(bank.open(0, &setup.device)?);
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
    Ok(Bank::new(note, vec![rung])?.open(0, &setup.device)?)
}

fn run_batch(args: &BenchArgs, benches: &[Bench], batch: usize) -> Result<Vec<Line>> {
    let inputs = benches
        .iter()
        .map(|bench| inputs(bench, batch))
        .collect::<Result<Vec<_>>>()?;
    let mut times = vec![vec![Vec::new(); STEPS.len()]; benches.len()];
    // Backends take turns inside every repetition, so that a busy moment hits all alike.
    for repeat in 0..args.repeats + 2 {
        for (place, (bench, inputs)) in benches.iter().zip(&inputs).enumerate() {
            for (index, step) in STEPS.iter().enumerate() {
                let started = now();
                run_step(bench, inputs, step)?;
                let ms = started.elapsed().as_secs_f64() * 1e3;
                if repeat >= 2 {
                    times[place][index].push(ms);
                }
            }
        }
    }
    let mut lines = Vec::new();
    for (index, step) in STEPS.iter().enumerate() {
        for (place, bench) in benches.iter().enumerate() {
            let line = line(bench, step, batch, &mut times[place][index]);
            say!(
                "{:<12} {:<8} {:>5} {:>10.3} {:>10.3} {:>10.3}",
                line.what,
                line.backend,
                batch,
                line.ms_median,
                line.ms_p25,
                line.ms_p75
            );
            lines.push(line);
        }
    }
    Ok(lines)
}

fn inputs(bench: &Bench, batch: usize) -> Result<Inputs> {
    let mut few = bench.setup.args.clone();
    few.test_pictures = Some(batch);
    let pictures = Setup {
        args: few,
        ..bench.setup.clone()
    }
    .pictures(Part::Test)?;
    let device = &bench.setup.device;
    let count = pictures.len().min(batch);
    let input = bench.setup.preprocess.input(&pictures, 0..count, device);
    let activation = bench.setup.head.forward(input.clone());
    let symbols = bench.codec.symbols(activation.clone())?;
    let frames = symbols
        .iter()
        .map(|one| bench.codec.codec().encode_symbols(one))
        .collect::<Result<Vec<_>, _>>()?;
    let latent = bench.codec.latent(&frames)?;
    let restored = bench.codec.restore(latent.clone());
    Ok(Inputs {
        input,
        activation,
        symbols,
        frames,
        latent,
        restored,
    })
}

fn run_step(bench: &Bench, inputs: &Inputs, step: &str) -> Result<()> {
    let device = &bench.setup.device;
    let (head, tail, codec) = (&bench.setup.head, &bench.setup.tail, &bench.codec);
    match step {
        "forward" => done(bench.setup.network.forward(inputs.input.clone()), device),
        "head" => done(head.forward(inputs.input.clone()), device),
        "unit-encode" => {
            codec.symbols(inputs.activation.clone())?;
        }
        "code" => {
            for symbols in &inputs.symbols {
                std::hint::black_box(codec.codec().encode_symbols(symbols)?);
            }
        }
        "decode" => done(codec.latent(&inputs.frames)?, device),
        "unit-decode" => done(codec.restore(inputs.latent.clone()), device),
        "tail" => done(tail.forward(inputs.restored.clone()), device),
        _ => {
            let frames = codec.encode(head.forward(inputs.input.clone()))?;
            done(tail.forward(codec.decode(&frames)?), device);
        }
    }
    Ok(())
}

/// Waits until the device has computed the tensor.
fn done<const D: usize>(tensor: Tensor<D>, device: &Device) {
    std::hint::black_box(&tensor);
    device.sync().expect("the device finishes its queue");
}

fn line(bench: &Bench, what: &'static str, batch: usize, times: &mut [f64]) -> Line {
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times[(times.len() - 1) * part / 4];
    Line {
        schema: "split-speed/1",
        what,
        model: bench.setup.note.name.clone(),
        backend: bench.setup.backend.name(),
        device: bench.device.clone(),
        batch,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        ms_median: at(2),
        ms_p25: at(1),
        ms_p75: at(3),
        n: times.len(),
        peer: None,
        ratio_peer: None,
        command: command_line(),
        git: git_state(),
        date: date(),
        machine: machine(),
        versions: versions(bench.setup.backend),
        seed: 0,
    }
}
