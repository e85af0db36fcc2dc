//! Both programs as processes that end with the test, whatever it does.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything.
const WITHIN: Duration = Duration::from_secs(20);

pub(super) fn edge() -> Command {
    program(env!("CARGO_BIN_EXE_split-edge"))
}

pub(super) fn device(model: &Path, address: &str) -> Command {
    let mut command = device_alone(model);
    command.args(["--edge", address]);
    command
}

/// A device that no edge was named.
pub(super) fn device_alone(model: &Path) -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_split-device"));
    command.arg("--model").arg(model);
    // A busy machine must not look like a slow edge, or like none.
    command.env("SPLIT_DEVICE_DEADLINE_MS", "10000");
    command.env("SPLIT_DEVICE_CONNECT_MS", "10000");
    command
}

/// Without the settings of whoever runs the tests.
fn program(path: &str) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("SPLIT_EDGE_") || text.starts_with("SPLIT_DEVICE_") {
            command.env_remove(&name);
        }
    }
    command
}

/// What a command printed, said and ended with; one that doesn't end is killed and fails the test.
pub(super) fn output(command: &mut Command) -> Output {
    let pipes = command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = pipes.stderr(Stdio::piped()).spawn().unwrap();
    let out = bytes_of(child.stdout.take().unwrap());
    let err = bytes_of(child.stderr.take().unwrap());
    let status = ended(&mut child, WITHIN);
    let read = |bytes: &Receiver<Vec<u8>>| bytes.recv_timeout(WITHIN).unwrap();
    Output {
        status,
        stdout: read(&out),
        stderr: read(&err),
    }
}

/// Waits for the end of a process, for a bounded time.
fn ended(child: &mut Child, within: Duration) -> ExitStatus {
    let start = now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > within {
            let _ = child.kill();
            let _ = child.wait();
            panic!("a process didn't end within {within:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn bytes_of(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

/// What a command printed, which has to go well.
pub(super) fn printed(command: &mut Command) -> String {
    let output = output(command);
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
    let output = output(command);
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
        Self::start_on(models, listen, "127.0.0.1:0", more)
    }

    pub(super) fn start_on(models: &Path, listen: &str, admin: &str, more: &[&str]) -> Self {
        let mut command = edge();
        command
            .arg("--models")
            .arg(models)
            .args(["--listen", listen]);
        command.args(["--admin", admin]).args(more);
        let pipes = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        let log = collected(child.stderr.take().unwrap());
        let lines = collected(child.stdout.take().unwrap());
        let mut edge = Self {
            child,
            address: String::new(),
            admin: String::new(),
            log,
        };
        edge.address = named(&lines, "listening on ", &edge.log);
        edge.admin = named(&lines, "admin on ", &edge.log);
        edge
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

    /// Memory that it holds, in KiB.
    #[cfg(target_os = "linux")]
    #[allow(dead_code, reason = "some of the test programs look at it")]
    pub(super) fn resident_kib(&self) -> usize {
        self.memory_kib("VmRSS:")
    }

    /// Most memory that it ever held, in KiB.
    #[cfg(target_os = "linux")]
    #[allow(dead_code, reason = "one of the test programs looks at it")]
    pub(super) fn peak_kib(&self) -> usize {
        self.memory_kib("VmHWM:")
    }

    #[cfg(target_os = "linux")]
    fn memory_kib(&self, field: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let count = line.unwrap().split_whitespace().next().unwrap();
        count.parse().unwrap()
    }

    /// What one of its metrics counts, its labels with it.
    #[allow(dead_code, reason = "some of the test programs look at it")]
    pub(super) fn metric(&self, name: &str) -> usize {
        let metrics = self.get("/metrics");
        let mut lines = metrics.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
            .parse()
            .unwrap()
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
        let status = ended(&mut self.child, within);
        assert!(status.success(), "{status}");
    }

    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops all its threads where they stand, or lets them go on.
    pub(super) fn stall(&self, stalls: bool) {
        self.signal(if stalls { "-STOP" } else { "-CONT" });
    }

    pub(super) fn signal(&self, signal: &str) {
        send(&self.child, signal);
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args([signal, &pid]).status();
    assert!(sent.unwrap().success());
}

fn named(lines: &Receiver<String>, what: &str, log: &Receiver<String>) -> String {
    let line = lines.recv_timeout(WITHIN).unwrap_or_else(|_| {
        let said: Vec<String> = log.try_iter().collect();
        panic!("the edge printed nothing: {}", said.join("\n"))
    });
    let value = line.strip_prefix(what);
    value
        .unwrap_or_else(|| panic!("{line:?} instead of {what:?}"))
        .to_owned()
}

/// Lines of a pipe as they come, so that it never fills.
fn collected(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
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
    lines: Receiver<String>,
    log: Receiver<String>,
}

pub(super) trait Piped {
    fn piped(&mut self) -> Watched;
}

impl Piped for Command {
    fn piped(&mut self) -> Watched {
        let pipes = self.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = pipes.stderr(Stdio::piped()).spawn().unwrap();
        Watched {
            paths: child.stdin.take().unwrap(),
            lines: collected(child.stdout.take().unwrap()),
            log: collected(child.stderr.take().unwrap()),
            child,
        }
    }
}

impl Watched {
    pub(super) fn ask(&mut self, picture: &Path) -> Value {
        self.ask_bytes(picture.as_os_str().as_encoded_bytes())
    }

    pub(super) fn ask_bytes(&mut self, line: &[u8]) -> Value {
        serde_json::from_str(&self.ask_text(line)).unwrap()
    }

    /// The line that it prints for one that it reads.
    pub(super) fn ask_text(&mut self, line: &[u8]) -> String {
        self.tell_bytes(line);
        self.hear_text()
    }

    /// Names a picture without waiting for its line.
    pub(super) fn tell(&mut self, picture: &Path) {
        self.tell_bytes(picture.as_os_str().as_encoded_bytes());
    }

    fn tell_bytes(&mut self, line: &[u8]) {
        self.paths.write_all(line).unwrap();
        self.paths.write_all(b"\n").unwrap();
    }

    /// The next line that it prints.
    pub(super) fn hear(&mut self) -> Value {
        serde_json::from_str(&self.hear_text()).unwrap()
    }

    /// A line that it has printed already.
    pub(super) fn heard(&mut self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    fn hear_text(&mut self) -> String {
        self.lines.recv_timeout(WITHIN).unwrap_or_else(|_| {
            let said: Vec<String> = self.log.try_iter().collect();
            panic!("the device printed nothing: {}", said.join("\n"))
        })
    }

    /// Sends a signal; gives the exit code and what was said.
    pub(super) fn end_by(self, signal: &str) -> (Option<i32>, String) {
        self.signal(signal);
        self.ended()
    }

    pub(super) fn signal(&self, signal: &str) {
        send(&self.child, signal);
    }

    /// Waits for its end; gives the exit code and what was said.
    pub(super) fn ended(mut self) -> (Option<i32>, String) {
        let status = ended(&mut self.child, WITHIN);
        let said: Vec<String> = self.log.iter().collect();
        (status.code(), said.join("\n"))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "processes live in real time")]
pub(super) fn now() -> Instant {
    Instant::now()
}
