//! Whether files changed, without reading them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};

/// Name, length and time of every file of a model: another stamp means that it may have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<(PathBuf, u64, Option<SystemTime>)>);

/// The stamp of a folder.
///
/// # Errors
/// Where the folder can't be listed.
pub(crate) fn stamp(folder: &Path) -> Result<Stamp> {
    let listing = || format!("listing {}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(listing)? {
        let path = entry.with_context(listing)?.path();
        // A file that goes while we look has no length; the next look will tell.
        let data = fs::metadata(&path);
        let bytes = data.as_ref().map_or(0, fs::Metadata::len);
        files.push((path, bytes, data.and_then(|data| data.modified()).ok()));
    }
    files.sort();
    Ok(Stamp(files))
}
