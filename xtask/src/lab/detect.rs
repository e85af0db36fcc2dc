//! `train` and `eval` for detectors: `--data coco:DIR` brings other options, since there are
//! boxes in the place of classes, letterboxes in the place of crops, and no labels in training.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor};
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use split_backbone::{
    CocoFolder, DetectOptions, Graph, GraphCut, Head, Letterbox, ScoredBox, Yolox, YoloxConfig,
    YoloxHead, YoloxPoint, YoloxTail, cut_yolox, decode, read_picture,
};
use split_bottleneck::{BackboneNote, Tail};

use crate::backend::Backend;
use crate::examples;
use crate::rung::bar;

mod eval;
mod plan;
mod report;
mod rivals;
mod train;

/// Train and measure bottleneck units of a detector (`--data coco:DIR`).
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train units at several rates on photographs without labels and compare them with picture
    /// codecs.
    #[command(after_help = examples::TRAIN_DETECTOR)]
    Train(Box<plan::TrainArgs>),
    /// Measure a bank on COCO pictures with real frames.
    #[command(after_help = examples::EVAL_DETECTOR)]
    Eval(eval::EvalArgs),
}

/// Whether the command line asks for a detector: `train` or `eval` on `--data coco:DIR`.
pub(crate) fn asked(words: &[OsString]) -> bool {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let command = words.get(1).map(AsRef::as_ref);
    let coco = words.iter().enumerate().any(|(index, word)| {
        let value = match word.strip_prefix("--data=") {
            Some(value) => Some(value),
            None if word == "--data" => words.get(index + 1).map(AsRef::as_ref),
            None => None,
        };
        value.is_some_and(|value| value.starts_with("coco:"))
    });
    coco && matches!(command, Some("train" | "eval"))
}

/// What such a command line may say.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// Carries out a command line that [`asked`] for a detector.
pub(crate) fn run(words: Vec<OsString>) -> Result<()> {
    match Cli::parse_from(words).command {
        Command::Train(args) => train::run(&args),
        Command::Eval(args) => eval::run(&args),
    }
}

/// Which detector on which pictures.
#[derive(Args, Debug, Clone)]
pub(crate) struct SetupArgs {
    /// Pictures: `coco:DIR` with val2017/, train2017/ and instances_val.json (or COCO's own
    /// annotations/ folder).
    #[arg(long)]
    data: String,
    /// Backbone: yolox_nano, yolox_tiny, yolox_s, yolox_m, yolox_l or yolox_x [default:
    /// yolox_nano, or the bank's].
    #[arg(long)]
    backbone: Option<String>,
    /// Its weights: official .pth or .onnx, or safetensors under the same names.
    #[arg(long)]
    weights: PathBuf,
    /// Split point: stem, dark2, dark3, or dark5 where three tensors cross together [default: dark3, or the
    /// bank's].
    #[arg(long)]
    split: Option<String>,
    /// Side of the square that pictures are letterboxed to, in pixels.
    #[arg(long, default_value_t = 416)]
    side: u32,
    /// Most pictures to test on.
    #[arg(long)]
    test_pictures: Option<usize>,
    /// Where tensors are computed.
    #[arg(long, default_value = "flex")]
    backend: Backend,
}

/// A cut detector with its pictures.
pub(crate) struct Setup {
    network: Yolox,
    head: YoloxHead,
    tail: YoloxTail,
    note: BackboneNote,
    /// Channels of each tensor where several cross the cut.
    scales: Vec<usize>,
    folder: CocoFolder,
    graph: Graph,
    side: u32,
    backend: Backend,
    device: Device,
}

/// A test picture, ready for the network.
pub(crate) struct TestPicture {
    id: u64,
    original: image::RgbImage,
    letterbox: Letterbox,
}

impl SetupArgs {
    fn open(&self, bank: Option<&BackboneNote>) -> Result<Setup> {
        let device = self.backend.device()?;
        let dir = self
            .data
            .strip_prefix("coco:")
            .filter(|dir| !dir.is_empty())
            .with_context(|| format!("--data {} is no coco:DIR", self.data))?;
        let mut folder = CocoFolder::open(dir.as_ref())?;
        if let Some(limit) = self.test_pictures {
            folder.set.pictures.truncate(limit);
            let kept: Vec<u64> = folder.set.pictures.iter().map(|p| p.id).collect();
            folder
                .set
                .annotations
                .retain(|annotation| kept.contains(&annotation.image_id));
        }
        let named = |own: &Option<String>, bank: Option<&String>, otherwise: &str| {
            own.as_ref()
                .or(bank)
                .map_or_else(|| otherwise.to_owned(), Clone::clone)
        };
        let name = named(&self.backbone, bank.map(|note| &note.name), "yolox_nano");
        let split = named(&self.split, bank.map(|note| &note.split), "dark3");
        let config = YoloxConfig::named(&name)?;
        let point: YoloxPoint = split.parse()?;
        let side = usize::try_from(self.side)?;
        Letterbox::empty_canvas(self.side)?;
        let (network, weights) = Yolox::load(&config, &self.weights, &device)?;
        if let Some(first) = weights.unused.first() {
            bail!(
                "{} holds {} tensors that {name} has no place for ({first}, ...); choose the \
                 backbone that the file was saved from",
                self.weights.display(),
                weights.unused.len()
            );
        }
        let classes = folder.set.categories.len();
        if classes != config.classes() {
            bail!(
                "{} lists {classes} categories, {name} knows {}",
                self.data,
                config.classes()
            );
        }
        let (head, tail) = cut_yolox(&network, point);
        Ok(Setup {
            network,
            head: head.lifted(),
            tail: tail.lifted(),
            note: BackboneNote {
                name,
                split,
                weights_sha256: weights.sha256,
            },
            scales: if point == YoloxPoint::Dark5 {
                YoloxPoint::pyramid_channels(&config).into()
            } else {
                Vec::new()
            },
            folder,
            graph: config.graph(side, side),
            side: self.side,
            backend: self.backend,
            device,
        })
    }
}

impl Setup {
    /// What the cut costs.
    fn cut(&self) -> Result<GraphCut> {
        let mut cuts = self.graph.cuts().into_iter();
        cuts.find(|cut| cut.after == self.note.split)
            .with_context(|| format!("the graph has no cut at {}", self.note.split))
    }

    /// All test pictures. One that cannot be read ends the run: a score over the rest would not
    /// be comparable.
    fn test_pictures(&self) -> Result<Vec<TestPicture>> {
        let pictures = self.folder.set.pictures.iter();
        pictures
            .map(|picture| {
                let path = self.folder.val.join(&picture.file_name);
                let original = read_picture(&path)
                    .with_context(|| format!("reading the test picture {}", path.display()))?;
                Ok(TestPicture {
                    id: picture.id,
                    letterbox: Letterbox::new(&original, self.side)?,
                    original,
                })
            })
            .collect()
    }

    /// Boxes of one picture from raw predictions.
    fn boxes(&self, raw: Tensor<3>, id: u64, letterbox: &Letterbox) -> Vec<ScoredBox> {
        let found = decode(raw, letterbox, &DetectOptions::default());
        let categories = &self.folder.set.categories;
        found
            .into_iter()
            .map(|detection| ScoredBox {
                image_id: id,
                category_id: categories[detection.class].id,
                bbox: detection.bbox.map(f64::from),
                score: f64::from(detection.score),
            })
            .collect()
    }

    /// Boxes that the whole network finds on letterboxed pictures.
    fn detect<'a>(
        &self,
        what: &str,
        pictures: impl ExactSizeIterator<Item = (u64, &'a Letterbox)>,
    ) -> Vec<ScoredBox> {
        let bar = bar(pictures.len(), what);
        let boxes = pictures.flat_map(|(id, letterbox)| {
            bar.inc(1);
            let raw = self.network.forward(letterbox.input(&self.device));
            self.boxes(raw, id, letterbox)
        });
        let boxes = boxes.collect();
        bar.finish_and_clear();
        boxes
    }

    fn activation(&self, picture: &TestPicture) -> Tensor<4> {
        self.head.forward(picture.letterbox.input(&self.device))
    }

    fn finish(&self, activation: Tensor<4>) -> Tensor<3> {
        self.tail.forward(activation)
    }
}

/// Share of the canvas that pictures of these sizes cover, in whole cells of `cell` pixels.
fn mean_coverage(sizes: &[(u32, u32)], side: u32, cell: u32) -> f64 {
    let covered = |&(width, height): &(u32, u32)| {
        let scale = f64::from(side) / f64::from(width.max(height).max(1));
        let cells = |length: u32| (f64::from(length) * scale / f64::from(cell)).ceil();
        let all = f64::from(side / cell.max(1)).max(1.0);
        cells(width).min(all) * cells(height).min(all) / (all * all)
    };
    let count = f64::from(u32::try_from(sizes.len().max(1)).unwrap_or(u32::MAX));
    sizes.iter().map(covered).sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coco_data_asks_for_a_detector() {
        let check = |line: &str, expected| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(asked(&words), expected, "{line}");
        };
        check("lab train --data coco:DIR --steps 3", true);
        check("lab eval --data=coco:DIR", true);
        check("lab train --data cifar10:DIR", false);
        check("lab train --out coco:x", false);
        check("lab bench --data coco:DIR", false);
        check("lab", false);
    }

    #[test]
    fn coverage_counts_whole_cells() {
        assert!((mean_coverage(&[(640, 640)], 416, 16) - 1.0).abs() < 1e-12);
        // 416 x 312 pixels: 26 x 20 cells of 16.
        assert!((mean_coverage(&[(640, 480)], 416, 16) - 20.0 / 26.0).abs() < 1e-12);
        let both = mean_coverage(&[(640, 640), (480, 640)], 416, 16);
        assert!((both - (1.0 + 20.0 / 26.0) / 2.0).abs() < 1e-12);
    }
}
