//! Every parser of the network over a committed corpus, its damaged copies, and seeded noise.
//!
//! `UPDATE_GOLDEN=1 cargo test -p split-runtime --test grpc fuzz` writes `tests/corpus` anew.

use std::fs;
use std::path::PathBuf;

use prost::Message as _;
use rand_core::Rng;
use rand_pcg::Pcg32;
use split_runtime::grpc::wire::inference::model_infer_request::InferInputTensor;
use split_runtime::grpc::wire::inference::{InferTensorContents, ModelInferRequest};
use split_runtime::grpc::{DevicePem, EdgePem, answer_http, frames_of_infer};
use split_runtime::{
    Answer, DeviceConfig, DeviceConnection, EdgeConfig, EdgeConnection, EdgeEvent, Request, Time,
};

use crate::rig::*;

/// Draws of noise for each parser.
const NOISE: usize = 3_000;

/// Most frames of a request in these tests.
const FRAMES_MAX: usize = 4;

fn corpus(parser: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(parser);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Hands `parse` the corpus, every beginning of it, copies with one to four changed bytes, and noise.
fn fuzz(parser: &str, seed: u64, mut parse: impl FnMut(&[u8])) {
    let corpus = corpus(parser);
    let mut random = Pcg32::new(seed, 0);
    for sample in &corpus {
        parse(sample);
        (0..sample.len().min(400)).for_each(|end| parse(&sample[..end]));
        for _ in 0..200 {
            let mut damaged = sample.clone();
            for _ in 0..=random.next_u32() % 4 {
                if !damaged.is_empty() {
                    let at = below(&mut random, damaged.len());
                    damaged[at] = random.next_u32().to_le_bytes()[0];
                }
            }
            parse(&damaged);
        }
    }
    for _ in 0..NOISE {
        let mut noise = vec![0; below(&mut random, 200)];
        random.fill_bytes(&mut noise);
        parse(&noise);
    }
}

fn below(random: &mut Pcg32, end: usize) -> usize {
    usize::try_from(random.next_u32()).unwrap() % end
}

fn edge() -> EdgeConnection {
    EdgeConnection::new(EdgeConfig::new(vec![contract("layer1")]), Time::ZERO).unwrap()
}

fn device() -> DeviceConnection {
    DeviceConnection::new(DeviceConfig::new(vec![contract("layer1")]), Time::ZERO).unwrap()
}

/// Both ends after a hello, a frame and its answer; gives what each of them sent.
fn conversation() -> (Vec<u8>, Vec<u8>) {
    let (mut device, mut edge) = (device(), edge());
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let mut sent = 0;
    let mut read = 0;
    for step in 0..4 {
        let now = Time::from_us(step * 1_000);
        device.poll_transmit(&mut up);
        edge.receive(now, &up[sent..]).unwrap();
        sent = up.len();
        while let Some(event) = edge.poll_event() {
            if let EdgeEvent::Frame { seq, .. } = event {
                edge.reply(now, seq, Answer::ok(1, 2, 3, vec![4; 5]))
                    .unwrap();
            }
        }
        edge.poll_transmit(&mut down);
        device.receive(now, &down[read..]).unwrap();
        read = down.len();
        let body = frame(1);
        let request = Request {
            split: 0,
            rung: 1,
            budget_us: 50_000,
            body: &body,
        };
        device.send(now, &request).unwrap();
        device.probe(now, 9).unwrap();
    }
    edge.drain(Time::from_us(9_000), 1_000);
    edge.poll_transmit(&mut down);
    (up, down)
}

fn infer_request(datatype: &str, raw: bool) -> Vec<u8> {
    let body = frame(1);
    let mut element = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
    element.extend_from_slice(&body);
    let bytes = datatype == "BYTES";
    let contents = InferTensorContents {
        bytes_contents: if bytes {
            vec![body.clone().into()]
        } else {
            Vec::new()
        },
        uint_contents: if bytes {
            Vec::new()
        } else {
            body.iter().map(|&v| v.into()).collect()
        },
        ..Default::default()
    };
    let request = ModelInferRequest {
        model_name: "layer1".to_owned(),
        inputs: vec![InferInputTensor {
            name: "frame".to_owned(),
            datatype: datatype.to_owned(),
            shape: vec![if bytes {
                1
            } else {
                i64::try_from(body.len()).unwrap()
            }],
            contents: (!raw).then_some(contents),
            ..Default::default()
        }],
        raw_input_contents: match (raw, bytes) {
            (false, _) => Vec::new(),
            (true, true) => vec![element.into()],
            (true, false) => vec![body.into()],
        },
        ..Default::default()
    };
    request.encode_to_vec()
}

/// What the corpus is made of: parser, name, bytes.
fn samples() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let (up, down) = conversation();
    let identity = rcgen::generate_simple_self_signed(vec!["edge.test".to_owned()]).unwrap();
    vec![
        ("edge", "conversation", up),
        ("edge", "empty-message", vec![0]),
        (
            "edge",
            "length-of-five-bytes",
            vec![0xff, 0xff, 0xff, 0xff, 0x0f],
        ),
        ("device", "conversation", down),
        (
            "device",
            "answer-nobody-asked",
            vec![7, 5, 9, 0, 0, 0, 0, 0],
        ),
        ("infer", "bytes-raw", infer_request("BYTES", true)),
        ("infer", "bytes-typed", infer_request("BYTES", false)),
        ("infer", "uint8-raw", infer_request("UINT8", true)),
        ("infer", "uint8-typed", infer_request("UINT8", false)),
        (
            "http",
            "ready",
            b"GET /ready HTTP/1.1\r\nhost: edge\r\n\r\n".to_vec(),
        ),
        ("http", "head", b"HEAD /metrics HTTP/1.0\r\n\r\n".to_vec()),
        (
            "http",
            "post",
            b"POST /live HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc".to_vec(),
        ),
        ("http", "bare", b"GET /\n\n".to_vec()),
        ("pem", "certificate", identity.cert.pem().into_bytes()),
    ]
}

#[test]
fn the_corpus_is_there_and_its_good_samples_are_accepted() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        for (parser, name, bytes) in samples() {
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("tests/corpus")
                .join(parser);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("{name}.bin")), bytes).unwrap();
        }
    }
    let conversation = &corpus("edge")[0];
    edge().receive(Time::ZERO, conversation).unwrap();
    for bytes in corpus("infer") {
        let request = ModelInferRequest::decode(&bytes[..]).unwrap();
        assert_eq!(frames_of_infer(&request, FRAMES_MAX).unwrap(), [frame(1)]);
    }
}

#[test]
fn an_edge_survives_any_bytes() {
    fuzz("edge", 1, |bytes| {
        let mut edge = edge();
        let refused = edge.receive(Time::ZERO, bytes).is_err();
        assert_eq!(refused, edge.is_closed());
        let mut out = Vec::new();
        edge.poll_transmit(&mut out);
        assert!(out.len() <= split_runtime::MAX_TRANSMIT_BYTES);
        edge.handle_timeout(Time::from_us(200_000_000));
        assert!(edge.is_closed());
        assert_eq!(edge.in_flight(), 0);
    });
}

#[test]
fn a_device_survives_any_bytes() {
    fuzz("device", 2, |bytes| {
        let mut device = device();
        let refused = device.receive(Time::ZERO, bytes).is_err();
        assert!(!refused || device.is_closed());
        device.handle_timeout(Time::from_us(200_000_000));
        assert!(device.is_closed());
    });
}

#[test]
fn tensors_of_any_shape_give_frames_or_a_reason() {
    fuzz("infer", 3, |bytes| {
        let Ok(request) = ModelInferRequest::decode(bytes) else {
            return;
        };
        match frames_of_infer(&request, FRAMES_MAX) {
            Ok(frames) => assert!((1..=FRAMES_MAX).contains(&frames.len())),
            Err(status) => assert_eq!(status.code(), tonic::Code::InvalidArgument),
        }
    });
}

#[test]
fn any_head_of_a_request_gets_an_answer_of_its_length() {
    fuzz("http", 4, |bytes| {
        let answer = answer_http(bytes, true, || "metrics".to_owned());
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap().parse().unwrap();
        assert!(body.len() == length || body.is_empty());
    });
}

#[test]
fn texts_that_are_no_certificates_are_refused() {
    fuzz("pem", 5, |bytes| {
        let pem = EdgePem {
            chain: bytes.to_vec(),
            key: bytes.to_vec(),
            device_roots: Some(bytes.to_vec()),
        };
        assert!(pem.to_config().is_err(), "a certificate is no key");
        let _ = DevicePem {
            edge_roots: bytes.to_vec(),
            identity: None,
        }
        .to_config();
    });
}
