//! Both programs as processes that end with the test, whatever it does.

use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything.
const WITHIN: Duration = Duration::from_secs(20);

pub(super) fn edge() -> Command {
    Command::new(env!("CARGO_BIN_EXE_split-edge"))
}

pub(super) fn device(model: &Path, address: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_split-device"));
    command.arg("--model").arg(model).args(["--edge", address]);
    // A busy machine must not look like a slow edge.
    command.env("SPLIT_DEVICE_DEADLINE_MS", "10000");
    command
}

/// What a command printed, which has to go well.
pub(super) fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The JSON lines of a device.
pub(super) fn lines_of(command: &mut Command) -> Vec<Value> {
    let printed = printed(command);
    let lines = printed.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What a failing command says.
pub(super) fn failure_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{command:?} went well");
    String::from_utf8(output.stderr).unwrap()
}

/// Tries until there is something, for a bounded time.
pub(super) fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(start.elapsed() < WITHIN, "it never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(super) struct Edge {
    child: Child,
    pub(super) address: String,
    admin: String,
    log: Receiver<String>,
}

impl Edge {
    /// Starts on a free port and waits until it serves.
    pub(super) fn start(models: &Path, more: &[&str]) -> Self {
        Self::start_at(models, "127.0.0.1:0", more)
    }

    pub(super) fn start_at(models: &Path, listen: &str, more: &[&str]) -> Self {
        let mut command = edge();
        command
            .arg("--models")
            .arg(models)
            .args(["--listen", listen]);
        command.args(["--admin", "127.0.0.1:0"]).args(more);
        let pipes = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        let log = collected(child.stderr.take().unwrap());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut named = |what: &str| named(&mut lines, what, &log);
        let (address, admin) = (named("listening on "), named("admin on "));
        Self {
            child,
            address,
            admin,
            log,
        }
    }

    /// The whole answer of the admin port.
    pub(super) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: edge\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Waits for a line of the log.
    pub(super) fn said(&mut self, what: &str) -> String {
        let mut seen = String::new();
        loop {
            let line = self.log.recv_timeout(WITHIN);
            let line = line.unwrap_or_else(|_| panic!("no {what:?} in\n{seen}"));
            if line.contains(what) {
                return line;
            }
            seen.push_str(&line);
            seen.push('\n');
        }
    }

    pub(super) fn hang_up(&self) {
        self.signal("-HUP");
    }

    /// Ends it as a person or a supervisor would; every frame has to be answered.
    pub(super) fn drain(self) {
        self.drain_within(WITHIN);
    }

    pub(super) fn drain_within(mut self, within: Duration) {
        self.signal("-TERM");
        let start = now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            assert!(start.elapsed() < within, "the drain didn't end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops all its threads where they stand, or lets them go on.
    pub(super) fn stall(&self, stalls: bool) {
        self.signal(if stalls { "-STOP" } else { "-CONT" });
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn named(lines: &mut Lines<BufReader<ChildStdout>>, what: &str, log: &Receiver<String>) -> String {
    let line = lines.next().and_then(Result::ok).unwrap_or_else(|| {
        let said: Vec<String> = log.iter().collect();
        panic!("the edge ended: {}", said.join("\n"))
    });
    let value = line.strip_prefix(what);
    value
        .unwrap_or_else(|| panic!("{line:?} instead of {what:?}"))
        .to_owned()
}

/// Lines of a log as they come, so that its pipe never fills.
fn collected(log: ChildStderr) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// A device that answers one path after the other.
pub(super) struct Watched {
    child: Child,
    paths: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

pub(super) trait Piped {
    fn piped(&mut self) -> Watched;
}

impl Piped for Command {
    fn piped(&mut self) -> Watched {
        let pipes = self.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = pipes.stderr(Stdio::null()).spawn().unwrap();
        Watched {
            paths: child.stdin.take().unwrap(),
            lines: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
        }
    }
}

impl Watched {
    pub(super) fn ask(&mut self, picture: &Path) -> Value {
        writeln!(self.paths, "{}", picture.display()).unwrap();
        let line = self.lines.next().unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "processes live in real time")]
fn now() -> Instant {
    Instant::now()
}
