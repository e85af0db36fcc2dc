//! `bench networks`: uncut networks and the heap of head and unit, without pictures and weights.

#[cfg(test)]
mod networks {
    use std::fs;
    use std::process::{Command, Output};

    use records::{SpeedLine, check_line};
    use tempfile::TempDir;

    /// Two small networks on small inputs.
    fn bench(more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.args(["bench", "networks", "--repeats", "2", "--side", "32"]);
        command.args(["--models", "resnet20,yolox_nano"]);
        command.args(more).output().unwrap()
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn each_network_has_its_lines_and_head_and_unit_hold_no_more_than_the_bar() {
        let dir = TempDir::new().unwrap();
        let record = dir.path().join("networks.jsonl");
        let path = record.to_str().unwrap();
        let output = bench(&["--batch", "1,2", "--json", "--record", path]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let printed = text(&output.stdout);
        assert_eq!(printed, fs::read_to_string(&record).unwrap());
        for line in printed.lines() {
            check_line(line).unwrap();
        }
        let lines = SpeedLine::parse_all(&printed).unwrap();
        let found: Vec<_> = lines
            .iter()
            .map(|line| (line.model.as_str(), line.what.as_str(), line.batch))
            .collect();
        let expected = ["resnet20", "yolox_nano"]
            .map(|model| {
                [
                    (model, "forward", 1),
                    (model, "forward", 2),
                    (model, "head-unit", 1),
                ]
            })
            .concat();
        assert_eq!(found, expected);
        for line in &lines {
            let heap = line.heap_peak_bytes.unwrap();
            assert!(heap > 0 && line.ms_median > 0.0, "{line:?}");
            let Some(ratio) = line.heap_ratio else {
                assert_eq!((line.what.as_str(), &line.split), ("forward", &None));
                continue;
            };
            assert_eq!(line.threads, 1);
            let needed = line.live_bytes.unwrap() + line.workspace_bytes.unwrap();
            assert!(
                (ratio - heap as f64 / needed as f64).abs() < 1e-9,
                "{line:?}"
            );
            // A detector's maps are smaller than its weights at this side.
            if line.model == "resnet20" {
                assert_eq!(line.split.as_deref(), Some("layer2"));
                // Basic blocks: three maps alive, three shifted copies of one as working space.
                assert_eq!(line.live_bytes, Some(3 * 16 * 32 * 32 * 4));
                assert_eq!(line.workspace_bytes, Some(3 * 16 * 34 * 32 * 4));
                assert!(ratio <= 1.5, "{line:?}");
            }
        }

        let output = bench(&["--batch", "1", "--compare", path]);
        let error = text(&output.stderr);
        // Slower or not: what matters is that both networks were found again.
        let said = text(&output.stdout);
        assert!(
            said.contains("resnet20 forward on flex at batch 1"),
            "{said} {error}"
        );
        assert!(
            said.contains("yolox_nano head-unit on flex"),
            "{said} {error}"
        );
    }

    #[test]
    fn what_cannot_be_timed_is_said_before_anything_is() {
        for (more, expected) in [
            (&["--models", "alexnet"][..], "alexnet"),
            (&["--side", "40", "--models", "yolox_nano"], "--side"),
            (&["--split", "dark3"], "resnet20 is cut at stem, layer1.0"),
        ] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
            command.args(["bench", "networks"]);
            if !more.contains(&"--models") {
                command.args(["--models", "resnet20"]);
            }
            let output = command.args(more).output().unwrap();
            assert!(!output.status.success());
            assert!(text(&output.stdout).lines().count() <= 1);
            let error = text(&output.stderr);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn pytorch_and_onnx_runtime_compute_the_same_where_they_are() {
        let output = bench(&["--batch", "2", "--json", "--peers", "python3"]);
        let error = text(&output.stderr);
        if error.contains("starting Python") {
            eprintln!("skipped: no python3 here");
            return;
        }
        assert!(output.status.success(), "{error}");
        let lines = SpeedLine::parse_all(&text(&output.stdout)).unwrap();
        for model in ["resnet20", "yolox_nano"] {
            let peers = lines
                .iter()
                .filter(|line| line.model == model && line.peer.is_some())
                .inspect(|line| assert!(line.ratio_peer.unwrap() > 0.0, "{line:?}"))
                .count();
            // Each network says what is missing; numpy alone can be, which both engines need.
            let left_out = error.matches("peer left out").count();
            assert!(
                left_out.is_multiple_of(2)
                    && (peers + left_out / 2 == 2 || (peers == 0 && left_out == 2)),
                "{peers}: {error}"
            );
        }
    }
}
