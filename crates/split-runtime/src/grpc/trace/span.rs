use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceState,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator, SpanData};
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;

use super::export::TraceCounts;

/// What a span lies below, if anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parent(Option<SpanContext>);

impl Parent {
    /// Of the frames of a stream that was opened with this metadata.
    pub(crate) fn of_stream(tracer: Option<&Tracer>, metadata: &MetadataMap) -> Self {
        tracer.map_or(Self(None), |_| Self::of_metadata(metadata))
    }

    /// The caller's span, as `traceparent` and `tracestate` name it.
    pub(crate) fn of_metadata(metadata: &MetadataMap) -> Self {
        if metadata.get("traceparent").is_none() {
            return Self(None);
        }
        let propagator = TraceContextPropagator::new();
        Self::of_context(&propagator.extract_with_context(&Context::new(), &Headers(metadata)))
    }

    pub(crate) fn of_context(context: &Context) -> Self {
        let span = context.span();
        let found = span.span_context();
        Self(found.is_valid().then(|| found.clone()))
    }
}

struct Headers<'a>(&'a MetadataMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// Numbers of a span, and whether it is recorded.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    context: SpanContext,
    parent: SpanId,
    parent_is_remote: bool,
}

impl Place {
    pub(crate) fn is_recorded(&self) -> bool {
        self.context.is_sampled()
    }

    /// For what lies below this span.
    pub(crate) fn as_parent(&self) -> Parent {
        Parent(Some(self.context.clone()))
    }
}

/// A part of a span that has a name and no more.
pub(crate) type Part = (&'static str, SystemTime, SystemTime);

/// Something that ended: a span and its parts.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) place: Place,
    pub(crate) name: &'static str,
    pub(crate) kind: SpanKind,
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
    pub(crate) attributes: Vec<KeyValue>,
    /// `None` where it went well.
    pub(crate) error: Option<&'static str>,
    pub(crate) parts: Vec<Part>,
}

impl Note {
    fn spans(&self) -> u64 {
        1 + self.parts.len() as u64
    }

    pub(super) fn into_spans(self) -> impl Iterator<Item = SpanData> {
        let scope = InstrumentationScope::builder("split-runtime")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        let ids = RandomIdGenerator::default();
        let context = self.place.context;
        let below = self.parts.into_iter().map({
            let (scope, context) = (scope.clone(), context.clone());
            move |(name, start_time, end_time)| SpanData {
                span_context: SpanContext::new(
                    context.trace_id(),
                    ids.new_span_id(),
                    context.trace_flags(),
                    false,
                    context.trace_state().clone(),
                ),
                parent_span_id: context.span_id(),
                parent_span_is_remote: false,
                span_kind: SpanKind::Internal,
                name: name.into(),
                start_time,
                end_time,
                attributes: Vec::new(),
                dropped_attributes_count: 0,
                events: Default::default(),
                links: Default::default(),
                status: Status::Unset,
                instrumentation_scope: scope.clone(),
            }
        });
        let whole = SpanData {
            parent_span_id: self.place.parent,
            parent_span_is_remote: self.place.parent_is_remote,
            span_context: context,
            span_kind: self.kind,
            name: self.name.into(),
            start_time: self.start,
            end_time: self.end,
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: self.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: scope,
        };
        std::iter::once(whole).chain(below)
    }
}

/// Spans by what became of them.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Of notes that were taken into the queue.
    taken: AtomicU64,
    exported: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    pub(super) fn sent(&self, spans: u64, arrived: bool) {
        let count = if arrived {
            &self.exported
        } else {
            &self.failed
        };
        count.fetch_add(spans, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> TraceCounts {
        TraceCounts {
            exported: self.exported.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// Once nothing is sent any more: what didn't arrive by now never will.
    pub(super) fn at_end(&self) -> TraceCounts {
        let now = self.now();
        let taken = self.taken.load(Ordering::Relaxed);
        TraceCounts {
            failed: taken.saturating_sub(now.exported),
            ..now
        }
    }
}

/// Where notes go.
#[derive(Clone, Debug)]
pub(crate) struct Tracer {
    notes: mpsc::Sender<Note>,
    counts: Arc<Counts>,
    share: f64,
}

impl Tracer {
    pub(super) const fn new(notes: mpsc::Sender<Note>, counts: Arc<Counts>, share: f64) -> Self {
        Self {
            notes,
            counts,
            share,
        }
    }

    /// New numbers below `parent`. They are drawn from the system's entropy: nothing depends on them, and
    /// those of two machines must not be the same.
    pub(crate) fn place(&self, parent: &Parent) -> Place {
        let ids = RandomIdGenerator::default();
        let (trace, parent_id, is_remote, flags, state) = match &parent.0 {
            Some(above) => (
                above.trace_id(),
                above.span_id(),
                above.is_remote(),
                above.trace_flags(),
                above.trace_state().clone(),
            ),
            None => {
                let trace = ids.new_trace_id();
                let flags = if self.draws(trace.to_bytes()) {
                    TraceFlags::SAMPLED
                } else {
                    TraceFlags::NOT_SAMPLED
                };
                (trace, SpanId::INVALID, false, flags, TraceState::NONE)
            }
        };
        Place {
            context: SpanContext::new(trace, ids.new_span_id(), flags, false, state),
            parent: parent_id,
            parent_is_remote: is_remote,
        }
    }

    /// Takes a note; never waits.
    pub(crate) fn note(&self, note: Note) {
        if !note.place.is_recorded() {
            return;
        }
        let spans = note.spans();
        let count = match self.notes.try_send(note) {
            Ok(()) => &self.counts.taken,
            Err(_) => &self.counts.dropped,
        };
        count.fetch_add(spans, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> TraceCounts {
        self.counts.now()
    }

    pub(super) fn counts_at_end(&self) -> TraceCounts {
        self.counts.at_end()
    }

    /// Whether a trace of this number is one of the share.
    fn draws(&self, trace: [u8; 16]) -> bool {
        let [.., a, b, c, d] = trace;
        let drawn = f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX);
        self.share >= 1.0 || drawn < self.share
    }
}
