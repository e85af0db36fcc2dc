//! What one client may ask for, and what that leaves to the others.

use super::bank::Rig;
use super::certificates::Files;
use super::processes::{self, Edge, Piped as _, Watched, device, failure_of};

/// A device that shows this certificate and answers nothing itself.
fn watched(rig: &Rig, edge: &Edge, identity: &[&str]) -> Watched {
    let mut command = device(&rig.model, &edge.address);
    command.args(identity);
    command.args(["--json", "--fallback", "none", "-"]);
    command.piped()
}

/// One frame takes what a minute gives, so that the next one fits in a minute only: later than any deadline
/// here, however slow the machine.
#[test]
fn a_greedy_device_is_told_which_limit_it_met_and_a_modest_one_is_answered() {
    let rig = Rig::new();
    let files = Files::new();
    assert!(rig.frames(0).iter().all(|frame| frame.len() > 60));
    let mut args = files.edge_args().to_vec();
    args.extend(["--client-bytes-per-second", "1"]);
    args.extend(["--client-burst-seconds", "60"]);
    let edge = Edge::start(&rig.models, &args);
    let mut greedy = watched(&rig, &edge, &files.device_args());
    let mut modest = watched(&rig, &edge, &files.other_device_args());
    assert_eq!(greedy.ask(&rig.files[0])["by"], "edge");
    let refused = |line: &serde_json::Value| {
        assert!(line["by"].is_null(), "{line}");
        let why = line["why"].as_str().unwrap();
        for part in [
            "this client's rate of bytes is spent",
            "try again after",
            " ms",
        ] {
            assert!(why.contains(part), "{part} in {why}");
        }
    };
    refused(&greedy.ask(&rig.files[1]));
    refused(&greedy.ask(&rig.files[2]));
    assert_eq!(modest.ask(&rig.files[0])["by"], "edge");
    refused(&greedy.ask(&rig.files[3]));
    edge.drain();
}

#[test]
fn limits_of_clients_come_from_all_three_places_and_are_checked() {
    let rig = Rig::new();
    let file = rig.models.with_file_name("edge.toml");
    let text = "client-in-flight-max = 3\nclient-compute-percent = 7\n";
    std::fs::write(&file, text).unwrap();
    let mut command = processes::edge();
    command.arg("--config").arg(&file).arg("--print-config");
    command.args(["--client-in-flight-max", "4"]);
    command.env("SPLIT_EDGE_CLIENT_FRAMES_PER_SECOND", "5");
    let printed = processes::printed(&mut command);
    for line in [
        "client-in-flight-max = 4",
        "client-frames-per-second = 5",
        "client-bytes-per-second = 16000000",
        "client-compute-percent = 7",
        "client-burst-seconds = 5",
    ] {
        let found = printed.lines().any(|one| one == line);
        assert!(found, "{line} in {printed}");
    }
    for (name, value) in [
        ("client-in-flight-max", "0"),
        ("client-frames-per-second", "1000001"),
        ("client-compute-percent", "10001"),
        ("client-burst-seconds", "0"),
    ] {
        let mut command = processes::edge();
        command.arg(format!("--{name}")).arg(value);
        let said = failure_of(command.arg("--models").arg(&rig.models));
        assert!(
            said.contains(&format!("{name} = {value}, allowed are")),
            "{said}"
        );
    }
}
