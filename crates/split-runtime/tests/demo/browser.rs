//! A browser without a screen.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where a browser may be called.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A browser that has not ended by then is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// Time between two looks at it.
const PAUSE: Duration = Duration::from_millis(50);

/// What a browser saw.
pub(super) struct Seen {
    pub(super) document: String,
    log: String,
}

pub(super) fn find() -> Option<&'static str> {
    let answers = |name: &&str| {
        let version = Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        version.is_ok_and(|status| status.success())
    };
    let found = BROWSERS.into_iter().find(answers);
    if found.is_none() {
        // Straight to the stream: the test runner keeps what is printed.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: no chromium here: the demo's page is not opened"
        );
    }
    found
}

/// Opens a page, lets it live for a while and keeps what it shows then.
pub(super) fn open(browser: &str, address: &str) -> Seen {
    let profile = tempfile::TempDir::new().unwrap();
    let (out, log) = (profile.path().join("document"), profile.path().join("log"));
    let mut child = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--enable-logging=stderr",
            // Its clock stands while it waits for an answer, so this is a number of answers, too.
            "--virtual-time-budget=2000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{address}/"))
        .stdout(fs::File::create(&out).unwrap())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut status = None;
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        status = child.try_wait().unwrap();
        if status.is_some() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    let text = |path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let Some(status) = status else {
        let _ = child.kill();
        panic!("{browser} did not end within {PATIENCE:?}: {}", text(&log));
    };
    let seen = Seen {
        document: text(&out),
        log: text(&log),
    };
    assert!(status.success(), "{browser}: {status}\n{}", seen.log);
    seen
}

impl Seen {
    /// Lines that the page wrote to the console, refused loads among them.
    pub(super) fn console(&self) -> Vec<&str> {
        let lines = self.log.lines();
        lines.filter(|line| line.contains(":CONSOLE")).collect()
    }

    /// The text of an element without others in it.
    pub(super) fn text_of(&self, id: &str) -> &str {
        let start = self.document.find(&format!("id=\"{id}\""));
        let rest = start.map(|start| &self.document[start..]);
        let text = rest.and_then(|rest| rest.split_once('>')?.1.split_once('<'));
        text.unwrap_or_else(|| panic!("no {id} in {}", self.document))
            .0
    }
}
