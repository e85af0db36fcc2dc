//! Settings from flags, environment and a file, all under one schema.
//!
//! A setting is one field of one struct: its flag, its environment variable and its key in the file
//! have one name, and its help is the comment that `--print-config` writes.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::Command;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// Longest settings file that is read.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 20;

/// Lays flags and environment over the file, and the file over the defaults.
///
/// # Errors
/// For a file that can't be read, and for a key that is unknown or holds something else; the
/// message names file, line and key.
pub(crate) fn layered<S>(defaults: &S, file: Option<&Path>, given: &S) -> Result<S>
where
    S: Serialize + DeserializeOwned,
{
    let mut settings = Table::try_from(defaults).context("the defaults as TOML")?;
    if let Some(path) = file {
        let text = read(path, MAX_FILE_BYTES)?;
        // Read as settings first: that finds unknown keys and wrong types, with their line.
        let read: S = parse(path, &text)?;
        settings.extend(Table::try_from(&read).context("the file as TOML")?);
    }
    settings.extend(Table::try_from(given).context("the flags as TOML")?);
    let merged = Value::Table(settings).try_into();
    merged.context("settings that don't fit together")
}

/// The settings of a file's text.
///
/// # Errors
/// For a key that is unknown or holds something else; the message names file, line and key. For a number that TOML
/// can't write again.
pub(crate) fn parse<S: Serialize + DeserializeOwned>(path: &Path, text: &str) -> Result<S> {
    let settings: S = toml::from_str(text).map_err(|error| at_line(path, text, &error))?;
    let written = Table::try_from(&settings);
    written.with_context(|| format!("{}: a number that no setting takes", path.display()))?;
    Ok(settings)
}

/// A setting that has to be there.
///
/// # Errors
/// Naming the setting and the three ways to give it.
pub(crate) fn need<'a, T>(value: &'a Option<T>, name: &str, program: &str) -> Result<&'a T> {
    value.as_ref().with_context(|| {
        let variable = name.replace('-', "_").to_uppercase();
        let prefix = program.replace('-', "_").to_uppercase();
        format!(
            "`{name}` is not set; give --{name}, the variable {prefix}_{variable}, or `{name} = ...` \
             in the file of --config"
        )
    })
}

/// Settings as a file that `--config` reads, each with its help above it; those that are not set
/// stand in comments.
///
/// # Errors
/// For settings that have no form in TOML.
pub(crate) fn print<S: Serialize>(settings: &S, command: &Command) -> Result<String> {
    let table = Table::try_from(settings).context("settings as TOML")?;
    let mut text = format!("# Settings of {}.\n", command.get_name());
    for argument in command.get_arguments() {
        // What has no variable is no setting: `--help` and others that print and end.
        let (Some(key), Some(_)) = (argument.get_long(), argument.get_env()) else {
            continue;
        };
        if key == "config" {
            continue;
        }
        let help = argument.get_long_help().or(argument.get_help());
        let help = help.map(ToString::to_string).unwrap_or_default();
        text.push('\n');
        for line in help.lines() {
            text.push_str(format!("# {line}").trim_end());
            text.push('\n');
        }
        match table.get(key) {
            Some(value) => text.push_str(&format!("{key} = {value}\n")),
            None => text.push_str(&format!("# {key} =\n")),
        }
    }
    Ok(text)
}

/// A file's text of at most `bytes_max`.
///
/// # Errors
/// Naming the file.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<String> {
    let bytes = read_bytes(path, bytes_max)?;
    String::from_utf8(bytes).with_context(|| format!("reading {}", path.display()))
}

/// A file of at most `bytes_max`.
///
/// # Errors
/// Naming the file.
pub(crate) fn read_bytes(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let shown = path.display();
    let reading = || format!("reading {shown}");
    let file = File::open(path).with_context(reading)?;
    let mut bytes = Vec::new();
    // One more than may be there shows that there is more, also of a file that grows meanwhile.
    let mut limited = file.take(bytes_max + 1);
    limited.read_to_end(&mut bytes).with_context(reading)?;
    if bytes.len() as u64 > bytes_max {
        bail!("{shown} has more than {bytes_max} bytes");
    }
    Ok(bytes)
}

/// Certificates or a key.
///
/// # Errors
/// Naming the file.
pub(crate) fn read_pem(path: &Path) -> Result<Vec<u8>> {
    const MAX_PEM_BYTES: u64 = 1 << 20;
    read_bytes(path, MAX_PEM_BYTES)
}

/// An error of a TOML file in one line.
pub(crate) fn at_line(path: &Path, text: &str, error: &toml::de::Error) -> anyhow::Error {
    let line = error.span().map(|span| {
        let before = text.get(..span.start).unwrap_or_default();
        format!(", line {}", before.matches('\n').count() + 1)
    });
    let message = error.message().replace('\n', " ");
    let place = line.unwrap_or_default();
    anyhow::anyhow!("{}{place}: {message}", path.display())
}
