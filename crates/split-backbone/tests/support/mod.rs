//! Where the tests find real weights and pictures.

use std::path::{Path, PathBuf};

/// The folder of real weights and pictures, where there is one: `SPLIT_ASSETS`, else
/// `../shared/assets` beside the checkout. Says so when a test has to be skipped.
pub(crate) fn assets(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("SPLIT_ASSETS").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/assets");
    let path = named.unwrap_or_else(beside);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!(
        "skipped {test}: no folder {}; set SPLIT_ASSETS",
        path.display()
    );
    None
}
