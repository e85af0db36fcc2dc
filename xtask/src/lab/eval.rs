//! `eval`, `encode`, `decode`: a bank on pictures, as one process or as device and edge.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use split_backbone::{Part, Pictures, check_backbone};
use split_bottleneck::{Bank, evaluate};
use split_tensor::Symbols;

use crate::files::{append_line, folder, read, write_whole};
use crate::record::{Machine, command_line, date, git_state, machine, versions};
use crate::report::{data_name, measured, percent, test_cache};
use crate::setup::{Setup, SetupArgs};

/// Options of `eval`.
#[derive(Args, Debug)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    setup: SetupArgs,
    /// The bank that `train` wrote.
    #[arg(long, default_value = "out/train/bank.safetensors")]
    bank: PathBuf,
    /// Rung by place or name; all where left out.
    #[arg(long)]
    rung: Option<String>,
    /// Write each picture's class here, one line a picture, per rung.
    #[arg(long)]
    predictions: Option<PathBuf>,
    /// Measure the whole backbone without a split; takes several `--backend`s.
    #[arg(long, conflicts_with_all = ["bank", "rung", "predictions"])]
    unsplit: bool,
    /// With `--unsplit`: append the lines to this record.
    #[arg(long, requires = "unsplit")]
    record: Option<PathBuf>,
}

/// One line of `accuracy.jsonl`: an unsplit backbone on a whole test set.
#[derive(Serialize)]
struct AccuracyLine {
    schema: &'static str,
    model: String,
    weights_sha256: String,
    backend: &'static str,
    data: String,
    data_sha256: String,
    metric: &'static str,
    correct: usize,
    n: usize,
    value: f64,
    command: String,
    git: String,
    date: String,
    machine: Machine,
    versions: BTreeMap<&'static str, String>,
    seed: u64,
}

/// Options of `encode`.
#[derive(Args, Debug)]
pub(crate) struct EncodeArgs {
    #[command(flatten)]
    setup: SetupArgs,
    /// The bank that `train` wrote.
    #[arg(long, default_value = "out/train/bank.safetensors")]
    bank: PathBuf,
    /// Rung by name or place; 0 is the first, usually the one with the most bytes.
    #[arg(long, default_value = "0")]
    rung: String,
    /// Picture file to encode; the test set of `--data` where left out.
    #[arg(long)]
    picture: Option<PathBuf>,
    /// Folder for the frames (`picture-000000.frame`, ...).
    #[arg(long)]
    out: PathBuf,
    /// Write the symbols of all pictures here, as `cargo xtask bench codec --file` reads them.
    #[arg(long)]
    symbols: Option<PathBuf>,
}

/// Options of `decode`.
#[derive(Args, Debug)]
pub(crate) struct DecodeArgs {
    #[command(flatten)]
    setup: SetupArgs,
    /// The bank that `train` wrote.
    #[arg(long, default_value = "out/train/bank.safetensors")]
    bank: PathBuf,
    /// Frame files, or folders of them.
    #[arg(required = true)]
    frames: Vec<PathBuf>,
}

pub(crate) fn eval(args: &EvalArgs) -> Result<()> {
    if args.unsplit {
        return unsplit(args);
    }
    let mut setup_args = args.setup.clone();
    let bank = open_bank(&args.bank, &mut setup_args)?;
    let setup = checked_setup(&setup_args, &bank)?;
    let pictures = setup.pictures(Part::Test)?;
    let cache = test_cache(&setup, &pictures)?;
    let rungs = match &args.rung {
        Some(name) => vec![bank.find(name)?],
        None => (0..bank.rungs().len()).collect(),
    };
    say!(
        "{} pictures, {} cut at {}",
        pictures.len(),
        setup.opened.note.name,
        setup.opened.note.split
    );
    for rung in rungs {
        let codec = bank.open(rung, &setup.device)?;
        let result = evaluate(&codec, &setup.opened.tail, &cache, &setup.device)?;
        let numbers = measured(&result);
        say!(
            "{:<18} {:>8.1} bytes a frame ({:.1} payload, {:.1} estimated)  top-1 {:.2} %",
            bank.rungs()[rung].name,
            numbers.bytes,
            numbers.bytes_payload,
            result.mean_estimated_bytes(),
            numbers.top1
        );
        if let Some(out) = &args.predictions {
            let lines: String = result
                .predictions
                .iter()
                .map(|c| format!("{c}\n"))
                .collect();
            let file = folder(out)?.join(format!("{}.txt", bank.rungs()[rung].name));
            write_whole(&file, lines.as_bytes())?;
        }
    }
    Ok(())
}

/// Top-1 of the whole backbone on each backend.
fn unsplit(args: &EvalArgs) -> Result<()> {
    for backend in &args.setup.backend {
        let mut one = SetupArgs {
            backend: vec![*backend],
            ..args.setup.clone()
        };
        // Any split point will do: nothing is cut here.
        one.split.get_or_insert_with(|| "stem".to_owned());
        let setup = one.open()?;
        let pictures = setup.pictures(Part::Test)?;
        let correct = setup.correct(&pictures);
        let line = AccuracyLine {
            schema: "split-accuracy/1",
            model: setup.opened.note.name.clone(),
            weights_sha256: setup.opened.note.weights_sha256.clone(),
            backend: backend.name(),
            data: data_name(&setup),
            data_sha256: pictures.sha256(),
            metric: "top1",
            correct,
            n: pictures.len(),
            value: percent(correct, pictures.len()),
            command: command_line(),
            git: git_state(),
            date: date(),
            machine: machine().computing(*backend),
            versions: versions(*backend),
            seed: 0,
        };
        say!(
            "{:<10} {:<8} {correct} of {} right, top-1 {:.2} %",
            line.model,
            line.backend,
            line.n,
            line.value
        );
        if let Some(path) = &args.record {
            append_line(path, &line)?;
        }
    }
    Ok(())
}

pub(crate) fn encode(args: &EncodeArgs) -> Result<()> {
    let mut setup_args = args.setup.clone();
    let bank = open_bank(&args.bank, &mut setup_args)?;
    let setup = checked_setup(&setup_args, &bank)?;
    let codec = bank.open(bank.find(&args.rung)?, &setup.device)?;
    let pictures = match &args.picture {
        Some(path) => Pictures::of_file(path, setup.framing()?)
            .with_context(|| format!("the picture {}", path.display()))?,
        None => setup.pictures(Part::Test)?,
    };
    let cache = test_cache(&setup, &pictures)?;
    let out = folder(&args.out)?;
    if let Ok(old) = frame_files(std::slice::from_ref(&out)) {
        bail!(
            "{} holds {} frames already; use another --out or remove them",
            out.display(),
            old.len()
        );
    }
    let indices: Vec<usize> = (0..cache.len()).collect();
    let mut total = 0;
    let mut symbols = Vec::new();
    for chunk in indices.chunks(crate::setup::BATCH) {
        let activation = cache.batch(chunk, &setup.device).activation;
        if args.symbols.is_some() {
            symbols.extend(codec.symbols(activation.clone())?);
        }
        let frames = codec.encode(activation)?;
        for (frame, index) in frames.iter().zip(chunk) {
            write_whole(&out.join(format!("picture-{index:06}.frame")), frame)?;
            total += frame.len();
        }
    }
    say!(
        "{} frames, {total} bytes, in {}",
        indices.len(),
        out.display()
    );
    if let Some(path) = &args.symbols {
        write_whole(path, &symbol_file(&symbols)?)?;
        say!("their symbols, in {}", path.display());
    }
    Ok(())
}

/// Latents, channels, height, width as 32-bit numbers, then all symbols as 16-bit numbers, lowest
/// byte first.
fn symbol_file(symbols: &[Symbols]) -> Result<Vec<u8>> {
    let first = symbols.first().context("no pictures, so no symbols")?;
    let shape = first.shape();
    let sides = [shape.channels(), shape.height(), shape.width()];
    let mut bytes = Vec::new();
    for number in [symbols.len()].iter().chain(&sides) {
        bytes.extend(u32::try_from(*number)?.to_le_bytes());
    }
    for &symbol in symbols.iter().flat_map(Symbols::values) {
        let symbol = i16::try_from(symbol).context("a symbol needs more than 16 bits")?;
        bytes.extend(symbol.to_le_bytes());
    }
    Ok(bytes)
}

pub(crate) fn decode(args: &DecodeArgs) -> Result<()> {
    let mut setup_args = args.setup.clone();
    let bank = open_bank(&args.bank, &mut setup_args)?;
    let setup = checked_setup(&setup_args, &bank)?;
    let files = frame_files(&args.frames)?;
    let mut codecs = BTreeMap::new();
    let (names, mut seen) = (split_backbone::embedded::CLASSES, BTreeMap::new());
    for file in &files {
        let frame = read(file)?;
        let (parsed, _) = split_tensor::Frame::parse(&frame)
            .with_context(|| format!("reading the frame {}", file.display()))?;
        let rung = parsed.header().rung;
        let codec = match codecs.entry(rung) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => place.insert(bank.open(usize::from(rung), &setup.device)?),
        };
        let activation = codec.decode(&[frame]).with_context(|| {
            format!(
                "decoding {} with {} ({} cut at {}, bank 0x{:08x})",
                file.display(),
                args.bank.display(),
                bank.backbone().name,
                bank.backbone().split,
                codec.codec().bank()
            )
        })?;
        let logits = split_bottleneck::Tail::forward(&setup.opened.tail, activation);
        let class = split_backbone::top1(logits)[0];
        say!("{} {class}", file.display());
        *seen.entry(class).or_insert(0_usize) += 1;
    }
    eprintln!("{} frames, classes by number:", files.len());
    for (class, frames) in seen {
        let name = match names.get(class) {
            Some(name) if setup.args.is_embedded() => format!(" ({name})"),
            _ => String::new(),
        };
        eprintln!("  {class}{name}: {frames}");
    }
    Ok(())
}

/// Reads a bank; backbone and split point come from it unless given.
pub(crate) fn open_bank(path: &std::path::Path, setup: &mut SetupArgs) -> Result<Bank> {
    let bank = Bank::from_bytes(&read(path)?)
        .with_context(|| format!("reading the bank {}", path.display()))?;
    let note = bank.backbone();
    setup.backbone.get_or_insert_with(|| note.name.clone());
    setup.split.get_or_insert_with(|| note.split.clone());
    Ok(bank)
}

/// Refuses a backbone that the bank was not trained for.
pub(crate) fn checked_setup(args: &SetupArgs, bank: &Bank) -> Result<Setup> {
    let setup = args.open()?;
    check_backbone(&setup.opened.note, bank)?;
    Ok(setup)
}

fn frame_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let entries =
                std::fs::read_dir(path).with_context(|| format!("listing {}", path.display()))?;
            for entry in entries {
                let file = entry?.path();
                if file
                    .extension()
                    .is_some_and(|extension| extension == "frame")
                {
                    files.push(file);
                }
            }
        } else {
            files.push(path.clone());
        }
    }
    if files.is_empty() {
        bail!("no .frame file in the folders given");
    }
    files.sort();
    Ok(files)
}
