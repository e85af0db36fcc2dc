//! Sending the picture: the edge that decodes it and runs the whole network, and the device that has its
//! file. Both speak the protocol of the split.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use burn::tensor::{Device as Compute, Tensor};
use split_runtime::grpc::{
    Device, DeviceOptions, Edge, EdgeAddress, EdgeModel, EdgeOptions, OwnedRequest, Reply,
};
use split_runtime::stage::rank;
use split_runtime::{
    BatchKey, DeviceConfig, DispatcherConfig, EdgeConfig, HubConfig, Job, JobError, MAX_BODY_BYTES,
    Ranking, SchedulerConfig,
};

use crate::answer::{How, Outcome, Sent};
use crate::program::folder::Model;
use crate::program::settings::read_bytes;
use crate::program::{backend, out, picture};

/// Classes of an answer, as many as those of `split-edge`.
const RANKED: usize = 5;

/// Runs before the first picture, as many as those of `split-edge` at least.
const WARM_UPS: usize = 4;

/// First guess of the edge's time for a picture; it learns the true one.
const GUESS_US: u32 = 20_000;

/// Serves until it is killed; the first line printed names its address.
///
/// # Errors
/// For a model that can't be loaded and an address that can't be had.
pub(crate) fn serve(folder: &Path, listen: SocketAddr) -> Result<ExitCode> {
    let compute = backend::open("flex")?;
    let model = Model::load(folder, &compute)?;
    let contract = picture::contract(&model.bank, model.framing);
    let side = u32::try_from(model.framing.side())?;
    let key = BatchKey {
        backbone: contract.backbone,
        split: 0,
        shape: [3, side, side],
    };
    let hub = HubConfig {
        connection: EdgeConfig::new(vec![contract]),
        scheduler: SchedulerConfig::new(GUESS_US, GUESS_US),
        keys: vec![key.into()],
        connections_max: 16,
    };
    let mut options = EdgeOptions::new(hub);
    options.listen = listen;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the threads for connections")?;
    runtime.block_on(async {
        let edge = Edge::start(options, Whole { model, compute }).await?;
        out::line(&format!("listening on {}", edge.address()))?;
        std::future::pending().await
    })
}

/// The whole network behind a picture file.
struct Whole {
    model: Model,
    compute: Compute,
}

impl EdgeModel for Whole {
    type Input = Tensor<4>;

    fn decode(&mut self, job: &Job) -> Result<Tensor<4>, JobError> {
        let picture = picture::unframed(&job.body, self.model.framing);
        let picture = picture.map_err(|error| JobError::BadFrame(out::said(&error)))?;
        let preprocess = &self.model.opened.preprocess;
        Ok(preprocess.input(&picture, 0..1, &self.compute))
    }

    fn run(&mut self, _: &BatchKey, inputs: Vec<Tensor<4>>) -> Vec<Result<Vec<u8>, JobError>> {
        let scores = self.model.opened.network.forward(Tensor::cat(inputs, 0));
        let ranked = rank(scores, RANKED).into_iter();
        ranked.map(|ranking| Ok(ranking.to_bytes())).collect()
    }

    fn warm_up(&mut self) {
        let side = self.model.framing.side();
        for _ in 0..WARM_UPS {
            let grey = Tensor::zeros([1, 3, side, side], &self.compute);
            let _ = rank(self.model.opened.network.forward(grey), RANKED);
        }
    }
}

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
