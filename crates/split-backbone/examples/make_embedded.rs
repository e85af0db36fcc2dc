//! Trains the embedded network from its seed and writes it, with a checkpoint after every epoch:
//! `cargo run --release -p split-backbone --example make_embedded -- OUT_DIR [EPOCHS [COUNT]]`

use std::error::Error;
use std::ops::ControlFlow;
use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::Device;
use sha2::{Digest, Sha256};
use split_backbone::embedded::{self, BackboneTraining, EmbeddedSplit};

#[expect(clippy::print_stdout, reason = "this program reports its progress")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let out = PathBuf::from(
        arguments
            .next()
            .ok_or("the folder to write to is missing")?,
    );
    let mut training = BackboneTraining::EMBEDDED;
    if let Some(epochs) = arguments.next() {
        training.epochs = epochs.parse()?;
    }
    let count = arguments
        .next()
        .map_or(Ok(embedded::TRAIN_COUNT), |n| n.parse())?;
    std::fs::create_dir_all(&out)?;
    let device = Device::flex();
    let train = embedded::pictures(EmbeddedSplit::Train, count)?;
    let test = embedded::pictures(EmbeddedSplit::Test, embedded::TEST_COUNT)?;
    let check = test.range(0..500);
    let path = out.join("backbone.safetensors");

    let config = embedded::config()?;
    let mut sum = 0.0;
    let network =
        embedded::train_backbone(&config, &training, &train, (1, &device), |network, p| {
            sum += p.loss;
            if p.step % 20 == 0 {
                println!("step {} of {}: loss {:.3}", p.step, p.steps, sum / 20.0);
                sum = 0.0;
            }
            if p.epoch_ended {
                let network = network.valid();
                println!(
                    "epoch {}: {:.3} of 500",
                    p.epoch,
                    share(&network, &check, &device)
                );
                let written =
                    embedded::write_backbone(&network).map(|bytes| std::fs::write(&path, bytes));
                if !matches!(written, Ok(Ok(()))) {
                    println!("the checkpoint could not be written: {written:?}");
                }
            }
            ControlFlow::Continue(())
        })?;

    let bytes = embedded::write_backbone(&network)?;
    let stored = embedded::read_backbone(&bytes, &device)?;
    std::fs::write(&path, &bytes)?;
    let digest: String = Sha256::digest(&bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    println!("{} bytes, SHA-256 {digest}", bytes.len());
    println!(
        "top-1 of {} test pictures: {:.4}",
        test.len(),
        share(&stored, &test, &device)
    );
    Ok(())
}

fn share(network: &split_backbone::ResNet, set: &split_backbone::Pictures, device: &Device) -> f64 {
    let found = embedded::predictions(network, &embedded::PREPROCESS, set, (100, device));
    let hits = found
        .iter()
        .zip(set.labels())
        .filter(|(f, l)| **f == usize::from(**l))
        .count();
    f64::from(u32::try_from(hits).unwrap_or(u32::MAX))
        / f64::from(u32::try_from(set.len()).unwrap_or(1))
}
