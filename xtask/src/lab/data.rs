//! `cargo xtask data`: fetches public picture sets.
//!
//! What is downloaded goes to a `.part` file first and gets its name after its checksum was right; what
//! is unpacked goes to a hidden folder first and gets its name after it was found complete. So a name
//! that exists is a thing that can be used.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand};
use image::ColorType;
use split_backbone::embedded::{self, EmbeddedSplit};

use crate::values::at_least_one;

mod fetch;
mod unpack;

/// Fetches a picture set.
#[derive(Args, Debug)]
pub(crate) struct DataArgs {
    #[command(subcommand)]
    set: Set,
}

#[derive(Debug, Subcommand)]
enum Set {
    /// CIFAR-10 in its standard binary batches (170 MB): 50,000 training and 10,000 test pictures
    ///
    /// An interrupted download goes on where it stopped when the command is given again.
    Cifar10(Cifar10Args),
    /// The first test pictures of the embedded set as PNG files, for programs that read files
    Embedded(EmbeddedArgs),
}

#[derive(Args, Debug)]
struct EmbeddedArgs {
    /// Folder for the files, named `NUMBER-CLASS.png`
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many
    #[arg(long, value_parser = at_least_one, default_value_t = 20)]
    count: usize,
}

#[derive(Args, Debug)]
struct Cifar10Args {
    /// Folder for the archive and for the unpacked `cifar-10-batches-bin`
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Where to fetch the archive, for mirrors
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    )]
    url: String,
    /// An archive that is already here; nothing is fetched
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    file: Option<PathBuf>,
    /// MD5 of the archive as its authors publish it
    #[arg(
        long,
        value_name = "HEX",
        default_value = "c32a1d4ab5d03f1284b67883e8d87530"
    )]
    md5: String,
}

/// Name of the archive in the folder.
const ARCHIVE: &str = "cifar-10-binary.tar.gz";

/// Folder in the archive, and the name of the unpacked set.
const FOLDER: &str = "cifar-10-batches-bin";

/// One label byte and 32 x 32 pixels in three planes.
const RECORD_BYTES: usize = 1 + 3 * 32 * 32;

const TRAIN: [&str; 5] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
];
const TEST: [&str; 1] = ["test_batch.bin"];

/// Runs the command.
pub(crate) fn run(args: &DataArgs) -> Result<()> {
    match &args.set {
        Set::Cifar10(args) => fetched(args),
        Set::Embedded(args) => written(args),
    }
}

fn written(args: &EmbeddedArgs) -> Result<()> {
    let pictures = embedded::pictures(EmbeddedSplit::Test, args.count)?;
    fs::create_dir_all(&args.out).with_context(|| format!("creating {}", args.out.display()))?;
    let side = u32::try_from(embedded::SIDE)?;
    for (index, label) in pictures.labels().iter().enumerate() {
        let class = embedded::CLASSES[usize::from(*label)];
        let path = args.out.join(format!("{index:04}-{class}.png"));
        image::save_buffer(&path, pictures.rgb8(index), side, side, ColorType::Rgb8)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    say!("{}: {} pictures", args.out.display(), pictures.len());
    Ok(())
}

fn fetched(args: &Cifar10Args) -> Result<()> {
    let (dir, counts) = cifar10(args)?;
    say!(
        "{}: {} training and {} test pictures",
        dir.display(),
        counts.train,
        counts.test
    );
    say!(
        "next: cargo xtask train --data cifar10:{} --backbone NAME --weights FILE --split POINT",
        dir.display()
    );
    Ok(())
}

/// Pictures found in a complete set.
#[derive(Debug, PartialEq)]
struct Counts {
    train: usize,
    test: usize,
}

fn cifar10(args: &Cifar10Args) -> Result<(PathBuf, Counts)> {
    let md5 = args.md5.to_ascii_lowercase();
    ensure!(
        md5.len() == 32 && md5.chars().all(|c| c.is_ascii_hexdigit()),
        "--md5 {:?} is not 32 hex digits",
        args.md5
    );
    fs::create_dir_all(&args.out).with_context(|| format!("creating {}", args.out.display()))?;
    let dir = args.out.join(FOLDER);
    if dir.exists() {
        let counts = counts(&dir).with_context(|| {
            format!(
                "{} is there but not complete; remove it or choose another --out",
                dir.display()
            )
        })?;
        return Ok((dir, counts));
    }
    let archive = match &args.file {
        Some(file) => {
            fetch::check_md5(file, &md5)?;
            file.clone()
        }
        None => {
            let archive = args.out.join(ARCHIVE);
            fetch::fetch(&args.url, &archive, &md5)?;
            archive
        }
    };
    let counts = unpack::unpack(&archive, &dir, counts)?;
    Ok((dir, counts))
}

/// Checks that all batches are there and whole, and counts their pictures.
fn counts(dir: &Path) -> Result<Counts> {
    let sum = |names: &[&str]| -> Result<usize> {
        let counts: Result<Vec<usize>> = names
            .iter()
            .map(|name| batch_len(&dir.join(name)))
            .collect();
        Ok(counts?.iter().sum())
    };
    Ok(Counts {
        train: sum(&TRAIN)?,
        test: sum(&TEST)?,
    })
}

/// Pictures in one batch.
fn batch_len(path: &Path) -> Result<usize> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    ensure!(
        !bytes.is_empty() && bytes.len() % RECORD_BYTES == 0,
        "{} has {} bytes, which is no multiple of {RECORD_BYTES}",
        path.display(),
        bytes.len()
    );
    for (i, record) in bytes.chunks_exact(RECORD_BYTES).enumerate() {
        ensure!(
            record[0] < 10,
            "{}: picture {i} has label {}, allowed are 0 to 9",
            path.display(),
            record[0]
        );
    }
    Ok(bytes.len() / RECORD_BYTES)
}

#[cfg(test)]
mod tests;
