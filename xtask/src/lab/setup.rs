//! Backbone, split point and pictures as the command line names them.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use burn::tensor::Device;
use clap::Args;
use split_backbone::{
    DataSource, EMBEDDED_NAME, Framing, LoadOptions, Opened, Part, Pictures, embedded,
};
use split_bottleneck::ActivationCache;

use crate::backend::Backend;
use crate::values::at_least_one;

/// Pictures in work at once.
pub(crate) const BATCH: usize = 64;
/// Where the embedded backbone is cut unless told otherwise: under half of its work is done.
const EMBEDDED_SPLIT: &str = "layer2";
/// Memory for cached activations.
const CACHE_BYTES: usize = 6 << 30;

/// Which network on which pictures.
#[derive(Args, Debug, Clone)]
pub(crate) struct SetupArgs {
    /// Pictures: `embedded`, `cifar10:DIR`, `cifar100:DIR` or `folder:DIR` (one folder for each
    /// class of the backbone, named in the order of its classes).
    #[arg(long, default_value = "embedded")]
    pub(crate) data: String,
    /// Backbone: `embedded`, resnet20, resnet32, resnet44, resnet56, resnet18, resnet50, ...
    /// [default: the bank's, or `embedded` for its pictures].
    #[arg(long)]
    pub(crate) backbone: Option<String>,
    /// Weights of the backbone (.th, .pth, .safetensors or .onnx); not needed for `embedded`.
    #[arg(long)]
    pub(crate) weights: Option<PathBuf>,
    /// Split point: stem, layer1, layer1.2, ... [default: the bank's, or layer2 for `embedded`].
    #[arg(long)]
    pub(crate) split: Option<String>,
    /// Side in pixels of the squares to which pictures of a folder are cropped [default: 224 for
    /// ImageNet's backbones, 32 for CIFAR's, 64 for the embedded one].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) side: Option<u32>,
    /// Most pictures to train on.
    #[arg(long, value_parser = at_least_one)]
    pub(crate) train_pictures: Option<usize>,
    /// Most pictures to test on.
    #[arg(long, value_parser = at_least_one)]
    pub(crate) test_pictures: Option<usize>,
    /// Where tensors are computed, `wgpu:1` on the device with that number (`bench --list-devices`); `bench`
    /// takes several, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "flex")]
    pub(crate) backend: Vec<Backend>,
}

/// A cut backbone.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) args: SetupArgs,
    pub(crate) opened: Opened,
    pub(crate) backend: Backend,
    pub(crate) device: Device,
}

impl SetupArgs {
    pub(crate) fn is_embedded(&self) -> bool {
        self.data == "embedded"
    }

    pub(crate) fn open(&self) -> Result<Setup> {
        let [backend] = self.backend.as_slice() else {
            bail!("give one --backend here, not {}", self.backend.len());
        };
        let device = backend.device()?;
        let name = match (&self.backbone, self.is_embedded()) {
            (Some(name), _) => name.clone(),
            (None, true) => "embedded".to_owned(),
            (None, false) => bail!("--data {} needs --backbone, e.g. resnet56", self.data),
        };
        ensure!(
            name != EMBEDDED_NAME || self.weights.is_none(),
            "--weights is not read: the embedded backbone has its own; leave it out, or name another \
             --backbone"
        );
        if name != EMBEDDED_NAME {
            let path = self.weights.as_ref().with_context(|| {
                format!("--backbone {name} needs --weights FILE (.th, .pth, .safetensors or .onnx)")
            })?;
            // Said before a missing --split: paths are mistyped more often.
            ensure!(path.exists(), "--weights {} does not exist", path.display());
        }
        let split = match (&self.split, name.as_str()) {
            (Some(split), _) => split.as_str(),
            (None, EMBEDDED_NAME) => EMBEDDED_SPLIT,
            (None, _) => bail!("--backbone {name} needs --split, e.g. layer1"),
        };
        Ok(Setup {
            args: self.clone(),
            opened: Opened::load(&name, self.weights.as_deref(), split, &device)?,
            backend: *backend,
            device,
        })
    }
}

impl Setup {
    /// How a picture of any size becomes one of the backbone's.
    pub(crate) fn framing(&self) -> Result<Framing> {
        // The embedded set has one size.
        let side = match self.args.side {
            Some(side) if !self.args.is_embedded() => side,
            _ => self.opened.side,
        };
        Framing::square(side).with_context(|| format!("--side {side} is no size of pictures"))
    }

    /// One part of the picture set; unreadable files are named and left out.
    pub(crate) fn pictures(&self, part: Part) -> Result<Pictures> {
        let limit = match part {
            Part::Train => self.args.train_pictures,
            Part::Test => self.args.test_pictures,
        };
        if self.args.is_embedded() {
            let (split, count) = match part {
                Part::Train => (embedded::EmbeddedSplit::Train, embedded::TRAIN_COUNT),
                Part::Test => (embedded::EmbeddedSplit::Test, embedded::TEST_COUNT),
            };
            return Ok(embedded::pictures(split, limit.unwrap_or(count))?);
        }
        if self.args.data.starts_with("coco:") {
            bail!(
                "--data {}: detectors are for `train` and `eval` alone; take `embedded`, \
                 cifar10:DIR, cifar100:DIR or folder:DIR",
                self.args.data
            );
        }
        let source: DataSource = self.args.data.parse()?;
        let options = LoadOptions {
            limit,
            framing: Some(self.framing()?),
        };
        let loaded = source.load(part, &options)?;
        for skipped in &loaded.skipped {
            eprintln!("skipped {}: {}", skipped.path.display(), skipped.reason);
        }
        if !loaded.skipped.is_empty() {
            eprintln!("{} pictures could not be read", loaded.skipped.len());
        }
        let classes = self.opened.network.config().classes();
        let named = loaded.pictures.classes().len();
        if matches!(source, DataSource::Folder(_)) && named != classes {
            bail!(
                "{} has {named} folders of classes, {} tells {classes} apart; a folder for each class \
                 is needed, and their names in alphabetical order must be the order of the \
                 backbone's classes",
                self.args.data,
                self.opened.note.name
            );
        }
        if let Some(label) = loaded.pictures.labels().iter().max()
            && usize::from(*label) >= classes
        {
            bail!(
                "{} has at least {} classes, {} tells {classes} apart: pictures and backbone \
                 must be of one task",
                self.args.data,
                label + 1,
                self.opened.note.name
            );
        }
        Ok(loaded.pictures)
    }

    /// Activations at the split point and logits of the unsplit backbone; with `flips` every
    /// picture is there a second time, mirrored.
    pub(crate) fn cache(
        &self,
        pictures: &Pictures,
        flips: bool,
        on_batch: impl FnMut(usize),
    ) -> Result<ActivationCache> {
        self.cache_keeping(false, pictures, flips, on_batch)
    }

    /// The same; with `keeps_pictures` the pictures are in it too, for units that take them.
    pub(crate) fn cache_keeping(
        &self,
        keeps_pictures: bool,
        pictures: &Pictures,
        flips: bool,
        mut on_batch: impl FnMut(usize),
    ) -> Result<ActivationCache> {
        let labels: Vec<i32> = pictures.labels().iter().map(|l| i32::from(*l)).collect();
        let passes = if flips { 2 } else { 1 };
        let inputs = (0..passes).flat_map(|pass| {
            (0..pictures.len())
                .step_by(BATCH)
                .map(move |start| (pass == 1, start))
        });
        let batches = inputs.map(|(flip, start)| {
            let range = start..(start + BATCH).min(pictures.len());
            on_batch(range.len());
            let input = self
                .opened
                .preprocess
                .input(pictures, range.clone(), &self.device);
            let input = if flip { input.flip([3]) } else { input };
            (input, labels[range].to_vec())
        });
        let (head, tail) = (&self.opened.head, &self.opened.tail);
        Ok(if keeps_pictures {
            ActivationCache::build_with_pictures(head, tail, batches, CACHE_BYTES)?
        } else {
            ActivationCache::build(head, tail, batches, CACHE_BYTES)?
        })
    }

    /// Pictures to which the whole backbone gives their label.
    pub(crate) fn correct(&self, pictures: &Pictures) -> usize {
        self.predict(pictures)
            .iter()
            .zip(pictures.labels())
            .filter(|(class, label)| **class == usize::from(**label))
            .count()
    }

    /// Classes that the whole backbone gives to pictures.
    pub(crate) fn predict(&self, pictures: &Pictures) -> Vec<usize> {
        let mut classes = Vec::with_capacity(pictures.len());
        for start in (0..pictures.len()).step_by(BATCH) {
            let range = start..(start + BATCH).min(pictures.len());
            let input = self.opened.preprocess.input(pictures, range, &self.device);
            classes.extend(split_backbone::top1(self.opened.network.forward(input)));
        }
        classes
    }
}
