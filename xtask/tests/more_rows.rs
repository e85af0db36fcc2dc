//! `train --baselines --continuous`, further layouts and `search`, as short as they can be: nothing is
//! claimed about accuracy.

#[cfg(test)]
mod commands {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;
    use std::process::{Command, Output};

    use records::RaDocument;
    use serde_json::Value;
    use tempfile::TempDir;

    const FEW: [&str; 6] = [
        "--train-pictures",
        "160",
        "--test-pictures",
        "40",
        "--batch-size",
        "16",
    ];

    fn lab(subcommand: &str, out: &Path, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.arg(subcommand).args(FEW).args(more);
        command.arg("--out").arg(out).output().unwrap()
    }

    fn succeed(output: &Output) -> String {
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{printed}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    fn baselines_and_continuous_rungs_become_rows_of_their_kinds() {
        let dir = TempDir::new().unwrap();
        let short = [
            "--units",
            "conv,klt,light",
            "--rate",
            "laplace",
            "--target-bytes",
            "200",
            "--steps",
            "6",
            "--warmup-steps",
            "2",
            "--no-rivals",
            "--no-flips",
            "--baselines",
            "--continuous",
        ];
        let printed = succeed(&lab("train", dir.path(), &short));
        assert!(printed.contains("Pareto front"), "{printed}");
        let text = fs::read_to_string(dir.path().join("results.json")).unwrap();
        let document = RaDocument::parse(&text).unwrap();
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for row in &document.rows {
            *kinds.entry(&row.kind).or_default() += 1;
        }
        let expected = [
            ("clip-quantize", 4),
            ("continuous", 12),
            ("huffman", 3),
            ("int4", 2),
            ("int8", 2),
            ("int8-encoder", 3),
            ("pca", 10),
            ("step-only", 6),
            ("unit", 3),
        ];
        for (kind, count) in expected {
            assert_eq!(kinds.get(kind), Some(&count), "{kind}: {kinds:?}");
        }
        let row = |name: &str| document.rows.iter().find(|row| row.name == name).unwrap();
        // A byte a value and the frame around it; four bits take half of that.
        let raw = row("raw activation").bytes;
        assert!((row("int8").bytes - raw / 4.0).abs() < 0.01 * raw);
        assert!((row("int4").bytes - raw / 8.0).abs() < 0.01 * raw);
        assert!(row("int8 coded").bytes < row("int8").bytes);
        // Eight bits and fine principal components leave the network as it was.
        assert!((row("int8").value - document.backbone.value).abs() <= 5.0);
        assert!((row("pca-1").value - document.backbone.value).abs() <= 5.0);
        assert!(row("pca-10").bytes < row("pca-1").bytes);
        assert!(row("light-1").device_macs < row("unit-1").device_macs);
        let names = ["continuous-1", "continuous-12"].map(|name| row(name).bytes);
        assert!(names[1] < names[0], "{names:?}");
        assert!(dir.path().join("continuous.safetensors").exists());
        // An encoder in integers changes a symbol here and there.
        for unit in ["unit-1", "klt-1", "light-1"] {
            let integers = row(&format!("int8-encoder {unit}")).bytes;
            let ratio = integers / row(unit).bytes;
            assert!((0.95..1.05).contains(&ratio), "{unit}: {ratio}");
        }
    }

    /// A run of published bottlenecks in seconds.
    const FEW_STEPS: [&str; 8] = [
        "--steps",
        "3",
        "--next-steps",
        "2",
        "--warmup-steps",
        "1",
        "--no-rivals",
        "--no-flips",
    ];

    #[test]
    fn published_bottlenecks_can_be_named_and_rungs_can_end_in_other_ways() {
        let dir = TempDir::new().unwrap();
        let named = [
            "--target-bytes",
            "200,100",
            "--published",
            "cr-bq,entropic-student",
            "--averaging",
            "0.9",
            "--weight-decay",
            "1e-4",
            "--finish-steps",
            "1",
            "--units",
        ];
        succeed(&lab(
            "train",
            dir.path(),
            &[&FEW_STEPS[..], &named].concat(),
        ));
        let text = fs::read_to_string(dir.path().join("results.json")).unwrap();
        let document = RaDocument::parse(&text).unwrap();
        let count = |kind: &str| document.rows.iter().filter(|row| row.kind == kind).count();
        let found = ["cr-bq", "bottlenet-pp", "entropic-student"].map(count);
        assert_eq!(found, [5, 0, 2]);
    }

    #[test]
    fn published_bottlenecks_need_no_unit_beside_them() {
        let dir = TempDir::new().unwrap();
        let all = ["--published", "--units"];
        succeed(&lab("train", dir.path(), &[&FEW_STEPS[..], &all].concat()));
        let text = fs::read_to_string(dir.path().join("results.json")).unwrap();
        let document = RaDocument::parse(&text).unwrap();
        for kind in ["cr-bq", "bottlenet-pp"] {
            let rows: Vec<_> = document
                .rows
                .iter()
                .filter(|row| row.kind == kind)
                .collect();
            assert_eq!(rows.len(), 5, "{kind}");
            // At most a byte a value, eight by eight of them for each channel: pictures that take fewer bits are sent in fewer.
            for (row, channels) in rows.iter().zip([1.0, 2.0, 3.0, 6.0, 9.0]) {
                let apart = row.bytes_payload.unwrap() / (64.0 * channels);
                assert!((0.4..1.1).contains(&apart), "{}: {apart}", row.name);
            }
        }
        // Its encoder stands in the place of the head, which is not counted.
        let raw = document.rows.iter().find(|row| row.kind == "raw").unwrap();
        let students: Vec<_> = document
            .rows
            .iter()
            .filter(|row| row.kind == "entropic-student")
            .collect();
        assert_eq!(students.len(), 4);
        for row in students {
            assert!(row.device_params < row.unit_params, "{}", row.name);
            assert_ne!(row.device_macs, raw.device_macs, "{}", row.name);
        }
        let output = lab("train", dir.path(), &["--units"]);
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("--units names no layout"), "{said}");
    }

    #[test]
    fn weights_that_nobody_would_read_are_refused() {
        let dir = TempDir::new().unwrap();
        let output = lab("train", dir.path(), &["--weights", "mine.safetensors"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains("--weights is not read"),
            "{said}"
        );
    }

    #[test]
    fn a_search_goes_on_where_it_stopped_and_refuses_other_options() {
        let dir = TempDir::new().unwrap();
        let short = [
            "--trials", "3", "--rounds", "2", "--steps", "4", "--seed", "2",
        ];
        let printed = succeed(&lab("search", dir.path(), &short));
        let path = dir.path().join("search.json");
        let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let outcomes = whole["outcomes"].as_array().unwrap();
        assert_eq!(outcomes.len(), 3 + 2, "{printed}");
        assert!(dir.path().join("search.svg").exists());

        // As if it had stopped after the first outcome of the second round.
        let mut cut = whole.clone();
        cut["outcomes"].as_array_mut().unwrap().truncate(4);
        fs::write(&path, cut.to_string()).unwrap();
        let mut again = short.to_vec();
        again.push("--resume");
        succeed(&lab("search", dir.path(), &again));
        let resumed: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let bare = |journal: &Value| -> Vec<Value> {
            let mut outcomes = journal["outcomes"].as_array().unwrap().clone();
            for one in &mut outcomes {
                one["train_s"] = Value::Null;
            }
            outcomes
        };
        assert_eq!(bare(&resumed), bare(&whole));

        again[7] = "3";
        let other = lab("search", dir.path(), &again);
        assert!(!other.status.success());
        let printed = String::from_utf8_lossy(&other.stderr);
        assert!(printed.contains("other options"), "{printed}");
    }
}
