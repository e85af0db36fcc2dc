//! One link in one way: a device is started, asks for one picture after the other, and ends.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::cells::Cell;
use crate::link::{End, Link};
use crate::options::{Mode, Options};
use crate::program::out;
use crate::programs::{Running, beside_us, kept, ourselves};
use crate::tally::Measured;
use crate::work::{PictureFile, Work};

/// Requests of each device that aren't counted: TCP and the processor's caches find their way.
pub(crate) const WARM_UPS: usize = 3;

/// Time for an answer; one that comes later failed.
pub(crate) const DEADLINE_MS: u32 = 10_000;

/// Time to connect, over a link that may lose the first packets.
const CONNECT_MS: u64 = 30_000;

/// Time for a program to load its model.
const LOAD: Duration = Duration::from_secs(120);

/// How much later than the deadline a device may say that it passed.
const SLACK: Duration = Duration::from_secs(5);

/// The edges, and where devices reach them.
pub(crate) struct Edges {
    split: Option<(Running, String)>,
    picture: Option<(Running, String)>,
}

impl Edges {
    /// Starts those that the ways need.
    ///
    /// # Errors
    /// Where one doesn't come up; with what it said.
    pub(crate) fn start(link: &mut Link, work: &Work, modes: &[Mode]) -> Result<Self> {
        let us = ourselves()?;
        let split_edge = beside_us("split-edge")?;
        let mut edge = |mode: Mode, name: &'static str, more: &[&str]| {
            if !modes.contains(&mode) {
                return Ok(None);
            }
            let mut command = kept(link.command(End::Edge, &us), &split_edge);
            command.arg("--models").arg(&work.models).args(more);
            command.args(["--listen", &link.listen(), "--admin", "off"]);
            let running = Running::start(name, command)?;
            let line = running.line(LOAD)?;
            let address = line.strip_prefix("listening on ");
            let address = address.with_context(|| format!("{name} printed {line:?}"))?;
            let address = link.route(address)?;
            anyhow::Ok(Some((running, address)))
        };
        Ok(Self {
            split: edge(Mode::Split, "split-edge", &[])?,
            picture: edge(Mode::Picture, "the edge for pictures", &["--pictures"])?,
        })
    }

    /// A device's program and its arguments, for one way.
    fn device(&self, link: &Link, work: &Work, mode: Mode) -> Result<Command> {
        let (deadline, connect) = (DEADLINE_MS.to_string(), CONNECT_MS.to_string());
        let edge = match mode {
            Mode::Split => self.split.as_ref(),
            Mode::Picture => self.picture.as_ref(),
            Mode::DeviceOnly => None,
        };
        let mut command = link.command(End::Device, &beside_us("split-device")?);
        command.arg("--model").arg(&work.model);
        command.args(["--deadline-ms", &deadline, "--connect-ms", &connect]);
        if let Some((_, address)) = edge {
            command.args(["--edge", address]);
        }
        let policy = match mode {
            Mode::Split | Mode::Picture => ["--policy", "fixed", "--fallback", "none"].as_slice(),
            Mode::DeviceOnly => &["--policy", "device-only"],
        };
        command.args(policy);
        match mode {
            Mode::Split => command.args(["--rung", &work.rung]),
            Mode::Picture => command.args(["--rung", &work.form]),
            Mode::DeviceOnly => &mut command,
        };
        command.args(["--json", "-"]);
        Ok(command)
    }
}

/// Measures one link in one way.
///
/// # Errors
/// Where the device ends or stalls; a request without an answer is counted and no error.
pub(crate) fn measure(
    link: &mut Link,
    edges: &Edges,
    work: &Work,
    (cell, mode): (Cell, Mode),
    options: &Options,
) -> Result<Measured> {
    link.set(cell);
    let mut device = Running::start("the device", edges.device(link, work, mode)?)?;
    let (first, counted) = work.pictures.split_at(WARM_UPS);
    for picture in first {
        ask(&mut device, picture, mode, LOAD)?;
    }
    let before = link.counts();
    let start = out::now();
    let mut measured = Measured::default();
    for picture in counted.iter().take(options.requests) {
        if start.elapsed() > Duration::from_secs(options.cell_seconds) {
            break;
        }
        let within = Duration::from_millis(DEADLINE_MS.into()) + SLACK;
        let answer = ask(&mut device, picture, mode, within)?;
        measured.add(&answer, picture.label)?;
    }
    measured.carried(before, link.counts());
    Ok(measured)
}

/// Has one picture answered; gives the device's line.
fn ask(device: &mut Running, picture: &PictureFile, mode: Mode, within: Duration) -> Result<Value> {
    device.tell(picture.path.as_os_str().as_encoded_bytes())?;
    let line = device.line(within)?;
    let answer: Value = serde_json::from_str(&line).context("the device's line")?;
    let wanted = match mode {
        Mode::Split | Mode::Picture => "edge",
        Mode::DeviceOnly => "device",
    };
    let by = &answer["by"];
    ensure!(
        by.is_null() || by == wanted,
        "answered by {by} and not by the {wanted}: {line}"
    );
    Ok(answer)
}
