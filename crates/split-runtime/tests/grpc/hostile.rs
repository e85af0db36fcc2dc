//! Peers that say nothing, too slowly, too much, or nonsense: cut off, counted, and without harm to
//! the others.

use std::time::{Duration, Instant};

use split_runtime::grpc::wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use split_runtime::grpc::wire::inference::{ModelInferRequest, ServerLiveRequest};
use split_runtime::grpc::wire::stream::Chunk;
use split_runtime::grpc::wire::stream::split_edge_client::SplitEdgeClient;
use split_runtime::grpc::{
    Device, DeviceError, DeviceOptions, Edge, EdgeAddress, EdgeOptions, MAX_CHUNK_BYTES, model_fn,
};
use split_runtime::{DeviceConfig, DispatcherConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic::transport::Channel;

use crate::rig::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Handshake 0.2 s, idle 0.6 s, hello 0.3 s.
fn impatient() -> EdgeOptions {
    let mut options = options();
    options.limits.handshake_us_max = 200_000;
    options.limits.idle_us_max = 600_000;
    options.hub.connection.hello_us_max = 300_000;
    options
}

async fn channel(edge: &Edge) -> Channel {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", edge.address()));
    endpoint.unwrap().connect().await.unwrap()
}

/// Time until the edge ends a connection over which `bytes` were sent.
async fn time_to_end(edge: &Edge, bytes: &[u8]) -> Duration {
    let start = now();
    let mut stream = TcpStream::connect(edge.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut sink = [0; 1024];
    while matches!(stream.read(&mut sink).await, Ok(count) if count > 0) {}
    start.elapsed()
}

#[test]
fn peers_that_say_nothing_or_half_a_preface_are_cut_off() {
    run(async {
        let edge = start(impatient()).await;
        for bytes in [&b""[..], &PREFACE[..10]] {
            let took = time_to_end(&edge, bytes).await;
            let expected = Duration::from_millis(190)..Duration::from_millis(1_500);
            assert!(expected.contains(&took), "{took:?}");
        }
        assert_eq!(metric(&edge, "split_edge_handshakes_slow_total"), 2);
        device(&edge).await.request(request(1)).await.unwrap();
    });
}

#[test]
fn peers_that_speak_http_2_and_ask_for_nothing_are_cut_off() {
    run(async {
        let edge = start(impatient()).await;
        // And one that begins a request and never ends its headers.
        let half_headers = [&[0, 0, 200, 1, 0, 0, 0, 0, 1][..], &[0x82; 20]].concat();
        for rest in [&[][..], &half_headers] {
            let took = time_to_end(&edge, &[PREFACE, SETTINGS, rest].concat()).await;
            let expected = Duration::from_millis(590)..Duration::from_millis(2_000);
            assert!(expected.contains(&took), "{took:?}");
        }
        assert_eq!(metric(&edge, "split_edge_connections_idle_total"), 2);
        assert!(eventually(Duration::from_secs(1), || edge.connections() == 0).await);
    });
}

#[test]
fn a_silent_peer_does_not_get_past_the_tls_handshake() {
    run(async {
        let mut options = impatient();
        let key = rcgen::generate_simple_self_signed(vec!["edge.test".to_owned()]).unwrap();
        let pem = split_runtime::grpc::EdgePem {
            chain: key.cert.pem().into_bytes(),
            key: key.signing_key.serialize_pem().into_bytes(),
            device_roots: None,
        };
        options.tls = Some(pem.to_config().unwrap());
        let edge = start(options).await;
        let took = time_to_end(&edge, b"").await;
        let expected = Duration::from_millis(190)..Duration::from_millis(1_500);
        assert!(expected.contains(&took), "{took:?}");
        // Plain bytes are no handshake.
        time_to_end(&edge, PREFACE).await;
        assert_eq!(metric(&edge, "split_edge_handshakes_slow_total"), 1);
        assert_eq!(metric(&edge, "split_edge_handshakes_failed_total"), 1);
    });
}

#[test]
fn a_stream_without_a_hello_ends_in_time() {
    run(async {
        let edge = start(impatient()).await;
        let mut client = SplitEdgeClient::new(channel(&edge).await);
        let start = now();
        let response = client.connect(tokio_stream::pending::<Chunk>()).await;
        let mut answers = response.unwrap().into_inner();
        let status = answers.next().await.unwrap().unwrap_err();
        let took = start.elapsed();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("no hello"), "{status:?}");
        assert!(
            (Duration::from_millis(290)..Duration::from_secs(2)).contains(&took),
            "{took:?}"
        );
    });
}

/// What the edge says to a stream that begins with these bytes.
async fn said_to(edge: &Edge, bytes: Vec<u8>) -> tonic::Status {
    let mut client = SplitEdgeClient::new(channel(edge).await);
    let chunk = Chunk {
        bytes: bytes.into(),
    };
    let chunks = tokio_stream::once(chunk).chain(tokio_stream::pending());
    let mut answers = client.connect(chunks).await.unwrap().into_inner();
    loop {
        match answers.next().await {
            Some(Ok(_)) => {}
            Some(Err(status)) => return status,
            None => panic!("the stream ended without a word"),
        }
    }
}

#[test]
fn messages_that_are_none_end_their_stream_with_the_reason() {
    run(async {
        let edge = start(options()).await;
        let cases = [
            (vec![1, 99], "unknown kind of message 99"),
            (vec![0], "message without a kind"),
            (vec![0xff, 0xff, 0xff, 0x7f], "at most 65536 are allowed"),
            (vec![0x80, 0x80, 0x80, 0x80, 0x80], "holds no valid number"),
            (vec![2, 7, 5], "message `drain` in state `listening`"),
        ];
        let count = cases.len() as u64;
        for (bytes, expected) in cases {
            let status = said_to(&edge, bytes).await;
            assert_eq!(status.code(), Code::FailedPrecondition);
            assert!(
                status.message().contains(expected),
                "`{expected}` is not in {status:?}"
            );
        }
        assert_eq!(metric(&edge, "split_edge_streams_refused_total"), count);
        device(&edge).await.request(request(1)).await.unwrap();
    });
}

#[test]
fn oversized_requests_are_refused_before_they_are_read() {
    run(async {
        let edge = start(options()).await;
        let status = said_to(&edge, vec![0; MAX_CHUNK_BYTES + 100]).await;
        assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
        let mut client = GrpcInferenceServiceClient::new(channel(&edge).await);
        let large = ModelInferRequest {
            raw_input_contents: vec![vec![0; 2 << 20].into()],
            ..Default::default()
        };
        let status = client.model_infer(large).await.unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
        // Longer than this edge allows, shorter than a message may be.
        let mut short = options();
        short.hub.connection.frame_bytes_max = 100;
        let edge = start(short).await;
        let device = device(&edge).await;
        let mut long = request(1);
        long.body = vec![0; 101];
        let text = device.request(long).await.unwrap_err().to_string();
        assert!(
            text.contains("frame of 101 bytes, the edge takes 100"),
            "{text}"
        );
    });
}

#[test]
fn a_compressed_request_is_refused_without_being_unpacked() {
    run(async {
        let edge = start(options()).await;
        let mut client = GrpcInferenceServiceClient::new(channel(&edge).await)
            .send_compressed(tonic::codec::CompressionEncoding::Gzip);
        // Two thousand zeros for each byte that goes over the wire.
        let bomb = ModelInferRequest {
            raw_input_contents: vec![vec![0; 64 << 20].into()],
            ..Default::default()
        };
        let status = client.model_infer(bomb).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
        assert_eq!(metric(&edge, "split_edge_frames_total"), 0);
        device(&edge).await.request(request(1)).await.unwrap();
    });
}

#[test]
fn connections_are_bounded_in_all_and_of_one_address_and_places_come_back() {
    run(async {
        let mut options = options();
        options.limits.connections_max = 8;
        options.limits.connections_per_address_max = 6;
        let edge = start(options).await;
        let mut open = Vec::new();
        for _ in 0..30 {
            open.push(TcpStream::connect(edge.address()).await.unwrap());
        }
        let refused = || metric(&edge, "split_edge_connections_refused_total") == 24;
        assert!(eventually(Duration::from_secs(2), refused).await);
        assert_eq!(edge.connections(), 6);
        drop(open);
        assert!(eventually(Duration::from_secs(2), || edge.connections() == 0).await);
        device(&edge).await.request(request(1)).await.unwrap();
    });
}

#[test]
fn five_hundred_idle_connections_leave_a_device_its_answers_and_are_reaped() {
    run(async {
        let edge = start(impatient()).await;
        let mut idle = Vec::new();
        for _ in 0..500 {
            if let Ok(mut stream) = TcpStream::connect(edge.address()).await {
                stream.write_all(PREFACE).await.unwrap();
                idle.push(stream);
            }
        }
        device(&edge).await.request(request(1)).await.unwrap();
        assert!(eventually(Duration::from_secs(4), || edge.connections() <= 1).await);
        let cut = metric(&edge, "split_edge_connections_idle_total")
            + metric(&edge, "split_edge_handshakes_slow_total");
        assert!(
            cut + metric(&edge, "split_edge_connections_refused_total") >= 500,
            "{cut}"
        );
    });
}

#[test]
fn a_device_that_reads_nothing_is_cut_off_and_its_answers_do_not_pile_up() {
    run(async {
        let mut options = options();
        options.limits.idle_us_max = 1_000_000;
        let edge = start(options).await;
        let mut client = SplitEdgeClient::new(channel(&edge).await);
        let hello = Chunk {
            bytes: hello().into(),
        };
        // Probes by the thousand, each with an answer that nobody reads.
        let probe: Vec<u8> = [3, 8, 1, 0].repeat(8_000);
        let probes = std::iter::repeat_with(move || Chunk {
            bytes: probe.clone().into(),
        });
        let chunks = tokio_stream::once(hello).chain(tokio_stream::iter(probes));
        let answers = client.connect(chunks).await.unwrap();
        let gone = || metric(&edge, "split_edge_streams") == 0;
        assert!(eventually(Duration::from_secs(8), gone).await);
        drop(answers);
        device(&edge).await.request(request(1)).await.unwrap();
    });
}

#[test]
fn a_flood_of_tiny_frames_beyond_the_credit_is_answered_with_refusals_only() {
    run(async {
        let mut options = options();
        options.hub.connection.in_flight_max = 4;
        let edge = start_slow(options, 50).await;
        let mut client = SplitEdgeClient::new(channel(&edge).await);
        let mut bytes = hello();
        let body = frame(1);
        for seq in 0..100_u8 {
            // frame: seq, split, rung, budget of 16,383 us, body
            let mut message = vec![4, seq, 0, 1, 0xff, 0x7f];
            message.extend_from_slice(&body);
            bytes.push(u8::try_from(message.len()).unwrap());
            bytes.extend(message);
        }
        let chunk = Chunk {
            bytes: bytes.into(),
        };
        let chunks = tokio_stream::once(chunk).chain(tokio_stream::pending());
        let mut answers = client.connect(chunks).await.unwrap().into_inner();
        answers.next().await.unwrap().unwrap();
        let refused = || metric(&edge, "split_edge_frames_refused_total") >= 90;
        assert!(
            eventually(Duration::from_secs(3), refused).await,
            "{}",
            edge.metrics()
        );
        assert!(metric(&edge, "split_edge_jobs_total{outcome=\"accepted\"}") <= 8);
    });
}

#[test]
fn requests_for_what_is_not_there_get_an_answer() {
    run(async {
        let edge = start(options()).await;
        let mut client = GrpcInferenceServiceClient::new(channel(&edge).await);
        // A flood of calls on one connection: all are answered.
        for _ in 0..200 {
            client.server_live(ServerLiveRequest {}).await.unwrap();
        }
        let health = tonic_health::pb::HealthCheckRequest {
            service: "nothing".to_owned(),
        };
        let mut client = tonic_health::pb::health_client::HealthClient::new(channel(&edge).await);
        assert_eq!(
            client.check(health).await.unwrap_err().code(),
            Code::NotFound
        );
    });
}

#[test]
fn a_device_gives_a_silent_edge_up_and_says_so() {
    run(async {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = EdgeAddress::new(silent.local_addr().unwrap().to_string());
        let connection = DeviceConfig::new(vec![contract("layer1")]);
        let mut settings = DeviceOptions::new(vec![address], connection, DispatcherConfig::new(1));
        settings.connect_us_max = 200_000;
        settings.reconnect_us = (10_000, 20_000);
        let device = Device::start(settings).unwrap();
        let error = device.opened(Duration::from_millis(500)).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("the edge doesn't answer"), "{text}");
        // It tries again, and a request ends at its deadline.
        silent.accept().await.unwrap();
        silent.accept().await.unwrap();
        let mut short = request(1);
        short.budget_us = 50_000;
        let error = device.request(short).await.unwrap_err();
        assert_eq!(error, DeviceError::Expired);
    });
}

#[test]
fn an_answer_that_is_too_long_fails_by_name() {
    run(async {
        let tail = |bodies: Vec<Vec<u8>>| bodies.iter().map(|_| Ok(vec![0; 70_000])).collect();
        let edge = Edge::start(options(), model_fn(tail)).await.unwrap();
        let device = device(&edge).await;
        let text = device.request(request(1)).await.unwrap_err().to_string();
        assert!(
            text.contains("answer of 70000 bytes, at most 65472"),
            "{text}"
        );
    });
}

/// The bytes of a device's hello.
fn hello() -> Vec<u8> {
    use split_runtime::{DeviceConnection, Time};
    let config = DeviceConfig::new(vec![contract("layer1")]);
    let mut device = DeviceConnection::new(config, Time::ZERO).unwrap();
    let mut bytes = Vec::new();
    assert!(device.poll_transmit(&mut bytes));
    bytes
}

#[expect(clippy::disallowed_methods, reason = "the test measures real time")]
fn now() -> Instant {
    Instant::now()
}
