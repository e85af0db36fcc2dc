//! The options of a program as JSON, for `cargo xtask completions`, which is not compiled with them. Programs of
//! other packages include this file as well.

use std::io::Write as _;

use clap::{Arg, Command};
use serde_json::{Value, json};

/// By this first argument a program is asked for its options. No help names it.
const ASKED: &str = "--print-options";

/// Whether the command line asks for the options; they are printed then.
pub(crate) fn were_asked_for(command: &Command) -> bool {
    let asked = std::env::args_os().nth(1).is_some_and(|word| word == ASKED);
    if asked {
        // Who asked and doesn't read on misses nothing.
        let _ = writeln!(std::io::stdout(), "{}", described(command));
    }
    asked
}

/// A command with its options and the commands below it.
fn described(command: &Command) -> Value {
    let options = command.get_arguments().filter(|one| !one.is_hide_set());
    let options: Vec<Value> = options.filter_map(option).collect();
    let below = command.get_subcommands().filter(|one| !one.is_hide_set());
    let commands: Vec<Value> = below.map(described).collect();
    let help = command.get_about().map(ToString::to_string);
    json!({
        "name": command.get_name(),
        "help": help.unwrap_or_default(),
        "options": options,
        "commands": commands,
    })
}

/// Nothing for what has no name to complete.
fn option(argument: &Arg) -> Option<Value> {
    let values = argument.get_possible_values();
    let values: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
    let help = argument.get_help().map(ToString::to_string);
    Some(json!({
        "long": argument.get_long()?,
        "help": help.unwrap_or_default(),
        "takes_value": argument.get_action().takes_values(),
        "values": values,
    }))
}
