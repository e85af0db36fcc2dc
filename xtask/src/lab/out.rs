//! What a command prints.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write as _};

/// Writes a line to standard output. Whoever reads only the first lines (`| head`) has what they
/// wanted, so the program ends there quietly; any other failure ends it with a message.
pub(crate) fn line(text: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let written = out
        .write_fmt(text)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("error: writing to standard output: {error}");
            std::process::exit(1);
        }
    }
}

/// An error with its causes, each said once: many name their cause already.
pub(crate) fn said(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::said;

    #[test]
    fn a_cause_that_was_named_already_is_not_repeated() {
        let error = anyhow!("no symbols")
            .context("rung one: no symbols")
            .context("training");
        assert_eq!(said(&error), "training: rung one: no symbols");
    }
}
