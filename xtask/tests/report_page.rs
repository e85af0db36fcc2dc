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
        open_with(browser, file, dir, width, &["--dump-dom"])
    }

    /// The same with further arguments, which say what is left of it.
    fn open_with(browser: &str, file: &Path, dir: &Path, width: u32, more: &[&str]) -> Seen {
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
            ])
            .args(more)
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

    /// Counts words that hardly stand out from what lies behind them, and leaves the counts in the document with
    /// the scheme that the page is shown in. 4.5 is what WCAG 2.2 asks for text of ordinary size (1.4.3).
    const CONTRAST: &str = r#"<script>
{
  const bad = new Set();
  const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = numbers(colour).slice(0, 3).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const paper = at.tagName === "svg" ? at.querySelector(".paper") : null;
      const colour = paper ? getComputedStyle(paper).fill : getComputedStyle(at).backgroundColor;
      if ((numbers(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  let words = 0;
  for (const element of document.querySelectorAll("body *")) {
    const says = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== "");
    if (!says || ["SCRIPT", "STYLE", "title", "desc", "style"].includes(element.tagName)) continue;
    words += 1;
    const ink = getComputedStyle(element)[element instanceof SVGElement ? "fill" : "color"];
    const found = ratio(ink, behind(element));
    if (found < 4.5) bad.add(found.toFixed(1) + ": " + element.textContent.trim().slice(0, 40));
  }
  const scheme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const out = document.createElement("pre");
  out.textContent = "faint words on a " + scheme + " page: " + bad.size + " of " + words + "\n" + [...bad].slice(0, 20).join("\n");
  document.body.append(out);
}
</script>"#;

    /// What [`CONTRAST`] found.
    fn contrast(seen: &Seen) -> &str {
        found_after(seen, "faint words on a ")
    }

    /// What [`LAYOUT`] found.
    fn layout(seen: &Seen) -> &str {
        found_after(seen, "layout problems: ")
    }

    /// The last text of the document that starts with `start`, to the end of its element.
    fn found_after<'a>(seen: &'a Seen, start: &str) -> &'a str {
        let start = seen.document.rfind(start).unwrap();
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

    /// Arguments that set the reader's scheme, and its name.
    const SCHEMES: [(&str, &str); 2] = [
        ("--blink-settings=preferredColorScheme=0", "dark"),
        ("--blink-settings=preferredColorScheme=1", "light"),
    ];

    #[test]
    fn words_stand_out_on_light_and_dark_pages() {
        let Some(browser) = browser() else { return };
        let dir = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(page(dir.path())).unwrap();
        let measured = dir.path().join("measured.html");
        let page = text.replace("</body>", &format!("{CONTRAST}</body>"));
        fs::write(&measured, page).unwrap();
        for (argument, scheme) in SCHEMES {
            let more = [argument, "--dump-dom"];
            let seen = open_with(browser, &measured, dir.path(), 1100, &more);
            let found = contrast(&seen);
            let start = format!("faint words on a {scheme} page: 0 of ");
            assert!(found.starts_with(&start), "{found}");
        }
    }

    /// Pages of the file printed as PDF.
    fn printed_pages(browser: &str, file: &Path, dir: &Path) -> usize {
        let pdf = file.with_extension("pdf");
        let to = format!("--print-to-pdf={}", pdf.display());
        open_with(browser, file, dir, 1100, &[&to]);
        let bytes = fs::read(&pdf).unwrap();
        let is_page = |place: &[u8]| place.starts_with(b"/Type /Page") && place[11] != b's';
        bytes.windows(12).filter(|place| is_page(place)).count()
    }

    #[test]
    fn print_holds_what_the_screen_folds() {
        let Some(browser) = browser() else { return };
        let dir = tempfile::tempdir().unwrap();
        let file = page(dir.path());
        let text = fs::read_to_string(&file).unwrap();
        let variant = |name: &str, from: &str, to: &str| {
            let path = dir.path().join(name);
            let changed = text.replace(from, to);
            assert_ne!(changed, text, "{from}");
            fs::write(&path, changed).unwrap();
            printed_pages(browser, &path, dir.path())
        };
        let as_it_is = printed_pages(browser, &file, dir.path());
        let unfolded = variant("unfolded.html", "<details>", "<details open>");
        let without = variant("without.html", "<details>", "<details hidden>");
        assert_eq!(as_it_is, unfolded);
        assert!(without < as_it_is, "{without} of {as_it_is} pages");
    }

    /// The tests above must be able to fail.
    #[test]
    fn errors_requests_and_overlaps_would_be_seen() {
        let Some(browser) = browser() else { return };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bad.html");
        let words = "<text x='20' y='30'>first</text><text x='22' y='32'>second</text>\
                 <text x='190' y='80'>beyond the edge</text>";
        let body = format!(
            "<svg class='chart' width='200' height='100' style='overflow:visible'>{words}</svg>\
         <img src='http://127.0.0.1:9/picture'><script>undefined_name();</script><p style='color:#999;background:#fff'>faint</p>{LAYOUT}{CONTRAST}"
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
        let found = contrast(&seen);
        assert!(found.contains(": faint"), "{found}");
    }
}
