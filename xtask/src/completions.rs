//! Completion scripts that know the options of `lab` too.

use anyhow::{Context as _, Result, ensure};
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command};
use clap_complete::Shell;
use records::{LabCommand, LabOption};

use crate::{forward, shell};

/// Prints the script for `xtask`. Compiles `lab`, which alone knows its options.
///
/// # Errors
/// `lab` that can't be compiled, or an output that is closed.
pub(crate) fn print(mut cli: Command, name: Shell) -> Result<()> {
    let output = forward::lab_output("options")?;
    let commands: Vec<LabCommand> =
        serde_json::from_str(&output).context("reading the options of lab")?;
    ensure!(!commands.is_empty(), "lab names no commands");
    for command in &commands {
        cli = with_options(cli, command);
    }
    let mut script = Vec::new();
    clap_complete::generate(name, &mut cli, "xtask", &mut script);
    shell::say(String::from_utf8(script)?.trim_end());
    Ok(())
}

fn with_options(cli: Command, command: &LabCommand) -> Command {
    if cli.find_subcommand(&command.name).is_none() {
        return cli;
    }
    cli.mut_subcommand(&command.name, |subcommand| {
        // What is handed on as it is would hide the options.
        let subcommand = subcommand.mut_arg("rest", |rest| rest.hide(true));
        subcommand.args(command.options.iter().map(argument))
    })
}

fn argument(option: &LabOption) -> Arg {
    let argument = Arg::new(option.long.clone())
        .long(option.long.clone())
        .help(option.help.clone());
    match (option.takes_value, option.values.is_empty()) {
        (false, _) => argument.action(ArgAction::SetTrue),
        (true, true) => argument,
        (true, false) => argument.value_parser(PossibleValuesParser::new(option.values.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_lab_are_in_the_script() {
        let command = LabCommand {
            name: "train".to_owned(),
            options: vec![LabOption {
                long: "backend".to_owned(),
                help: "Where tensors are computed".to_owned(),
                takes_value: true,
                values: vec!["flex".to_owned(), "wgpu".to_owned()],
            }],
        };
        let rest = Arg::new("rest").trailing_var_arg(true).num_args(0..);
        let cli = Command::new("xtask").subcommand(Command::new("train").arg(rest));
        let cli = with_options(cli, &command);
        let mut with = with_options(
            cli,
            &LabCommand {
                name: "gone".to_owned(),
                options: vec![],
            },
        );
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut with, "xtask", &mut script);
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("--backend"), "{script}");
        assert!(script.contains("flex wgpu"), "{script}");
    }
}
