//! The shape of the workspace, checked by `cargo xtask tidy` and by a test.

mod layers;
mod packages;
mod texts;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use records::{RaDocument, check_line};

use crate::{report, shell};

/// Prints what is wrong, or that nothing is.
pub(crate) fn run(root: &Path) -> Result<()> {
    let problems = problems(root)?;
    if problems.is_empty() {
        shell::say("tidy: nothing to complain about");
        return Ok(());
    }
    bail!("tidy found {}:\n{}", problems.len(), problems.join("\n"));
}

/// Everything that is wrong, one line each.
fn problems(root: &Path) -> Result<Vec<String>> {
    let files = shell::tracked_files(root)?;
    let mut problems = layers::problems(root)?;
    problems.extend(packages::problems(root)?);
    for path in &files {
        let bytes = fs::read(root.join(path)).with_context(|| format!("reading {path}"))?;
        problems.extend(texts::size_problems(path, bytes.len()));
        let Ok(text) = std::str::from_utf8(&bytes) else {
            continue;
        };
        problems.extend(texts::problems(path, text));
        if path.ends_with(".md") {
            problems.extend(texts::dead_links(root, path, text));
        }
        if path.starts_with(report::RECORDS) {
            problems.extend(record_problems(path, text));
        }
    }
    problems.extend(texts::unlisted_golden_files(root, &files)?);
    problems.extend(texts::test_command_problems(root)?);
    problems.extend(report::stale(root)?);
    Ok(problems)
}

/// A record file must be what its schema promises.
fn record_problems(path: &str, text: &str) -> Vec<String> {
    if path.ends_with(".json") {
        return RaDocument::parse(text)
            .err()
            .map(|error| format!("{path}: {error}"))
            .into_iter()
            .collect();
    }
    if !path.ends_with(".jsonl") {
        return Vec::new();
    }
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(i, line)| {
            check_line(line)
                .err()
                .map(|error| format!("{path}:{}: {error}", i + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspace_is_tidy() {
        let root = shell::workspace_root().unwrap();
        let found = problems(&root).unwrap();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn broken_records_are_found_with_their_line() {
        let found = record_problems("benches/records/codec.jsonl", "{}\n{");
        assert_eq!(found.len(), 2);
        assert!(
            found[0].starts_with("benches/records/codec.jsonl:1: unknown schema"),
            "{found:?}"
        );
        assert_eq!(record_problems("benches/records/ra-x.json", "{}").len(), 1);
        assert_eq!(record_problems("benches/records/README.md", "{}").len(), 0);
    }
}
