//! Heap that head and unit encoder take for one picture on one thread.

use anyhow::{Context as _, Result};
use burn::tensor::Tensor;
use clap::ValueEnum as _;
use rand_core::SeedableRng;
use rand_pcg::Pcg64;
use split_backbone::{GraphCut, Head, cut, cut_yolox};
use split_bottleneck::{UnitEncoder, module_state};

use super::super::line::{Line, Subject, Times, holding, line};
use super::super::steps::done;
use super::super::{STRIDE, WARM_UP};
use super::{Bench, Network, NetworksArgs};
use crate::memory::heap_peak_bytes;
use crate::rung::now;

/// Runs whose heap is measured; the first one also fills what threads keep for later.
const MEASURED: usize = 3;

/// What runs on the device in front of the coder.
struct HeadUnit {
    head: Box<dyn Head>,
    encoder: UnitEncoder,
    /// Its layout and latent.
    unit: String,
    live_bytes: u64,
    workspace_bytes: u64,
}

impl HeadUnit {
    fn new(args: &NetworksArgs, bench: &Bench<'_>) -> Result<Self> {
        let model = bench.model;
        let head: Box<dyn Head> = match &bench.network {
            Network::Classifier(network) => {
                let (head, _) = cut(network, model.split.parse()?)?;
                Box::new(head)
            }
            // As units are trained for it.
            Network::Detector(network) => {
                let (head, _) = cut_yolox(network, model.split.parse()?);
                Box::new(head.lifted())
            }
        };
        let graph = model.config.graph(model.input)?;
        let is_here = |cut: &GraphCut| cut.after == model.split;
        let cut = graph.cuts().into_iter().find(is_here);
        let cut = cut.context("the graph lacks a split point of its network")?;
        let last = cut.live[0];
        let head_layers = &graph.layers()[..=last];
        let config = args
            .unit
            .unit(graph.layers()[last].shape, None, STRIDE, None);
        let mut rng = Pcg64::seed_from_u64(args.seed);
        let unit = config.init(&bench.device, &mut rng)?;
        // Burn makes parameters when they are first read.
        drop(module_state(&unit));
        let kind = args.unit.to_possible_value();
        let kind = kind.as_ref().map_or("", |kind| kind.get_name());
        Ok(Self {
            head,
            encoder: unit.encoder,
            unit: format!(
                "untrained {kind} unit, {} latent channels",
                config.latent_channels
            ),
            live_bytes: cut.head_peak_bytes,
            workspace_bytes: head_layers
                .iter()
                .map(|layer| layer.workspace_bytes)
                .fold(0, u64::max),
        })
    }

    fn run(&self, bench: &Bench<'_>, input: Tensor<4>) {
        let activation = self.head.forward(input);
        done(self.encoder.forward(activation), &bench.device);
    }
}

/// The line of head and unit at batch 1, timed and measured on one thread.
pub(super) fn measure(args: &NetworksArgs, bench: &Bench<'_>) -> Result<Line> {
    let one = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .context("starting a thread")?;
    one.install(|| measured(args, bench))
}

fn measured(args: &NetworksArgs, bench: &Bench<'_>) -> Result<Line> {
    let head_unit = HeadUnit::new(args, bench)?;
    let pictures = bench.pictures(1);
    let mut times = Vec::new();
    let mut heap = 0;
    for round in 0..MEASURED + WARM_UP + args.reporting.repeats {
        let started = now();
        // The picture counts as long as the head needs it, and no longer.
        let ((), bytes) = heap_peak_bytes(|| {
            let input = Tensor::from_data(pictures.clone(), &bench.device);
            head_unit.run(bench, input);
        });
        let ms = started.elapsed().as_secs_f64() * 1e3;
        if round < MEASURED {
            heap = heap.max(bytes);
        }
        times.push(ms);
    }
    let first = times[0];
    let times = Times::new(times.split_off(MEASURED + WARM_UP));
    let subject = Subject {
        model: &bench.model.name,
        split: Some(&bench.model.split),
        unit: Some(&head_unit.unit),
        backend: bench.backend,
        device: &bench.adapter,
        seed: bench.seed,
    };
    let line = line(&subject, "head-unit", 1, &times, (first, heap));
    Ok(holding(
        line,
        head_unit.live_bytes,
        head_unit.workspace_bytes,
    ))
}
