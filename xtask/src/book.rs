//! The book that mdBook makes of `docs`: it must build, and no link in it may lead nowhere.

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
    let mut pages = Vec::new();
    html_files(&book, &mut pages)?;
    ensure!(!pages.is_empty(), "{}: no page", book.display());
    let mut dead = Vec::new();
    for page in &pages {
        let text =
            fs::read_to_string(page).with_context(|| format!("reading {}", page.display()))?;
        let folder = page.parent().unwrap_or(&book);
        for target in targets(&text) {
            if !folder.join(target).exists() {
                dead.push(format!("{}: {target} is not there", page.display()));
            }
        }
    }
    ensure!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
    shell::say(&format!("{}: {} pages", book.display(), pages.len()));
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

/// Files that a page links to or shows, without `#section`. The page for addresses that are not found names
/// all of its files from the server's root; what starts there can't be followed.
fn targets(page: &str) -> Vec<&str> {
    let of = |name: &'static str| page.split(name).skip(1);
    of(" href=\"")
        .chain(of(" src=\""))
        .filter_map(|rest| rest.split('"').next())
        .filter_map(|target| target.split('#').next())
        .filter(|file| !file.is_empty() && !file.starts_with('/') && !file.contains(':'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_taken_from_links_and_pictures() {
        let page = "<a href=\"a.html#b\">a</a><a href=\"#c\">c</a><a href=\"https://x.org/y\">y</a>\
                    <img alt=\"d\" src=\"d/e.svg\"><a href=\"/f\">f</a>";
        assert_eq!(targets(page), ["a.html", "d/e.svg"]);
    }
}
