//! Bounds of the protocol. Nothing a peer sends makes a connection hold more than these allow.

/// Newest protocol version this build speaks.
pub const PROTOCOL_VERSION: u16 = 1;

/// Longest message on the wire, without its length prefix.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Longest body of a frame or an answer: a message less its largest header.
pub const MAX_BODY_BYTES: usize = MAX_MESSAGE_BYTES - 64;

/// Most contracts in a hello or in a list of served ones.
pub const MAX_CONTRACTS: usize = 16;

/// Longest name of a split point, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 64;

/// Longest explanation in a refusal, in bytes of UTF-8.
pub const MAX_DETAIL_BYTES: usize = 160;

/// Most frames of one connection that may be unanswered at a time.
pub const MAX_IN_FLIGHT: u16 = 1024;

/// Longest budget of a request. A device that asks for more gets this much.
pub const MAX_BUDGET_US: u32 = 60_000_000;

/// Most bytes that wait for the transport; a peer that lets them pile up is cut off.
pub const MAX_TRANSMIT_BYTES: usize = 1024 * 1024;

/// Most filler bytes in a probe.
pub const MAX_PROBE_BYTES: usize = 16 * 1024;
