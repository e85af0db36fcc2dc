//! Commands that another program carries out: `lab`, or the coder bench.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use records::{BACKENDS, BackendName};

use crate::shell;

/// Becomes `lab SUBCOMMAND ARGS`, compiled with the backends that the arguments name.
///
/// # Errors
/// An unknown backend, or `cargo` that cannot be started.
pub(crate) fn lab(subcommand: &str, args: Vec<OsString>) -> Result<()> {
    let mut command = lab_command(subcommand, args)?;
    keep_freed_memory(&mut command);
    become_command(command)
}

/// Has glibc keep what was freed, unless the user says what it does; other allocators don't look. Each step of a
/// training allocates the same blocks as the one before: given back to the system in between, they were a tenth to
/// a sixth of its time in page faults (docs/decisions/0012).
fn keep_freed_memory(command: &mut Command) {
    for (name, bytes) in records::KEPT_MEMORY {
        if std::env::var_os(name).is_none() {
            command.env(name, bytes);
        }
    }
}

/// Programs and the commands that hand on to them; `lab` has many.
const PROGRAMS: [(&[&str], &str); 6] = [
    (&[], "lab"),
    (&["bench", "codec"], "codec"),
    (&["bench", "loopback"], "split-loopback"),
    (&["bench", "link"], "split-link"),
    (&["simulate"], "split-simulate"),
    (&["demo"], "split-demo"),
];

/// For each command that hands on to a program, the program's options as it prints them. All are built at once,
/// with the features that each of them is built with otherwise, so that Burn isn't compiled once more.
///
/// # Errors
/// `cargo` that cannot be started, a build or a program that fails.
pub(crate) fn options_of_programs() -> Result<Vec<(&'static [&'static str], String)>> {
    let mut build = shell::cargo();
    build.args(["build", "--package", "xtask", "--package", "split-runtime"]);
    build.args(["--package", "split-benches", "--features"]);
    build.arg("lab,flex,demo,link,loopback,study");
    for (_, program) in PROGRAMS {
        build.args(["--bin", program]);
    }
    let status = build.status().context("starting cargo")?;
    ensure!(status.success(), "building the programs failed: {status}");
    let one = |(place, program): (&'static [&'static str], &str)| {
        let mut command = beside_me(program)?;
        Ok((place, shell::output_of(command.arg("--print-options"))?))
    };
    PROGRAMS.into_iter().map(one).collect()
}

/// Becomes the coder bench of the package `split-benches`. It needs no tensor library, so the
/// release profile costs seconds there.
///
/// # Errors
/// `cargo` that cannot be started.
pub(crate) fn codec_bench(args: Vec<OsString>) -> Result<()> {
    let mut command = shell::cargo();
    command
        .args(["run", "--release", "--package", "split-benches"])
        .args(["--bin", "codec", "--"])
        .args(args);
    become_command(command)
}

/// Becomes the simulator of `split-runtime`, which needs no tensor library either.
///
/// # Errors
/// `cargo` that cannot be started.
pub(crate) fn simulate(args: Vec<OsString>) -> Result<()> {
    let mut command = shell::cargo();
    command
        .args(["run", "--package", "split-runtime", "--features", "study"])
        .args(["--bin", "split-simulate", "--"])
        .args(args);
    become_command(command)
}

/// Becomes the bench of `split-runtime`'s transport over loopback.
///
/// # Errors
/// `cargo` that cannot be started.
pub(crate) fn loopback_bench(args: Vec<OsString>) -> Result<()> {
    let mut command = shell::cargo();
    command
        .args([
            "run",
            "--package",
            "split-runtime",
            "--features",
            "loopback",
        ])
        .args(["--bin", "split-loopback", "--"])
        .args(args);
    become_command(command)
}

/// Becomes the bench of device and edge over made-up links, after building it beside the programs that it
/// starts.
///
/// # Errors
/// `cargo` that cannot be started, and a build that fails.
pub(crate) fn link_bench(args: Vec<OsString>) -> Result<()> {
    with_programs("link", "split-link", args)
}

/// Becomes the demo of `split-runtime`, likewise.
///
/// # Errors
/// `cargo` that cannot be started, and a build that fails.
pub(crate) fn demo(args: Vec<OsString>) -> Result<()> {
    with_programs("demo", "split-demo", args)
}

/// Becomes a program of `split-runtime` that starts `split-edge` and `split-device`. All are built with the
/// features of `lab` too, so that Burn isn't compiled once more.
fn with_programs(feature: &str, program: &str, args: Vec<OsString>) -> Result<()> {
    let mut build = shell::cargo();
    build
        .args(["build", "--package", "xtask", "--package", "split-runtime"])
        .arg("--features")
        .arg(format!("lab,flex,{feature}"))
        .args(["--bin", program, "--bin", "split-device"])
        .args(["--bin", "split-edge"]);
    let status = build.status().context("starting cargo")?;
    ensure!(status.success(), "building {program} failed: {status}");
    let mut command = beside_me(program)?;
    command.args(args);
    become_command(command)
}

/// A program of the workspace, built where this one is.
fn beside_me(program: &str) -> Result<Command> {
    let me = std::env::current_exe().context("where this program is")?;
    let name = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    Ok(Command::new(me.with_file_name(name)))
}

fn lab_command(subcommand: &str, args: Vec<OsString>) -> Result<Command> {
    let features = lab_features(&args)?;
    let mut command = shell::cargo();
    command
        .args(["run", "--package", "xtask", "--bin", "lab", "--features"])
        .arg(features)
        .args(["--", subcommand])
        .args(args);
    Ok(command)
}

/// `lab,flex`, `remote` for `--burn-remote`, and each further backend named by `--backend A`, `--backend=A`, `--backend A,B` or,
/// with the number of a device, `--backend A:1`.
fn lab_features(args: &[OsString]) -> Result<String> {
    let mut asked = BTreeSet::new();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        }
        let value = if word == "--backend" {
            words
                .next()
                .with_context(|| format!("--backend needs a value: {}", BACKENDS.join(", ")))?
                .as_os_str()
        } else if let Some(value) = word.to_str().and_then(|w| w.strip_prefix("--backend=")) {
            OsStr::new(value)
        } else {
            continue;
        };
        for name in value.to_string_lossy().split(',') {
            // What can't be opened is refused before it is compiled.
            asked.insert(name.parse::<BackendName>()?.name);
        }
    }
    let remote = args
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| word == "--burn-remote");
    let more = BACKENDS[1..].iter().filter(|name| asked.contains(*name));
    let names: Vec<&str> = ["lab", "flex"]
        .into_iter()
        .chain(more.copied())
        .chain(remote.then_some("remote"))
        .collect();
    Ok(names.join(","))
}

/// Replaces this process, so that signals and the exit code are the command's own.
#[cfg(unix)]
fn become_command(mut command: Command) -> Result<()> {
    use std::os::unix::process::CommandExt as _;
    let error = command.exec();
    Err(error).with_context(|| format!("starting {command:?}"))
}

/// Waits for the command and passes its exit code on.
#[cfg(not(unix))]
fn become_command(mut command: Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    std::process::exit(status.code().unwrap_or(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &[&str], expected: &str) {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let found = lab_features(&args).unwrap_or_else(|error| error.to_string());
        assert_eq!(found, expected, "{args:?}");
    }

    #[test]
    fn backends_in_the_arguments_decide_the_features() {
        check(&[], "lab,flex");
        check(&["--backend", "flex"], "lab,flex");
        check(&["--backend", "wgpu", "--epochs", "2"], "lab,flex,wgpu");
        check(&["--backend=ndarray"], "lab,flex,ndarray");
        check(
            &["codec", "--backend", "cuda,ndarray"],
            "lab,flex,ndarray,cuda",
        );
        check(&["--backend", "wgpu:1,wgpu:0"], "lab,flex,wgpu");
        check(&["--backend=cuda:0"], "lab,flex,cuda");
        check(&["--burn-remote", "--batch", "1"], "lab,flex,remote");
        check(&["--", "--backend", "tpu", "--burn-remote"], "lab,flex");
    }

    #[test]
    fn unknown_backend_is_refused_with_the_known_ones() {
        check(
            &["--backend", "tpu"],
            "unknown backend \"tpu\": choose from flex, ndarray, wgpu, cuda",
        );
        check(
            &["--backend", "wgpu:one"],
            "\"one\" is no number of a device: `cargo xtask bench --list-devices --backend wgpu` prints them",
        );
        check(
            &["--backend"],
            "--backend needs a value: flex, ndarray, wgpu, cuda",
        );
    }

    #[test]
    fn lab_gets_its_arguments_untouched() {
        let args = ["--out", "a b", "--backend=flex", "--", "x"].map(OsString::from);
        let command = lab_command("train", args.to_vec()).unwrap();
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_str().unwrap())
            .collect();
        let tail = ["--", "train", "--out", "a b", "--backend=flex", "--", "x"];
        assert!(words.ends_with(&tail), "{words:?}");
        assert!(words.contains(&"lab,flex"), "{words:?}");
    }
}
