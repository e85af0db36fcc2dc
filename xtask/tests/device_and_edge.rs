//! `train`, `eval`, `encode` and `decode` as a person types them: each call is a process of its own, and all
//! that passes from one to the next is files.
//!
//! Runs here are as short as they can be: nothing is claimed about accuracy.

#[cfg(test)]
mod commands {
    use std::fs;
    use std::io::Write as _;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output};
    use std::sync::LazyLock;
    use std::time::Duration;

    use records::RaDocument;
    use tempfile::TempDir;

    /// Pictures that the commands test on.
    const PICTURES: &str = "40";

    const SHORT: [&str; 11] = [
        "--units",
        "conv",
        "--target-bytes",
        "300,150",
        "--batch-size",
        "32",
        "--train-pictures",
        "200",
        "--test-pictures",
        PICTURES,
        "--no-rivals",
    ];

    /// Warm-up steps, steps of the first rung, steps of the second: long enough to be interrupted.
    const STEPS: [&str; 3] = ["10", "30", "40"];

    /// A trained bank that all tests of this file read.
    static TRAINED: LazyLock<TempDir> = LazyLock::new(|| {
        let dir = TempDir::new().unwrap();
        let output = output_of(&mut train(dir.path(), "1", STEPS));
        fs::write(dir.path().join("printed.txt"), output.stdout).unwrap();
        dir
    });

    fn lab(subcommand: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.arg(subcommand);
        command
    }

    fn train(out: &Path, seed: &str, [warmup, first, next]: [&str; 3]) -> Command {
        let mut command = lab("train");
        command
            .args(SHORT)
            .args(["--seed", seed, "--warmup-steps", warmup]);
        command
            .args(["--steps", first, "--next-steps", next, "--out"])
            .arg(out);
        command
    }

    fn with_bank(subcommand: &str, bank: &Path) -> Command {
        let mut command = lab(subcommand);
        command.arg("--bank").arg(bank.join("bank.safetensors"));
        command
    }

    fn output_of(command: &mut Command) -> Output {
        let output = command.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{command:?}: {}\n{printed}",
            output.status
        );
        output
    }

    /// What a failing command says.
    fn failure_of(command: &mut Command) -> String {
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{command:?} went well");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Frames of the test pictures, coded on `backend` in a process of their own.
    fn frames_of(bank: &Path, backend: &str) -> TempDir {
        let frames = TempDir::new().unwrap();
        let mut encode = with_bank("encode", bank);
        encode.args([
            "--rung",
            "0",
            "--test-pictures",
            PICTURES,
            "--backend",
            backend,
            "--out",
        ]);
        output_of(encode.arg(frames.path()));
        frames
    }

    /// Classes that `decode` gives for a folder of frames.
    fn decoded(bank: &Path, frames: &Path, backend: &str) -> Vec<String> {
        let mut decode = with_bank("decode", bank);
        let output = output_of(decode.args(["--backend", backend]).arg(frames));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines
            .lines()
            .map(|line| line.rsplit(' ').next().unwrap().to_owned())
            .collect()
    }

    /// Whether this build has wgpu and a driver answers it; says so where only the driver lacks.
    fn answers_wgpu() -> bool {
        if !cfg!(feature = "wgpu") {
            return false;
        }
        let mut list = lab("bench");
        let printed = output_of(list.args(["--list-devices", "--backend", "wgpu"])).stdout;
        let none = String::from_utf8_lossy(&printed).contains("no adapter");
        if none {
            // Straight to the stream: the test runner keeps what is printed.
            let _ = writeln!(std::io::stderr(), "skipped wgpu: no Vulkan driver answers");
        }
        !none
    }

    fn files_in(dir: &Path) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
    }

    #[test]
    fn pictures_of_the_embedded_set_become_files_that_encode_reads() {
        let dir = TempDir::new().unwrap();
        let photos = dir.path().join("photos");
        let mut command = lab("data");
        command.args(["embedded", "--count", "3", "--out"]);
        let output = command.arg(&photos).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut names: Vec<String> = fs::read_dir(&photos)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["0000-bird.png", "0001-car.png", "0002-cat.png"]);
        let drawn = image::open(photos.join("0002-cat.png")).unwrap().to_rgb8();
        let own =
            split_backbone::embedded::pictures(split_backbone::embedded::EmbeddedSplit::Test, 3)
                .unwrap();
        assert_eq!(drawn.as_raw().as_slice(), own.rgb8(2));
    }

    #[test]
    fn training_leaves_bank_record_table_and_plot() {
        let dir = TRAINED.path();
        let text = fs::read_to_string(dir.join("results.json")).unwrap();
        let document = RaDocument::parse(&text).unwrap();
        let units: Vec<_> = document
            .rows
            .iter()
            .filter(|row| row.kind == "unit")
            .collect();
        assert_eq!(units.len(), 2);
        assert!(document.rows.iter().any(|row| row.kind == "device-only"));
        let csv = fs::read_to_string(dir.join("results.csv")).unwrap();
        assert_eq!(csv.lines().count(), document.rows.len() + 1);
        for plot in ["curve.svg", "training.svg"] {
            let svg = fs::read_to_string(dir.join(plot)).unwrap();
            assert!(svg.contains("<svg"), "{plot}: {svg}");
        }
        let metrics = fs::read_to_string(dir.join("metrics.csv")).unwrap();
        for unit in units {
            let start = format!("{},", unit.name);
            let lines = metrics.lines().filter(|line| line.starts_with(&start));
            assert!(lines.count() > 0, "{start} in {metrics}");
        }
        let printed = fs::read_to_string(dir.join("printed.txt")).unwrap();
        for row in &document.rows {
            assert!(
                printed.contains(&row.name),
                "{} is not in the table:\n{printed}",
                row.name
            );
        }
    }

    #[test]
    fn edge_in_another_process_predicts_what_eval_predicts() {
        let bank = TRAINED.path();
        let predictions = TempDir::new().unwrap();
        let mut eval = with_bank("eval", bank);
        eval.args(["--rung", "0", "--test-pictures", PICTURES, "--predictions"]);
        let printed = output_of(eval.arg(predictions.path())).stdout;
        let printed = String::from_utf8(printed).unwrap();
        let expected = fs::read_to_string(&files_in(predictions.path())[0]).unwrap();

        let frames = frames_of(bank, "flex");
        let classes = decoded(bank, frames.path(), "flex");
        assert_eq!(classes, expected.lines().collect::<Vec<_>>());

        let files = files_in(frames.path());
        let bytes: u32 = files
            .iter()
            .map(|file| u32::try_from(fs::read(file).unwrap().len()).unwrap())
            .sum();
        let mean = f64::from(bytes) / f64::from(u32::try_from(files.len()).unwrap());
        assert!(
            printed.contains(&format!("{mean:.1} bytes a frame")),
            "{mean} bytes, but:\n{printed}"
        );
    }

    #[test]
    fn frames_of_each_backend_are_finished_alike_on_every_backend() {
        let bank = TRAINED.path();
        let mut backends = vec!["flex"];
        backends.extend(cfg!(feature = "ndarray").then_some("ndarray"));
        backends.extend(answers_wgpu().then_some("wgpu"));
        for from in &backends {
            let frames = frames_of(bank, from);
            let expected = decoded(bank, frames.path(), "flex");
            for to in &backends[1..] {
                assert_eq!(
                    decoded(bank, frames.path(), to),
                    expected,
                    "coded on {from}, finished on {to}"
                );
            }
        }
    }

    #[test]
    fn broken_frames_are_refused_by_name() {
        let bank = TRAINED.path();
        let frames = frames_of(bank, "flex");
        let file = &files_in(frames.path())[3];
        let mut bytes = fs::read(file).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(file, &bytes).unwrap();
        let said = failure_of(with_bank("decode", bank).arg(file));
        assert!(said.contains("picture-000003.frame"), "{said}");
        bytes.truncate(5);
        fs::write(file, &bytes).unwrap();
        let said = failure_of(with_bank("decode", bank).arg(file));
        assert!(said.contains("picture-000003.frame"), "{said}");
    }

    #[test]
    fn frames_of_another_bank_are_refused() {
        let other = TempDir::new().unwrap();
        output_of(&mut train(other.path(), "2", ["1", "2", "1"]));
        let frames = frames_of(other.path(), "flex");
        let said = failure_of(with_bank("decode", TRAINED.path()).arg(frames.path()));
        assert!(said.contains("bank"), "{said}");
    }

    /// Ctrl-C is a signal that `kill` can send.
    #[cfg(unix)]
    #[test]
    fn interrupted_training_resumes_to_the_same_bank() {
        let dir = TempDir::new().unwrap();
        let mut child = train(dir.path(), "1", STEPS).spawn().unwrap();
        // The first checkpoint is written when the first rung is done, so the second is at work.
        let first = dir.path().join("unit-1.checkpoint");
        for _ in 0..6000 {
            if first.exists() || child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let pid = child.id().to_string();
        output_of(Command::new("kill").args(["-INT", &pid]));
        assert!(
            !child.wait().unwrap().success(),
            "training ended before it was interrupted"
        );
        assert!(!dir.path().join("bank.safetensors").exists());

        output_of(train(dir.path(), "1", STEPS).arg("--resume"));
        let bank = |dir: &Path| fs::read(dir.join("bank.safetensors")).unwrap();
        assert!(
            bank(dir.path()) == bank(TRAINED.path()),
            "the resumed bank differs"
        );
    }

    /// A file system of some kilobytes, gone at the end.
    struct Small(TempDir);

    impl Small {
        /// Nothing where this user may not mount.
        fn mount(kilobytes: usize) -> Option<Self> {
            let dir = TempDir::new().unwrap();
            let mounted = Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={kilobytes}k"), "tmpfs"])
                .arg(dir.path())
                .output();
            mounted
                .is_ok_and(|done| done.status.success())
                .then_some(Self(dir))
        }
    }

    impl Drop for Small {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(self.0.path()).output();
        }
    }

    #[test]
    fn a_full_disk_is_named_and_nothing_stands_half_written() {
        let Some(disk) = Small::mount(200) else {
            let _ = writeln!(
                std::io::stderr(),
                "skipped a full disk: mounting a file system needs root"
            );
            return;
        };
        let out = disk.0.path().join("run");
        let said = failure_of(&mut train(&out, "1", ["0", "2", "1"]));
        assert!(
            said.contains("unit-1.checkpoint") && said.contains("disk full"),
            "{said}"
        );
        let mut left: Vec<_> = fs::read_dir(&out)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["metrics.csv", "run.txt"], "{left:?}");
    }

    #[test]
    fn pictures_of_another_task_are_refused_with_both_numbers() {
        let dir = TempDir::new().unwrap();
        for class in 0..11 {
            for part in ["train", "val"] {
                let folder = dir.path().join(format!("{part}/class-{class:02}"));
                fs::create_dir_all(&folder).unwrap();
                let picture = image::RgbImage::new(64, 64);
                picture.save(folder.join("0.png")).unwrap();
            }
        }
        let data = format!("folder:{}", dir.path().display());
        let mut train = lab("train");
        train.args([
            "--data",
            &data,
            "--backbone",
            "embedded",
            "--split",
            "layer2",
        ]);
        let said = failure_of(
            train
                .args(["--side", "64", "--out"])
                .arg(dir.path().join("out")),
        );
        assert!(
            said.contains("11 folders") && said.contains("10 apart"),
            "{said}"
        );
    }

    #[test]
    fn options_out_of_range_are_refused_before_any_work() {
        let out = TempDir::new().unwrap();
        for (wrong, named) in [
            (["--target-bytes", "nan"], "--target-bytes"),
            (["--target-bytes", "100,200"], "--target-bytes"),
            (["--learning-rate", "nan"], "--learning-rate"),
            (["--batch-size", "0"], "--batch-size"),
            (["--test-pictures", "0"], "--test-pictures"),
            (["--units", "conv,conv"], "--units"),
            (["--step", "0.1,0.2,0.3"], "--step"),
            (["--record", "/nowhere/to/be/found.json"], "--record"),
        ] {
            let mut train = lab("train");
            let said = failure_of(train.args(wrong).arg("--out").arg(out.path()));
            assert!(said.contains(named), "{said}");
        }
        assert!(fs::read_dir(out.path()).unwrap().next().is_none());
    }

    #[test]
    fn who_reads_only_the_first_lines_gets_no_panic() {
        let bank = TRAINED.path();
        let eval = with_bank("eval", bank)
            .args(["--test-pictures", PICTURES])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .and_then(|mut child| {
                drop(child.stdout.take());
                child.wait_with_output()
            })
            .unwrap();
        let said = String::from_utf8_lossy(&eval.stderr);
        assert!(
            eval.status.success() && !said.contains("panicked"),
            "{said}"
        );
    }

    #[test]
    fn wrong_paths_are_named() {
        let out = TempDir::new().unwrap();
        let missing = out.path().join("none");
        let mut train = lab("train");
        train
            .args(["--backbone", "resnet20", "--weights"])
            .arg(&missing);
        let data = format!("cifar10:{}", missing.display());
        let said = failure_of(train.args(["--data", &data, "--out"]).arg(out.path()));
        assert!(said.contains("none"), "{said}");
        let said = failure_of(with_bank("eval", &missing).arg("--rung=0"));
        assert!(said.contains("none"), "{said}");
    }
}
