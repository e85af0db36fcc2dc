//! What must hold for any bytes that come over the network or out of a file that others made. Each law
//! is a plain function: the fuzz targets call it with what the fuzzer finds, the test `grpc` with the
//! corpus and seeded mutants of it.

#![allow(dead_code, reason = "every target uses its own law")]

#[path = "../src/bin/split-device/ppm.rs"]
mod ppm;

use prost::Message as _;
use split_runtime::grpc::wire::inference::ModelInferRequest;
use split_runtime::grpc::{DevicePem, EdgePem, answer_http, frames_of_infer};
use split_runtime::sim::Trace;
use split_runtime::{
    Contract, DeviceConfig, DeviceConnection, EdgeConfig, EdgeConnection, MAX_MENU_BYTES,
    MAX_TRANSMIT_BYTES, Menu, Ranking, Time,
};

/// A law with the name of its target and of its corpus.
pub(crate) type Law = (&'static str, fn(&[u8]));

/// All laws.
pub(crate) const LAWS: [Law; 9] = [
    ("edge", edge),
    ("device", device),
    ("infer", infer),
    ("http", http),
    ("pem", pem),
    ("menu", menu),
    ("ranking", ranking),
    ("trace", trace),
    ("ppm", ppm),
];

/// Most frames of a request here.
pub(crate) const FRAMES_MAX: usize = 4;

/// Later than every time-out.
const LATE: Time = Time::from_us(200_000_000);

/// What both ends of the corpus's conversation agree on.
pub(crate) fn contract() -> Contract {
    Contract {
        backbone: 0xb0b0,
        split: "layer1".to_owned(),
        unit: 0x11,
        tables: 0x22,
        bank: 7,
        rungs: 8,
    }
}

pub(crate) fn edge_connection() -> EdgeConnection {
    let config = EdgeConfig::new(vec![contract()]);
    EdgeConnection::new(config, Time::ZERO).expect("a sound configuration")
}

pub(crate) fn device_connection() -> DeviceConnection {
    let config = DeviceConfig::new(vec![contract()]);
    DeviceConnection::new(config, Time::ZERO).expect("a sound configuration")
}

/// An edge refuses by closing, answers within its bound, and holds nothing in the end.
pub(crate) fn edge(bytes: &[u8]) {
    let mut edge = edge_connection();
    let refused = edge.receive(Time::ZERO, bytes).is_err();
    assert_eq!(refused, edge.is_closed());
    let mut out = Vec::new();
    edge.poll_transmit(&mut out);
    assert!(out.len() <= MAX_TRANSMIT_BYTES);
    edge.handle_timeout(LATE);
    assert!(edge.is_closed());
    assert_eq!(edge.in_flight(), 0);
}

/// A device that refuses is closed, and gives a silent edge up.
pub(crate) fn device(bytes: &[u8]) {
    let mut device = device_connection();
    let refused = device.receive(Time::ZERO, bytes).is_err();
    assert!(!refused || device.is_closed());
    device.handle_timeout(LATE);
    assert!(device.is_closed());
}

/// A request of the Open Inference Protocol gives frames, or the code for what is wrong with it.
pub(crate) fn infer(bytes: &[u8]) {
    let Ok(request) = ModelInferRequest::decode(bytes) else {
        return;
    };
    match frames_of_infer(&request, FRAMES_MAX) {
        Ok(frames) => assert!((1..=FRAMES_MAX).contains(&frames.len())),
        Err(status) => assert_eq!(status.code(), tonic::Code::InvalidArgument),
    }
}

/// Any head of a request gets an answer whose length is the one it names.
pub(crate) fn http(bytes: &[u8]) {
    let answer = answer_http(bytes, true, || "metrics".to_owned());
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head with an end");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length
        .expect("a length")
        .parse()
        .expect("a number of bytes");
    assert!(body.len() == length || body.is_empty());
}

/// What is no certificate and key is refused; as roots anything gives a configuration or a reason.
pub(crate) fn pem(bytes: &[u8]) {
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
}

/// A menu that is read writes the menu that is read again.
pub(crate) fn menu(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(menu) = Menu::parse_json(text) else {
        return;
    };
    assert!(text.len() <= MAX_MENU_BYTES);
    let written = menu.to_json();
    let again = Menu::parse_json(&written).expect("what a menu writes is a menu");
    assert_eq!(again.to_json(), written);
}

/// A link whose rates are read lets every message through, later the longer it is.
pub(crate) fn trace(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(trace) = Trace::parse_csv(text) else {
        return;
    };
    for start in [0, 1, trace.length_ns() / 2, trace.length_ns() * 3 + 1] {
        for scale in [1, 250, 1000] {
            let ends =
                [0, 1, 12_000, 1 << 30].map(|bits| trace.transmit_end_ns(start, bits, scale));
            assert!(ends[0] >= start);
            assert!(ends.is_sorted(), "{start} x{scale}: {ends:?}");
        }
    }
}

/// An answer that is read writes the bytes that it was read from.
pub(crate) fn ranking(bytes: &[u8]) {
    if let Ok(ranking) = Ranking::parse(bytes) {
        assert_eq!(ranking.to_bytes(), bytes);
    }
}

/// Pictures of a pipe follow each other until it ends or breaks, each within its bounds and of as many bytes as
/// were there.
pub(crate) fn ppm(bytes: &[u8]) {
    let mut pipe = bytes;
    while let Ok(Some(picture)) = ppm::read(&mut pipe) {
        let (width, height) = picture.dimensions();
        assert!(width <= ppm::MAX_SIDE && height <= ppm::MAX_SIDE);
        assert!(width * height <= ppm::MAX_PIXELS && picture.len() < bytes.len());
    }
}
