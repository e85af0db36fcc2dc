//! Which rungs a run trains, in which stages.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use split_bottleneck::{ActivationShape, Objective, Scale, ScaleList, TrainConfig, UnitConfig};

use super::SetupArgs;
use super::report::float;
use crate::run_folder;
use crate::rung::count;
use crate::train::{HEAVY_BLOCKS, Loss, UnitKind, check_rungs};
use crate::values::{at_least_one, positive};

/// Bytes of a frame that are not coded symbols: header, shape, checksum, coder flush.
const FRAME_OVERHEAD_BYTES: f64 = 17.0;
/// Smallest share of a canvas that is believed, so that a target stays finite.
const LEAST_COVERAGE: f64 = 0.05;
/// Frame sizes that are aimed at unless told otherwise.
const TARGET_BYTES: [f64; 5] = [9000.0, 6000.0, 4200.0, 3000.0, 2000.0];
/// Channels of the latent for several tensors together.
const SCALES_LATENT: usize = 256;
/// Price of a kilobit at the start.
const LAMBDA_START: f64 = 5e-4;

/// Options of `train` for detectors.
#[derive(Args, Debug, Clone)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) setup: SetupArgs,
    /// Folders with photographs to train on beside the set's own; may be given several times.
    #[arg(long)]
    pub(crate) photos: Vec<PathBuf>,
    /// Canvases made of the photographs, at random scales and places.
    #[arg(long, default_value_t = 1500)]
    pub(crate) views: usize,
    /// Least and greatest size of objects on them, as factors to the letterbox's.
    #[arg(long, value_delimiter = ',', num_args = 1, default_value = "0.5,1.6")]
    pub(crate) scales: Vec<f64>,
    /// Layouts to train, each at all rates [default: conv; klt at dark5, where it has a map for each tensor].
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) units: Vec<UnitKind>,
    /// Frame sizes to aim at, in bytes, highest first; lambda is found by dual ascent [default:
    /// 9000,6000,4200,3000,2000].
    #[arg(long, value_delimiter = ',', value_parser = positive)]
    pub(crate) target_bytes: Vec<f64>,
    /// Prices of a kilobit instead of frame sizes, lowest first.
    #[arg(long, value_delimiter = ',', value_parser = positive, conflicts_with = "target_bytes")]
    pub(crate) lambda: Vec<f64>,
    /// Channels of the latent [default: half of the activation's for the paper's layout, three
    /// quarters for the others; 256 for all tensors together at dark5].
    #[arg(long)]
    pub(crate) latent_channels: Option<usize>,
    /// Spatial stride of the unit [default: 2; at dark5 the tensors are on the grid of the smallest, and it is 1].
    #[arg(long, value_parser = at_least_one)]
    pub(crate) stride: Option<usize>,
    /// Quantizer step [default: 0.25 for the paper's layout, 0.5 for the others].
    #[arg(long)]
    pub(crate) step: Option<f32>,
    /// First steps of a layout, which only restore the activation.
    #[arg(long, default_value_t = 150)]
    pub(crate) warmup_steps: usize,
    /// Steps after them that restore the pyramid too.
    #[arg(long, default_value_t = 350)]
    pub(crate) pyramid_steps: usize,
    /// Steps of the first rung on the predictions too.
    #[arg(long, default_value_t = 300)]
    pub(crate) steps: usize,
    /// Steps of each later rung, which starts from its neighbour.
    #[arg(long, default_value_t = 250)]
    pub(crate) next_steps: usize,
    /// Canvases of a step.
    #[arg(long, value_parser = at_least_one, default_value_t = 8)]
    pub(crate) batch_size: usize,
    /// Peak learning rate without predictions.
    #[arg(long, value_parser = positive, default_value_t = 3e-3)]
    pub(crate) learning_rate: f64,
    /// Peak learning rate on predictions; more than 6e-4 destroyed units.
    #[arg(long, value_parser = positive, default_value_t = 6e-4)]
    pub(crate) head_learning_rate: f64,
    /// Weight of the predictions in the distortion.
    #[arg(long, default_value_t = 0.2)]
    pub(crate) head_weight: f32,
    /// Leave the picture codecs and the clip-and-quantize baseline out of the table.
    #[arg(long)]
    pub(crate) no_rivals: bool,
    /// Qualities of the picture codecs, 0 to 100.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "5,10,15,20,30,40,55,70,85,95"
    )]
    pub(crate) qualities: Vec<u8>,
    /// Draws of the bootstrap over the test pictures.
    #[arg(long, default_value_t = 200)]
    pub(crate) draws: usize,
    /// Let tables mix predictions that learn as they go: several per cent fewer bytes, coded at some
    /// 7 million symbols a second.
    #[arg(long)]
    pub(crate) mixing: bool,
    /// Seed of weights, canvases and their order.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Folder for bank, results and plot.
    #[arg(long, default_value = "out/detect")]
    pub(crate) out: PathBuf,
    /// Go on with an interrupted run in the same folder.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Also merge the rows into this record.
    #[arg(long)]
    pub(crate) record: Option<PathBuf>,
}

impl TrainArgs {
    pub(crate) fn check(&self) -> Result<()> {
        check_rungs(
            &self.kinds(&[]),
            (&self.target_bytes, &self.lambda),
            FRAME_OVERHEAD_BYTES,
        )?;
        run_folder::check_record(self.record.as_deref())
    }
}

impl TrainArgs {
    /// The layouts that suit a cut of several tensors of so many channels, or of one.
    fn kinds(&self, scales: &[usize]) -> Vec<UnitKind> {
        match (self.units.as_slice(), scales) {
            ([], []) => vec![UnitKind::Conv],
            ([], _) => vec![UnitKind::Klt],
            (given, _) => given.to_vec(),
        }
    }

    /// The stride in cells of the activation at such a cut.
    pub(crate) fn stride_at(&self, scales: &[usize]) -> usize {
        self.stride.unwrap_or(if scales.is_empty() { 2 } else { 1 })
    }

    /// Refuses what a cut of several tensors has no place for.
    pub(crate) fn check_scales(&self, scales: &[usize], split: &str) -> Result<()> {
        if scales.is_empty() {
            return Ok(());
        }
        let kinds = self.kinds(scales);
        if kinds.iter().any(|kind| *kind != UnitKind::Klt) {
            bail!(
                "{} tensors cross {split}; only --units klt has a map for each of them",
                scales.len()
            );
        }
        if self.stride_at(scales) != 1 {
            bail!("the tensors that cross {split} are on one grid already; leave out --stride");
        }
        let latent = self.latent_channels.unwrap_or(SCALES_LATENT);
        if latent < scales.len() {
            bail!(
                "--latent-channels {latent} is less than one for each of the {} tensors that cross {split}",
                scales.len()
            );
        }
        Ok(())
    }
}

/// A part of a rung's training with an optimizer of its own: moments of one distortion would
/// drive the unit astray under another.
pub(crate) struct Stage {
    /// Name of the checkpoint.
    pub(crate) name: String,
    pub(crate) train: TrainConfig,
    /// Weight of the predictions.
    pub(crate) head_weight: f32,
}

/// One rung to train.
pub(crate) struct Plan {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) unit: UnitConfig,
    /// Whether it starts from drawn weights.
    pub(crate) first: bool,
    /// Whether those are principal components.
    pub(crate) from_klt: bool,
    pub(crate) stages: Vec<Stage>,
}

/// Every rung of a run; `coverage` is the share of a canvas that pictures cover, since frames
/// leave the rest out and training canvases are full.
pub(crate) fn plans(
    args: &TrainArgs,
    (shape, scales): (ActivationShape, &[usize]),
    coverage: f64,
) -> Result<Vec<Plan>> {
    let objectives = objectives(args, coverage);
    let mut plans = Vec::new();
    for kind in &args.kinds(scales) {
        // Nobody has labels here, so the paper's layout is trained without.
        let loss = Loss::Logits;
        let unit = if scales.is_empty() {
            kind.unit(
                shape,
                args.latent_channels,
                args.stride_at(scales),
                args.step,
            )
        } else {
            let latent = args.latent_channels.unwrap_or(SCALES_LATENT);
            let list = ScaleList::new(&shared_out(latent, scales))?;
            let step = args.step.unwrap_or(0.5);
            UnitConfig::scales(list, [shape.height, shape.width], step, HEAVY_BLOCKS)
        };
        for (index, objective) in objectives.iter().enumerate() {
            let name = format!("{}-{}", kind.word(loss), index + 1);
            let first = index == 0;
            plans.push(Plan {
                kind: kind.record_kind(loss),
                stages: stages(args, &name, index, *objective),
                name,
                unit: unit.clone(),
                first,
                from_klt: first && kind.starts_as_klt(),
            });
        }
    }
    Ok(plans)
}

/// Latent channels for tensors of so many channels, in proportion to the roots of these: large tensors say less
/// for each of theirs. At least one for each; `latent` in all.
fn shared_out(latent: usize, scales: &[usize]) -> Vec<Scale> {
    let root = |channels: usize| float(channels).sqrt();
    let all: f64 = scales.iter().map(|channels| root(*channels)).sum();
    let mut shared: Vec<Scale> = Vec::with_capacity(scales.len());
    let (mut sum, mut given) = (0.0, 0);
    for (index, &channels) in scales.iter().enumerate() {
        sum += root(channels);
        // Up to here so many, but one is left for each that follows.
        let most = latent.saturating_sub(scales.len() - 1 - index);
        let until = nearest(float(latent) * sum / all).clamp(given + 1, most.max(given + 1));
        shared.push(Scale {
            channels,
            latent: until - given,
        });
        given = until;
    }
    shared
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a count"
)]
fn nearest(share: f64) -> usize {
    share.round() as usize
}

/// Bytes of a frame that leaves out what no picture covers, from the payload bits of a full canvas.
pub(crate) fn frame_bytes(bits: f64, coverage: f64) -> f64 {
    bits * coverage.max(LEAST_COVERAGE) / 8.0 + FRAME_OVERHEAD_BYTES
}

fn objectives(args: &TrainArgs, coverage: f64) -> Vec<Objective> {
    if !args.lambda.is_empty() {
        return args.lambda.iter().map(|l| Objective::Lambda(*l)).collect();
    }
    let targets = if args.target_bytes.is_empty() {
        TARGET_BYTES.to_vec()
    } else {
        args.target_bytes.clone()
    };
    let bits =
        |bytes: f64| (8.0 * (bytes - FRAME_OVERHEAD_BYTES)).max(8.0) / coverage.max(LEAST_COVERAGE);
    targets
        .iter()
        .map(|bytes| Objective::TargetBits {
            bits: bits(*bytes),
            start: LAMBDA_START,
        })
        .collect()
}

fn stages(args: &TrainArgs, name: &str, index: usize, objective: Objective) -> Vec<Stage> {
    let first = index == 0;
    // Each stage draws an order of its own.
    let seed = args.seed.wrapping_mul(1000).wrapping_add(2 * count(index));
    let base = TrainConfig {
        batch_size: args.batch_size,
        learning_rate: args.learning_rate,
        mixing: args.mixing,
        seed,
        ..TrainConfig::new(0, objective)
    };
    let restore = Stage {
        name: format!("{name}-restore"),
        train: TrainConfig {
            steps: args.warmup_steps + args.pyramid_steps,
            warmup_steps: args.warmup_steps,
            ..base.clone()
        },
        head_weight: 0.0,
    };
    let predict = Stage {
        name: format!("{name}-predict"),
        train: TrainConfig {
            steps: if first { args.steps } else { args.next_steps },
            learning_rate: args.head_learning_rate,
            seed: seed.wrapping_add(1),
            ..base
        },
        head_weight: args.head_weight,
    };
    let stages = if first {
        vec![restore, predict]
    } else {
        vec![predict]
    };
    stages.into_iter().filter(|s| s.train.steps > 0).collect()
}
