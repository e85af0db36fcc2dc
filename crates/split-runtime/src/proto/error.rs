use super::contract::Contract;

/// Why the bytes of a message can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The length prefix promises more than a message may hold.
    #[error("message of {found} bytes, at most {allowed} are allowed")]
    TooLong {
        /// Length found.
        found: usize,
        /// Longest length allowed.
        allowed: usize,
    },
    /// A length prefix of zero: not even the kind of the message fits.
    #[error("message without a kind")]
    Empty,
    /// The first byte names no message.
    #[error("unknown kind of message {found}")]
    UnknownKind {
        /// The byte found.
        found: u8,
    },
    /// The message ends inside a field.
    #[error("message ends inside field `{field}`")]
    Truncated {
        /// The field that is cut off.
        field: &'static str,
    },
    /// Bytes are left after the last field.
    #[error("{found} bytes after the last field")]
    TrailingBytes {
        /// How many are left.
        found: usize,
    },
    /// A number doesn't fit its field or isn't in its shortest form.
    #[error("field `{field}` holds no valid number")]
    BadNumber {
        /// The field.
        field: &'static str,
    },
    /// A count or length is above its bound.
    #[error("field `{field}` is {found}, at most {allowed} is allowed")]
    AboveBound {
        /// The field.
        field: &'static str,
        /// Value found.
        found: usize,
        /// Largest value allowed.
        allowed: usize,
    },
    /// A name or explanation isn't UTF-8.
    #[error("field `{field}` isn't UTF-8")]
    NotUtf8 {
        /// The field.
        field: &'static str,
    },
}

/// Why a connection ended, or refused what its peer sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The peer's bytes are no message.
    #[error("unreadable message: {0}")]
    Message(#[from] MessageError),
    /// A message that makes no sense in this state.
    #[error("message `{kind}` in state `{state}`")]
    Unexpected {
        /// Kind of the message.
        kind: &'static str,
        /// State of the connection.
        state: &'static str,
    },
    /// The two ends speak different versions.
    #[error("protocol version {found}, supported is {supported}")]
    VersionRefused {
        /// Version of the peer.
        found: u16,
        /// Version of this end.
        supported: u16,
    },
    /// None of the offered contracts is served.
    #[error(
        "no contract is shared: {}; the edge serves {}",
        describe_mismatch(offered, served),
        list(served)
    )]
    ContractRefused {
        /// What the device offered.
        offered: Vec<Contract>,
        /// What the edge serves.
        served: Vec<Contract>,
    },
    /// The acknowledgement names a contract that wasn't offered.
    #[error("contract {found} was acknowledged, {offered} were offered")]
    UnknownContract {
        /// Index found.
        found: usize,
        /// How many were offered.
        offered: usize,
    },
    /// A sequence number that is in flight or was used before.
    #[error("frame {found} was sent before, the highest so far is {highest}")]
    SeqReused {
        /// Number found.
        found: u32,
        /// Highest number so far.
        highest: u32,
    },
    /// An answer to a frame that isn't in flight.
    #[error("answer to frame {found}, which isn't in flight")]
    UnknownAnswer {
        /// Number found.
        found: u32,
    },
    /// The peer didn't finish its hello in time.
    #[error("no hello within {allowed_us} us")]
    HandshakeTimeout {
        /// Time allowed.
        allowed_us: u64,
    },
    /// A message began and didn't end in time.
    #[error("a message was unfinished for more than {allowed_us} us")]
    StalledMessage {
        /// Time allowed.
        allowed_us: u64,
    },
    /// Nothing came for too long.
    #[error("peer silent for more than {allowed_us} us")]
    Silent {
        /// Time allowed.
        allowed_us: u64,
    },
    /// The peer doesn't take what waits for it.
    #[error("{found} bytes wait for a peer that doesn't read, at most {allowed} are allowed")]
    TransmitFull {
        /// Bytes that would wait.
        found: usize,
        /// Most bytes that may wait.
        allowed: usize,
    },
    /// The edge drained the connection.
    #[error("the edge drained the connection")]
    Drained,
    /// The transport below ended.
    #[error("the transport was lost")]
    TransportLost,
    /// The connection ended before.
    #[error("the connection is closed")]
    Closed,
}

/// Why a configuration can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A field lies outside its range.
    #[error("`{field}` is {found}, allowed is {least} to {most}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Value found.
        found: u64,
        /// Least value allowed.
        least: u64,
        /// Largest value allowed.
        most: u64,
    },
    /// A field that has to be a finite number of at least some value isn't.
    #[error("`{field}` is {found}, allowed is a finite number of at least {least}")]
    NotFinite {
        /// The field.
        field: &'static str,
        /// Value found, as text.
        found: String,
        /// Least value allowed, as text.
        least: &'static str,
    },
}

pub(crate) fn check_range(
    field: &'static str,
    found: u64,
    least: u64,
    most: u64,
) -> Result<(), ConfigError> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(ConfigError::OutOfRange {
        field,
        found,
        least,
        most,
    })
}

fn describe_mismatch(offered: &[Contract], served: &[Contract]) -> String {
    let lines: Vec<String> = offered
        .iter()
        .map(|contract| {
            let nearest = served.iter().min_by_key(|s| contract.differences(s).len());
            match nearest {
                Some(near) => format!(
                    "{contract} differs in {}",
                    contract.differences(near).join(" and ")
                ),
                None => contract.to_string(),
            }
        })
        .collect();
    lines.join(", ")
}

fn list(contracts: &[Contract]) -> String {
    if contracts.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<String> = contracts.iter().map(ToString::to_string).collect();
    names.join(", ")
}
