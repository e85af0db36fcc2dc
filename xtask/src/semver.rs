//! Whether the public interface broke a promise of the version number, with `cargo-semver-checks`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::shell;

/// Commit whose public interface is the promise. Moved at a release, and when an interface is broken on
/// purpose before one; CONTRIBUTING.md names the command.
pub(crate) const BASELINE: &str = "60aa6d8e";

/// Runs the check where the tool and the baseline are; says aloud where it can't.
pub(crate) fn run(root: &Path) -> Result<()> {
    if let Some(why) = missing(root) {
        shell::say(&format!("skipped: {why}"));
        return Ok(());
    }
    let mut command = shell::cargo();
    command
        .current_dir(root)
        .args(["semver-checks", "--workspace", "--baseline-rev", BASELINE]);
    let status = command.status().context("starting cargo semver-checks")?;
    ensure!(
        status.success(),
        "the public interface is not compatible with {BASELINE} ({status}); keep it, or raise the version \
         and move BASELINE in xtask/src/semver.rs"
    );
    Ok(())
}

/// Why the check can't run here.
fn missing(root: &Path) -> Option<String> {
    let works = |command: &mut Command| {
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    };
    if !works(shell::cargo().args(["semver-checks", "--version"])) {
        return Some("cargo-semver-checks is not installed".to_owned());
    }
    let commit = format!("{BASELINE}^{{commit}}");
    let mut git = Command::new("git");
    if !works(git.current_dir(root).args(["cat-file", "-e", &commit])) {
        return Some(format!("this clone does not hold the baseline {BASELINE}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn contributing_names_the_baseline() {
        let root = shell::workspace_root().unwrap();
        let text = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
        let command = format!("cargo semver-checks --workspace --baseline-rev {BASELINE}");
        assert!(text.contains(&command), "{command}");
    }
}
