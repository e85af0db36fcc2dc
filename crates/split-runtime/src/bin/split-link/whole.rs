//! Sending the picture: a device that has its file already, as a camera does. `split-device` codes one first.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use split_runtime::grpc::{Device, DeviceOptions, EdgeAddress, OwnedRequest, Reply};
use split_runtime::{DeviceConfig, DispatcherConfig, MAX_BODY_BYTES, Ranking};

use crate::answer::{How, Outcome, Sent};
use crate::program::folder::Model;
use crate::program::settings::read_bytes;
use crate::program::{backend, out, picture};

/// Sends the files that standard input names, one a line, and prints a line for each as `split-device` does.
///
/// # Errors
/// Where no edge is reached.
pub(crate) fn send(
    folder: &Path,
    edge: &str,
    deadline_ms: u32,
    connect_ms: u64,
) -> Result<ExitCode> {
    let compute = backend::open("flex")?;
    let model = Model::load(folder, &compute)?;
    let contract = picture::contract(&model.bank, model.framing);
    let connection = DeviceConfig::new(vec![contract.clone()]);
    let dispatcher = DispatcherConfig::new(u64::from(std::process::id()));
    let options = DeviceOptions::new(vec![EdgeAddress::new(edge)], connection, dispatcher);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the thread for connections")?;
    let device = runtime.block_on(async {
        let device = Device::start(options)?;
        let opened = device.opened(Duration::from_millis(connect_ms)).await;
        opened.with_context(|| format!("edge {edge}"))?;
        anyhow::Ok(device)
    })?;
    for line in std::io::stdin().lock().lines() {
        let path = PathBuf::from(line.context("reading paths")?);
        let mut outcome = Outcome::new(path.clone());
        let file = read_bytes(&path, MAX_BODY_BYTES as u64)?;
        outcome.sent = Some(Sent {
            split: picture::SPLIT.to_owned(),
            rung: picture::SPLIT.to_owned(),
            bytes: file.len(),
            is_one_of_several: false,
        });
        let start = out::now();
        let body = picture::framed(&contract, &file)?;
        let request = OwnedRequest {
            split: 0,
            rung: 0,
            budget_us: deadline_ms.saturating_mul(1000),
            body,
        };
        let ranking = runtime.block_on(ask(&device, request));
        outcome.parts.total_us = out::us_since(start);
        outcome.how = match ranking {
            Ok(ranking) => How::Edge(ranking),
            Err(error) => How::Unanswered(out::said(&error)),
        };
        out::line(&outcome.json(&model.classes).to_string())?;
    }
    drop(device);
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

async fn ask(device: &Device, request: OwnedRequest) -> Result<Ranking> {
    match device.request(request).await? {
        Reply::Edge(answer) => Ok(Ranking::parse(&answer.body)?),
        Reply::Device { why, .. } => bail!("{why}"),
    }
}
