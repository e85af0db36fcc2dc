use std::time::SystemTime;

use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, KeyValue};

use super::edge::name;
use super::span::{Note, Parent, Place, Tracer};
use crate::grpc::clock::wall_now;
use crate::grpc::device::{DeviceError, OwnedRequest, Reply};

/// A device's request, from asking to its one ending.
pub(crate) struct RequestSpan(Option<Open>);

struct Open {
    tracer: Tracer,
    place: Place,
    start: SystemTime,
    attributes: Vec<KeyValue>,
}

impl RequestSpan {
    /// It lies below the span of OpenTelemetry that is current where it begins.
    pub(crate) fn begin(
        tracer: Option<&Tracer>,
        split: Option<&str>,
        request: &OwnedRequest,
    ) -> Self {
        Self(tracer.map(|tracer| {
            let bytes = i64::try_from(request.body.len()).unwrap_or(i64::MAX);
            let mut attributes = vec![
                KeyValue::new("split.rung", i64::from(request.rung)),
                KeyValue::new("split.frame_bytes", bytes),
                KeyValue::new("split.budget_us", i64::from(request.budget_us)),
            ];
            if let Some(split) = split {
                attributes.push(KeyValue::new("split.point", split.to_owned()));
            }
            Open {
                tracer: tracer.clone(),
                place: tracer.place(&Parent::of_context(&Context::current())),
                start: wall_now(),
                attributes,
            }
        }))
    }

    pub(crate) fn end(mut self, result: &Result<Reply, DeviceError>) {
        let more = match result {
            Ok(Reply::Edge(answer)) => vec![
                KeyValue::new("split.by", "edge"),
                KeyValue::new("split.queue_us", i64::from(answer.queue_us)),
                KeyValue::new("split.compute_us", i64::from(answer.compute_us)),
                KeyValue::new("split.batch", i64::from(answer.batch)),
            ],
            Ok(Reply::Device { why, .. }) => vec![
                KeyValue::new("split.by", "device"),
                KeyValue::new("split.why", ending(why)),
            ],
            Err(_) => Vec::new(),
        };
        let error = result.as_ref().err().map(ending);
        self.note(more, error);
    }

    fn note(&mut self, more: Vec<KeyValue>, error: Option<&'static str>) {
        let Some(mut open) = self.0.take() else {
            return;
        };
        open.attributes.extend(more);
        let outcome = KeyValue::new("split.outcome", error.unwrap_or("ok"));
        open.attributes.push(outcome);
        open.tracer.note(Note {
            place: open.place,
            name: "request",
            kind: SpanKind::Client,
            start: open.start,
            end: wall_now(),
            attributes: open.attributes,
            error,
            parts: Vec::new(),
        });
    }
}

impl Drop for RequestSpan {
    /// Whoever asked didn't wait.
    fn drop(&mut self) {
        self.note(Vec::new(), Some("cancelled"));
    }
}

const fn ending(error: &DeviceError) -> &'static str {
    match error {
        DeviceError::Config(_) => "config",
        DeviceError::TooMany { .. } => "too_many",
        DeviceError::Unsendable(_) => "unsendable",
        DeviceError::Expired => "expired",
        DeviceError::Refused { status, .. } => name(*status),
        DeviceError::Lost => "lost",
        DeviceError::NotConnected { .. } => "not_connected",
        DeviceError::Closed => "closed",
    }
}
