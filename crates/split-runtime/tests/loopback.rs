//! The bench of the transport, in a short run: each transport answers, and each line is whole.

use std::process::Command;

use serde_json::Value;

#[test]
fn every_transport_is_timed_and_memory_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("runtime.jsonl");
    let mut command = Command::new(env!("CARGO_BIN_EXE_split-loopback"));
    command.args([
        "--rounds", "1", "--millis", "20", "--frames", "2000", "--record",
    ]);
    let output = command.arg(&record).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(&record).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    // Raw TCP in the clear, three others in three ways; one and many in flight; and memory.
    assert_eq!(lines.len(), 2 * (1 + 3 * 3) + 1);
    for line in &lines {
        for field in [
            "p50_us",
            "p99_us",
            "per_s",
            "ratio_raw_tcp",
            "ratio_tonic_echo",
        ] {
            assert!(line[field].as_f64().unwrap() > 0.0, "{field} in {line}");
        }
    }
    let last = &lines[lines.len() - 1];
    assert_eq!(
        (&last["what"], &last["frames"]),
        (&"memory".into(), &2000.into())
    );
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("2000 frames at 64 in flight"), "{printed}");
}

/// What completions of `cargo xtask` ask for.
#[test]
fn its_options_are_known_to_who_completes_them() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_split-loopback"));
    let output = command.arg("--print-options").output().unwrap();
    let known: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut options = known["options"].as_array().unwrap().iter();
    let found = options.find(|option| option["long"] == "rounds").unwrap();
    assert_eq!(found["takes_value"], true);
    assert_eq!(known["commands"], Value::Array(Vec::new()));
}
