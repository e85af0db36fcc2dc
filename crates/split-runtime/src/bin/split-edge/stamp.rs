//! Whether files changed, without reading them.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

/// Length and time of some files: another stamp means that they may have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<(PathBuf, u64, Option<SystemTime>)>);

/// The stamp of files; one that isn't there has no length and no time.
pub(crate) fn stamp(files: &[PathBuf]) -> Stamp {
    let one = |path: &PathBuf| {
        let data = fs::metadata(path);
        let bytes = data.as_ref().map_or(0, fs::Metadata::len);
        let time = data.and_then(|data| data.modified()).ok();
        (path.clone(), bytes, time)
    };
    Stamp(files.iter().map(one).collect())
}
