//! From the first picture to the last.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use burn::tensor::{Device as Compute, Tensor};
use split_backbone::{Pictures, ResNetHead};
use split_runtime::grpc::{Device, DeviceOptions, OwnedRequest};
use split_runtime::stage::{DeviceStage, contract_of};
use split_runtime::{DeviceConfig, DispatcherConfig, InFlight};
use tokio::runtime::Runtime;
use tokio::task::{JoinError, JoinSet};

use crate::answer::{How, Outcome};
use crate::choose::{Chooser, Measured, Pick, Wanted};
use crate::config::{DeviceSettings, PROGRAM};
use crate::flight::{Ask, Clock, Flight, Landed, Own, finish, how_here};
use crate::pictures::{Next, Paths};
use crate::program::folder::Model;
use crate::program::signals::Signals;
use crate::program::{backend, out};
use crate::spans::Spans;

/// Times the warm-up runs everything; the last run is measured.
const WARM_UPS: usize = 4;

/// Answers every picture and prints a line for each.
pub(crate) fn run(settings: &DeviceSettings, named: &[PathBuf]) -> Result<ExitCode> {
    let mut paths = Paths::new(named, settings.video_fps()?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the thread for connections")?;
    let mut signals = runtime.block_on(async { Signals::listen(false) })?;
    let mut second = signals.clone();
    runtime.spawn(async move { std::process::exit(second.end(2).await.into()) });
    let mut printer = Printer::new(settings)?;
    let mut session = Session::open(settings, runtime)?;
    let ended = loop {
        match session.next(&mut paths, &mut signals) {
            Step::Next(next) => session.begin(next),
            Step::Landed => {}
            Step::Signal(code) => break Some(code),
            Step::Last => break None,
        }
        printer.print(&mut session)?;
    };
    // What is under way is finished.
    while session.land() {
        printer.print(&mut session)?;
    }
    session.close();
    let Printer {
        answered,
        unanswered,
        ..
    } = printer;
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

/// Prints outcomes in the order of the pictures, or as they come.
struct Printer {
    json: bool,
    as_they_come: bool,
    /// The picture whose line is next, where their order counts.
    next: u64,
    answered: usize,
    unanswered: usize,
}

impl Printer {
    fn new(settings: &DeviceSettings) -> Result<Self> {
        Ok(Self {
            json: settings.json.unwrap_or_default(),
            as_they_come: settings.as_they_come()?,
            next: 0,
            answered: 0,
            unanswered: 0,
        })
    }

    /// Prints what may be printed.
    fn print(&mut self, session: &mut Session) -> Result<()> {
        let classes = &session.model.classes;
        while let Some(first) = session.outcomes.first_entry() {
            if !self.as_they_come && *first.key() != self.next {
                break;
            }
            let outcome = first.remove();
            self.next += 1;
            if outcome.is_answered() {
                self.answered += 1;
            } else {
                self.unanswered += 1;
            }
            out::line(&if self.json {
                outcome.json(classes).to_string()
            } else {
                outcome.text(classes)
            })?;
        }
        Ok(())
    }
}

/// What happened next.
enum Step {
    Next(Next),
    /// Frames came to their end.
    Landed,
    /// A signal came first; its exit code.
    Signal(u8),
    Last,
}

struct Session {
    model: Model,
    compute: Compute,
    stage: DeviceStage<ResNetHead>,
    chooser: Chooser,
    deadline_us: u64,
    falls_back: bool,
    /// Nothing where no edge was named.
    device: Option<Arc<Device>>,
    spans: Spans,
    runtime: Runtime,
    start: Instant,
    in_flight_max: usize,
    /// Pictures begun.
    begun: u64,
    flights: JoinSet<(u64, Landed)>,
    /// What of `flights` still holds the link.
    sent: BTreeMap<u64, InFlight>,
    /// Outcomes by the number of their picture that nobody has read.
    outcomes: BTreeMap<u64, Outcome>,
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
        let in_flight_max = settings.in_flight()?;
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
            let device = runtime.block_on(connected(options, connect, falls_back, &spans))?;
            Some(Arc::new(device))
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
            in_flight_max,
            begun: 0,
            flights: JoinSet::new(),
            sent: BTreeMap::new(),
            outcomes: BTreeMap::new(),
        })
    }

    fn close(self) {
        drop(self.device);
        self.runtime.block_on(self.spans.close());
        self.runtime.shutdown_background();
    }

    /// The next picture if there is room for one, unless a signal or an answer came.
    fn next(&mut self, paths: &mut Paths, signals: &mut Signals) -> Step {
        let flights = &mut self.flights;
        let has_room = flights.len() < self.in_flight_max;
        let (step, landed) = self.runtime.block_on(async {
            tokio::select! {
                biased;
                code = signals.end(1) => (Step::Signal(code), None),
                landed = flights.join_next(), if !flights.is_empty() => (Step::Landed, landed),
                next = paths.next(), if has_room => (next.map_or(Step::Last, Step::Next), None),
            }
        });
        self.note(landed);
        step
    }

    /// Waits for the end of a frame; whether there was one under way.
    fn land(&mut self) -> bool {
        let landed = self.runtime.block_on(self.flights.join_next());
        let any = landed.is_some();
        self.note(landed);
        any
    }

    fn note(&mut self, landed: Option<Result<(u64, Landed), JoinError>>) {
        let (number, landed) = match landed {
            Some(Ok(landed)) => landed,
            None => return,
            // Nobody cancels these tasks.
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        };
        self.sent.remove(&number);
        self.chooser.learn(landed.seen);
        self.outcomes.insert(number, landed.outcome);
    }

    /// One picture from its file or video to its frame, or to its outcome where none is sent.
    fn begin(&mut self, next: Next) {
        let number = self.begun;
        self.begun += 1;
        let framing = self.model.framing;
        let start = out::now();
        let (path, read) = match next {
            Next::Picture(path) => {
                let read = Pictures::of_file(&path, framing);
                (path, read)
            }
            Next::Frame(name, picture) => (name, Pictures::of_image(&picture, framing)),
            Next::Nothing(path, why) => {
                let outcome = Outcome::new(path);
                let how = How::Unanswered(why);
                self.outcomes.insert(number, Outcome { how, ..outcome });
                return;
            }
        };
        let read = read.with_context(|| format!("the picture {}", path.display()));
        let mut outcome = Outcome::new(path);
        outcome.parts.read_us = Some(out::us_since(start));
        let clock = Clock {
            program: self.start,
            picture: out::now(),
            deadline_us: self.deadline_us,
        };
        let begun = read.and_then(|picture| self.classify(&picture, clock, &mut outcome));
        let how = match begun {
            Ok(Begun::Sent(ask)) => return self.launch(number, *ask, outcome, clock),
            Ok(Begun::Here(how)) => how,
            Err(error) => How::Unanswered(out::said(&error)),
        };
        self.outcomes.insert(number, clock.stop(outcome, how));
    }

    fn launch(&mut self, number: u64, ask: Ask, outcome: Outcome, clock: Clock) {
        let sent = clock.now();
        let bytes = u32::try_from(ask.request.body.len()).unwrap_or(u32::MAX);
        self.sent.insert(number, InFlight { bytes, sent });
        let flight = Flight {
            ask,
            sent,
            outcome,
            clock,
        };
        let landing = async move { (number, flight.land().await) };
        self.flights.spawn_on(landing, self.runtime.handle());
    }

    fn classify(
        &mut self,
        picture: &Pictures,
        clock: Clock,
        outcome: &mut Outcome,
    ) -> Result<Begun> {
        let preprocess = &self.model.opened.preprocess;
        let input = preprocess.input(picture, 0..1, &self.compute);
        let in_flight: Vec<InFlight> = self.sent.values().copied().collect();
        let pick = self.chooser.pick(clock.now(), self.deadline_us, &in_flight);
        let head = out::now();
        let activation = self.stage.activation(input);
        // A graphics card has only queued it so far.
        self.compute.sync().context("running the head")?;
        outcome.parts.head_us = Some(out::us_since(head));
        let frame = match pick {
            Pick::Local => Err("the policy chose it".to_owned()),
            Pick::GiveUp => Err("the policy expects no answer in time".to_owned()),
            Pick::Rung { rung, entry } => self
                .request(rung, &activation, clock, outcome)
                .map(|(device, request)| (device, request, entry)),
        };
        let own = self.falls_back.then(|| Own {
            tail: self.model.opened.tail.clone(),
            activation,
        });
        match (frame, own) {
            (Ok((device, request, entry)), own) => Ok(Begun::Sent(Box::new(Ask {
                device,
                request,
                entry,
                own,
            }))),
            (Err(why), Some(own)) => Ok(Begun::Here(how_here(own.answer(), why, outcome))),
            (Err(why), None) => bail!("{why}"),
        }
    }

    /// The frame of an activation, with the time that is left of the deadline, and who takes it; or why there
    /// is none.
    fn request(
        &self,
        rung: u16,
        activation: &Tensor<4>,
        clock: Clock,
        outcome: &mut Outcome,
    ) -> Result<(Arc<Device>, OwnedRequest), String> {
        let device = self.device.as_ref().ok_or("no edge was named")?;
        let code = out::now();
        let body = self.stage.frame(rung, activation.clone());
        let body = body.map_err(|error| error.to_string())?;
        outcome.parts.code_us = Some(out::us_since(code));
        let name = self.model.bank.rungs()[usize::from(rung)].name.clone();
        outcome.sent = Some((name, body.len()));
        let budget_us = self
            .deadline_us
            .saturating_sub(out::us_since(clock.picture));
        if budget_us == 0 {
            return Err("the deadline passed before a frame was made".to_owned());
        }
        let request = OwnedRequest {
            split: 0,
            rung,
            budget_us: u32::try_from(budget_us).unwrap_or(u32::MAX),
            body,
        };
        Ok((Arc::clone(device), request))
    }
}

/// What became of a picture so far.
enum Begun {
    /// A frame was made.
    Sent(Box<Ask>),
    /// It is answered here, or not at all.
    Here(How),
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
