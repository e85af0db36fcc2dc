//! A device that has several cuts of one network.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::bank::{PICTURES, Rig, SPLIT};
use super::processes::{
    Edge, Piped as _, device, device_alone, eventually, failure_of, lines_of, output, printed,
};

/// Folders as one argument.
fn folders(models: &[&PathBuf]) -> PathBuf {
    let shown: Vec<String> = models
        .iter()
        .map(|model| model.display().to_string())
        .collect();
    PathBuf::from(shown.join(","))
}

fn of_both(rig: &Rig, early: &PathBuf, edge: &Edge, more: &[&str]) -> Command {
    let mut command = device(&folders(&[&rig.model, early]), &edge.address);
    command.args(["--json", "--fallback", "none"]).args(more);
    command.arg(&rig.pictures);
    command
}

fn chosen(lines: &[Value]) -> Vec<(&str, &str)> {
    lines
        .iter()
        .map(|line| {
            (
                line["split"].as_str().unwrap(),
                line["rung"].as_str().unwrap(),
            )
        })
        .collect()
}

#[test]
fn a_policy_chooses_among_the_rungs_of_all_cuts() {
    let rig = Rig::new();
    let early = rig.early_model();
    let edge = Edge::start(&rig.models, &[]);
    // Begins with the shortest frame, and with time to spare goes on with the most accurate one.
    let lines = lines_of(&mut of_both(
        &rig,
        &early,
        &edge,
        &["--policy", "throughput"],
    ));
    assert_eq!(lines.len(), PICTURES);
    assert!(lines.iter().all(|line| line["by"] == "edge"), "{lines:?}");
    let chosen = chosen(&lines);
    assert_eq!(chosen[0].1, "coarse");
    assert!(
        chosen[1..].iter().all(|one| *one == ("layer1", "fine")),
        "{chosen:?}"
    );
    // Its own policy has all of them too.
    let lines = lines_of(&mut of_both(&rig, &early, &edge, &["--policy", "own"]));
    assert!(lines.iter().all(|line| line["by"] == "edge"), "{lines:?}");
    edge.drain();
}

#[test]
fn the_device_alone_answers_whatever_cut_was_chosen() {
    let rig = Rig::new();
    let early = rig.early_model();
    let edge = Edge::start(&rig.models, &[]);
    let address = edge.address.clone();
    edge.kill();
    let mut command = device(&folders(&[&rig.model, &early]), &address);
    command.args(["--json", "--connect-ms", "50", "--policy", "throughput"]);
    let lines = lines_of(command.arg(&rig.pictures));
    let classes: Vec<usize> = lines
        .iter()
        .map(|line| usize::try_from(line["class"].as_u64().unwrap()).unwrap())
        .collect();
    assert_eq!(classes, rig.unsplit());
}

#[test]
fn a_cut_that_the_edge_does_not_serve_is_left_out_and_named() {
    let rig = Rig::new();
    let edge = Edge::start(&rig.models, &[]);
    // After the edge looked.
    let early = rig.early_model();
    let mut command = of_both(&rig, &early, &edge, &["--policy", "throughput"]);
    let output = output(&mut command);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("serves no layer1"), "{said}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let lines = printed.lines().map(serde_json::from_str);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>().unwrap();
    assert_eq!(lines.len(), PICTURES);
    assert!(
        lines
            .iter()
            .all(|line| line["by"] == "edge" && line["split"] == SPLIT),
        "{lines:?}"
    );
    edge.drain();
}

#[test]
fn what_edges_serve_is_heeded_from_picture_to_picture() {
    let rig = Rig::new();
    let edge = Edge::start(&rig.models, &[]);
    let early = rig.early_model();
    let mut command = device(&folders(&[&rig.model, &early]), &edge.address);
    command.args(["--json", "--fallback", "none", "--policy", "throughput"]);
    let mut device = command.arg("-").piped();
    let line = eventually(|| {
        let line = device.ask(&rig.files[0]);
        (line["by"] == "edge").then_some(line)
    });
    assert_eq!(line["split"], SPLIT, "{line}");
    // The next edge serves the other cut too, whose rungs are more accurate.
    let address = edge.address.clone();
    edge.kill();
    let edge = Edge::start_at(&rig.models, &address, &[]);
    eventually(|| (device.ask(&rig.files[1])["split"] == "layer1").then_some(()));
    drop(device);
    edge.drain();
}

#[test]
fn a_measured_menu_names_all_cuts_and_is_taken_back() {
    let rig = Rig::new();
    let early = rig.early_model();
    let edge = Edge::start(&rig.models, &[]);
    let mut command = device(&folders(&[&rig.model, &early]), &edge.address);
    let text = printed(command.arg("--print-menu"));
    let menu: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        menu["splits"],
        serde_json::json!([SPLIT, "layer1", "device"])
    );
    let entries = menu["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 5);
    for entry in entries {
        assert!(entry["head_us"].as_u64().unwrap() > 0, "{entry}");
        let ratio = entry["bytes_p95"].as_f64().unwrap() / entry["bytes_mean"].as_f64().unwrap();
        match entry["split"].as_u64() {
            // The bank doesn't say; 1.3 is assumed.
            Some(0) => assert!((ratio - 1.3).abs() < 1e-9, "{entry}"),
            Some(1) => assert!((ratio - 1.5).abs() < 1e-9, "{entry}"),
            _ => assert_eq!(entry["kind"], "device-only"),
        }
    }
    // Without the edge that was named there is nothing to measure.
    let mut command = device(&folders(&[&rig.model, &early]), "127.0.0.1:1");
    command.args(["--print-menu", "--connect-ms", "50"]);
    let said = failure_of(&mut command);
    assert!(said.contains("leave --edge out"), "{said}");
    let file = rig.models.with_file_name("menu.json");
    std::fs::write(&file, text).unwrap();
    let more = ["--policy", "throughput", "--menu", file.to_str().unwrap()];
    let lines = lines_of(&mut of_both(&rig, &early, &edge, &more));
    assert_eq!(chosen(&lines)[PICTURES - 1], ("layer1", "fine"));
    edge.drain();
}

#[test]
fn models_that_are_no_cuts_of_one_network_are_refused() {
    let rig = Rig::new();
    let refused = |models: &[&PathBuf], policy: &str, expected: &str| {
        let mut command = device_alone(&folders(models));
        command.args(["--policy", policy]).arg(&rig.pictures);
        let said = failure_of(&mut command);
        assert!(said.contains(expected), "{said}");
    };
    let (early, drawn, same) = (
        rig.early_model(),
        rig.weights_model(),
        rig.copy_of_model("copy"),
    );
    refused(&[&rig.model, &drawn], "own", "cuts of one network");
    refused(&[&rig.model, &same], "own", "cut at layer2 too");
    refused(&[&rig.model, &early], "fixed", "give one --model");
}
