//! What the thin program knows of the options of the other one.

use serde::{Deserialize, Serialize};

/// A command of `lab`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LabCommand {
    /// As it is typed.
    pub name: String,
    /// In the order of its help.
    pub options: Vec<LabOption>,
}

/// One of its options.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LabOption {
    /// Without the dashes.
    pub long: String,
    /// First paragraph of its help.
    pub help: String,
    /// Whether a value follows.
    pub takes_value: bool,
    /// The values that it knows, where they are few.
    pub values: Vec<String>,
}
