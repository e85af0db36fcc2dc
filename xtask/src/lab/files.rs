//! Files that are whole or absent.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

/// Writes beside the target and renames, so that a full disk or a crash leaves the old file.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let written = fs::write(&part, bytes)
        .and_then(|()| fs::File::open(&part)?.sync_all())
        .and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        // Best effort: the error below is the one that matters.
        let _ = fs::remove_file(&part);
    }
    written.with_context(|| format!("writing {} (disk full or no permission?)", path.display()))
}

/// Adds one JSON line to a record: the whole line, or nothing and an error.
pub(crate) fn append_line(path: &Path, line: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    append(path, text.as_bytes())
}

/// Adds bytes to a file: all of them, or none and an error.
pub(crate) fn append(path: &Path, bytes: &[u8]) -> Result<()> {
    let append = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?;
        let before = file.metadata()?.len();
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if written.is_err() {
            // Best effort: the error below is the one that matters.
            let _ = file.set_len(before);
        }
        written
    };
    append().with_context(|| format!("appending to {} (disk full?)", path.display()))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

pub(crate) fn folder(path: &Path) -> Result<PathBuf> {
    fs::create_dir_all(path).with_context(|| format!("creating folder {}", path.display()))?;
    Ok(path.to_owned())
}
