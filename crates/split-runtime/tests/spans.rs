//! Spans of both programs as a person starts them, as a collector sees them.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails it where it stands"
)]

#[allow(dead_code, reason = "tests of device and edge use what these leave")]
#[path = "programs/bank.rs"]
mod bank;
#[allow(dead_code, reason = "the tests of the library use the rest")]
#[path = "otel/collector.rs"]
mod collector;
#[allow(dead_code, reason = "tests of device and edge use what these leave")]
#[path = "programs/processes.rs"]
mod processes;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use bank::{PICTURES, Rig, SPLIT};
use collector::{Collector, Seen};
use processes::{Edge, device, lines_of, output};

#[test]
fn each_picture_that_a_device_sends_is_a_span_of_its_own_and_of_the_edges() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let collector = runtime.block_on(Collector::start());
    let endpoint = collector.endpoint();
    let rig = Rig::new();
    let edge = Edge::start(&rig.models, &["--otlp-endpoint", &endpoint]);
    let mut command = device(&rig.model, &edge.address);
    // From the environment, as a pod would set it.
    command.env("SPLIT_DEVICE_OTLP_ENDPOINT", &endpoint);
    let lines = lines_of(command.args(["--json"]).arg(&rig.pictures));
    edge.drain();
    let of = |seen: &[Seen], service: &str, name: &str| -> Vec<Seen> {
        let of = |one: &&Seen| one.service == service && one.name == name;
        seen.iter().filter(of).cloned().collect()
    };
    let all = |seen: &[Seen]| {
        let requests = of(seen, "split-device", "request").len();
        requests >= PICTURES && of(seen, "split-edge", "frame").len() >= PICTURES
    };
    let seen = runtime.block_on(collector.wait_until(all));
    let mut requests = of(&seen, "split-device", "request");
    requests.sort_by_key(|one| one.start);
    assert_eq!(requests.len(), PICTURES);
    for (request, line) in requests.iter().zip(&lines) {
        assert_eq!(line["by"], "edge", "{line}");
        assert_eq!(request.kind, SpanKind::Client);
        assert_eq!(request.text("split.point"), SPLIT);
        assert_eq!(request.text("split.by"), "edge");
        assert_eq!(request.text("split.outcome"), "ok");
        assert_eq!(line["bytes"], request.number("split.frame_bytes"));
        assert_eq!(line["us"]["edge"], request.number("split.compute_us"));
        assert!(request.end > request.start, "{request:?}");
    }
}

#[test]
fn a_collector_that_is_away_costs_a_device_no_picture() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let away = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let rig = Rig::new();
    let edge = Edge::start(&rig.models, &[]);
    let mut command = device(&rig.model, &edge.address);
    command.args(["--fallback", "none", "--otlp-endpoint", &away]);
    let output = output(command.arg(&rig.pictures));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let lost = format!("{PICTURES} spans didn't reach the collector");
    assert!(said.contains(&lost), "{said}");
    edge.drain();
}
