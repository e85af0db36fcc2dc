//! `train-backbone`: makes the embedded default's network again from its seed.

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Result;
use burn::tensor::Device;
use clap::Args;
use split_backbone::embedded::{self, BackboneTraining, EmbeddedSplit};

use crate::backend::Backend;
use crate::files::{folder, write_whole};
use crate::report::percent;
use crate::rung::{bar, count};

/// Options of `train-backbone`.
#[derive(Args, Debug)]
pub(crate) struct BackboneArgs {
    /// Folder for `backbone.safetensors`, written after every epoch.
    #[arg(long, default_value = "out/backbone")]
    out: PathBuf,
    /// Passes over the pictures [default: those of the embedded network].
    #[arg(long)]
    epochs: Option<usize>,
    /// Seed of weights and picture order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where tensors are computed.
    #[arg(long, default_value = "flex")]
    backend: Backend,
}

pub(crate) fn run(args: &BackboneArgs) -> Result<()> {
    let device: Device = args.backend.device()?;
    let out = folder(&args.out)?;
    let mut training = BackboneTraining::EMBEDDED;
    if let Some(epochs) = args.epochs {
        training.epochs = epochs;
    }
    let train = embedded::pictures(EmbeddedSplit::Train, embedded::TRAIN_COUNT)?;
    let test = embedded::pictures(EmbeddedSplit::Test, embedded::TEST_COUNT)?;
    let file = out.join("backbone.safetensors");
    let bar = bar(0, "backbone");
    let mut failed = None;
    let network = embedded::train_backbone(
        &embedded::config()?,
        &training,
        &train,
        (args.seed, &device),
        |network, progress| {
            bar.set_length(count(progress.steps));
            bar.set_position(count(progress.step));
            bar.set_message(format!("loss {:.3}", progress.loss));
            if progress.epoch_ended {
                let saved = embedded::write_backbone(network)
                    .map_err(anyhow::Error::from)
                    .and_then(|bytes| write_whole(&file, &bytes));
                if let Err(error) = saved {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        },
    );
    if let Some(error) = failed {
        return Err(error);
    }
    let bytes = embedded::write_backbone(&network?)?;
    write_whole(&file, &bytes)?;
    bar.finish_and_clear();
    let stored = embedded::read_backbone(&bytes, &device)?;
    let found = embedded::predictions(&stored, &embedded::PREPROCESS, &test, (64, &device));
    let right = found
        .iter()
        .zip(test.labels())
        .filter(|(class, label)| **class == usize::from(**label))
        .count();
    say!(
        "{}: {} bytes, top-1 {:.2} % of {} test pictures",
        file.display(),
        bytes.len(),
        percent(right, test.len()),
        test.len()
    );
    Ok(())
}
