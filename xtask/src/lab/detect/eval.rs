//! `eval` for detectors: a bank on COCO pictures, from real frames.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use split_backbone::{CoveredCodec, check_backbone};
use split_bottleneck::Bank;

use super::SetupArgs;
use super::report::{Reference, closed_loop};
use crate::files::read;
use crate::record::Row;

/// Options of `eval` for detectors.
#[derive(Args, Debug)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    setup: SetupArgs,
    /// The bank that `train` wrote.
    #[arg(long, default_value = "out/detect/bank.safetensors")]
    bank: PathBuf,
    /// Rung by place or name; all where left out.
    #[arg(long)]
    rung: Option<String>,
    /// Draws of the bootstrap over the test pictures.
    #[arg(long, default_value_t = 200)]
    draws: usize,
    /// Seed of the draws.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &EvalArgs) -> Result<()> {
    let bank = Bank::from_bytes(&read(&args.bank)?)
        .with_context(|| format!("reading the bank {}", args.bank.display()))?;
    let setup = args.setup.open(Some(bank.backbone()))?;
    check_backbone(&setup.note, &bank)?;
    let rungs: Vec<usize> = match &args.rung {
        None => (0..bank.rungs().len()).collect(),
        Some(name) => vec![bank.find(name)?],
    };
    let pictures = setup.test_pictures()?;
    let reference = Reference::of(&setup, &pictures, (args.draws, args.seed))?;
    say!(
        "{} pictures, {} cut at {}, unsplit mAP {:.4}",
        pictures.len(),
        setup.note.name,
        setup.note.split,
        reference.score.map
    );
    for rung in rungs {
        let codec = bank.open(rung, &setup.device)?;
        let codec = CoveredCodec::new(codec, &setup.head, setup.side, &setup.device)?;
        let measured = closed_loop(&setup, &codec, &pictures)?;
        let row = reference.row(&setup, Row::default(), &measured.boxes)?;
        say!(
            "{:<18} {:>8.1} bytes a frame ({:.1} payload, {:.1} estimated)  mAP {:.4} ({:+.4}, \
             95 % of draws {:+.4} to {:+.4})",
            bank.rungs()[rung].name,
            measured.bytes,
            measured.payload_bytes,
            measured.estimated_bytes,
            row.value,
            row.difference.unwrap_or(0.0),
            row.difference_low.unwrap_or(f64::NAN),
            row.difference_high.unwrap_or(f64::NAN),
        );
    }
    Ok(())
}
