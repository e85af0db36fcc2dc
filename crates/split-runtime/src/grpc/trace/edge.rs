use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use tonic::metadata::MetadataMap;

use super::span::{Note, Parent, Part, Place, Tracer};
use crate::grpc::clock::wall_now;
use crate::proto::{Answer, Contract, FrameRecord, Status, rung_of};
use crate::serving::{Batch, CALLS, Call, JobId};
use crate::time::Time;

/// What the edge knows of a frame when it ends.
struct Frame {
    split: Option<String>,
    rung: Option<u16>,
    frame_bytes: usize,
    received: Time,
    ended: Time,
    outcome: &'static str,
    queue_us: u32,
    batch: u16,
    answer_bytes: usize,
}

/// A call that has no answer yet.
pub(crate) struct OpenCall {
    parent: Parent,
    frame: Frame,
}

/// When a batch was decoded and computed, and what was in it.
struct Ran {
    members: Vec<JobId>,
    started: Time,
    decoded: Time,
    ended: Time,
}

/// Writes down how frames end. It lies behind the edge's lock.
pub(crate) struct Recorder {
    tracer: Tracer,
    streams: BTreeMap<u64, Parent>,
    calls: BTreeMap<u32, OpenCall>,
    ran: Option<Ran>,
}

impl Recorder {
    pub(crate) const fn new(tracer: Tracer) -> Self {
        Self {
            tracer,
            streams: BTreeMap::new(),
            calls: BTreeMap::new(),
            ran: None,
        }
    }

    /// A stream's frames lie below what its opening metadata named.
    pub(crate) fn stream_opened(&mut self, id: u64, parent: Parent) {
        self.streams.insert(id, parent);
    }

    pub(crate) fn stream_closed(&mut self, id: u64) {
        self.streams.remove(&id);
    }

    /// What to remember of a call.
    pub(crate) fn call(
        &self,
        now: Time,
        contract: &Contract,
        call: &Call,
        parent: &Parent,
    ) -> OpenCall {
        let frame = Frame {
            split: Some(contract.split.clone()),
            rung: call.rung.or_else(|| rung_of(&call.body).ok()),
            frame_bytes: call.body.len(),
            received: now,
            ended: now,
            outcome: "cancelled",
            queue_us: 0,
            batch: 0,
            answer_bytes: 0,
        };
        OpenCall {
            parent: parent.clone(),
            frame,
        }
    }

    /// A call was taken, or refused at once.
    pub(crate) fn call_begun(&mut self, now: Time, open: OpenCall, taken: Result<u32, &Answer>) {
        match taken {
            Ok(id) => {
                self.calls.insert(id, open);
            }
            Err(answer) => self.end_call(None, open, Some(answer), now),
        }
    }

    /// A call's answer, or `None` where nobody waits for it any more.
    pub(crate) fn call_ended(&mut self, now: Time, id: u32, answer: Option<&Answer>) {
        if let Some(open) = self.calls.remove(&id) {
            let job = JobId {
                connection: CALLS,
                seq: id,
            };
            self.end_call(Some(job), open, answer, now);
        }
    }

    /// A frame of a stream ended.
    pub(crate) fn frame_ended(&self, now: Time, id: u64, record: FrameRecord) {
        let job = JobId {
            connection: id,
            seq: record.seq,
        };
        let frame = Frame {
            split: record.split,
            rung: Some(record.rung),
            frame_bytes: record.frame_bytes,
            received: record.received,
            ended: record.ended,
            outcome: record.status.map_or("lost", name),
            queue_us: record.queue_us,
            batch: record.batch,
            answer_bytes: record.answer_bytes,
        };
        let parent = self.streams.get(&id).cloned().unwrap_or_default();
        self.note(now, &parent, Some(job), SpanKind::Server, frame);
    }

    /// The batch whose answers come next.
    pub(crate) fn batch_ran(&mut self, batch: &Batch, started: Time, decoded: Time, ended: Time) {
        let mut members: Vec<JobId> = batch.members.iter().map(|one| one.job.id).collect();
        members.sort_unstable();
        self.ran = Some(Ran {
            members,
            started,
            decoded,
            ended,
        });
    }

    /// All answers of the batch have been seen.
    pub(crate) fn batch_answered(&mut self) {
        self.ran = None;
    }

    fn end_call(&self, job: Option<JobId>, open: OpenCall, answer: Option<&Answer>, now: Time) {
        let OpenCall { parent, mut frame } = open;
        frame.ended = now;
        if let Some(answer) = answer {
            frame.outcome = name(answer.status);
            frame.queue_us = answer.queue_us;
            frame.batch = answer.batch;
            frame.answer_bytes = answer.body.len();
        }
        self.note(now, &parent, job, SpanKind::Internal, frame);
    }

    fn note(&self, now: Time, parent: &Parent, job: Option<JobId>, kind: SpanKind, frame: Frame) {
        let place = self.tracer.place(parent);
        if !place.is_recorded() {
            return;
        }
        // The clock of the edge only says how long ago something was; what time it was, the system does.
        let wall = wall_now();
        let at = |time: Time| before(wall, now.since(time));
        let parts = self.parts(job, &frame, at);
        let size = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let mut attributes = vec![
            KeyValue::new("split.frame_bytes", size(frame.frame_bytes)),
            KeyValue::new("split.outcome", frame.outcome),
        ];
        if let Some(split) = frame.split {
            attributes.push(KeyValue::new("split.point", split));
        }
        if let Some(rung) = frame.rung {
            attributes.push(KeyValue::new("split.rung", i64::from(rung)));
        }
        if frame.batch > 0 {
            attributes.push(KeyValue::new("split.batch", i64::from(frame.batch)));
            attributes.push(KeyValue::new(
                "split.answer_bytes",
                size(frame.answer_bytes),
            ));
        }
        self.tracer.note(Note {
            place,
            name: "frame",
            kind,
            start: at(frame.received),
            end: at(frame.ended),
            attributes,
            error: (frame.outcome != name(Status::Ok)).then_some(frame.outcome),
            parts,
        });
    }

    /// Waiting, and what came of it if the frame was in the batch that just ran.
    fn parts(
        &self,
        job: Option<JobId>,
        frame: &Frame,
        at: impl Fn(Time) -> SystemTime,
    ) -> Vec<Part> {
        let ran = self.ran.as_ref();
        let ran = ran.filter(|ran| job.is_some_and(|job| ran.members.binary_search(&job).is_ok()));
        let mut parts = Vec::new();
        if ran.is_some() || frame.queue_us > 0 {
            let waited = frame.received.after(u64::from(frame.queue_us));
            parts.push(("queue", at(frame.received), at(waited)));
        }
        if let Some(ran) = ran {
            parts.push(("decode", at(ran.started), at(ran.decoded)));
            parts.push(("compute", at(ran.decoded), at(ran.ended)));
        }
        parts
    }
}

/// A unary request: its frames lie below it, and it below what its metadata named.
pub(crate) struct InferSpan(Option<OpenInfer>);

struct OpenInfer {
    tracer: Tracer,
    place: Place,
    start: SystemTime,
}

impl InferSpan {
    pub(crate) fn begin(tracer: Option<&Tracer>, metadata: &MetadataMap) -> Self {
        Self(tracer.map(|tracer| OpenInfer {
            tracer: tracer.clone(),
            place: tracer.place(&Parent::of_metadata(metadata)),
            start: wall_now(),
        }))
    }

    pub(crate) fn as_parent(&self) -> Parent {
        let open = self.0.as_ref();
        open.map(|open| open.place.as_parent()).unwrap_or_default()
    }

    pub(crate) fn end<T>(mut self, result: &Result<T, tonic::Status>) {
        let code = result
            .as_ref()
            .map_or_else(tonic::Status::code, |_| tonic::Code::Ok);
        self.note(code);
    }

    fn note(&mut self, code: tonic::Code) {
        let Some(open) = self.0.take() else {
            return;
        };
        open.tracer.note(Note {
            place: open.place,
            name: "inference.GRPCInferenceService/ModelInfer",
            kind: SpanKind::Server,
            start: open.start,
            end: wall_now(),
            attributes: vec![
                KeyValue::new("rpc.system", "grpc"),
                KeyValue::new("rpc.service", "inference.GRPCInferenceService"),
                KeyValue::new("rpc.method", "ModelInfer"),
                KeyValue::new("rpc.grpc.status_code", i64::from(i32::from(code))),
            ],
            error: (code != tonic::Code::Ok).then(|| code.description()),
            parts: Vec::new(),
        });
    }
}

impl Drop for InferSpan {
    /// Whoever asked went away.
    fn drop(&mut self) {
        self.note(tonic::Code::Cancelled);
    }
}

fn before(wall: SystemTime, us: u64) -> SystemTime {
    wall.checked_sub(Duration::from_micros(us)).unwrap_or(wall)
}

/// How an ending is called in a span.
pub(super) const fn name(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Overloaded => "overloaded",
        Status::Expired => "expired",
        Status::Draining => "draining",
        Status::UnknownSplit => "unknown_split",
        Status::UnknownRung => "unknown_rung",
        Status::BadFrame => "bad_frame",
        Status::FrameTooLong => "frame_too_long",
        Status::CreditExceeded => "credit_exceeded",
        Status::Failed => "failed",
    }
}
