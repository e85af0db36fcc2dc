//! Where the tests find real weights and pictures.

use std::io::Write as _;
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
    skip(
        test,
        &format!("no folder {}; set SPLIT_ASSETS", path.display()),
    );
    None
}

/// Whether the long tests are wanted. Says so when `test` has to be skipped.
#[allow(dead_code, reason = "not every file of tests has long ones")]
pub(crate) fn slow(test: &str) -> bool {
    let wanted = std::env::var_os("SPLIT_SLOW").is_some();
    if !wanted {
        skip(test, "slow; set SPLIT_SLOW=1");
    }
    wanted
}

/// Straight to the stream: the test runner keeps what is printed.
fn skip(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped {test}: {why}");
}
