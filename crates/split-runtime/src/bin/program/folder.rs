//! A model as a folder: a manifest, a bank, and the weights of its backbone.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use burn::tensor::Device;
use serde::Deserialize;
use split_backbone::{EMBEDDED_NAME, Framing, OpenError, Opened, embedded};
use split_bottleneck::{Bank, MAX_ARCHIVE_BYTES};

use super::settings::{MAX_FILE_BYTES, at_line, read, read_bytes};

/// Name of the manifest; a folder without it is no model.
pub(crate) const MANIFEST: &str = "model.toml";

/// What `model.toml` says. An empty file will do for a bank of the embedded backbone.
#[derive(Clone, Debug, Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Manifest {
    /// The bank that `cargo xtask train` wrote; `bank.safetensors` where left out.
    bank: Option<String>,
    /// Weights of the backbone; not needed where it is `embedded`.
    weights: Option<String>,
    /// Side of the square pictures in pixels; that of the backbone's training where left out.
    side: Option<u32>,
    /// Names of the classes in their order; where left out, those of the embedded network,
    /// else numbers are shown.
    classes: Vec<String>,
}

impl Manifest {
    fn bank_file(&self, folder: &Path) -> PathBuf {
        folder.join(self.bank.as_deref().unwrap_or("bank.safetensors"))
    }

    fn weights_file(&self, folder: &Path) -> Option<PathBuf> {
        self.weights.as_ref().map(|name| folder.join(name))
    }
}

/// A model that is loaded and fits together.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) bank: Bank,
    pub(crate) opened: Opened,
    /// How a picture of any size becomes one of its own.
    pub(crate) framing: Framing,
    /// Names of its classes; empty where there are none.
    pub(crate) classes: Vec<String>,
}

impl Model {
    /// Loads a model and checks that bank and backbone belong together.
    ///
    /// # Errors
    /// Naming the file and what is wrong with it.
    pub(crate) fn load(folder: &Path, compute: &Device) -> Result<Self> {
        let manifest = manifest(folder)?;
        let path = manifest.bank_file(folder);
        let shown = path.display();
        let bytes = read_bytes(&path, MAX_ARCHIVE_BYTES as u64)?;
        let bank = Bank::from_bytes(&bytes).with_context(|| format!("reading the bank {shown}"))?;
        let name = &bank.backbone().name;
        let weights = manifest.weights_file(folder);
        let opened =
            Opened::for_bank(&bank, weights.as_deref(), compute).map_err(|error| match error {
                OpenError::NoWeights { name } => anyhow!(
                    "{}: the bank is for {name}, so `weights = \"FILE\"` is needed",
                    folder.join(MANIFEST).display()
                ),
                error => anyhow!(error).context(format!("opening the backbone of {shown}")),
            })?;
        let side = manifest.side.unwrap_or(opened.side);
        let framing = Framing::square(side).context("side is 1 to 4096 pixels")?;
        let mut classes = manifest.classes;
        if classes.is_empty() && name == EMBEDDED_NAME {
            classes = embedded::CLASSES.map(str::to_owned).to_vec();
        }
        let (found, expected) = (classes.len(), opened.network.config().classes());
        ensure!(
            found == 0 || found == expected,
            "{}: {found} names of classes, the backbone tells {expected} apart",
            folder.join(MANIFEST).display()
        );
        Ok(Self {
            bank,
            opened,
            framing,
            classes,
        })
    }
}

/// The files that a model is made of, as far as its manifest can be read.
#[allow(
    dead_code,
    reason = "the edge watches them; the device loads a model once"
)]
pub(crate) fn files_of(folder: &Path) -> Vec<PathBuf> {
    let mut files = vec![folder.join(MANIFEST)];
    if let Ok(manifest) = manifest(folder) {
        files.push(manifest.bank_file(folder));
        files.extend(manifest.weights_file(folder));
    }
    files
}

fn manifest(folder: &Path) -> Result<Manifest> {
    let path = folder.join(MANIFEST);
    if matches!(path.try_exists(), Ok(false)) {
        bail!(
            "{} has no {MANIFEST}; a model is a folder with a manifest, a bank and the weights of \
             its backbone (docs/guide/deployment.md)",
            folder.display()
        );
    }
    let text = read(&path, MAX_FILE_BYTES)?;
    let manifest: Manifest =
        toml::from_str(&text).map_err(|error| at_line(&path, &text, &error))?;
    for name in manifest.bank.iter().chain(&manifest.weights) {
        let mut parts = Path::new(name).components();
        let inside = parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        ensure!(
            inside,
            "{}: {name:?} leaves the model's folder",
            path.display()
        );
    }
    if let Some(side) = manifest.side {
        ensure!(
            (1..=4096).contains(&side),
            "{}: side = {side}, allowed are 1 to 4096 pixels",
            path.display()
        );
    }
    Ok(manifest)
}
