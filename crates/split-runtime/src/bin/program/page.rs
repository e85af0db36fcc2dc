//! All settings of a program as a table for the guide, from the definitions that the program itself uses.

use anyhow::{Context as _, Result, ensure};
use clap::{Arg, Command};
use serde::Serialize;
use toml::{Table, Value};

use super::allowed::{self, Allowed, AllowedOf};

/// One row a setting, in Markdown.
///
/// # Errors
/// For settings that have no form in TOML, and for a range of a setting that isn't there.
pub(crate) fn table<S: Serialize>(
    defaults: &S,
    command: &Command,
    all: &AllowedOf,
) -> Result<String> {
    let defaults = Table::try_from(defaults).context("the defaults as TOML")?;
    let mut text = "| flag | variable | key in the file | type and range | default | meaning |\n\
        |---|---|---|---|---|---|\n"
        .to_owned();
    let mut known = Vec::new();
    for argument in command.get_arguments() {
        // What has no variable is no setting: pictures, `--help` and others that print and end.
        let (Some(flag), Some(variable)) = (argument.get_long(), argument.get_env()) else {
            continue;
        };
        known.push(flag);
        let variable = variable.to_string_lossy();
        let key = match flag {
            "config" => "none".to_owned(),
            _ => format!("`{flag}`"),
        };
        let kind = kind(argument, allowed::of(all, flag));
        let default = defaults.get(flag).map(shown);
        let default = default.unwrap_or_else(|| "none".to_owned());
        let meaning = meaning(argument);
        let row =
            format!("| `--{flag}` | `{variable}` | {key} | {kind} | {default} | {meaning} |\n");
        text.push_str(&row);
    }
    for (name, _) in all {
        ensure!(known.contains(name), "no setting has the name `{name}`");
    }
    Ok(text)
}

fn kind(argument: &Arg, allowed: Option<Allowed>) -> String {
    let words = |words: &[&str]| {
        let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        quoted.join(", ")
    };
    let value = argument.get_value_names().and_then(|names| names.first());
    let one = match (allowed, value.map_or("", |name| name.as_str())) {
        (Some(Allowed::Whole(least, most)), _) => format!("whole number, {least} to {most}"),
        (Some(Allowed::AboveZero), _) => "number above 0".to_owned(),
        (Some(Allowed::OneOf(choices)), _) => words(choices),
        (None, "BOOL") => words(&["true", "false"]),
        (None, "DIR") => "folder".to_owned(),
        (None, "FILE") => "file".to_owned(),
        (None, "NAME") => "name".to_owned(),
        (None, "RUNG") => "name or place".to_owned(),
        (None, other) => format!("`{other}`"),
    };
    match argument.get_value_delimiter() {
        Some(delimiter) => format!("{one}, several with `{delimiter}`; in the file a list"),
        None => one,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

/// The help in one line, without the default: that has a column of its own.
fn meaning(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = help.find(" Default").unwrap_or(help.len());
    help[..end].trim_end_matches('.').replace('|', "\\|")
}
