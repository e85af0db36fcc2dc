//! `split-demo`: `split-edge` and `split-device` at work on one machine, with a page that shows them and
//! a link between them that is as slow as the page says.

#[allow(dead_code, reason = "device and edge use what this program leaves")]
#[path = "../program/mod.rs"]
mod program;

mod album;
mod config;
mod controls;
mod link;
mod page;
mod play;
mod programs;
mod stand_in;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Parser as _};
use tokio::net::TcpListener;

use crate::config::{Cli, Served};
use crate::page::Stage;
use crate::program::signals::Signals;
use crate::program::{options, out};
use crate::programs::EdgeProcess;

fn main() -> ExitCode {
    if options::were_asked_for(&Cli::command()) {
        return ExitCode::SUCCESS;
    }
    program::exit(run(&Cli::parse()))
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let served = Served::of(cli)?;
    let controls = cli.controls(&served.names())?;
    let album = album::open(&cli.pictures, served.folder.path())?;
    let stage = Arc::new(Stage::new(controls, album, &served));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the thread for connections")?;
    let code = runtime.block_on(async {
        let mut signals = Signals::listen(false)?;
        tokio::select! {
            biased;
            code = signals.end(1) => Ok(code),
            ended = show(cli, &served, stage) => ended.map(|()| 0),
        }
    });
    runtime.shutdown_background();
    code.map(ExitCode::from)
}

/// Runs edge, link, device and page; ends only with an error.
async fn show(cli: &Cli, served: &Served, stage: Arc<Stage>) -> Result<()> {
    let near = TcpListener::bind("127.0.0.1:0")
        .await
        .context("a port for the link")?;
    let link = near.local_addr()?;
    let listener = TcpListener::bind(&cli.page).await.with_context(|| {
        format!(
            "page = {:?}; choose another with --page HOST:PORT",
            cli.page
        )
    })?;
    let shown = listener.local_addr()?;
    let mut edge = EdgeProcess::start(&served.repository).await?;
    out::line(&format!("page on http://{shown}/"))?;
    tokio::select! {
        ended = link::run(near, edge.address, stage.link()) => ended.context("the link"),
        ended = page::serve(listener, Arc::clone(&stage)) => ended,
        ended = play::run(&stage, &served.model, link) => ended,
        ended = edge.ended() => ended,
    }
}
