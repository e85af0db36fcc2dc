//! The part of `cargo xtask` that needs a tensor library: wires crates to files and backends.
#![expect(clippy::print_stdout, reason = "a program that prints its results")]

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};

/// `println!` that does not panic when nobody reads on.
macro_rules! say {
    ($($words:tt)*) => {
        $crate::out::line(format_args!($($words)*))
    };
}

mod backbone;
mod backend;
mod baselines;
mod bench;
mod continuous;
mod data;
mod detect;
mod eval;
mod examples;
mod files;
mod memory;
mod metrics;
mod options;
mod out;
mod plot;
mod privacy;
mod published;
mod record;
mod report;
mod run_folder;
mod rung;
mod search;
mod setup;
mod splits;
mod tail_norms;
mod train;
mod unit_costs;
mod units;
mod values;

/// Train and measure bottleneck units.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train units at several rates and compare them with picture codecs.
    ///
    /// `--data coco:DIR` trains them for a detector, with other options: `train --data coco:DIR --help`.
    #[command(after_help = examples::TRAIN)]
    Train(Box<train::TrainArgs>),
    /// Measure a bank on a test set with real frames.
    ///
    /// `--data coco:DIR` measures a detector's: `eval --data coco:DIR --help`.
    #[command(after_help = examples::EVAL)]
    Eval(eval::EvalArgs),
    /// Picture to frame file: what the device does.
    #[command(after_help = examples::ENCODE)]
    Encode(eval::EncodeArgs),
    /// Frame file to prediction: what the edge does.
    #[command(after_help = examples::DECODE)]
    Decode(eval::DecodeArgs),
    /// Time head, unit, coder and tail per backend.
    #[command(after_help = examples::BENCH)]
    Bench(Box<bench::BenchArgs>),
    /// Fetch a picture set.
    #[command(after_help = examples::DATA)]
    Data(data::DataArgs),
    /// Every legal cut of a backbone, with what crosses it and what both sides pay.
    #[command(after_help = examples::SPLITS)]
    Splits(splits::SplitsArgs),
    /// Search unit shapes, steps and prices by successive halving.
    #[command(after_help = examples::SEARCH)]
    Search(search::SearchArgs),
    /// Show the authors' released units and what their symbols cost with both coders.
    #[command(after_help = examples::UNITS)]
    Units(units::UnitsArgs),
    /// Measure what a listener could restore of the pictures from the frames of each rung.
    #[command(after_help = examples::PRIVACY)]
    Privacy(privacy::PrivacyArgs),
    /// Train the embedded default's backbone from its seed.
    #[command(after_help = examples::TRAIN_BACKBONE)]
    TrainBackbone(backbone::BackboneArgs),
}

fn main() -> ExitCode {
    if options::were_asked_for(&options::with_those_of(Cli::command(), &detect::command())) {
        return ExitCode::SUCCESS;
    }
    // Without a backtrace: what goes wrong here is for the person to mend, not for us.
    let words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let result = if detect::asked(&words) {
        detect::run(words)
    } else {
        run(Cli::parse().command)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", out::said(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Train(args) => train::run(&args),
        Command::Eval(args) => eval::eval(&args),
        Command::Encode(args) => eval::encode(&args),
        Command::Decode(args) => eval::decode(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Data(args) => data::run(&args),
        Command::Splits(args) => splits::run(&args),
        Command::Search(args) => search::run(&args),
        Command::Units(args) => units::run(&args),
        Command::Privacy(args) => privacy::run(&args),
        Command::TrainBackbone(args) => backbone::run(&args),
    }
}
