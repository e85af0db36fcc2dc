//! What the programs need: settings, models in folders, backends, lines of output.

pub(crate) mod allowed;
pub(crate) mod backend;
pub(crate) mod folder;
#[allow(
    dead_code,
    reason = "completions of `cargo xtask` name neither device nor edge"
)]
pub(crate) mod options;
pub(crate) mod out;
pub(crate) mod page;
#[allow(
    dead_code,
    reason = "the edge reads pictures, the device sends them, the demo does neither"
)]
pub(crate) mod picture;
pub(crate) mod settings;
pub(crate) mod signals;

use std::process::ExitCode;

/// How the process ends; an error is said. Not where its reader has gone: that is no failure.
pub(crate) fn exit(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if out::is_unread(&error) => ExitCode::SUCCESS,
        Err(error) => {
            out::log(&format!("error: {}", out::said(&error)));
            ExitCode::FAILURE
        }
    }
}
