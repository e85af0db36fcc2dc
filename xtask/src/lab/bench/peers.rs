//! Other engines that run the same network with the same weights, in turn with ours.
//!
//! `benches/peers/network.py` runs in a process of its own, whose threads wait while ours work. It is
//! handed weights and pictures as files, and its scores are compared with ours before anything
//! is timed.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use burn::tensor::Tensor;
use serde::Deserialize;
use serde_json::{Value, json};
use split_backbone::ResNetConfig;
use split_bottleneck::{DecoderKind, EncoderKind, ModuleState, UnitConfig};
use split_tensor::Symbols;
use tempfile::TempDir;

use super::line::threads;
use super::steps::{STEPS, Step};

const SCRIPT: &str = include_str!("../../../../benches/peers/network.py");

/// Most pictures whose class scores are compared.
pub(super) const CHECKED: usize = 4;

/// Largest difference of a score, as a share of the largest score.
const TOLERANCE: f32 = 1e-3;

/// Worker threads of a peer spin for a while after a run and would take our processor time.
const REST: Duration = Duration::from_millis(250);

/// Peers that were found, ready to run one batch.
pub(super) struct Peers {
    found: Vec<(String, Step)>,
    process: Option<Process>,
}

/// What peers are given: a network, and one batch for it.
pub(super) struct Handed<'a> {
    /// What the weights do not tell of the network.
    pub(super) layout: Value,
    pub(super) state: ModuleState,
    pub(super) input: Tensor<4>,
    /// Symbols of the batch, for coders; none where no unit is timed.
    pub(super) symbols: &'a [Symbols],
    /// Unit and cut of a training step; null where none is timed or its layout is not known to peers.
    pub(super) training: Value,
    /// Pictures whose scores are compared, and these scores of ours, picture by picture.
    pub(super) checked: usize,
    pub(super) scores: Vec<f32>,
}

impl Handed<'_> {
    /// Pictures, channels and places of the symbols.
    fn symbol_dims(&self) -> Option<[usize; 3]> {
        let shape = self.symbols.first()?.shape();
        let channels = shape.channels();
        Some([self.symbols.len(), channels, shape.len() / channels])
    }
}

/// What the weights of a classifier do not tell.
pub(super) fn classifier_layout(config: &ResNetConfig) -> Value {
    let stages = config.stages().iter().map(|stage| {
        json!({"blocks": stage.blocks, "stride": stage.stride,
            "dilation_first": stage.dilation_first, "dilation": stage.dilation})
    });
    json!({
        "kind": "classifier",
        "stem_stride": config.stem().stride,
        "max_pool": config.stem().max_pool,
        "stages": stages.collect::<Vec<_>>(),
    })
}

/// A unit of two convolutions and a residual decoder behind so many blocks.
pub(super) fn training_layout(unit: &UnitConfig, head_blocks: usize) -> Value {
    let (
        EncoderKind::Conv { hidden },
        DecoderKind::Conv {
            hidden: decoder_hidden,
            blocks,
        },
    ) = (unit.encoder, unit.decoder)
    else {
        return Value::Null;
    };
    json!({
        "head_blocks": head_blocks,
        "latent": unit.latent_channels,
        "stride": unit.stride,
        "step": unit.step,
        "encoder_hidden": hidden,
        "decoder_hidden": decoder_hidden,
        "blocks": blocks,
    })
}

/// The weights of a detector tell everything else.
pub(super) fn detector_layout() -> Value {
    json!({"kind": "detector"})
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Kept until the process has ended.
    _folder: TempDir,
}

#[derive(Deserialize)]
struct Hello {
    peers: Vec<Found>,
    missing: Vec<String>,
}

#[derive(Deserialize)]
struct Found {
    name: String,
    /// The step of ours that it does.
    step: String,
    /// Scores, of an engine that runs the network.
    scores: Vec<f32>,
}

#[derive(Deserialize)]
struct Timed {
    ms: f64,
}

impl Peers {
    /// No peer was asked for.
    pub(super) fn none() -> Self {
        Self {
            found: Vec::new(),
            process: None,
        }
    }

    /// Starts the script with a network and a batch. What Python lacks is said; it is no error.
    pub(super) fn start(python: &Path, handed: &Handed<'_>) -> Result<Self> {
        let mut process = Process::start(python, handed)
            .with_context(|| format!("--peers {}", python.display()))?;
        let hello: Hello = process.answer(python)?;
        for missing in &hello.missing {
            eprintln!("peer left out: {missing}");
        }
        let mut found = Vec::new();
        for peer in hello.peers {
            let step = STEPS.into_iter().find(|step| step.name() == peer.step);
            let step = step.with_context(|| format!("{} does {}", peer.name, peer.step))?;
            if step == Step::Forward {
                check_scores(&handed.scores, &peer.scores)
                    .with_context(|| format!("{} computes another network", peer.name))?;
            }
            found.push((peer.name, step));
        }
        Ok(Self {
            found,
            process: Some(process),
        })
    }

    /// What records call them, with versions, and the step that each does.
    pub(super) fn found(&self) -> &[(String, Step)] {
        &self.found
    }

    /// Milliseconds that a peer takes for the batch.
    pub(super) fn time(&mut self, peer: usize) -> Result<f64> {
        let process = self.process.as_mut().context("no peer runs")?;
        writeln!(process.input, "{peer}").context("asking a peer")?;
        let timed: Timed = process.answer(Path::new("network.py"))?;
        std::thread::sleep(REST);
        Ok(timed.ms)
    }
}

impl Process {
    fn start(python: &Path, handed: &Handed<'_>) -> Result<Self> {
        let folder = TempDir::with_prefix("split-peers-").context("creating a folder for peers")?;
        let mut tensors = Vec::new();
        let mut weights = Vec::new();
        for (path, tensor) in &handed.state {
            tensors.push(json!({"path": path, "shape": tensor.shape}));
            weights.extend(tensor.values.iter().flat_map(|value| value.to_le_bytes()));
        }
        let spec = json!({
            "network": handed.layout,
            "tensors": tensors,
            "input": handed.input.dims(),
            "symbols": handed.symbol_dims(),
            "training": handed.training,
            "checked": handed.checked,
            "threads": threads(),
        });
        let pixels = handed.input.clone().into_data().convert::<f32>();
        let pixels = pixels.as_slice::<f32>().expect("converted above");
        let pixels: Vec<u8> = pixels
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let symbols: Vec<u8> = handed
            .symbols
            .iter()
            .flat_map(|one| one.values().iter().flat_map(|value| value.to_le_bytes()))
            .collect();
        for (name, bytes) in [
            ("network.py", SCRIPT.as_bytes()),
            ("spec.json", spec.to_string().as_bytes()),
            ("weights.f32", weights.as_slice()),
            ("input.f32", pixels.as_slice()),
            ("symbols.i32", symbols.as_slice()),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
        }
        let mut command = Command::new(python);
        command
            .arg(folder.path().join("network.py"))
            .arg(folder.path())
            .env("OMP_NUM_THREADS", threads().to_string());
        // Peers run as their users run them.
        for (name, _) in records::KEPT_MEMORY {
            command.env_remove(name);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting Python")?;
        let input = child.stdin.take().context("no pipe to Python")?;
        let output = BufReader::new(child.stdout.take().context("no pipe from Python")?);
        Ok(Self {
            child,
            input,
            output,
            _folder: folder,
        })
    }

    /// The next line, which is JSON.
    fn answer<T: for<'de> Deserialize<'de>>(&mut self, python: &Path) -> Result<T> {
        let mut line = String::new();
        let read = self
            .output
            .read_line(&mut line)
            .context("reading from Python")?;
        ensure!(
            read > 0,
            "{} ended early; what it said stands above",
            python.display()
        );
        serde_json::from_str(&line)
            .with_context(|| format!("network.py answered {:?}", line.trim_end()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be done about a process that does not end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// That another engine computes what we compute.
pub(super) fn check_scores(ours: &[f32], theirs: &[f32]) -> Result<()> {
    ensure!(
        ours.len() == theirs.len(),
        "{} scores, we have {}",
        theirs.len(),
        ours.len()
    );
    let largest = ours
        .iter()
        .fold(1.0_f32, |most, score| most.max(score.abs()));
    for (place, (a, b)) in ours.iter().zip(theirs).enumerate() {
        // No number is close to NaN.
        let is_close = (a - b).abs() <= TOLERANCE * largest;
        ensure!(is_close, "score {place} is {b}, ours is {a}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_scores;

    #[test]
    fn scores_of_another_network_are_refused() {
        assert!(check_scores(&[10.0, -3.0], &[10.005, -3.005]).is_ok());
        assert!(check_scores(&[10.0, -3.0], &[10.0, -3.05]).is_err());
        assert!(check_scores(&[10.0, -3.0], &[10.0]).is_err());
        assert!(check_scores(&[10.0, -3.0], &[10.0, f32::NAN]).is_err());
    }
}
