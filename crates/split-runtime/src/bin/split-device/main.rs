//! `split-device`: pictures in, predictions out, with half of a network here and half on an edge.

#[path = "../program/mod.rs"]
mod program;

mod answer;
mod choose;
mod config;
mod connect;
mod cuts;
mod flight;
mod pictures;
mod ppm;
mod session;
#[path = "../program/spans.rs"]
mod spans;
mod video;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, Parser as _};

use crate::config::{ALLOWED, Cli, DeviceSettings};
use crate::program::{out, page, settings};

fn main() -> ExitCode {
    program::exit(run(Cli::parse()))
}

fn run(cli: Cli) -> Result<ExitCode> {
    if let Some(shell) = cli.completions {
        out::completions(shell, &mut Cli::command())?;
        return Ok(ExitCode::SUCCESS);
    }
    let defaults = DeviceSettings::defaults();
    if cli.print_settings {
        let text = page::table(&defaults, &Cli::command(), ALLOWED)?;
        out::line(text.trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let device: DeviceSettings =
        settings::layered(&defaults, cli.config.as_deref(), &cli.settings)?;
    if cli.print_config {
        let text = settings::print(&device, &Cli::command())?;
        out::line(text.trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    if cli.print_menu {
        return session::print_menu(&device);
    }
    session::run(&device, &cli.pictures)
}
