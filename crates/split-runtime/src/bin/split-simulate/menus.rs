//! Menus of the command line.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use split_runtime::Menu;

/// The menu that the project ships, from its own record.
const EMBEDDED: &str = include_str!("../../../menus/embedded.json");

/// The menu of a file, else the embedded one.
pub(crate) fn read(path: Option<&Path>) -> Result<Menu> {
    let text = match path {
        Some(path) => {
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?
        }
        None => EMBEDDED.to_owned(),
    };
    Menu::parse_json(&text).context("reading the menu")
}
