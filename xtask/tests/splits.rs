//! `splits` as a person types it.

#[cfg(test)]
mod commands {
    use std::process::Command;

    use serde_json::Value;

    fn splits(args: &[&str]) -> Result<String, String> {
        let output = Command::new(env!("CARGO_BIN_EXE_lab"))
            .arg("splits")
            .args(args)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() {
            Ok(text(output.stdout))
        } else {
            Err(text(output.stderr))
        }
    }

    #[test]
    fn json_lists_every_cut_with_exact_counts() {
        let text = splits(&["--model", "resnet56", "--json"]).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["schema"], "split-graph/1");
        assert_eq!(json["macs"], 125_485_696);
        let cuts = json["cuts"].as_array().unwrap();
        let layer1 = cuts.iter().find(|cut| cut["after"] == "layer1").unwrap();
        assert_eq!(layer1["head_macs"], 42_909_696);
        assert_eq!(layer1["split_point"], true);
        assert_eq!(
            layer1["tensors"][0]["shape"],
            serde_json::json!([16, 32, 32])
        );
        for cut in cuts {
            let sum = cut["head_macs"].as_u64().unwrap() + cut["tail_macs"].as_u64().unwrap();
            assert_eq!(sum, 125_485_696);
        }
    }

    #[test]
    fn the_table_names_all_tensors_of_a_pyramid() {
        let text = splits(&["--model", "yolox_nano"]).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("dark5 "))
            .unwrap();
        for tensor in ["dark3 64x52x52", "dark4 128x26x26", "dark5 256x13x13"] {
            assert!(line.contains(tensor), "{line}");
        }
        assert!(
            text.lines().any(|line| line.starts_with("dark3 *")),
            "{text}"
        );
        let narrow = splits(&["--model", "yolox_nano", "--one-tensor"]).unwrap();
        assert!(!narrow.contains("dark4 "), "{narrow}");
    }

    #[test]
    fn units_come_with_the_costs_of_both_sides() {
        let args = ["--model", "resnet56", "--units"];
        let text = splits(&[&args[..], &["--json"]].concat()).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let cuts = json["cuts"].as_array().unwrap();
        let layer2 = cuts.iter().find(|cut| cut["after"] == "layer2").unwrap();
        let units = layer2["units"].as_array().unwrap();
        let conv = units.iter().find(|unit| unit["layout"] == "conv").unwrap();
        // 64 pixels: 9 * 32 * 48 weights, then 9 * 48 * 24.
        assert_eq!(conv["device_macs"], 64 * 9 * (32 * 48 + 48 * 24));
        // The activation of 8192 values, and 48 maps of 64.
        assert_eq!(conv["device_peak_bytes"], 4 * (8192 + 48 * 64));
        for unit in units {
            assert!(unit["edge_parameters"].as_u64().unwrap() > 0, "{unit}");
        }
        let table = splits(&args).unwrap();
        assert!(table.contains("units at layer2"), "{table}");
        assert!(
            table.lines().any(|line| line.starts_with("paper ")),
            "{table}"
        );
    }

    #[test]
    fn a_folder_gets_json_and_a_plot_that_names_the_stages() {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().to_str().unwrap();
        splits(&["--model", "resnet50", "--input", "97x65", "--out", path]).unwrap();
        let svg = std::fs::read_to_string(out.path().join("splits.svg")).unwrap();
        assert!(
            svg.contains("resnet50 on 97x65") && svg.contains("layer3"),
            "{svg}"
        );
        let json = std::fs::read(out.path().join("splits.json")).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["input"], serde_json::json!([3, 97, 65]));
    }

    /// A record of what is counted, and nothing measured, has to hold on every machine.
    #[test]
    fn recorded_cuts_are_what_is_counted() {
        let records = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../benches/records/splits.jsonl"
        );
        let records = std::fs::read_to_string(records).unwrap();
        assert!(records.lines().count() > 0);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new.jsonl");
        for line in records.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let model = line["model"].as_str().unwrap();
            let _ = std::fs::remove_file(&path);
            splits(&["--model", model, "--record", path.to_str().unwrap()]).unwrap();
            let new = std::fs::read_to_string(&path).unwrap();
            let new: Value = serde_json::from_str(&new).unwrap();
            for field in [
                "schema",
                "input",
                "macs",
                "parameters",
                "peak_bytes",
                "cuts",
            ] {
                assert_eq!(new[field], line[field], "{field} of {model}");
            }
            for field in ["command", "git", "date", "machine", "versions", "seed"] {
                assert!(!new[field].is_null(), "{field}");
            }
        }
    }

    #[test]
    fn wrong_arguments_are_answered_with_what_is_right() {
        let error = |args: &[&str]| splits(args).unwrap_err();
        assert!(error(&["--model", "vgg"]).contains("yolox_nano"));
        assert!(error(&["--model", "yolox_nano", "--input", "100x100"]).contains("32"));
        assert!(error(&["--model", "resnet20", "--input", "100"]).contains("HEIGHTxWIDTH"));
    }
}
