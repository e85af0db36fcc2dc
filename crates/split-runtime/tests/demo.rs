//! `split-demo` as a person starts it: three processes, a page and a browser.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails it where it stands"
)]

mod demo {
    #[allow(dead_code, reason = "tests of device and edge use what these leave")]
    #[path = "../programs/bank.rs"]
    mod bank;
    mod browser;
    mod shown;

    use std::fs;
    use std::process::Command;

    use bank::Rig;
    use serde_json::{Value, json};
    use shown::Shown;

    #[test]
    fn answers_come_over_the_link_that_the_page_asks_for() {
        let rig = Rig::new();
        let demo = Shown::start(&rig, &["--policy", "fixed", "--rung", "fine"]);
        let model = demo.get("/model");
        assert_eq!(model["split"], bank::SPLIT);
        let names: Vec<&str> = model["rungs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rung| rung["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["coarse", "fine"]);
        let mut answers = demo.answers();
        let mut by_edge = || answers.find(|answer| answer["by"] == "edge").unwrap();
        // The same classes and bytes as without any program, and a link that is felt.
        let (classes, frames) = (rig.predictions(1), rig.frames(1));
        for _ in 0..bank::PICTURES {
            let answer = by_edge();
            let place = usize::try_from(answer["place"].as_u64().unwrap()).unwrap();
            assert_eq!(answer["class"], classes[place]);
            assert_eq!(answer["bytes"], frames[place].len());
            assert_eq!(answer["rung"], "fine");
        }
        let mut controls = demo.get("/controls");
        controls["link"]["rtt_ms"] = json!(400);
        assert!(demo.post("/controls", &controls).contains("200 OK"));
        // Those that were under way are faster.
        let slow = |answer: &Value| answer["us"]["network"].as_u64() >= Some(400_000);
        assert!(demo.answers().take(100).any(|answer| slow(&answer)));
        // Nothing passes: the device helps itself, and says why.
        controls["alone"] = json!(true);
        assert!(demo.post("/controls", &controls).contains("200 OK"));
        controls["link"]["up"] = json!(false);
        assert!(demo.post("/controls", &controls).contains("200 OK"));
        let mut answers = demo.answers();
        let alone = answers.find(|answer| answer["by"] == "device").unwrap();
        assert_eq!(
            alone["class"],
            rig.unsplit()[usize::try_from(alone["place"].as_u64().unwrap()).unwrap()]
        );
        // Another rung means another device; the page needs no other.
        controls["link"] = json!({"kbit": 10_000, "rtt_ms": 0, "up": true});
        controls["rung"] = json!("coarse");
        assert!(demo.post("/controls", &controls).contains("200 OK"));
        let coarse = answers.find(|answer| answer["rung"] == "coarse" && answer["by"] == "edge");
        assert!(coarse.is_some());
        assert_eq!(demo.get("/controls"), controls);
    }

    #[test]
    fn what_the_page_may_not_ask_for_is_refused_and_changes_nothing() {
        let rig = Rig::new();
        let demo = Shown::start(&rig, &[]);
        let controls = demo.get("/controls");
        let mut wrong = controls.clone();
        wrong["link"]["kbit"] = json!(0);
        let said = demo.post("/controls", &wrong);
        assert!(
            said.contains("422") && said.contains("kbit = 0, allowed are 5"),
            "{said}"
        );
        let said = demo.post("/controls", &json!({"link": 1}));
        assert!(said.contains("422"), "{said}");
        let said = demo.raw(b"POST /controls HTTP/1.0\r\ncontent-length: 2\r\n\r\n{}");
        assert!(said.contains("415"), "{said}");
        assert!(demo.text("/pictures/1000").contains("404"));
        assert!(
            demo.text("/pictures/..%2F..%2Fetc%2Fpasswd")
                .contains("400")
        );
        assert_eq!(demo.get("/controls"), controls);
    }

    #[test]
    fn what_is_missing_is_named_before_anything_starts() {
        let folder = tempfile::TempDir::new().unwrap();
        let said = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_split-demo"));
            let output = command
                .current_dir(folder.path())
                .args(args)
                .output()
                .unwrap();
            assert!(!output.status.success());
            String::from_utf8(output.stderr).unwrap()
        };
        let missing = said(&["--bank", "nowhere"]);
        assert!(missing.contains("reading nowhere"), "{missing}");
        fs::write(folder.path().join("no-bank"), "x").unwrap();
        let broken = said(&["--bank", "no-bank"]);
        assert!(broken.contains("reading the bank"), "{broken}");
        let rig = Rig::new();
        let bank = rig.model.join("bank.safetensors");
        let bank = bank.to_str().unwrap();
        let odd = said(&["--bank", bank, "--kbit", "1"]);
        assert!(odd.contains("kbit = 1, allowed are 5 to 100000"), "{odd}");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let busy = said(&["--bank", bank, "--page", &address]);
        assert!(busy.contains(&address) && busy.contains("--page"), "{busy}");
    }

    #[test]
    fn without_a_trained_bank_principal_components_stand_in() {
        let folder = tempfile::TempDir::new().unwrap();
        let demo = Shown::start_in(folder.path());
        let model = demo.get("/model");
        let rungs = model["rungs"].as_array().unwrap();
        let bytes: Vec<f64> = rungs
            .iter()
            .map(|rung| rung["bytes"].as_f64().unwrap())
            .collect();
        assert_eq!(bytes.len(), 4);
        assert!(bytes.is_sorted_by(|a, b| a > b), "{bytes:?}");
        // A rung whose frames are a fraction of the picture's 7 kB, and that still knows most pictures.
        let top1 = rungs[0]["top1"].as_f64().unwrap();
        assert!(top1 > 70.0 && bytes[0] < 2_000.0, "{top1} at {}", bytes[0]);
        let mut answers = demo.answers().take(100);
        assert!(answers.any(|answer| answer["by"] == "edge"));
    }

    #[test]
    fn the_page_shows_answers_without_errors() {
        let Some(browser) = browser::find() else {
            return;
        };
        let rig = Rig::new();
        let demo = Shown::start(&rig, &["--policy", "fixed"]);
        let seen = browser::open(browser, &demo.address);
        assert_eq!(seen.console(), Vec::<&str>::new());
        let held = |id: &str| seen.text_of(id);
        assert!(
            held("count").parse::<u32>().unwrap() > 1,
            "{}",
            held("count")
        );
        assert_eq!(held("split"), bank::SPLIT);
        assert!(held("bytes").ends_with(" bytes"), "{}", held("bytes"));
        assert_eq!(held("rung"), "coarse");
        assert!(
            held("model").contains("coarse (100 bytes : 40.0 %), fine (300"),
            "{}",
            held("model")
        );
        assert!(held("kbit-shown").contains("Mbit/s"));
        assert!(seen.document.contains("src=\"pictures/"));
        for part in ["head", "code", "network", "edge"] {
            assert!(
                seen.document.contains(&format!("<li class=\"{part}\">")),
                "{part}"
            );
        }
    }
}
