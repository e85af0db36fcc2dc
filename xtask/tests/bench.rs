//! `bench`: every step is timed and recorded, and a step that became slower is found.

#[cfg(test)]
mod bench {
    use std::fs;
    use std::path::Path;
    use std::process::{Command, Output};

    use records::{SpeedLine, check_line};
    use serde_json::Value;
    use tempfile::TempDir;

    fn bench(more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.args(["bench", "--batch", "2", "--repeats", "3"]);
        command.args(more).output().unwrap()
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// The record with all times multiplied.
    fn scaled(lines: &str, factor: f64, path: &Path) {
        let scaled: String = lines
            .lines()
            .map(|line| {
                let mut line: Value = serde_json::from_str(line).unwrap();
                for field in ["ms_median", "ms_p25", "ms_p75"] {
                    line[field] = (factor * line[field].as_f64().unwrap()).into();
                }
                format!("{line}\n")
            })
            .collect();
        fs::write(path, scaled).unwrap();
    }

    #[test]
    fn each_step_is_a_line_of_its_schema_and_regressions_end_in_an_error() {
        let dir = TempDir::new().unwrap();
        let record = dir.path().join("speed.jsonl");
        let output = bench(&["--json", "--record", record.to_str().unwrap()]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let printed = text(&output.stdout);
        assert_eq!(printed, fs::read_to_string(&record).unwrap());
        for line in printed.lines() {
            check_line(line).unwrap();
            let line: Value = serde_json::from_str(line).unwrap();
            assert!(line["ms_first"].as_f64().unwrap() > 0.0, "{line}");
            assert!(line["heap_peak_bytes"].as_u64().unwrap() > 0, "{line}");
        }
        let steps: Vec<String> = SpeedLine::parse_all(&printed)
            .unwrap()
            .into_iter()
            .map(|line| line.what)
            .collect();
        let expected = [
            "forward",
            "head",
            "unit-encoder",
            "unit-encode",
            "quantize-code",
            "code",
            "decode",
            "unit-decode",
            "tail",
            "split",
            "train-step",
            "feature-step",
        ];
        assert_eq!(steps, expected);
        let remarks = text(&output.stderr);
        assert!(
            remarks.contains("cached activations on flex at batch 2"),
            "{remarks}"
        );

        let faster = dir.path().join("faster.jsonl");
        scaled(&printed, 1e-3, &faster);
        let output = bench(&["--compare", faster.to_str().unwrap()]);
        assert!(!output.status.success());
        let error = text(&output.stderr);
        assert!(error.contains("12 of 12 steps became slower"), "{error}");
        let slower = dir.path().join("slower.jsonl");
        scaled(&printed, 1e3, &slower);
        let output = bench(&["--compare", slower.to_str().unwrap()]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains(": faster"));
    }

    #[test]
    fn a_record_that_cannot_be_compared_is_refused() {
        let dir = TempDir::new().unwrap();
        let empty = dir.path().join("empty.jsonl");
        fs::write(&empty, "").unwrap();
        let broken = dir.path().join("broken.jsonl");
        fs::write(&broken, "{}\n").unwrap();
        for (path, expected) in [
            (empty, "no step of this run"),
            (broken, "line 1"),
            (dir.path().join("none.jsonl"), "none.jsonl"),
        ] {
            let output = bench(&["--compare", path.to_str().unwrap()]);
            assert!(!output.status.success());
            let error = text(&output.stderr);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_regression_does_not_become_the_next_base() {
        let dir = TempDir::new().unwrap();
        let record = dir.path().join("speed.jsonl");
        let path = record.to_str().unwrap();
        let output = bench(&["--json"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        scaled(&text(&output.stdout), 1e-3, &record);
        let before = fs::read(&record).unwrap();
        let output = bench(&["--record", path, "--compare", path]);
        assert!(!output.status.success());
        let error = text(&output.stderr);
        assert!(error.contains("nothing was appended"), "{error}");
        assert_eq!(fs::read(&record).unwrap(), before);
    }

    #[cfg(feature = "remote")]
    #[test]
    fn tensors_over_burn_remote_give_our_scores_and_take_at_least_their_size() {
        let output = bench(&["--json", "--burn-remote"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines = SpeedLine::parse_all(&text(&output.stdout)).unwrap();
        let bytes = |what: &str| {
            let line = lines
                .iter()
                .find(|line| line.peer.as_ref().is_some_and(|peer| peer.contains(what)))
                .unwrap();
            assert_eq!(line.what, "split");
            line.peer_wire_bytes.unwrap()
        };
        // 32 channels of 16x16 and 3 of 64x64, as f32.
        let (activation, picture) = (32.0 * 256.0 * 4.0, 3.0 * 4096.0 * 4.0);
        assert!((activation..2.0 * activation).contains(&bytes("activation sent")));
        assert!((picture..2.0 * picture).contains(&bytes("picture sent")));
    }

    #[cfg(not(feature = "remote"))]
    #[test]
    fn a_build_without_burn_remote_says_how_to_get_it() {
        let output = bench(&["--burn-remote"]);
        assert!(!output.status.success());
        let error = text(&output.stderr);
        assert!(error.contains("cargo xtask bench --burn-remote"), "{error}");
    }

    #[test]
    fn what_python_lacks_is_said_and_what_it_has_is_timed() {
        let output = bench(&["--json", "--peers", "python3"]);
        let error = text(&output.stderr);
        if error.contains("starting Python") {
            eprintln!("skipped: no python3 here");
            return;
        }
        assert!(output.status.success(), "{error}");
        let lines = SpeedLine::parse_all(&text(&output.stdout)).unwrap();
        let peers = lines
            .iter()
            .filter_map(|line| Some((line.peer.as_ref()?, line)));
        let mut count = 0;
        for (peer, line) in peers {
            assert!(["forward", "code", "decode"].contains(&line.what.as_str()));
            assert!(line.ratio_peer.unwrap() > 0.0, "{peer}");
            // CompressAI stands beside two steps.
            if line.what != "decode" {
                count += 1;
            }
        }
        // numpy alone can be missing, or any of them, or nothing.
        let left_out = error.matches("peer left out").count();
        assert!(
            count + left_out == 3 || (count == 0 && left_out == 1),
            "{count}: {error}"
        );
    }
}
