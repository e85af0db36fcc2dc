//! Rungs for a detector, from photographs without labels.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use burn::module::Module;
use burn::tensor::Tensor;
use split_backbone::{DetectorDistortion, ViewConfig, Views, canvas_input, photo_files};
use split_bottleneck::{ActivationCache, Bank, Klt, Objective, Rung, Tail, WarmStart};

use super::plan::{Plan, Stage, TrainArgs, frame_bytes, plans};
use super::{Setup, mean_coverage, report};
use crate::files::{folder, write_whole};
use crate::run_folder;
use crate::rung::{Task, Trained, bar, count, now, rungs_are_trained, stop_flag};
use crate::train::KLT_PICTURES;

/// Memory for cached activations.
const CACHE_BYTES: usize = 6 << 30;
/// Canvases in work at once.
const CHUNK: usize = 16;
/// Canvases whose symbols are counted for the tables.
const TABLE_VIEWS: usize = 600;

/// What the distortion is multiplied by. Lambda is a price per kilobit and has a floor that suits
/// pictures of some kilobits; a detector's take fifty times as many.
const DISTORTION_SCALE: f32 = 10.0;

/// Stands where a cache asks for answers: the distortion computes its own.
struct Silent;

impl Tail for Silent {
    type Output = Tensor<2>;

    fn forward(&self, activation: Tensor<4>) -> Tensor<2> {
        Tensor::zeros([activation.dims()[0], 1], &activation.device())
    }
}

/// Where the rungs learned from.
pub(crate) struct TrainedOn {
    pub(crate) cache: ActivationCache,
    /// Share of a canvas that photographs cover in letterboxes: frames leave the rest out.
    coverage: f64,
    /// For the record.
    pub(crate) words: String,
}

pub(crate) fn run(args: &TrainArgs) -> Result<()> {
    let started = now();
    args.check()?;
    let setup = args.setup.open(None)?;
    args.check_scales(&setup.scales, &setup.note.split)?;
    let files = photos(args, &setup)?;
    let out = folder(&args.out)?;
    let mut identity = args.clone();
    identity.resume = false;
    identity.out = PathBuf::new();
    identity.record = None;
    run_folder::begin(&out, &format!("{identity:#?}\n"), args.resume)?;
    let trained_on = activations(args, &setup, &files)?;
    let stop = stop_flag()?;
    let mut trained: Vec<Trained> = Vec::new();
    let mut warm: Option<WarmStart> = None;
    for plan in plans(
        args,
        (trained_on.cache.shape(), &setup.scales),
        trained_on.coverage,
    )? {
        if plan.first {
            warm = None;
        }
        let (rung, weights) = train_rung(&setup, args, &plan, warm, &trained_on, (&out, &stop))?;
        warm = Some(weights);
        trained.push(rung);
    }
    rungs_are_trained();
    let rungs = trained.iter().map(|one| one.rung.clone()).collect();
    let bank = Bank::new(setup.note.clone(), rungs)?;
    write_whole(&out.join("bank.safetensors"), &bank.to_bytes()?)?;
    let document = report::measure(&setup, args, &bank, &trained, &trained_on)?;
    document.save(&out.join("results.json"))?;
    document.save_csv(&out.join("results.csv"))?;
    crate::plot::save(&document, &out.join("curve.svg"))?;
    if let Some(record) = &args.record {
        document.merge_into(record)?;
    }
    report::print_table(&document);
    say!(
        "bank, results.json, results.csv, curve.svg, metrics.csv and training.svg are in {} ({:.0} s)",
        out.display(),
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// The set's own training pictures and those of `--photos`.
fn photos(args: &TrainArgs, setup: &Setup) -> Result<Vec<PathBuf>> {
    let mut files = photo_files(&setup.folder.train)?;
    for dir in &args.photos {
        files.extend(photo_files(dir)?);
    }
    let test = photo_files(&setup.folder.val)?;
    if let Some(shared) = files.iter().find(|file| test.contains(file)) {
        bail!("{} is a test picture; train on others", shared.display());
    }
    Ok(files)
}

fn activations(args: &TrainArgs, setup: &Setup, files: &[PathBuf]) -> Result<TrainedOn> {
    let [scale_min, scale_max] = args.scales.as_slice() else {
        bail!("--scales takes two numbers, least and greatest");
    };
    let views = Views::new(
        files.to_vec(),
        ViewConfig {
            side: setup.side,
            count: args.views,
            scale_min: *scale_min,
            scale_max: *scale_max,
            seed: args.seed,
        },
    )?;
    let bar = bar(views.len(), "activations");
    let mut skipped = Vec::new();
    let batches = (0..views.len()).step_by(CHUNK).filter_map(|start| {
        let range = start..(start + CHUNK).min(views.len());
        bar.inc(count(range.len()));
        let mut canvases = Vec::with_capacity(range.len());
        for view in views.render(range) {
            match view {
                Ok(canvas) => canvases.push(canvas),
                Err(picture) => skipped.push(picture),
            }
        }
        let labels = vec![0; canvases.len()];
        (!canvases.is_empty()).then(|| (canvas_input(&canvases, &setup.device), labels))
    });
    let cache = ActivationCache::build(&setup.head, &Silent, batches, CACHE_BYTES)?;
    bar.finish_and_clear();
    skipped.sort_by(|a, b| a.path.cmp(&b.path));
    skipped.dedup();
    for picture in &skipped {
        eprintln!("skipped {}: {}", picture.path.display(), picture.reason);
    }
    if !skipped.is_empty() {
        eprintln!("{} photographs could not be read", skipped.len());
    }
    let words = format!(
        "{} canvases of {} photographs without labels (train2017{}), {} unreadable",
        cache.len(),
        files.len() - skipped.len(),
        args.photos
            .iter()
            .filter_map(|dir| dir.file_name())
            .map(|name| format!(", {}", name.to_string_lossy()))
            .collect::<String>(),
        skipped.len()
    );
    let coverage = coverage(args, setup, files, cache.shape().height)?;
    Ok(TrainedOn {
        cache,
        coverage,
        words,
    })
}

/// Share of a canvas that the training photographs would cover in letterboxes.
fn coverage(args: &TrainArgs, setup: &Setup, files: &[PathBuf], rows: usize) -> Result<f64> {
    let sizes: Vec<(u32, u32)> = files
        .iter()
        .filter_map(|file| image::image_dimensions(file).ok())
        .collect();
    let latent_rows = u32::try_from(rows.div_ceil(args.stride_at(&setup.scales)))?;
    Ok(mean_coverage(
        &sizes,
        setup.side,
        setup.side / latent_rows.max(1),
    ))
}

fn train_rung(
    setup: &Setup,
    args: &TrainArgs,
    plan: &Plan,
    warm: Option<WarmStart>,
    trained_on: &TrainedOn,
    (out, stop): (&Path, &AtomicBool),
) -> Result<(Trained, WarmStart)> {
    let cache = &trained_on.cache;
    let started = now();
    let mut warm = warm;
    if let (true, Some(stage)) = (plan.from_klt, plan.stages.first()) {
        let klt = Klt::for_unit(cache, &plan.unit, KLT_PICTURES)?;
        warm = Some(klt.warm_start(&plan.unit, &stage.train, cache, &setup.device)?);
    }
    let mut unit = plan.unit.clone();
    if let (Some(stage), Some(start)) = (plan.stages.first(), warm.take()) {
        let train = &stage.train;
        let (config, start) = match train.objective {
            Objective::TargetBits { bits, .. } => {
                start.at_bits(&unit, train, bits, cache, &setup.device)?
            }
            Objective::Lambda(_) => (unit, start),
        };
        unit = config;
        warm = Some(start);
    }
    let mut last = None;
    let (mut steps, mut earlier) = (0, 0.0);
    for stage in &plan.stages {
        let file = out.join(format!("{}.checkpoint", stage.name));
        let task = Task {
            name: &stage.name,
            unit: &unit,
            train: &stage.train,
            file: &file,
            frame_bytes: &|bits| frame_bytes(bits, trained_on.coverage),
        };
        let (training, spent) = task.run(
            (args.resume, stop),
            warm.as_ref(),
            cache,
            &distortion(setup, stage),
            &setup.device,
        )?;
        warm = Some(training.weights());
        steps += stage.train.steps;
        earlier += spent;
        last = Some(training);
    }
    let training = last.context("a rung needs steps: --steps or --pyramid-steps")?;
    let mut rung = Rung::from_training(
        &plan.name,
        plan.kind,
        &unit,
        &training,
        cache,
        TABLE_VIEWS,
        &setup.device,
    )?;
    rung.steps = steps;
    let views = f64::from(u32::try_from(steps * args.batch_size)?);
    let trained = Trained {
        rung,
        epochs: views / f64::from(u32::try_from(cache.len())?),
        seconds: earlier + started.elapsed().as_secs_f64(),
    };
    Ok((trained, training.weights()))
}

/// What a stage's training lowers.
fn distortion(setup: &Setup, stage: &Stage) -> DetectorDistortion {
    let tail = setup.tail.clone().train();
    let mut distortion = DetectorDistortion::pyramid(tail).with_head(stage.head_weight);
    for weight in [
        &mut distortion.activation,
        &mut distortion.pyramid,
        &mut distortion.head,
    ] {
        *weight *= DISTORTION_SCALE;
    }
    distortion
}
