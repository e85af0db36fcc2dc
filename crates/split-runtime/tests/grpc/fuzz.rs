//! The laws of the fuzz targets over their corpus, its damaged copies, and seeded noise.
//!
//! `UPDATE_GOLDEN=1 cargo test -p split-runtime --test grpc fuzz` writes `fuzz/corpus` anew.

#[path = "../../fuzz/laws.rs"]
mod laws;

use std::fs;
use std::path::PathBuf;

use laws::{FRAMES_MAX, device_connection, edge_connection};
use prost::Message as _;
use rand_core::Rng;
use rand_pcg::Pcg32;
use split_runtime::grpc::frames_of_infer;
use split_runtime::grpc::wire::inference::model_infer_request::InferInputTensor;
use split_runtime::grpc::wire::inference::{InferTensorContents, ModelInferRequest};
use split_runtime::{Answer, EdgeEvent, Entry, EntryKind, Menu, Ranking, Request, Time};

use crate::rig::frame;

/// Draws of noise for each law.
const NOISE: usize = 3_000;

fn folder_of(law: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(law)
}

fn corpus(law: &str) -> Vec<Vec<u8>> {
    let folder = folder_of(law);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Hands a law its corpus, every beginning of it, copies with one to four changed bytes, and noise.
fn fuzz(law: &str, seed: u64, parse: fn(&[u8])) {
    let corpus = corpus(law);
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

/// Both ends after a hello, a frame and its answer; gives what each of them sent.
fn conversation() -> (Vec<u8>, Vec<u8>) {
    let (mut device, mut edge) = (device_connection(), edge_connection());
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

/// A rung and the device alone.
fn menu() -> Menu {
    let entry = |name: &str, kind, split, bytes| Entry {
        name: name.to_owned(),
        kind,
        split,
        rung: 0,
        bytes_mean: bytes,
        bytes_p95: bytes,
        accuracy: 90.0,
        head_us: 900,
        tail_us: 100,
        tail_each_us: 10,
    };
    let entries = vec![
        entry("fine", EntryKind::Split, 0, 300.0),
        entry("all", EntryKind::DeviceOnly, 1, 0.0),
    ];
    Menu::new(vec!["layer1".to_owned(), "device".to_owned()], entries).unwrap()
}

/// The best three of four classes.
fn ranking() -> Ranking {
    Ranking::of_scores(&[0.5, 2.5, -1.0, 1.0], 3)
}

/// What the corpus is made of: law, name, bytes.
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
        ("menu", "two-entries", menu().to_json().into_bytes()),
        ("menu", "empty", b"{}".to_vec()),
        ("ranking", "best-three", ranking().to_bytes()),
        (
            "trace",
            "uneven",
            b"t_s,kbit_s\n0,8\n1.5,0\n3,1600.25\n".to_vec(),
        ),
        ("trace", "one-step", b"t_s,kbit_s\n7,1\n".to_vec()),
        (
            "ppm",
            "two-pictures",
            b"P6\n2 1\n255\n\x01\x02\x03\x04\x05\x06P6 1 1 255 \x07\x08\x09".to_vec(),
        ),
        ("ppm", "cut-off", b"P6\n4 4\n255\n\x00".to_vec()),
    ]
}

#[test]
fn the_corpus_is_there_and_its_good_samples_are_accepted() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        for (law, name, bytes) in samples() {
            let folder = folder_of(law);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("{name}.bin")), bytes).unwrap();
        }
    }
    let conversation = &corpus("edge")[0];
    edge_connection().receive(Time::ZERO, conversation).unwrap();
    for bytes in corpus("infer") {
        let request = ModelInferRequest::decode(&bytes[..]).unwrap();
        assert_eq!(frames_of_infer(&request, FRAMES_MAX).unwrap(), [frame(1)]);
    }
}

#[test]
fn every_law_holds_for_the_corpus_its_mutants_and_noise() {
    for (seed, (name, law)) in (1..).zip(laws::LAWS) {
        fuzz(name, seed, law);
    }
}
