//! Dispatcher and connections behind a lock, and who moves what between them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot, watch};

use crate::grpc::clock::Clock;
use crate::grpc::explained;
use crate::grpc::outgoing::Outgoing;
use crate::proto::{
    Answer, ConfigError, DeviceConfig, DeviceConnection, DeviceEvent, MAX_BODY_BYTES,
    MAX_BUDGET_US, Outcome, ProtocolError, Request, SendError, Status,
};
use crate::resilience::{Action, AttemptId, Dispatcher, DispatcherCounts, Ending, RequestId};
use crate::time::Time;

/// A frame to have answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRequest {
    /// Index of the contract in [`DeviceConfig::contracts`].
    pub split: u8,
    /// Rung of that contract's bank.
    pub rung: u16,
    /// Time left until the answer is worthless.
    pub budget_us: u32,
    /// The frame.
    pub body: Vec<u8>,
}

/// Computes an answer on the device: it runs on a thread where it may take its time.
pub type Fallback = Box<dyn FnOnce() -> Option<Vec<u8>> + Send>;

/// An answer and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// An edge answered in time.
    Edge(Answer),
    /// The device answered by its fallback, in time.
    Device {
        /// What the fallback gave.
        body: Vec<u8>,
        /// Why no edge did: what went wrong last, or [`DeviceError::Expired`] where one still computed
        /// when the device had to begin.
        why: DeviceError,
    },
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// As many requests are open as may be.
    #[error("{open} requests are open, no more are taken")]
    TooMany {
        /// How many are open.
        open: u64,
    },
    /// A connection wouldn't take this frame, now or ever: no such split or rung, or too long.
    #[error("the frame can't be sent: {0}")]
    Unsendable(SendError),
    /// Nobody answered in time.
    #[error("no answer in time")]
    Expired,
    /// Every try was refused.
    #[error("refused: {status:?}{}", hint(detail))]
    Refused {
        /// The last refusal.
        status: Status,
        /// What the edge said about it, and after how long another try may be worth it.
        detail: String,
    },
    /// The connections were lost.
    #[error("the connection was lost")]
    Lost,
    /// No connection opened in time.
    #[error("not connected{}", hint(detail))]
    NotConnected {
        /// What ended the last connection, or why there was none.
        detail: String,
    },
    /// The device was closed.
    #[error("the device is closed")]
    Closed,
}

fn hint(detail: &str) -> String {
    if detail.is_empty() {
        String::new()
    } else {
        format!(": {detail}")
    }
}

/// What the tasks of an edge's connection see of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// Not open, and what was last wrong with it.
    Down(String),
    /// Open for these contracts.
    Open(Vec<u8>),
}

pub(crate) struct Core {
    pub(crate) clock: Clock,
    connection: DeviceConfig,
    state: Mutex<State>,
    timer: Notify,
    links: watch::Sender<Vec<LinkState>>,
}

struct State {
    dispatcher: Dispatcher,
    links: Vec<Link>,
    open: BTreeMap<RequestId, Open>,
    armed: Option<Time>,
    closed: bool,
    scratch: Vec<u8>,
    /// Fallbacks that have to start, outside of the lock.
    fallbacks: Vec<(RequestId, Fallback)>,
}

#[derive(Default)]
struct Link {
    connection: Option<DeviceConnection>,
    outgoing: Option<Arc<Outgoing>>,
    attempts: BTreeMap<u32, AttemptId>,
    /// Counts connections: what comes from an older one is ignored.
    life: u64,
    ended: Arc<Notify>,
}

/// What the task below a connection holds of it.
pub(crate) struct LinkLife {
    pub(crate) life: u64,
    /// What leaves by the stream.
    pub(crate) outgoing: Arc<Outgoing>,
    /// Told when the state machine has ended; the stream has no more use then.
    pub(crate) ended: Arc<Notify>,
}

struct Open {
    request: OwnedRequest,
    fallback: Option<Fallback>,
    local: Option<Vec<u8>>,
    /// What the last refusal said.
    detail: String,
    /// How the last attempt ended.
    trouble: Option<DeviceError>,
    /// Whether any connection took the frame.
    sent: bool,
    /// Why the last connection didn't take the frame.
    unsendable: Option<SendError>,
    reply: oneshot::Sender<Result<Reply, DeviceError>>,
}

impl Core {
    pub(crate) fn new(
        dispatcher: Dispatcher,
        connection: DeviceConfig,
        edges: usize,
    ) -> Result<Self, ConfigError> {
        let clock = Clock::start();
        // Finds a bad config now and not with the first connection.
        DeviceConnection::new(connection.clone(), clock.now())?;
        let down = LinkState::Down(String::new());
        Ok(Self {
            clock,
            connection,
            state: Mutex::new(State {
                dispatcher,
                links: (0..edges).map(|_| Link::default()).collect(),
                open: BTreeMap::new(),
                armed: None,
                closed: false,
                scratch: Vec::new(),
                fallbacks: Vec::new(),
            }),
            timer: Notify::new(),
            links: watch::Sender::new(vec![down; edges]),
        })
    }

    pub(crate) fn submit(
        self: &Arc<Self>,
        request: OwnedRequest,
        fallback: Option<Fallback>,
        fallback_us: Option<u64>,
    ) -> Result<oneshot::Receiver<Result<Reply, DeviceError>>, DeviceError> {
        self.check(&request).map_err(DeviceError::Unsendable)?;
        let mut state = self.lock();
        if state.closed {
            return Err(DeviceError::Closed);
        }
        let now = self.clock.now();
        let budget_us = u64::from(request.budget_us);
        let dispatcher = &mut state.dispatcher;
        let taken = match (&fallback, fallback_us) {
            (Some(_), None) => dispatcher.submit(now, budget_us),
            (Some(_), own) => dispatcher.submit_with(now, budget_us, own),
            (None, _) => dispatcher.submit_without_fallback(now, budget_us),
        };
        let Some(id) = taken else {
            let open = state.dispatcher.counts().open;
            return Err(DeviceError::TooMany { open });
        };
        let (reply, receiver) = oneshot::channel();
        let open = Open {
            request,
            fallback,
            local: None,
            detail: String::new(),
            trouble: None,
            sent: false,
            unsendable: None,
            reply,
        };
        state.open.insert(id, open);
        self.settle(state);
        Ok(receiver)
    }

    /// What no edge could answer is said at once.
    fn check(&self, request: &OwnedRequest) -> Result<(), SendError> {
        let contracts = &self.connection.contracts;
        let Some(contract) = contracts.get(usize::from(request.split)) else {
            return Err(SendError::UnknownSplit {
                found: request.split,
                offered: contracts.len(),
            });
        };
        if request.rung >= contract.rungs {
            return Err(SendError::UnknownRung {
                split: contract.split.clone(),
                found: request.rung,
                rungs: contract.rungs,
            });
        }
        let (found, allowed) = (request.body.len(), MAX_BODY_BYTES);
        if found > allowed {
            return Err(SendError::BodyTooLong { found, allowed });
        }
        if !(1..=MAX_BUDGET_US).contains(&request.budget_us) {
            let found = request.budget_us;
            return Err(SendError::BadBudget { found });
        }
        Ok(())
    }

    /// A stream to an edge is there: the hello goes out. `None` if the device is closed.
    pub(crate) fn connected(self: &Arc<Self>, link: usize) -> Option<LinkLife> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        let connection = DeviceConnection::new(self.connection.clone(), self.clock.now());
        let outgoing = Arc::new(Outgoing::default());
        let slot = &mut state.links[link];
        slot.life += 1;
        slot.connection = Some(connection.expect("the config was checked by `new`"));
        slot.outgoing = Some(Arc::clone(&outgoing));
        slot.attempts.clear();
        slot.ended = Arc::new(Notify::new());
        let link = LinkLife {
            life: slot.life,
            outgoing,
            ended: Arc::clone(&slot.ended),
        };
        self.settle(state);
        Some(link)
    }

    pub(crate) fn receive(self: &Arc<Self>, link: usize, life: u64, bytes: &[u8]) {
        let mut state = self.lock();
        let slot = &mut state.links[link];
        if slot.life != life {
            return;
        }
        if let Some(connection) = &mut slot.connection {
            // The error comes back as the event that closes the connection.
            let _ = connection.receive(self.clock.now(), bytes);
        }
        self.settle(state);
    }

    /// The stream to an edge ended, or there never was one.
    pub(crate) fn disconnected(self: &Arc<Self>, link: usize, life: u64, why: String) {
        let mut state = self.lock();
        let slot = &mut state.links[link];
        if slot.life != life {
            return;
        }
        let was_open = slot.connection.is_some();
        if let Some(connection) = &mut slot.connection {
            connection.transport_lost(self.clock.now());
        }
        self.settle(state);
        // If the state machine saw the end first, it knew better why.
        let unexplained = self.links.borrow()[link] == LinkState::Down(String::new());
        if was_open || unexplained {
            self.set_link(link, LinkState::Down(why));
        }
    }

    pub(crate) async fn keep_time(self: Arc<Self>) {
        loop {
            let armed = {
                let mut state = self.lock();
                if state.closed {
                    return;
                }
                let now = self.clock.now();
                for link in &mut state.links {
                    if let Some(connection) = &mut link.connection {
                        connection.handle_timeout(now);
                    }
                }
                self.settle(state);
                let mut state = self.lock();
                state.armed = state.next_timeout();
                state.armed
            };
            match armed {
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(self.clock.instant(at)) => {}
                        () = self.timer.notified() => {}
                    }
                }
                None => self.timer.notified().await,
            }
        }
    }

    /// What is known about each edge, and a way to wait for more.
    pub(crate) fn links(&self) -> watch::Receiver<Vec<LinkState>> {
        self.links.subscribe()
    }

    /// What is wrong with the edges while a frame finds none.
    fn why_down(&self) -> String {
        let links = self.links.borrow();
        let is_open = |link: &LinkState| matches!(link, LinkState::Open(_));
        if links.iter().any(is_open) {
            return "the edge failed too often just before".to_owned();
        }
        let mut whys = links.iter().filter_map(|link| match link {
            LinkState::Down(why) if !why.is_empty() => Some(why),
            _ => None,
        });
        whys.next_back().cloned().unwrap_or_default()
    }

    pub(crate) fn set_link(&self, link: usize, state: LinkState) {
        self.links.send_modify(|links| links[link] = state);
    }

    pub(crate) fn split_name(&self, split: u8) -> Option<&str> {
        let contract = self.connection.contracts.get(usize::from(split));
        contract.map(|contract| contract.split.as_str())
    }

    pub(crate) fn counts(&self) -> DispatcherCounts {
        self.lock().dispatcher.counts()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for link in &mut state.links {
            link.life += 1;
            link.ended.notify_one();
            link.connection = None;
            if let Some(outgoing) = link.outgoing.take() {
                outgoing.finish(None);
            }
        }
        for open in std::mem::take(&mut state.open).into_values() {
            let _ = open.reply.send(Err(DeviceError::Closed));
        }
        drop(state);
        self.timer.notify_one();
        let closed = LinkState::Down("the device is closed".to_owned());
        self.links.send_modify(|links| links.fill(closed));
    }

    /// Moves what there is to move, then starts the fallbacks that are due.
    fn settle(self: &Arc<Self>, state: MutexGuard<'_, State>) {
        for (id, fallback) in self.move_all(state) {
            let core = Arc::clone(self);
            tokio::task::spawn_blocking(move || {
                let local = std::panic::catch_unwind(std::panic::AssertUnwindSafe(fallback));
                core.fallback_ended(id, local.ok().flatten());
            });
        }
    }

    fn fallback_ended(self: &Arc<Self>, id: RequestId, local: Option<Vec<u8>>) {
        let mut state = self.lock();
        let now = self.clock.now();
        match local {
            Some(body) => {
                if let Some(open) = state.open.get_mut(&id) {
                    open.local = Some(body);
                }
                state.dispatcher.fallback_done(now, id);
            }
            None => state.dispatcher.fallback_failed(now, id),
        }
        self.settle(state);
    }

    fn move_all(&self, mut guard: MutexGuard<'_, State>) -> Vec<(RequestId, Fallback)> {
        let state = &mut *guard;
        let now = self.clock.now();
        loop {
            for link in 0..state.links.len() {
                self.drain_events(state, link, now);
            }
            // Only after the events: an answer that came at the same moment counts.
            state.dispatcher.handle_timeout(now);
            let Some(action) = state.dispatcher.poll_action() else {
                break;
            };
            state.act(now, action, || self.why_down());
        }
        for link in 0..state.links.len() {
            if !state.transmit(link) {
                if let Some(connection) = &mut state.links[link].connection {
                    connection.transport_lost(now);
                }
                self.drain_events(state, link, now);
            }
        }
        let next = state.next_timeout();
        if next.is_some_and(|at| state.armed.is_none_or(|armed| at < armed)) {
            state.armed = next;
            self.timer.notify_one();
        }
        std::mem::take(&mut state.fallbacks)
    }

    fn drain_events(&self, state: &mut State, link: usize, now: Time) {
        while let Some(event) = state.links[link]
            .connection
            .as_mut()
            .and_then(DeviceConnection::poll_event)
        {
            match event {
                DeviceEvent::Opened { accepted } => {
                    state.dispatcher.set_endpoint(now, link, true);
                    self.set_link(link, LinkState::Open(accepted));
                }
                DeviceEvent::Draining { .. } => state.dispatcher.set_endpoint(now, link, false),
                DeviceEvent::Outcome { seq, outcome } => {
                    if let Some(attempt) = state.links[link].attempts.remove(&seq) {
                        state.note(attempt, &outcome);
                        state.dispatcher.attempt_ended(now, attempt, outcome);
                    }
                }
                DeviceEvent::LateAnswer { .. } => state.dispatcher.endpoint_alive(link),
                DeviceEvent::Closed(error) => {
                    state.dispatcher.set_endpoint(now, link, false);
                    let slot = &mut state.links[link];
                    slot.connection = None;
                    slot.attempts.clear();
                    slot.ended.notify_one();
                    if let Some(outgoing) = slot.outgoing.take() {
                        outgoing.finish(None);
                    }
                    let why = match error {
                        ProtocolError::TransportLost => String::new(),
                        error => error.to_string(),
                    };
                    self.set_link(link, LinkState::Down(why));
                }
                DeviceEvent::Credit { .. } | DeviceEvent::Probed { .. } => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Tells who asked how it ended.
    fn end(mut self, ending: Ending, why_down: impl FnOnce() -> String) {
        let result = match (ending, self.local.take()) {
            (Ending::Answered(answer), _) => Ok(Reply::Edge(answer)),
            (Ending::Fallback, Some(body)) => {
                let why = self.why_local(why_down);
                Ok(Reply::Device { body, why })
            }
            (Ending::Refused(status), _) => Err(match self.unsendable {
                Some(error) => DeviceError::Unsendable(error),
                None => DeviceError::Refused {
                    status,
                    detail: self.detail,
                },
            }),
            (Ending::Lost, _) => Err(DeviceError::Lost),
            _ => Err(DeviceError::Expired),
        };
        // Who asked may have gone.
        let _ = self.reply.send(result);
    }

    fn why_local(&mut self, why_down: impl FnOnce() -> String) -> DeviceError {
        if let Some(error) = self.unsendable.take() {
            return DeviceError::Unsendable(error);
        }
        match self.trouble.take() {
            Some(trouble) => trouble,
            None if self.sent => DeviceError::Expired,
            None => DeviceError::NotConnected { detail: why_down() },
        }
    }
}

impl State {
    /// `why_down` says what is wrong with the edges that are not connected.
    fn act(&mut self, now: Time, action: Action, why_down: impl FnOnce() -> String) {
        match action {
            Action::Send {
                request,
                attempt,
                endpoint,
                budget_us,
            } => self.send(now, request, attempt, endpoint, budget_us),
            Action::Fallback { request } => {
                let fallback = self.open.get_mut(&request).and_then(|o| o.fallback.take());
                match fallback {
                    Some(fallback) => self.fallbacks.push((request, fallback)),
                    None => self.dispatcher.fallback_failed(now, request),
                }
            }
            Action::Done { request, ending } => {
                let Some(open) = self.open.remove(&request) else {
                    return;
                };
                open.end(ending, why_down);
            }
        }
    }

    fn send(
        &mut self,
        now: Time,
        id: RequestId,
        attempt: AttemptId,
        endpoint: usize,
        budget_us: u64,
    ) {
        let link = &mut self.links[endpoint];
        let (Some(open), Some(connection)) = (self.open.get_mut(&id), &mut link.connection) else {
            self.dispatcher.attempt_refused(now, attempt);
            return;
        };
        let request = Request {
            split: open.request.split,
            rung: open.request.rung,
            budget_us: u32::try_from(budget_us).unwrap_or(u32::MAX),
            body: &open.request.body,
        };
        match connection.send(now, &request) {
            Ok(seq) => {
                open.sent = true;
                open.unsendable = None;
                link.attempts.insert(seq, attempt);
            }
            Err(error) => {
                open.unsendable = Some(error);
                self.dispatcher.attempt_refused(now, attempt);
            }
        }
    }

    fn note(&mut self, attempt: AttemptId, outcome: &Outcome) {
        let request = self.dispatcher.request_of(attempt);
        let Some(open) = request.and_then(|id| self.open.get_mut(&id)) else {
            return;
        };
        open.trouble = Some(match outcome {
            Outcome::Answered { .. } => return,
            Outcome::Refused { answer, .. } => {
                open.detail = explained(answer, "the edge doesn't say why");
                DeviceError::Refused {
                    status: answer.status,
                    detail: open.detail.clone(),
                }
            }
            Outcome::Expired => DeviceError::Expired,
            Outcome::Lost => DeviceError::Lost,
        });
    }

    /// Hands bytes to the transport; `false` if it takes too few of them.
    fn transmit(&mut self, link: usize) -> bool {
        let slot = &mut self.links[link];
        let (Some(connection), Some(outgoing)) = (&mut slot.connection, &slot.outgoing) else {
            return true;
        };
        let mut fits = true;
        while fits && connection.poll_transmit(&mut self.scratch) {
            fits = outgoing.push(&self.scratch);
            self.scratch.clear();
        }
        fits
    }

    fn next_timeout(&self) -> Option<Time> {
        let links = self.links.iter().filter_map(|link| {
            let connection = link.connection.as_ref()?;
            connection.poll_timeout()
        });
        links.chain(self.dispatcher.poll_timeout()).min()
    }
}
