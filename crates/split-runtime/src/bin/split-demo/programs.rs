//! Edge and device as the programs that everyone runs.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::controls::Controls;

/// Longest wait for a program to start, and for an answer beyond the deadline.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time to connect, in milliseconds: the slowest link needs some seconds, and a device that can answer
/// by itself needs no link.
const CONNECT_MS: [u64; 2] = [30_000, 1_000];

/// A program that lies where this one does; it ends when it is dropped.
fn beside_us(name: &str) -> Result<Command> {
    let me = std::env::current_exe().context("where this program is")?;
    let path = me.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    ensure!(
        path.exists(),
        "{} is not there; build it with `--features demo --bins`, or install all programs together",
        path.display()
    );
    let mut command = Command::new(path);
    // Settings that a person made for other runs.
    for (variable, _) in std::env::vars_os() {
        let text = variable.to_string_lossy();
        if text.starts_with("SPLIT_EDGE_") || text.starts_with("SPLIT_DEVICE_") {
            command.env_remove(&variable);
        }
    }
    command.kill_on_drop(true).stdout(Stdio::piped());
    Ok(command)
}

/// `split-edge` on a free port.
pub(crate) struct EdgeProcess {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl EdgeProcess {
    /// Starts it and waits until it serves.
    pub(crate) async fn start(repository: &Path) -> Result<Self> {
        let mut command = beside_us("split-edge")?;
        command.arg("--models").arg(repository);
        command.args(["--listen", "127.0.0.1:0", "--admin", "off"]);
        let mut child = command
            .stdin(Stdio::null())
            .spawn()
            .context("starting split-edge")?;
        let mut lines = lines_of(&mut child)?;
        let first = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let first = first.context("split-edge did not start in time")??;
        let address = first
            .as_deref()
            .and_then(|line| line.strip_prefix("listening on "));
        let address = address.context("split-edge ended at once; it said why above")?;
        let address = address.parse().context("the address of split-edge")?;
        // Reads on, so that the edge never waits for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, address })
    }

    /// Waits for an end that nobody asked for.
    pub(crate) async fn ended(&mut self) -> Result<()> {
        let status = self.child.wait().await?;
        bail!("split-edge ended: {status}")
    }
}

/// `split-device`, which answers one path after the other.
pub(crate) struct DeviceProcess {
    _child: Child,
    paths: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl DeviceProcess {
    /// Starts it; its first answer comes when it is warm.
    pub(crate) fn start(model: &Path, link: SocketAddr, controls: &Controls) -> Result<Self> {
        let mut command = beside_us("split-device")?;
        command
            .arg("--model")
            .arg(model)
            .args(["--edge", &link.to_string()])
            .args(["--policy", &controls.policy])
            .args(["--rung", &controls.rung])
            .args(["--fallback", if controls.alone { "local" } else { "none" }])
            .args([
                "--connect-ms",
                &CONNECT_MS[usize::from(controls.alone)].to_string(),
            ])
            .args(["--deadline-ms", &controls.deadline_ms.to_string()])
            .args(["--json", "-"]);
        let mut child = command
            .stdin(Stdio::piped())
            .spawn()
            .context("starting split-device")?;
        Ok(Self {
            paths: child.stdin.take().context("the input of split-device")?,
            answers: lines_of(&mut child)?,
            _child: child,
        })
    }

    /// What it says of a picture.
    pub(crate) async fn ask(&mut self, picture: &Path, deadline_ms: u64) -> Result<Value> {
        let mut line = picture.as_os_str().as_encoded_bytes().to_vec();
        line.push(b'\n');
        let ended = "split-device ended; it said why above";
        self.paths.write_all(&line).await.context(ended)?;
        let within = PATIENCE + Duration::from_millis(deadline_ms);
        let answer = tokio::time::timeout(within, self.answers.next_line()).await;
        let answer = answer.context("split-device did not answer")??;
        serde_json::from_str(&answer.context(ended)?).context("what split-device printed")
    }
}

fn lines_of(child: &mut Child) -> Result<Lines<BufReader<ChildStdout>>> {
    let output = child.stdout.take().context("the output of a program")?;
    Ok(BufReader::new(output).lines())
}
