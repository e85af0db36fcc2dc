//! A repository with models that nobody trained, and what they predict without any program.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use split_backbone::embedded::{self, EmbeddedSplit};
use split_backbone::{Opened, Pictures, Preprocess, ResNetConfig, Tail, top1};
use split_bottleneck::{
    ActivationCache, Bank, Head, Klt, Measured, Rung, TablePictures as Training,
};
use split_runtime::Contract;
use split_runtime::stage::contract_of;
use tempfile::TempDir;

pub(super) const SPLIT: &str = "layer2";
/// Pictures that the device is given.
pub(super) const PICTURES: usize = 6;
/// Pictures that the units are fitted to.
const FITTED: usize = 24;
const CACHE_BYTES: usize = 1 << 28;

pub(super) struct Rig {
    folder: TempDir,
    /// The repository.
    pub(super) models: PathBuf,
    /// Its one model.
    pub(super) model: PathBuf,
    /// A folder of picture files.
    pub(super) pictures: PathBuf,
    /// The files in it.
    pub(super) files: Vec<PathBuf>,
    bank: Bank,
    opened: Opened,
    set: Pictures,
}

impl Rig {
    pub(super) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let compute = Device::flex();
        let opened = Opened::load("embedded", None, SPLIT, &compute).unwrap();
        let bank = bank(&opened, &["coarse", "fine"], &[4.0, 1.0]);
        let models = folder.path().join("models");
        let model = models.join("pets");
        write_model(&model, &bank, "");
        let pictures = folder.path().join("pictures");
        fs::create_dir(&pictures).unwrap();
        let set = embedded::pictures(EmbeddedSplit::Test, PICTURES).unwrap();
        let files = (0..PICTURES).map(|index| {
            let file = pictures.join(format!("{index}.png"));
            let side = u32::try_from(embedded::SIDE).unwrap();
            let pixels = set.rgb8(index).to_vec();
            image::RgbImage::from_raw(side, side, pixels)
                .unwrap()
                .save(&file)
                .unwrap();
            file
        });
        Self {
            files: files.collect(),
            folder,
            models,
            model,
            pictures,
            bank,
            opened,
            set,
        }
    }

    /// What both ends of the model agree on.
    pub(super) fn contract(&self) -> Contract {
        contract_of(&self.bank).unwrap()
    }

    /// Frames of the pictures as the bank makes them.
    pub(super) fn frames(&self, rung: usize) -> Vec<Vec<u8>> {
        let compute = Device::flex();
        let codec = self.bank.open(rung, &compute).unwrap();
        let one = |index: usize| {
            let input = self
                .opened
                .preprocess
                .input(&self.set, index..index + 1, &compute);
            codec
                .encode(self.opened.head.forward(input))
                .unwrap()
                .remove(0)
        };
        (0..PICTURES).map(one).collect()
    }

    /// Classes after frame and back, as `cargo xtask decode` finds them.
    pub(super) fn predictions(&self, rung: usize) -> Vec<usize> {
        let codec = self.bank.open(rung, &Device::flex()).unwrap();
        let frames = self.frames(rung);
        let one = |frame: &Vec<u8>| {
            let activation = codec.decode(&[frame]).unwrap();
            top1(self.opened.tail.forward(activation))[0]
        };
        frames.iter().map(one).collect()
    }

    /// Classes of the whole network.
    pub(super) fn unsplit(&self) -> Vec<usize> {
        let input = self
            .opened
            .preprocess
            .input(&self.set, 0..PICTURES, &Device::flex());
        top1(self.opened.network.forward(input))
    }

    /// A model of another bank, beside the repository.
    pub(super) fn other_model(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        write_model(
            &folder,
            &bank(&self.opened, &["coarse", "fine"], &[5.0, 2.0]),
            "",
        );
        folder
    }

    /// The model as it is now, beside the repository.
    pub(super) fn copy_of_model(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        write_model(&folder, &self.bank, "");
        folder
    }

    /// A model of the repository that differs from all others by its step, `coarse` of them.
    pub(super) fn add_model(&self, name: &str, coarse: f32) -> PathBuf {
        let aside = self.folder.path().join("aside");
        let bank = bank(&self.opened, &["only"], &[coarse]);
        write_model(&aside, &bank, "");
        let folder = self.models.join(name);
        fs::rename(aside, &folder).unwrap();
        folder
    }

    /// A second model of the repository: the same network cut earlier, whose rungs are more accurate.
    pub(super) fn early_model(&self) -> PathBuf {
        let opened = Opened::load("embedded", None, "layer1", &Device::flex()).unwrap();
        let mut bank = bank(&opened, &["coarse", "fine"], &[4.0, 1.0]);
        for rung in 0..2 {
            let measured = bank.rungs()[rung].measured.clone().unwrap();
            let better = Measured {
                top1: measured.top1 + 25.0,
                bytes_p95: Some(measured.bytes * 1.5),
                ..measured
            };
            bank.set_measured(rung, better).unwrap();
        }
        let folder = self.models.join("early");
        write_model(&folder, &bank, "");
        folder
    }

    /// A second model of the repository, whose backbone has a file of weights.
    pub(super) fn weights_model(&self) -> PathBuf {
        let compute = Device::flex();
        let weights = self.folder.path().join("drawn.safetensors");
        let network = ResNetConfig::named("resnet14")
            .unwrap()
            .init_seeded(3, &compute);
        network.save(&weights).unwrap();
        let opened = Opened::load("resnet14", Some(&weights), "layer1", &compute).unwrap();
        assert_eq!(opened.preprocess, Preprocess::IMAGENET);
        let bank = bank(&opened, &["only"], &[2.0]);
        // Whole before it is in the repository: that is how a person should do it, too.
        let aside = self.folder.path().join("aside");
        write_model(&aside, &bank, "weights = \"drawn.safetensors\"\n");
        fs::copy(&weights, aside.join("drawn.safetensors")).unwrap();
        let folder = self.models.join("drawn");
        fs::rename(aside, &folder).unwrap();
        folder
    }
}

fn write_model(folder: &Path, bank: &Bank, manifest: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("bank.safetensors"), bank.to_bytes().unwrap()).unwrap();
    fs::write(folder.join("model.toml"), manifest).unwrap();
}

/// Rungs of principal components with these steps, coarse first.
fn bank(opened: &Opened, names: &[&str], steps: &[f32]) -> Bank {
    let compute = Device::flex();
    let set = embedded::pictures(EmbeddedSplit::Train, FITTED).unwrap();
    let set = if usize::try_from(opened.side).unwrap() == embedded::SIDE {
        set
    } else {
        quartered(&set)
    };
    let input = opened.preprocess.input(&set, 0..FITTED, &compute);
    let labels = set.labels().iter().map(|label| i32::from(*label)).collect();
    let cache =
        ActivationCache::build(&opened.head, &opened.tail, [(input, labels)], CACHE_BYTES).unwrap();
    let klt = Klt::fit(&cache, 2, FITTED).unwrap();
    let rungs = names.iter().zip(steps).map(|(name, step)| {
        let config = klt.unit(12, *step);
        let weights = klt.weights(&config, 1, &compute).unwrap();
        let training = Training {
            cache: &cache,
            limit: FITTED,
            device: &compute,
            mixing: false,
        };
        Rung::fitted(name, "klt", &config, &weights, training).unwrap()
    });
    let mut bank = Bank::new(opened.note.clone(), rungs.collect()).unwrap();
    // Coarse first: each rung is longer than the one before, and better.
    for rung in 0..names.len() {
        let bytes = [100.0, 300.0][rung];
        let measured = Measured {
            bytes,
            bytes_p95: None,
            bytes_payload: bytes - 10.0,
            top1: [40.0, 60.0][rung],
            pictures: PICTURES,
        };
        bank.set_measured(rung, measured).unwrap();
    }
    bank
}

/// Every second row and column.
fn quartered(set: &Pictures) -> Pictures {
    let (side, half) = (set.width(), set.width() / 2);
    let mut pixels = Vec::new();
    for index in 0..set.len() {
        let picture = set.rgb8(index);
        for row in 0..half {
            for column in 0..half {
                let at = (2 * row * side + 2 * column) * 3;
                pixels.extend_from_slice(&picture[at..at + 3]);
            }
        }
    }
    let (labels, classes) = (set.labels().to_vec(), set.classes().to_vec());
    Pictures::new((half, half), pixels, labels, classes).unwrap()
}
