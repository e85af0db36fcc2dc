//! `cargo xtask bench link` as a person starts it, on the smallest grid.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails it where it stands"
)]

#[allow(dead_code, reason = "tests of device and edge use what these leave")]
#[path = "programs/bank.rs"]
mod bank;

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output};

use bank::Rig;
use serde_json::Value;

/// Requests of each measurement.
const REQUESTS: u64 = 4;

fn bench(rig: &Rig, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_split-link"));
    let bank = rig.model.join("bank.safetensors");
    command.arg("--bank").arg(bank);
    command.args(["--requests", &REQUESTS.to_string()]);
    command.args(args).output().unwrap()
}

/// The lines of a run that has to go well.
fn lines(rig: &Rig, args: &[&str]) -> Vec<Value> {
    let record = rig.pictures.join("link.jsonl");
    let shown = record.to_str().unwrap();
    let output = bench(rig, &[args, &["--record", shown]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = fs::read_to_string(record).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn check(lines: &[Value], how: &str, rtt_ms: f64) {
    let modes: Vec<&str> = lines
        .iter()
        .map(|line| line["mode"].as_str().unwrap())
        .collect();
    assert_eq!(modes, ["split", "picture", "device-only"]);
    for line in lines {
        assert_eq!(line["schema"], "split-link/1");
        assert_eq!(line["how"], how);
        assert_eq!(line["n"], REQUESTS);
        assert_eq!(line["failed"], 0, "{line}");
        let p50_ms = line["p50_ms"].as_f64().unwrap();
        let over_link = line["mode"] != "device-only";
        assert!(!over_link || p50_ms >= rtt_ms, "{line}");
        assert!(p50_ms < 5_000.0, "{line}");
        // Frames and files went over the link that was measured, and nothing where none should.
        let carried = line["carried_up"].as_f64().unwrap();
        let bytes = line["bytes"].as_f64().unwrap();
        assert!(!over_link || carried >= bytes, "{line}");
    }
}

#[test]
fn three_ways_are_measured_over_a_proxy() {
    let rig = Rig::new();
    let args = ["--how", "proxy", "--kbit", "2000", "--rtt-ms", "40"];
    check(&lines(&rig, &args), "proxy", 40.0);
}

/// Whether this user may make what a link needs: containers often have the tools and not the rights.
fn may_make_links() -> bool {
    let name = format!("probe-{}", std::process::id());
    let device = format!("tun{}", std::process::id());
    let made = format!(
        "ip netns add {name} && ip tuntap add dev {device} mode tun && \
         ip link set {device} netns {name} && ip -n {name} link set {device} up && \
         ip netns exec {name} sh -c 'echo 1 > /proc/sys/net/ipv4/tcp_no_metrics_save'"
    );
    let works = |script: &str| {
        let output = Command::new("sh").args(["-c", script]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let may = works(&made);
    works(&format!("ip netns del {name}; ip link del {device}"));
    may
}

#[test]
fn three_ways_are_measured_between_namespaces_and_nothing_stays_behind() {
    if !may_make_links() {
        // Straight to the stream: the test runner keeps what is printed.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: links between namespaces need `ip`, TUN and the right to make them"
        );
        return;
    }
    let rig = Rig::new();
    let args = ["--how", "netns", "--kbit", "2000", "--rtt-ms", "40"];
    check(
        &lines(&rig, &[&args[..], &["--loss", "1"]].concat()),
        "netns",
        40.0,
    );
    let left = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let left = String::from_utf8(left.stdout).unwrap();
    assert!(!left.contains("split-link-"), "{left}");
}

#[test]
fn what_cannot_be_measured_is_named() {
    let rig = Rig::new();
    let said = |args: &[&str]| {
        let output = bench(&rig, args);
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let loss = said(&["--how", "proxy", "--loss", "1"]);
    assert!(loss.contains("a proxy loses no packets"), "{loss}");
    let rung = said(&["--rung", "finest"]);
    assert!(rung.contains("finest"), "{rung}");
    let rate = said(&["--kbit", "0"]);
    assert!(rate.contains("--kbit 0, allowed are 1"), "{rate}");
}

/// What completions of `cargo xtask` ask for.
#[test]
fn its_options_are_known_to_who_completes_them() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_split-link"));
    let output = command.arg("--print-options").output().unwrap();
    let known: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut options = known["options"].as_array().unwrap().iter();
    let found = options.find(|option| option["long"] == "kbit").unwrap();
    assert_eq!(found["takes_value"], true);
    assert_eq!(known["commands"], Value::Array(Vec::new()));
}
