//! The demo as a process that ends with the test, and a visitor who speaks plain HTTP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::bank::Rig;

/// Longest wait for anything.
const WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Shown {
    child: Child,
    /// Host and port of the page.
    pub(super) address: String,
}

impl Shown {
    /// Starts with pictures and model of `rig` and waits for the page.
    pub(super) fn start(rig: &Rig, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_split-demo"));
        command
            .arg("--model")
            .arg(&rig.model)
            .args(["--page", "127.0.0.1:0"])
            // A busy machine must not look like a slow link.
            .args(["--deadline-ms", "2500", "--per-minute", "1200"])
            .args(["--kbit", "50000", "--rtt-ms", "0"]);
        command.args(more).arg(&rig.pictures);
        Self::shows(&mut command)
    }

    /// Starts in an empty folder, as on a fresh clone.
    pub(super) fn start_in(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_split-demo"));
        command
            .current_dir(folder)
            .args(["--page", "127.0.0.1:0", "--per-minute", "1200"])
            .args(["--deadline-ms", "2500"]);
        Self::shows(&mut command)
    }

    fn shows(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("page on http://");
        let address = address.and_then(|rest| rest.strip_suffix('/'));
        let address = address.unwrap_or_else(|| panic!("the demo printed {first:?}"));
        Self {
            address: address.to_owned(),
            child,
        }
    }

    /// The answer to a request as it is.
    pub(super) fn raw(&self, request: &[u8]) -> String {
        let mut answer = Vec::new();
        self.asked(request).read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(super) fn text(&self, path: &str) -> String {
        self.raw(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
    }

    pub(super) fn get(&self, path: &str) -> Value {
        let answer = self.text(path);
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> String {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.raw(format!("{head}{body}").as_bytes())
    }

    /// Answers as they come, from the next one on.
    pub(super) fn answers(&self) -> impl Iterator<Item = Value> {
        let number = |answer: &Value| answer["number"].as_u64().unwrap() + 1;
        let told = self.get("/answers/0");
        let mut from = told.as_array().unwrap().last().map_or(0, number);
        let more = move || {
            let answers = self.get(&format!("/answers/{from}"));
            let answers = answers.as_array().unwrap().clone();
            from = answers.last().map_or(from, number);
            Some(answers)
        };
        std::iter::from_fn(more).flatten()
    }

    fn asked(&self, request: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        stream.write_all(request).unwrap();
        stream
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // As Ctrl-C does, so that it can end its own programs.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-INT", &pid]).status();
        let _ = self.child.wait();
    }
}
