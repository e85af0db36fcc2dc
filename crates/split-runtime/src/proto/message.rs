//! Messages and their bytes: a length prefix, a kind, fields. `docs/messages.md` has the layout.

use super::contract::Contract;
use super::error::MessageError;
use super::limits::{
    MAX_BODY_BYTES, MAX_CONTRACTS, MAX_DETAIL_BYTES, MAX_MESSAGE_BYTES, MAX_NAME_BYTES,
    MAX_PROBE_BYTES,
};
use super::wire::{Fields, Varint, put_varint, read_varint};

const HELLO: u8 = 1;
const HELLO_ACK: u8 = 2;
const HELLO_REFUSED: u8 = 3;
const FRAME: u8 = 4;
const ANSWER: u8 = 5;
const CREDIT: u8 = 6;
const DRAIN: u8 = 7;
const PROBE: u8 = 8;

/// How a frame ended, as the edge says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Status {
    /// Computed; the body is the prediction.
    Ok,
    /// The edge has more work than it can finish in time.
    Overloaded,
    /// The budget ran out before the tail could run.
    Expired,
    /// The edge takes no more frames on this connection.
    Draining,
    /// The connection's contract has no such split point.
    UnknownSplit,
    /// The bank has no such rung.
    UnknownRung,
    /// The frame can't be decoded under the contract.
    BadFrame,
    /// The frame is longer than the edge allows.
    FrameTooLong,
    /// More frames are in flight than were granted.
    CreditExceeded,
    /// A fault of the edge.
    Failed,
}

const STATUSES: [Status; 10] = [
    Status::Ok,
    Status::Overloaded,
    Status::Expired,
    Status::Draining,
    Status::UnknownSplit,
    Status::UnknownRung,
    Status::BadFrame,
    Status::FrameTooLong,
    Status::CreditExceeded,
    Status::Failed,
];

impl Status {
    /// Whether the same frame may succeed when it is sent again, here or to another edge.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Overloaded | Self::Draining | Self::CreditExceeded | Self::Failed
        )
    }

    const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Overloaded => 1,
            Self::Expired => 2,
            Self::Draining => 3,
            Self::UnknownSplit => 4,
            Self::UnknownRung => 5,
            Self::BadFrame => 6,
            Self::FrameTooLong => 7,
            Self::CreditExceeded => 8,
            Self::Failed => 9,
        }
    }

    fn from_code(code: u8) -> Result<Self, MessageError> {
        let found = usize::from(code);
        STATUSES
            .get(found)
            .copied()
            .ok_or(MessageError::AboveBound {
                field: "status",
                found,
                allowed: STATUSES.len() - 1,
            })
    }
}

/// What the edge measured for a frame, and its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How the frame ended.
    pub status: Status,
    /// Time the frame waited on the edge.
    pub queue_us: u32,
    /// How many frames the tail took at once; 0 if it didn't run.
    pub batch: u16,
    /// Time of decoding and of the tail.
    pub compute_us: u32,
    /// With [`Status::Ok`] the prediction, else empty.
    pub body: Vec<u8>,
    /// With a refusal, when it may be worth trying again; 0 if the edge can't say.
    pub retry_after_ms: u32,
    /// With a refusal, what was wrong, for people.
    pub detail: String,
}

impl Answer {
    /// A prediction.
    #[must_use]
    pub const fn ok(queue_us: u32, batch: u16, compute_us: u32, body: Vec<u8>) -> Self {
        Self {
            status: Status::Ok,
            queue_us,
            batch,
            compute_us,
            body,
            retry_after_ms: 0,
            detail: String::new(),
        }
    }

    /// A refusal after `queue_us` of waiting.
    #[must_use]
    pub const fn refusal(
        status: Status,
        queue_us: u32,
        retry_after_ms: u32,
        detail: String,
    ) -> Self {
        Self {
            status,
            queue_us,
            batch: 0,
            compute_us: 0,
            body: Vec::new(),
            retry_after_ms,
            detail,
        }
    }
}

/// The fields of a frame message, body apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) seq: u32,
    /// Index of the contract in the hello.
    pub(crate) split: u8,
    pub(crate) rung: u16,
    pub(crate) budget_us: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Hello {
        version: u16,
        frame_bytes_max: u32,
        in_flight_max: u16,
        contracts: Vec<Contract>,
    },
    HelloAck {
        frame_bytes_max: u32,
        in_flight_max: u16,
        /// Indices into the contracts of the hello.
        accepted: Vec<u8>,
    },
    HelloRefused {
        version: u16,
        served: Vec<Contract>,
    },
    Frame {
        head: FrameHead,
        body: Vec<u8>,
    },
    Answer {
        seq: u32,
        answer: Answer,
    },
    Credit {
        /// Counts the credits of a connection, so that an old one can't undo a newer one.
        epoch: u32,
        in_flight_max: u16,
    },
    Drain {
        within_ms: u32,
    },
    Probe {
        id: u32,
        reply: bool,
        /// Filler bytes, there to be timed.
        filler: usize,
    },
}

impl Message {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::HelloAck { .. } => "hello-ack",
            Self::HelloRefused { .. } => "hello-refused",
            Self::Frame { .. } => "frame",
            Self::Answer { .. } => "answer",
            Self::Credit { .. } => "credit",
            Self::Drain { .. } => "drain",
            Self::Probe { .. } => "probe",
        }
    }

    /// Appends the message with its length prefix.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        if let Self::Frame { head, body } = self {
            return write_frame(out, head, body);
        }
        let mut fields = Vec::with_capacity(64);
        self.write_fields(&mut fields);
        put_length(out, fields.len());
        out.extend_from_slice(&fields);
    }

    fn write_fields(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello {
                version,
                frame_bytes_max,
                in_flight_max,
                contracts,
            } => {
                out.push(HELLO);
                put_varint(out, u32::from(*version));
                put_varint(out, *frame_bytes_max);
                put_varint(out, u32::from(*in_flight_max));
                put_contracts(out, contracts);
            }
            Self::HelloAck {
                frame_bytes_max,
                in_flight_max,
                accepted,
            } => {
                out.push(HELLO_ACK);
                put_varint(out, *frame_bytes_max);
                put_varint(out, u32::from(*in_flight_max));
                put_length(out, accepted.len());
                out.extend_from_slice(accepted);
            }
            Self::HelloRefused { version, served } => {
                out.push(HELLO_REFUSED);
                put_varint(out, u32::from(*version));
                put_contracts(out, served);
            }
            Self::Frame { head, body } => {
                put_frame_head(out, head);
                out.extend_from_slice(body);
            }
            Self::Answer { seq, answer } => put_answer(out, *seq, answer),
            Self::Credit {
                epoch,
                in_flight_max,
            } => {
                out.push(CREDIT);
                put_varint(out, *epoch);
                put_varint(out, u32::from(*in_flight_max));
            }
            Self::Drain { within_ms } => {
                out.push(DRAIN);
                put_varint(out, *within_ms);
            }
            Self::Probe { id, reply, filler } => {
                out.push(PROBE);
                put_varint(out, *id);
                out.push(u8::from(*reply));
                out.resize(out.len() + filler, 0);
            }
        }
    }

    /// Reads the bytes of one message, without its length prefix.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let Some((&kind, rest)) = bytes.split_first() else {
            return Err(MessageError::Empty);
        };
        let mut fields = Fields::new(rest);
        let message = match kind {
            HELLO => Self::Hello {
                version: fields.number_u16("version")?,
                frame_bytes_max: fields.number("frame_bytes_max")?,
                in_flight_max: fields.number_u16("in_flight_max")?,
                contracts: read_contracts(&mut fields)?,
            },
            HELLO_ACK => Self::HelloAck {
                frame_bytes_max: fields.number("frame_bytes_max")?,
                in_flight_max: fields.number_u16("in_flight_max")?,
                accepted: {
                    let count = fields.count("accepted", MAX_CONTRACTS)?;
                    fields.bytes(count, "accepted")?.to_vec()
                },
            },
            HELLO_REFUSED => Self::HelloRefused {
                version: fields.number_u16("version")?,
                served: read_contracts(&mut fields)?,
            },
            FRAME => return read_frame(fields),
            ANSWER => return read_answer(fields),
            CREDIT => Self::Credit {
                epoch: fields.number("epoch")?,
                in_flight_max: fields.number_u16("in_flight_max")?,
            },
            DRAIN => Self::Drain {
                within_ms: fields.number("within_ms")?,
            },
            PROBE => return read_probe(fields),
            found => return Err(MessageError::UnknownKind { found }),
        };
        fields.finish()?;
        Ok(message)
    }
}

/// Appends a frame message without copying its body twice.
pub(crate) fn write_frame(out: &mut Vec<u8>, head: &FrameHead, body: &[u8]) {
    let mut fields = Vec::with_capacity(20);
    put_frame_head(&mut fields, head);
    put_length(out, fields.len() + body.len());
    out.extend_from_slice(&fields);
    out.extend_from_slice(body);
}

fn put_frame_head(out: &mut Vec<u8>, head: &FrameHead) {
    out.push(FRAME);
    put_varint(out, head.seq);
    out.push(head.split);
    put_varint(out, u32::from(head.rung));
    put_varint(out, head.budget_us);
}

fn read_frame(mut fields: Fields<'_>) -> Result<Message, MessageError> {
    let head = FrameHead {
        seq: fields.number("seq")?,
        split: fields.byte("split")?,
        rung: fields.number_u16("rung")?,
        budget_us: fields.number("budget_us")?,
    };
    let body = read_body(fields, MAX_BODY_BYTES)?;
    Ok(Message::Frame { head, body })
}

fn put_answer(out: &mut Vec<u8>, seq: u32, answer: &Answer) {
    out.push(ANSWER);
    put_varint(out, seq);
    out.push(answer.status.code());
    put_varint(out, answer.queue_us);
    put_varint(out, u32::from(answer.batch));
    put_varint(out, answer.compute_us);
    if answer.status == Status::Ok {
        out.extend_from_slice(&answer.body);
        return;
    }
    put_varint(out, answer.retry_after_ms);
    put_text(out, &answer.detail, MAX_DETAIL_BYTES);
}

fn read_answer(mut fields: Fields<'_>) -> Result<Message, MessageError> {
    let seq = fields.number("seq")?;
    let status = Status::from_code(fields.byte("status")?)?;
    let queue_us = fields.number("queue_us")?;
    let batch = fields.number_u16("batch")?;
    let compute_us = fields.number("compute_us")?;
    if status == Status::Ok {
        let body = read_body(fields, MAX_BODY_BYTES)?;
        let answer = Answer::ok(queue_us, batch, compute_us, body);
        return Ok(Message::Answer { seq, answer });
    }
    let retry_after_ms = fields.number("retry_after_ms")?;
    let detail = fields.text("detail", MAX_DETAIL_BYTES)?;
    fields.finish()?;
    let answer = Answer {
        batch,
        compute_us,
        ..Answer::refusal(status, queue_us, retry_after_ms, detail)
    };
    Ok(Message::Answer { seq, answer })
}

fn read_probe(mut fields: Fields<'_>) -> Result<Message, MessageError> {
    let id = fields.number("id")?;
    let reply = match fields.byte("reply")? {
        0 => false,
        1 => true,
        _ => return Err(MessageError::BadNumber { field: "reply" }),
    };
    let filler = fields.remainder().len();
    if filler > MAX_PROBE_BYTES {
        return Err(MessageError::AboveBound {
            field: "filler",
            found: filler,
            allowed: MAX_PROBE_BYTES,
        });
    }
    Ok(Message::Probe { id, reply, filler })
}

fn read_body(fields: Fields<'_>, allowed: usize) -> Result<Vec<u8>, MessageError> {
    let body = fields.remainder();
    if body.len() > allowed {
        return Err(MessageError::AboveBound {
            field: "body",
            found: body.len(),
            allowed,
        });
    }
    Ok(body.to_vec())
}

fn put_contracts(out: &mut Vec<u8>, contracts: &[Contract]) {
    put_length(out, contracts.len());
    for contract in contracts {
        out.extend_from_slice(&contract.backbone.to_le_bytes());
        put_text(out, &contract.split, MAX_NAME_BYTES);
        out.extend_from_slice(&contract.unit.to_le_bytes());
        out.extend_from_slice(&contract.tables.to_le_bytes());
        put_varint(out, contract.bank);
        put_varint(out, u32::from(contract.rungs));
    }
}

fn read_contracts(fields: &mut Fields<'_>) -> Result<Vec<Contract>, MessageError> {
    let count = fields.count("contracts", MAX_CONTRACTS)?;
    let mut contracts = Vec::with_capacity(count);
    for _ in 0..count {
        contracts.push(Contract {
            backbone: fields.digest("backbone")?,
            split: fields.text("split", MAX_NAME_BYTES)?,
            unit: fields.digest("unit")?,
            tables: fields.digest("tables")?,
            bank: fields.number("bank")?,
            rungs: fields.number_u16("rungs")?,
        });
    }
    Ok(contracts)
}

/// Text cut to its bound at a character border: an explanation may be shortened, never refused.
fn put_text(out: &mut Vec<u8>, text: &str, bytes_max: usize) {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    put_length(out, end);
    out.extend_from_slice(&text.as_bytes()[..end]);
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    assert!(length <= MAX_MESSAGE_BYTES, "every field is bounded");
    let length = u32::try_from(length).expect("the bound fits 32 bits");
    put_varint(out, length);
}

/// Takes bytes in any chunks and gives whole messages.
#[derive(Debug, Default)]
pub(crate) struct MessageReader {
    buffer: Vec<u8>,
    start: usize,
}

impl MessageReader {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        // What was read goes away before what is new comes in: the buffer stays at one
        // unfinished message and one chunk.
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    pub(crate) fn next(&mut self) -> Result<Option<Message>, MessageError> {
        let rest = &self.buffer[self.start..];
        let (found, prefix) = match read_varint(rest) {
            Varint::Value(length, used) => (usize::try_from(length).unwrap_or(usize::MAX), used),
            Varint::Unfinished => return Ok(None),
            Varint::Invalid => return Err(MessageError::BadNumber { field: "length" }),
        };
        if found > MAX_MESSAGE_BYTES {
            return Err(MessageError::TooLong {
                found,
                allowed: MAX_MESSAGE_BYTES,
            });
        }
        if rest.len() < prefix + found {
            return Ok(None);
        }
        let message = Message::parse(&rest[prefix..prefix + found])?;
        self.start += prefix + found;
        Ok(Some(message))
    }

    /// Forgets what was pushed: a datagram that can't be read leaves nothing behind.
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.start = 0;
    }

    /// Bytes of a message that isn't complete.
    pub(crate) fn unfinished_bytes(&self) -> usize {
        self.buffer.len() - self.start
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
