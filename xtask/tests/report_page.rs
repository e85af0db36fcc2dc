//! `cargo xtask report --out DIR`, opened in a browser.

#[cfg(test)]
mod report_page {
    use std::collections::BTreeSet;
    use std::fs;
    use std::io::Write as _;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    /// Where a browser may be called.
    const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

    /// A browser that has not ended by then is stuck.
    const PATIENCE: Duration = Duration::from_secs(120);

    /// Time between two looks at it.
    const PAUSE: Duration = Duration::from_millis(50);

    /// What a run of the browser left.
    struct Seen {
        document: String,
        log: String,
        net: String,
    }

    /// Straight to the stream: the test runner keeps what is printed.
    fn skip(why: &str) {
        let _ = writeln!(std::io::stderr(), "skipped: {why}");
    }

    fn browser() -> Option<&'static str> {
        let answers = |name: &&str| {
            let version = Command::new(name)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            version.is_ok_and(|status| status.success())
        };
        let found = BROWSERS.into_iter().find(answers);
        if found.is_none() {
            skip("no chromium here: the report is not opened in a browser");
        }
        found
    }

    fn page(dir: &Path) -> PathBuf {
        assert_cmd::Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["report", "--out"])
            .arg(dir)
            .assert()
            .success();
        dir.join("index.html")
    }

    /// Opens a file as a person would, but without a screen, and keeps what the browser says of it.
    fn open(browser: &str, file: &Path, dir: &Path, width: u32) -> Seen {
        let profile = tempfile::tempdir_in(dir).unwrap();
        let (out, log) = (profile.path().join("document"), profile.path().join("log"));
        let net = profile.path().join("net.json");
        let mut child = Command::new(browser)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                // The browser's own errands shall not leave this machine either.
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                "--enable-logging=stderr",
                "--virtual-time-budget=2000",
                "--dump-dom",
            ])
            .arg(format!("--window-size={width},900"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--log-net-log={}", net.display()))
            .arg(format!("file://{}", file.display()))
            .stdout(fs::File::create(&out).unwrap())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut status = None;
        for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
            status = child.try_wait().unwrap();
            if status.is_some() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        let Some(status) = status else {
            child.kill().unwrap();
            panic!("{browser} did not end within {PATIENCE:?}");
        };
        let text =
            |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        assert!(status.success(), "{browser}: {status}\n{}", text(&log));
        Seen {
            document: text(&out),
            log: text(&log),
            net: text(&net),
        }
    }

    impl Seen {
        /// Lines that the page wrote to the console, refused loads among them.
        fn console(&self) -> Vec<&str> {
            let lines = self.log.lines();
            lines.filter(|line| line.contains(":CONSOLE")).collect()
        }

        /// Addresses that the page asked for; what the browser asks for on its own account has no
        /// origin.
        fn requests(&self) -> BTreeSet<String> {
            let events = self.net.lines().filter_map(|line| {
                serde_json::from_str::<serde_json::Value>(line.trim_end_matches([',', ' '])).ok()
            });
            events
                .filter_map(|event| {
                    let initiator = event["params"]["initiator"].as_str()?;
                    let url = event["params"]["url"].as_str()?;
                    (initiator != "not an origin").then(|| url.to_owned())
                })
                .collect()
        }
    }

    /// Counts words in charts that are cut off or lie upon each other, and leaves the counts in the
    /// document. Marks may overlap; words may not.
    const LAYOUT: &str = r#"<script>
{
  const bad = [];
  const name = (text) => text.textContent.slice(0, 60);
  for (const svg of document.querySelectorAll("svg.chart")) {
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].filter((t) => t.textContent.trim() !== "");
    const boxes = texts.map((t) => t.getBoundingClientRect());
    boxes.forEach((a, i) => {
      if (a.left < frame.left - 1 || a.right > frame.right + 1 || a.top < frame.top - 1 || a.bottom > frame.bottom + 1)
        bad.push("cut off: " + name(texts[i]));
      boxes.slice(i + 1).forEach((b, j) => {
        const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (x > 1 && y > 3) bad.push("overlap: " + name(texts[i]) + " | " + name(texts[i + 1 + j]));
      });
    });
  }
  const wide = document.documentElement.scrollWidth - innerWidth;
  if (wide > 1) bad.push("the page is " + wide + " pixels too wide");
  const out = document.createElement("pre");
  out.id = "layout";
  out.textContent = "layout problems: " + bad.length + "\n" + bad.slice(0, 20).join("\n");
  document.body.append(out);
}
</script>"#;

    /// What [`LAYOUT`] found.
    fn layout(seen: &Seen) -> &str {
        let start = seen.document.rfind("layout problems: ").unwrap();
        let end = seen.document[start..].find("</pre>").unwrap();
        &seen.document[start..start + end]
    }

    #[test]
    fn page_opens_without_errors_or_requests_and_shows_every_record() {
        let Some(browser) = browser() else { return };
        let dir = tempfile::tempdir().unwrap();
        let file = page(dir.path());
        let seen = open(browser, &file, dir.path(), 1100);
        assert_eq!(seen.console(), Vec::<&str>::new());
        assert_eq!(seen.requests(), BTreeSet::new());
        let records = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/records");
        let mut count = 0;
        for entry in fs::read_dir(records).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            if !["json", "jsonl"]
                .map(Some)
                .contains(&path.extension().and_then(|e| e.to_str()))
            {
                continue;
            }
            // Ids of elements are letters, digits and dashes.
            let id = stem.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            let start = seen.document.find(&format!("<section id=\"{id}\""));
            let start = start.unwrap_or_else(|| panic!("no section of {stem}"));
            let end = seen.document[start..].find("</section>").unwrap();
            let section = &seen.document[start..start + end];
            assert!(section.contains("<figure>"), "no figure of {stem}");
            assert!(section.contains("<caption>"), "no table of {stem}");
            count += 1;
        }
        assert!(count > 0);
        // The script ran: it counted the marks and took over their titles.
        let marks = seen.document.matches("data-tip=").count();
        assert!(seen.document.contains(&format!("data-marks=\"{marks}\"")) && marks > 0);
    }

    #[test]
    fn words_in_charts_are_whole_and_apart_on_wide_and_narrow_screens() {
        let Some(browser) = browser() else { return };
        let dir = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(page(dir.path())).unwrap();
        let measured = dir.path().join("measured.html");
        fs::write(
            &measured,
            text.replace("</body>", &format!("{LAYOUT}</body>")),
        )
        .unwrap();
        for width in [1100, 400] {
            let seen = open(browser, &measured, dir.path(), width);
            let found = layout(&seen);
            assert!(
                found.starts_with("layout problems: 0"),
                "{width} pixels: {found}"
            );
        }
    }

    /// The two tests above must be able to fail.
    #[test]
    fn errors_requests_and_overlaps_would_be_seen() {
        let Some(browser) = browser() else { return };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bad.html");
        let words = "<text x='20' y='30'>first</text><text x='22' y='32'>second</text>\
                 <text x='190' y='80'>beyond the edge</text>";
        let body = format!(
            "<svg class='chart' width='200' height='100' style='overflow:visible'>{words}</svg>\
         <img src='http://127.0.0.1:9/picture'><script>undefined_name();</script>{LAYOUT}"
        );
        fs::write(&file, format!("<!DOCTYPE html><body>{body}</body>")).unwrap();
        let seen = open(browser, &file, dir.path(), 800);
        assert!(
            seen.console()
                .iter()
                .any(|line| line.contains("undefined_name")),
            "{}",
            seen.log
        );
        assert!(
            seen.requests().contains("http://127.0.0.1:9/picture"),
            "{:?}",
            seen.requests()
        );
        let found = layout(&seen);
        assert!(found.contains("overlap: first | second"), "{found}");
        assert!(found.contains("cut off: beyond the edge"), "{found}");
    }
}
