//! What a run works on: a model as both programs take it, and pictures as files with their classes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use burn::tensor::Device;
use split_backbone::embedded::{self, EmbeddedSplit};
use split_backbone::rivals::{PictureCodec, encode};
use split_backbone::{DataSource, EMBEDDED_NAME, Framing, LoadOptions, Part, Pictures};
use tempfile::TempDir;

use crate::leftovers;
use crate::options::Options;
use crate::program::folder::{MANIFEST, Model};

/// A folder that goes with the run.
pub(crate) struct Work {
    folder: TempDir,
    /// The repository of the edge.
    pub(crate) models: PathBuf,
    /// Its one model.
    pub(crate) model: PathBuf,
    /// As in records.
    pub(crate) name: String,
    pub(crate) split: String,
    pub(crate) rung: String,
    /// How pictures are coded that are sent as files.
    pub(crate) form: String,
    pub(crate) data: String,
    pub(crate) pictures: Vec<PictureFile>,
}

/// A picture without loss, and the class that it has.
pub(crate) struct PictureFile {
    pub(crate) path: PathBuf,
    pub(crate) label: u16,
}

impl Work {
    /// Lays out model and `count` pictures.
    ///
    /// # Errors
    /// Naming the file or setting that doesn't fit.
    pub(crate) fn new(options: &Options, count: usize) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(&leftovers::folder_prefix())
            .tempdir()
            .context("a folder for models and pictures")?;
        let models = folder.path().join("models");
        let model = models.join("model");
        lay_out_model(&model, &options.bank, options.weights.as_deref())?;
        let loaded = Model::load(&model, &Device::flex())
            .with_context(|| format!("--bank {}", options.bank.display()))?;
        let backbone = loaded.bank.backbone().clone();
        let rung = loaded.bank.find(&options.rung)?;
        let set = pictures(options.data.as_ref(), &backbone.name, loaded.framing, count)?;
        ensure!(
            set.len() >= count,
            "{} pictures and {count} are needed, a new one for each request; give --requests {}",
            set.len(),
            set.len().saturating_sub(count - options.requests)
        );
        let pictures = write_pictures(folder.path(), &set, count)?;
        let data = options.data.as_ref();
        Ok(Self {
            models,
            model,
            split: backbone.split,
            form: format!("{}-q{}", PictureCodec::WebP.name(), options.quality),
            rung: loaded.bank.rungs()[rung].name.clone(),
            data: data.map_or_else(|| EMBEDDED_NAME.to_owned(), kind_of),
            name: backbone.name,
            pictures,
            folder,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A model's folder from single files; the manifest names files beside it only.
fn lay_out_model(model: &Path, bank: &Path, weights: Option<&Path>) -> Result<()> {
    fs::create_dir_all(model).context("a folder for the model")?;
    let bank_copied = fs::copy(bank, model.join("bank.safetensors"));
    bank_copied.with_context(|| {
        let bank = bank.display();
        format!("--bank {bank}; `cargo xtask train` writes out/train/bank.safetensors")
    })?;
    let mut manifest = String::new();
    if let Some(weights) = weights {
        let ending = weights.extension().unwrap_or_default().to_string_lossy();
        let name = format!("weights.{ending}");
        fs::copy(weights, model.join(&name))
            .with_context(|| format!("--weights {}", weights.display()))?;
        manifest = format!("weights = {name:?}\n");
    }
    fs::write(model.join(MANIFEST), manifest).context("the model's manifest")
}

fn pictures(
    data: Option<&DataSource>,
    backbone: &str,
    framing: Framing,
    count: usize,
) -> Result<Pictures> {
    let Some(data) = data else {
        if backbone != EMBEDDED_NAME {
            bail!(
                "the bank is for {backbone}, whose pictures don't come with the project; give --data \
                 cifar10:DIR, cifar100:DIR or folder:DIR"
            );
        }
        return Ok(embedded::pictures(EmbeddedSplit::Test, count)?);
    };
    let options = LoadOptions {
        limit: Some(count),
        framing: Some(framing),
    };
    let loaded = data.load(Part::Test, &options);
    Ok(loaded.with_context(|| format!("--data {data}"))?.pictures)
}

fn write_pictures(folder: &Path, set: &Pictures, count: usize) -> Result<Vec<PictureFile>> {
    let size = (set.width(), set.height());
    let one = |index: usize| {
        // No quality where nothing is lost.
        let coded = encode(PictureCodec::Png, set.rgb8(index), size, 0)?;
        let path = folder.join(format!("{index}.png"));
        fs::write(&path, coded.file).with_context(|| format!("writing {}", path.display()))?;
        let label = set.labels()[index];
        Ok(PictureFile { path, label })
    };
    (0..count).map(one).collect()
}

/// A picture set without its place on this machine.
fn kind_of(data: &DataSource) -> String {
    let text = data.to_string();
    text.split(':').next().unwrap_or_default().to_owned()
}
