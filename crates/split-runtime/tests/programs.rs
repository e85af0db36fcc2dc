//! `split-edge` and `split-device` as a person starts them: processes, files and a port.
//!
//! Nothing is trained: the backbone is the embedded one, units are principal components of its
//! activations on a few pictures.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails it where it stands"
)]

mod programs {
    mod bank;
    mod certificates;
    mod processes;

    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use bank::{PICTURES, Rig, SPLIT};
    use processes::{Edge, Piped as _, device, eventually, failure_of, lines_of};
    use serde_json::Value;

    /// Classes that the device printed, and who gave them.
    fn answers(lines: &[Value]) -> Vec<(usize, String)> {
        let one = |line: &Value| {
            let class = usize::try_from(line["class"].as_u64().unwrap()).unwrap();
            (class, line["by"].as_str().unwrap().to_owned())
        };
        lines.iter().map(one).collect()
    }

    fn by(who: &str, classes: &[usize]) -> Vec<(usize, String)> {
        classes
            .iter()
            .map(|class| (*class, who.to_owned()))
            .collect()
    }

    #[test]
    fn the_edge_predicts_what_the_bank_predicts_in_one_process() {
        let rig = Rig::new();
        let edge = Edge::start(&rig.models, &[]);
        for (rung, name) in [(0, "coarse"), (1, "fine")] {
            let mut command = device(&rig.model, &edge.address);
            command.args(["--rung", name, "--json"]).arg(&rig.pictures);
            let lines = lines_of(&mut command);
            assert_eq!(
                answers(&lines),
                by("edge", &rig.predictions(rung)),
                "{name}"
            );
            for (line, frame) in lines.iter().zip(rig.frames(rung)) {
                assert_eq!(line["bytes"], frame.len());
                assert_eq!(line["rung"], name);
                for part in ["head", "code", "network", "queue", "edge", "total"] {
                    assert!(line["us"][part].is_u64(), "{part} in {line}");
                }
            }
        }
        let metrics = edge.get("/metrics");
        let done = "split_edge_jobs_total{outcome=\"done\"} ";
        let count = metrics.lines().find_map(|line| line.strip_prefix(done));
        assert_eq!(
            count,
            Some((2 * PICTURES).to_string().as_str()),
            "{metrics}"
        );
        assert!(edge.get("/ready").starts_with("HTTP/1.1 200"));
        edge.drain();
    }

    #[test]
    fn without_an_edge_the_whole_network_answers_and_says_why() {
        let rig = Rig::new();
        let edge = Edge::start(&rig.models, &[]);
        let address = edge.address.clone();
        let watched = device(&rig.model, &address).args(["--json", "-"]).piped();
        let mut watched = watched;
        assert_eq!(watched.ask(&rig.files[0])["by"], "edge");
        edge.kill();
        let line = eventually(|| {
            let line = watched.ask(&rig.files[1]);
            (line["by"] == "device").then_some(line)
        });
        assert_eq!(line["class"], rig.unsplit()[1]);
        assert!(
            line["why"].as_str().unwrap().contains("not connected"),
            "{line}"
        );
        // One that never had an edge.
        let mut command = device(&rig.model, &address);
        command
            .args(["--json", "--connect-ms", "50"])
            .arg(&rig.pictures);
        assert_eq!(
            answers(&lines_of(&mut command)),
            by("device", &rig.unsplit())
        );
        // And one that may not help itself.
        let mut command = device(&rig.model, &address);
        command.args(["--connect-ms", "50", "--fallback", "none"]);
        let said = failure_of(command.arg(&rig.pictures));
        assert!(
            said.contains(&address) && said.contains("--fallback local"),
            "{said}"
        );
        // An edge that comes back is used again.
        let edge = Edge::start_at(&rig.models, &address, &[]);
        eventually(|| (watched.ask(&rig.files[2])["by"] == "edge").then_some(()));
        edge.drain();
    }

    #[test]
    fn an_edge_that_stalls_costs_time_and_no_picture() {
        let rig = Rig::new();
        let edge = Edge::start(&rig.models, &[]);
        let mut command = device(&rig.model, &edge.address);
        command.args([
            "--json",
            "--deadline-ms",
            "1500",
            "--fallback-ms",
            "1000",
            "-",
        ]);
        let mut watched = command.piped();
        eventually(|| (watched.ask(&rig.files[0])["by"] == "edge").then_some(()));
        edge.stall(true);
        let line = watched.ask(&rig.files[1]);
        edge.stall(false);
        assert_eq!(line["by"], "device", "{line}");
        assert_eq!(line["class"], rig.unsplit()[1]);
        assert!(line["why"].as_str().unwrap().contains("in time"), "{line}");
        eventually(|| (watched.ask(&rig.files[2])["by"] == "edge").then_some(()));
        edge.drain();
    }

    #[test]
    fn certificates_are_asked_for_on_both_sides() {
        let rig = Rig::new();
        let files = certificates::Files::new();
        let edge_args = files.edge_args();
        let edge = Edge::start(&rig.models, &edge_args);
        let mut command = device(&rig.model, &edge.address);
        command
            .args(files.device_args())
            .args(["--json", "--fallback", "none"]);
        let lines = lines_of(command.arg(&rig.pictures));
        assert_eq!(answers(&lines), by("edge", &rig.predictions(0)));
        let mut without = device(&rig.model, &edge.address);
        without
            .args(files.trust_args())
            .args(["--fallback", "none"]);
        let said = failure_of(without.arg(&rig.pictures));
        assert!(said.contains("not connected"), "{said}");
        let mut plain = device(&rig.model, &edge.address);
        plain.args(["--fallback", "none"]);
        assert!(failure_of(plain.arg(&rig.pictures)).contains("not connected"));
        let mut half = processes::edge();
        half.arg("--models").arg(&rig.models).args(&edge_args[..2]);
        let said = failure_of(&mut half);
        assert!(
            said.contains("tls-cert and tls-key belong together"),
            "{said}"
        );
        edge.drain();
    }

    #[test]
    fn a_device_with_another_bank_is_refused_by_name() {
        let rig = Rig::new();
        let edge = Edge::start(&rig.models, &[]);
        let other = rig.other_model("other");
        let mut command = device(&other, &edge.address);
        command.args(["--fallback", "none"]);
        let said = failure_of(command.arg(&rig.pictures));
        assert!(
            said.contains("differs in") && said.contains("unit"),
            "{said}"
        );
        assert!(
            said.contains(&format!("the edge serves `{SPLIT}`")),
            "{said}"
        );
        edge.drain();
    }

    #[test]
    fn a_broken_model_keeps_the_old_one_and_a_sound_one_is_swapped_in() {
        let rig = Rig::new();
        let mut edge = Edge::start(&rig.models, &[]);
        let bank = rig.model.join("bank.safetensors");
        let sound = fs::read(&bank).unwrap();
        let ask = |model: &Path, address: &str| {
            let mut command = device(model, address);
            lines_of(command.args(["--json"]).arg(&rig.pictures))
        };
        let kept = rig.copy_of_model("kept");
        fs::write(&bank, &sound[..sound.len() / 2]).unwrap();
        edge.hang_up();
        let said = edge.said("the one loaded before stays");
        assert!(
            said.contains("model pets") && said.contains("not a bank"),
            "{said}"
        );
        let expected = by("edge", &rig.predictions(0));
        assert_eq!(answers(&ask(&kept, &edge.address)), expected);
        // A sound one takes its place; who still has the old one is told, and answers itself.
        let other = rig.other_model("other");
        fs::copy(other.join("bank.safetensors"), &bank).unwrap();
        edge.hang_up();
        edge.said("swapped in");
        assert_eq!(ask(&other, &edge.address)[0]["by"], "edge");
        let line = &ask(&kept, &edge.address)[0];
        assert_eq!(line["by"], "device");
        assert!(
            line["why"].as_str().unwrap().contains("differs in"),
            "{line}"
        );
        edge.drain();
    }

    #[test]
    fn changes_are_found_by_polling_and_a_second_model_is_served_beside_the_first() {
        let rig = Rig::new();
        let mut edge = Edge::start(&rig.models, &["--poll-seconds", "1"]);
        let second = rig.weights_model();
        edge.said("2 models are served");
        let mut command = device(&second, &edge.address);
        let lines = lines_of(command.args(["--json"]).arg(&rig.pictures));
        assert_eq!(lines.len(), PICTURES);
        assert!(lines.iter().all(|line| line["by"] == "edge"), "{lines:?}");
        edge.drain();
    }

    #[test]
    fn a_policy_chooses_and_device_only_sends_nothing() {
        let rig = Rig::new();
        let edge = Edge::start(&rig.models, &[]);
        for policy in ["own", "throughput", "neurosurgeon", "dynamic-split"] {
            let mut command = device(&rig.model, &edge.address);
            command
                .args(["--json", "--policy", policy])
                .arg(&rig.pictures);
            assert_eq!(lines_of(&mut command).len(), PICTURES, "{policy}");
        }
        let mut command = device(&rig.model, &edge.address);
        command
            .args(["--json", "--policy", "device-only"])
            .arg(&rig.pictures);
        let lines = lines_of(&mut command);
        assert_eq!(answers(&lines), by("device", &rig.unsplit()));
        assert!(lines.iter().all(|line| line["bytes"].is_null()));
        edge.drain();
    }

    #[test]
    fn a_drain_ends_though_a_device_stays_connected() {
        let rig = Rig::new();
        let edge = Edge::start(&rig.models, &["--drain-seconds", "1"]);
        let mut watched = device(&rig.model, &edge.address)
            .args(["--json", "-"])
            .piped();
        assert_eq!(watched.ask(&rig.files[0])["by"], "edge");
        edge.drain_within(Duration::from_secs(5));
    }

    #[test]
    fn settings_come_from_file_environment_and_flags_in_this_order() {
        let rig = Rig::new();
        let file = rig.models.with_file_name("edge.toml");
        fs::write(&file, "batch-max = 3\nwaiting-max = 7\ntop = 2\n").unwrap();
        let mut command = processes::edge();
        command.arg("--config").arg(&file);
        command.args(["--print-config", "--top", "4"]);
        command.env("SPLIT_EDGE_WAITING_MAX", "9");
        let printed = processes::printed(&mut command);
        for line in [
            "batch-max = 3",
            "waiting-max = 9",
            "top = 4",
            "poll-seconds = 0",
        ] {
            assert!(
                printed.lines().any(|one| one == line),
                "{line} in {printed}"
            );
        }
        // What was printed is a file that means the same.
        fs::write(&file, &printed).unwrap();
        let mut again = processes::edge();
        again.arg("--config").arg(&file).arg("--print-config");
        assert_eq!(processes::printed(&mut again), printed);
    }

    #[test]
    fn what_is_wrong_is_named_in_one_line() {
        let rig = Rig::new();
        let file = rig.models.with_file_name("wrong.toml");
        fs::write(&file, "\nlisten = \"127.0.0.1:0\"\nbatchmax = 3\n").unwrap();
        let mut command = processes::edge();
        let said = failure_of(command.arg("--config").arg(&file));
        assert!(
            said.contains("wrong.toml, line 3") && said.contains("batchmax"),
            "{said}"
        );
        let mut command = processes::edge();
        let said = failure_of(
            command
                .args(["--listen", "nowhere"])
                .arg("--models")
                .arg(&file),
        );
        assert!(
            said.contains("listen") && said.contains("HOST:PORT"),
            "{said}"
        );
        let said = failure_of(&mut processes::edge());
        assert!(
            said.contains("--models") && said.contains("SPLIT_EDGE_MODELS"),
            "{said}"
        );
        let missing = rig.models.join("none");
        let said = failure_of(device(&missing, "127.0.0.1:1").arg(&rig.pictures));
        assert!(said.contains("none has no model.toml"), "{said}");
        let said = failure_of(
            device(&rig.model, "127.0.0.1:1")
                .args(["--rung", "x"])
                .arg(&rig.pictures),
        );
        assert!(
            said.contains("no rung x") && said.contains("coarse, fine"),
            "{said}"
        );
        fs::write(rig.model.join("model.toml"), "weights = \"../x\"").unwrap();
        let mut command = processes::edge();
        let said = failure_of(command.arg("--models").arg(&rig.models));
        assert!(said.contains("leaves the model's folder"), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
}
