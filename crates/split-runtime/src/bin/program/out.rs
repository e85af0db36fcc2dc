//! Lines for people and for pipes.

use std::any::Any;
use std::io::Write as _;
use std::time::Instant;

/// Prints a line at once.
///
/// # Errors
/// Where it can't be written, say on a full disk: a result that is lost must not look like one that
/// was given.
pub(crate) fn line(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Prints what a shell needs to complete the options of `command`.
///
/// # Errors
/// As [`line`].
pub(crate) fn completions(
    shell: clap_complete::Shell,
    command: &mut clap::Command,
) -> anyhow::Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, command, name, &mut script);
    line(String::from_utf8(script)?.trim_end())?;
    Ok(())
}

/// Whether an error is that of a reader who has gone, as `head` does when it has seen enough.
pub(crate) fn is_unread(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// A line for the log.
pub(crate) fn log(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// An error and its causes in one line.
pub(crate) fn said(error: &anyhow::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}

/// What a panic said.
#[allow(dead_code, reason = "the edge alone goes on after one")]
pub(crate) fn panicked(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("it said nothing")
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
