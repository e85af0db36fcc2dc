//! Tables and pictures of the docs, made from benches/records and never by hand; and all of it as one
//! page.
//!
//! A table stands between `<!-- record:NAME brief -->` (bytes at equal loss) or `<!-- record:NAME full -->`
//! (all rows) and `<!-- end -->`, where NAME is a file `benches/records/NAME.json`. Its curves are the picture `docs/pictures/NAME.svg`.
//! `<!-- record:runtime lines -->` is the table of `benches/records/runtime.jsonl`, and so for policies and
//! faults.

mod page;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use records::{RaDocument, brief_table, full_table, rate_picture, system_table};

use crate::shell;

pub(crate) use page::{PageArgs, write as write_page};

/// Pages that may hold tables.
const PAGES: [&str; 2] = ["README.md", ALL_TABLES];

/// The page that shows every record.
const ALL_TABLES: &str = "docs/benchmarks.md";

/// Records of whole systems, one line a figure; those that are there have a table.
const SYSTEMS: [&str; 8] = [
    "speed", "networks", "accuracy", "privacy", "runtime", "link", "policy", "faults",
];

const OPEN: &str = "<!-- record:";
const CLOSE: &str = "<!-- end -->";

/// Where records live, relative to the workspace.
pub(crate) const RECORDS: &str = "benches/records";

/// Where pictures of records live.
const PICTURES: &str = "docs/pictures";

/// Writes all tables and pictures anew, and a place for each record that has no table yet.
pub(crate) fn write(root: &Path) -> Result<()> {
    write_pictures(root)?;
    for (name, marker) in without_table(root)? {
        let page = root.join(ALL_TABLES);
        let old = read(&page)?;
        let place = format!("\n## {name}\n\n{marker}\n{CLOSE}\n");
        fs::write(&page, old + &place).with_context(|| format!("writing {ALL_TABLES}"))?;
    }
    for page in PAGES.map(|page| root.join(page)) {
        if !page.is_file() {
            continue;
        }
        let old = read(&page)?;
        let new = with_tables(&old, |words| table(root, words))
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
        .map(|(name, _)| format!("{ALL_TABLES}: no table of {name}; run `cargo xtask report`"))
        .collect();
    for name in PAGES {
        let page = root.join(name);
        if !page.is_file() {
            continue;
        }
        let old = read(&page)?;
        match with_tables(&old, |words| table(root, words)) {
            Ok(new) if new == old => {}
            Ok(_) => problems.push(format!(
                "{name}: tables differ from {RECORDS}; run `cargo xtask report`"
            )),
            Err(error) => problems.push(format!("{name}: {error:#}")),
        }
    }
    problems.extend(stale_pictures(root)?);
    Ok(problems)
}

fn write_pictures(root: &Path) -> Result<()> {
    let folder = root.join(PICTURES);
    fs::create_dir_all(&folder).with_context(|| format!("making {PICTURES}"))?;
    for name in documents(root)? {
        let path = folder.join(format!("{name}.svg"));
        let new = rate_picture(&load(root, &name)?);
        if fs::read_to_string(&path).is_ok_and(|old| old == new) {
            continue;
        }
        fs::write(&path, new).with_context(|| format!("writing {}", path.display()))?;
        shell::say(&format!("{}: written", path.display()));
    }
    Ok(())
}

/// Pictures that are missing, differ from their record or have none.
fn stale_pictures(root: &Path) -> Result<Vec<String>> {
    let names = documents(root)?;
    let mut problems = Vec::new();
    for name in &names {
        let path = format!("{PICTURES}/{name}.svg");
        // A record that cannot be read is reported by its own check.
        let Ok(document) = load(root, name) else {
            continue;
        };
        match fs::read_to_string(root.join(&path)) {
            Ok(old) if old == rate_picture(&document) => {}
            Ok(_) => problems.push(format!(
                "{path}: differs from {RECORDS}/{name}.json; run `cargo xtask report`"
            )),
            Err(_) => problems.push(format!("{path}: missing; run `cargo xtask report`")),
        }
    }
    for stem in stems(&root.join(PICTURES), "svg")? {
        if stem.starts_with("ra-") && !names.contains(&stem) {
            problems.push(format!("{PICTURES}/{stem}.svg: no record of that name"));
        }
    }
    Ok(problems)
}

/// Names of all rate-accuracy records.
fn documents(root: &Path) -> Result<Vec<String>> {
    stems(&root.join(RECORDS), "json")
}

/// Names, without extension, of the files in a folder that have it; none where there is no folder.
fn stems(folder: &Path, extension: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    // A workspace without any record has no such folder yet.
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry
            .with_context(|| format!("reading {}", folder.display()))?
            .path();
        if path.extension().is_some_and(|found| found == extension) {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            found.extend(stem.map(str::to_owned));
        }
    }
    found.sort();
    Ok(found)
}

/// Records that the page of all tables does not show, and the marker that would.
fn without_table(root: &Path) -> Result<Vec<(String, String)>> {
    let page = read(&root.join(ALL_TABLES))?;
    let curves = documents(root)?.into_iter().map(|name| (name, "full"));
    let systems = SYSTEMS.map(str::to_owned).into_iter();
    let systems = systems.filter(|name| root.join(lines_file(name)).is_file());
    let all = curves.chain(systems.map(|name| (name, "lines")));
    let marked = all.map(|(name, kind)| (format!("{OPEN}{name} {kind} -->"), name));
    let missing = marked.filter(|(marker, _)| !page.contains(marker));
    Ok(missing.map(|(marker, name)| (name, marker)).collect())
}

fn lines_file(name: &str) -> String {
    format!("{RECORDS}/{name}.jsonl")
}

/// What belongs between the markers with these words.
fn table(root: &Path, words: &[&str]) -> Result<String> {
    match words {
        [name, "lines"] if SYSTEMS.contains(name) => {
            let file = lines_file(name);
            system_table(&read(&root.join(&file))?).with_context(|| format!("reading {file}"))
        }
        [name, "brief"] => Ok(brief_table(&load(root, name)?)),
        [name, "full"] => Ok(full_table(&load(root, name)?)),
        _ => bail!("a record marker says {words:?}, expected NAME brief, NAME full or NAME lines"),
    }
}

/// The record of a name.
pub(crate) fn load(root: &Path, name: &str) -> Result<RaDocument> {
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
fn with_tables(page: &str, table: impl Fn(&[&str]) -> Result<String>) -> Result<String> {
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
        let table = table(&words)?;
        let close = after
            .find(CLOSE)
            .with_context(|| format!("{OPEN}{} has no {CLOSE}", words.join(" ")))?;
        ensure!(
            !after[..close].contains(OPEN),
            "{OPEN}{} has no {CLOSE} before the next one",
            words.join(" ")
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
        with_tables(page, |words| {
            ensure!(words[0] == "ra-x", "no record {words:?}");
            let document = RaDocument::parse(RECORD)?;
            match words.len() {
                2 if words[1] == "brief" => Ok(brief_table(&document)),
                2 if words[1] == "full" => Ok(full_table(&document)),
                _ => bail!("{words:?}"),
            }
        })
    }

    #[test]
    fn text_around_tables_stays_and_a_second_run_changes_nothing() {
        let once = check("# A\n<!-- record:ra-x brief -->old<!-- end -->\nB\n<!-- record:ra-x full -->\n<!-- end -->\nC").unwrap();
        assert!(
            once.starts_with("# A\n<!-- record:ra-x brief -->\n\nNetwork b cut at s"),
            "{once}"
        );
        assert!(once.ends_with("<!-- end -->\nC"), "{once}");
        assert!(!once.contains("old"), "{once}");
        assert_eq!(check(&once).unwrap(), once);
    }

    #[test]
    fn brief_tables_have_no_rows() {
        let brief = check("<!-- record:ra-x brief --><!-- end -->").unwrap();
        assert!(brief.contains("b cut at s"), "{brief}");
        assert!(!brief.contains("| r | unit |"), "{brief}");
    }

    #[test]
    fn broken_markers_are_errors() {
        for page in [
            "<!-- record:ra-x brief -->",
            "<!-- record:ra-x",
            "<!-- record:other --><!-- end -->",
            "<!-- record:ra-x brief -->\n<!-- record:ra-x brief -->\n<!-- end -->",
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
        assert_eq!(stale(root.path()).unwrap().len(), 2);
        write(root.path()).unwrap();
        assert!(stale(root.path()).unwrap().is_empty());
        let page = fs::read_to_string(at(ALL_TABLES)).unwrap();
        assert!(page.contains("| r | unit | 10.0 |"), "{page}");
        fs::write(
            at(RECORDS).join("ra-x.json"),
            RECORD.replace("88.0", "87.0"),
        )
        .unwrap();
        let found = stale(root.path()).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[1].starts_with("docs/pictures/ra-x.svg: differs"),
            "{found:?}"
        );
    }

    #[test]
    fn a_record_of_a_system_gets_a_table_that_follows_it() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at(RECORDS)).unwrap();
        fs::create_dir(at("docs")).unwrap();
        fs::write(at(ALL_TABLES), "# B\n").unwrap();
        let line = r#"{"schema": "split-faults/1", "command": "c", "git": "g", "date": "d",
            "machine": {"cpu": "x", "cores": 2}, "what": "faults", "seeds": 1, "requests": 9, "double": 0,
            "lost": 0, "bound_broken": 0, "outcomes": {"result": 3, "fallback": 3, "error": 3}}"#;
        let line = line.replace('\n', " ") + "\n";
        fs::write(at(&lines_file("faults")), &line).unwrap();
        let found = stale(root.path()).unwrap();
        assert_eq!(
            found,
            [format!(
                "{ALL_TABLES}: no table of faults; run `cargo xtask report`"
            )]
        );
        write(root.path()).unwrap();
        assert_eq!(stale(root.path()).unwrap(), [""; 0]);
        fs::write(
            at(&lines_file("faults")),
            line.replace("\"lost\": 0", "\"lost\": 1"),
        )
        .unwrap();
        assert_eq!(stale(root.path()).unwrap().len(), 1);
        write(root.path()).unwrap();
        let page = fs::read_to_string(at(ALL_TABLES)).unwrap();
        assert!(page.contains("**missed**: faults: 1 requests"), "{page}");
    }

    #[test]
    fn pictures_without_a_record_and_records_without_a_picture_are_found() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for folder in [RECORDS, PICTURES] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("docs/pictures/ra-old.svg"), "").unwrap();
        fs::write(at("docs/pictures/drawn-by-hand.svg"), "").unwrap();
        fs::write(at(RECORDS).join("ra-x.json"), RECORD).unwrap();
        let found = stale_pictures(root.path()).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("docs/pictures/ra-x.svg: missing"),
            "{found:?}"
        );
        assert!(
            found[1].starts_with("docs/pictures/ra-old.svg: no record"),
            "{found:?}"
        );
        write_pictures(root.path()).unwrap();
        assert_eq!(stale_pictures(root.path()).unwrap().len(), 1);
    }

    #[test]
    fn page_without_markers_stays_as_it_is() {
        assert_eq!(check("nothing here").unwrap(), "nothing here");
    }
}
