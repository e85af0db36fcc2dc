//! `units`: what the authors' released units are and what their symbols cost.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::module::Module;
use clap::Args;
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use split_bottleneck::{ReleasedUnit, parameter_count};
use split_tensor::{FreqTable, Huffman, LatentShape, Symbols, TableSet};

use crate::backend::Backend;
use crate::files::read;

/// Pictures drawn from a unit's own table to measure both coders.
const DRAWN_PICTURES: u64 = 50;

/// Options of `units`.
#[derive(Args, Debug)]
pub(crate) struct UnitsArgs {
    /// Folder of checkpoints: NAME.pth.tar, each with its description NAME.json beside it.
    dir: PathBuf,
    /// Where the weights are read to.
    #[arg(long, default_value = "flex")]
    backend: Backend,
}

pub(crate) fn run(args: &UnitsArgs) -> Result<()> {
    let device = args.backend.device()?;
    say!(
        "{:<18} {:>13} {:>11} {:>2} {:>7} {:>11} {:>11} {:>9} {:>9} {:>6} {:>9} {:>9} {:>9} {:>6}",
        "unit",
        "activation",
        "latent",
        "s",
        "q",
        "device MACs",
        "edge MACs",
        "device",
        "edge",
        "H",
        "H x n",
        "Huffman",
        "ours",
        "saved"
    );
    for path in checkpoints(&args.dir)? {
        let line = line(&path, &device).with_context(|| format!("unit {}", path.display()))?;
        say!("{line}");
    }
    say!(
        "device, edge: parameters with batch norms; H in bits a symbol; the last four are bits of a \
         picture: entropy, Huffman with end mark and our coder with its flush (whole bytes, means \
         of {DRAWN_PICTURES} pictures drawn from the unit's own table), and what ours saves"
    );
    Ok(())
}

/// The checkpoints of a folder in the order of their names.
fn checkpoints(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".pth.tar") {
            found.push(path);
        }
    }
    if found.is_empty() {
        bail!("{} holds no checkpoint (NAME.pth.tar)", dir.display());
    }
    found.sort();
    Ok(found)
}

fn line(checkpoint: &Path, device: &burn::tensor::Device) -> Result<String> {
    let file = checkpoint.file_name().unwrap_or_default().to_string_lossy();
    let name = file.trim_end_matches(".pth.tar");
    let description = checkpoint.with_file_name(format!("{name}.json"));
    let text = String::from_utf8(read(&description)?)?;
    let unit =
        ReleasedUnit::parse(&text).with_context(|| format!("reading {}", description.display()))?;
    let module = unit.load(checkpoint, device)?.valid();
    let config = &unit.config;
    let shape = config.latent_shape()?;
    let cost = Cost::measure(&unit.counts, shape)?;
    let size = config.activation;
    Ok(format!(
        "{name:<18} {:>13} {:>11} {:>2} {:>7.4} {:>11} {:>11} {:>9} {:>9} {:>6.4} {:>9.0} {:>9.0} \
         {:>9.0} {:>5.1}%",
        format!("{}x{}x{}", size.channels, size.height, size.width),
        shape.to_string(),
        config.stride,
        config.step,
        config.encoder_macs(),
        config.decoder_macs(),
        parameter_count(&module.encoder),
        parameter_count(&module.decoder),
        cost.entropy,
        cost.entropy_picture,
        cost.huffman_picture,
        cost.ours_picture,
        100.0 * (1.0 - cost.ours_picture / cost.huffman_picture),
    ))
}

/// Bits of a unit's symbols.
struct Cost {
    entropy: f64,
    entropy_picture: f64,
    huffman_picture: f64,
    ours_picture: f64,
}

impl Cost {
    /// Codes drawn pictures with both coders and decodes them again.
    fn measure(counts: &[u64], shape: LatentShape) -> Result<Self> {
        let tables = TableSet::shared(FreqTable::from_counts(0, counts)?);
        let huffman = Huffman::from_counts(0, counts)?;
        let mut rng = Pcg64::seed_from_u64(1);
        let (mut ours, mut theirs) = (0, 0);
        for _ in 0..DRAWN_PICTURES {
            let symbols = draw(counts, shape, &mut rng)?;
            let mut payload = Vec::new();
            tables.encode_into(&symbols, &mut payload)?;
            let bytes = huffman.encode(symbols.values())?;
            if tables.decode(shape, &payload)? != symbols
                || huffman.decode(&bytes, shape.len())? != symbols.values()
            {
                bail!("a coder does not give its symbols back");
            }
            // The payload's first byte is part of a frame's header.
            ours += payload.len() - 1;
            theirs += bytes.len();
        }
        let entropy = entropy(counts);
        let bits = |bytes: usize| -> Result<f64> {
            Ok(8.0 * f64::from(u32::try_from(bytes)?) / f64::from(u32::try_from(DRAWN_PICTURES)?))
        };
        Ok(Self {
            entropy,
            entropy_picture: entropy * f64::from(u32::try_from(shape.len())?),
            huffman_picture: bits(theirs)?,
            ours_picture: bits(ours)?,
        })
    }
}

/// A picture whose symbols follow the counts, independently.
fn draw(counts: &[u64], shape: LatentShape, rng: &mut Pcg64) -> Result<Symbols> {
    let mut ends = Vec::with_capacity(counts.len());
    let mut total = 0_u64;
    for count in counts {
        total += count;
        ends.push(total);
    }
    let symbol = |at: u64| i32::try_from(ends.partition_point(|end| *end <= at));
    let values = (0..shape.len())
        .map(|_| {
            // Multiply-shift: the bias is below 2^-20 for totals under 2^44.
            let at = (u128::from(rng.next_u64()) * u128::from(total)) >> 64;
            Ok(symbol(u64::try_from(at)?)?)
        })
        .collect::<Result<Vec<i32>>>()?;
    Ok(Symbols::new(shape, values)?)
}

/// Order-0 entropy in bits a symbol.
fn entropy(counts: &[u64]) -> f64 {
    let total: f64 = counts.iter().map(|count| float(*count)).sum();
    let of = |count: &u64| {
        let share = float(*count) / total;
        -share * share.log2()
    };
    counts.iter().filter(|count| **count > 0).map(of).sum()
}

#[expect(clippy::cast_precision_loss, reason = "for show")]
fn float(count: u64) -> f64 {
    count as f64
}
