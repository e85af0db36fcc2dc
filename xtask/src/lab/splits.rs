//! `splits`: every legal cut of a backbone with its cost, as table, JSON and plot.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use plotters::prelude::*;
use serde::Serialize;
use split_backbone::{ActivationShape, BackboneConfig, Graph, GraphCut, embedded};

use crate::backend::Backend;
use crate::files::{append_line, folder, write_whole};
use crate::record::{Machine, command_line, date, git_state, machine, versions};
use crate::unit_costs::UnitCosts;

const SCHEMA: &str = "split-graph/1";

/// Options of `splits`.
#[derive(Args, Debug)]
pub(crate) struct SplitsArgs {
    /// Backbone: `embedded`, resnet56, resnet50, yolox_nano, ...
    #[arg(long, visible_alias = "backbone")]
    model: String,
    /// Height and width of the input [default: what the published weights were trained for].
    #[arg(long, value_name = "HxW", value_parser = parse_input)]
    input: Option<(usize, usize)>,
    /// Only cuts that a single tensor crosses.
    #[arg(long)]
    one_tensor: bool,
    /// Also what each layout of unit costs at each split point that one tensor crosses.
    #[arg(long)]
    units: bool,
    /// Print JSON in place of the table.
    #[arg(long)]
    json: bool,
    /// Also write splits.json and splits.svg into this folder.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Append a line to this record (JSON lines), for `report`.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

#[derive(Serialize)]
struct Splits {
    schema: &'static str,
    model: String,
    /// Channels, height, width.
    input: [usize; 3],
    macs: u64,
    parameters: u64,
    peak_bytes: u64,
    cuts: Vec<Cut>,
}

/// The cuts as a line of a record.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    splits: &'a Splits,
    command: String,
    git: String,
    date: String,
    machine: Machine,
    versions: BTreeMap<&'static str, String>,
    /// Nothing is drawn by chance.
    seed: u64,
}

#[derive(Serialize)]
struct Cut {
    after: String,
    /// Whether `--split` takes it.
    split_point: bool,
    tensors: Vec<Crossing>,
    bytes: u64,
    head_macs: u64,
    tail_macs: u64,
    head_parameters: u64,
    tail_parameters: u64,
    head_peak_bytes: u64,
    tail_peak_bytes: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    units: Vec<UnitCosts>,
}

#[derive(Serialize)]
struct Crossing {
    name: String,
    shape: [usize; 3],
}

pub(crate) fn run(args: &SplitsArgs) -> Result<()> {
    let (config, default) = model(&args.model)?;
    let graph = config.graph(args.input.unwrap_or(default))?;
    let mut splits = Splits::of(&args.model, &config, &graph, args.one_tensor);
    if args.units {
        splits.count_units()?;
    }
    let mut json = serde_json::to_string_pretty(&splits)?;
    json.push('\n');
    if args.json {
        print!("{json}");
    } else {
        splits.print();
    }
    if let Some(out) = &args.out {
        let out = folder(out)?;
        write_whole(&out.join("splits.json"), json.as_bytes())?;
        let mut svg = String::new();
        splits
            .draw(&mut svg)
            .map_err(|error| anyhow!("drawing splits.svg: {error}"))?;
        write_whole(&out.join("splits.svg"), svg.as_bytes())?;
        eprintln!("splits.json and splits.svg are in {}", out.display());
    }
    if let Some(record) = &args.record {
        append_line(record, &splits.line())?;
    }
    Ok(())
}

/// The backbone and the input that it was made for.
fn model(name: &str) -> Result<(BackboneConfig, (usize, usize))> {
    if name == "embedded" {
        let config = embedded::config()?;
        let side = embedded::SIDE;
        return Ok((BackboneConfig::ResNet(config), (side, side)));
    }
    let config = BackboneConfig::named(name)?;
    let input = config.default_input();
    Ok((config, input))
}

fn parse_input(text: &str) -> Result<(usize, usize)> {
    let (height, width) = text
        .split_once('x')
        .with_context(|| format!("{text:?} is no size; write HEIGHTxWIDTH, e.g. 224x224"))?;
    let side = |text: &str| {
        text.parse()
            .with_context(|| format!("{text:?} is no number of pixels"))
    };
    Ok((side(height)?, side(width)?))
}

impl Splits {
    fn of(model: &str, config: &BackboneConfig, graph: &Graph, one_tensor: bool) -> Self {
        let points = config.split_points();
        let layers = graph.layers();
        let cut = |cut: GraphCut| Cut {
            split_point: points.contains(&cut.after),
            tensors: cut
                .live
                .iter()
                .map(|&index| Crossing {
                    name: layers[index].name.clone(),
                    shape: sides(layers[index].shape),
                })
                .collect(),
            after: cut.after,
            bytes: cut.bytes,
            head_macs: cut.head_macs,
            tail_macs: cut.tail_macs,
            head_parameters: cut.head_parameters,
            tail_parameters: cut.tail_parameters,
            head_peak_bytes: cut.head_peak_bytes,
            tail_peak_bytes: cut.tail_peak_bytes,
            units: Vec::new(),
        };
        Self {
            schema: SCHEMA,
            model: model.to_owned(),
            input: sides(layers[0].shape),
            macs: graph.macs(),
            parameters: graph.parameters(),
            peak_bytes: graph.peak_bytes(),
            cuts: graph
                .cuts()
                .into_iter()
                .filter(|cut| !one_tensor || cut.live.len() == 1)
                .map(cut)
                .collect(),
        }
    }

    fn count_units(&mut self) -> Result<()> {
        for cut in self.cuts.iter_mut().filter(|cut| cut.split_point) {
            if let [tensor] = cut.tensors.as_slice() {
                cut.units = UnitCosts::of_all(tensor.shape)?;
            }
        }
        Ok(())
    }

    fn line(&self) -> Line<'_> {
        let mut versions = versions(Backend::Flex);
        // Counted, not computed.
        versions.insert("backend", "none".to_owned());
        Line {
            splits: self,
            command: command_line(),
            git: git_state(),
            date: date(),
            machine: machine(),
            versions,
            seed: 0,
        }
    }

    fn print(&self) {
        let [channels, height, width] = self.input;
        say!(
            "{}, input {channels}x{height}x{width}: {} MACs, {} parameters, at most {} bytes of \
             activations alive at once",
            self.model,
            self.macs,
            self.parameters,
            self.peak_bytes
        );
        say!("* marks what `--split` takes; bytes are uncoded 32-bit floats of one picture");
        say!(
            "{:<28} {:>10} {:>14} {:>6} {:>14} {:>11} {:>11} {:>11} {:>11}  crosses",
            "cut after",
            "bytes",
            "device MACs",
            "share",
            "edge MACs",
            "dev params",
            "edge params",
            "dev peak",
            "edge peak"
        );
        for cut in &self.cuts {
            let crossing = cut.tensors.iter().map(|tensor| {
                let [c, h, w] = tensor.shape;
                format!("{} {c}x{h}x{w}", tensor.name)
            });
            say!(
                "{:<28} {:>10} {:>14} {:>5.1}% {:>14} {:>11} {:>11} {:>11} {:>11}  {}",
                format!("{}{}", cut.after, if cut.split_point { " *" } else { "" }),
                cut.bytes,
                cut.head_macs,
                self.share(cut),
                cut.tail_macs,
                cut.head_parameters,
                cut.tail_parameters,
                cut.head_peak_bytes,
                cut.tail_peak_bytes,
                crossing.collect::<Vec<_>>().join(", ")
            );
        }
        let with_units = self.cuts.iter().filter(|cut| !cut.units.is_empty());
        for cut in with_units {
            say!("\nunits at {}, beside head and tail:", cut.after);
            UnitCosts::print(&cut.units, cut.head_macs);
        }
    }

    /// Device's part of the multiply-adds in per cent.
    fn share(&self, cut: &Cut) -> f64 {
        100.0 * float(cut.head_macs) / float(self.macs.max(1))
    }

    /// Device's share of the work against what crosses.
    fn draw(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let bytes = self.cuts.iter().map(|cut| float(cut.bytes.max(1)));
        let low = bytes.clone().fold(f64::INFINITY, f64::min).min(1e6) * 0.6;
        let high = bytes.fold(1.0, f64::max) * 1.6;
        let area = SVGBackend::with_string(svg, (760, 480)).into_drawing_area();
        area.fill(&WHITE)?;
        let [_, height, width] = self.input;
        let mut chart = ChartBuilder::on(&area)
            .caption(
                format!("{} on {height}x{width}: legal cuts", self.model),
                ("sans-serif", 20),
            )
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(84)
            .build_cartesian_2d(-2.0..102.0, (low..high).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("device's share of the multiply-adds, %")
            .y_desc("bytes that cross, as 32-bit floats")
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.0}"))
            .draw()?;
        // Label, colour, whether several tensors cross, whether it is a split point.
        let groups = [
            ("several tensors", RGBColor(170, 170, 170), (true, false)),
            ("one tensor", RGBColor(213, 94, 0), (false, false)),
            (
                "one tensor, --split takes it",
                RGBColor(0, 90, 181),
                (false, true),
            ),
        ];
        for (label, colour, wanted) in groups {
            let belongs = |cut: &&Cut| (cut.tensors.len() > 1, cut.split_point) == wanted;
            let points = self.cuts.iter().filter(belongs);
            let points = points.map(|cut| (self.share(cut), float(cut.bytes.max(1))));
            let points: Vec<_> = points.collect();
            if points.is_empty() {
                continue;
            }
            let circles = points.into_iter();
            chart
                .draw_series(circles.map(|point| Circle::new(point, 3, colour.filled())))?
                .label(label)
                .legend(move |(x, y)| Circle::new((x + 9, y), 3, colour.filled()));
        }
        // Blocks inside a stage would write over each other.
        let named = self.cuts.iter();
        let named = named.filter(|cut| cut.split_point && !cut.after.contains('.'));
        chart.draw_series(named.map(|cut| {
            let place = (self.share(cut) + 0.8, float(cut.bytes.max(1)) * 1.08);
            Text::new(cut.after.clone(), place, ("sans-serif", 12))
        }))?;
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.4))
            .draw()?;
        area.present()?;
        Ok(())
    }
}

fn sides(shape: ActivationShape) -> [usize; 3] {
    [shape.channels, shape.height, shape.width]
}

#[expect(clippy::cast_precision_loss, reason = "for show")]
fn float(count: u64) -> f64 {
    count as f64
}
