//! `plan`: arguments and files for [`records::plan`].

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use records::{Compute, End, Goal, Link, RaDocument, Request, SpeedLine, plan};

use crate::{report, shell};

/// Options of `plan`.
#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    /// Records of one backbone, one per split point: names in benches/records, or paths of
    /// `results.json` files that `train` left
    #[arg(required = true, value_name = "RECORD")]
    records: Vec<String>,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    edge: EdgeArgs,
    /// Rate of the link from device to edge, kbit/s
    #[arg(long, value_name = "KBIT_S")]
    kbit: f64,
    /// Round trip of the link, ms
    #[arg(long)]
    rtt_ms: f64,
    /// Share of packets lost, 0 to 0.5
    #[arg(long, default_value_t = 0.0, alias = "loss")]
    packet_loss: f64,
    /// Mean time an answer may take, ms: the most accurate way in time is chosen
    #[arg(long)]
    deadline_ms: Option<f64>,
    /// Least accuracy in the record's metric: without a deadline the fastest way is chosen
    #[arg(long, conflicts_with = "points_lost")]
    value_min: Option<f64>,
    /// The same as points below the unsplit network
    #[arg(long)]
    points_lost: Option<f64>,
    /// Time to code and decode a picture where pictures are sent, ms
    #[arg(long, default_value_t = 0.0)]
    picture_ms: f64,
    /// Print the whole plan, all candidates included, as JSON
    #[arg(long)]
    json: bool,
}

/// How fast the device is: one of three ways to say it.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct DeviceSpeed {
    /// Device: million multiply-accumulates a second
    #[arg(long)]
    device_mmacs: Option<f64>,
    /// Device: time for the whole network, ms
    #[arg(long)]
    device_ms: Option<f64>,
    /// Device: a speed.jsonl that `bench --record` wrote there
    #[arg(long, value_name = "FILE")]
    device_speed: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[group(skip)]
struct DeviceArgs {
    #[command(flatten)]
    speed: DeviceSpeed,
    /// Device: backend in --device-speed [default: that of the newest line]
    #[arg(long, requires = "device_speed")]
    device_backend: Option<String>,
    /// Device: time a picture for coding, ms; --device-speed brings its own
    #[arg(long, conflicts_with = "device_speed")]
    device_extra_ms: Option<f64>,
}

/// How fast the edge is: one of three ways to say it.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct EdgeSpeed {
    /// Edge: million multiply-accumulates a second
    #[arg(long)]
    edge_mmacs: Option<f64>,
    /// Edge: time for the whole network, ms
    #[arg(long)]
    edge_ms: Option<f64>,
    /// Edge: a speed.jsonl that `bench --record` wrote there
    #[arg(long, value_name = "FILE")]
    edge_speed: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[group(skip)]
struct EdgeArgs {
    #[command(flatten)]
    speed: EdgeSpeed,
    /// Edge: backend in --edge-speed [default: that of the newest line]
    #[arg(long, requires = "edge_speed")]
    edge_backend: Option<String>,
    /// Edge: time a picture for decoding, unit decoder and queue, ms; --edge-speed brings its own
    #[arg(long, conflicts_with = "edge_speed")]
    edge_extra_ms: Option<f64>,
}

/// How one end was described.
struct Profile<'a> {
    mmacs: Option<f64>,
    ms: Option<f64>,
    speed: Option<&'a Path>,
    backend: Option<&'a str>,
    extra_ms: f64,
}

/// Prints what to do and why; fails where nothing meets the goal.
pub(crate) fn run(root: &Path, args: &PlanArgs) -> Result<()> {
    let documents = args
        .records
        .iter()
        .map(|name| document(root, name))
        .collect::<Result<Vec<_>>>()?;
    let request = request(args, &documents[0])?;
    let plan = plan(&documents, &request)?;
    if args.json {
        shell::say(&serde_json::to_string_pretty(&plan).context("writing the plan")?);
    } else {
        shell::say(plan.explain(&request).trim_end());
    }
    if plan.choice.is_none() {
        bail!("no way meets the goal");
    }
    Ok(())
}

fn document(root: &Path, name: &str) -> Result<RaDocument> {
    if !name.ends_with(".json") {
        return report::load(root, name);
    }
    let text = fs::read_to_string(name).with_context(|| format!("reading {name}"))?;
    RaDocument::parse(&text).with_context(|| format!("reading {name}"))
}

fn request(args: &PlanArgs, first: &RaDocument) -> Result<Request> {
    let backbone = &first.backbone;
    let (device, edge) = (&args.device, &args.edge);
    let device = Profile {
        mmacs: device.speed.device_mmacs,
        ms: device.speed.device_ms,
        speed: device.speed.device_speed.as_deref(),
        backend: device.device_backend.as_deref(),
        extra_ms: device.device_extra_ms.unwrap_or(0.0),
    };
    let edge = Profile {
        mmacs: edge.speed.edge_mmacs,
        ms: edge.speed.edge_ms,
        speed: edge.speed.edge_speed.as_deref(),
        backend: edge.edge_backend.as_deref(),
        extra_ms: edge.edge_extra_ms.unwrap_or(0.0),
    };
    let lost = |points: f64| backbone.value - points * backbone.points();
    Ok(Request {
        device: device.compute(first, End::Device).context("device")?,
        edge: edge.compute(first, End::Edge).context("edge")?,
        link: Link::new(args.kbit, args.rtt_ms, args.packet_loss)?,
        goal: Goal {
            deadline_ms: args.deadline_ms,
            value_min: args.value_min.or(args.points_lost.map(lost)),
        },
        picture_ms: args.picture_ms,
    })
}

impl Profile<'_> {
    fn compute(&self, document: &RaDocument, end: End) -> Result<Compute> {
        let backbone = &document.backbone;
        match (self.mmacs, self.ms, self.speed) {
            (Some(mmacs), ..) => Ok(Compute::entered(mmacs, self.extra_ms)?),
            (_, Some(ms), _) => Ok(Compute::from_whole_network(
                ms,
                backbone.macs,
                self.extra_ms,
            )?),
            (.., Some(path)) => {
                let text = fs::read_to_string(path)
                    .with_context(|| format!("reading {}", path.display()))?;
                let read = || {
                    let lines = SpeedLine::parse_all(&text)?;
                    Compute::from_lines(&lines, &backbone.name, self.backend, backbone.macs, end)
                };
                read().with_context(|| format!("reading {}", path.display()))
            }
            _ => bail!("give its speed, its time for the whole network, or a speed.jsonl"),
        }
    }
}
