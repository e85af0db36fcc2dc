//! Spans of frames and requests for a collector of OpenTelemetry.
//!
//! Whoever answers a frame puts a small note into a bounded queue and goes on; a task of its own makes
//! spans of the notes and sends them. A collector that is slow or away costs spans, which are counted,
//! and never time. A span holds sizes, times and names, and nothing of what a frame or its answer says.

mod device;
mod edge;
mod export;
mod span;

pub(crate) use device::RequestSpan;
pub(crate) use edge::{InferSpan, Recorder};
pub use export::{TraceCounts, TraceError, TraceOptions, Traces};
pub(crate) use span::{Parent, Tracer};
