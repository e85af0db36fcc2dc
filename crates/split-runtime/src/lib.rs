//! Device and edge for split computing: a sans-IO protocol core, and gRPC around it.
//!
//! A *device* runs the head of a backbone and a unit encoder, an *edge* the unit decoder and the
//! tail. Between them go frames of a few hundred bytes, each with a time after which its answer
//! is worthless. The core of this crate decides what is sent, when, and what happens if it goes
//! wrong; it never touches a socket, a clock, a thread or a tensor, so the same code runs under a
//! real transport and under a simulator.
//!
//! ```text
//!  frame --send--> DeviceConnection --poll_transmit--> bytes --receive--> EdgeConnection --> EdgeEvent::Frame
//!  Outcome <-poll_event-      |     <----receive------ bytes <-poll_transmit-     |      <-- reply(answer)
//!                       handle_timeout(now)                               handle_timeout(now)
//! ```
//!
//! Every call takes the time as an argument ([`Time`]). After each call the user drains
//! `poll_event` and `poll_transmit`, and sees to it that `handle_timeout` is called no later than
//! `poll_timeout` says. `examples/device_and_edge.rs` is a whole run over two byte buffers.
//!
//! What the two ends promise:
//!
//! - a frame is decoded only under the [`Contract`] it was made for, agreed on before the first
//!   frame: backbone, split point, unit and tables are compared by digest;
//! - every request that [`DeviceConnection::send`] takes ends in exactly one [`Outcome`];
//! - no bytes make a connection panic, or hold more memory than its limits allow;
//! - a drain ends, and so does a connection whose peer is silent, slow or reads nothing.
//!
//! | feature | what it adds |
//! |---|---|
//! | `grpc` | module `grpc`: an edge and a device over real sockets, with TLS, health, metrics |
//! | `menu` | menus of policies from JSON and from measured records |
//! | `models` | module `stage`: banks, heads and tails behind the protocol; brings Burn, without a backend |
//! | `bin` | the programs `split-edge` and `split-device`, on Burn's flex backend; `wgpu` adds another |
//! | `demo` | the program behind `cargo xtask demo`: both of them, a link and a page |
//! | `loopback` | the program behind `cargo xtask bench loopback` |
//! | `otel` | `grpc`, and a span a frame or request for a collector of OpenTelemetry |
//! | `sim` | module `sim`: links, faults and whole systems in virtual time |
//! | `study` | the program behind `cargo xtask simulate` |
//!
//! None is on by default; the core needs split-tensor and nothing else.

#[cfg(feature = "grpc")]
pub mod grpc;
mod policy;
mod proto;
mod ranking;
mod resilience;
mod serving;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "models")]
pub mod stage;
mod time;

pub use policy::{
    AnswerSeen, Choice, DynamicSplit, Entry, EntryKind, Fixed, InFlight, MAX_MENU_ENTRIES, Menu,
    MenuError, Neurosurgeon, Observation, Own, OwnConfig, Plan, Policy, Throughput,
};
#[cfg(feature = "menu")]
pub use policy::{MAX_MENU_BYTES, MENU_SCHEMA, MenuFileError, Speeds};
pub use proto::{
    Answer, ConfigError, Contract, DeviceConfig, DeviceConnection, DeviceEvent, EdgeConfig,
    EdgeConnection, EdgeCounts, EdgeEvent, FrameError, FrameRecord, MAX_BODY_BYTES, MAX_BUDGET_US,
    MAX_CONTRACTS, MAX_DETAIL_BYTES, MAX_IN_FLIGHT, MAX_MESSAGE_BYTES, MAX_NAME_BYTES,
    MAX_PROBE_BYTES, MAX_TRANSMIT_BYTES, MessageError, Outcome, PROTOCOL_VERSION, ProtocolError,
    ReplyError, Request, SendError, Status, Transport,
};
pub use ranking::{MAX_RANKED, Ranked, Ranking, RankingError};
pub use resilience::{
    Action, AttemptId, BreakerConfig, Dispatcher, DispatcherConfig, DispatcherCounts, Ending,
    RequestId,
};
pub use serving::{
    Batch, BatchCost, BatchKey, BatchMember, Call, ClientLimits, CostGuess, DropRule, Dropped,
    EdgeHub, EdgeScheduler, HubConfig, Job, JobError, JobId, Order, Refusal, SchedulerConfig,
    SchedulerCounts, ServedKey,
};
pub use time::Time;
