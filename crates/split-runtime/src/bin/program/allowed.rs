//! What settings may hold, said once: for those who check it and for the page that lists it.

use anyhow::{Result, ensure};

/// What `backend` takes.
pub(crate) const BACKENDS: [&str; 3] = ["flex", "wgpu", "wgpu:NUMBER"];

/// What `split-device --policy` takes.
#[allow(dead_code, reason = "the edge chooses no rung")]
pub(crate) const POLICIES: [&str; 6] = [
    "fixed",
    "own",
    "throughput",
    "neurosurgeon",
    "dynamic-split",
    "device-only",
];

/// What a setting may hold, where its type allows more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Allowed {
    /// Whole numbers from the first to the second.
    Whole(u64, u64),
    /// Any finite number above zero.
    #[allow(dead_code, reason = "the edge has none")]
    AboveZero,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// Settings by name and what each may hold.
pub(crate) type AllowedOf = [(&'static str, Allowed)];

/// What `name` may hold, if its type allows more.
pub(crate) fn of(all: &AllowedOf, name: &str) -> Option<Allowed> {
    let found = all.iter().find(|(one, _)| *one == name);
    found.map(|(_, allowed)| *allowed)
}

/// A whole number that has to be in the range of its setting.
///
/// # Errors
/// Naming the setting, what it holds and what is allowed.
pub(crate) fn whole(all: &AllowedOf, name: &str, value: u64) -> Result<u64> {
    let allowed = of(all, name);
    // A setting that was forgotten in the list allows nothing, so that it is missed at once.
    let (least, most) = match allowed {
        Some(Allowed::Whole(least, most)) => (least, most),
        _ => (1, 0),
    };
    ensure!(
        (least..=most).contains(&value),
        "{name} = {value}, allowed are {least} to {most}"
    );
    Ok(value)
}
