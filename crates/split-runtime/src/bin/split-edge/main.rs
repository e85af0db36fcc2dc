//! `split-edge`: serves the tails of split networks to devices.
//!
//! It loads every model of a repository folder, decodes the frames of devices, runs unit decoders
//! and tails in batches, and answers with the best classes.

#[path = "../program/mod.rs"]
mod program;

mod config;
mod repository;
mod serve;
mod shelf;
#[path = "../program/spans.rs"]
mod spans;
mod stamp;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, Parser as _};

use crate::config::{ALLOWED, Cli, EdgeSettings};
use crate::program::{out, page, settings};

fn main() -> ExitCode {
    program::exit(run(Cli::parse()))
}

fn run(cli: Cli) -> Result<ExitCode> {
    if let Some(shell) = cli.completions {
        out::completions(shell, &mut Cli::command())?;
        return Ok(ExitCode::SUCCESS);
    }
    let defaults = EdgeSettings::defaults();
    if cli.print_settings {
        let text = page::table(&defaults, &Cli::command(), ALLOWED)?;
        out::line(text.trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let edge: EdgeSettings = settings::layered(&defaults, cli.config.as_deref(), &cli.settings)?;
    if cli.print_config {
        let text = settings::print(&edge, &Cli::command())?;
        out::line(text.trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    serve::run(&edge)
}
