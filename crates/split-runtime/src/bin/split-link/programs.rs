//! The programs at both ends, as processes that end with this one, whatever happens to it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::program::out;

/// Lines of a program's log that are kept for an error.
const LOG_LINES: usize = 10;

/// Time for a program to end by itself once its input has ended.
const END: Duration = Duration::from_secs(3);

/// How often an ending program is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A process, what it prints, and the last lines it said.
pub(crate) struct Running {
    name: &'static str,
    child: Child,
    /// Open as long as it is to run.
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    log: Arc<Mutex<VecDeque<String>>>,
}

impl Running {
    /// # Errors
    /// Where the program can't be started.
    pub(crate) fn start(name: &'static str, mut command: Command) -> Result<Self> {
        // Settings of whoever runs the bench are not those of the bench.
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy();
            if text.starts_with("SPLIT_EDGE_") || text.starts_with("SPLIT_DEVICE_") {
                command.env_remove(&variable);
            }
        }
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = pipes.stderr(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("starting {name}: {command:?}"))?;
        let log = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(pipe) = child.stderr.take() {
            keep_last(pipe, Arc::clone(&log));
        }
        let lines = child.stdout.take().context("a program without output")?;
        Ok(Self {
            name,
            input: child.stdin.take(),
            lines: lines_of(lines),
            child,
            log,
        })
    }

    /// Writes a line to it.
    ///
    /// # Errors
    /// Where it reads no more; with what it said last.
    pub(crate) fn tell(&mut self, line: &[u8]) -> Result<()> {
        let written = self.input.as_mut().map(|input| {
            input.write_all(line)?;
            input.write_all(b"\n")?;
            input.flush()
        });
        match written {
            Some(Ok(())) => Ok(()),
            _ => bail!("{} ended: {}", self.name, self.said()),
        }
    }

    /// The next line that it prints.
    ///
    /// # Errors
    /// Where it ends or nothing comes in time; with what it said last.
    pub(crate) fn line(&self, within: Duration) -> Result<String> {
        match self.lines.recv_timeout(within) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                bail!(
                    "{} printed nothing for {within:?}: {}",
                    self.name,
                    self.said()
                )
            }
            Err(RecvTimeoutError::Disconnected) => {
                bail!("{} ended: {}", self.name, self.said())
            }
        }
    }

    fn said(&self) -> String {
        // What it said just before its end may still be on the way.
        thread::sleep(LOOK);
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.is_empty() {
            return "it said nothing".to_owned();
        }
        let lines: Vec<&str> = log.iter().map(String::as_str).collect();
        lines.join("; ")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both the device and whoever keeps an edge end with their input.
        drop(self.input.take());
        let start = out::now();
        while start.elapsed() < END {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(LOOK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program until our input ends: so it ends also where whoever wants it was killed.
///
/// # Errors
/// Where it can't be started.
pub(crate) fn keep(program: &[OsString]) -> Result<ExitCode> {
    let (name, arguments) = program.split_first().context("keep what?")?;
    let mut child = Command::new(name)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("starting {}", name.display()))?;
    let ended = Arc::new(AtomicBool::new(false));
    let input_ended = Arc::clone(&ended);
    thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        input_ended.store(true, Ordering::Relaxed);
    });
    loop {
        if let Some(status) = child.try_wait().context("waiting for the program")? {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
        }
        if ended.load(Ordering::Relaxed) {
            child.kill().context("ending the program")?;
            child.wait().context("waiting for the program")?;
            return Ok(ExitCode::SUCCESS);
        }
        thread::sleep(LOOK);
    }
}

/// This program, and one that was built beside it.
///
/// # Errors
/// Where the other one isn't there.
pub(crate) fn beside_us(name: &str) -> Result<PathBuf> {
    let us = ourselves()?;
    let path = us.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if !path.is_file() {
        bail!(
            "{} isn't there; `cargo xtask bench link` builds it",
            path.display()
        );
    }
    Ok(path)
}

/// # Errors
/// Where the system doesn't say.
pub(crate) fn ourselves() -> Result<PathBuf> {
    std::env::current_exe().context("where this program is")
}

/// The arguments that have `program` kept by us.
pub(crate) fn kept(mut command: Command, program: &Path) -> Command {
    command.arg("keep").arg("--").arg(program);
    command
}

/// Lines of a pipe as they come; the reader falls behind by a few at most.
fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(64);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn keep_last(pipe: impl Read + Send + 'static, log: Arc<Mutex<VecDeque<String>>>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() == LOG_LINES {
                log.pop_front();
            }
            log.push_back(line);
        }
    });
}
