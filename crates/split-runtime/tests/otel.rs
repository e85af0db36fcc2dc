//! Spans of real requests, as a collector sees them.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails it where it stands"
)]

#[path = "otel/collector.rs"]
mod collector;
#[expect(dead_code, reason = "the tests of the sockets use the rest")]
#[path = "grpc/rig.rs"]
mod rig;

use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry::trace::{
    FutureExt as _, SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use split_runtime::grpc::wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use split_runtime::grpc::wire::inference::model_infer_request::InferInputTensor;
use split_runtime::grpc::wire::inference::{ModelInferRequest, ModelInferResponse};
use split_runtime::grpc::wire::stream::Chunk;
use split_runtime::grpc::wire::stream::split_edge_client::SplitEdgeClient;
use split_runtime::grpc::{
    Device, Edge, EdgeOptions, Placement, TraceError, TraceOptions, Traces, model_fn,
};
use split_runtime::{DeviceConfig, DeviceConnection, JobError, Request, Time};
use tokio_stream::wrappers::ReceiverStream;

use collector::{Collector, Seen};
use rig::{
    answer_to, contract, device_options, eventually, frame, frame_with, metric, options, request,
    run,
};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const TRACE: [u8; 16] = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes();
const SPAN: [u8; 8] = 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes();

/// The payload that the tail fails on.
const BREAKS: [u8; 4] = [9, 9, 9, 9];

fn settings(endpoint: &str) -> TraceOptions {
    let mut settings = TraceOptions::new(endpoint, "edge-under-test");
    settings.every_us = 20_000;
    settings
}

async fn start(options: EdgeOptions, traces: &Traces) -> Edge {
    let breaks = frame_with(1, BREAKS.to_vec());
    let tail = move |bodies: Vec<Vec<u8>>| -> Vec<Result<Vec<u8>, JobError>> {
        // Long enough to be seen in microseconds.
        std::thread::sleep(Duration::from_millis(2));
        let answer = |body: &Vec<u8>| match *body == breaks {
            true => Err(JobError::Failed),
            false => Ok(answer_to(body)),
        };
        bodies.iter().map(answer).collect()
    };
    Edge::start_traced(options, model_fn(tail), traces)
        .await
        .unwrap()
}

async fn infer(
    edge: &Edge,
    model: &str,
    traceparent: Option<&str>,
    frames: &[Vec<u8>],
) -> Result<ModelInferResponse, tonic::Status> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", edge.address()));
    let channel = endpoint.unwrap().connect().await.unwrap();
    let mut raw = Vec::new();
    for frame in frames {
        raw.extend_from_slice(&u32::try_from(frame.len()).unwrap().to_le_bytes());
        raw.extend_from_slice(frame);
    }
    let mut request = tonic::Request::new(ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![InferInputTensor {
            name: "frame".to_owned(),
            datatype: "BYTES".to_owned(),
            shape: vec![i64::try_from(frames.len()).unwrap()],
            ..Default::default()
        }],
        raw_input_contents: vec![raw.into()],
        ..Default::default()
    });
    if let Some(traceparent) = traceparent {
        let metadata = request.metadata_mut();
        metadata.insert("traceparent", traceparent.parse().unwrap());
    }
    let mut client = GrpcInferenceServiceClient::new(channel);
    client
        .model_infer(request)
        .await
        .map(tonic::Response::into_inner)
}

/// One frame over a stream that was opened below `CALLER`.
async fn stream_below_caller(edge: &Edge) {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", edge.address()));
    let channel = endpoint.unwrap().connect().await.unwrap();
    let (sender, chunks) = tokio::sync::mpsc::channel(4);
    let mut opening = tonic::Request::new(ReceiverStream::new(chunks));
    let metadata = opening.metadata_mut();
    metadata.insert("traceparent", CALLER.parse().unwrap());
    let mut client = SplitEdgeClient::new(channel);
    let mut inbound = client.connect(opening).await.unwrap().into_inner();
    let config = DeviceConfig::new(vec![contract("layer1")]);
    let mut device = DeviceConnection::new(config, Time::ZERO).unwrap();
    let mut out = Vec::new();
    device.poll_transmit(&mut out);
    sender.send(Chunk { bytes: out.into() }).await.unwrap();
    while !device.is_open() {
        let chunk = inbound.message().await.unwrap().unwrap();
        device.receive(Time::ZERO, &chunk.bytes).unwrap();
    }
    let body = frame(3);
    let request = Request {
        split: 0,
        rung: 3,
        budget_us: 2_000_000,
        body: &body,
    };
    device.send(Time::ZERO, &request).unwrap();
    let mut out = Vec::new();
    device.poll_transmit(&mut out);
    sender.send(Chunk { bytes: out.into() }).await.unwrap();
    while device.in_flight() > 0 {
        let chunk = inbound.message().await.unwrap().unwrap();
        device.receive(Time::ZERO, &chunk.bytes).unwrap();
    }
}

/// What of a frame a span may say; nothing else, and nothing of what is in it.
const FRAME_KEYS: [&str; 6] = [
    "split.answer_bytes",
    "split.batch",
    "split.frame_bytes",
    "split.outcome",
    "split.point",
    "split.rung",
];

fn assert_frame(seen: &[Seen], frame: &Seen, rung: i64) {
    assert_eq!(frame.name, "frame");
    assert_eq!(frame.keys(), FRAME_KEYS);
    assert_eq!(frame.text("split.point"), "layer1");
    assert_eq!(frame.text("split.outcome"), "ok");
    assert_eq!(frame.number("split.rung"), rung);
    assert_eq!(frame.number("split.answer_bytes"), 4);
    assert!(frame.number("split.batch") >= 1);
    assert!(frame.error.is_none());
    let parts: Vec<&Seen> = seen.iter().filter(|one| one.parent == frame.id).collect();
    let mut names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["compute", "decode", "queue"]);
    for part in parts {
        assert_eq!(part.trace, frame.trace);
        assert!(
            part.start >= frame.start && part.end <= frame.end,
            "{part:?} in {frame:?}"
        );
        assert!(part.keys().is_empty());
        if part.name == "compute" {
            assert!(part.end - part.start >= 2_000_000, "{part:?}");
        }
    }
}

#[test]
fn a_unary_request_lies_below_its_caller_and_its_frames_below_it() {
    run(async {
        let collector = Collector::start().await;
        let traces = Traces::start(&settings(&collector.endpoint())).unwrap();
        let edge = start(options(), &traces).await;
        let frames = [frame(1), frame(2)];
        infer(&edge, "layer1", Some(CALLER), &frames).await.unwrap();
        let seen = collector.wait_for(9).await;
        let call = seen
            .iter()
            .find(|one| one.kind == SpanKind::Server)
            .unwrap();
        assert_eq!(call.name, "inference.GRPCInferenceService/ModelInfer");
        assert_eq!((call.trace, call.parent), (TRACE, SPAN));
        assert_eq!(call.number("rpc.grpc.status_code"), 0);
        assert_eq!(call.service, "edge-under-test");
        let mut found: Vec<&Seen> = seen.iter().filter(|one| one.name == "frame").collect();
        found.sort_by_key(|frame| frame.number("split.rung"));
        assert_eq!(found.len(), 2);
        for (rung, one) in (1..).zip(found) {
            assert_eq!((one.trace, one.parent), (TRACE, call.id));
            assert!(one.start >= call.start && one.end <= call.end);
            assert_eq!(
                one.number("split.frame_bytes"),
                i64::try_from(frame(1).len()).unwrap()
            );
            assert_frame(&seen, one, rung);
        }
        let exported = || metric(&edge, "split_edge_spans_total{outcome=\"exported\"}") == 9;
        assert!(eventually(Duration::from_secs(2), exported).await);
    });
}

#[test]
fn a_frame_of_a_stream_lies_below_what_opened_it_or_begins_a_trace() {
    run(async {
        for placement in [Placement::Thread, Placement::Inline] {
            let collector = Collector::start().await;
            let traces = Traces::start(&settings(&collector.endpoint())).unwrap();
            let mut options = options();
            options.placement = placement;
            let edge = start(options, &traces).await;
            stream_below_caller(&edge).await;
            let seen = collector.wait_for(4).await;
            let first = seen.iter().find(|one| one.name == "frame").unwrap();
            assert_eq!(
                (first.trace, first.parent, first.kind),
                (TRACE, SPAN, SpanKind::Server)
            );
            assert_frame(&seen, first, 3);
            let device = rig::device(&edge).await;
            device.request(request(2)).await.unwrap();
            let seen = collector.wait_for(8).await;
            let roots = |one: &&Seen| one.name == "frame" && one.parent == [0; 8];
            let second = seen.iter().find(roots).unwrap();
            assert_ne!(second.trace, TRACE);
            assert_frame(&seen, second, 2);
        }
    });
}

#[test]
fn a_devices_request_lies_below_the_span_of_whoever_asks() {
    run(async {
        let collector = Collector::start().await;
        let traces = Traces::start(&settings(&collector.endpoint())).unwrap();
        let edge = rig::start(options()).await;
        let settings = device_options(&edge, &[contract("layer1")]);
        let device = Device::start_traced(settings, &traces).unwrap();
        device.opened(Duration::from_secs(5)).await.unwrap();
        let above = Context::new().with_remote_span_context(SpanContext::new(
            TraceId::from_bytes(TRACE),
            SpanId::from_bytes(SPAN),
            TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        ));
        device
            .request(request(1))
            .with_context(above)
            .await
            .unwrap();
        let mut wrong = request(1);
        wrong.rung = 8;
        device.request(wrong).await.unwrap_err();
        let seen = collector.wait_for(2).await;
        let [answered, refused] = [1, 8].map(|rung| {
            let mut found = seen.iter().filter(|one| one.number("split.rung") == rung);
            found.next().unwrap()
        });
        assert_eq!((answered.trace, answered.parent), (TRACE, SPAN));
        assert_eq!(answered.kind, SpanKind::Client);
        assert_eq!(answered.text("split.by"), "edge");
        assert_eq!(answered.text("split.outcome"), "ok");
        assert_eq!(answered.number("split.batch"), 1);
        assert_eq!(refused.parent, [0; 8]);
        assert_eq!(refused.error.as_deref(), Some("unsendable"));
    });
}

#[test]
fn a_refusal_is_an_error_by_its_name() {
    run(async {
        let collector = Collector::start().await;
        let traces = Traces::start(&settings(&collector.endpoint())).unwrap();
        let edge = start(options(), &traces).await;
        infer(&edge, "layer9", Some(CALLER), &[frame(1)])
            .await
            .unwrap_err();
        infer(&edge, "layer1", None, &[b"no frame".to_vec()])
            .await
            .unwrap_err();
        let device = rig::device(&edge).await;
        // Sent as another rung than it is, and one that the tail fails on.
        let mut wrong = request(1);
        wrong.rung = 2;
        device.request(wrong).await.unwrap_err();
        let mut breaks = request(1);
        breaks.body = frame_with(1, BREAKS.to_vec());
        breaks.budget_us = 200_000;
        device.request(breaks).await.unwrap_err();
        let named = |name: &'static str| {
            move |seen: &[Seen]| {
                let errors = seen.iter().filter_map(|one| one.error.as_deref());
                errors.filter(|error| *error == name).count()
            }
        };
        let all = |seen: &[Seen]| named("failed")(seen) > 0 && named("bad_frame")(seen) == 2;
        let seen = collector.wait_until(all).await;
        let calls = seen.iter().filter(|one| one.name.ends_with("/ModelInfer"));
        let codes: Vec<i64> = calls
            .map(|call| call.number("rpc.grpc.status_code"))
            .collect();
        let not_found = i64::from(i32::from(tonic::Code::NotFound));
        let invalid = i64::from(i32::from(tonic::Code::InvalidArgument));
        assert_eq!(codes, [not_found, invalid]);
        let refused = |one: &&Seen| one.error.as_deref() == Some("bad_frame");
        for one in seen.iter().filter(refused) {
            assert_eq!(one.text("split.outcome"), "bad_frame");
            assert!(
                seen.iter().all(|part| part.parent != one.id),
                "it was never computed"
            );
        }
    });
}

#[test]
fn a_callers_choice_not_to_record_holds() {
    run(async {
        let collector = Collector::start().await;
        let mut settings = settings(&collector.endpoint());
        settings.share = 0.0;
        let traces = Traces::start(&settings).unwrap();
        let edge = start(options(), &traces).await;
        infer(&edge, "layer1", Some(NOT_SAMPLED), &[frame(1)])
            .await
            .unwrap();
        infer(&edge, "layer1", None, &[frame(1)]).await.unwrap();
        infer(&edge, "layer1", Some("00-garbage"), &[frame(1)])
            .await
            .unwrap();
        infer(&edge, "layer1", Some(CALLER), &[frame(4)])
            .await
            .unwrap();
        let seen = collector.wait_for(5).await;
        assert!(seen.iter().all(|one| one.trace == TRACE), "{seen:?}");
        let counts = traces.close(Duration::from_secs(5)).await;
        assert_eq!((counts.exported, counts.dropped, counts.failed), (5, 0, 0));
    });
}

/// Median time of 60 answers, the tail's own 2 ms included.
async fn median(edge: &Edge) -> Duration {
    let device = rig::device(edge).await;
    let mut times = Vec::new();
    for _ in 0..60 {
        let start = now();
        device.request(request(1)).await.unwrap();
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times[30]
}

#[test]
fn a_collector_that_is_away_or_mute_costs_spans_and_no_time() {
    run(async {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let away = closed.local_addr().unwrap();
        drop(closed);
        // It takes connections and never says a word.
        let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for address in [away, mute.local_addr().unwrap()] {
            let mut settings = settings(&format!("http://{address}"));
            settings.waiting_max = 8;
            settings.batch_max = 8;
            let traces = Traces::start(&settings).unwrap();
            let edge = start(options(), &traces).await;
            let median = median(&edge).await;
            assert!(median < Duration::from_millis(20), "{median:?}");
            assert!(edge.drain(Duration::from_secs(2)).await);
            let start = now();
            let counts = traces.close(Duration::from_millis(300)).await;
            assert!(
                start.elapsed() < Duration::from_secs(1),
                "{:?}",
                start.elapsed()
            );
            assert_eq!(counts.exported, 0);
            // A frame is a span and three parts.
            assert_eq!(counts.dropped + counts.failed, 60 * 4);
        }
    });
}

#[test]
fn what_waits_at_the_end_is_sent() {
    run(async {
        let collector = Collector::start().await;
        let mut settings = settings(&collector.endpoint());
        settings.every_us = 60_000_000;
        let traces = Traces::start(&settings).unwrap();
        let edge = start(options(), &traces).await;
        infer(&edge, "layer1", None, &[frame(1)]).await.unwrap();
        assert!(edge.drain(Duration::from_secs(2)).await);
        let counts = traces.close(Duration::from_secs(5)).await;
        assert_eq!((counts.exported, counts.failed), (5, 0));
        assert_eq!(collector.wait_for(5).await.len(), 5);
    });
}

#[test]
fn an_edge_without_traces_says_nothing_of_them() {
    run(async {
        let edge = rig::start(options()).await;
        infer(&edge, "layer1", Some(CALLER), &[frame(1)])
            .await
            .unwrap();
        assert!(!edge.metrics().contains("spans"));
    });
}

#[test]
fn an_endpoint_that_cannot_be_one_is_refused_with_what_is_expected() {
    run(async {
        for (endpoint, said) in [
            ("localhost:4317", "expected is http://HOST:PORT"),
            ("http://", "expected is http://HOST:PORT"),
            ("https://collector:4317", "TLS isn't spoken here"),
        ] {
            let error = Traces::start(&TraceOptions::new(endpoint, "edge")).unwrap_err();
            assert!(matches!(error, TraceError::Endpoint { .. }));
            let text = error.to_string();
            assert!(text.contains(endpoint) && text.contains(said), "{text}");
        }
        let mut settings = TraceOptions::new("http://localhost:4317", "edge");
        settings.share = 1.5;
        let error = Traces::start(&settings).unwrap_err();
        assert_eq!(error, TraceError::Share { found: 1.5 });
    });
}

#[expect(clippy::disallowed_methods, reason = "the test measures real time")]
fn now() -> Instant {
    Instant::now()
}
