//! `train` and `eval` on a detector as a person types them, with real weights and pictures.
//!
//! Runs here are as short as they can be: nothing is claimed about accuracy.

#[cfg(test)]
mod commands {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use records::RaDocument;

    /// The folder of real weights and pictures, where there is one.
    fn assets(test: &str) -> Option<PathBuf> {
        let named = std::env::var_os("SPLIT_ASSETS").map(PathBuf::from);
        let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/assets");
        let path = named.unwrap_or_else(beside).join("detection");
        if path.is_dir() {
            return Some(path);
        }
        eprintln!(
            "skipped {test}: no folder {}; set SPLIT_ASSETS",
            path.display()
        );
        None
    }

    fn lab(command: &str, assets: &Path, pictures: &str) -> Command {
        let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
        lab.arg(command)
            .arg("--data")
            .arg(format!("coco:{}", assets.display()))
            .arg("--weights")
            .arg(assets.join("weights/yolox_nano_fused.safetensors"))
            .args(["--side", "96", "--draws", "4"])
            .args(["--test-pictures", pictures]);
        lab
    }

    fn train(assets: &Path, out: &Path, more: &[&str]) -> Command {
        let mut train = lab("train", assets, "3");
        train
            .args([
                "--views",
                "12",
                "--batch-size",
                "4",
                "--target-bytes",
                "900,500",
            ])
            .args([
                "--warmup-steps",
                "3",
                "--pyramid-steps",
                "2",
                "--steps",
                "2",
            ])
            .args(["--next-steps", "2", "--qualities", "10,30", "--out"])
            .arg(out)
            .args(more);
        train
    }

    fn printed(command: &mut Command) -> String {
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}\n{error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn failure(command: &mut Command) -> String {
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{command:?} went well");
        String::from_utf8(output.stderr).unwrap()
    }

    #[test]
    fn a_detector_is_trained_measured_recorded_and_measured_again() {
        let Some(assets) = assets("a_detector_is_trained_measured_recorded") else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let (out, record) = (dir.path().join("run"), dir.path().join("record.json"));
        let more = ["--record", record.to_str().unwrap()];
        let table = printed(&mut train(&assets, &out, &more));
        assert!(
            table.contains("unit-2") && table.contains("webp-original q30"),
            "{table}"
        );

        let document = RaDocument::parse(&fs::read_to_string(&record).unwrap()).unwrap();
        assert_eq!(document.backbone.metric, "map");
        assert_eq!(document.backbone.split, "dark3");
        assert!(document.backbone.value > 0.0);
        let row = |name: &str| document.rows.iter().find(|row| row.name == name).unwrap();
        let unit = row("unit-1");
        let head = document.backbone.macs * 0.3;
        assert!(unit.device_macs.unwrap() > head, "{unit:?}");
        assert!(unit.bytes > unit.bytes_payload.unwrap(), "{unit:?}");
        assert!(unit.more.contains_key("difference_low"), "{unit:?}");
        assert!((row("webp-lossless").value - document.backbone.value).abs() < 1e-12);
        for kind in ["webp", "jpeg", "webp-original", "jpeg-original"] {
            let count = document.rows.iter().filter(|row| row.kind == kind).count();
            assert_eq!(count, 2, "{kind}");
        }
        // More levels, more bytes.
        let bytes = |bits: u8| row(&format!("clip-quantize {bits} bit")).bytes;
        assert!(bytes(2) < bytes(4) && bytes(4) < bytes(6));
        assert!(
            fs::read_to_string(out.join("curve.svg"))
                .unwrap()
                .contains("mAP")
        );

        // The same bank in a process of its own gives the same frames and boxes.
        let bank = out.join("bank.safetensors");
        let mut eval = lab("eval", &assets, "3");
        let text = printed(eval.args(["--rung", "unit-1", "--bank"]).arg(&bank));
        let expected = format!("{:.1} bytes a frame", unit.bytes);
        assert!(text.contains(&expected), "{expected}: {text}");
        let expected = format!("mAP {:.4}", unit.value);
        assert!(text.contains(&expected), "{expected}: {text}");

        // All checkpoints are there, so a resumed run ends with the same bank.
        let before = fs::read(&bank).unwrap();
        printed(&mut train(&assets, &out, &["--resume"]));
        assert!(fs::read(&bank).unwrap() == before);
    }

    #[test]
    fn three_scales_are_trained_and_measured_in_frames_of_three_segments() {
        let Some(assets) = assets("three_scales_are_trained_and_measured") else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("run");
        let table = printed(&mut train(
            &assets,
            &out,
            &["--split", "dark5", "--latent-channels", "24", "--no-rivals"],
        ));
        assert!(table.contains("cut at dark5"), "{table}");
        let text = fs::read_to_string(out.join("results.json")).unwrap();
        let document = RaDocument::parse(&text).unwrap();
        assert_eq!(document.backbone.split, "dark5");
        let row = |name: &str| document.rows.iter().find(|row| row.name == name).unwrap();
        // Half of the network runs in front of the cut; three linear maps add a little.
        let share = row("klt-1").device_macs.unwrap() / document.backbone.macs;
        assert!((0.5..0.56).contains(&share), "{share}");
        // All three tensors: 64x12x12, 128x6x6 and 256x3x3 floats.
        assert!((row("raw activation").bytes - 64_512.0).abs() < 1e-9);
        let mut eval = lab("eval", &assets, "3");
        let text = printed(eval.arg("--bank").arg(out.join("bank.safetensors")));
        let expected = format!("{:.1} bytes a frame", row("klt-2").bytes);
        assert!(text.contains(&expected), "{expected}: {text}");
    }

    #[test]
    fn wrong_detector_arguments_are_answered_with_what_is_right() {
        let Some(assets) = assets("wrong_detector_arguments") else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let error = |more: &[&str]| failure(&mut train(&assets, dir.path(), more));
        assert!(error(&["--split", "dark4"]).contains("dark3"));
        assert!(error(&["--backbone", "yolox"]).contains("yolox_nano"));
        let scales = |more: &[&str]| error(&[&["--split", "dark5"], more].concat());
        assert!(scales(&["--units", "conv"]).contains("only --units klt"));
        assert!(scales(&["--stride", "2"]).contains("leave out --stride"));
        assert!(scales(&["--latent-channels", "2"]).contains("each of the 3 tensors"));
        assert!(error(&["--resume"]).contains("--resume needs a run"));
        let photos = assets.join("val2017");
        let text = error(&["--photos", photos.to_str().unwrap()]);
        assert!(text.contains("is a test picture"), "{text}");
        let mut eval = lab("eval", &assets, "3");
        let text = failure(eval.args(["--bank", "no/such"]));
        assert!(text.contains("no/such"), "{text}");
    }
}
