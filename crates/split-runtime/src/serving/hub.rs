use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::config::SchedulerConfig;
use super::job::{Batch, Job, JobError, JobId, SchedulerCounts, ServedKey};
use super::scheduler::EdgeScheduler;
use crate::proto::{
    Answer, ConfigError, Contract, EdgeConfig, EdgeConnection, EdgeCounts, EdgeEvent, FrameRecord,
    MAX_BUDGET_US, ProtocolError, ReplyError, Status, check_body, check_bounds, check_range,
    rung_of,
};
use crate::time::{Time, clamp_us};

/// Settings of an [`EdgeHub`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubConfig {
    /// Settings of each connection.
    pub connection: EdgeConfig,
    /// Settings of the scheduler.
    pub scheduler: SchedulerConfig,
    /// For each contract of the connections, the key of its batches and what they cost at first.
    pub keys: Vec<ServedKey>,
    /// Most connections at a time.
    pub connections_max: usize,
}

/// A frame that comes without a connection of its own, as in a unary call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Whose, for fairness.
    pub client: u64,
    /// Index in [`EdgeConfig::contracts`].
    pub contract: usize,
    /// Rung of that contract's bank; `None` takes the one that the frame names.
    pub rung: Option<u16>,
    /// Time left until the answer is worthless.
    pub budget_us: u32,
    /// The frame.
    pub body: Vec<u8>,
}

/// Stands for all calls where a job names its connection.
pub(crate) const CALLS: u64 = u64::MAX;

/// An edge without its transport and its worker: connections in front of one scheduler.
///
/// Every frame that comes in gets one answer: a prediction, a refusal, or the news that it is
/// too late; unless its connection ends first.
#[derive(Debug)]
pub struct EdgeHub {
    /// Of connections that begin.
    connection: EdgeConfig,
    connections_max: usize,
    keys: Arc<[ServedKey]>,
    connections: BTreeMap<u64, Entry>,
    scheduler: EdgeScheduler,
    timers: BTreeSet<(Time, u64)>,
    /// Connections that may have something to transmit.
    ready: BTreeSet<u64>,
    closed: VecDeque<(u64, ProtocolError)>,
    /// Calls without an answer.
    calls: BTreeSet<u32>,
    next_call: u32,
    answers: VecDeque<(u32, Answer)>,
    /// Of calls and of connections that are gone.
    past: EdgeCounts,
    next_id: u64,
    drain_us: Option<u64>,
    /// Whether connections that begin keep records.
    keeps_records: bool,
    records: VecDeque<(u64, FrameRecord)>,
}

#[derive(Debug)]
struct Entry {
    connection: EdgeConnection,
    /// For each contract that this connection was made with, the key of its batches.
    keys: Arc<[ServedKey]>,
    client: u64,
    timer: Option<Time>,
}

impl EdgeHub {
    /// An edge without connections.
    ///
    /// # Errors
    /// [`ConfigError`] where a field of `config` is out of range.
    pub fn new(config: HubConfig, now: Time) -> Result<Self, ConfigError> {
        let contracts = config.connection.contracts.len() as u64;
        check_range("keys", config.keys.len() as u64, contracts, contracts)?;
        check_range("connections_max", config.connections_max as u64, 1, 1 << 24)?;
        // Finds a bad connection config now and not with the first device.
        EdgeConnection::new(config.connection.clone(), now)?;
        let mut scheduler = EdgeScheduler::new(config.scheduler, now)?;
        scheduler.set_keys(config.keys.iter().copied());
        Ok(Self {
            scheduler,
            connections: BTreeMap::new(),
            timers: BTreeSet::new(),
            ready: BTreeSet::new(),
            closed: VecDeque::new(),
            calls: BTreeSet::new(),
            next_call: 0,
            answers: VecDeque::new(),
            past: EdgeCounts::default(),
            next_id: 0,
            drain_us: None,
            keeps_records: false,
            records: VecDeque::new(),
            keys: config.keys.into(),
            connection: config.connection,
            connections_max: config.connections_max,
        })
    }

    /// Begins a connection of `client`; `None` if there are as many as may be or the edge drains.
    pub fn accept(&mut self, now: Time, client: u64) -> Option<u64> {
        if self.connections.len() >= self.connections_max || self.drain_us.is_some() {
            return None;
        }
        // The config was checked by `new`.
        let mut connection = EdgeConnection::new(self.connection.clone(), now).ok()?;
        if self.keeps_records {
            connection.keep_records();
        }
        let id = self.next_id;
        self.next_id += 1;
        let entry = Entry {
            connection,
            keys: Arc::clone(&self.keys),
            client,
            timer: None,
        };
        self.connections.insert(id, entry);
        self.settle(now, id);
        Some(id)
    }

    /// From here on [`Self::poll_record`] says what became of the frames of new connections; it has to
    /// be called then, or they pile up. What became of calls their caller knows.
    pub const fn keep_records(&mut self) {
        self.keeps_records = true;
    }

    /// What became of a frame of this connection, if records are kept.
    pub fn poll_record(&mut self) -> Option<(u64, FrameRecord)> {
        self.records.pop_front()
    }

    /// Takes bytes of a connection. Bytes of one that ended are ignored.
    pub fn receive(&mut self, now: Time, id: u64, bytes: &[u8]) {
        if let Some(entry) = self.connections.get_mut(&id) {
            // The error comes back as the event that closes the connection.
            let _ = entry.connection.receive(now, bytes);
            self.settle(now, id);
        }
    }

    /// The transport of a connection ended.
    pub fn transport_lost(&mut self, now: Time, id: u64) {
        if let Some(entry) = self.connections.get_mut(&id) {
            entry.connection.transport_lost(now);
            self.settle(now, id);
        }
    }

    /// Takes a frame that has no connection; [`Self::poll_answer`] gives its answer under the number
    /// returned here.
    ///
    /// # Errors
    /// The refusal to answer with; nothing was taken then.
    pub fn call(&mut self, now: Time, call: Call) -> Result<u32, Answer> {
        let taken = self.take_call(now, call);
        match &taken {
            Ok(_) => self.past.frames += 1,
            Err(_) => self.past.refused += 1,
        }
        taken
    }

    /// Nobody waits for the answer of a call any more.
    pub fn cancel_call(&mut self, id: u32) {
        if self.calls.remove(&id) {
            self.scheduler.cancel(JobId {
                connection: CALLS,
                seq: id,
            });
        }
    }

    /// The answer of a call.
    pub fn poll_answer(&mut self) -> Option<(u32, Answer)> {
        self.answers.pop_front()
    }

    fn take_call(&mut self, now: Time, call: Call) -> Result<u32, Answer> {
        let refuse = |(status, detail)| Answer::refusal(status, 0, 0, detail);
        let config = &self.connection;
        let Some(contract) = config.contracts.get(call.contract) else {
            let detail = format!("contract {} isn't served", call.contract);
            return Err(refuse((Status::UnknownSplit, detail)));
        };
        let rung = match call.rung {
            Some(rung) => rung,
            None if config.check_frames => rung_of(&call.body).map_err(refuse)?,
            None => 0,
        };
        check_bounds(config, contract, rung, &call.body).map_err(refuse)?;
        check_body(config, contract, rung, call.budget_us, &call.body).map_err(refuse)?;
        let id = self.next_call;
        let budget_us = u64::from(call.budget_us.min(MAX_BUDGET_US));
        let job = Job {
            id: JobId {
                connection: CALLS,
                seq: id,
            },
            client: call.client,
            key: self.keys[call.contract].key,
            rung,
            deadline: now.after(budget_us),
            body: call.body,
        };
        self.scheduler.offer(now, job).map_err(|refusal| {
            let detail = refusal.detail.to_owned();
            Answer::refusal(refusal.status, 0, refusal.retry_after_ms, detail)
        })?;
        self.calls.insert(id);
        // Four thousand million calls later the first one of a number is long gone.
        self.next_call = self.next_call.wrapping_add(1);
        Ok(id)
    }

    /// Work for a free worker.
    pub fn next_batch(&mut self, now: Time) -> Option<Batch> {
        let batch = self.scheduler.next_batch(now);
        self.answer_dropped(now);
        batch
    }

    /// Takes members out of a batch that got late after it was formed, and answers them.
    pub fn drop_late(&mut self, now: Time, batch: &mut Batch) {
        self.scheduler.drop_late(now, batch);
        self.answer_dropped(now);
    }

    /// Answers a batch: a prediction for each member, or what was wrong with its frame.
    ///
    /// # Panics
    /// If there isn't one result for each member.
    pub fn batch_done(
        &mut self,
        now: Time,
        batch: &Batch,
        compute_us: u64,
        results: Vec<Result<Vec<u8>, JobError>>,
    ) {
        assert_eq!(
            results.len(),
            batch.members.len(),
            "one result for each member"
        );
        let failed = results.iter().filter(|result| result.is_err()).count();
        self.scheduler.batch_done(batch, compute_us, failed);
        let size = u16::try_from(batch.members.len()).unwrap_or(u16::MAX);
        for (member, result) in batch.members.iter().zip(results) {
            let queue_us = clamp_us(member.queue_us);
            let answer = match result {
                Ok(body) => Answer::ok(queue_us, size, clamp_us(compute_us), body),
                Err(error) => {
                    let status = match error {
                        JobError::BadFrame(_) => Status::BadFrame,
                        JobError::Failed => Status::Failed,
                    };
                    Answer::refusal(status, queue_us, 0, error.to_string())
                }
            };
            self.reply(now, member.job.id, answer);
        }
    }

    /// Appends bytes for the transport of a connection to `out` and names it.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<u64> {
        while let Some(&id) = self.ready.first() {
            if let Some(entry) = self.connections.get_mut(&id)
                && entry.connection.poll_transmit(out)
            {
                return Some(id);
            }
            self.ready.remove(&id);
            self.forget_if_ended(id);
        }
        None
    }

    /// A connection that ended, to be closed by the shell once its bytes are sent.
    pub fn poll_closed(&mut self) -> Option<(u64, ProtocolError)> {
        self.closed.pop_front()
    }

    /// When [`Self::handle_timeout`] has to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let connection = self.timers.first().map(|&(at, _)| at);
        [connection, self.scheduler.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due at `now`; harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Time) {
        // The scheduler first: its refusals have a hint that the connections' don't.
        self.scheduler.handle_timeout(now);
        self.answer_dropped(now);
        while let Some(&(at, id)) = self.timers.first() {
            if at > now {
                return;
            }
            if let Some(entry) = self.connections.get_mut(&id) {
                entry.connection.handle_timeout(now);
            }
            self.settle(now, id);
        }
    }

    /// Takes no more work, ends each connection when it is answered and all after `within_us`.
    pub fn drain(&mut self, now: Time, within_us: u64) {
        self.drain_us = Some(within_us);
        self.scheduler.drain(now, within_us);
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            if let Some(entry) = self.connections.get_mut(&id) {
                entry.connection.drain(now, within_us);
                self.settle(now, id);
            }
        }
    }

    /// Serves these contracts from here on, each with the key of its batches and what they cost at
    /// first; keys that are served already keep what was learned of them. What connections have
    /// agreed on stays as it was: those whose contracts are all served again go on, the others are
    /// answered and end after `within_us` at the latest.
    ///
    /// # Errors
    /// [`ConfigError`] where they are out of range; nothing changed then.
    pub fn set_contracts(
        &mut self,
        now: Time,
        served: &[(Contract, ServedKey)],
        within_us: u64,
    ) -> Result<(), ConfigError> {
        let (contracts, keys): (Vec<Contract>, Vec<ServedKey>) = served.iter().cloned().unzip();
        let mut connection = self.connection.clone();
        connection.contracts.clone_from(&contracts);
        EdgeConnection::new(connection.clone(), now)?;
        self.connection = connection;
        self.keys = keys.into();
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            let Some(entry) = self.connections.get_mut(&id) else {
                continue;
            };
            if entry.connection.serve(&contracts) {
                entry.keys = Arc::clone(&self.keys);
            } else if !entry.connection.agreed().all(|one| contracts.contains(one)) {
                entry.connection.drain(now, within_us);
                self.settle(now, id);
            }
        }
        self.tell_keys();
        Ok(())
    }

    /// The contracts that new connections and calls find.
    #[must_use]
    pub fn contracts(&self) -> &[Contract] {
        &self.connection.contracts
    }

    /// Whether a drain has nothing left to answer.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let mut connections = self.connections.values();
        self.scheduler.is_drained()
            && self.calls.is_empty()
            && connections.all(|entry| entry.connection.in_flight() == 0)
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// What became of the jobs.
    #[must_use]
    pub const fn counts(&self) -> SchedulerCounts {
        self.scheduler.counts()
    }

    /// What all connections and calls counted so far, those that are gone included.
    #[must_use]
    pub fn connection_counts(&self) -> EdgeCounts {
        let living = self.connections.values();
        living.fold(self.past, |sum, entry| sum.plus(entry.connection.counts()))
    }

    /// The queue behind the connections.
    #[must_use]
    pub const fn scheduler(&self) -> &EdgeScheduler {
        &self.scheduler
    }

    /// Tells the scheduler which keys may still come: connections that end keep theirs till then.
    fn tell_keys(&mut self) {
        let old = self
            .connections
            .values()
            .flat_map(|entry| entry.keys.iter());
        // Of one key the newest guess counts, so those served now come last.
        let keys = old.chain(self.keys.iter()).copied();
        self.scheduler.set_keys(keys);
    }

    fn answer_dropped(&mut self, now: Time) {
        while let Some(dropped) = self.scheduler.poll_dropped() {
            let queue_us = clamp_us(dropped.queue_us);
            let hint = dropped.retry_after_ms;
            let answer = Answer::refusal(dropped.status, queue_us, hint, String::new());
            self.reply(now, dropped.id, answer);
        }
    }

    fn reply(&mut self, now: Time, id: JobId, answer: Answer) {
        if id.connection == CALLS {
            if self.calls.remove(&id.seq) {
                self.past.replied += 1;
                self.answers.push_back((id.seq, answer));
            }
            return;
        }
        if let Some(entry) = self.connections.get_mut(&id.connection) {
            let queue_us = answer.queue_us;
            // A frame that expired meanwhile has its answer.
            if let Err(error @ ReplyError::BodyTooLong { .. }) =
                entry.connection.reply(now, id.seq, answer)
            {
                let failed = Answer::refusal(Status::Failed, queue_us, 0, error.to_string());
                let _ = entry.connection.reply(now, id.seq, failed);
            }
            self.settle(now, id.connection);
        }
    }

    /// Handles what a connection says after anything was done to it.
    fn settle(&mut self, now: Time, id: u64) {
        self.ready.insert(id);
        while let Some(entry) = self.connections.get_mut(&id) {
            match entry.connection.poll_event() {
                Some(EdgeEvent::Frame {
                    seq,
                    contract,
                    rung,
                    deadline,
                    body,
                }) => {
                    let job = Job {
                        id: JobId {
                            connection: id,
                            seq,
                        },
                        client: entry.client,
                        key: entry.keys[contract].key,
                        rung,
                        deadline,
                        body,
                    };
                    if let Err(refusal) = self.scheduler.offer(now, job) {
                        let detail = refusal.detail.to_owned();
                        let hint = refusal.retry_after_ms;
                        let answer = Answer::refusal(refusal.status, 0, hint, detail);
                        let _ = entry.connection.reply(now, seq, answer);
                    }
                }
                Some(EdgeEvent::Expired { seq }) => {
                    self.scheduler.cancel(JobId {
                        connection: id,
                        seq,
                    });
                }
                Some(EdgeEvent::Closed(error)) => {
                    self.scheduler.cancel_connection(id);
                    self.closed.push_back((id, error));
                }
                Some(EdgeEvent::Opened { .. }) => {}
                None => break,
            }
        }
        if self.keeps_records
            && let Some(entry) = self.connections.get_mut(&id)
        {
            while let Some(record) = entry.connection.poll_record() {
                self.records.push_back((id, record));
            }
        }
        self.set_timer(id);
    }

    fn set_timer(&mut self, id: u64) {
        let Some(entry) = self.connections.get_mut(&id) else {
            return;
        };
        let timer = entry.connection.poll_timeout();
        if timer == entry.timer {
            return;
        }
        if let Some(old) = entry.timer {
            self.timers.remove(&(old, id));
        }
        if let Some(new) = timer {
            self.timers.insert((new, id));
        }
        entry.timer = timer;
    }

    fn forget_if_ended(&mut self, id: u64) {
        if let Some(entry) = self.connections.get(&id)
            && entry.connection.is_closed()
        {
            self.past = self.past.plus(entry.connection.counts());
            self.connections.remove(&id);
        }
    }
}
