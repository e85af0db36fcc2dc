//! What must not stand in files, and what must.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::ci;

/// Longest source file.
const LINES_MAX: usize = 800;

/// The page that is written from the records; it grows with them.
const RECORDS_PAGE: &str = "docs/benchmarks.md";

/// Largest file that is no record or page of them, lock file or shipped net.
const FIXTURE_BYTES_MAX: usize = 100_000;

/// Picture set and net that the project makes and ships, together.
const EMBEDDED: &str = "crates/split-backbone/embedded/";
const EMBEDDED_BYTES_MAX: usize = 4_000_000;

/// Folders of one machine; parts are joined at compile time so that this file passes its own check.
const MACHINE_FOLDERS: [&str; 3] = [
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/ho", "me/"),
];

/// Depends on compiled features and on the environment; clippy cannot see it.
const DEFAULT_DEVICE: &str = concat!("Device::", "default()");

/// Problems of one text file, whatever it is.
pub(crate) fn problems(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let is_rust = path.ends_with(".rs");
    let line_count = text.lines().count();
    if is_rust && line_count > LINES_MAX {
        problems.push(format!("{path}: {line_count} lines, at most {LINES_MAX}"));
    }
    for (i, line) in text.lines().enumerate() {
        if let Some(folder) = MACHINE_FOLDERS
            .iter()
            .find(|folder| starts_path(line, folder))
        {
            problems.push(format!(
                "{path}:{}: a path of one machine ({folder})",
                i + 1
            ));
        }
        let code = line.trim_start();
        if is_rust && !code.starts_with("//") && names_default_device(code) {
            problems.push(format!(
                "{path}:{}: {DEFAULT_DEVICE} means another device elsewhere",
                i + 1
            ));
        }
    }
    // A manifest with a workspace of its own, such as the fuzz targets', inherits nothing.
    if path.ends_with("/Cargo.toml") && !text.contains("\n[workspace]") {
        problems.extend(manifest_problems(path, text));
    }
    problems
}

/// Devices of a named backend, `NdArrayDevice` and the like, mean the same everywhere.
fn names_default_device(code: &str) -> bool {
    code.match_indices(DEFAULT_DEVICE)
        .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Members take versions and lints from the workspace.
fn manifest_problems(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut in_dependencies = false;
    for (i, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
        } else if in_dependencies
            && (line.contains("version =") || line.contains("= \""))
            && !line.contains("path = \".\"")
        {
            problems.push(format!(
                "{path}:{}: versions stand in the workspace manifest",
                i + 1
            ));
        }
    }
    if !text.contains("[lints]\nworkspace = true") {
        problems.push(format!("{path}: the workspace's lints are not asked for"));
    }
    problems
}

/// Whether `folder` stands in `line` as the start of a path, not in the middle of a longer one.
fn starts_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-~}".contains(c))
    })
}

/// Files of others' making stay out; our own fixtures stay small.
pub(crate) fn size_problems(path: &str, bytes: usize) -> Option<String> {
    let limit = if path.starts_with(EMBEDDED) {
        EMBEDDED_BYTES_MAX
    } else if path.ends_with("Cargo.lock")
        || path == RECORDS_PAGE
        || path.starts_with("benches/records/")
    {
        return None;
    } else {
        FIXTURE_BYTES_MAX
    };
    (bytes > limit).then(|| format!("{path}: {bytes} bytes, at most {limit}"))
}

/// Links of a Markdown page to files that are not there, and links out of the folder that becomes a book.
pub(crate) fn dead_links(root: &Path, path: &str, text: &str) -> Vec<String> {
    let folder = root
        .join(path)
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default();
    let mut problems = Vec::new();
    for link in links(text) {
        if !folder.join(link).exists() {
            problems.push(format!("{path}: link to {link}, which does not exist"));
        } else if path.starts_with("docs/") && leaves(path, link) {
            problems.push(format!(
                "{path}: link to {link}, which is not in the book; name the file instead"
            ));
        }
    }
    problems
}

/// Whether `link` leads out of the first folder of `path`.
fn leaves(path: &str, link: &str) -> bool {
    let mut depth = path.matches('/').count();
    for part in link.split('/') {
        match part {
            ".." => depth -= 1,
            "." | "" => {}
            _ => depth += 1,
        }
        if depth == 0 {
            return true;
        }
    }
    false
}

/// Targets of `](target)` that are files, without `#section`, outside code.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for part in line.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") && !file.starts_with("mailto:") {
                found.push(file);
            }
        }
    }
    found
}

/// Golden files that no source or README of their crate names: dead, or never checked.
pub(crate) fn unlisted_golden_files(root: &Path, files: &[String]) -> Result<Vec<String>> {
    let mut sources: BTreeMap<&str, String> = BTreeMap::new();
    for path in files {
        let Some(package) = package_of(path) else {
            continue;
        };
        if path.ends_with(".rs") || path.ends_with("README.md") {
            let text =
                fs::read_to_string(root.join(path)).with_context(|| format!("reading {path}"))?;
            sources.entry(package).or_default().push_str(&text);
        }
    }
    let golden = files
        .iter()
        .filter(|path| path.contains("/tests/golden/") && !path.ends_with("README.md"));
    Ok(golden
        .filter(|path| {
            let text = package_of(path).and_then(|package| sources.get(package));
            !text.is_some_and(|text| names(text, path))
        })
        .map(|path| format!("{path}: no test names this golden file"))
        .collect())
}

/// Whether `text` holds the file's name without extension, or its start with a number put in by `format!`.
fn names(text: &str, path: &str) -> bool {
    let stem = Path::new(path)
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let start = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    text.contains(stem) || (start != stem && text.contains(&format!("{start}{{")))
}

/// `crates/NAME` or the first folder.
fn package_of(path: &str) -> Option<&str> {
    let parts = if path.starts_with("crates/") { 2 } else { 1 };
    let end = path.match_indices('/').nth(parts - 1)?.0;
    Some(&path[..end])
}

/// README.md must name the command that continuous integration runs, and `.ci/run` must call us.
pub(crate) fn test_command_problems(root: &Path) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let command = format!("cargo {}", ci::TEST.join(" "));
    for (file, needed) in [
        ("README.md", command.as_str()),
        (".ci/run", "cargo xtask ci"),
    ] {
        let text =
            fs::read_to_string(root.join(file)).with_context(|| format!("reading {file}"))?;
        let names = |line: &str| {
            let line = line.trim();
            line == needed || (file == ".ci/run" && line.starts_with(needed))
        };
        if !text.lines().any(names) {
            problems.push(format!("{file}: no line says `{needed}`"));
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_one_machine_are_found_only_where_they_start() {
        let [folder, ..] = MACHINE_FOLDERS;
        assert_eq!(problems("a.md", &format!("see {folder}x")).len(), 1);
        assert_eq!(problems("a.md", &format!("`{folder}x`")).len(), 1);
        assert_eq!(
            problems("a.md", &format!("https://example.org{folder}x")).len(),
            0
        );
    }

    #[test]
    fn default_device_is_found_in_code_only() {
        assert_eq!(
            problems("a.rs", &format!("let d = {DEFAULT_DEVICE};")).len(),
            1
        );
        assert_eq!(
            problems("a.rs", &format!("// not {DEFAULT_DEVICE}")).len(),
            0
        );
        assert_eq!(
            problems("a.rs", &format!("let d = NdArray{DEFAULT_DEVICE};")).len(),
            0
        );
        assert_eq!(problems("a.md", DEFAULT_DEVICE).len(), 0);
    }

    #[test]
    fn long_sources_and_large_fixtures_are_found() {
        assert_eq!(problems("a.rs", &"\n".repeat(LINES_MAX)).len(), 0);
        assert_eq!(problems("a.rs", &"\n".repeat(LINES_MAX + 1)).len(), 1);
        assert!(size_problems("crates/x/tests/a.bin", FIXTURE_BYTES_MAX + 1).is_some());
        assert!(
            size_problems("crates/split-backbone/embedded/net", FIXTURE_BYTES_MAX + 1).is_none()
        );
        assert!(size_problems("Cargo.lock", FIXTURE_BYTES_MAX + 1).is_none());
        assert!(size_problems("crates/x/fuzz/Cargo.lock", FIXTURE_BYTES_MAX + 1).is_none());
        assert!(size_problems(RECORDS_PAGE, FIXTURE_BYTES_MAX + 1).is_none());
        assert!(size_problems("docs/format.md", FIXTURE_BYTES_MAX + 1).is_some());
    }

    #[test]
    fn versions_and_lints_of_members_come_from_the_workspace() {
        let good = "[package]\nversion = \"1\"\n[lints]\nworkspace = true\n[dependencies]\na.workspace = true\n";
        assert_eq!(problems("a/Cargo.toml", good).len(), 0);
        assert_eq!(
            problems("a/Cargo.toml", &format!("{good}b = \"1.0\"\n")).len(),
            1
        );
        assert_eq!(problems("a/Cargo.toml", "[package]\n").len(), 1);
    }

    #[test]
    fn file_links_are_read_from_markdown() {
        let text = "[a](b.md) [c](https://x.org/y) [d](#e) [f](g/h.md#i)\n```\n[j](k)\n```\n[l](m)";
        assert_eq!(links(text), ["b.md", "g/h.md", "m"]);
    }

    #[test]
    fn links_out_of_a_folder_are_found() {
        assert!(leaves("docs/guide/a.md", "../../README.md"));
        assert!(leaves("docs/a.md", "../docs/b.md"));
        assert!(!leaves("docs/guide/a.md", "../format.md"));
        assert!(!leaves("docs/guide/a.md", "./b.md"));
    }

    #[test]
    fn golden_files_belong_to_the_crate_that_names_them() {
        assert_eq!(
            package_of("crates/split-tensor/tests/golden/a.bin"),
            Some("crates/split-tensor")
        );
        assert_eq!(package_of("xtask/src/main.rs"), Some("xtask"));
        assert_eq!(package_of("README.md"), None);
        assert!(names(
            "check(\"rans_one\")",
            "crates/x/tests/golden/rans_one.bin"
        ));
    }
}
