//! Latents to frames and back with the codec alone: `cargo run -p split-tensor --example round_trip`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use split_tensor::{
    BundleCodec, Checksums, Codec, FitConfig, Latent, LatentShape, Quantizer, TableSet, TensorPlan,
};

/// A latent as a unit encoder gives it: smooth, not negative, channels of falling energy.
fn latent(shape: LatentShape, mut seed: u64) -> Result<Latent, Box<dyn Error>> {
    let mut noise = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        f32::from(u16::try_from(seed >> 48).unwrap_or(0)) / 65_536.0 - 0.5
    };
    let mut values = Vec::with_capacity(shape.len());
    for channel in 0..shape.channels() {
        let strength = 4.0 / f32::from(u16::try_from(channel + 1)?);
        let mut last = 0.0;
        for _ in 0..shape.height() * shape.width() {
            last = 0.8 * last + strength * noise();
            values.push(last.max(0.0));
        }
    }
    Ok(Latent::new(shape, values)?)
}

fn squared_error(sent: &Latent, restored: &Latent) -> f32 {
    let pairs = sent.values().iter().zip(restored.values());
    pairs.map(|(a, b)| (a - b) * (a - b)).sum()
}

fn main() -> Result<(), Box<dyn Error>> {
    let shape = LatentShape::new(32, 4, 4)?;
    let quantizer = Quantizer::uniform(0.25)?;

    // Training: count symbols, choose tables. Both ends keep quantizer and tables.
    let mut samples = Vec::new();
    for seed in 0..200 {
        samples.push(quantizer.quantize(&latent(shape, seed)?)?);
    }
    let tables = TableSet::fit(&samples, &FitConfig::default())?;

    // One latent, one frame.
    let codec = Codec::new(quantizer.clone(), tables.clone(), shape, 0, 0xfeed_beef)?;
    let sent = latent(shape, 1000)?;
    let frame = codec.encode(&sent)?;
    let restored = codec.decode(&frame)?;
    println!(
        "{} values in {} bytes, squared error {:.2}",
        shape.len(),
        frame.len(),
        squared_error(&sent, &restored)
    );

    // The same in four segments, the most important channels first, cut after each of them.
    let plan = TensorPlan::new(quantizer, tables, shape)?.ranked(&samples)?;
    let plan = plan.with_segments(&[4, 4, 8, 16])?;
    let codec = BundleCodec::new(vec![plan], 0, 0xfeed_beef)?.with_checksums(Checksums::Segment);
    let frame = codec.encode(std::slice::from_ref(&sent))?;
    let mut channels = 0;
    for end in 0..=frame.len() {
        let Ok(received) = codec.decode_partial(&frame[..end]) else {
            continue;
        };
        let present = received.present(0).iter().filter(|&&here| here).count();
        if present > channels {
            channels = present;
            let restored = &received.latents(&codec)?[0];
            let error = squared_error(&sent, restored);
            println!("{end} bytes: {channels} channels, squared error {error:.2}");
        }
    }
    Ok(())
}
