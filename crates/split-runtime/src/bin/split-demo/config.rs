//! What is shown, and how the demo starts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::controls::Controls;
use crate::link::LinkState;
use crate::program::folder::{MANIFEST, Model};
use crate::program::{backend, out};
use crate::stand_in;

/// What `cargo xtask train` writes.
const TRAINED: &str = "out/train/bank.safetensors";

/// Show a split network at work: device, edge and the link between them on one page.
///
/// Starts `split-edge` and `split-device` with a model, has pictures classified one after the other and
/// serves a page with each picture, its prediction, the bytes that were sent and where the time went.
/// The page's sliders set rate, round trip and deadline; the link between both programs really is that
/// slow. Ctrl-C ends it.
#[derive(Debug, Parser)]
#[command(
    name = "split-demo",
    version,
    after_help = "Examples:\n  \
        split-demo                            # the bank of `cargo xtask train`, or one made for it\n  \
        split-demo --kbit 50 --rtt-ms 60 --deadline-ms 250\n  \
        split-demo --model models/pets photos/"
)]
pub(crate) struct Cli {
    /// Pictures (JPEG, PNG, WebP) or folders of them, shown again and again. Default: test pictures of
    /// the embedded set.
    #[arg(value_name = "PICTURE")]
    pub(crate) pictures: Vec<PathBuf>,
    /// Bank of the embedded backbone. Default: `out/train/bank.safetensors`, which `cargo xtask train` writes;
    /// where that isn't there, one of principal components, made in seconds.
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    bank: Option<PathBuf>,
    /// Folder of a model in a repository, as `split-device` takes it, instead of a bank.
    #[arg(long, value_name = "DIR", requires = "pictures")]
    model: Option<PathBuf>,
    /// Address of the page; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) page: String,
    /// What chooses the rung, as for `split-device`.
    #[arg(long, value_name = "NAME", default_value = "own")]
    policy: String,
    /// Rung that `--policy fixed` sends; the bank's first where left out.
    #[arg(long, value_name = "RUNG")]
    rung: Option<String>,
    /// Let the device run the whole network by itself where that is better or the edge too slow. On this
    /// machine it is as fast as the edge, so that little is sent then.
    #[arg(long)]
    alone: bool,
    /// Rate of the link in kbit/s, each way.
    #[arg(long, value_name = "KBIT", default_value_t = 1_000)]
    kbit: u32,
    /// Round trip of the link in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 20)]
    rtt_ms: u32,
    /// Time for an answer in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 300)]
    deadline_ms: u64,
    /// Pictures a minute.
    #[arg(long, value_name = "N", default_value_t = 60)]
    per_minute: u32,
}

impl Cli {
    /// Where the page's controls start.
    ///
    /// # Errors
    /// For a value that they don't have.
    pub(crate) fn controls(&self, rungs: &[String]) -> Result<Controls> {
        let controls = Controls {
            link: LinkState {
                kbit: self.kbit,
                rtt_ms: self.rtt_ms,
                up: true,
            },
            policy: self.policy.clone(),
            rung: self.rung.as_ref().unwrap_or(&rungs[0]).clone(),
            alone: self.alone,
            deadline_ms: self.deadline_ms,
            per_minute: self.per_minute,
        };
        controls.check(rungs)?;
        Ok(controls)
    }
}

/// The model that both programs load.
pub(crate) struct Served {
    /// For files that end with the demo.
    pub(crate) folder: TempDir,
    /// Folder of models for the edge.
    pub(crate) repository: PathBuf,
    /// The model in it.
    pub(crate) model: PathBuf,
    loaded: Model,
}

/// The file of the bank that was named, of the one that training wrote, or of a stand-in.
fn bank_of(named: Option<&Path>) -> Result<Vec<u8>> {
    let trained = Path::new(TRAINED);
    let path = named.unwrap_or(trained);
    if named.is_none() && !trained.exists() {
        out::log(&format!(
            "{TRAINED} is not there: principal components stand in for trained units; `cargo xtask train` \
             makes those, with smaller frames"
        ));
        let bank = stand_in::bank(&backend::open("flex")?)?;
        return Ok(bank.to_bytes()?);
    }
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

impl Served {
    /// Loads the model once, so that what is wrong with it is said before anything starts.
    ///
    /// # Errors
    /// Naming the file, and how to make a bank.
    pub(crate) fn of(cli: &Cli) -> Result<Self> {
        let folder = TempDir::with_prefix("split-demo-").context("a folder for the demo")?;
        let model = match &cli.model {
            Some(model) => {
                fs::canonicalize(model).with_context(|| format!("the model {}", model.display()))?
            }
            None => {
                let bank = bank_of(cli.bank.as_deref())?;
                let model = folder.path().join("models/shown");
                fs::create_dir_all(&model).context("a folder for the model")?;
                fs::write(model.join("bank.safetensors"), bank).context("writing the bank")?;
                fs::write(model.join(MANIFEST), "").context("writing the manifest")?;
                model
            }
        };
        let loaded = Model::load(&model, &backend::open("flex")?)?;
        ensure!(
            !loaded.bank.rungs().is_empty(),
            "the bank has no rung; `cargo xtask train` makes one with several"
        );
        let repository = model
            .parent()
            .context("a model is a folder in a repository")?;
        Ok(Self {
            loaded,
            repository: repository.to_owned(),
            model,
            folder,
        })
    }

    /// Names of the rungs, at least one.
    pub(crate) fn names(&self) -> Vec<String> {
        let rungs = self.loaded.bank.rungs().iter();
        rungs.map(|rung| rung.name.clone()).collect()
    }

    /// What the page says of the model.
    pub(crate) fn note(&self) -> Value {
        let bank = &self.loaded.bank;
        let rungs: Vec<Value> = bank
            .rungs()
            .iter()
            .map(|rung| {
                let measured = rung.measured.as_ref();
                json!({
                    "name": rung.name,
                    "bytes": measured.map(|measured| measured.bytes),
                    "top1": measured.map(|measured| measured.top1),
                })
            })
            .collect();
        json!({
            "backbone": bank.backbone().name,
            "split": bank.backbone().split,
            "classes": self.loaded.classes,
            "rungs": rungs,
        })
    }
}
