//! The options of all commands, for who completes them without being compiled with them.

use anyhow::Result;
use clap::Command;
use records::{LabCommand, LabOption};

pub(crate) fn run(cli: &Command) -> Result<()> {
    let commands: Vec<LabCommand> = cli
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(described)
        .collect();
    say!("{}", serde_json::to_string(&commands)?);
    Ok(())
}

fn described(command: &Command) -> LabCommand {
    let options = command.get_arguments().filter_map(|argument| {
        let values = argument.get_possible_values();
        let help = argument.get_help().map(ToString::to_string);
        Some(LabOption {
            long: argument.get_long()?.to_owned(),
            help: help.unwrap_or_default(),
            takes_value: argument.get_action().takes_values(),
            values: values
                .iter()
                .map(|value| value.get_name().to_owned())
                .collect(),
        })
    });
    LabCommand {
        name: command.get_name().to_owned(),
        options: options.collect(),
    }
}
