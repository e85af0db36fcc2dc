//! What continuous integration runs, cheapest first.
//!
//! Which build each step asks for matters more than anything else here, because Burn takes minutes:
//! - `lint`, `docs`: one metadata-only build of everything;
//! - `test`: the optimised build that `cargo xtask train` uses too, which `one build` checks;
//! - `book`: the pages of `docs` as a book, where mdBook is;
//! - `package`, `semver`: what a release would be refused for; seconds, `semver` only where its tool is;
//! - `backends`: ndarray and wgpu besides flex, which compiles most of Burn again; comes last.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::{book, semver, shell, tidy};

/// Arguments of the test command that README.md names; `tidy` holds the two together.
pub(crate) const TEST: [&str; 3] = ["test", "--workspace", "--locked"];

/// One call of `cargo` within a step.
struct Call {
    args: &'static [&'static str],
    rustdoc_flags: Option<&'static str>,
}

const FORMAT: &[Call] = &[call(&["fmt", "--all", "--check"])];

/// Our own dev-dependency on the features of `xtask` brings `lab` in.
const LINT: &[Call] = &[call(&[
    "clippy",
    "--workspace",
    "--all-targets",
    "--locked",
    "--",
    "-D",
    "warnings",
])];

const TESTS: &[Call] = &[call(&TEST)];

/// Alone, because `--workspace` unifies features and would hide that a crate needs what it lacks. Only
/// checked: each set of features would have every dependency compiled anew to run tests that have just passed.
const CORNERS: &[Call] = &[
    call(&[
        "check",
        "--package",
        "split-tensor",
        "--all-targets",
        "--locked",
    ]),
    call(&[
        "check",
        "--package",
        "split-tensor",
        "--no-default-features",
        "--locked",
    ]),
    call(&["check", "--package", "split-runtime", "--locked"]),
    call(&[
        "check",
        "--package",
        "split-runtime",
        "--features",
        "grpc",
        "--locked",
    ]),
    // Its own dev-dependency turns `grpc` and `sim` on.
    call(&[
        "check",
        "--package",
        "split-runtime",
        "--all-targets",
        "--locked",
    ]),
];

const DOCS: &[Call] = &[Call {
    args: &[
        "doc",
        "--workspace",
        "--no-deps",
        "--locked",
        "--features",
        "lab,flex,split-runtime/bin",
    ],
    rustdoc_flags: Some("-D warnings"),
}];

/// What crates.io would refuse, without the compiling: that was done above, and a release does it again.
const PACKAGE: &[Call] = &[call(&[
    "publish",
    "--workspace",
    "--dry-run",
    "--no-verify",
    "--allow-dirty",
    "--locked",
])];

/// Real networks and training on every backend, frames written on one backend, finished on another, and the
/// programs of device and edge with wgpu and with traces: built together with `lab`, so that they share its build of Burn.
///
/// burn-remote is left out: it always brings iroh and 150 more packages, whose features would change those of
/// `serde` and `syn`, and with them compile all of Burn once more.
const BACKENDS: &[Call] = &[call(&[
    "test",
    "--package",
    "xtask",
    "--package",
    "split-runtime",
    "--test",
    "backends",
    "--test",
    "bench",
    "--test",
    "device_and_edge",
    "--test",
    "otel",
    "--test",
    "released_units",
    "--test",
    "spans",
    "--features",
    "ndarray,wgpu,otel",
    "--locked",
    "--config",
    ".ci/backends.toml",
])];

const fn call(args: &'static [&'static str]) -> Call {
    Call {
        args,
        rustdoc_flags: None,
    }
}

/// Runs every step and stops at the first failure; `backends` is the dearest one.
pub(crate) fn run(root: &Path, backends: bool) -> Result<()> {
    let mut report = Report::default();
    report.step("format", |_| calls(root, FORMAT, &mut Tally::default()))?;
    report.step("tidy", |_| tidy::run(root))?;
    report.step("lint", |_| calls(root, LINT, &mut Tally::default()))?;
    report.step("test", |tally| calls(root, TESTS, tally))?;
    report.step("one build", |_| shared_build(root))?;
    report.step("corners", |tally| calls(root, CORNERS, tally))?;
    report.step("docs", |_| calls(root, DOCS, &mut Tally::default()))?;
    report.step("book", |_| book::run(root))?;
    report.step("package", |_| calls(root, PACKAGE, &mut Tally::default()))?;
    report.step("semver", |_| semver::run(root))?;
    if backends {
        report.step("backends", |tally| calls(root, BACKENDS, tally))?;
    }
    report.close()
}

/// Runs the tests; `slow` sets the variable that lets the long ones run.
pub(crate) fn test(root: &Path, slow: bool) -> Result<()> {
    let mut command = shell::cargo();
    command.args(TEST).current_dir(root);
    if slow {
        command.env("SPLIT_SLOW", "1");
    }
    let status = command.status().context("starting cargo test")?;
    ensure!(status.success(), "tests failed ({status})");
    Ok(())
}

fn calls(root: &Path, calls: &[Call], tally: &mut Tally) -> Result<()> {
    for call in calls {
        let mut command = shell::cargo();
        command.args(call.args).current_dir(root);
        if let Some(flags) = call.rustdoc_flags {
            command.env("RUSTDOCFLAGS", flags);
        }
        shell::say(&format!("$ cargo {}", call.args.join(" ")));
        tally.add(&passed_through(command)?);
    }
    Ok(())
}

/// After the tests, the build of `cargo xtask train` must find all of Burn compiled.
fn shared_build(root: &Path) -> Result<()> {
    let mut command = shell::cargo();
    command
        .current_dir(root)
        .args([
            "build",
            "--package",
            "xtask",
            "--bin",
            "lab",
            "--features",
            "lab,flex",
        ])
        .args(["--locked", "--message-format", "json"]);
    let rebuilt = rebuilt_burn(&shell::output_of(&mut command)?);
    ensure!(
        rebuilt.is_empty(),
        "`cargo xtask train` compiles {} again after the tests: a dependency of the workspace asks for \
         features that xtask/Cargo.toml must align (docs/decisions/0001); compare \
         `cargo tree -e features` of both",
        rebuilt.join(", ")
    );
    Ok(())
}

/// Crates of Burn that Cargo's messages report as not fresh.
fn rebuilt_burn(messages: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in messages.lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        let name = message["target"]["name"].as_str().unwrap_or_default();
        if message["fresh"] == false && name.starts_with("burn") {
            names.push(name.to_owned());
        }
    }
    names
}

/// Runs a command, shows its output as it comes, and returns what it printed.
fn passed_through(mut command: Command) -> Result<String> {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {shown}"))?;
    let mut pipe = child
        .stdout
        .take()
        .context("the child has no output pipe")?;
    let mut printed = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = pipe
            .read(&mut buffer)
            .with_context(|| format!("reading from {shown}"))?;
        if count == 0 {
            break;
        }
        let mut out = std::io::stdout().lock();
        out.write_all(&buffer[..count]).context("printing")?;
        out.flush().context("printing")?;
        printed.extend_from_slice(&buffer[..count]);
    }
    let status = child
        .wait()
        .with_context(|| format!("waiting for {shown}"))?;
    if !status.success() {
        bail!("{shown} failed ({status})");
    }
    Ok(String::from_utf8_lossy(&printed).into_owned())
}

/// Tests that ran, over all binaries.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Tally {
    /// Adds the closing lines of the test runner: `test result: ok. 3 passed; 0 failed; ...`.
    fn add(&mut self, printed: &str) {
        for line in printed
            .lines()
            .filter(|line| line.starts_with("test result: "))
        {
            let words: Vec<&str> = line
                .split([' ', ';'])
                .filter(|word| !word.is_empty())
                .collect();
            for pair in words.windows(2) {
                let count = pair[0].parse().unwrap_or(0);
                match pair[1] {
                    "passed" => self.passed += count,
                    "failed" => self.failed += count,
                    "ignored" => self.ignored += count,
                    _ => {}
                }
            }
        }
    }
}

#[derive(Default)]
struct Report {
    times: Vec<(&'static str, f64)>,
    tally: Tally,
}

impl Report {
    fn step(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&mut Tally) -> Result<()>,
    ) -> Result<()> {
        shell::say(&format!("\n=== {name}"));
        let start = now();
        work(&mut self.tally).with_context(|| format!("step {name}"))?;
        let seconds = start.elapsed().as_secs_f64();
        shell::say(&format!("=== {name}: done in {seconds:.1} s"));
        self.times.push((name, seconds));
        Ok(())
    }

    fn close(&self) -> Result<()> {
        shell::say("");
        for (name, seconds) in &self.times {
            shell::say(&format!("{name:>10} {seconds:8.1} s"));
        }
        let Tally {
            passed,
            failed,
            ignored,
        } = self.tally;
        ensure!(passed > 0, "no test ran");
        shell::say(&format!(
            "{passed} passed, {failed} failed, {ignored} skipped"
        ));
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "step times are for people, nothing depends on them"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_of_burn_that_were_compiled_again_are_found() {
        let messages = "{\"target\": {\"name\": \"burn_core\"}, \"fresh\": false}\n\
            {\"target\": {\"name\": \"burn_flex\"}, \"fresh\": true}\n\
            {\"target\": {\"name\": \"lab\"}, \"fresh\": false}\nnoise\n{\"success\": true}\n";
        assert_eq!(rebuilt_burn(messages), ["burn_core"]);
    }

    #[test]
    fn closing_lines_of_all_binaries_are_added() {
        let mut tally = Tally::default();
        tally.add("running 2 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n");
        tally.add("noise\ntest result: FAILED. 5 passed; 3 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.1s\n");
        assert_eq!(
            tally,
            Tally {
                passed: 7,
                failed: 3,
                ignored: 1
            }
        );
    }
}
