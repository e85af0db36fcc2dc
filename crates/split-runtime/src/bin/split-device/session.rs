//! From the first picture to the last.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use burn::tensor::{Device as Compute, Tensor};
use split_backbone::{PictureError, Pictures, ResNetHead, ResNetTail, Tail as _};
use split_runtime::grpc::{Device, DeviceOptions, Fallback, OwnedRequest, Reply};
use split_runtime::stage::{DeviceStage, contract_of, rank};
use split_runtime::{AnswerSeen, DeviceConfig, DispatcherConfig, Ranking, Time};
use tokio::runtime::Runtime;

use crate::answer::{How, Outcome};
use crate::choose::{Chooser, Measured, Pick, Wanted};
use crate::config::{DeviceSettings, PROGRAM};
use crate::pictures::{Next, Paths};
use crate::program::folder::Model;
use crate::program::signals::Signals;
use crate::program::{backend, out};
use crate::spans::Spans;

/// Classes that a local answer names, as many as the edge's by default.
const RANKED: usize = 5;

/// Times the warm-up runs everything; the last run is measured.
const WARM_UPS: usize = 4;

/// Answers every picture and prints a line for each.
pub(crate) fn run(settings: &DeviceSettings, named: &[PathBuf]) -> Result<ExitCode> {
    let mut paths = Paths::new(named, settings.video_fps()?)?;
    let json = settings.json.unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the thread for connections")?;
    let mut signals = runtime.block_on(async { Signals::listen(false) })?;
    let mut second = signals.clone();
    runtime.spawn(async move { std::process::exit(second.end(2).await.into()) });
    let mut session = Session::open(settings, runtime)?;
    let (mut answered, mut unanswered) = (0_usize, 0_usize);
    let ended = loop {
        let outcome = match session.next(&mut paths, &mut signals) {
            Step::Next(Next::Picture(path)) => {
                let framing = session.model.framing;
                let read = || Pictures::of_file(&path, framing);
                session.answer(&path, read)
            }
            Step::Next(Next::Frame(name, picture)) => {
                let framing = session.model.framing;
                session.answer(&name, || Pictures::of_image(&picture, framing))
            }
            Step::Next(Next::Nothing(path, why)) => Outcome {
                how: How::Unanswered(why),
                ..Outcome::new(path)
            },
            Step::Signal(code) => break Some(code),
            Step::Last => break None,
        };
        if outcome.is_answered() {
            answered += 1;
        } else {
            unanswered += 1;
        }
        out::line(&if json {
            outcome.json(&session.model.classes).to_string()
        } else {
            outcome.text(&session.model.classes)
        })?;
    };
    session.close();
    if let Some(code) = ended {
        out::log(&format!(
            "ended by a signal: {answered} pictures were answered, {unanswered} were not"
        ));
        return Ok(ExitCode::from(code));
    }
    if unanswered > 0 {
        out::log(&format!("{unanswered} pictures were not answered"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// What is to be done after a picture.
enum Step {
    Next(Next),
    /// A signal came first; its exit code.
    Signal(u8),
    Last,
}

/// Why the edge gave no answer, and what the tail here gave if it had begun.
struct NoAnswer {
    why: String,
    local: Option<Local>,
}

impl NoAnswer {
    fn new(why: impl ToString) -> Self {
        Self {
            why: why.to_string(),
            local: None,
        }
    }
}

/// An answer of the tail here and the time that it took.
struct Local {
    ranking: Ranking,
    us: u64,
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
    spans: Spans,
    runtime: Runtime,
    start: Instant,
}

impl Session {
    /// Loads the model, measures it, connects.
    fn open(settings: &DeviceSettings, runtime: Runtime) -> Result<Self> {
        // What can be wrong in the settings is said before the model is loaded.
        let deadline_us = settings.deadline_us()?;
        let (falls_back, connect) = (settings.falls_back()?, settings.connect()?);
        let (tls, asked_us) = (settings.tls()?, settings.fallback_us()?);
        let (edges, wanted) = (settings.edges()?, Wanted::new(settings)?);
        ensure!(
            falls_back || !edges.is_empty(),
            "fallback = \"none\" and no edge: nobody would answer; give --edge HOST:PORT"
        );
        let hedge = settings.hedges(edges.len())?;
        let spans =
            runtime.block_on(async { Spans::start(settings.otlp_endpoint.as_deref(), PROGRAM) })?;
        let compute = backend::open(settings.backend()?)?;
        let model = Model::load(settings.model()?, &compute)?;
        let rung = model.bank.find(settings.rung()?)?;
        let rung = u16::try_from(rung).context("a rung's place has 16 bits")?;
        let stage = DeviceStage::open(&model.bank, model.opened.head.clone(), &compute)?;
        let rungs = match wanted {
            Wanted::Policy(..) => 0..u16::try_from(model.bank.rungs().len())?,
            Wanted::Fixed | Wanted::Local => rung..rung + 1,
        };
        let (measured, slowest_us) = warm_up(&model, &stage, &compute, rungs, falls_back)?;
        // A machine that does other things as well is slower than its best run.
        let kept_us = asked_us.unwrap_or(slowest_us * 2 + 5_000);
        let chooser = Chooser::new(wanted, rung, &model.bank, measured, falls_back)?;
        let sends = !edges.is_empty() && !matches!(chooser, Chooser::Local);
        let device = if sends {
            let contracts = vec![contract_of(&model.bank)?];
            let dispatcher = DispatcherConfig {
                endpoints: edges.len(),
                hedge,
                fallback_us: falls_back.then_some(kept_us),
                ..DispatcherConfig::new(u64::from(std::process::id()))
            };
            let mut options = DeviceOptions::new(edges, DeviceConfig::new(contracts), dispatcher);
            options.tls = tls;
            Some(runtime.block_on(connected(options, connect, falls_back, &spans))?)
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
            spans,
            runtime,
            start: out::now(),
        })
    }

    fn close(self) {
        drop(self.device);
        self.runtime.block_on(self.spans.close());
        self.runtime.shutdown_background();
    }

    /// The next picture, unless a signal came.
    fn next(&self, paths: &mut Paths, signals: &mut Signals) -> Step {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                code = signals.end(1) => Step::Signal(code),
                next = paths.next() => next.map_or(Step::Last, Step::Next),
            }
        })
    }

    /// One picture from its file or video to its outcome.
    fn answer(
        &mut self,
        path: &Path,
        read: impl FnOnce() -> Result<Pictures, PictureError>,
    ) -> Outcome {
        let start = out::now();
        let read = read().with_context(|| format!("the picture {}", path.display()));
        let mut outcome = Outcome::new(path.to_owned());
        outcome.parts.read_us = Some(out::us_since(start));
        let start = out::now();
        let how = read.and_then(|picture| self.classify(&picture, start, &mut outcome));
        outcome.how = how.unwrap_or_else(|error| How::Unanswered(out::said(&error)));
        outcome.parts.total_us = out::us_since(start);
        outcome.late = outcome.is_answered() && outcome.parts.total_us > self.deadline_us;
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
        // A graphics card has only queued it so far.
        self.compute.sync().context("running the head")?;
        outcome.parts.head_us = Some(out::us_since(head));
        let asked = match pick {
            Pick::Local => Err(NoAnswer::new("the policy chose it")),
            Pick::GiveUp => Err(NoAnswer::new("the policy expects no answer in time")),
            Pick::Rung { rung, entry } => self
                .request(rung, &activation, start, outcome)
                .and_then(|request| self.ask(request, entry, &activation, outcome)),
        };
        match asked {
            Ok(ranking) => Ok(How::Edge(ranking)),
            Err(none) if self.falls_back => self.local(activation, none, outcome),
            Err(none) => bail!("{}", none.why),
        }
    }

    /// The frame of an activation, with the time that is left of the deadline.
    fn request(
        &self,
        rung: u16,
        activation: &Tensor<4>,
        start: Instant,
        outcome: &mut Outcome,
    ) -> Result<OwnedRequest, NoAnswer> {
        if self.device.is_none() {
            return Err(NoAnswer::new("no edge was named"));
        }
        let code = out::now();
        let body = self.stage.frame(rung, activation.clone());
        let body = body.map_err(NoAnswer::new)?;
        outcome.parts.code_us = Some(out::us_since(code));
        let name = self.model.bank.rungs()[usize::from(rung)].name.clone();
        outcome.sent = Some((name, body.len()));
        let budget_us = self.deadline_us.saturating_sub(out::us_since(start));
        if budget_us == 0 {
            return Err(NoAnswer::new("the deadline passed before a frame was made"));
        }
        Ok(OwnedRequest {
            split: 0,
            rung,
            budget_us: u32::try_from(budget_us).unwrap_or(u32::MAX),
            body,
        })
    }

    /// Has a frame answered by the edge. The tail here begins when only its own time is left.
    fn ask(
        &mut self,
        request: OwnedRequest,
        entry: usize,
        activation: &Tensor<4>,
        outcome: &mut Outcome,
    ) -> Result<Ranking, NoAnswer> {
        let device = self.device.as_ref();
        let device = device.ok_or_else(|| NoAnswer::new("no edge was named"))?;
        let bytes = u32::try_from(request.body.len()).unwrap_or(u32::MAX);
        let sent = self.now();
        let (local, reply) = if self.falls_back {
            let tail = self.model.opened.tail.clone();
            let (fallback, local) = fallback(tail, activation.clone());
            let reply = self.runtime.block_on(device.request_or(request, fallback));
            (Some(local), reply)
        } else {
            (None, self.runtime.block_on(device.request(request)))
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
        let answered = match reply {
            Ok(Reply::Edge(answer)) => {
                seen.came = true;
                seen.queue_us = u64::from(answer.queue_us);
                seen.compute_us = u64::from(answer.compute_us);
                seen.batch = u32::from(answer.batch);
                outcome.parts.network_us = Some(seen.network_us());
                outcome.parts.queue_us = Some(seen.queue_us);
                outcome.parts.edge_us = Some(seen.compute_us);
                Ranking::parse(&answer.body).map_err(|error| {
                    NoAnswer::new(format!("the edge's answer can't be read: {error}"))
                })
            }
            Ok(Reply::Device { why, .. }) => Err(NoAnswer::new(why)),
            Err(error) => Err(NoAnswer::new(error)),
        };
        self.chooser.learn(seen);
        answered.map_err(|none| NoAnswer {
            // Waits for a tail that has begun; one that never did has hung up.
            local: local.and_then(|local| local.recv().ok()),
            ..none
        })
    }

    /// The whole network here, as far as it hasn't run already. Later than the deadline it is an
    /// answer still.
    fn local(&self, activation: Tensor<4>, none: NoAnswer, outcome: &mut Outcome) -> Result<How> {
        let local = none.local.or_else(|| {
            let start = out::now();
            let ranking = finish(&self.model.opened.tail, activation)?;
            let us = out::us_since(start);
            Some(Local { ranking, us })
        });
        let local = local.context("the tail gave no scores")?;
        outcome.parts.local_us = Some(local.us);
        Ok(How::Device(local.ranking, none.why))
    }

    fn now(&self) -> Time {
        Time::from_us(out::us_since(self.start))
    }
}

/// The tail as what a device does when no edge answers in time, and where its answer comes out.
fn fallback(tail: ResNetTail, activation: Tensor<4>) -> (Fallback, mpsc::Receiver<Local>) {
    let (sender, receiver) = mpsc::channel();
    let fallback = Box::new(move || {
        let start = out::now();
        let ranking = finish(&tail, activation)?;
        let body = ranking.to_bytes();
        let us = out::us_since(start);
        // Nobody waits where the edge was faster after all.
        let _ = sender.send(Local { ranking, us });
        Some(body)
    });
    (fallback, receiver)
}

fn finish(tail: &ResNetTail, activation: Tensor<4>) -> Option<Ranking> {
    rank(tail.forward(activation), RANKED).pop()
}

/// Starts to connect and waits for an edge; goes on without one where the device can answer itself.
async fn connected(
    options: DeviceOptions,
    within: Duration,
    falls_back: bool,
    spans: &Spans,
) -> Result<Device> {
    let named: Vec<String> = options
        .edges
        .iter()
        .map(|one| one.authority.clone())
        .collect();
    let named = named.join(", ");
    let device = spans.device(options)?;
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

/// Runs a grey picture through everything that may run here, so that the first real one isn't slower
/// than the rest; gives the times of the slowest rung and of the slowest tail.
fn warm_up(
    model: &Model,
    stage: &DeviceStage<ResNetHead>,
    compute: &Compute,
    rungs: Range<u16>,
    falls_back: bool,
) -> Result<(Measured, u64)> {
    let side = model.framing.side();
    let mut measured = Measured {
        head_us: 0,
        tail_us: 0,
    };
    let mut slowest_us = 0;
    for run in 0..WARM_UPS {
        let start = out::now();
        let activation = stage.activation(Tensor::zeros([1, 3, side, side], compute));
        let activation_us = out::us_since(start);
        let mut coding_us = 0;
        for rung in rungs.clone() {
            let start = out::now();
            stage
                .frame(rung, activation.clone())
                .context("coding a grey picture; `side` in the manifest may be wrong")?;
            coding_us = coding_us.max(out::us_since(start));
        }
        measured.head_us = activation_us + coding_us;
        if !falls_back {
            measured.tail_us = measured.head_us;
            continue;
        }
        let start = out::now();
        finish(&model.opened.tail, activation).context("the tail gave no scores")?;
        measured.tail_us = out::us_since(start);
        // The first run also finds memory, on a graphics card shaders too: it says nothing of the rest.
        if run > 0 {
            slowest_us = slowest_us.max(measured.tail_us);
        }
    }
    Ok((measured, slowest_us))
}
