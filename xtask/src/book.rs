//! The book that mdBook makes of `docs`: it must build, and no link in it may lead nowhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::shell;

/// Builds the book into `out/book` and follows its links; says aloud where mdBook is missing.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut version = Command::new("mdbook");
    version.arg("--version").stdout(Stdio::null());
    if !version.status().is_ok_and(|status| status.success()) {
        shell::say("skipped: mdbook is not installed");
        return Ok(());
    }
    let status = Command::new("mdbook")
        .current_dir(root)
        .args(["build", "docs"])
        .status()
        .context("starting mdbook")?;
    ensure!(status.success(), "mdbook could not build docs ({status})");
    let book = root.join("out/book");
    let book = book.canonicalize().context("the folder of the book")?;
    let mut pages = Vec::new();
    html_files(&book, &mut pages)?;
    ensure!(!pages.is_empty(), "{}: no page", book.display());
    let mut texts = BTreeMap::new();
    for page in pages {
        let text = fs::read_to_string(&page);
        let text = text.with_context(|| format!("reading {}", page.display()))?;
        texts.insert(page, text);
    }
    let mut dead = Vec::new();
    for (page, text) in &texts {
        for target in targets(text) {
            if !leads_somewhere(page, target, &texts) {
                dead.push(format!("{}: {target} is not there", page.display()));
            }
        }
    }
    ensure!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
    shell::say(&format!("{}: {} pages", book.display(), texts.len()));
    Ok(())
}

fn html_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            html_files(&path, found)?;
        } else if path.extension().is_some_and(|end| end == "html") {
            found.push(path);
        }
    }
    Ok(())
}

/// Whether a link of `page` leads to a file, and to a place in it where it names one.
fn leads_somewhere(page: &Path, target: &str, texts: &BTreeMap<PathBuf, String>) -> bool {
    let (file, place) = target.split_once('#').unwrap_or((target, ""));
    let folder = page.parent().unwrap_or(page);
    let path = if file.is_empty() {
        page.to_path_buf()
    } else {
        folder.join(file)
    };
    let Ok(path) = path.canonicalize() else {
        return false;
    };
    let id = format!(" id=\"{place}\"");
    place.is_empty() || texts.get(&path).is_none_or(|text| text.contains(&id))
}

/// What a page links to or shows within the book. The page for addresses that are not found names all of its
/// files from the server's root; what starts there can't be followed.
fn targets(page: &str) -> Vec<&str> {
    let of = |name: &'static str| page.split(name).skip(1);
    of(" href=\"")
        .chain(of(" src=\""))
        .filter_map(|rest| rest.split('"').next())
        .filter(|target| !target.is_empty() && !target.starts_with('/') && !target.contains(':'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_files_and_to_places_in_them() {
        let book = tempfile::tempdir().unwrap();
        let folder = book.path().canonicalize().unwrap();
        let (one, two) = (folder.join("one.html"), folder.join("two.html"));
        let page = "<a href=\"two.html#b\">a</a><a href=\"#c\">c</a><a href=\"https://x.org/y\">y</a>\
                    <img alt=\"d\" src=\"d/e.svg\"><a href=\"/f\">f</a><h1 id=\"c\">C</h1>";
        fs::write(&one, page).unwrap();
        fs::write(&two, "<h1 id=\"b\">B</h1>").unwrap();
        assert_eq!(targets(page), ["two.html#b", "#c", "d/e.svg"]);
        let texts = [&one, &two].map(|path| (path.clone(), fs::read_to_string(path).unwrap()));
        let texts = BTreeMap::from(texts);
        for (target, there) in [
            ("two.html", true),
            ("two.html#b", true),
            ("two.html#z", false),
            ("#c", true),
            ("#z", false),
            ("d/e.svg", false),
        ] {
            assert_eq!(leads_somewhere(&one, target, &texts), there, "{target}");
        }
    }
}
