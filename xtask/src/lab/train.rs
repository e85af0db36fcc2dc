//! `train`: rungs at several rates, measured closed loop, beside picture codecs.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Result, ensure};
use burn::module::Module;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use split_backbone::Part;
use split_bottleneck::{
    ActivationCache, ActivationShape, Bank, ClassifierDistortion, EncoderKind, HyperDensity, Klt,
    Objective, RateKind, Rung, TrainConfig, UnitConfig, WarmStart,
};

use crate::files::{folder, write_whole};
use crate::published::Published;
use crate::rung::{Task, Trained, bar, count, now, rungs_are_trained, stop_flag};
use crate::setup::{Setup, SetupArgs};
use crate::values::{at_least_one, not_negative, positive, share};
use crate::{baselines, continuous, published, report, run_folder, tail_norms};

/// Bytes of a frame that are not coded symbols: header, checksum, coder flush.
pub(crate) const FRAME_OVERHEAD_BYTES: f64 = 14.0;
/// Training pictures whose symbols are counted for the tables.
pub(crate) const TABLE_PICTURES: usize = 6000;
/// Training pictures from which principal components are taken.
pub(crate) const KLT_PICTURES: usize = 2000;
/// Residual blocks of the heavy decoders.
pub(crate) const HEAVY_BLOCKS: usize = 2;

/// Which layout of unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UnitKind {
    /// The paper's released layout, trained on labels (`paper-unit`).
    Paper,
    /// Two convolutions and a residual decoder, trained on the unsplit logits (`unit`).
    Conv,
    /// A grouped and a 1x1 convolution, and a heavy decoder (`unit`).
    Light,
    /// A linear map of patches that starts as their principal components, and a heavy decoder
    /// (`unit`).
    Klt,
    /// `klt` with two convolutions that add to the encoder's map (`unit`).
    Refined,
    /// `refined` with attention on the edge (`unit`).
    Attentive,
}

/// What prices the latent in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rate {
    /// A mixture of logistics for each channel.
    Mixture,
    /// The l1 norm of the symbols.
    L1,
    /// A Laplace density for each channel.
    Laplace,
    /// A density of learned shape for each channel (Ballé 2018).
    Factorised,
    /// The follow-up paper's hyperprior, in training only.
    Hyperprior,
    /// A density conditioned on the neighbours that the codec looks at.
    Neighbours,
}

impl Rate {
    pub(crate) fn kind(self) -> RateKind {
        match self {
            Self::Mixture => RateKind::Mixture,
            Self::L1 => RateKind::L1,
            Self::Laplace => RateKind::Laplace,
            Self::Factorised => RateKind::Factorised,
            Self::Hyperprior => RateKind::Hyperprior(HyperDensity::default()),
            Self::Neighbours => RateKind::Neighbours,
        }
    }
}

/// What the task part of the distortion compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Loss {
    /// Cross-entropy with the labels.
    Labels,
    /// Divergence to the unsplit logits, and a share of the activation's error: no labels.
    Logits,
}

impl UnitKind {
    /// Kind of the rows; the paper's layout is `paper-unit` only when trained as the paper does.
    pub(crate) fn record_kind(self, loss: Loss) -> &'static str {
        match (self, loss) {
            (Self::Paper, Loss::Labels) => "paper-unit",
            (Self::Paper, Loss::Logits) => "unsupervised",
            (_, _) => "unit",
        }
    }

    /// First word of the rungs' names: layouts of one kind must differ in it.
    pub(crate) fn word(self, loss: Loss) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Klt => "klt",
            Self::Refined => "refined",
            Self::Attentive => "attentive",
            Self::Paper | Self::Conv => self.record_kind(loss),
        }
    }

    /// The layout for an activation; what is not given is the layout's own.
    pub(crate) fn unit(
        self,
        shape: ActivationShape,
        latent_channels: Option<usize>,
        stride: usize,
        step: Option<f32>,
    ) -> UnitConfig {
        let latent = latent_channels.unwrap_or(match self {
            Self::Paper => shape.channels.div_ceil(2),
            _ => (3 * shape.channels).div_ceil(4),
        });
        let step = |default: f32| step.unwrap_or(default);
        match self {
            Self::Paper => UnitConfig::paper(shape, latent, stride, step(0.25)),
            Self::Conv => UnitConfig::conv(shape, latent, stride, step(0.5)),
            Self::Light => UnitConfig::light(shape, latent, stride, step(0.5), HEAVY_BLOCKS),
            Self::Refined => UnitConfig::refined(shape, latent, stride, step(0.5), HEAVY_BLOCKS),
            Self::Attentive => {
                UnitConfig::attentive(shape, latent, stride, step(0.5), HEAVY_BLOCKS)
            }
            Self::Klt => UnitConfig {
                encoder: EncoderKind::Patch,
                ..UnitConfig::light(shape, latent, stride, step(0.5), HEAVY_BLOCKS)
            },
        }
    }

    /// Whether its first rung starts from principal components.
    pub(crate) fn starts_as_klt(self) -> bool {
        matches!(self, Self::Klt | Self::Refined | Self::Attentive)
    }

    fn default_loss(self) -> Loss {
        match self {
            Self::Paper => Loss::Labels,
            _ => Loss::Logits,
        }
    }
}

/// Options of `train`.
#[derive(Args, Debug, Clone)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) setup: SetupArgs,
    /// Layouts to train, each at all rates; none where nothing follows, for `--published` alone.
    #[arg(long, value_enum, value_delimiter = ',', num_args = 0.., default_value = "conv,paper")]
    pub(crate) units: Vec<UnitKind>,
    /// What they are trained on [default: labels for the paper's layout, logits for the others].
    #[arg(long, value_enum)]
    pub(crate) loss: Option<Loss>,
    /// Frame sizes to aim at, in bytes, highest first; lambda is found by dual ascent [default:
    /// 300,200,120,80 for the embedded pictures, 310,200,125,80,45 for others].
    #[arg(long, value_delimiter = ',', value_parser = positive)]
    pub(crate) target_bytes: Vec<f64>,
    /// Prices of a kilobit instead of frame sizes, lowest first.
    #[arg(long, value_delimiter = ',', value_parser = positive, conflicts_with = "target_bytes")]
    pub(crate) lambda: Vec<f64>,
    /// Channels of the latent [default: half of the activation's for the paper's layout, three
    /// quarters for the others].
    #[arg(long)]
    pub(crate) latent_channels: Option<usize>,
    /// Spatial stride of the unit.
    #[arg(long, default_value_t = 2)]
    pub(crate) stride: usize,
    /// Quantizer step, one for all layouts or one for each of `--units` [default: 0.25 for the
    /// paper's layout, 0.5 for the others].
    #[arg(long, value_delimiter = ',')]
    pub(crate) step: Vec<f32>,
    /// Optimizer steps of the first rung of a layout.
    #[arg(long, default_value_t = 600)]
    pub(crate) steps: usize,
    /// Optimizer steps of each later rung, which starts from its neighbour.
    #[arg(long, default_value_t = 300)]
    pub(crate) next_steps: usize,
    /// Steps of the first rung that only restore the activation.
    #[arg(long, default_value_t = 150)]
    pub(crate) warmup_steps: usize,
    /// Pictures of a step.
    #[arg(long, value_parser = at_least_one, default_value_t = 64)]
    pub(crate) batch_size: usize,
    /// Peak learning rate of the first rung; later rungs use half.
    #[arg(long, value_parser = positive, default_value_t = 4e-3)]
    pub(crate) learning_rate: f64,
    /// Weight decay of the units (AdamW); 0 is Adam.
    #[arg(long, value_parser = not_negative, default_value_t = 0.0)]
    pub(crate) weight_decay: f32,
    /// Take a running mean of each unit's weights that decays so (0.99, for example) in the place of the last ones.
    #[arg(long, value_parser = share, default_value_t = 0.0)]
    pub(crate) averaging: f32,
    /// Last steps of each rung, out of its steps, that train the decoder alone on what the codec will send.
    #[arg(long, default_value_t = 0)]
    pub(crate) finish_steps: usize,
    /// Leave mirrored pictures out of training.
    #[arg(long)]
    pub(crate) no_flips: bool,
    /// Leave the picture codecs out of the table.
    #[arg(long)]
    pub(crate) no_rivals: bool,
    /// Also measure PCA, clip-and-quantize, int8, int4, and Huffman on the trained rungs.
    #[arg(long)]
    pub(crate) baselines: bool,
    /// Also train published bottlenecks, all or those named: CR+BQ (arXiv 2007.15818) and BottleNet++, which send
    /// integers of eight bits, each with 1, 2, 3, 6 and 9 channels; and Entropic Student at the sizes of
    /// --target-bytes, whose encoder takes the picture in the place of the head.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        num_args = 0..=1,
        default_missing_values = ["cr-bq", "bottlenet-pp", "entropic-student"]
    )]
    pub(crate) published: Vec<Published>,
    /// Also measure the trained rungs with a tail whose batch norms are fitted to what they restore: statistics alone
    /// (`tail-statistics`), and scale and shift too (`tail-affine`). The backbone is frozen everywhere else.
    #[arg(long)]
    pub(crate) tail_norms: bool,
    /// Also train one unit for all rates, and measure the first rung with other steps.
    #[arg(long)]
    pub(crate) continuous: bool,
    /// Optimizer steps of the unit for all rates [default: those of a first rung].
    #[arg(long, requires = "continuous")]
    pub(crate) continuous_steps: Option<usize>,
    /// What prices the latent in training.
    #[arg(long, value_enum, default_value = "mixture")]
    pub(crate) rate: Rate,
    /// Let tables mix predictions that learn as they go: several per cent fewer bytes, coded at some
    /// 7 million symbols a second.
    #[arg(long)]
    pub(crate) mixing: bool,
    /// Seed of weights and picture order.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Folder for bank, results and plot.
    #[arg(long, default_value = "out/train")]
    pub(crate) out: PathBuf,
    /// Go on with an interrupted run in the same folder.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Also merge the rows into this record.
    #[arg(long)]
    pub(crate) record: Option<PathBuf>,
}

impl TrainArgs {
    fn check(&self) -> Result<()> {
        check_rungs(
            &self.units,
            (&self.target_bytes, &self.lambda),
            FRAME_OVERHEAD_BYTES,
        )?;
        run_folder::check_record(self.record.as_deref())?;
        ensure!(
            !self.published.is_empty() || !self.units.is_empty(),
            "--units names no layout; give one, or --published"
        );
        let fewest = self.steps.min(self.next_steps);
        ensure!(
            self.finish_steps <= fewest,
            "--finish-steps {} is more than a rung's {fewest} steps; take fewer",
            self.finish_steps
        );
        ensure!(
            !(self.continuous && self.units.is_empty()),
            "--continuous starts from the first of --units; name one"
        );
        ensure!(
            self.step.len() < 2 || self.step.len() == self.units.len(),
            "--step names {} steps for {} layouts; give one for all, or one for each of --units",
            self.step.len(),
            self.units.len()
        );
        Ok(())
    }

    /// The step that was asked for, for the layout in this place of `--units`.
    pub(crate) fn step_at(&self, place: usize) -> Option<f32> {
        self.step.get(place).or(self.step.first()).copied()
    }
}

/// Refuses rungs that can't be trained in this order, or at all.
pub(crate) fn check_rungs(
    units: &[UnitKind],
    (target_bytes, lambda): (&[f64], &[f64]),
    overhead_bytes: f64,
) -> Result<()> {
    for (place, kind) in units.iter().enumerate() {
        ensure!(
            !units[..place].contains(kind),
            "--units names a layout twice"
        );
    }
    ensure!(
        target_bytes.is_sorted_by(|a, b| a > b),
        "--target-bytes must fall: each rung starts from the one before"
    );
    if let Some(last) = target_bytes.last() {
        ensure!(
            *last > overhead_bytes,
            "--target-bytes {last}: a frame takes {overhead_bytes} bytes without any symbol"
        );
    }
    ensure!(
        lambda.is_sorted_by(|a, b| a < b),
        "--lambda must rise: each rung starts from the one before"
    );
    Ok(())
}

/// One rung to train.
pub(crate) struct Plan {
    loss: Loss,
    kind: &'static str,
    name: String,
    unit: UnitConfig,
    train: TrainConfig,
    first: bool,
    /// Whether this rung starts from principal components.
    from_klt: bool,
}

pub(crate) fn run(args: &TrainArgs) -> Result<()> {
    let started = now();
    args.check()?;
    let setup = args.setup.open()?;
    let pictures = setup.pictures(Part::Train)?;
    let tests = setup.pictures(Part::Test)?;
    let out = folder(&args.out)?;
    run_folder::begin(&out, &format!("{:#?}\n", RunIdentity(args)), args.resume)?;
    let bar = bar(
        pictures.len() * if args.no_flips { 1 } else { 2 },
        "activations",
    );
    let flips = !args.no_flips;
    let keeps = args.published.contains(&Published::EntropicStudent);
    let cache = setup.cache_keeping(keeps, &pictures, flips, |n| bar.inc(count(n)))?;
    bar.finish_and_clear();
    let stop = stop_flag()?;
    let trained = train_rungs(&setup, args, plans(args, &cache), &cache, &out, &stop)?;
    let published = published::train(&setup, args, &cache, &out, &stop)?;
    rungs_are_trained();
    let rungs = trained.iter().map(|one| one.rung.clone()).collect();
    let mut bank = Bank::new(setup.opened.note.clone(), rungs)?;
    save_bank(&bank, &out)?;
    let train_name = format!(
        "{} pictures{}",
        pictures.len(),
        if args.no_flips { "" } else { ", mirrored too" }
    );
    let mut continuous = if args.continuous {
        Some(continuous::train(&setup, args, &cache, &trained, &out)?)
    } else {
        None
    };
    drop((cache, pictures));
    let mut document = report::measure(&setup, args, (&tests, train_name), &mut bank, &trained)?;
    if let Some(continuous) = &mut continuous {
        continuous::measure(&setup, args, continuous, &mut document)?;
        let file = out.join("continuous.safetensors");
        write_whole(&file, &continuous.bank.to_bytes()?)?;
    }
    if !published.is_empty() {
        published::measure(&setup, args, &published, &mut document)?;
    }
    if args.baselines {
        baselines::add(&setup, args, &bank, &trained, &mut document)?;
    }
    if args.tail_norms {
        tail_norms::add(&setup, args, &bank, &trained, &mut document)?;
    }
    save_bank(&bank, &out)?;
    document.save(&out.join("results.json"))?;
    document.save_csv(&out.join("results.csv"))?;
    crate::plot::save(&document, &out.join("curve.svg"))?;
    if let Some(record) = &args.record {
        document.merge_into(record)?;
    }
    report::print_table(&document);
    let text = serde_json::to_string(&document)?;
    say!(
        "\n{}",
        records::front_table(&records::RaDocument::parse(&text)?)
    );
    say!(
        "bank, results.json, results.csv, curve.svg, metrics.csv and training.svg are in {} ({:.0} s)",
        out.display(),
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Published bottlenecks alone make no bank, and one of an earlier run is worth more than an empty one.
fn save_bank(bank: &Bank, out: &Path) -> Result<()> {
    if !bank.rungs().is_empty() {
        write_whole(&out.join("bank.safetensors"), &bank.to_bytes()?)?;
    }
    Ok(())
}

/// All of these rungs, those of a layout each from its neighbour.
pub(crate) fn train_rungs(
    setup: &Setup,
    args: &TrainArgs,
    plans: Vec<Plan>,
    cache: &ActivationCache,
    out: &Path,
    stop: &AtomicBool,
) -> Result<Vec<Trained>> {
    let mut trained = Vec::new();
    let mut warm: Option<WarmStart> = None;
    for plan in plans {
        if plan.first {
            warm = None;
        }
        if plan.from_klt {
            let klt = Klt::fit(cache, plan.unit.stride, KLT_PICTURES)?;
            warm = Some(klt.warm_start(&plan.unit, &plan.train, cache, &setup.device)?);
        }
        let file = out.join(format!("{}.checkpoint", plan.name));
        let (rung, weights) = train_rung(setup, args, &plan, warm.as_ref(), cache, &file, stop)?;
        warm = Some(weights);
        trained.push(rung);
    }
    Ok(trained)
}

/// The options that decide a run's result.
struct RunIdentity<'a>(&'a TrainArgs);

impl std::fmt::Debug for RunIdentity<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut args = self.0.clone();
        args.resume = false;
        args.out = PathBuf::new();
        args.record = None;
        // What is measured or trained beside the rungs may join later.
        args.no_rivals = false;
        args.baselines = false;
        args.published = Vec::new();
        args.continuous = false;
        args.continuous_steps = None;
        args.tail_norms = false;
        args.fmt(f)
    }
}

/// What each rung of a layout aims at.
fn objectives(args: &TrainArgs) -> Vec<Objective> {
    if !args.lambda.is_empty() {
        args.lambda.iter().map(|l| Objective::Lambda(*l)).collect()
    } else {
        let targets = if args.target_bytes.is_empty() {
            default_targets(args)
        } else {
            args.target_bytes.clone()
        };
        targets
            .iter()
            .map(|bytes| Objective::TargetBits {
                bits: (8.0 * (bytes - FRAME_OVERHEAD_BYTES)).max(8.0),
                start: 0.1,
            })
            .collect()
    }
}

/// A layout to train at all rates.
pub(crate) struct Layout {
    pub(crate) loss: Loss,
    /// Kind of the rows.
    pub(crate) kind: &'static str,
    /// First word of the rungs' names.
    pub(crate) word: &'static str,
    pub(crate) unit: UnitConfig,
    /// Whether its first rung starts from principal components.
    pub(crate) from_klt: bool,
    /// Its share of the learning rate.
    pub(crate) pace: f64,
}

fn plans(args: &TrainArgs, cache: &ActivationCache) -> Vec<Plan> {
    let mut plans = Vec::new();
    for (place, kind) in args.units.iter().enumerate() {
        let loss = args.loss.unwrap_or(kind.default_loss());
        let unit = kind.unit(
            cache.shape(),
            args.latent_channels,
            args.stride,
            args.step_at(place),
        );
        plans.extend(rungs_of(
            args,
            &Layout {
                loss,
                kind: kind.record_kind(loss),
                word: kind.word(loss),
                unit,
                from_klt: kind.starts_as_klt(),
                pace: 1.0,
            },
        ));
    }
    plans
}

/// The rungs of a layout, each to start from the one before.
pub(crate) fn rungs_of(args: &TrainArgs, layout: &Layout) -> Vec<Plan> {
    let objectives = objectives(args);
    let rungs = objectives.iter().enumerate().map(|(index, objective)| {
        let first = index == 0;
        let share = if first { 1.0 } else { 0.5 };
        let steps = if first { args.steps } else { args.next_steps };
        Plan {
            loss: layout.loss,
            kind: layout.kind,
            name: format!("{}-{}", layout.word, index + 1),
            unit: layout.unit.clone(),
            first,
            from_klt: first && layout.from_klt,
            train: TrainConfig {
                warmup_steps: if first { args.warmup_steps } else { 0 },
                batch_size: args.batch_size,
                learning_rate: args.learning_rate * share * layout.pace,
                rate: args.rate.kind(),
                mixing: args.mixing,
                weight_decay: args.weight_decay,
                averaging: args.averaging,
                finish_steps: args.finish_steps,
                // Each rung draws an order of its own.
                seed: args.seed.wrapping_mul(1000).wrapping_add(count(index)),
                ..TrainConfig::new(steps, *objective)
            },
        }
    });
    rungs.collect()
}

fn default_targets(args: &TrainArgs) -> Vec<f64> {
    if args.setup.is_embedded() {
        vec![300.0, 200.0, 120.0, 80.0]
    } else {
        vec![310.0, 200.0, 125.0, 80.0, 45.0]
    }
}

fn train_rung(
    setup: &Setup,
    args: &TrainArgs,
    plan: &Plan,
    warm: Option<&WarmStart>,
    cache: &ActivationCache,
    file: &Path,
    stop: &AtomicBool,
) -> Result<(Trained, WarmStart)> {
    let tail = setup.opened.tail.clone().train();
    let distortion = match plan.loss {
        Loss::Labels => ClassifierDistortion::supervised(tail),
        Loss::Logits => ClassifierDistortion::unsupervised(tail),
    };
    let started = now();
    let task = Task {
        name: &plan.name,
        unit: &plan.unit,
        train: &plan.train,
        file,
        frame_bytes: &|bits| bits / 8.0 + FRAME_OVERHEAD_BYTES,
    };
    let begun = (args.resume, stop);
    let (training, earlier) = task.run(begun, warm, cache, &distortion, &setup.device)?;
    let rung = Rung::from_training(
        &plan.name,
        plan.kind,
        &plan.unit,
        &training,
        cache,
        TABLE_PICTURES,
        &setup.device,
    )?;
    let pictures = f64::from(u32::try_from(plan.train.steps * plan.train.batch_size)?);
    let trained = Trained {
        rung,
        epochs: pictures / f64::from(u32::try_from(cache.len())?),
        seconds: earlier + started.elapsed().as_secs_f64(),
    };
    Ok((trained, training.weights()))
}
