//! `bench`: what each step of a split costs on each backend, beside peers and earlier runs.

mod peers;
mod steps;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use records::{Change, SpeedLine, compare, noise_remarks};
use serde::Serialize;
use split_backbone::Part;
use split_bottleneck::{
    BackboneNote, Bank, Objective, Rung, RungCodec, TrainConfig, Training, UnitConfig,
};

use self::peers::Peers;
use self::steps::{Bench, Inputs, STEPS, Step};
use crate::files::{append_line, read};
use crate::record::{Machine, command_line, date, git_state, machine, versions};
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

/// One line of `speed.jsonl`.
#[derive(Clone, Serialize)]
struct Line {
    schema: &'static str,
    what: &'static str,
    model: String,
    split: String,
    backend: &'static str,
    device: String,
    batch: usize,
    threads: usize,
    ms_median: f64,
    ms_p25: f64,
    ms_p75: f64,
    n: usize,
    /// The very first call at this batch: on a GPU shaders are compiled and kernels tuned in it.
    ms_first: f64,
    /// Host heap beyond what was held before the step, counted by the allocator.
    heap_peak_bytes: u64,
    peer: Option<String>,
    ratio_peer: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_ms_median: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_ms_p25: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_ms_p75: Option<f64>,
    command: String,
    git: String,
    date: String,
    machine: Machine,
    versions: BTreeMap<&'static str, String>,
    seed: u64,
}

/// Times of one step, sorted, in milliseconds.
struct Times(Vec<f64>);

impl Times {
    fn new(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    /// Quartile 0 to 4.
    fn at(&self, quartile: usize) -> f64 {
        self.0[(self.0.len() - 1) * quartile / 4]
    }
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

/// What the first calls of all steps took beyond a usual call, per backend and batch.
fn first_use(lines: &[Line]) -> Vec<String> {
    let mut sums: BTreeMap<(&str, usize), f64> = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for line in lines {
        // A step that was compared with two peers stands there twice.
        if seen.insert((line.backend, line.batch, line.what)) {
            *sums.entry((line.backend, line.batch)).or_default() += line.ms_first - line.ms_median;
        }
    }
    let words = sums.into_iter().map(|((backend, batch), ms)| {
        let what = match backend {
            "wgpu" | "cuda" => "shader compilation and autotune",
            _ => "buffers and threads",
        };
        format!("first use of {backend} at batch {batch}: {ms:.0} ms beyond the medians ({what}), not in them")
    });
    words.collect()
}

fn earlier(path: &Path) -> Result<Vec<SpeedLine>> {
    let text =
        String::from_utf8(read(path)?).with_context(|| format!("--compare {}", path.display()))?;
    SpeedLine::parse_all(&text).with_context(|| format!("--compare {}", path.display()))
}

/// The lines as whoever reads the record sees them.
fn parsed(lines: &[Line]) -> Result<Vec<SpeedLine>> {
    let text = lines
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(SpeedLine::parse_all(&text.join("\n"))?)
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
        show(args, line, again)?;
    }
    Ok(lines)
}

fn show(args: &BenchArgs, line: &Line, again: bool) -> Result<()> {
    if args.json {
        say!("{}", serde_json::to_string(line)?);
        return Ok(());
    }
    if !again {
        say!(
            "{:<13} {:<8} {:>5} {:>10.3} {:>10.3} {:>10.3} {:>10.3} {:>10.2}",
            line.what,
            line.backend,
            line.batch,
            line.ms_median,
            line.ms_p25,
            line.ms_p75,
            line.ms_first,
            line.heap_peak_bytes as f64 / f64::from(1 << 20)
        );
    }
    if let (Some(peer), Some(ratio)) = (&line.peer, line.ratio_peer) {
        let of = |ms: Option<f64>| ms.unwrap_or_default();
        say!(
            "  {peer}: {:.3} ms ({:.3} to {:.3}), {} takes {ratio:.2} times as long",
            of(line.peer_ms_median),
            of(line.peer_ms_p25),
            of(line.peer_ms_p75),
            line.backend
        );
    }
    Ok(())
}

/// The line with a peer's times beside ours.
fn beside(line: &Line, peer: &str, times: &Times) -> Line {
    Line {
        peer: Some(peer.to_owned()),
        ratio_peer: Some(line.ms_median / times.at(2)),
        peer_ms_median: Some(times.at(2)),
        peer_ms_p25: Some(times.at(1)),
        peer_ms_p75: Some(times.at(3)),
        ..line.clone()
    }
}

fn line(bench: &Bench, step: Step, batch: usize, times: &Times, (first, heap): (f64, u64)) -> Line {
    let note = &bench.setup.note;
    Line {
        schema: "split-speed/1",
        what: step.name(),
        model: note.name.clone(),
        split: note.split.clone(),
        backend: bench.setup.backend.name(),
        device: bench.device.clone(),
        batch,
        threads: threads(),
        ms_median: times.at(2),
        ms_p25: times.at(1),
        ms_p75: times.at(3),
        n: times.0.len(),
        ms_first: first,
        heap_peak_bytes: heap,
        peer: None,
        ratio_peer: None,
        peer_ms_median: None,
        peer_ms_p25: None,
        peer_ms_p75: None,
        command: command_line(),
        git: git_state(),
        date: date(),
        machine: machine(),
        versions: versions(bench.setup.backend),
        seed: 0,
    }
}

/// Threads that a run can use.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
