//! `privacy`: each rung of a bank is a line with what an attacker restored, beside rate and accuracy.

#[cfg(test)]
mod privacy {
    use std::fs;
    use std::path::Path;
    use std::process::{Command, Output};

    use records::check_line;
    use serde_json::Value;
    use tempfile::TempDir;

    const FEW: [&str; 4] = ["--train-pictures", "160", "--test-pictures", "40"];

    fn lab(subcommand: &str, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.arg(subcommand).args(FEW).args(more);
        command.output().unwrap()
    }

    fn text(path: &Path) -> &str {
        path.to_str().unwrap()
    }

    #[test]
    fn rungs_and_the_raw_activation_become_lines_and_rows_of_the_sheet() {
        let dir = TempDir::new().unwrap();
        let short = [
            "--units",
            "conv",
            "--target-bytes",
            "300,100",
            "--steps",
            "6",
        ];
        let rest = [
            "--warmup-steps",
            "2",
            "--next-steps",
            "6",
            "--no-rivals",
            "--no-flips",
        ];
        let batch = ["--batch-size", "16", "--out", text(dir.path())];
        let trained = lab("train", &[&short[..], &rest[..], &batch[..]].concat());
        assert!(
            trained.status.success(),
            "{}",
            String::from_utf8_lossy(&trained.stderr)
        );
        let at = |name: &str| dir.path().join(name);
        let (bank, record, sheet) = (at("bank.safetensors"), at("privacy.jsonl"), at("sheet.png"));
        let options = [
            "--bank",
            text(&bank),
            "--steps",
            "10",
            "--record",
            text(&record),
        ];
        let small = ["--batch-size", "8", "--hidden", "16", "--blocks", "1"];
        let more = ["--sheet", text(&sheet)];
        let output = lab("privacy", &[&options[..], &small[..], &more[..]].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let lines: Vec<Value> = fs::read_to_string(&record)
            .unwrap()
            .lines()
            .map(|line| {
                check_line(line).unwrap();
                serde_json::from_str(line).unwrap()
            })
            .collect();
        let mut kinds: Vec<&str> = lines
            .iter()
            .map(|line| line["kind"].as_str().unwrap())
            .collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["raw", "unit", "unit"]);
        for line in &lines {
            let number = |field: &str| line[field].as_f64().unwrap();
            // Too short to restore anything, long enough for figures that can be.
            assert!((3.0..60.0).contains(&number("psnr_db")), "{line}");
            assert!((-1.0..=1.0).contains(&number("ssim")), "{line}");
            assert!((5.0..30.0).contains(&number("psnr_mean_db")), "{line}");
            assert!(number("bytes") > 20.0, "{line}");
        }
        let sheet = image::open(&sheet).unwrap();
        // Eight pictures of 64 x 64, and a row each for the pictures, two rungs and the activation.
        assert_eq!((sheet.width(), sheet.height()), (8 * 64, 4 * 64));
    }

    #[test]
    fn a_missing_bank_is_named() {
        let output = lab("privacy", &["--bank", "nowhere.safetensors"]);
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("nowhere.safetensors"), "{error}");
    }
}
