use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::contract::{Contract, check_contracts};
use super::error::{ConfigError, ProtocolError, check_range};
use super::limits::{
    MAX_BODY_BYTES, MAX_BUDGET_US, MAX_IN_FLIGHT, MAX_PROBE_BYTES, PROTOCOL_VERSION,
};
use super::message::{Answer, FrameHead, Message, MessageReader, Status};
use super::outbox::{Outbox, Transport};
use super::outcome::{DeviceEvent, Outcome, Request, SendError};
use crate::time::Time;

/// Settings of the device's end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    /// What this device holds, one entry a split point; frames name them by index.
    pub contracts: Vec<Contract>,
    /// What lies below.
    pub transport: Transport,
    /// Most frames to have unanswered; the edge may grant fewer.
    pub in_flight_max: u16,
    /// Time for the hello and its answer.
    pub handshake_us_max: u64,
    /// Time without a message after which the peer is probed.
    pub probe_after_us: u64,
    /// Time without a message after which the connection counts as lost.
    pub silence_us_max: u64,
    /// On datagrams, how long after its deadline a lost frame holds its place in the credit.
    pub answer_grace_us: u64,
}

impl DeviceConfig {
    /// A stream with 64 frames in flight, probed after 10 s and given up after 30 s of silence.
    #[must_use]
    pub const fn new(contracts: Vec<Contract>) -> Self {
        Self {
            contracts,
            transport: Transport::Stream,
            in_flight_max: 64,
            handshake_us_max: 5_000_000,
            probe_after_us: 10_000_000,
            silence_us_max: 30_000_000,
            answer_grace_us: 500_000,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        check_contracts(&self.contracts)?;
        let in_flight = u64::from(self.in_flight_max);
        check_range("in_flight_max", in_flight, 1, u64::from(MAX_IN_FLIGHT))?;
        check_range("handshake_us_max", self.handshake_us_max, 1, u64::MAX)?;
        check_range(
            "probe_after_us",
            self.probe_after_us,
            1,
            self.silence_us_max,
        )
    }
}

#[derive(Debug)]
enum State {
    Greeting { since: Time, resend: Time },
    Open,
    Closed,
}

#[derive(Debug)]
struct Slot {
    sent: Time,
    /// When the next thing happens to it: its deadline, then (datagrams) its release.
    timer: Time,
    /// Whether its outcome is out.
    ended: bool,
}

#[derive(Debug)]
struct OpenProbe {
    id: u32,
    filler: usize,
    sent: Time,
}

/// The device's end of a connection: frames in, outcomes out, no socket and no clock.
#[derive(Debug)]
pub struct DeviceConnection {
    config: DeviceConfig,
    state: State,
    now: Time,
    reader: MessageReader,
    outbox: Outbox,
    events: VecDeque<DeviceEvent>,
    accepted: Vec<u8>,
    frame_bytes_max: usize,
    granted: u16,
    credit_epoch: u32,
    draining: bool,
    next_seq: u32,
    slots: BTreeMap<u32, Slot>,
    timers: BTreeSet<(Time, u32)>,
    last_received: Time,
    next_probe: u32,
    probe: Option<OpenProbe>,
    /// Smoothed time that answers spend on the way, there and back.
    net_us: u64,
}

/// Wait before a hello is sent again on datagrams.
const HELLO_RESEND_US: u64 = 250_000;

impl DeviceConnection {
    /// Begins a connection: the hello is ready to be transmitted.
    ///
    /// # Errors
    /// [`ConfigError`] where a field of `config` is out of range.
    pub fn new(config: DeviceConfig, now: Time) -> Result<Self, ConfigError> {
        config.check()?;
        let mut connection = Self {
            state: State::Greeting {
                since: now,
                resend: now.after(HELLO_RESEND_US),
            },
            now,
            reader: MessageReader::default(),
            outbox: Outbox::new(config.transport),
            events: VecDeque::new(),
            accepted: Vec::new(),
            frame_bytes_max: 0,
            granted: 0,
            credit_epoch: 0,
            draining: false,
            next_seq: 0,
            slots: BTreeMap::new(),
            timers: BTreeSet::new(),
            last_received: now,
            next_probe: 0,
            probe: None,
            net_us: 0,
            config,
        };
        if let Err(error) = connection.greet() {
            connection.close(error);
        }
        Ok(connection)
    }

    /// Takes a frame. Its number comes back in exactly one [`DeviceEvent::Outcome`].
    ///
    /// # Errors
    /// [`SendError`] when the frame can't be sent now; then nothing was taken.
    pub fn send(&mut self, now: Time, request: &Request<'_>) -> Result<u32, SendError> {
        self.advance(now);
        self.check_request(request)?;
        let seq = self.next_seq;
        let next_seq = seq.checked_add(1).ok_or(SendError::SeqExhausted)?;
        let head = FrameHead {
            seq,
            split: request.split,
            rung: request.rung,
            budget_us: self.edge_budget_us(request.budget_us),
        };
        let written = self.outbox.write_frame(&head, request.body);
        written.map_err(SendError::Transmit)?;
        self.next_seq = next_seq;
        let timer = self.now.after(u64::from(request.budget_us));
        self.timers.insert((timer, seq));
        let slot = Slot {
            sent: self.now,
            timer,
            ended: false,
        };
        self.slots.insert(seq, slot);
        Ok(seq)
    }

    /// Sends `filler` bytes that the edge answers shortly, to time the link.
    ///
    /// At most one probe is open; another call while one is does nothing and gives `false`.
    ///
    /// # Errors
    /// [`SendError`] when the connection isn't open or the filler is too long.
    pub fn probe(&mut self, now: Time, filler: usize) -> Result<bool, SendError> {
        self.advance(now);
        if !matches!(self.state, State::Open) {
            return Err(SendError::NotOpen);
        }
        if filler > MAX_PROBE_BYTES {
            return Err(SendError::BodyTooLong {
                found: filler,
                allowed: MAX_PROBE_BYTES,
            });
        }
        if self.probe.is_some() {
            return Ok(false);
        }
        self.write_probe(filler).map_err(SendError::Transmit)?;
        Ok(true)
    }

    /// Takes bytes from the transport: a chunk of a stream, or one datagram.
    ///
    /// # Errors
    /// [`ProtocolError`] when the peer broke the protocol; the connection is closed then.
    pub fn receive(&mut self, now: Time, bytes: &[u8]) -> Result<(), ProtocolError> {
        self.advance(now);
        if matches!(self.state, State::Closed) {
            return Err(ProtocolError::Closed);
        }
        self.reader.push(bytes);
        match self.read_messages() {
            Ok(()) => Ok(()),
            Err(error) => {
                self.close(error.clone());
                // A drained connection ended as it should.
                if error == ProtocolError::Drained {
                    Ok(())
                } else {
                    Err(error)
                }
            }
        }
    }

    /// The transport ended: what is in flight is lost.
    pub fn transport_lost(&mut self, now: Time) {
        self.advance(now);
        self.close(ProtocolError::TransportLost);
    }

    /// The next event, if there is one.
    pub fn poll_event(&mut self) -> Option<DeviceEvent> {
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
        let own = match self.state {
            State::Closed => return None,
            State::Greeting { since, resend, .. } => {
                let end = since.after(self.config.handshake_us_max);
                match self.config.transport {
                    Transport::Stream => end,
                    Transport::Datagram => end.min(resend),
                }
            }
            State::Open => {
                let silent = self.last_received.after(self.config.silence_us_max);
                silent.min(self.next_probe_at())
            }
        };
        let timer = self.timers.first().map(|&(at, _)| at);
        Some(timer.map_or(own, |at| at.min(own)))
    }

    /// Does what is due at `now`; harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Time) {
        self.advance(now);
        while let Some(&(at, seq)) = self.timers.first() {
            if at > self.now {
                break;
            }
            self.timers.pop_first();
            self.slot_is_due(seq);
        }
        if let Err(error) = self.keep_alive() {
            self.close(error);
        }
    }

    /// Frames that hold a place in the credit.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots.len()
    }

    /// Most frames that may be in flight.
    #[must_use]
    pub const fn granted(&self) -> u16 {
        self.granted
    }

    /// Smoothed time that answers spend on the way, there and back; 0 before the first.
    #[must_use]
    pub const fn net_us(&self) -> u64 {
        self.net_us
    }

    /// Whether frames can be sent, credit permitting.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open) && !self.draining
    }

    /// Whether the connection has ended.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Time never runs back, whatever the caller's clock does.
    fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    fn greet(&mut self) -> Result<(), ProtocolError> {
        let hello = Message::Hello {
            version: PROTOCOL_VERSION,
            frame_bytes_max: u32::try_from(MAX_BODY_BYTES).expect("a small constant"),
            in_flight_max: self.config.in_flight_max,
            contracts: self.config.contracts.clone(),
        };
        self.outbox.write(&hello)
    }

    fn check_request(&self, request: &Request<'_>) -> Result<(), SendError> {
        if !matches!(self.state, State::Open) {
            return Err(SendError::NotOpen);
        }
        if self.draining {
            return Err(SendError::Draining);
        }
        let contracts = &self.config.contracts;
        let Some(contract) = contracts.get(usize::from(request.split)) else {
            return Err(SendError::UnknownSplit {
                found: request.split,
                offered: contracts.len(),
            });
        };
        let split = || contract.split.clone();
        if !self.accepted.contains(&request.split) {
            return Err(SendError::SplitRefused { split: split() });
        }
        if request.rung >= contract.rungs {
            return Err(SendError::UnknownRung {
                split: split(),
                found: request.rung,
                rungs: contract.rungs,
            });
        }
        if request.body.len() > self.frame_bytes_max {
            return Err(SendError::BodyTooLong {
                found: request.body.len(),
                allowed: self.frame_bytes_max,
            });
        }
        if !(1..=MAX_BUDGET_US).contains(&request.budget_us) {
            return Err(SendError::BadBudget {
                found: request.budget_us,
            });
        }
        if self.slots.len() >= usize::from(self.granted) {
            return Err(SendError::Blocked {
                in_flight: self.slots.len(),
                granted: self.granted,
            });
        }
        Ok(())
    }

    fn read_messages(&mut self) -> Result<(), ProtocolError> {
        let datagram = self.config.transport == Transport::Datagram;
        loop {
            match self.reader.next() {
                Ok(Some(message)) => {
                    self.last_received = self.now;
                    self.handle(message)?;
                }
                Ok(None) => break,
                // Anyone can send a datagram: one that can't be read is none.
                Err(_) if datagram => break,
                Err(error) => return Err(error.into()),
            }
        }
        if datagram {
            self.reader.clear();
        }
        Ok(())
    }

    fn handle(&mut self, message: Message) -> Result<(), ProtocolError> {
        let kind = message.kind();
        match (&self.state, message) {
            (
                State::Greeting { .. },
                Message::HelloAck {
                    frame_bytes_max,
                    in_flight_max,
                    accepted,
                },
            ) => self.open(frame_bytes_max, in_flight_max, accepted),
            (State::Greeting { .. }, Message::HelloRefused { version, served }) => {
                Err(self.refused(version, served))
            }
            (State::Open, Message::Answer { seq, answer }) => self.answered(seq, answer),
            (
                State::Open,
                Message::Credit {
                    epoch,
                    in_flight_max,
                },
            ) => {
                self.credit(epoch, in_flight_max);
                Ok(())
            }
            (State::Open, Message::Drain { within_ms }) => {
                self.drain(within_ms);
                self.end_if_drained()
            }
            (
                State::Open,
                Message::Probe {
                    id, reply: true, ..
                },
            ) => {
                self.probed(id);
                Ok(())
            }
            // A datagram may come late or twice.
            _ if self.config.transport == Transport::Datagram => Ok(()),
            (state, _) => Err(ProtocolError::Unexpected {
                kind,
                state: state.name(),
            }),
        }
    }

    fn open(
        &mut self,
        frame_bytes_max: u32,
        in_flight_max: u16,
        accepted: Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let offered = self.config.contracts.len();
        let stranger = accepted
            .iter()
            .map(|&index| usize::from(index))
            .find(|&index| index >= offered);
        if let Some(found) = stranger {
            return Err(ProtocolError::UnknownContract { found, offered });
        }
        let frame_bytes_max = usize::try_from(frame_bytes_max).unwrap_or(MAX_BODY_BYTES);
        self.frame_bytes_max = frame_bytes_max.min(MAX_BODY_BYTES);
        self.granted = in_flight_max.min(self.config.in_flight_max);
        self.accepted.clone_from(&accepted);
        self.state = State::Open;
        self.events.push_back(DeviceEvent::Opened { accepted });
        Ok(())
    }

    fn refused(&self, version: u16, served: Vec<Contract>) -> ProtocolError {
        if version != PROTOCOL_VERSION {
            return ProtocolError::VersionRefused {
                found: version,
                supported: PROTOCOL_VERSION,
            };
        }
        ProtocolError::ContractRefused {
            offered: self.config.contracts.clone(),
            served,
        }
    }

    fn answered(&mut self, seq: u32, answer: Answer) -> Result<(), ProtocolError> {
        let Some(slot) = self.slots.remove(&seq) else {
            return match self.config.transport {
                Transport::Stream => Err(ProtocolError::UnknownAnswer { found: seq }),
                Transport::Datagram => Ok(()),
            };
        };
        self.timers.remove(&(slot.timer, seq));
        let round_trip_us = self.now.since(slot.sent);
        self.learn_net(&answer, round_trip_us);
        if answer.status == Status::Draining {
            // The drain message itself may have been lost.
            self.drain(answer.retry_after_ms);
        }
        // The clock decides, not the order in which timer and bytes are handed in.
        let late = slot.ended || self.now >= slot.timer;
        if late {
            if !slot.ended {
                self.push_outcome(seq, Outcome::Expired);
            }
            self.events.push_back(DeviceEvent::LateAnswer {
                seq,
                answer,
                round_trip_us,
            });
        } else if answer.status == Status::Ok {
            let outcome = Outcome::Answered {
                answer,
                round_trip_us,
            };
            self.push_outcome(seq, outcome);
        } else {
            let outcome = Outcome::Refused {
                answer,
                round_trip_us,
            };
            self.push_outcome(seq, outcome);
        }
        self.end_if_drained()
    }

    /// What the edge may use of a budget: less what the way takes, or an edge under load would
    /// spend its time on answers that arrive late.
    fn edge_budget_us(&self, budget_us: u32) -> u32 {
        let way_us = u32::try_from(self.net_us).unwrap_or(u32::MAX);
        budget_us - way_us.min(budget_us / 4 * 3)
    }

    fn learn_net(&mut self, answer: &Answer, round_trip_us: u64) {
        let on_edge_us = u64::from(answer.queue_us) + u64::from(answer.compute_us);
        let net_us = round_trip_us.saturating_sub(on_edge_us);
        self.net_us = if self.net_us == 0 {
            net_us
        } else {
            (self.net_us * 7 + net_us) / 8
        };
    }

    fn credit(&mut self, epoch: u32, in_flight_max: u16) {
        if epoch <= self.credit_epoch {
            return;
        }
        self.credit_epoch = epoch;
        self.granted = in_flight_max.min(self.config.in_flight_max);
        self.events.push_back(DeviceEvent::Credit {
            in_flight_max: self.granted,
        });
    }

    fn probed(&mut self, id: u32) {
        if let Some(probe) = self.probe.take_if(|probe| probe.id == id) {
            self.events.push_back(DeviceEvent::Probed {
                filler: probe.filler,
                round_trip_us: self.now.since(probe.sent),
            });
        }
    }

    fn slot_is_due(&mut self, seq: u32) {
        let Some(slot) = self.slots.get_mut(&seq) else {
            return;
        };
        if slot.ended {
            // Datagrams only: the answer was lost, its place is free again.
            self.slots.remove(&seq);
            return;
        }
        slot.ended = true;
        if self.config.transport == Transport::Datagram {
            slot.timer = slot.timer.after(self.config.answer_grace_us);
            self.timers.insert((slot.timer, seq));
        }
        self.push_outcome(seq, Outcome::Expired);
    }

    fn keep_alive(&mut self) -> Result<(), ProtocolError> {
        let now = self.now;
        match &mut self.state {
            State::Closed => Ok(()),
            State::Greeting { since, resend } => {
                let allowed_us = self.config.handshake_us_max;
                if now >= since.after(allowed_us) {
                    return Err(ProtocolError::HandshakeTimeout { allowed_us });
                }
                if self.config.transport == Transport::Stream || now < *resend {
                    return Ok(());
                }
                *resend = now.after(HELLO_RESEND_US);
                self.greet()
            }
            State::Open => {
                let allowed_us = self.config.silence_us_max;
                if now >= self.last_received.after(allowed_us) {
                    return Err(ProtocolError::Silent { allowed_us });
                }
                if now >= self.next_probe_at() {
                    self.write_probe(0)?;
                }
                Ok(())
            }
        }
    }

    /// A probe may be lost like any datagram, so an open one puts the next off, no more.
    fn next_probe_at(&self) -> Time {
        let probed = self.probe.as_ref().map_or(Time::ZERO, |probe| probe.sent);
        probed
            .max(self.last_received)
            .after(self.config.probe_after_us)
    }

    fn write_probe(&mut self, filler: usize) -> Result<(), ProtocolError> {
        let id = self.next_probe;
        let reply = false;
        self.outbox.write(&Message::Probe { id, reply, filler })?;
        self.next_probe = id.wrapping_add(1);
        let sent = self.now;
        self.probe = Some(OpenProbe { id, filler, sent });
        Ok(())
    }

    fn drain(&mut self, within_ms: u32) {
        if !self.draining {
            self.draining = true;
            self.events.push_back(DeviceEvent::Draining { within_ms });
        }
    }

    fn end_if_drained(&self) -> Result<(), ProtocolError> {
        if self.draining && self.slots.is_empty() {
            return Err(ProtocolError::Drained);
        }
        Ok(())
    }

    fn push_outcome(&mut self, seq: u32, outcome: Outcome) {
        self.events.push_back(DeviceEvent::Outcome { seq, outcome });
    }

    fn close(&mut self, error: ProtocolError) {
        if matches!(self.state, State::Closed) {
            return;
        }
        self.state = State::Closed;
        self.timers.clear();
        for (seq, slot) in std::mem::take(&mut self.slots) {
            if !slot.ended {
                self.push_outcome(seq, Outcome::Lost);
            }
        }
        self.events.push_back(DeviceEvent::Closed(error));
    }
}

impl State {
    const fn name(&self) -> &'static str {
        match self {
            Self::Greeting { .. } => "greeting",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}
