//! `cargo xtask plan`, seen from outside, over the records of the workspace.

#[cfg(test)]
mod plan {
    use std::fs;

    use assert_cmd::Command;

    /// A weak device, a strong edge and a narrow link.
    const PLACE: [&str; 9] = [
        "plan",
        "ra-embedded",
        "--edge-mmacs",
        "10000",
        "--kbit",
        "30",
        "--rtt-ms",
        "20",
        "--device-mmacs=100",
    ];

    fn plan(more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(PLACE).args(more);
        command
    }

    fn output(mut command: Command) -> (bool, String, String) {
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.success(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    #[test]
    fn words_and_json_say_the_same() {
        let (_, words, _) = output(plan(&["--points-lost", "5"]));
        let (success, json, _) = output(plan(&["--points-lost", "5", "--json"]));
        assert!(success);
        let plan: serde_json::Value = serde_json::from_str(&json).unwrap();
        let choice = &plan["choice"];
        let total = [
            "head_ms",
            "unit_ms",
            "code_ms",
            "link_ms",
            "tail_ms",
            "decode_ms",
        ]
        .iter()
        .map(|part| choice[*part].as_f64().unwrap())
        .sum::<f64>();
        assert!((total - choice["total_ms"].as_f64().unwrap()).abs() < 1e-9);
        assert!(choice["loss_points"].as_f64().unwrap() <= 5.0);
        assert!(words.contains(choice["name"].as_str().unwrap()), "{words}");
    }

    #[test]
    fn goal_out_of_reach_fails_and_still_explains() {
        let (success, words, error) = output(plan(&["--deadline-ms", "1"]));
        assert!(!success);
        assert!(
            words.starts_with("Nothing meets an answer within 1.00 ms"),
            "{words}"
        );
        assert_eq!(error, "error: no way meets the goal\n");
    }

    #[test]
    fn timed_lines_replace_entered_speeds() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("speed.jsonl");
        let line = serde_json::json!({"schema": "split-speed/1", "command": "c", "git": "g",
        "date": "2026-11-25", "machine": {"cpu": "test cpu", "cores": 2, "os": "linux"}, "versions": {},
        "seed": 0, "what": "forward", "model": "embedded", "backend": "flex", "device": "d",
        "batch": 1, "threads": 2, "ms_median": 30.0, "ms_p25": 29.0, "ms_p75": 31.0, "n": 15});
        fs::write(&file, format!("{line}\n")).unwrap();
        let path = file.to_str().unwrap();
        let with = |backend: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
            command.args(&PLACE[..8]).args(["--deadline-ms", "500"]);
            command.args(["--device-speed", path, "--device-backend", backend]);
            output(command)
        };
        let (success, words, error) = with("flex");
        assert!(success, "{error}");
        assert!(
            words.contains("measured 2026-11-25: embedded on flex, test cpu"),
            "{words}"
        );
        let (success, _, error) = with("wgpu");
        assert!(!success);
        assert!(error.contains("there are: embedded on flex"), "{error}");
    }

    #[test]
    fn missing_and_impossible_arguments_are_named() {
        for (args, expected) in [
            (
                &["--device-ms", "5", "--deadline-ms", "5"][..],
                "cannot be used with",
            ),
            (&[], "no goal"),
            (&["--deadline-ms=-1"], "deadline (ms) is -1"),
            (
                &["--deadline-ms", "5", "--packet-loss", "0.9"],
                "share of lost packets is 0.9",
            ),
            (
                &["no-such-record", "--deadline-ms", "5"],
                "no-such-record.json",
            ),
            (
                &[
                    "--deadline-ms",
                    "5",
                    "--value-min",
                    "1",
                    "--points-lost",
                    "1",
                ],
                "cannot be used with",
            ),
        ] {
            let (success, _, error) = output(plan(args));
            assert!(!success && error.contains(expected), "{args:?}: {error}");
        }
    }
}
