//! `privacy`: pictures guessed from real frames by a small trained attacker, per rung.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::tensor::Tensor;
use clap::Args;
use image::{ImageFormat, Rgb, RgbImage};
use serde::Serialize;
use split_backbone::{Part, Pictures, Preprocess};
use split_bottleneck::{
    ActivationCache, Bank, Inversion, InversionConfig, LeakedPictures, RungCodec, evaluate,
};

use crate::eval::{checked_setup, open_bank};
use crate::files::append_line;
use crate::record::{Machine, command_line, date, git_state, machine, versions};
use crate::report::{data_name, measured, percent, test_cache};
use crate::run_folder::check_record;
use crate::rung::{bar, count};
use crate::setup::{BATCH, Setup, SetupArgs};
use crate::values::{at_least_one, positive};

const TOO_SMALL: &str = "SSIM needs pictures of 11 x 11 pixels";

/// Pictures side by side on the sheet.
const SHOWN: usize = 8;

/// Options of `privacy`.
#[derive(Args, Debug)]
pub(crate) struct PrivacyArgs {
    #[command(flatten)]
    setup: SetupArgs,
    /// The bank that `train` wrote.
    #[arg(long, default_value = "out/train/bank.safetensors")]
    bank: PathBuf,
    /// Rungs by place or name, separated by commas; all where left out.
    #[arg(long, value_delimiter = ',')]
    rung: Vec<String>,
    /// Optimizer steps of each attacker.
    #[arg(long, value_parser = at_least_one, default_value_t = 1500)]
    steps: usize,
    /// Pictures of a step.
    #[arg(long, value_parser = at_least_one, default_value_t = 32)]
    batch_size: usize,
    /// Peak learning rate.
    #[arg(long, value_parser = positive, default_value_t = 3e-3)]
    learning_rate: f64,
    /// Channels of the attacker at the latent's size.
    #[arg(long, value_parser = at_least_one, default_value_t = 64)]
    hidden: usize,
    /// Residual blocks of the attacker.
    #[arg(long, default_value_t = 2)]
    blocks: usize,
    /// Seed of the attackers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Append a line for each rung to this record.
    #[arg(long)]
    record: Option<PathBuf>,
    /// Write a PNG: the first test pictures, then what each attacker made of them, a row each.
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
}

/// One line of `privacy.jsonl`.
#[derive(Serialize)]
struct Line {
    schema: &'static str,
    rung: String,
    kind: String,
    model: String,
    split: String,
    weights_sha256: String,
    bank: String,
    data: String,
    data_sha256: String,
    bytes: f64,
    metric: &'static str,
    value: f64,
    psnr_db: f64,
    ssim: f64,
    /// What guessing the mean training picture gets: nothing has to be sent for it.
    psnr_mean_db: f64,
    ssim_mean: f64,
    n: usize,
    n_train: usize,
    steps: usize,
    attacker_params: usize,
    command: String,
    git: String,
    date: String,
    machine: Machine,
    versions: BTreeMap<&'static str, String>,
    seed: u64,
}

/// Pictures of one part with their activations.
struct Seen {
    pictures: Pictures,
    cache: ActivationCache,
}

/// What is listened to.
enum Wire<'a> {
    /// Frames of a rung.
    Rung(&'a RungCodec),
    /// The activation itself, uncoded.
    Activation,
}

/// Everything that attackers are trained on and judged by.
struct Meter<'a> {
    args: &'a PrivacyArgs,
    setup: &'a Setup,
    bank: &'a Bank,
    training: Seen,
    test: Seen,
    /// PSNR in decibels and SSIM of always guessing the mean training picture.
    mean: (f64, f64),
}

pub(crate) fn run(args: &PrivacyArgs) -> Result<()> {
    check_record(args.record.as_deref())?;
    args.sheet.as_deref().map_or(Ok(()), check_sheet)?;
    let mut setup_args = args.setup.clone();
    let bank = open_bank(&args.bank, &mut setup_args)?;
    let setup = checked_setup(&setup_args, &bank)?;
    let rungs = match args.rung.as_slice() {
        [] => (0..bank.rungs().len()).collect(),
        names => names
            .iter()
            .map(|name| bank.find(name))
            .collect::<Result<Vec<_>, _>>()?,
    };
    let meter = Meter::new(args, &setup, &bank)?;
    let mut sheet = vec![first_pictures(&meter.test.pictures)];
    for rung in rungs {
        sheet.push(meter.rung(rung)?);
    }
    sheet.push(meter.activation()?);
    match &args.sheet {
        Some(path) => save_sheet(path, &sheet, &meter.test.pictures),
        None => Ok(()),
    }
}

impl<'a> Meter<'a> {
    fn new(args: &'a PrivacyArgs, setup: &'a Setup, bank: &'a Bank) -> Result<Self> {
        let (training, test) = (seen(setup, Part::Train)?, seen(setup, Part::Test)?);
        let [all, unseen] = [&training, &test].map(|seen| leaked(setup, seen, &Wire::Activation));
        let mean = unseen?.leak_of_mean(&all?)?;
        let mean = (mean.psnr_db, mean.ssim.context(TOO_SMALL)?);
        say!(
            "{} pictures, {} cut at {}; attackers trained on {} others",
            test.pictures.len(),
            setup.opened.note.name,
            setup.opened.note.split,
            training.pictures.len()
        );
        let heads = ["on the wire", "bytes", "top-1 %", "PSNR dB", "SSIM"];
        let [wire, bytes, top1, psnr, ssim] = heads;
        say!("{wire:<18} {bytes:>9} {top1:>8} {psnr:>9} {ssim:>7}");
        let (wire, dash) = ("nothing (mean)", "-");
        say!(
            "{wire:<18} {:>9} {dash:>8} {:>9.2} {:>7.3}",
            0,
            mean.0,
            mean.1
        );
        Ok(Self {
            args,
            setup,
            bank,
            training,
            test,
            mean,
        })
    }

    /// Listens to a rung; gives guesses for the sheet.
    fn rung(&self, rung: usize) -> Result<Vec<f32>> {
        let (setup, found) = (self.setup, &self.bank.rungs()[rung]);
        let codec = self.bank.open(rung, &setup.device)?;
        let result = evaluate(&codec, &setup.opened.tail, &self.test.cache, &setup.device)?;
        let numbers = measured(&result);
        let names = (found.name.as_str(), found.kind.as_str());
        self.listen(&Wire::Rung(&codec), names, (numbers.bytes, numbers.top1))
    }

    /// Listens to the activation as it leaves the head, as f32.
    fn activation(&self) -> Result<Vec<f32>> {
        let bytes = u32::try_from(self.test.cache.shape().len() * size_of::<f32>())?;
        let pictures = &self.test.pictures;
        let value = percent(self.setup.correct(pictures), pictures.len());
        let names = ("raw activation", "raw");
        self.listen(&Wire::Activation, names, (f64::from(bytes), value))
    }

    /// Trains an attacker on the training pictures, judges it by the test pictures, shows and records
    /// the result; gives its guesses for the first test pictures.
    fn listen(
        &self,
        wire: &Wire<'_>,
        (name, kind): (&str, &str),
        (bytes, value): (f64, f64),
    ) -> Result<Vec<f32>> {
        let (args, setup) = (self.args, self.setup);
        let config = InversionConfig {
            hidden: args.hidden,
            blocks: args.blocks,
            steps: args.steps,
            batch_size: args.batch_size,
            learning_rate: args.learning_rate,
            seed: args.seed,
        };
        let [heard, unseen] = [&self.training, &self.test].map(|seen| leaked(setup, seen, wire));
        let bar = bar(args.steps, name);
        let tracked = setup.device.clone().autodiff();
        let trained = Inversion::train(&config, &heard?, &tracked, |step, loss| {
            bar.set_position(count(step));
            bar.set_message(format!("squared error {loss:.4}"));
        })
        .with_context(|| format!("the attacker on {name}"))?;
        bar.finish_and_clear();
        let leak = trained.leak(&unseen?)?;
        self.finish(&Line {
            rung: name.to_owned(),
            kind: kind.to_owned(),
            bytes,
            value,
            psnr_db: leak.psnr_db,
            ssim: leak.ssim.context(TOO_SMALL)?,
            attacker_params: trained.parameters(),
            ..self.line()
        })?;
        let shown: Vec<usize> = (0..self.test.pictures.len().min(SHOWN)).collect();
        let latents = latents(setup, &self.test.cache, &shown, wire)?;
        let guesses = trained.restore(latents).into_data().convert::<f32>();
        Ok(guesses.try_to_vec().expect("converted to f32 above"))
    }

    /// Shows a line and appends it to the record.
    fn finish(&self, line: &Line) -> Result<()> {
        say!(
            "{:<18} {:>9.1} {:>8.2} {:>9.2} {:>7.3}",
            line.rung,
            line.bytes,
            line.value,
            line.psnr_db,
            line.ssim
        );
        match &self.args.record {
            Some(path) => append_line(path, line),
            None => Ok(()),
        }
    }

    /// A line without what one attacker found.
    fn line(&self) -> Line {
        let note = self.setup.opened.note.clone();
        Line {
            schema: "split-privacy/1",
            rung: String::new(),
            kind: String::new(),
            model: note.name,
            split: note.split,
            weights_sha256: note.weights_sha256,
            bank: format!("{:016x}", self.bank.digest()),
            data: data_name(self.setup),
            data_sha256: self.test.pictures.sha256(),
            bytes: 0.0,
            metric: "top1",
            value: 0.0,
            psnr_db: 0.0,
            ssim: 0.0,
            psnr_mean_db: self.mean.0,
            ssim_mean: self.mean.1,
            n: self.test.pictures.len(),
            n_train: self.training.pictures.len(),
            steps: self.args.steps,
            attacker_params: 0,
            command: command_line(),
            git: git_state(),
            date: date(),
            machine: machine().computing(self.setup.backend),
            versions: versions(self.setup.backend),
            seed: self.args.seed,
        }
    }
}

fn seen(setup: &Setup, part: Part) -> Result<Seen> {
    let pictures = setup.pictures(part)?;
    let cache = test_cache(setup, &pictures)?;
    Ok(Seen { pictures, cache })
}

/// What a listener receives of all pictures, beside the pictures themselves.
fn leaked(setup: &Setup, seen: &Seen, wire: &Wire<'_>) -> Result<LeakedPictures> {
    let mut set = LeakedPictures::default();
    let indices: Vec<usize> = (0..seen.pictures.len()).collect();
    for chunk in indices.chunks(BATCH) {
        let pictures = PLAIN.select(&seen.pictures, chunk, &setup.device);
        set.push(latents(setup, &seen.cache, chunk, wire)?, pictures)?;
    }
    Ok(set)
}

/// Pixel values from 0 to 1.
const PLAIN: Preprocess = Preprocess {
    mean: [0.0; 3],
    std: [1.0; 3],
};

fn latents(
    setup: &Setup,
    cache: &ActivationCache,
    indices: &[usize],
    wire: &Wire<'_>,
) -> Result<Tensor<4>> {
    let activation = cache.batch(indices, &setup.device).activation;
    Ok(match wire {
        Wire::Rung(codec) => codec.latent(&codec.encode(activation)?)?,
        Wire::Activation => activation,
    })
}

/// The first pictures as channels, rows, columns with values from 0 to 1.
fn first_pictures(pictures: &Pictures) -> Vec<f32> {
    let plane = pictures.width() * pictures.height();
    let mut values = Vec::new();
    for index in 0..pictures.len().min(SHOWN) {
        let rgb = pictures.rgb8(index);
        for channel in 0..3 {
            values.extend((0..plane).map(|pixel| f32::from(rgb[3 * pixel + channel]) / 255.0));
        }
    }
    values
}

/// Attackers train for minutes: a path that can't be written is said before.
fn check_sheet(path: &Path) -> Result<()> {
    ImageFormat::from_path(path)
        .with_context(|| format!("--sheet {}: end it in .png", path.display()))?;
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    if let Some(parent) = parent {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("--sheet {}: creating its folder", path.display()))?;
    }
    Ok(())
}

fn save_sheet(path: &Path, rows: &[Vec<f32>], pictures: &Pictures) -> Result<()> {
    let (width, height) = (pictures.width(), pictures.height());
    let plane = width * height;
    let columns = pictures.len().min(SHOWN);
    let side = |count: usize, size: usize| u32::try_from(count * size);
    let mut sheet = RgbImage::new(side(columns, width)?, side(rows.len(), height)?);
    for (x, y, pixel) in sheet.enumerate_pixels_mut() {
        let (x, y) = (usize::try_from(x)?, usize::try_from(y)?);
        let inside = y % height * width + x % width;
        let at = |channel: usize| {
            let value = rows[y / height][(x / width * 3 + channel) * plane + inside];
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to a byte"
            )]
            let byte = (255.0 * value).round().clamp(0.0, 255.0) as u8;
            byte
        };
        *pixel = Rgb([at(0), at(1), at(2)]);
    }
    sheet
        .save(path)
        .with_context(|| format!("writing {}", path.display()))
}
