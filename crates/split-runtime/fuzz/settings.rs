//! The law of settings files, for a crate that has `program::{allowed, settings}` of the programs at its root.

#![allow(
    dead_code,
    reason = "what the programs do with settings besides reading them"
)]

#[path = "../src/bin/split-device/config.rs"]
mod device;
#[path = "../src/bin/split-edge/config.rs"]
mod edge;

use std::path::Path;

use clap::{Command, CommandFactory as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::program::settings::{parse, print};

/// Files that name every setting of a program with its default.
pub(crate) fn samples() -> [(&'static str, String); 2] {
    let [edge, device] = [edge::Cli::command(), device::Cli::command()];
    let sample = |printed: anyhow::Result<String>| printed.expect("defaults have a form in TOML");
    [
        (
            "edge",
            sample(print(&edge::EdgeSettings::defaults(), &edge)),
        ),
        (
            "device",
            sample(print(&device::DeviceSettings::defaults(), &device)),
        ),
    ]
}

/// What is read is printed as what is read again, and each setting has a value in its bounds or an error that is
/// one line.
pub(crate) fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some(settings) = read::<edge::EdgeSettings>(text, &edge::Cli::command()) {
        one_line(settings.top());
        one_line(settings.sizes());
        one_line(settings.client());
        one_line(settings.drain());
        one_line(settings.notice());
        one_line(settings.poll());
    }
    if let Some(settings) = read::<device::DeviceSettings>(text, &device::Cli::command()) {
        one_line(settings.models());
        one_line(settings.deadline_us());
        one_line(settings.connect());
        one_line(settings.in_flight());
        one_line(settings.video_fps());
        one_line(settings.fallback_us());
        one_line(settings.falls_back());
        let edges = one_line(settings.edges());
        one_line(settings.hedges(edges.map_or(0, |edges| edges.len())));
    }
}

fn read<S: Serialize + DeserializeOwned>(text: &str, command: &Command) -> Option<S> {
    let path = Path::new("settings.toml");
    let settings: S = one_line(parse(path, text))?;
    let printed = print(&settings, command).expect("what was read has a form in TOML");
    let again: S = parse(path, &printed).expect("what is printed is read");
    let twice = print(&again, command).expect("what was read has a form in TOML");
    assert_eq!(printed, twice);
    Some(settings)
}

fn one_line<T>(result: anyhow::Result<T>) -> Option<T> {
    if let Err(error) = &result {
        let said = format!("{error:#}");
        assert!(!said.is_empty() && !said.contains('\n'), "{said:?}");
    }
    result.ok()
}
