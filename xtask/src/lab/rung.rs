//! One rung on its way: steps, checkpoints, progress, Ctrl-C.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use indicatif::{ProgressBar, ProgressStyle};
use split_bottleneck::{
    ActivationCache, Distortion, Rung, StepReport, TrainConfig, Training, UnitConfig, WarmStart,
};

use crate::files::{read, write_whole};
use crate::metrics::Metrics;

/// Time between checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(20);

/// What a trained rung cost.
pub(crate) struct Trained {
    pub(crate) rung: Rung,
    pub(crate) epochs: f64,
    pub(crate) seconds: f64,
}

/// What is trained, for a rung or a part of one with an optimizer of its own.
pub(crate) struct Task<'a> {
    pub(crate) name: &'a str,
    pub(crate) unit: &'a UnitConfig,
    pub(crate) train: &'a TrainConfig,
    /// Where its checkpoint lies.
    pub(crate) file: &'a Path,
    /// Frame bytes of a number of payload bits, for the eye.
    pub(crate) frame_bytes: &'a dyn Fn(f64) -> f64,
}

impl Task<'_> {
    /// Goes on from the checkpoint where there is one and `resume` asks for it, else from `warm`
    /// or drawn weights, to the last step. The seconds are those that earlier processes spent on it.
    pub(crate) fn run(
        &self,
        (resume, stop): (bool, &AtomicBool),
        warm: Option<&WarmStart>,
        cache: &ActivationCache,
        distortion: &impl Distortion,
        device: &Device,
    ) -> Result<(Training, f64)> {
        let device = device.clone().autodiff();
        let mut training = if resume && self.file.exists() {
            let state = read(self.file)?;
            Training::resume(&state, self.unit, self.train, cache, &device)
                .with_context(|| format!("resuming from {}", self.file.display()))?
        } else {
            Training::start(self.unit, self.train, warm, cache, &device)?
        };
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let mut metrics = Metrics::begin(folder, self.name, training.step_count())?;
        let bar = bar(self.train.steps, self.name);
        bar.set_position(count(training.step_count()));
        let mut saved = now();
        while !training.is_done() {
            match training.advance(cache, distortion) {
                Ok(report) => {
                    metrics.push(&report, (self.frame_bytes)(report.bits));
                    self.show(&bar, &report);
                }
                Err(error) => return Err(self.stopped(&training, error.into())),
            }
            let stopping = stop.load(Ordering::Relaxed);
            if stopping || saved.elapsed() > CHECKPOINT_EVERY {
                // First, since lines behind a checkpoint are dropped when it is taken up.
                metrics.save()?;
                write_whole(self.file, &training.to_checkpoint()?)?;
                saved = now();
            }
            if stopping {
                bar.abandon();
                bail!(
                    "stopped at step {} of {}; go on with the same command and --resume",
                    training.step_count(),
                    self.name
                );
            }
        }
        let earlier = metrics.earlier;
        metrics.save()?;
        write_whole(self.file, &training.to_checkpoint()?)?;
        metrics.end()?;
        bar.finish_and_clear();
        Ok((training, earlier))
    }

    /// What stopped a training; the state before it is kept.
    fn stopped(&self, training: &Training, error: anyhow::Error) -> anyhow::Error {
        let kept = training
            .to_checkpoint()
            .map_err(anyhow::Error::from)
            .and_then(|bytes| write_whole(self.file, &bytes));
        let (name, file) = (self.name, self.file.display());
        match kept {
            Ok(()) => error.context(format!(
                "training {name}; the state before this step is kept in {file}"
            )),
            Err(_) => error.context(format!("training {name}")),
        }
    }

    /// Moves the bar; without a terminal there is none, and a log gets a line now and then.
    fn show(&self, bar: &ProgressBar, report: &StepReport) {
        bar.set_position(count(report.step));
        if !report.step.is_multiple_of(10) {
            return;
        }
        let message = format!(
            "distortion {:.4} bytes {:.0} lambda {:.2e}",
            report.distortion,
            (self.frame_bytes)(report.bits),
            report.lambda
        );
        if bar.is_hidden() && report.step.is_multiple_of(100) {
            let (name, step, steps) = (self.name, report.step, report.steps);
            eprintln!("{name} step {step}/{steps}: {message}");
        }
        bar.set_message(message);
    }
}

/// From here on nothing is left for a checkpoint, so Ctrl-C ends at once.
pub(crate) fn rungs_are_trained() {
    RUNGS_ARE_TRAINED.store(true, Ordering::Relaxed);
}

static RUNGS_ARE_TRAINED: AtomicBool = AtomicBool::new(false);

/// Sets a flag on Ctrl-C; a second Ctrl-C ends at once.
pub(crate) fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if RUNGS_ARE_TRAINED.load(Ordering::Relaxed) {
            eprintln!("\nall rungs are trained and kept; --resume measures them");
            std::process::exit(130);
        }
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nwriting a checkpoint; press Ctrl-C again to end without");
    })
    .context("listening for Ctrl-C")?;
    Ok(stop)
}

pub(crate) fn bar(length: usize, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{prefix:14} {bar:30} {pos}/{len} {elapsed_precise} ETA {eta_precise} {msg}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(count(length))
        .with_style(style)
        .with_prefix(what.to_owned())
}

pub(crate) fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "programs may read the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
