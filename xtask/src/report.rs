//! Tables in README.md and docs/benchmarks.md, made from benches/records and never by hand.
//!
//! A table stands between `<!-- record:NAME -->` (a dozen rows) or `<!-- record:NAME full -->` (all
//! rows) and `<!-- end -->`, where NAME is a file `benches/records/NAME.json`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use records::{RaDocument, full_table, short_table};

use crate::shell;

/// Pages that may hold tables.
const PAGES: [&str; 2] = ["README.md", ALL_TABLES];

/// The page that shows every record.
const ALL_TABLES: &str = "docs/benchmarks.md";

const OPEN: &str = "<!-- record:";
const CLOSE: &str = "<!-- end -->";

/// Where records live, relative to the workspace.
pub(crate) const RECORDS: &str = "benches/records";

/// Writes all tables anew, and a place for each record that has none yet.
pub(crate) fn write(root: &Path) -> Result<()> {
    for name in without_table(root)? {
        let page = root.join(ALL_TABLES);
        let old = read(&page)?;
        let place = format!("\n## {name}\n\n{OPEN}{name} full -->\n{CLOSE}\n");
        fs::write(&page, old + &place).with_context(|| format!("writing {ALL_TABLES}"))?;
    }
    for page in PAGES.map(|page| root.join(page)) {
        if !page.is_file() {
            continue;
        }
        let old = read(&page)?;
        let new = with_tables(&old, |name| load(root, name))
            .with_context(|| format!("tables of {}", page.display()))?;
        if new == old {
            shell::say(&format!("{}: up to date", page.display()));
            continue;
        }
        fs::write(&page, new).with_context(|| format!("writing {}", page.display()))?;
        shell::say(&format!("{}: written", page.display()));
    }
    Ok(())
}

/// Pages whose tables are not what the records say.
pub(crate) fn stale(root: &Path) -> Result<Vec<String>> {
    let missing = without_table(root)?.into_iter();
    let mut problems: Vec<String> = missing
        .map(|name| format!("{ALL_TABLES}: no table of {name}; run `cargo xtask report`"))
        .collect();
    for name in PAGES {
        let page = root.join(name);
        if !page.is_file() {
            continue;
        }
        let old = read(&page)?;
        match with_tables(&old, |record| load(root, record)) {
            Ok(new) if new == old => {}
            Ok(_) => problems.push(format!(
                "{name}: tables differ from {RECORDS}; run `cargo xtask report`"
            )),
            Err(error) => problems.push(format!("{name}: {error:#}")),
        }
    }
    Ok(problems)
}

/// Rate-accuracy records that the page of all tables does not show.
fn without_table(root: &Path) -> Result<Vec<String>> {
    let page = read(&root.join(ALL_TABLES))?;
    let folder = root.join(RECORDS);
    let mut names = Vec::new();
    // A workspace without any record has no such folder yet.
    for entry in fs::read_dir(&folder).into_iter().flatten() {
        let path = entry
            .with_context(|| format!("reading {}", folder.display()))?
            .path();
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
            && !page.contains(&format!("{OPEN}{stem} full -->"))
        {
            names.push(stem.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn load(root: &Path, name: &str) -> Result<RaDocument> {
    ensure!(
        name.chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)),
        "record name {name:?} has characters other than letters, digits, '-', '_' and '.'"
    );
    let path: PathBuf = root.join(RECORDS).join(format!("{name}.json"));
    RaDocument::parse(&read(&path)?).with_context(|| format!("reading {}", path.display()))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// `page` with what lies between markers replaced.
fn with_tables(page: &str, load: impl Fn(&str) -> Result<RaDocument>) -> Result<String> {
    let mut out = String::new();
    let mut rest = page;
    while let Some(at) = rest.find(OPEN) {
        let marker_end = rest[at..]
            .find("-->")
            .context("a record marker is not closed by -->")?;
        let (before, after) = rest.split_at(at + marker_end + "-->".len());
        let words: Vec<&str> = before[at + OPEN.len()..before.len() - "-->".len()]
            .split_whitespace()
            .collect();
        let table = match words[..] {
            [name] => short_table(&load(name)?),
            [name, "full"] => full_table(&load(name)?),
            _ => bail!("a record marker says {words:?}, expected NAME or NAME full"),
        };
        let close = after
            .find(CLOSE)
            .with_context(|| format!("{OPEN}{} has no {CLOSE}", words[0]))?;
        ensure!(
            !after[..close].contains(OPEN),
            "{OPEN}{} has no {CLOSE} before the next one",
            words[0]
        );
        out.push_str(before);
        out.push_str("\n\n");
        out.push_str(&table);
        out.push('\n');
        out.push_str(CLOSE);
        rest = &after[close + CLOSE.len()..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"schema": "split-ra/1", "command": "c", "git": "g", "date": "2026-11-23",
        "machine": {"cpu": "x", "cores": 2, "os": "linux"}, "versions": {"burn": "0", "backend": "flex"},
        "seed": 1, "data": {"name": "d", "train": 1, "test": 1, "sha256": "0"},
        "backbone": {"name": "b", "split": "s", "weights_sha256": "0", "macs": 1, "params": 1,
        "metric": "top1", "value": 90.0},
        "rows": [{"name": "r", "kind": "unit", "bytes": 10, "bpp": 0.1, "value": 88.0, "n": 1}]}"#;

    fn check(page: &str) -> Result<String> {
        with_tables(page, |name| {
            ensure!(name == "ra-x", "no record {name}");
            Ok(RaDocument::parse(RECORD)?)
        })
    }

    #[test]
    fn text_around_tables_stays_and_a_second_run_changes_nothing() {
        let once = check("# A\n<!-- record:ra-x -->old<!-- end -->\nB\n<!-- record:ra-x full -->\n<!-- end -->\nC").unwrap();
        assert!(
            once.starts_with("# A\n<!-- record:ra-x -->\n\nb cut at s"),
            "{once}"
        );
        assert!(once.ends_with("<!-- end -->\nC"), "{once}");
        assert!(!once.contains("old"), "{once}");
        assert_eq!(check(&once).unwrap(), once);
    }

    #[test]
    fn broken_markers_are_errors() {
        for page in [
            "<!-- record:ra-x -->",
            "<!-- record:ra-x",
            "<!-- record:other --><!-- end -->",
            "<!-- record:ra-x -->\n<!-- record:ra-x -->\n<!-- end -->",
            "<!-- record:ra-x wide --><!-- end -->",
        ] {
            assert!(check(page).is_err(), "{page}");
        }
    }

    #[test]
    fn every_record_gets_a_table_and_tidy_sees_a_missing_one() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at(RECORDS)).unwrap();
        fs::create_dir(at("docs")).unwrap();
        fs::write(at(ALL_TABLES), "# B\n").unwrap();
        assert!(stale(root.path()).unwrap().is_empty());
        fs::write(at(RECORDS).join("ra-x.json"), RECORD).unwrap();
        assert_eq!(stale(root.path()).unwrap().len(), 1);
        write(root.path()).unwrap();
        assert!(stale(root.path()).unwrap().is_empty());
        let page = fs::read_to_string(at(ALL_TABLES)).unwrap();
        assert!(page.contains("| r | unit | 10.0 |"), "{page}");
        fs::write(
            at(RECORDS).join("ra-x.json"),
            RECORD.replace("88.0", "87.0"),
        )
        .unwrap();
        assert_eq!(stale(root.path()).unwrap().len(), 1);
    }

    #[test]
    fn page_without_markers_stays_as_it_is() {
        assert_eq!(check("nothing here").unwrap(), "nothing here");
    }
}
