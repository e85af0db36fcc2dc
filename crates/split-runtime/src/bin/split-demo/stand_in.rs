//! A bank that needs no training: principal components of the embedded network's activations.

use anyhow::Result;
use burn::tensor::Device;
use split_backbone::embedded::{self, EmbeddedSplit};
use split_backbone::{EMBEDDED_NAME, Opened};
use split_bottleneck::{ActivationCache, Bank, Klt, Measured, Rung, TablePictures, evaluate};

/// Where the network is cut, as `cargo xtask train` does without options.
const SPLIT: &str = "layer2";
const STRIDE: usize = 2;
/// Pictures that components and tables are fitted to, and those that each rung is measured on.
const FITTED: usize = 512;
const TESTED: usize = 256;
/// Pictures in work at once.
const BATCH: usize = 64;
const CACHE_BYTES: usize = 1 << 30;
/// Steps in standard deviations of the first component, fine first.
const STEPS: [f32; 4] = [0.5, 1.0, 1.5, 2.5];

/// Fits the bank and measures its rungs from real frames; takes seconds.
///
/// # Errors
/// Where the embedded network can't be read: the program is damaged.
pub(crate) fn bank(compute: &Device) -> Result<Bank> {
    let opened = Opened::load(EMBEDDED_NAME, None, SPLIT, compute)?;
    let fitted = cache(&opened, EmbeddedSplit::Train, FITTED, compute)?;
    let tested = cache(&opened, EmbeddedSplit::Test, TESTED, compute)?;
    let klt = Klt::fit(&fitted, STRIDE, FITTED)?;
    let pictures = TablePictures {
        cache: &fitted,
        limit: FITTED,
        mixing: false,
        device: compute,
    };
    let channels = klt.variances().len();
    let widest = klt.variances()[0].sqrt();
    let mut rungs = Vec::new();
    for (place, factor) in STEPS.iter().enumerate() {
        let unit = klt.unit(channels, single(widest) * factor);
        let weights = klt.weights(&unit, 0, compute)?;
        let name = format!("pca-{}", place + 1);
        rungs.push(Rung::fitted(&name, "pca", &unit, &weights, pictures)?);
    }
    let mut bank = Bank::new(opened.note.clone(), rungs)?;
    for rung in 0..STEPS.len() {
        let codec = bank.open(rung, compute)?;
        let result = evaluate(&codec, &opened.tail, &tested, compute)?;
        let measured = Measured {
            bytes: result.mean_bytes(),
            bytes_p95: Some(result.p95_bytes()),
            bytes_payload: result.mean_payload_bytes(),
            top1: result.top1(),
            pictures: TESTED,
        };
        bank.set_measured(rung, measured)?;
    }
    Ok(bank)
}

fn cache(
    opened: &Opened,
    part: EmbeddedSplit,
    count: usize,
    compute: &Device,
) -> Result<ActivationCache> {
    let set = embedded::pictures(part, count)?;
    let batches = (0..count).step_by(BATCH).map(|start| {
        let range = start..(start + BATCH).min(count);
        let labels = set.labels()[range.clone()].iter();
        let labels = labels.map(|label| i32::from(*label)).collect();
        (opened.preprocess.input(&set, range, compute), labels)
    });
    let (head, tail) = (&opened.head, &opened.tail);
    Ok(ActivationCache::build(head, tail, batches, CACHE_BYTES)?)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a step is single precision"
)]
fn single(value: f64) -> f32 {
    value as f32
}
