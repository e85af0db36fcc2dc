//! `cargo xtask bench link`: how long answers take over links, split, as a picture and without a link.

mod carrier;
mod cells;
mod lane;
mod leftovers;
mod link;
mod measure;
#[cfg(target_os = "linux")]
mod netns;
mod options;
#[allow(
    dead_code,
    reason = "device and edge have settings and completions too"
)]
#[path = "../program/mod.rs"]
mod program;
mod programs;
mod proxy;
#[path = "../split-simulate/record.rs"]
mod record;
mod tally;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::{CommandFactory as _, Parser as _};

use crate::cells::Cell;
use crate::link::{How, Link};
use crate::measure::{Edges, WARM_UPS, measure};
use crate::options::{Cli, Options, Role};
use crate::program::out;
use crate::program::signals::Signals;
use crate::work::Work;

fn main() -> ExitCode {
    if program::options::were_asked_for(&Cli::command()) {
        return ExitCode::SUCCESS;
    }
    let cli = Cli::parse();
    program::exit(match cli.role {
        Some(Role::Keep { program }) => programs::keep(&program),
        None => run(&cli.options),
    })
}

fn run(options: &Options) -> Result<ExitCode> {
    // What can be wrong in the options is said before anything is made.
    let cells = cells::cells(&options.kbit, &options.rtt_ms, &options.loss)?;
    leftovers::remove_those_of_the_dead();
    let work = Work::new(options, options.requests + WARM_UPS)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the thread for signals")?;
    let folder = work.folder().to_owned();
    runtime.block_on(async { end_by_signal(folder) })?;
    let mut link = Link::open(options.how, cells[0], options.seed)?;
    let cells = possible(cells, link.how(), options)?;
    let edges = Edges::start(&mut link, &work, &options.modes)?;
    let broken = measure_all(&mut link, &edges, &work, &cells, options)?;
    // Programs end before the link that they use, and the link before the folder.
    drop(edges);
    drop(link);
    drop(work);
    runtime.shutdown_background();
    if broken > 0 {
        out::log(&format!("{broken} measurements came to nothing"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes what a run leaves behind, then ends, once a signal asks for it.
fn end_by_signal(folder: PathBuf) -> Result<()> {
    let mut signals = Signals::listen(false)?;
    tokio::spawn(async move {
        let code = signals.end(1).await;
        leftovers::remove_own(&folder);
        std::process::exit(code.into())
    });
    Ok(())
}

/// Without the links that can't be had here, which is said.
fn possible(cells: Vec<Cell>, how: How, options: &Options) -> Result<Vec<Cell>> {
    if how == How::Netns {
        return Ok(cells);
    }
    let asked = options.loss.iter().any(|loss| *loss > 0.0);
    ensure!(
        !asked,
        "a proxy loses no packets; for --loss use --how netns, which needs Linux and root"
    );
    let count = cells.len();
    let left: Vec<Cell> = cells.into_iter().filter(|cell| cell.loss == 0.0).collect();
    if left.len() < count {
        out::log(&format!(
            "{} links with loss are left out: a proxy loses no packets",
            count - left.len()
        ));
    }
    Ok(left)
}

/// Every link in every way; gives how many came to nothing.
fn measure_all(
    link: &mut Link,
    edges: &Edges,
    work: &Work,
    cells: &[Cell],
    options: &Options,
) -> Result<usize> {
    out::line(&format!(
        "{} cut at {}, rung {}, {}, WebP of quality {}, by {}",
        work.name,
        work.split,
        work.rung,
        work.data,
        options.quality,
        link.how().name()
    ))?;
    out::line(&tally::heads(options.device_slower))?;
    let mut broken = 0;
    for cell in cells {
        for mode in &options.modes {
            let measured = match measure(link, edges, work, (*cell, *mode), options) {
                Ok(measured) => measured,
                Err(error) => {
                    broken += 1;
                    let (kbit_s, rtt_ms) = (cell.kbit_s, cell.rtt_ms);
                    let named = format!("{} over {kbit_s} kbit/s, {rtt_ms} ms", mode.name());
                    out::log(&format!("{named}: {}", out::said(&error)));
                    continue;
                }
            };
            out::line(&measured.row(*cell, *mode, options.device_slower))?;
            let place = (*cell, *mode, link.how());
            match (measured.line(work, options, place), &options.record) {
                (None, _) => broken += 1,
                (Some(line), Some(path)) => record::write(path, &[line], false)?,
                (Some(_), None) => {}
            }
        }
    }
    Ok(broken)
}
