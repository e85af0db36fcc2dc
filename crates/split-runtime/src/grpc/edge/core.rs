//! The hub behind a lock, and who moves what between it, the streams, the calls and the model.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::{Notify, oneshot};

use super::metrics::{Metrics, Snapshot};
use super::model::Runner;
use crate::grpc::clock::Clock;
use crate::grpc::outgoing::Outgoing;
use crate::grpc::trace::{Parent, Recorder, Tracer};
use crate::proto::{Answer, ConfigError, Contract, ProtocolError, Status};
use crate::serving::{Batch, Call, EdgeHub, ServedKey};
use crate::time::Time;

/// Where a model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// On a thread of its own, so that connections are served while it computes.
    Thread,
    /// On the thread that took the frame: for models that take less time than waking a thread,
    /// some microseconds. While one runs, nothing else of the edge does.
    Inline,
}

pub(crate) struct Core {
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    /// Where spans go, if anywhere.
    pub(crate) tracer: Option<Tracer>,
    /// What the hub serves, to be read without its lock.
    contracts: RwLock<Arc<[Contract]>>,
    state: Mutex<State>,
    /// There may be work for the model's thread, or it has to end.
    work: Condvar,
    /// The next timeout is earlier than it was.
    timer: Notify,
    ready: AtomicBool,
}

struct State {
    hub: EdgeHub,
    peers: BTreeMap<u64, Arc<Outgoing>>,
    callers: BTreeMap<u32, oneshot::Sender<Answer>>,
    /// When the timer task will look next.
    armed: Option<Time>,
    inline: Option<Box<dyn Runner>>,
    thread_waits: bool,
    stopped: bool,
    panics: u64,
    recorder: Option<Recorder>,
    scratch: Vec<u8>,
}

impl Core {
    pub(crate) fn new(
        mut hub: EdgeHub,
        clock: Clock,
        inline: Option<Box<dyn Runner>>,
        tracer: Option<Tracer>,
    ) -> Self {
        let recorder = tracer.clone().map(Recorder::new);
        if recorder.is_some() {
            hub.keep_records();
        }
        Self {
            clock,
            metrics: Metrics::default(),
            tracer,
            contracts: RwLock::new(hub.contracts().into()),
            state: Mutex::new(State {
                hub,
                peers: BTreeMap::new(),
                callers: BTreeMap::new(),
                armed: None,
                inline,
                thread_waits: false,
                stopped: false,
                panics: 0,
                recorder,
                scratch: Vec::new(),
            }),
            work: Condvar::new(),
            timer: Notify::new(),
            ready: AtomicBool::new(false),
        }
    }

    pub(crate) fn contracts(&self) -> Arc<[Contract]> {
        let contracts = self.contracts.read();
        Arc::clone(&contracts.unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what is served, for new streams and calls at once.
    pub(crate) fn set_contracts(
        &self,
        served: &[(Contract, ServedKey)],
        within_us: u64,
    ) -> Result<(), ConfigError> {
        let mut state = self.lock();
        state
            .hub
            .set_contracts(self.clock.now(), served, within_us)?;
        let contracts = state.hub.contracts().into();
        *self
            .contracts
            .write()
            .unwrap_or_else(PoisonError::into_inner) = contracts;
        self.settle(&mut state);
        Ok(())
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Begins a stream; `None` if there are as many as may be or the edge drains.
    pub(crate) fn open_stream(&self, client: u64, parent: Parent) -> Option<(u64, Arc<Outgoing>)> {
        let mut state = self.lock();
        let id = state.hub.accept(self.clock.now(), client)?;
        let outgoing = Arc::new(Outgoing::default());
        state.peers.insert(id, Arc::clone(&outgoing));
        if let Some(recorder) = &mut state.recorder {
            recorder.stream_opened(id, parent);
        }
        self.settle(&mut state);
        Some((id, outgoing))
    }

    pub(crate) fn receive(&self, id: u64, bytes: &[u8]) {
        self.metrics.bytes_in.add(bytes.len() as u64);
        let mut state = self.lock();
        state.hub.receive(self.clock.now(), id, bytes);
        self.settle(&mut state);
    }

    pub(crate) fn stream_lost(&self, id: u64) {
        let mut state = self.lock();
        state.hub.transport_lost(self.clock.now(), id);
        self.settle(&mut state);
    }

    /// Takes a call under `contract`; its answer comes through the channel.
    pub(crate) fn call(
        &self,
        contract: &Contract,
        mut call: Call,
        parent: &Parent,
    ) -> Result<(u32, oneshot::Receiver<Answer>), Answer> {
        self.metrics.bytes_in.add(call.body.len() as u64);
        let mut state = self.lock();
        // Looked up under the lock: what is served may have changed since the caller looked.
        let served = state.hub.contracts();
        let Some(index) = served.iter().position(|one| one == contract) else {
            let detail = format!("`{}` isn't served any more", contract.split);
            return Err(Answer::refusal(Status::UnknownSplit, 0, 0, detail));
        };
        call.contract = index;
        let now = self.clock.now();
        let note = state.recorder.as_ref();
        let note = note.map(|recorder| recorder.call(now, contract, &call, parent));
        let taken = state.hub.call(now, call);
        if let (Some(recorder), Some(note)) = (&mut state.recorder, note) {
            recorder.call_begun(now, note, taken.as_ref().copied());
        }
        let result = taken.map(|id| {
            let (sender, receiver) = oneshot::channel();
            state.callers.insert(id, sender);
            (id, receiver)
        });
        self.settle(&mut state);
        result
    }

    /// Nobody waits for a call any more; harmless when it was answered.
    pub(crate) fn cancel_call(&self, id: u32) {
        let mut state = self.lock();
        state.callers.remove(&id);
        state.hub.cancel_call(id);
        if let Some(recorder) = &mut state.recorder {
            recorder.call_ended(self.clock.now(), id, None);
        }
        self.settle(&mut state);
    }

    /// Calls the state machines when they ask for it, until the edge stops.
    pub(crate) async fn keep_time(&self) {
        loop {
            let armed = {
                let mut state = self.lock();
                if state.stopped {
                    return;
                }
                state.hub.handle_timeout(self.clock.now());
                self.settle(&mut state);
                state.armed = state.hub.poll_timeout();
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

    /// Runs batches on this thread until the edge stops.
    pub(crate) fn work(&self, runner: &mut dyn Runner) {
        while let Some(batch) = self.wait_for_batch() {
            self.run(batch, runner);
        }
    }

    pub(crate) fn drain(&self, within_us: u64) {
        self.set_ready(false);
        let mut state = self.lock();
        state.hub.drain(self.clock.now(), within_us);
        self.settle(&mut state);
    }

    /// Whether nothing is left to answer or to send.
    pub(crate) fn is_drained(&self) -> bool {
        let state = self.lock();
        state.hub.is_drained() && state.peers.values().all(|peer| peer.is_empty())
    }

    /// Ends all streams and the model's thread.
    pub(crate) fn stop(&self) {
        self.set_ready(false);
        let mut state = self.lock();
        state.stopped = true;
        for peer in std::mem::take(&mut state.peers).into_values() {
            peer.finish(Some(tonic::Status::unavailable("the edge stopped")));
        }
        state.callers.clear();
        drop(state);
        self.work.notify_all();
        self.timer.notify_one();
    }

    pub(crate) fn snapshot(&self, connections: u64) -> Snapshot {
        let state = self.lock();
        let scheduler = state.hub.scheduler();
        Snapshot {
            jobs: state.hub.counts(),
            frames: state.hub.connection_counts(),
            streams: state.hub.connections() as u64,
            connections,
            waiting_bytes: scheduler.waiting_bytes() as u64,
            oldest_us: scheduler.oldest_us(self.clock.now()),
            panics: state.panics,
            spans: self.tracer.as_ref().map(Tracer::counts),
            ready: self.is_ready(),
        }
    }

    fn wait_for_batch(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            let batch = state.hub.next_batch(self.clock.now());
            // Forming a batch may have dropped some jobs, which are answered here.
            self.settle(&mut state);
            if batch.is_some() {
                return batch;
            }
            state.thread_waits = true;
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.thread_waits = false;
        }
    }

    fn run(&self, mut batch: Batch, runner: &mut dyn Runner) {
        let started = self.clock.now();
        runner.decode(&batch);
        let decoded = self.clock.now();
        {
            let mut state = self.lock();
            state.hub.drop_late(self.clock.now(), &mut batch);
            self.settle(&mut state);
        }
        let results = if batch.members.is_empty() {
            Vec::new()
        } else {
            runner.run(&batch)
        };
        let compute_us = self.clock.now().since(started);
        self.note(&batch, compute_us);
        let mut state = self.lock();
        state.panics = runner.panics();
        let now = self.clock.now();
        if let Some(recorder) = &mut state.recorder {
            recorder.batch_ran(&batch, started, decoded, now);
        }
        state.hub.batch_done(now, &batch, compute_us, results);
        self.settle(&mut state);
    }

    /// Runs what waits on the caller's thread; the lock is kept, or two would run at once.
    fn run_inline(&self, state: &mut State, runner: &mut dyn Runner) {
        while let Some(batch) = state.hub.next_batch(self.clock.now()) {
            let started = self.clock.now();
            runner.decode(&batch);
            let decoded = self.clock.now();
            let results = runner.run(&batch);
            let now = self.clock.now();
            let compute_us = now.since(started);
            self.note(&batch, compute_us);
            state.panics = runner.panics();
            if let Some(recorder) = &mut state.recorder {
                recorder.batch_ran(&batch, started, decoded, now);
            }
            state.hub.batch_done(now, &batch, compute_us, results);
            self.answer(state);
        }
    }

    fn note(&self, batch: &Batch, compute_us: u64) {
        if batch.members.is_empty() {
            return;
        }
        self.metrics.compute_us.add(compute_us);
        self.metrics.batch.add(batch.members.len() as u64);
        for member in &batch.members {
            self.metrics.queue_us.add(member.queue_us);
        }
    }

    /// Moves what the hub has to say to where it belongs.
    fn settle(&self, state: &mut State) {
        if let Some(mut runner) = state.inline.take() {
            self.run_inline(state, runner.as_mut());
            state.inline = Some(runner);
        }
        let mut scratch = std::mem::take(&mut state.scratch);
        while let Some(id) = state.hub.poll_transmit(&mut scratch) {
            self.metrics.bytes_out.add(scratch.len() as u64);
            let reads = state.peers.get(&id).is_none_or(|peer| peer.push(&scratch));
            scratch.clear();
            if !reads {
                self.metrics.slow_readers.one();
                state.hub.transport_lost(self.clock.now(), id);
            }
        }
        state.scratch = scratch;
        self.answer(state);
        while let Some((id, error)) = state.hub.poll_closed() {
            if let Some(recorder) = &mut state.recorder {
                recorder.stream_closed(id);
            }
            self.close_stream(state.peers.remove(&id), &error);
        }
        if state.thread_waits && state.hub.counts().waiting > 0 {
            self.work.notify_one();
        }
        let next = state.hub.poll_timeout();
        if next.is_some_and(|at| state.armed.is_none_or(|armed| at < armed)) {
            state.armed = next;
            self.timer.notify_one();
        }
    }

    /// Answers calls, and writes down how they and the frames of streams ended.
    fn answer(&self, state: &mut State) {
        while let Some((id, answer)) = state.hub.poll_answer() {
            if let Some(recorder) = &mut state.recorder {
                recorder.call_ended(self.clock.now(), id, Some(&answer));
            }
            if let Some(caller) = state.callers.remove(&id) {
                // The caller may have gone; then the answer is worth nothing.
                let _ = caller.send(answer);
            }
        }
        if let Some(recorder) = &mut state.recorder {
            while let Some((id, record)) = state.hub.poll_record() {
                recorder.frame_ended(self.clock.now(), id, record);
            }
            recorder.batch_answered();
        }
    }

    fn close_stream(&self, peer: Option<Arc<Outgoing>>, error: &ProtocolError) {
        let status = match error {
            ProtocolError::Drained => None,
            ProtocolError::TransportLost | ProtocolError::Closed => {
                if let Some(peer) = peer {
                    peer.abandon();
                }
                return;
            }
            _ => {
                self.metrics.streams_refused.one();
                Some(tonic::Status::failed_precondition(error.to_string()))
            }
        };
        if let Some(peer) = peer {
            peer.finish(status);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
