//! `cargo xtask bench loopback`: what the transport costs, beside raw TCP and a plain gRPC stream.
#![allow(clippy::print_stdout, reason = "tables go to the terminal")]

mod certificates;
mod clients;
mod lines;
#[path = "../program/options.rs"]
mod options;
#[path = "../split-simulate/record.rs"]
mod record;
mod servers;
mod tally;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, Parser};

/// Times frames without a model over loopback: our stream and our unary calls, a length-prefixed TCP
/// connection and a plain gRPC stream, in turn.
///
/// Client and server have a thread each. Every round measures all of them, so that ratios are of the
/// same moment; the median over the rounds is shown.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask bench loopback",
    bin_name = "cargo xtask bench loopback",
    max_term_width = 100,
    after_help = "Examples:\n  \
        cargo xtask bench loopback\n  \
        cargo xtask bench loopback --rounds 3 --record runtime.jsonl"
)]
struct Cli {
    /// Rounds
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Time for each transport in each round, in milliseconds
    #[arg(long, default_value_t = 300)]
    millis: u64,
    /// Frames over one connection while memory is watched, after a tenth of them to warm up
    #[arg(long, default_value_t = 1_000_000)]
    frames: usize,
    /// File that lines are written to, anew
    #[arg(long)]
    record: Option<PathBuf>,
}

fn main() -> ExitCode {
    if options::were_asked_for(&Cli::command()) {
        return ExitCode::SUCCESS;
    }
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let mut clients = clients::all()?;
    let rounds = tally::measure(&mut clients, cli.rounds, cli.millis)?;
    let memory = tally::memory(&mut clients, cli.frames)?;
    let summary = lines::Summary::new(&clients, &rounds, memory);
    summary.print();
    if let Some(path) = &cli.record {
        record::write(path, &summary.lines(), true)?;
    }
    Ok(())
}
