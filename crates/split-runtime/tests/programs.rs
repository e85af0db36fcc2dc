//! `split-edge` and `split-device` as a person starts them: processes, files and a port.
//!
//! Nothing is trained: the backbone is the embedded one, units are principal components of its
//! activations on a few pictures.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails it where it stands"
)]

mod programs {
    mod bank;
    mod certificates;
    mod clients;
    mod cuts;
    mod guide;
    mod hedging;
    mod in_flight;
    mod manifests;
    mod processes;
    mod proxy;
    mod side_by_side;
    mod video;
    mod whole;

    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use bank::{PICTURES, Rig, SPLIT};
    use processes::{Edge, Piped as _, device, eventually, failure_of, lines_of};
    use serde_json::Value;
    use split_runtime::{
        BatchKey, Contract, EdgeConfig, HubConfig, JobError, SchedulerConfig, grpc,
    };

    /// For devices that no edge takes: the wait for one is in vain.
    const SOON: [&str; 2] = ["--connect-ms", "2000"];

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
        // A frame may still be under way when the connection goes.
        let line = eventually(|| {
            let line = watched.ask(&rig.files[1]);
            let why = line["why"].as_str()?;
            why.contains("not connected").then_some(line)
        });
        assert_eq!(line["by"], "device", "{line}");
        assert_eq!(line["class"], rig.unsplit()[1]);
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
            .args(["--fallback", "none"])
            .args(SOON);
        let said = failure_of(without.arg(&rig.pictures));
        assert!(said.contains("not connected"), "{said}");
        let mut plain = device(&rig.model, &edge.address);
        plain.args(["--fallback", "none"]).args(SOON);
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
        command.args(["--fallback", "none"]).args(SOON);
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
        let mut command = device(&kept, &edge.address);
        let lines = lines_of(command.args(["--json"]).args(SOON).arg(&rig.pictures));
        let line = &lines[0];
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
        for policy in ["own", "neurosurgeon", "dynamic-split"] {
            let mut command = device(&rig.model, &edge.address);
            command
                .args(["--json", "--policy", policy])
                .arg(&rig.pictures);
            assert_eq!(lines_of(&mut command).len(), PICTURES, "{policy}");
        }
        let mut command = device(&rig.model, &edge.address);
        command.args(["--json", "--policy", "own", "--fallback", "none"]);
        let lines = lines_of(command.arg(&rig.pictures));
        assert!(lines.iter().all(|line| line["by"] == "edge"), "{lines:?}");
        // `throughput` begins with the shortest rung and, with time to spare, goes on with the best one. The
        // device alone is as accurate and comes later in the menu, so it isn't allowed here.
        let mut command = device(&rig.model, &edge.address);
        command.args(["--json", "--policy", "throughput", "--fallback", "none"]);
        let lines = lines_of(command.arg(&rig.pictures));
        let rungs: Vec<&str> = lines
            .iter()
            .map(|line| line["rung"].as_str().unwrap())
            .collect();
        assert_eq!(rungs, ["coarse", "fine", "fine", "fine", "fine", "fine"]);
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
    fn shells_learn_the_options_of_both_programs() {
        for (mut command, option) in [
            (processes::edge(), "--tls-device-roots"),
            (processes::device_alone(Path::new("none")), "--deadline-ms"),
        ] {
            let script = processes::printed(command.args(["--completions", "bash"]));
            assert!(
                script.contains(option) && script.contains("complete -F"),
                "{script}"
            );
        }
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

    /// Lines of the log of an edge that name a problem of a model.
    fn refused(edge: &mut Edge, model: &str) -> String {
        edge.said(&format!("model {model}: "))
    }

    #[test]
    fn a_model_too_many_and_a_twin_are_named_and_the_edge_serves_on() {
        let rig = Rig::new();
        let mut edge = Edge::start(&rig.models, &["--poll-seconds", "1"]);
        // Before `pets` in order: what is served already stays.
        let twin = rig.models.join("copy");
        fs::create_dir(&twin).unwrap();
        for name in ["bank.safetensors", "model.toml"] {
            fs::copy(rig.model.join(name), twin.join(name)).unwrap();
        }
        let said = refused(&mut edge, "copy");
        assert!(said.contains("the same as model pets"), "{said}");
        fs::remove_dir_all(&twin).unwrap();
        for index in 0..16_u8 {
            rig.add_model(&format!("more{index:02}"), 3.0 + f32::from(index) / 8.0);
        }
        let said = edge.said("at most 16 models");
        assert!(said.contains("model more15: "), "{said}");
        let mut command = device(&rig.model, &edge.address);
        let lines = lines_of(command.args(["--json"]).arg(&rig.pictures));
        assert_eq!(answers(&lines), by("edge", &rig.predictions(0)));
        // It takes the place of one that goes.
        fs::remove_dir_all(rig.models.join("more03")).unwrap();
        let mut command = device(&rig.models.join("more15"), &edge.address);
        let lines = lines_of(command.args(["--json"]).arg(&rig.pictures));
        assert_eq!(lines[0]["by"], "edge", "{lines:?}");
        edge.drain();
    }

    #[test]
    fn an_edge_starts_with_what_is_sound_and_names_the_rest() {
        let rig = Rig::new();
        let broken = rig.models.join("broken");
        fs::create_dir(&broken).unwrap();
        fs::write(broken.join("model.toml"), "").unwrap();
        fs::write(broken.join("bank.safetensors"), "none").unwrap();
        let mut edge = Edge::start(&rig.models, &["--poll-seconds", "1"]);
        let said = refused(&mut edge, "broken");
        assert!(said.contains("warning"), "{said}");
        let mut command = device(&rig.model, &edge.address);
        let lines = lines_of(command.args(["--json"]).arg(&rig.pictures));
        assert_eq!(answers(&lines), by("edge", &rig.predictions(0)));
        // Files below the folder of a model are watched as well.
        fs::create_dir(broken.join("files")).unwrap();
        let sound = rig.other_model("other").join("bank.safetensors");
        fs::copy(sound, broken.join("files/bank.safetensors")).unwrap();
        fs::write(
            broken.join("model.toml"),
            "bank = \"files/bank.safetensors\"\n",
        )
        .unwrap();
        edge.said("2 models are served");
        edge.drain();
    }

    #[test]
    fn a_drain_is_heard_behind_any_number_of_reloads() {
        let rig = Rig::new();
        let edge = Edge::start(&rig.models, &[]);
        for _ in 0..30 {
            edge.hang_up();
        }
        edge.drain();
    }

    #[test]
    fn renewed_certificates_are_found_by_polling() {
        let rig = Rig::new();
        let files = certificates::Files::new();
        let mut args = files.edge_args().to_vec();
        args.extend(["--poll-seconds", "1"]);
        let mut edge = Edge::start(&rig.models, &args);
        files.forget_devices();
        edge.said("certificates are read again");
        let mut command = device(&rig.model, &edge.address);
        command.args(files.device_args());
        command.args(["--fallback", "none"]).args(SOON);
        let said = failure_of(command.arg(&rig.pictures));
        assert!(said.contains("not connected"), "{said}");
        edge.drain();
    }

    /// No time is kept for the local answer, so that it begins when the deadline has passed.
    #[test]
    fn a_late_answer_of_the_device_is_an_answer_and_marked() {
        let rig = Rig::new();
        let edge = Edge::start(&rig.models, &[]);
        let late = ["--deadline-ms", "300", "--fallback-ms", "0"];
        let mut command = device(&rig.model, &edge.address);
        let mut json = command.args(late).args(["--json", "-"]).piped();
        eventually(|| (json.ask(&rig.files[0])["by"] == "edge").then_some(()));
        let mut command = device(&rig.model, &edge.address);
        let mut text = command.args(late).arg("-").piped();
        let asked = rig.files[0].as_os_str().as_encoded_bytes();
        eventually(|| text.ask_text(asked).contains("  by edge").then_some(()));
        edge.stall(true);
        let line = json.ask(&rig.files[1]);
        let printed = text.ask_text(asked);
        edge.stall(false);
        assert_eq!(line["by"], "device", "{line}");
        assert_eq!(line["class"], rig.unsplit()[1], "{line}");
        assert_eq!(line["late"], true, "{line}");
        assert!(line["us"]["local"].is_u64(), "{line}");
        assert!(printed.contains("  late  "), "{printed}");
        // Soon it answers in time again.
        eventually(|| {
            let line = json.ask(&rig.files[1]);
            (line["by"] == "edge" && line["late"] == false).then_some(())
        });
        edge.drain();
    }

    /// An edge with that model whose tail gives these answers, one after the other.
    fn foreign_edge(
        contract: Contract,
        mut answers: Vec<Result<Vec<u8>, JobError>>,
    ) -> (tokio::runtime::Runtime, grpc::Edge) {
        let key = BatchKey {
            backbone: contract.backbone,
            split: 0,
            shape: [1, 1, 1],
        };
        let hub = HubConfig {
            connection: EdgeConfig::new(vec![contract]),
            scheduler: SchedulerConfig::new(50, 10),
            keys: vec![key.into()],
            connections_max: 4,
        };
        let tail = move |bodies: Vec<Vec<u8>>| answers.drain(..bodies.len()).collect();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let model = grpc::model_fn(tail);
        let edge = runtime.block_on(grpc::Edge::start(grpc::EdgeOptions::new(hub), model));
        (runtime, edge.unwrap())
    }

    #[test]
    fn an_answer_that_cannot_be_read_and_a_refusal_are_said_and_made_up_for() {
        let rig = Rig::new();
        let refusal = || Err(JobError::BadFrame("not of ours".to_owned()));
        let given = vec![Ok(vec![9, 0]), refusal()];
        let (_runtime, edge) = foreign_edge(rig.contract(), given);
        let mut command = device(&rig.model, &edge.address().to_string());
        command.args(["--json"]).args(&rig.files[..2]);
        let lines = lines_of(&mut command);
        assert_eq!(answers(&lines), by("device", &rig.unsplit()[..2]));
        for (line, why) in lines.iter().zip(["answer of format 9", "not of ours"]) {
            assert!(line["why"].as_str().unwrap().contains(why), "{line}");
        }
    }

    #[test]
    fn what_holds_no_picture_costs_none_of_the_others() {
        let rig = Rig::new();
        let empty = rig.models.with_file_name("empty");
        fs::create_dir(&empty).unwrap();
        let mut command = processes::device_alone(&rig.model);
        command.args(["--json", "--policy", "device-only"]);
        command.arg(&rig.files[0]).arg(&empty).arg(&rig.files[1]);
        let output = processes::output(&mut command);
        assert_eq!(output.status.code(), Some(1));
        let printed = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = printed
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1]["by"].is_null() && lines[1]["why"].is_string());
        assert_eq!(lines[2]["by"], "device");
        let mut command = processes::device_alone(&rig.model);
        let mut watched = command
            .args(["--json", "--policy", "device-only", "-"])
            .piped();
        assert!(watched.ask_bytes(b"no\xffpath.png")["by"].is_null());
        assert_eq!(watched.ask(&rig.files[0])["by"], "device");
        let (code, said) = watched.end_by("-TERM");
        assert_eq!(code, Some(143));
        assert!(
            said.contains("1 pictures were answered, 1 were not"),
            "{said}"
        );
    }

    #[test]
    fn results_that_cannot_be_written_end_the_device() {
        let rig = Rig::new();
        let mut command = processes::device_alone(&rig.model);
        command.args(["--policy", "device-only"]).arg(&rig.pictures);
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let mut child = command
            .stdout(full.unwrap())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let code = eventually(|| child.try_wait().unwrap());
        assert_eq!(code.code(), Some(1));
    }

    #[test]
    fn a_menu_file_says_which_rungs_there_are() {
        let rig = Rig::new();
        let edge = Edge::start(&rig.models, &[]);
        let menu = rig.models.with_file_name("menu.json");
        let entry = r#"{"name": "fine", "kind": "split", "split": 0, "rung": 1, "bytes_mean": 300.0,
            "bytes_p95": 400.0, "accuracy": 60.0, "head_us": 1000, "tail_us": 1000, "tail_each_us": 100}"#;
        let text =
            format!(r#"{{"schema": "split-menu/1", "splits": ["{SPLIT}"], "entries": [{entry}]}}"#);
        fs::write(&menu, text).unwrap();
        let mut command = device(&rig.model, &edge.address);
        command.args(["--json", "--policy", "throughput", "--menu"]);
        let lines = lines_of(command.arg(&menu).arg(&rig.pictures));
        assert!(lines.iter().all(|line| line["rung"] == "fine"), "{lines:?}");
        edge.drain();
    }

    #[test]
    fn settings_are_refused_before_a_model_is_loaded() {
        let rig = Rig::new();
        let check = |args: &[&str], expected: &str| {
            let mut command = processes::device_alone(&rig.models.join("none"));
            command.args(args).arg(&rig.pictures);
            let said = failure_of(&mut command);
            assert!(said.contains(expected), "{args:?}: {said}");
        };
        check(&["--edge", "http://edge:1"], "HOST:PORT");
        check(&["--edge", "edge"], "HOST:PORT");
        check(&["--edge", "edge:1,"], "HOST:PORT");
        check(&["--policy", "x"], "policy \"x\" is unknown");
        check(&["--policy", "own", "--menu", "/none"], "/none");
        check(
            &["--deadline-ms", "5", "--fallback-ms", "5"],
            "fallback-ms = 5",
        );
        check(
            &[
                "--edge",
                "a:1",
                "--policy",
                "device-only",
                "--fallback",
                "none",
            ],
            "device-only",
        );
        for flag in ["--batch-max", "--waiting-max", "--connections-max"] {
            let mut command = processes::edge();
            command.args([flag, "0"]).arg("--models").arg(&rig.models);
            let said = failure_of(&mut command);
            assert!(said.contains(&format!("{} = 0", &flag[2..])), "{said}");
        }
        let why = match cfg!(feature = "otel") {
            true => "expected is http://HOST:PORT",
            false => "without the feature `otel`",
        };
        let mut command = processes::edge();
        command.args(["--otlp-endpoint", "collector"]);
        let said = failure_of(command.arg("--models").arg(&rig.models));
        assert!(
            said.contains("otlp-endpoint") && said.contains(why),
            "{said}"
        );
        check(&["--otlp-endpoint", "collector"], "otlp-endpoint");
        check(&["--otlp-endpoint", "collector"], why);
    }
}
