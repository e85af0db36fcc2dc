//! The page of settings in the guide says what the programs take.

use std::fs;
use std::path::Path;

use super::processes::{device_alone, edge, printed};

/// `UPDATE_GOLDEN=1` and this command write the tables of the page anew; its introduction is written by hand.
const COMMAND: &str =
    "UPDATE_GOLDEN=1 cargo test --package xtask --package split-runtime --test programs guide";

const FIRST: &str = "## split-edge\n";

#[test]
fn the_page_of_settings_holds_what_the_programs_take() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/settings.md");
    let found = fs::read_to_string(&page).unwrap();
    let (introduction, _) = found.split_once(FIRST).unwrap();
    let of_edge = printed(edge().arg("--print-settings"));
    let mut device = device_alone(Path::new("none"));
    let of_device = printed(device.arg("--print-settings"));
    let expected = format!("{introduction}{FIRST}\n{of_edge}\n## split-device\n\n{of_device}");
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::write(&page, expected).unwrap();
        return;
    }
    let differs = expected
        .lines()
        .zip(found.lines())
        .find(|(new, old)| new != old);
    assert!(
        expected == found,
        "docs/guide/settings.md is not what the programs take, first at {differs:?}; `{COMMAND}` writes it anew"
    );
}
