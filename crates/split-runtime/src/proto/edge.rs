use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::check::{check_body, check_bounds};
use super::contract::{Contract, check_contracts};
use super::error::{ConfigError, ProtocolError, check_range};
use super::limits::{
    MAX_BODY_BYTES, MAX_BUDGET_US, MAX_CONTRACTS, MAX_IN_FLIGHT, PROTOCOL_VERSION,
};
use super::message::{Answer, FrameHead, Message, MessageReader, Status};
use super::outbox::{Outbox, Transport};
use super::record::{FrameRecord, Records};
use super::replay::Replay;
use crate::time::{Time, clamp_us};

/// Settings of the edge's end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeConfig {
    /// What this edge serves.
    pub contracts: Vec<Contract>,
    /// What lies below.
    pub transport: Transport,
    /// Most frames of the connection that may be unanswered.
    pub in_flight_max: u16,
    /// Longest frame.
    pub frame_bytes_max: usize,
    /// Whether bodies are frames of `split-tensor`. If so, one of another bank or rung than it is
    /// sent as, or one that is damaged, is refused before it takes a place in the queue.
    pub check_frames: bool,
    /// Time for the hello.
    pub hello_us_max: u64,
    /// Time for the rest of a message that has begun.
    pub message_us_max: u64,
    /// Time without a message after which the connection ends.
    pub idle_us_max: u64,
}

impl EdgeConfig {
    /// A stream with 64 frames in flight of at most 64,000 bytes; 5 s for the hello and for the
    /// rest of a message, 60 s of silence.
    #[must_use]
    pub const fn new(contracts: Vec<Contract>) -> Self {
        Self {
            contracts,
            transport: Transport::Stream,
            in_flight_max: 64,
            frame_bytes_max: 64_000,
            check_frames: true,
            hello_us_max: 5_000_000,
            message_us_max: 5_000_000,
            idle_us_max: 60_000_000,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        check_contracts(&self.contracts)?;
        let in_flight = u64::from(self.in_flight_max);
        check_range("in_flight_max", in_flight, 1, u64::from(MAX_IN_FLIGHT))?;
        let frame_bytes = self.frame_bytes_max as u64;
        check_range("frame_bytes_max", frame_bytes, 1, MAX_BODY_BYTES as u64)?;
        check_range("hello_us_max", self.hello_us_max, 1, u64::MAX)?;
        check_range("message_us_max", self.message_us_max, 1, u64::MAX)?;
        check_range("idle_us_max", self.idle_us_max, 1, u64::MAX)
    }
}

/// What an edge's connection tells its user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EdgeEvent {
    /// The device said hello and at least one contract is shared.
    Opened {
        /// For each contract of the device, its index in [`EdgeConfig::contracts`].
        contracts: Vec<Option<usize>>,
    },
    /// A frame to be computed and answered by [`EdgeConnection::reply`].
    Frame {
        /// Its number in this connection.
        seq: u32,
        /// Index in [`EdgeConfig::contracts`].
        contract: usize,
        /// Rung of that contract's bank.
        rung: u16,
        /// When the answer becomes worthless, on this edge's clock.
        deadline: Time,
        /// The frame.
        body: Vec<u8>,
    },
    /// A frame's deadline passed; it was answered so, work on it is wasted.
    Expired {
        /// Its number.
        seq: u32,
    },
    /// The connection ended; no event follows and replies go nowhere.
    Closed(ProtocolError),
}

/// What a connection counted. All counts only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeCounts {
    /// Frames handed on.
    pub frames: u64,
    /// Frames refused before they were handed on.
    pub refused: u64,
    /// Frames answered.
    pub replied: u64,
    /// Frames whose deadline passed.
    pub expired: u64,
    /// Datagrams that came late, twice, or unreadable.
    pub ignored: u64,
}

impl EdgeCounts {
    /// The sums of two connections.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            frames: self.frames + other.frames,
            refused: self.refused + other.refused,
            replied: self.replied + other.replied,
            expired: self.expired + other.expired,
            ignored: self.ignored + other.ignored,
        }
    }
}

/// Why a reply went nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The frame expired, was answered, or never came.
    #[error("frame {found} isn't in flight")]
    NotInFlight {
        /// Its number.
        found: u32,
    },
    /// The body is longer than a message may hold.
    #[error("answer of {found} bytes, at most {allowed} are allowed")]
    BodyTooLong {
        /// Length found.
        found: usize,
        /// Longest allowed.
        allowed: usize,
    },
    /// The connection ended.
    #[error("the connection ended: {0}")]
    Closed(ProtocolError),
}

#[derive(Debug)]
enum State {
    Listening { since: Time },
    Open,
    Draining { until: Time },
    Closed,
}

#[derive(Debug)]
struct InFlight {
    received: Time,
    deadline: Time,
}

/// The edge's end of a connection: bytes in, frames out, answers back, no socket and no clock.
#[derive(Debug)]
pub struct EdgeConnection {
    config: EdgeConfig,
    state: State,
    now: Time,
    reader: MessageReader,
    outbox: Outbox,
    events: VecDeque<EdgeEvent>,
    /// For each contract of the device, its index here.
    contracts: Vec<Option<usize>>,
    /// Kept to answer a hello that comes again.
    ack: Option<Message>,
    granted: u16,
    granted_most: u16,
    credit_epoch: u32,
    replay: Replay,
    in_flight: BTreeMap<u32, InFlight>,
    deadlines: BTreeSet<(Time, u32)>,
    last_received: Time,
    message_since: Option<Time>,
    counts: EdgeCounts,
    records: Records,
}

impl EdgeConnection {
    /// Begins a connection that waits for a hello.
    ///
    /// # Errors
    /// [`ConfigError`] where a field of `config` is out of range.
    pub fn new(config: EdgeConfig, now: Time) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            state: State::Listening { since: now },
            now,
            reader: MessageReader::default(),
            outbox: Outbox::new(config.transport),
            events: VecDeque::new(),
            contracts: Vec::new(),
            ack: None,
            granted: config.in_flight_max,
            granted_most: config.in_flight_max,
            credit_epoch: 0,
            replay: Replay::new(config.transport),
            in_flight: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            last_received: now,
            message_since: None,
            counts: EdgeCounts::default(),
            records: Records::default(),
            config,
        })
    }

    /// Takes bytes from the transport: a chunk of a stream, or one datagram.
    ///
    /// # Errors
    /// [`ProtocolError`] when the peer broke the protocol; the connection is closed then, but
    /// what waits for the transport, such as a refusal, may still be sent.
    pub fn receive(&mut self, now: Time, bytes: &[u8]) -> Result<(), ProtocolError> {
        self.advance(now);
        if matches!(self.state, State::Closed) {
            return Err(ProtocolError::Closed);
        }
        self.reader.push(bytes);
        let read = self.read_messages();
        read.inspect_err(|error| self.close(error.clone()))
    }

    /// Answers a frame.
    ///
    /// # Errors
    /// [`ReplyError`] when the answer goes nowhere; the device has, or will get, another outcome.
    pub fn reply(&mut self, now: Time, seq: u32, answer: Answer) -> Result<(), ReplyError> {
        self.advance(now);
        if matches!(self.state, State::Closed) {
            return Err(ReplyError::Closed(ProtocolError::Closed));
        }
        if answer.body.len() > MAX_BODY_BYTES {
            return Err(ReplyError::BodyTooLong {
                found: answer.body.len(),
                allowed: MAX_BODY_BYTES,
            });
        }
        let Some(frame) = self.in_flight.remove(&seq) else {
            return Err(ReplyError::NotInFlight { found: seq });
        };
        self.deadlines.remove(&(frame.deadline, seq));
        self.counts.replied += 1;
        self.records.end(self.now, seq, &answer);
        let written = self.outbox.write(&Message::Answer { seq, answer });
        written.map_err(|error| {
            self.close(error.clone());
            ReplyError::Closed(error)
        })
    }

    /// From here on [`Self::poll_record`] says what became of each frame; it has to be called like
    /// [`Self::poll_event`] then, or they pile up.
    pub const fn keep_records(&mut self) {
        self.records.keep();
    }

    /// What became of a frame, if records are kept: one for each that came.
    pub fn poll_record(&mut self) -> Option<FrameRecord> {
        self.records.poll()
    }

    /// Serves other contracts than those of the config, as long as no hello has come; `false` after it.
    pub(crate) fn serve(&mut self, contracts: &[Contract]) -> bool {
        let listens = matches!(self.state, State::Listening { .. });
        if listens {
            self.config.contracts = contracts.to_vec();
        }
        listens
    }

    /// The contracts that both ends agreed on; none before the hello.
    pub(crate) fn agreed(&self) -> impl Iterator<Item = &Contract> {
        let indices = self.contracts.iter().flatten();
        indices.map(|&index| &self.config.contracts[index])
    }

    /// Grants another number of frames in flight.
    pub fn set_credit(&mut self, now: Time, in_flight_max: u16) {
        self.advance(now);
        let in_flight_max = in_flight_max.min(MAX_IN_FLIGHT);
        if !matches!(self.state, State::Open) || in_flight_max == self.granted {
            return;
        }
        self.granted = in_flight_max;
        // The device may have sent under a larger grant before it hears of a smaller one.
        self.granted_most = self.granted_most.max(in_flight_max);
        self.credit_epoch = self.credit_epoch.saturating_add(1);
        let epoch = self.credit_epoch;
        let credit = Message::Credit {
            epoch,
            in_flight_max,
        };
        self.write_or_close(&credit);
    }

    /// Ends the connection when all frames are answered, or after `within_us` at the latest.
    pub fn drain(&mut self, now: Time, within_us: u64) {
        self.advance(now);
        match self.state {
            State::Open => {
                let until = self.now.after(within_us);
                self.state = State::Draining { until };
                let within_ms = clamp_us(within_us / 1000);
                self.write_or_close(&Message::Drain { within_ms });
            }
            State::Listening { .. } => self.close(ProtocolError::Drained),
            State::Draining { .. } | State::Closed => {}
        }
    }

    /// The transport ended.
    pub fn transport_lost(&mut self, now: Time) {
        self.advance(now);
        self.close(ProtocolError::TransportLost);
    }

    /// The next event, if there is one.
    pub fn poll_event(&mut self) -> Option<EdgeEvent> {
        self.events.pop_front()
    }

    /// Appends bytes for the transport to `out`; `false` when there are none.
    ///
    /// On datagrams each call gives one of them.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        self.outbox.poll(out)
    }

    /// When [`Self::handle_timeout`] has to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let idle = self.last_received.after(self.config.idle_us_max);
        let own = match self.state {
            State::Closed => return None,
            State::Listening { since } => since.after(self.config.hello_us_max),
            State::Open => idle,
            State::Draining { until } => until,
        };
        let message = self
            .message_since
            .map(|at| at.after(self.config.message_us_max));
        let deadline = self.deadlines.first().map(|&(at, _)| at);
        [message, deadline].into_iter().flatten().chain([own]).min()
    }

    /// Does what is due at `now`; harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Time) {
        self.advance(now);
        while let Some(&(at, seq)) = self.deadlines.first() {
            if at > self.now {
                break;
            }
            self.expire(seq);
        }
        if let Err(error) = self.check_patience() {
            self.close(error);
        }
    }

    /// Frames handed on and not answered.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the connection has ended.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether all answers are out and the drain may end.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        matches!(self.state, State::Draining { .. }) && self.in_flight.is_empty()
    }

    /// Bytes that wait for the transport.
    #[must_use]
    pub const fn waiting_bytes(&self) -> usize {
        self.outbox.waiting_bytes()
    }

    /// What happened so far.
    #[must_use]
    pub const fn counts(&self) -> EdgeCounts {
        self.counts
    }

    fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    fn read_messages(&mut self) -> Result<(), ProtocolError> {
        let datagram = self.config.transport == Transport::Datagram;
        loop {
            match self.reader.next() {
                Ok(Some(message)) => {
                    self.last_received = self.now;
                    self.message_since = None;
                    self.handle(message)?;
                }
                Ok(None) => break,
                // Anyone can send a datagram: one that can't be read is none.
                Err(_) if datagram => {
                    self.counts.ignored += 1;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if datagram {
            self.reader.clear();
        } else if self.reader.unfinished_bytes() > 0 {
            self.message_since.get_or_insert(self.now);
        }
        Ok(())
    }

    fn handle(&mut self, message: Message) -> Result<(), ProtocolError> {
        let kind = message.kind();
        match (&self.state, message) {
            (
                State::Listening { .. },
                Message::Hello {
                    version,
                    in_flight_max,
                    contracts,
                    ..
                },
            ) => self.greeted(version, in_flight_max, &contracts),
            (State::Open | State::Draining { .. }, Message::Frame { head, body }) => {
                self.framed(head, body)
            }
            (
                State::Open | State::Draining { .. },
                Message::Probe {
                    id, reply: false, ..
                },
            ) => self.outbox.write(&Message::Probe {
                id,
                reply: true,
                filler: 0,
            }),
            (_, message) if self.config.transport == Transport::Datagram => {
                self.counts.ignored += 1;
                // The acknowledgement may have been lost.
                match (message, self.ack.take()) {
                    (Message::Hello { .. }, Some(ack)) => {
                        let written = self.outbox.write(&ack);
                        self.ack = Some(ack);
                        written
                    }
                    (_, ack) => {
                        self.ack = ack;
                        Ok(())
                    }
                }
            }
            (state, _) => Err(ProtocolError::Unexpected {
                kind,
                state: state.name(),
            }),
        }
    }

    fn greeted(
        &mut self,
        version: u16,
        in_flight_max: u16,
        offered: &[Contract],
    ) -> Result<(), ProtocolError> {
        assert!(offered.len() <= MAX_CONTRACTS, "checked when it was read");
        let served = &self.config.contracts;
        let same_version = version == PROTOCOL_VERSION;
        let found: Vec<Option<usize>> = offered
            .iter()
            .map(|contract| served.iter().position(|s| s == contract))
            .collect();
        if !same_version || found.iter().all(Option::is_none) {
            let refusal = Message::HelloRefused {
                version: PROTOCOL_VERSION,
                served: served.clone(),
            };
            self.outbox.write(&refusal)?;
            return Err(if same_version {
                ProtocolError::ContractRefused {
                    offered: offered.to_vec(),
                    served: served.clone(),
                }
            } else {
                ProtocolError::VersionRefused {
                    found: version,
                    supported: PROTOCOL_VERSION,
                }
            });
        }
        let accepted = (0_u8..).zip(&found).filter(|(_, at)| at.is_some());
        self.granted = self.config.in_flight_max.min(in_flight_max);
        self.granted_most = self.granted;
        let ack = Message::HelloAck {
            frame_bytes_max: u32::try_from(self.config.frame_bytes_max).expect("checked"),
            in_flight_max: self.granted,
            accepted: accepted.map(|(index, _)| index).collect(),
        };
        self.outbox.write(&ack)?;
        self.ack = Some(ack);
        self.contracts.clone_from(&found);
        self.state = State::Open;
        self.events
            .push_back(EdgeEvent::Opened { contracts: found });
        Ok(())
    }

    fn framed(&mut self, head: FrameHead, body: Vec<u8>) -> Result<(), ProtocolError> {
        if !self.replay.insert(head.seq) {
            if self.config.transport == Transport::Datagram {
                self.counts.ignored += 1;
                return Ok(());
            }
            return Err(ProtocolError::SeqReused {
                found: head.seq,
                highest: self.replay.highest(),
            });
        }
        let contract = self.contract_of(head.split);
        let split = contract.map(|index| self.config.contracts[index].split.as_str());
        self.records.begin(self.now, &head, split, body.len());
        match self.check_frame(&head, &body) {
            Ok(contract) => {
                let budget_us = u64::from(head.budget_us.min(MAX_BUDGET_US));
                let deadline = self.now.after(budget_us);
                let received = self.now;
                self.deadlines.insert((deadline, head.seq));
                self.in_flight
                    .insert(head.seq, InFlight { received, deadline });
                self.counts.frames += 1;
                self.events.push_back(EdgeEvent::Frame {
                    seq: head.seq,
                    contract,
                    rung: head.rung,
                    deadline,
                    body,
                });
                Ok(())
            }
            Err((status, detail)) => {
                self.counts.refused += 1;
                let answer = Answer::refusal(status, 0, 0, detail);
                self.records.end(self.now, head.seq, &answer);
                self.outbox.write(&Message::Answer {
                    seq: head.seq,
                    answer,
                })
            }
        }
    }

    /// Index in the config of a contract that the device numbers so.
    fn contract_of(&self, split: u8) -> Option<usize> {
        self.contracts.get(usize::from(split)).copied().flatten()
    }

    fn check_frame(&self, head: &FrameHead, body: &[u8]) -> Result<usize, (Status, String)> {
        if let State::Draining { .. } = self.state {
            return Err((Status::Draining, String::new()));
        }
        let Some(index) = self.contract_of(head.split) else {
            let detail = format!("split {} isn't one of this connection", head.split);
            return Err((Status::UnknownSplit, detail));
        };
        let contract = &self.config.contracts[index];
        check_bounds(&self.config, contract, head.rung, body)?;
        if self.in_flight.len() >= usize::from(self.granted_most) {
            let detail = format!(
                "{} frames are in flight, {} are granted",
                self.in_flight.len(),
                self.granted
            );
            return Err((Status::CreditExceeded, detail));
        }
        check_body(&self.config, contract, head.rung, head.budget_us, body)?;
        Ok(index)
    }

    fn expire(&mut self, seq: u32) {
        let frame = self
            .in_flight
            .remove(&seq)
            .expect("every deadline has its frame");
        self.deadlines.remove(&(frame.deadline, seq));
        self.counts.expired += 1;
        let queue_us = clamp_us(self.now.since(frame.received));
        let answer = Answer::refusal(Status::Expired, queue_us, 0, String::new());
        self.records.end(self.now, seq, &answer);
        self.events.push_back(EdgeEvent::Expired { seq });
        self.write_or_close(&Message::Answer { seq, answer });
    }

    fn check_patience(&self) -> Result<(), ProtocolError> {
        if let Some(since) = self.message_since {
            let allowed_us = self.config.message_us_max;
            if self.now >= since.after(allowed_us) {
                return Err(ProtocolError::StalledMessage { allowed_us });
            }
        }
        match self.state {
            State::Listening { since } => {
                let allowed_us = self.config.hello_us_max;
                if self.now >= since.after(allowed_us) {
                    return Err(ProtocolError::HandshakeTimeout { allowed_us });
                }
            }
            State::Open => {
                let allowed_us = self.config.idle_us_max;
                if self.now >= self.last_received.after(allowed_us) {
                    return Err(ProtocolError::Silent { allowed_us });
                }
            }
            State::Draining { until } if self.now >= until => return Err(ProtocolError::Drained),
            State::Draining { .. } | State::Closed => {}
        }
        Ok(())
    }

    fn write_or_close(&mut self, message: &Message) {
        if let Err(error) = self.outbox.write(message) {
            self.close(error);
        }
    }

    fn close(&mut self, error: ProtocolError) {
        if matches!(self.state, State::Closed) {
            return;
        }
        if error == ProtocolError::Drained {
            self.refuse_rest();
        }
        self.state = State::Closed;
        self.deadlines.clear();
        self.in_flight.clear();
        self.records.lose(self.now);
        self.events.push_back(EdgeEvent::Closed(error));
    }

    /// At the end of a drain no frame is left without an answer.
    fn refuse_rest(&mut self) {
        for seq in std::mem::take(&mut self.in_flight).into_keys() {
            let answer = Answer::refusal(Status::Draining, 0, 0, String::new());
            self.records.end(self.now, seq, &answer);
            // A full outbox means that the device reads nothing: it will see the end instead.
            if self.outbox.write(&Message::Answer { seq, answer }).is_err() {
                return;
            }
        }
    }
}

impl State {
    const fn name(&self) -> &'static str {
        match self {
            Self::Listening { .. } => "listening",
            Self::Open => "open",
            Self::Draining { .. } => "draining",
            Self::Closed => "closed",
        }
    }
}
