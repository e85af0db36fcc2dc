//! `bench`: what each step of a split costs on each backend, beside peers and earlier runs.

mod line;
mod networks;
mod peers;
#[cfg(feature = "remote")]
mod remote;
mod reporting;
mod steps;
mod tensors;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use split_backbone::Part;
use split_bottleneck::{Bank, Objective, Rung, TrainConfig, Training};

use self::line::{Line, Times, beside, line};
use self::peers::Peers;
use self::reporting::Reporting;
use self::steps::{Bench, Inputs, STEPS, Step};
use self::tensors::Tensors;
use crate::backend::{Backend, NO_ADAPTER};
use crate::eval::{checked_setup, open_bank};
use crate::examples;
use crate::setup::SetupArgs;
use crate::train::UnitKind;
use crate::values::at_least_one;

/// Rounds that are not timed, after the first call of each step.
const WARM_UP: usize = 2;

/// Stride of a unit that nobody trained.
const STRIDE: usize = 2;

/// Options of `bench`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    setup: SetupArgs,
    /// Bank whose first rung is timed; a unit without training where left out.
    #[arg(long)]
    bank: Option<PathBuf>,
    /// Pictures at once.
    #[arg(long, value_parser = at_least_one, value_delimiter = ',', default_value = "1,8,32")]
    batch: Vec<usize>,
    #[command(flatten)]
    reporting: Reporting,
    /// Also send tensors instead of frames: burn-remote on loopback runs the tail, or all of it, and
    /// its bytes are counted.
    #[arg(long)]
    burn_remote: bool,
    /// Only print what can compute for each `--backend` here, and the name that picks it.
    #[arg(long)]
    list_devices: bool,
    #[command(subcommand)]
    other: Option<Other>,
}

/// What else is timed.
#[derive(Subcommand, Debug)]
enum Other {
    /// Time uncut networks without pictures and weights, and measure the heap of head and unit.
    #[command(after_help = examples::BENCH_NETWORKS)]
    Networks(networks::NetworksArgs),
}

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    if let Some(Other::Networks(args)) = &args.other {
        return networks::run(args);
    }
    if args.list_devices {
        return list_devices(args);
    }
    // Before anything is timed: a record that can't be read should not cost minutes.
    let mut report = args.reporting.start()?;
    let benches = benches(args)?;
    report.heads();
    for batch in &args.batch {
        report.add(run_batch(args, &benches, *batch)?)?;
    }
    report.conclude()
}

/// Every backend that was named and works here. One that does not is named and left out, unless
/// nothing remains.
fn benches(args: &BenchArgs) -> Result<Vec<Bench>> {
    let mut first = SetupArgs {
        backend: args.setup.backend[..1].to_vec(),
        ..args.setup.clone()
    };
    // The unit is made on flex where it is built, so that another backend's first calls are left to be timed.
    if cfg!(feature = "flex") {
        first.backend = vec![Backend::Flex];
    }
    let unit = unit(args, &mut first)?;
    let mut benches = Vec::new();
    let mut broken = None;
    for backend in &args.setup.backend {
        let setup = SetupArgs {
            backend: vec![*backend],
            ..first.clone()
        };
        match bench(&setup, &unit) {
            Ok(bench) => benches.push(bench),
            Err(error) if args.setup.backend.len() > 1 => {
                eprintln!("{backend} left out: {error:#}");
                broken = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match broken {
        Some(error) if benches.is_empty() => Err(error),
        _ => Ok(benches),
    }
}

fn bench(setup: &SetupArgs, unit: &Unit) -> Result<Bench> {
    let setup = setup.open()?;
    Ok(Bench {
        codec: unit.bank.open(0, &setup.device)?,
        unit: unit.bank.rungs()[0].config.clone(),
        unit_name: unit.name.clone(),
        device: setup.backend.adapter()?,
        setup,
    })
}

fn list_devices(args: &BenchArgs) -> Result<()> {
    for backend in &args.setup.backend {
        let adapters = backend.adapters()?;
        if adapters.is_empty() {
            say!("{:<8} no adapter: {NO_ADAPTER}", backend.name());
        }
        let several = adapters.len() > 1;
        for adapter in adapters {
            let unasked = match several && adapter.is_default {
                true => ", taken where no number is given",
                false => "",
            };
            let name = adapter.backend.to_string();
            say!("{name:<8} {}{unasked}", adapter.description);
        }
    }
    Ok(())
}

/// The unit that is timed, as all backends open it.
struct Unit {
    bank: Bank,
    /// Its rung and latent, for records.
    name: String,
}

/// The bank's first rung, or the layout that `train` takes where nothing is said, with drawn weights:
/// networks take the same time with them, coders need not.
fn unit(args: &BenchArgs, setup: &mut SetupArgs) -> Result<Unit> {
    let bank = match &args.bank {
        Some(path) => {
            let bank = open_bank(path, setup)?;
            checked_setup(setup, &bank)?;
            bank
        }
        None => drawn(setup)?,
    };
    let rung = &bank.rungs()[0];
    let name = format!(
        "{}, {} latent channels",
        rung.name, rung.config.latent_channels
    );
    Ok(Unit { bank, name })
}

fn drawn(args: &SetupArgs) -> Result<Bank> {
    let mut few = args.clone();
    few.train_pictures = Some(32);
    let setup = few.open()?;
    let cache = setup.cache(&setup.pictures(Part::Train)?, false, |_| {})?;
    let unit = UnitKind::Conv.unit(cache.shape(), None, STRIDE, None);
    let config = TrainConfig {
        warmup_steps: 1,
        batch_size: 8,
        learning_rate: 1e-3,
        rate_learning_rate: 1e-3,
        ..TrainConfig::new(1, Objective::Lambda(0.1))
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
    Ok(Bank::new(setup.opened.note.clone(), vec![rung])?)
}

fn run_batch(args: &BenchArgs, benches: &[Bench], batch: usize) -> Result<Vec<Line>> {
    let rounds = args.reporting.repeats + WARM_UP;
    let mut inputs = benches
        .iter()
        .map(|bench| Inputs::new(bench, batch, rounds + 1))
        .collect::<Result<Vec<_>>>()?;
    let cpu = benches
        .iter()
        .position(|bench| bench.setup.backend.is_cpu());
    let mut peers = match (&args.reporting.peers, cpu) {
        (Some(python), Some(cpu)) => {
            Peers::start(python, &inputs[cpu].handed(&benches[cpu], batch))?
        }
        (Some(_), None) => {
            eprintln!("peers left out: they run on the CPU, and none of the backends does");
            Peers::none()
        }
        (None, _) => Peers::none(),
    };
    let mut tensors = Tensors::start(args, &benches[0], &inputs[0], batch)?;
    let mut times = vec![vec![Vec::new(); STEPS.len()]; benches.len()];
    let mut peer_times = vec![Vec::new(); peers.found().len()];
    // Backends and peers take turns inside every repetition, so that a busy moment hits all alike.
    for round in 0..rounds {
        for (place, (bench, inputs)) in benches.iter().zip(&mut inputs).enumerate() {
            if !peers.found().is_empty() {
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
        tensors.round(round >= WARM_UP);
    }
    let peer_times: Vec<Times> = peer_times.into_iter().map(Times::new).collect();
    let mut lines = Vec::new();
    for (index, step) in STEPS.iter().enumerate() {
        for (place, (bench, inputs)) in benches.iter().zip(&mut inputs).enumerate() {
            let times = Times::new(std::mem::take(&mut times[place][index]));
            let first = inputs.first_ms[index];
            let heap = inputs.heap_peak_bytes(bench, *step)?;
            let line = line(&bench.subject(), step.name(), batch, &times, (first, heap));
            // The peers' times on the CPU say nothing beside a graphics card's.
            let is_alike = bench.setup.backend.is_cpu();
            let all = peers.found().iter().zip(&peer_times);
            let mut peers_here = all
                .filter(|((_, does), _)| does == step && is_alike)
                .peekable();
            if peers_here.peek().is_some() {
                lines.extend(peers_here.map(|((name, _), times)| beside(&line, name, times)));
            } else if *step == Step::Split && place == 0 && args.burn_remote {
                let frame = args.bank.is_some().then(|| inputs.frame_bytes());
                lines.extend(tensors.beside(&line, frame, batch));
            } else {
                lines.push(line);
            }
        }
    }
    Ok(lines)
}
