//! From the first picture to the last.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use burn::tensor::{Device as Compute, Tensor};
use split_backbone::{Pictures, ResNetHead, ResNetTail, Tail as _};
use split_runtime::grpc::{Device, DeviceOptions, Fallback, OwnedRequest, Reply};
use split_runtime::stage::{DeviceStage, contract_of, rank};
use split_runtime::{AnswerSeen, DeviceConfig, DispatcherConfig, Ranking, Time};
use tokio::runtime::Runtime;

use crate::answer::{How, Outcome, Parts};
use crate::choose::{Chooser, Measured, Pick, rung_by_name};
use crate::config::DeviceSettings;
use crate::pictures::{self, Paths};
use crate::program::folder::Model;
use crate::program::{backend, out};

/// Classes that a local answer names, as many as the edge's by default.
const RANKED: usize = 5;

/// Times the warm-up runs everything; the last run is measured.
const WARM_UPS: usize = 3;

/// Answers every picture and prints a line for each.
pub(crate) fn run(settings: &DeviceSettings, named: &[PathBuf]) -> Result<ExitCode> {
    let mut paths = Paths::new(named)?;
    let json = settings.json.unwrap_or_default();
    let mut session = Session::open(settings)?;
    let mut unanswered = 0_usize;
    while let Some(path) = paths.next()? {
        let outcome = session.answer(&path);
        if !outcome.is_answered() {
            unanswered += 1;
        }
        out::line(&if json {
            outcome.json(&session.model.classes).to_string()
        } else {
            outcome.text(&session.model.classes)
        });
    }
    session.close();
    if unanswered > 0 {
        out::log(&format!("{unanswered} pictures were not answered"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

struct Session {
    model: Model,
    compute: Compute,
    stage: DeviceStage<ResNetHead>,
    chooser: Chooser,
    deadline_us: u64,
    falls_back: bool,
    /// Nothing where no edge was named.
    device: Option<Device>,
    runtime: Runtime,
    start: Instant,
}

impl Session {
    /// Loads the model, measures it, connects.
    fn open(settings: &DeviceSettings) -> Result<Self> {
        // What can be wrong in the settings is said before the model is loaded.
        let deadline_us = settings.deadline_us()?;
        let (falls_back, connect) = (settings.falls_back()?, settings.connect()?);
        let (tls, asked_us) = (settings.tls()?, settings.fallback_us()?);
        let edges = settings.edges();
        ensure!(
            falls_back || !edges.is_empty(),
            "fallback = \"none\" and no edge: nobody would answer; give --edge HOST:PORT"
        );
        let compute = backend::open(settings.backend()?)?;
        let model = Model::load(settings.model()?, &compute)?;
        rung_by_name(&model.bank, settings.rung()?)?;
        let stage = DeviceStage::open(&model.bank, model.opened.head.clone(), &compute)?;
        let (measured, slowest_us) = warm_up(&model, &stage, &compute)?;
        // A machine that does other things as well is slower than its best run.
        let kept_us = asked_us.unwrap_or(slowest_us * 2 + 5_000);
        let chooser = Chooser::new(settings, &model.bank, measured)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("starting the thread for connections")?;
        let sends = !edges.is_empty() && !matches!(chooser, Chooser::Local);
        let device = if sends {
            let contracts = vec![contract_of(&model.bank)?];
            let dispatcher = DispatcherConfig {
                endpoints: edges.len(),
                fallback_us: falls_back.then_some(kept_us),
                ..DispatcherConfig::new(u64::from(std::process::id()))
            };
            let mut options = DeviceOptions::new(edges, DeviceConfig::new(contracts), dispatcher);
            options.tls = tls;
            Some(runtime.block_on(connected(options, connect, falls_back))?)
        } else {
            None
        };
        Ok(Self {
            model,
            compute,
            stage,
            chooser,
            deadline_us,
            falls_back,
            device,
            runtime,
            start: out::now(),
        })
    }

    fn close(self) {
        drop(self.device);
        self.runtime.shutdown_background();
    }

    /// One picture from its file to its outcome.
    fn answer(&mut self, path: &Path) -> Outcome {
        let start = out::now();
        let read = pictures::open(path, self.model.side);
        let mut outcome = Outcome {
            path: path.to_owned(),
            how: How::Unanswered(String::new()),
            sent: None,
            parts: Parts {
                read_us: Some(out::us_since(start)),
                ..Parts::default()
            },
        };
        let start = out::now();
        let how = read.and_then(|picture| self.classify(&picture, start, &mut outcome));
        outcome.how = how.unwrap_or_else(|error| How::Unanswered(out::said(&error)));
        outcome.parts.total_us = out::us_since(start);
        outcome
    }

    fn classify(
        &mut self,
        picture: &Pictures,
        start: Instant,
        outcome: &mut Outcome,
    ) -> Result<How> {
        let preprocess = &self.model.opened.preprocess;
        let input = preprocess.input(picture, 0..1, &self.compute);
        let pick = self.chooser.pick(self.now(), self.deadline_us);
        let head = out::now();
        let activation = self.stage.activation(input);
        outcome.parts.head_us = Some(out::us_since(head));
        let (rung, entry) = match pick {
            Pick::GiveUp => bail!("the policy expects no answer in time"),
            Pick::Local => return self.local(activation, "the policy chose it", outcome),
            Pick::Rung { .. } if self.device.is_none() => {
                return self.local(activation, "no edge was named", outcome);
            }
            Pick::Rung { rung, entry } => (rung, entry),
        };
        let code = out::now();
        let body = self.stage.frame(rung, activation.clone())?;
        outcome.parts.code_us = Some(out::us_since(code));
        let name = self.model.bank.rungs()[usize::from(rung)].name.clone();
        outcome.sent = Some((name, body.len()));
        let budget_us = self.deadline_us.saturating_sub(out::us_since(start));
        ensure!(budget_us > 0, "the deadline passed before a frame was made");
        let request = OwnedRequest {
            split: 0,
            rung,
            budget_us: u32::try_from(budget_us).unwrap_or(u32::MAX),
            body,
        };
        self.ask(request, entry, activation, outcome)
    }

    /// Has a frame answered: by the edge, or by the tail here where that would be too late.
    fn ask(
        &mut self,
        request: OwnedRequest,
        entry: usize,
        activation: Tensor<4>,
        outcome: &mut Outcome,
    ) -> Result<How> {
        let device = self.device.as_ref().context("no edge was named")?;
        let local_us = Arc::new(AtomicU64::new(0));
        let bytes = u32::try_from(request.body.len()).unwrap_or(u32::MAX);
        let sent = self.now();
        let reply = if self.falls_back {
            let tail = self.model.opened.tail.clone();
            let fallback = fallback(tail, activation, Arc::clone(&local_us));
            self.runtime.block_on(device.request_or(request, fallback))
        } else {
            self.runtime.block_on(device.request(request))
        };
        let mut seen = AnswerSeen {
            entry,
            bytes,
            sent,
            arrived: self.now(),
            came: false,
            queue_us: 0,
            compute_us: 0,
            batch: 1,
        };
        let how = match reply {
            Ok(Reply::Edge(answer)) => {
                seen.came = true;
                seen.queue_us = u64::from(answer.queue_us);
                seen.compute_us = u64::from(answer.compute_us);
                seen.batch = u32::from(answer.batch);
                outcome.parts.network_us = Some(seen.network_us());
                outcome.parts.queue_us = Some(seen.queue_us);
                outcome.parts.edge_us = Some(seen.compute_us);
                Ok(How::Edge(Ranking::parse(&answer.body)?))
            }
            Ok(Reply::Device(body)) => {
                outcome.parts.local_us = Some(local_us.load(Ordering::Relaxed));
                let opened = self.runtime.block_on(device.opened(Duration::ZERO));
                let why = opened.map_or_else(
                    |error| error.to_string(),
                    |_| "no answer of the edge in time".to_owned(),
                );
                Ok(How::Device(Ranking::parse(&body)?, why))
            }
            Err(error) => Err(error.into()),
        };
        self.chooser.learn(seen);
        how
    }

    /// The whole network here.
    fn local(&self, activation: Tensor<4>, why: &str, outcome: &mut Outcome) -> Result<How> {
        let start = out::now();
        let ranking = finish(&self.model.opened.tail, activation);
        outcome.parts.local_us = Some(out::us_since(start));
        let ranking = ranking.context("the tail gave no scores")?;
        Ok(How::Device(ranking, why.to_owned()))
    }

    fn now(&self) -> Time {
        Time::from_us(out::us_since(self.start))
    }
}

/// The tail as what a device does when no edge answers in time.
fn fallback(tail: ResNetTail, activation: Tensor<4>, took_us: Arc<AtomicU64>) -> Fallback {
    Box::new(move || {
        let start = out::now();
        let ranking = finish(&tail, activation)?;
        took_us.store(out::us_since(start), Ordering::Relaxed);
        Some(ranking.to_bytes())
    })
}

fn finish(tail: &ResNetTail, activation: Tensor<4>) -> Option<Ranking> {
    rank(tail.forward(activation), RANKED).pop()
}

/// Starts to connect and waits for an edge; goes on without one where the device can answer itself.
async fn connected(options: DeviceOptions, within: Duration, falls_back: bool) -> Result<Device> {
    let named: Vec<String> = options
        .edges
        .iter()
        .map(|one| one.authority.clone())
        .collect();
    let named = named.join(", ");
    let device = Device::start(options)?;
    if let Err(error) = device.opened(within).await {
        if !falls_back {
            bail!("edge {named}: {error}; start it, check the address, or allow --fallback local");
        }
        out::log(&format!(
            "warning: edge {named}: {error}; pictures are answered here until it is there"
        ));
    }
    Ok(device)
}

/// Runs a grey picture through everything, so that the first real one isn't slower than the rest;
/// also gives the time of the slowest tail.
fn warm_up(
    model: &Model,
    stage: &DeviceStage<ResNetHead>,
    compute: &Compute,
) -> Result<(Measured, u64)> {
    let side = usize::try_from(model.side)?;
    let mut measured = Measured {
        head_us: 0,
        tail_us: 0,
    };
    let mut slowest_us = 0;
    for _ in 0..WARM_UPS {
        let start = out::now();
        let activation = stage.activation(Tensor::zeros([1, 3, side, side], compute));
        stage
            .frame(0, activation.clone())
            .context("coding a grey picture; `side` in the manifest may be wrong")?;
        measured.head_us = out::us_since(start);
        let start = out::now();
        finish(&model.opened.tail, activation).context("the tail gave no scores")?;
        measured.tail_us = out::us_since(start);
        slowest_us = slowest_us.max(measured.tail_us);
    }
    Ok((measured, slowest_us))
}
