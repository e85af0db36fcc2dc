//! Device and edge over gRPC: the only sockets of this crate, and the only place that reads a clock.
//!
//! [`Edge`] serves frames on two services of one port: the compact stream (`proto/stream.proto`), which
//! carries the messages of [`DeviceConnection`](crate::DeviceConnection) and
//! [`EdgeConnection`](crate::EdgeConnection), and the Open Inference Protocol
//! (`proto/inference.proto`), which clients of Triton and KServe speak. Both put the same frames into
//! the same queue. [`Device`] keeps streams to one or more edges open and gives each request one
//! ending.
//!
//! ```text
//! Device::request -> Dispatcher -> DeviceConnection -> chunks ==TLS==> acceptor -> EdgeHub -> EdgeModel
//! ```
//!
//! With the feature `otel`, `Edge::start_traced` and `Device::start_traced` send a span a frame or request to
//! a collector of OpenTelemetry.
//!
//! All decisions are made by the sans-IO parts of this crate, which the simulator drives too; here are
//! only sockets, certificates, threads and time.

mod clock;
mod device;
mod edge;
mod outgoing;
mod pb;
mod tls;
#[cfg(feature = "otel")]
mod trace;
#[cfg(not(feature = "otel"))]
#[path = "untraced.rs"]
mod trace;

pub use device::{Device, DeviceError, DeviceOptions, EdgeAddress, Fallback, OwnedRequest, Reply};
pub use edge::{
    Edge, EdgeLimits, EdgeModel, EdgeOptions, Placement, StartError, answer_http, frames_of_infer,
    infer_of_frames, model_fn, model_of,
};
pub use outgoing::MAX_CHUNK_BYTES;
pub use tls::{DevicePem, EdgePem, TlsError, TlsSource};
#[cfg(feature = "otel")]
pub use trace::{TraceCounts, TraceError, TraceOptions, Traces};

use crate::proto::Answer;

/// What a refusal says to people: which bound it met, and when another try may be worth it.
pub(crate) fn explained(answer: &Answer, default: &str) -> String {
    let detail = match answer.detail.as_str() {
        "" => default,
        detail => detail,
    };
    match answer.retry_after_ms {
        0 => detail.to_owned(),
        ms => format!("{detail} (try again after {ms} ms)"),
    }
}

/// The generated clients and messages, for tools and tests that speak the protocols directly.
pub mod wire {
    pub use super::pb::{inference, stream};
}
