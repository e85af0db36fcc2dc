use super::error::ProtocolError;
use super::limits::MAX_BUDGET_US;
use super::message::Answer;

/// A frame to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Index of the contract (the split point) in [`DeviceConfig::contracts`](crate::DeviceConfig::contracts).
    pub split: u8,
    /// Rung of that contract's bank.
    pub rung: u16,
    /// Time left until the answer is worthless.
    pub budget_us: u32,
    /// The frame.
    pub body: &'a [u8],
}

/// How a request ended. Every request that [`DeviceConnection::send`](crate::DeviceConnection::send) took gets exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The edge answered, in time.
    Answered {
        /// The answer, with [`Status::Ok`](crate::Status::Ok).
        answer: Answer,
        /// From `send` to here.
        round_trip_us: u64,
    },
    /// The edge refused, in time.
    Refused {
        /// The refusal.
        answer: Answer,
        /// From `send` to here.
        round_trip_us: u64,
    },
    /// The budget ran out.
    Expired,
    /// The connection ended first.
    Lost,
}

/// What a device's connection tells its user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceEvent {
    /// Both ends agree; frames can be sent.
    Opened {
        /// Indices of the contracts that the edge serves.
        accepted: Vec<u8>,
    },
    /// A request ended.
    Outcome {
        /// The number that `send` gave.
        seq: u32,
        /// How.
        outcome: Outcome,
    },
    /// The answer to a request that had expired; what it says about the link is still true.
    LateAnswer {
        /// The number that `send` gave.
        seq: u32,
        /// The answer or refusal.
        answer: Answer,
        /// From `send` to here.
        round_trip_us: u64,
    },
    /// The edge granted another number of frames in flight.
    Credit {
        /// Most frames in flight from now on.
        in_flight_max: u16,
    },
    /// The edge will end the connection: send elsewhere.
    Draining {
        /// When it ends at the latest.
        within_ms: u32,
    },
    /// A probe came back.
    Probed {
        /// Its filler bytes.
        filler: usize,
        /// From sending to here.
        round_trip_us: u64,
    },
    /// The connection ended; no event follows.
    Closed(ProtocolError),
}

/// Why a frame wasn't taken. Nothing was sent and no outcome will follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The hello isn't answered yet, or the connection has ended.
    #[error("the connection isn't open")]
    NotOpen,
    /// The edge drains the connection.
    #[error("the edge takes no more frames on this connection")]
    Draining,
    /// As many frames are in flight as were granted.
    #[error("{in_flight} frames are in flight, {granted} are granted")]
    Blocked {
        /// Frames in flight.
        in_flight: usize,
        /// Frames granted.
        granted: u16,
    },
    /// No contract has this index.
    #[error("split {found} isn't one of the {offered} offered")]
    UnknownSplit {
        /// Index found.
        found: u8,
        /// How many contracts were offered.
        offered: usize,
    },
    /// The edge doesn't serve this contract.
    #[error("the edge doesn't serve split `{split}` as this device has it")]
    SplitRefused {
        /// Name of the split point.
        split: String,
    },
    /// The bank has no such rung.
    #[error("rung {found} of split `{split}`, which has {rungs}")]
    UnknownRung {
        /// Name of the split point.
        split: String,
        /// Rung found.
        found: u16,
        /// How many rungs it has.
        rungs: u16,
    },
    /// The body is longer than the edge takes.
    #[error("frame of {found} bytes, the edge takes {allowed}")]
    BodyTooLong {
        /// Length found.
        found: usize,
        /// Longest allowed.
        allowed: usize,
    },
    /// A budget of zero can't be met, one above the bound isn't honoured.
    #[error("budget of {found} us, allowed is 1 to {MAX_BUDGET_US}")]
    BadBudget {
        /// Budget found.
        found: u32,
    },
    /// All numbers of this connection are used up.
    #[error("no sequence number is left; open another connection")]
    SeqExhausted,
    /// The transport takes nothing.
    #[error(transparent)]
    Transmit(ProtocolError),
}
