//! `cargo xtask simulate`: policies over recorded and drawn links, faults and overload in virtual
//! time.
#![allow(clippy::print_stdout, reason = "tables go to the terminal")]

mod faults;
mod menus;
#[path = "../program/options.rs"]
mod options;
mod plot;
mod policies;
mod record;
mod study;
mod traces;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use split_runtime::{Menu, Speeds};

/// Runs policies, faults and overload in virtual time.
///
/// The same arguments give the same figures, byte for byte.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask simulate",
    bin_name = "cargo xtask simulate",
    max_term_width = 100,
    after_help = "Examples:\n  \
        cargo xtask simulate policy --traces TRACES --deadlines-ms 150\n      \
        every policy over recorded links, beside oracles that know the future\n  \
        cargo xtask simulate faults\n  \
        cargo xtask simulate faults --policies --seeds 1000\n      \
        the same broken systems, with devices that choose what they send\n  \
        cargo xtask simulate menu benches/records/ra-embedded.json --device-mmacs 300 --out menu.json\n      \
        then `simulate policy --menu menu.json`"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare policies and oracles over traces: in time, accuracy, bytes, switches, regret
    Policy(study::Options),
    /// Break whole systems in every way, seed by seed: each request must end exactly once
    Faults(faults::Options),
    /// Ask one edge for twice what it can do
    Overload(faults::OverloadOptions),
    /// Make a menu from rate-accuracy records and the speed of device and edge
    Menu(MenuOptions),
}

/// What goes into a menu.
#[derive(Args, Debug)]
struct MenuOptions {
    /// Records of one backbone, one for each split point
    #[arg(required_unless_present = "measured")]
    records: Vec<PathBuf>,
    /// A menu as `split-device --print-menu` measured it, in place of records and speeds
    #[arg(long, value_name = "FILE", conflicts_with = "records")]
    measured: Option<PathBuf>,
    /// How many times slower than the device of --measured the one of the menu is
    #[arg(long, default_value_t = 1, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(1..=10_000), requires = "measured")]
    device_slower: u32,
    /// Millions of multiply-accumulates a second on the device
    #[arg(long, default_value_t = 200.0)]
    device_mmacs: f64,
    /// Millions of multiply-accumulates a second on the edge
    #[arg(long, default_value_t = 20_000.0)]
    edge_mmacs: f64,
    /// 95th percentile of a frame's length over its mean, where a record names none
    #[arg(long, default_value_t = 1.3)]
    p95_ratio: f64,
    /// Leave out what loses more points than this
    #[arg(long, default_value_t = 10.0)]
    points_lost: f64,
    /// File to write; without it the menu is printed
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    if options::were_asked_for(&Cli::command()) {
        return ExitCode::SUCCESS;
    }
    let result = match Cli::parse().command {
        Command::Policy(options) => study::run(&options),
        Command::Faults(options) => faults::run(&options),
        Command::Overload(options) => faults::overload(&options),
        Command::Menu(options) => menu(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn menu(options: &MenuOptions) -> Result<()> {
    let menu = match &options.measured {
        Some(path) => menus::read(Some(path))?.on_slower_device(options.device_slower)?,
        None => menu_of_records(options)?,
    };
    let json = menu.to_json();
    match &options.out {
        Some(path) => fs::write(path, json).with_context(|| format!("writing {}", path.display())),
        None => {
            print!("{json}");
            Ok(())
        }
    }
}

fn menu_of_records(options: &MenuOptions) -> Result<Menu> {
    let speeds = Speeds {
        device_macs_per_s: options.device_mmacs * 1e6,
        edge_macs_per_s: options.edge_mmacs * 1e6,
        p95_ratio: options.p95_ratio,
        points_lost_max: options.points_lost,
        ..Speeds::default()
    };
    let texts = options
        .records
        .iter()
        .map(|path| fs::read_to_string(path).with_context(|| format!("reading {}", path.display())))
        .collect::<Result<Vec<String>>>()?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    Ok(Menu::from_records(&texts, &speeds)?)
}
