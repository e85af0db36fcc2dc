//! Pictures that are sent themselves, to an edge that runs the whole network.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use split_runtime::grpc::{Device, DeviceOptions, EdgeAddress, OwnedRequest, Reply};
use split_runtime::{Contract, DeviceConfig, DispatcherConfig};
use split_tensor::{Frame, FrameHeader};

use super::bank::{PICTURES, Rig, SPLIT};
use super::processes::{Edge, device, failure_of, lines_of, output, printed};
use super::{answers, by};

/// A menu with a rung whose head is slow here, a picture, and the device alone, which is slower still.
fn menu(rig: &Rig) -> PathBuf {
    let entry = |name: &str, kind: &str, split: usize, bytes: f64, head_us: u64| {
        json!({"name": name, "kind": kind, "split": split, "rung": 0, "bytes_mean": bytes,
            "bytes_p95": bytes, "accuracy": 90.0, "head_us": head_us, "tail_us": 1000, "tail_each_us": 0})
    };
    let menu = json!({"schema": "split-menu/1", "splits": [SPLIT, "picture", "device"], "entries": [
        entry("fine", "split", 0, 300.0, 60_000_000),
        entry("webp-lossless", "picture", 1, 9000.0, 1000),
        entry("heic-q5", "picture", 1, 10.0, 1000),
        entry("all", "device-only", 2, 0.0, 90_000_000),
    ]});
    let file = rig.models.with_file_name("menu.json");
    std::fs::write(&file, menu.to_string()).unwrap();
    file
}

#[test]
fn the_whole_network_on_the_edge_answers_as_the_unsplit_one() {
    let rig = Rig::new();
    rig.early_model();
    let mut edge = Edge::start(&rig.models, &["--pictures"]);
    edge.said("takes pictures of 64x64 too");
    // JPEG and lossy WebP may change an answer; these may not.
    for rung in ["webp-lossless", "png"] {
        let mut command = device(&rig.model, &edge.address);
        command.args(["--json", "--fallback", "none", "--rung", rung]);
        let lines = lines_of(command.arg(&rig.pictures));
        assert_eq!(answers(&lines), by("edge", &rig.unsplit()), "{rung}");
        for line in &lines {
            assert_eq!(
                (&line["split"], &line["rung"]),
                (&json!("picture"), &json!(rung))
            );
            assert!(line["us"]["head"].is_null(), "{line}");
            assert!(line["bytes"].as_u64().unwrap() > 100, "{line}");
        }
    }
    let mut command = device(&rig.model, &edge.address);
    command.args(["--json", "--fallback", "none", "--rung", "jpeg-420-q90"]);
    let lines = lines_of(command.arg(&rig.pictures));
    assert!(lines.iter().all(|line| line["by"] == "edge"), "{lines:?}");
    edge.drain();
}

#[test]
fn a_policy_sends_pictures_where_the_head_is_too_slow() {
    let rig = Rig::new();
    let menu = menu(&rig);
    for policy in ["own", "throughput", "neurosurgeon", "dynamic-split"] {
        let edge = Edge::start(&rig.models, &["--pictures"]);
        let mut command = device(&rig.model, &edge.address);
        command.args(["--json", "--policy", policy, "--menu"]);
        let lines = lines_of(command.arg(&menu).arg(&rig.pictures));
        // `throughput` begins with what is shortest.
        let (lines, expected) = (&lines[1..], &rig.unsplit()[1..]);
        assert_eq!(answers(lines), by("edge", expected), "{policy}");
        let mut rungs = lines.iter().map(|line| &line["rung"]);
        assert!(rungs.all(|rung| rung == "webp-lossless"), "{lines:?}");
        edge.drain();
    }
}

#[test]
fn an_edge_without_pictures_is_sent_none_and_that_is_said() {
    let rig = Rig::new();
    let edge = Edge::start(&rig.models, &[]);
    let menu = menu(&rig);
    let mut command = device(&rig.model, &edge.address);
    command.args([
        "--json",
        "--policy",
        "throughput",
        "--fallback",
        "none",
        "--menu",
    ]);
    let output_of_policy = output(command.arg(&menu).arg(&rig.pictures));
    let said = String::from_utf8(output_of_policy.stderr).unwrap();
    assert!(said.contains("the edge takes no pictures"), "{said}");
    let printed = String::from_utf8(output_of_policy.stdout).unwrap();
    for line in printed.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_ne!(line["split"], "picture", "{line}");
    }
    // Asked for by name there is nothing else to send.
    let mut command = device(&rig.model, &edge.address);
    command.args(["--json", "--rung", "png"]);
    let lines = lines_of(command.arg(&rig.pictures));
    assert_eq!(answers(&lines), by("device", &rig.unsplit()));
    let why = lines[0]["why"].as_str().unwrap();
    assert!(why.contains("picture"), "{why}");
    edge.drain();
}

#[test]
fn a_picture_is_answered_here_where_the_edge_is_gone() {
    let rig = Rig::new();
    let edge = Edge::start(&rig.models, &["--pictures"]);
    let address = edge.address.clone();
    edge.kill();
    let mut command = device(&rig.model, &address);
    command.args(["--json", "--connect-ms", "50", "--rung", "webp-lossless"]);
    let lines = lines_of(command.args(["--deadline-ms", "1000"]).arg(&rig.pictures));
    assert_eq!(answers(&lines), by("device", &rig.unsplit()));
}

/// A black square as a file.
fn black(side: u32, format: image::ImageFormat) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    let picture = image::RgbImage::new(side, side);
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// A peer that sends what no `split-device` would.
#[test]
fn what_is_no_picture_of_the_models_side_is_refused_and_the_edge_serves_on() {
    let rig = Rig::new();
    let edge = Edge::start(&rig.models, &["--pictures"]);
    let contract = Contract {
        split: "picture".to_owned(),
        unit: 64,
        tables: 0,
        bank: u32::try_from(rig.contract().backbone & 0xffff_ffff).unwrap(),
        rungs: 1,
        ..rig.contract()
    };
    // A square of 8192 is a file of some kilobytes here and 200 MB once decoded.
    let bomb = black(8192, image::ImageFormat::WebP);
    let png = |side| black(side, image::ImageFormat::Png);
    let bodies: [(Vec<u8>, &str); 5] = [
        ([&[0][..], &png(63)].concat(), "63x63"),
        ([&[0][..], &bomb].concat(), "8192x8192"),
        (vec![0, 1, 2, 3], "no JPEG, PNG or WebP"),
        (vec![0], "no JPEG, PNG or WebP"),
        ([&[1][..], &png(64)].concat(), "no picture file"),
    ];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let before = edge.resident_kib();
    runtime.block_on(async {
        let options = DeviceOptions::new(
            vec![EdgeAddress::new(&edge.address)],
            DeviceConfig::new(vec![contract.clone()]),
            DispatcherConfig::new(1),
        );
        let device = Device::start(options).unwrap();
        device.opened(Duration::from_secs(10)).await.unwrap();
        for (payload, expected) in bodies {
            let header = FrameHeader {
                rung: 0,
                bank: contract.bank,
                shape: None,
                checksum: true,
            };
            let body = Frame::new(header, payload).unwrap().to_bytes();
            let request = OwnedRequest {
                split: 0,
                rung: 0,
                budget_us: 5_000_000,
                body,
            };
            match device.request(request).await {
                Err(error) => {
                    let said = error.to_string();
                    assert!(said.contains(expected), "{said}");
                }
                Ok(Reply::Edge(_) | Reply::Device { .. }) => panic!("{expected}: answered"),
            }
        }
    });
    let grown = edge.resident_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "the edge grew by {grown} KiB");
    let mut command = device(&rig.model, &edge.address);
    command.args(["--json", "--fallback", "none", "--rung", "png"]);
    assert_eq!(lines_of(command.arg(&rig.pictures)).len(), PICTURES);
    edge.drain();
}

#[test]
fn pictures_of_a_record_join_the_menu_that_is_measured() {
    let rig = Rig::new();
    let edge = Edge::start(&rig.models, &["--pictures"]);
    let row = |name: &str, kind: &str, bytes: f64, value: f64| json!({"name": name, "kind": kind, "bytes": bytes, "value": value, "device_macs": 0});
    let record = |rows: &[Value]| {
        let record = json!({"schema": "split-ra/1", "rows": rows,
            "backbone": {"name": "embedded", "split": SPLIT, "macs": 30e6, "value": 92.0}});
        let file = rig.models.with_file_name("results.json");
        std::fs::write(&file, record.to_string()).unwrap();
        file
    };
    let file = record(&[
        row("webp q60", "webp", 1500.0, 91.0),
        row("webp q40", "webp", 900.0, 90.0),
        row("jpeg-420 q40", "jpeg", 1400.0, 89.0),
        row("webp q1", "webp", 200.0, 30.0),
    ]);
    let mut command = device(&rig.model, &edge.address);
    command.arg("--picture-record").arg(&file);
    let menu: Value = serde_json::from_str(&printed(command.arg("--print-menu"))).unwrap();
    assert_eq!(menu["splits"], json!([SPLIT, "picture", "device"]));
    let entries = menu["entries"].as_array().unwrap().iter();
    let pictures: Vec<&Value> = entries.filter(|one| one["kind"] == "picture").collect();
    // The JPEG is longer than a WebP of more accuracy, the last one too bad.
    let names: Vec<&str> = pictures
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["webp-q40", "webp-q60"]);
    for one in pictures {
        for time in ["head_us", "tail_us"] {
            let us = one[time].as_u64().unwrap();
            assert!((1..1_000_000).contains(&us), "{one}");
        }
    }
    // Its own policy answers all of them with what there is.
    let mut command = device(&rig.model, &edge.address);
    command.args([
        "--json",
        "--policy",
        "own",
        "--fallback",
        "none",
        "--picture-record",
    ]);
    let lines = lines_of(command.arg(&file).arg(&rig.pictures));
    assert!(lines.iter().all(|line| line["by"] == "edge"), "{lines:?}");
    // What can't be meant is named.
    let refused = |file: &PathBuf, more: &[&str], expected: &str| {
        let mut command = device(&rig.model, &edge.address);
        command
            .args(["--policy", "own", "--picture-record"])
            .arg(file);
        let said = failure_of(command.args(more).arg(&rig.pictures));
        assert!(said.contains(expected), "{said}");
    };
    let menu = self::menu(&rig);
    refused(
        &file,
        &["--menu", menu.to_str().unwrap()],
        "leave out one of them",
    );
    refused(&menu, &[], "split-ra/1");
    refused(&record(&[]), &[], "results.json");
    let other = std::fs::read_to_string(record(&[row("webp q60", "webp", 1500.0, 91.0)])).unwrap();
    std::fs::write(&file, other.replace("\"embedded\"", "\"resnet56\"")).unwrap();
    refused(&file, &[], "of resnet56, the models are of embedded");
    edge.drain();
}
