//! `cargo xtask`: everything that is done to this workspace, as one small program.
//!
//! It parses arguments and calls `cargo`. What needs a tensor library lives in the second binary of
//! this package, `lab`, which is compiled only when a command asks for it.

mod assets;
mod book;
mod ci;
mod completions;
mod forward;
mod plan;
mod report;
mod semver;
mod shell;
mod tidy;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

/// Trains, measures and checks the workspace.
///
/// First steps: `cargo xtask train` trains bottleneck units for the picture set and network that the
/// project ships and prints a table; `cargo xtask test` runs all tests.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train bottleneck units and compare them with picture codecs; no arguments are needed
    ///
    /// Options belong to the program `lab`: `cargo xtask train --help` lists them (and compiles `lab`
    /// first). `--backend flex|ndarray|wgpu|cuda` decides what is compiled; flex, the CPU, is the default.
    Train(LabArgs),
    /// Measure a trained bank again from real frames (`eval --help` lists the options)
    Eval(LabArgs),
    /// Device side: turn a picture into a frame file (`encode --help` lists the options)
    Encode(LabArgs),
    /// Edge side: turn a frame file into a prediction (`decode --help` lists the options)
    Decode(LabArgs),
    /// Measure speed: of a whole split per backend, `bench networks` for uncut networks and the heap of a head,
    /// `bench codec` for the entropy coders alone, `bench loopback` for the transport alone, `bench link` for
    /// answers over slow and lossy links
    ///
    /// `--backend flex,wgpu` compiles and measures several backends in one run, `--peers PYTHON` adds
    /// PyTorch, ONNX Runtime and CompressAI, `--compare RECORD` fails when a step became slower beyond the noise.
    Bench(LabArgs),
    /// Play policies, faults and overload in virtual time: `simulate policy`, `faults`, `overload`, `menu`
    Simulate(LabArgs),
    /// Show device and edge at work on one page, over a link that is as slow as the page's sliders say
    ///
    /// Takes the bank that `train` wrote; `demo --help` lists the options.
    Demo(LabArgs),
    /// Fetch public data sets: `data cifar10 --out DIR`; or `data embedded`, the own one as files
    Data(LabArgs),
    /// List every legal cut of a backbone with its cost: `splits --model yolox_nano`
    Splits(LabArgs),
    /// Search unit shapes, steps and prices in short runs; `--resume` goes on
    Search(LabArgs),
    /// Show released units (a folder of checkpoints): layout, cost, bits with both coders
    Units(LabArgs),
    /// Measure what a listener could restore of the pictures from the frames of each rung of a bank
    Privacy(LabArgs),
    /// Train the small network that the project ships, from its seed
    TrainBackbone(LabArgs),
    /// Run all checks of continuous integration, cheapest first, and stop at the first failure
    Ci(CiArgs),
    /// Check the shape of the workspace: layers, file lengths, records, links, tables
    Tidy,
    /// Build the pages of docs/ as a book into out/book, where mdBook is installed, and follow its links
    Book,
    /// Run all tests
    Test(TestArgs),
    /// Write the tables and pictures of the docs anew from benches/records, or all as one page
    ///
    /// Without `--out`: the tables of README.md and docs/benchmarks.md and the pictures in
    /// docs/pictures. With `--out DIR`: DIR/index.html, one page with every record's figures that needs
    /// no network and no script; the docs stay as they are.
    Report(report::PageArgs),
    /// Recommend a split point and a rung for a device, an edge, a link and a goal
    ///
    /// Arithmetic over records: nothing is measured. May answer "don't split" or "device only". Example:
    /// cargo xtask plan ra-embedded --device-mmacs 300 --edge-mmacs 30000 --kbit 100 --rtt-ms 40
    /// --deadline-ms 120
    Plan(Box<plan::PlanArgs>),
    /// Print a completion script: define `xtask() { cargo xtask "$@"; }`, then complete `xtask`
    ///
    /// Compiles the programs that commands hand on to, to learn their options.
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Check a folder of downloaded weights and data sets against xtask/assets.json
    Assets(AssetsArgs),
}

#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
struct LabArgs {
    /// Handed on as they are
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTIONS"
    )]
    rest: Vec<OsString>,
}

#[derive(Args, Debug)]
struct CiArgs {
    /// Leave out the build with ndarray and wgpu and the tests on them
    #[arg(long)]
    without_backends: bool,
}

#[derive(Args, Debug)]
struct TestArgs {
    /// Also run the long ones: all test pictures, long properties, longer training
    #[arg(long)]
    slow: bool,
}

#[derive(Args, Debug)]
struct AssetsArgs {
    /// Folder to check; without it SPLIT_ASSETS, else `../shared/assets` beside the checkout
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    // Without a backtrace: what goes wrong here is for the person to mend, not for us.
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let root = shell::workspace_root()?;
    match command {
        Command::Train(args) => forward::lab("train", args.rest),
        Command::Eval(args) => forward::lab("eval", args.rest),
        Command::Encode(args) => forward::lab("encode", args.rest),
        Command::Decode(args) => forward::lab("decode", args.rest),
        Command::Bench(args) if args.rest.first().is_some_and(|word| word == "codec") => {
            forward::codec_bench(args.rest.into_iter().skip(1).collect())
        }
        Command::Bench(args) if args.rest.first().is_some_and(|word| word == "loopback") => {
            forward::loopback_bench(args.rest.into_iter().skip(1).collect())
        }
        Command::Bench(args) if args.rest.first().is_some_and(|word| word == "link") => {
            forward::link_bench(args.rest.into_iter().skip(1).collect())
        }
        Command::Bench(args) => forward::lab("bench", args.rest),
        Command::Simulate(args) => forward::simulate(args.rest),
        Command::Demo(args) => forward::demo(args.rest),
        Command::Data(args) => forward::lab("data", args.rest),
        Command::Splits(args) => forward::lab("splits", args.rest),
        Command::Search(args) => forward::lab("search", args.rest),
        Command::Units(args) => forward::lab("units", args.rest),
        Command::Privacy(args) => forward::lab("privacy", args.rest),
        Command::TrainBackbone(args) => forward::lab("train-backbone", args.rest),
        Command::Ci(args) => ci::run(&root, !args.without_backends),
        Command::Tidy => tidy::run(&root),
        Command::Book => book::run(&root),
        Command::Test(args) => ci::test(&root, args.slow),
        Command::Report(args) => match &args.out {
            Some(out) => report::write_page(&root, out, &args),
            None => report::write(&root),
        },
        Command::Plan(args) => plan::run(&root, &args),
        Command::Completions { shell: name } => completions::print(Cli::command(), name),
        Command::Assets(args) => assets::run(&root, args.dir),
    }
}
