//! From the first picture to the last.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use burn::tensor::{Device as Compute, Tensor};
use split_backbone::Pictures;
use split_runtime::grpc::{Device, DeviceOptions, OwnedRequest};
use split_runtime::{DeviceConfig, DispatcherConfig, InFlight};
use tokio::runtime::Runtime;
use tokio::task::{JoinError, JoinSet};

use crate::answer::{How, Outcome, Sent};
use crate::choose::{Chooser, Pick, Place, Wanted, Way};
use crate::config::{DeviceSettings, PROGRAM};
use crate::connect::{ask_edge, connected, probes};
use crate::cuts::{Cuts, Kept};
use crate::flight::{Ask, Clock, Flight, Landed, Left, Own, how_here};
use crate::pictures::{Next, Paths};
use crate::program::picture::{self, Form};
use crate::program::signals::Signals;
use crate::program::{backend, out};
use crate::spans::Spans;

/// Answers every picture and prints a line for each.
pub(crate) fn run(settings: &DeviceSettings, named: &[PathBuf]) -> Result<ExitCode> {
    let mut paths = Paths::new(named, settings.video_fps()?)?;
    let runtime = runtime()?;
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
    // What is under way is finished, whatever comes.
    let mut ended = ended;
    while session.land(&mut signals, &mut ended) {
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

/// Prints what policies choose from on this device, with this edge.
pub(crate) fn print_menu(settings: &DeviceSettings) -> Result<ExitCode> {
    let mut settings = settings.clone();
    // Any policy that has one.
    settings.policy = Some("own".to_owned());
    let mut session = Session::open(&settings, runtime()?)?;
    session.heed_edges();
    ensure!(
        session.device.is_none() || session.edge_was_timed,
        "the edge did not answer, so its times are not known; start it, or leave --edge out for a menu with \
         times assumed for it"
    );
    let menu = session.chooser.menu().context("the policy has no menu")?;
    out::line(menu.to_json().trim_end())?;
    session.close();
    Ok(ExitCode::SUCCESS)
}

/// A thread for connections.
fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the thread for connections")
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
        let classes = &session.cuts.first().model.classes;
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
    cuts: Cuts,
    compute: Compute,
    chooser: Chooser,
    deadline_us: u64,
    falls_back: bool,
    kept: Kept,
    /// Nothing where no edge was named.
    device: Option<Arc<Device>>,
    spans: Spans,
    runtime: Runtime,
    start: Instant,
    in_flight_max: usize,
    /// Pictures begun.
    begun: u64,
    flights: JoinSet<(u64, Landed)>,
    /// What of `flights` still holds the link, and which menu it was chosen from.
    sent: BTreeMap<u64, (InFlight, u32)>,
    /// Whether the edge answered frames of all models at the start.
    edge_was_timed: bool,
    /// Outcomes by the number of their picture that nobody has read.
    outcomes: BTreeMap<u64, Outcome>,
}

impl Session {
    /// Loads the models, measures them, connects.
    fn open(settings: &DeviceSettings, runtime: Runtime) -> Result<Self> {
        // What can be wrong in the settings is said before a model is loaded.
        let deadline_us = settings.deadline_us()?;
        let (falls_back, connect) = (settings.falls_back()?, settings.connect()?);
        let (tls, asked_us) = (settings.tls()?, settings.fallback_us()?);
        let (edges, mut wanted) = (settings.edges()?, Wanted::new(settings)?);
        ensure!(
            falls_back || !edges.is_empty(),
            "fallback = \"none\" and no edge: nobody would answer; give --edge HOST:PORT"
        );
        let hedge = settings.hedges(edges.len())?;
        let in_flight_max = settings.in_flight()?;
        let spans =
            runtime.block_on(async { Spans::start(settings.otlp_endpoint.as_deref(), PROGRAM) })?;
        let compute = backend::open(settings.backend()?)?;
        let cuts = Cuts::load(settings.models()?, &compute)?;
        wanted.check_backbone(&cuts.first().model.bank.backbone().name)?;
        let fixed = match wanted {
            Wanted::Fixed => Some(cuts.fixed(settings.rung()?)?),
            Wanted::Local => Some(Way::Rung(Place { model: 0, rung: 0 })),
            Wanted::Policy(..) => None,
        };
        let mut times = cuts.warm_up(&compute, fixed, falls_back)?;
        let measured = || times.kept(in_flight_max, deadline_us);
        let kept = asked_us.map_or_else(measured, Kept::of);
        let pictures = wanted.has_pictures() || matches!(fixed, Some(Way::Picture(_)));
        let mut edge_was_timed = false;
        let mut device = None;
        if !edges.is_empty() && !matches!(wanted, Wanted::Local) {
            let dispatcher = DispatcherConfig {
                endpoints: edges.len(),
                hedge,
                fallback_us: falls_back.then_some(kept.tail_us),
                ..DispatcherConfig::new(u64::from(std::process::id()))
            };
            let connection = DeviceConfig::new(cuts.contracts(pictures)?);
            let mut options = DeviceOptions::new(edges, connection, dispatcher);
            options.tls = tls;
            let connected = connected(options, connect, falls_back, &spans);
            let (connected, accepted) = runtime.block_on(connected)?;
            if wanted.makes_menu() {
                let asked = accepted.unwrap_or_default();
                let form = wanted.pictures_mut().first().map(|one| one.form);
                let probes = probes(&cuts, &asked, &compute, form)?;
                let found = runtime.block_on(ask_edge(&connected, &cuts, probes, deadline_us));
                edge_was_timed = !asked.is_empty() && found.len() == asked.len();
                times.of_edge(found);
            }
            device = Some(Arc::new(connected));
        }
        cuts.time_pictures(wanted.pictures_mut(), &times)?;
        let weighed = cuts.weighed(&times.each);
        let fixed = fixed.unwrap_or(Way::Rung(Place { model: 0, rung: 0 }));
        let chooser = Chooser::new(wanted, fixed, &weighed, falls_back)?;
        Ok(Self {
            cuts,
            compute,
            chooser,
            deadline_us,
            falls_back,
            kept,
            device,
            spans,
            runtime,
            start: out::now(),
            in_flight_max,
            begun: 0,
            flights: JoinSet::new(),
            sent: BTreeMap::new(),
            edge_was_timed,
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

    /// Waits for the end of a frame, and listens for a first signal meanwhile; whether one was under way.
    fn land(&mut self, signals: &mut Signals, ended: &mut Option<u8>) -> bool {
        let flights = &mut self.flights;
        if flights.is_empty() {
            return false;
        }
        let landed = self.runtime.block_on(async {
            tokio::select! {
                biased;
                code = signals.end(1), if ended.is_none() => {
                    *ended = Some(code);
                    None
                }
                landed = flights.join_next() => landed,
            }
        });
        self.note(landed);
        true
    }

    fn note(&mut self, landed: Option<Result<(u64, Landed), JoinError>>) {
        let (number, landed) = match landed {
            Some(Ok(landed)) => landed,
            None => return,
            // Nobody cancels these tasks.
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        };
        if let Some((_, generation)) = self.sent.remove(&number) {
            self.chooser.learn(landed.seen, generation);
        }
        self.outcomes.insert(number, landed.outcome);
    }

    /// One picture from its file or video to its frame, or to its outcome where none is sent.
    fn begin(&mut self, next: Next) {
        let number = self.begun;
        self.begun += 1;
        let framing = self.cuts.first().model.framing;
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
        let generation = self.chooser.generation();
        self.sent
            .insert(number, (InFlight { bytes, sent }, generation));
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
        let preprocess = &self.cuts.first().model.opened.preprocess;
        let input = preprocess.input(picture, 0..1, &self.compute);
        let in_flight: Vec<InFlight> = self.sent.values().map(|(frame, _)| *frame).collect();
        self.heed_edges();
        let pick = self.chooser.pick(clock.now(), self.deadline_us, &in_flight);
        let rung = match pick {
            Pick::Send {
                way: Way::Rung(place),
                entry,
            } => Ok((place, entry)),
            Pick::Send {
                way: Way::Picture(form),
                entry,
            } => return self.whole(form, entry, picture, input, clock, outcome),
            Pick::Local => Err("the policy chose it"),
            Pick::GiveUp => Err("the policy expects no answer in time"),
        };
        let cut = self.cuts.get(rung.map_or(0, |(place, _)| place.model));
        let head = out::now();
        let activation = cut.stage.activation(input);
        // A graphics card has only queued it so far.
        self.compute.sync().context("running the head")?;
        outcome.parts.head_us = Some(out::us_since(head));
        let frame = rung.map_err(str::to_owned).and_then(|(place, entry)| {
            let asked = self.request(place, &activation, clock, outcome)?;
            Ok((asked.0, asked.1, entry))
        });
        let own = self.falls_back.then(|| Own {
            left: Left::Activation(activation),
            tail: cut.model.opened.tail.clone(),
            kept_us: self.kept.tail_us,
        });
        begun(frame, own, outcome)
    }

    /// Sends the picture itself; the network runs here only where the edge gives nothing to read in time.
    fn whole(
        &self,
        form: Form,
        entry: usize,
        picture: &Pictures,
        input: Tensor<4>,
        clock: Clock,
        outcome: &mut Outcome,
    ) -> Result<Begun> {
        let frame = self.picture_request(form, picture, clock, outcome);
        let model = &self.cuts.first().model;
        let own = self.falls_back.then(|| Own {
            left: Left::Input(Box::new(model.opened.head.clone()), input),
            tail: model.opened.tail.clone(),
            kept_us: self.kept.whole_us,
        });
        let frame = frame.map(|(device, request)| (device, request, entry));
        begun(frame, own, outcome)
    }

    /// Leaves out models that no edge serves, and takes in those that one does again.
    fn heed_edges(&mut self) {
        let accepted = self.device.as_ref().and_then(|device| device.accepted());
        let changed = accepted.and_then(|accepted| self.chooser.serve(&accepted));
        for model in changed.into_iter().flatten() {
            out::log(&match model < self.cuts.len() {
                true => format!(
                    "warning: the edge serves no {} with this bank; its rungs are left out",
                    self.cuts.name(model)
                ),
                false => "warning: the edge takes no pictures (`pictures` of split-edge); they are left out"
                    .to_owned(),
            });
        }
    }

    /// The frame of an activation, with the time that is left of the deadline, and who takes it; or why there
    /// is none.
    fn request(
        &self,
        place: Place,
        activation: &Tensor<4>,
        clock: Clock,
        outcome: &mut Outcome,
    ) -> Result<(Arc<Device>, OwnedRequest), String> {
        self.edge()?;
        let cut = self.cuts.get(place.model);
        let code = out::now();
        let body = cut.stage.frame(place.rung, activation.clone());
        let body = body.map_err(|error| error.to_string())?;
        outcome.parts.code_us = Some(out::us_since(code));
        outcome.sent = Some(Sent {
            split: cut.split().to_owned(),
            rung: cut.model.bank.rungs()[usize::from(place.rung)].name.clone(),
            bytes: body.len(),
            is_one_of_several: self.cuts.len() > 1,
        });
        self.ask(place.model, place.rung, body, clock)
    }

    /// The same for a picture that is sent itself.
    fn picture_request(
        &self,
        form: Form,
        picture: &Pictures,
        clock: Clock,
        outcome: &mut Outcome,
    ) -> Result<(Arc<Device>, OwnedRequest), String> {
        self.edge()?;
        let code = out::now();
        let body = self.cuts.picture_frame(form, picture);
        let body = body.map_err(|error| out::said(&error))?;
        outcome.parts.code_us = Some(out::us_since(code));
        outcome.sent = Some(Sent {
            split: picture::SPLIT.to_owned(),
            rung: form.to_string(),
            bytes: body.len(),
            is_one_of_several: true,
        });
        self.ask(self.cuts.len(), 0, body, clock)
    }

    fn edge(&self) -> Result<&Arc<Device>, String> {
        let none = || "no edge was named".to_owned();
        self.device.as_ref().ok_or_else(none)
    }

    /// A request with the time that is left of the deadline, and who takes it; or why there is none.
    fn ask(
        &self,
        contract: usize,
        rung: u16,
        body: Vec<u8>,
        clock: Clock,
    ) -> Result<(Arc<Device>, OwnedRequest), String> {
        let device = self.edge()?;
        let budget_us = self
            .deadline_us
            .saturating_sub(out::us_since(clock.picture));
        if budget_us == 0 {
            return Err("the deadline passed before a frame was made".to_owned());
        }
        let request = OwnedRequest {
            split: u8::try_from(contract).map_err(|error| error.to_string())?,
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

/// Sends a frame, or answers here where there is none.
fn begun(
    frame: Result<(Arc<Device>, OwnedRequest, usize), String>,
    own: Option<Own>,
    outcome: &mut Outcome,
) -> Result<Begun> {
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
