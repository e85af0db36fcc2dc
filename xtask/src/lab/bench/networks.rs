//! `bench networks`: uncut networks with drawn weights beside peers, and the heap of head and unit.
//!
//! Neither pictures nor weights are needed: a network takes the same time with any of them.

mod head_unit;

use anyhow::{Context as _, Result, ensure};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use clap::Args;
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use split_backbone::{BackboneConfig, ResNet, Yolox};
use split_bottleneck::{ModuleState, load_state, module_state};

use super::WARM_UP;
use super::line::{Line, Subject, Times, beside, line};
use super::peers::{CHECKED, Handed, Peers, classifier_layout, detector_layout};
use super::reporting::Reporting;
use super::steps::{Step, done};
use crate::backend::Backend;
use crate::memory::heap_peak_bytes;
use crate::rung::now;
use crate::train::UnitKind;
use crate::values::at_least_one;

/// Options of `bench networks`.
#[derive(Args, Debug)]
pub(crate) struct NetworksArgs {
    /// Networks: resnet20, resnet56, resnet50, yolox_nano, ...
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "resnet56,resnet50,yolox_nano"
    )]
    models: Vec<String>,
    /// Pictures at once.
    #[arg(long, value_parser = at_least_one, value_delimiter = ',', default_value = "1,8")]
    batch: Vec<usize>,
    /// Side of the input in pixels [default: what the published weights were trained for].
    #[arg(long, value_parser = at_least_one)]
    side: Option<usize>,
    /// Where networks are cut to measure the heap of head and unit [default: layer2, of detectors dark3].
    #[arg(long)]
    split: Option<String>,
    /// Layout of that unit.
    #[arg(long, value_enum, default_value = "conv")]
    unit: UnitKind,
    /// Seed of weights and inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where tensors are computed; several, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "flex")]
    backend: Vec<Backend>,
    #[command(flatten)]
    reporting: Reporting,
}

pub(crate) fn run(args: &NetworksArgs) -> Result<()> {
    let models = args
        .models
        .iter()
        .map(|name| Model::new(name, args))
        .collect::<Result<Vec<_>>>()?;
    let mut report = args.reporting.start()?;
    report.heads();
    for model in &models {
        let (height, width) = model.input;
        args.reporting
            .heading(&format!("{} at {height}x{width}", model.name));
        let benches = args
            .backend
            .iter()
            .map(|backend| Bench::new(model, *backend, args.seed))
            .collect::<Result<Vec<_>>>()?;
        for batch in &args.batch {
            report.add(forward(args, &benches, *batch)?)?;
        }
        // Of a graphics card's memory the host's heap says nothing.
        for bench in benches.iter().filter(|bench| bench.backend.is_cpu()) {
            report.add(vec![head_unit::measure(args, bench)?])?;
        }
    }
    report.conclude()
}

/// A network that is asked for.
struct Model {
    name: String,
    config: BackboneConfig,
    /// Height and width.
    input: (usize, usize),
    split: String,
}

impl Model {
    fn new(name: &str, args: &NetworksArgs) -> Result<Self> {
        let config = BackboneConfig::named(name)?;
        let input = args
            .side
            .map_or(config.default_input(), |side| (side, side));
        // What a network cannot take is said before anything is timed.
        config.graph(input).context("--side")?;
        let split = args.split.clone().unwrap_or_else(|| {
            match config {
                BackboneConfig::Yolox(_) => "dark3",
                _ => "layer2",
            }
            .to_owned()
        });
        let points = config.split_points();
        ensure!(
            points.contains(&split),
            "--split {split}: {name} is cut at {}",
            points.join(", ")
        );
        Ok(Self {
            name: name.to_owned(),
            config,
            input,
            split,
        })
    }
}

/// A network on a backend.
struct Bench<'a> {
    model: &'a Model,
    network: Network,
    backend: Backend,
    device: Device,
    /// What computes, as `--list-devices` names it.
    adapter: String,
    seed: u64,
}

/// A network whose batch norms are folded.
enum Network {
    Classifier(Box<ResNet>),
    Detector(Box<Yolox>),
}

impl Network {
    fn new(config: &BackboneConfig, seed: u64, device: &Device) -> Result<Self> {
        Ok(match config {
            BackboneConfig::ResNet(config) => {
                let network = config.init_seeded(seed, device).fold_batch_norm();
                Self::Classifier(Box::new(with_biases(network, seed)?))
            }
            BackboneConfig::Yolox(config) => {
                let network = config.init_seeded(seed, device).fold_batch_norm();
                Self::Detector(Box::new(with_biases(network, seed)?))
            }
            other => anyhow::bail!("no network is built of {other:?} here"),
        })
    }

    /// Class scores, or the raw rows of all cells, one picture a row.
    fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        match self {
            Self::Classifier(network) => network.forward(input),
            Self::Detector(network) => network.forward(input).flatten::<2>(1, 2),
        }
    }

    fn state(&self) -> ModuleState {
        match self {
            Self::Classifier(network) => module_state(network.as_ref()),
            Self::Detector(network) => module_state(network.as_ref()),
        }
    }
}

/// Folded norms that were never trained leave biases of zero: others show whether peers add them.
fn with_biases<M: Module>(network: M, seed: u64) -> Result<M> {
    let mut rng = Pcg64::seed_from_u64(seed);
    let mut state = module_state(&network);
    for (path, tensor) in &mut state {
        if path.ends_with(".bias") {
            tensor.values = drawn(&mut rng, tensor.values.len(), 0.1);
        }
    }
    Ok(load_state(network, &state)?)
}

/// Numbers between `-bound` and `bound`.
fn drawn(rng: &mut Pcg64, count: usize, bound: f32) -> Vec<f32> {
    let one = |_| {
        // 24 bits fit an f32 exactly, so the value is the same on every machine.
        #[expect(clippy::cast_precision_loss, reason = "24 bits, see above")]
        let unit = (rng.next_u32() >> 8) as f32 / 8_388_608.0 - 1.0;
        unit * bound
    };
    (0..count).map(one).collect()
}

impl<'a> Bench<'a> {
    fn new(model: &'a Model, backend: Backend, seed: u64) -> Result<Self> {
        let device = backend.device()?;
        Ok(Self {
            model,
            network: Network::new(&model.config, seed, &device)?,
            backend,
            device,
            adapter: backend.adapter()?,
            seed,
        })
    }

    /// Pictures between -1 and 1: with these a detector's scores stay off 0 and 1, where differences
    /// from a peer's would not show.
    fn pictures(&self, batch: usize) -> TensorData {
        let (height, width) = self.model.input;
        let mut rng = Pcg64::seed_from_u64(self.seed);
        let values = drawn(&mut rng, batch * 3 * height * width, 1.0);
        TensorData::new(values, [batch, 3, height, width])
    }

    fn input(&self, batch: usize) -> Tensor<4> {
        Tensor::from_data(self.pictures(batch), &self.device)
    }

    fn run(&self, input: &Tensor<4>) {
        done(self.network.forward(input.clone()), &self.device);
    }

    /// Milliseconds of one run.
    fn time(&self, input: &Tensor<4>) -> f64 {
        let started = now();
        self.run(input);
        started.elapsed().as_secs_f64() * 1e3
    }

    /// What peers are given of this batch.
    fn handed(&self, input: &Tensor<4>, batch: usize) -> Handed<'static> {
        // The rows of one picture are many thousands.
        let (layout, checked) = match &self.network {
            Network::Classifier(network) => {
                (classifier_layout(network.config()), batch.min(CHECKED))
            }
            Network::Detector(_) => (detector_layout(), 1),
        };
        let scores = self.network.forward(input.clone().narrow(0, 0, checked));
        let scores = scores.into_data().convert::<f32>().try_to_vec();
        Handed {
            layout,
            state: self.network.state(),
            input: input.clone(),
            symbols: &[],
            training: serde_json::Value::Null,
            checked,
            scores: scores.expect("converted to f32 above"),
        }
    }
}

/// The uncut network on all backends and peers at one batch size.
fn forward(args: &NetworksArgs, benches: &[Bench<'_>], batch: usize) -> Result<Vec<Line>> {
    let inputs: Vec<Tensor<4>> = benches.iter().map(|bench| bench.input(batch)).collect();
    let runs = || benches.iter().zip(&inputs);
    let first: Vec<f64> = runs().map(|(bench, input)| bench.time(input)).collect();
    let cpu = runs().find(|(bench, _)| bench.backend.is_cpu());
    let mut peers = match (&args.reporting.peers, cpu) {
        (Some(python), Some((bench, input))) => Peers::start(python, &bench.handed(input, batch))?,
        (Some(_), None) => {
            eprintln!("peers left out: they run on the CPU, and none of the backends does");
            Peers::none()
        }
        (None, _) => Peers::none(),
    };
    let mut times = vec![Vec::new(); benches.len()];
    let mut peer_times = vec![Vec::new(); peers.found().len()];
    // Backends and peers take turns inside every repetition, so that a busy moment hits all alike.
    for round in 0..args.reporting.repeats + WARM_UP {
        for ((bench, input), times) in runs().zip(&mut times) {
            if !peers.found().is_empty() {
                // After the peers' turn our threads have slept; peers get the same run before theirs.
                bench.run(input);
            }
            let ms = bench.time(input);
            if round >= WARM_UP {
                times.push(ms);
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
    for (((bench, input), times), first) in runs().zip(times).zip(first) {
        let ((), heap) = heap_peak_bytes(|| bench.run(input));
        let subject = Subject {
            model: &bench.model.name,
            split: None,
            unit: None,
            backend: bench.backend,
            device: &bench.adapter,
            seed: bench.seed,
        };
        let times = Times::new(times);
        let line = line(&subject, Step::Forward.name(), batch, &times, (first, heap));
        // The peers' times on the CPU say nothing beside a graphics card's.
        if peers.found().is_empty() || !bench.backend.is_cpu() {
            lines.push(line);
            continue;
        }
        let all = peers.found().iter().zip(&peer_times);
        lines.extend(all.map(|((name, _), times)| beside(&line, name, times)));
    }
    Ok(lines)
}
