//! Lines for people and for pipes.

use std::io::Write as _;
use std::time::Instant;

/// Prints a line at once; a reader that has gone is no reason to panic or to stop.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// A line for the log.
pub(crate) fn log(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// An error and its causes in one line.
pub(crate) fn said(error: &anyhow::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}

#[expect(
    clippy::disallowed_methods,
    reason = "a program measures; no library sees this clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Microseconds since `start`.
pub(crate) fn us_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}
