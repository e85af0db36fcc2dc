//! What the thin program does with its arguments, seen from outside.

/// A stand-in for `cargo` is a shell script.
#[cfg(unix)]
#[cfg(test)]
mod forwarding {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Stdio;

    use assert_cmd::Command;

    fn xtask_with(script: &str) -> (tempfile::TempDir, Command) {
        let dir = tempfile::tempdir().unwrap();
        let cargo = dir.path().join("cargo");
        fs::write(&cargo, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.env("CARGO", cargo);
        (dir, command)
    }

    fn check(args: &[&str], expected: &str) {
        let (_dir, mut command) = xtask_with("echo \"$@\"");
        command
            .args(args)
            .assert()
            .success()
            .stdout(format!("{expected}\n"));
    }

    #[test]
    fn commands_of_lab_get_their_arguments_and_backends() {
        let run = "run --package xtask --bin lab --features";
        check(&["train"], &format!("{run} lab,flex -- train"));
        check(
            &["train", "--help"],
            &format!("{run} lab,flex -- train --help"),
        );
        check(
            &["eval", "--backend", "ndarray", "-n", "5"],
            &format!("{run} lab,flex,ndarray -- eval --backend ndarray -n 5"),
        );
        check(
            &["bench", "--backend=wgpu"],
            &format!("{run} lab,flex,wgpu -- bench --backend=wgpu"),
        );
        check(
            &["bench", "codec", "--quick"],
            "run --release --package split-benches --bin codec -- --quick",
        );
    }

    #[test]
    fn exit_code_of_the_started_program_is_ours() {
        let (_dir, mut command) = xtask_with("exit 7");
        command.arg("decode").assert().code(7);
    }

    /// Signals and the exit code are then those of the program that was asked for.
    #[test]
    fn the_started_program_takes_our_place() {
        let (dir, _) = xtask_with("echo $$");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.env("CARGO", dir.path().join("cargo")).arg("train");
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        let own = child.id();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            format!("{own}\n")
        );
    }
}

#[test]
fn unknown_backend_names_the_known_ones_without_a_backtrace() {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_xtask"));
    let expected = "error: unknown backend \"tpu\": choose from flex, ndarray, wgpu, cuda\n";
    command
        .env("RUST_BACKTRACE", "1")
        .args(["train", "--backend", "tpu"])
        .assert()
        .code(1)
        .stderr(expected);
}
