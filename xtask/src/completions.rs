//! Completion scripts that know the options of other programs too.

use anyhow::{Context as _, Result, ensure};
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command};
use clap_complete::Shell;
use serde::Deserialize;

use crate::{forward, shell};

/// A command of another program, or that program itself.
#[derive(Deserialize)]
struct ProgramCommand {
    /// As it is typed.
    name: String,
    /// First paragraph of its help.
    help: String,
    /// In the order of its help.
    options: Vec<ProgramOption>,
    /// The commands below it.
    commands: Vec<Self>,
}

/// One of its options.
#[derive(Deserialize)]
struct ProgramOption {
    /// Without the dashes.
    long: String,
    /// First paragraph of its help.
    help: String,
    /// Whether a value follows.
    takes_value: bool,
    /// The values that it knows, where they are few.
    values: Vec<String>,
}

/// Prints the script for `xtask`. Compiles the programs that its commands hand on to: they alone know their
/// options.
///
/// # Errors
/// A program that can't be compiled, or an output that is closed.
pub(crate) fn print(mut cli: Command, name: Shell) -> Result<()> {
    for (place, text) in forward::options_of_programs()? {
        let program: ProgramCommand = serde_json::from_str(&text)
            .with_context(|| format!("reading the options of `{}`", place.join(" ")))?;
        let knows = !program.commands.is_empty() || !program.options.is_empty();
        ensure!(
            knows,
            "`{}` names neither options nor commands",
            place.join(" ")
        );
        cli = with_program(cli, place, &program);
    }
    let mut script = Vec::new();
    clap_complete::generate(name, &mut cli, "xtask", &mut script);
    shell::say(String::from_utf8(script)?.trim_end());
    Ok(())
}

/// `cli` with a program's options and commands below the command that hands on to it. Without one it is the
/// program of many commands, of which `cli` names those that a person may type.
fn with_program(mut cli: Command, place: &[&str], program: &ProgramCommand) -> Command {
    if let Some((first, below)) = place.split_first() {
        if cli.find_subcommand(*first).is_none() {
            cli = cli.subcommand(Command::new((*first).to_owned()));
        }
        return cli.mut_subcommand(*first, |command| match below {
            [] => with_options(command, program),
            _ => with_program(command, below, program),
        });
    }
    for command in &program.commands {
        if cli.find_subcommand(&command.name).is_some() {
            cli = cli.mut_subcommand(&command.name, |known| with_options(known, command));
        }
    }
    cli
}

fn with_options(mut command: Command, found: &ProgramCommand) -> Command {
    // What is handed on as it is would hide the options.
    if command.get_arguments().any(|one| one.get_id() == "rest") {
        command = command.mut_arg("rest", |rest| rest.hide(true));
    }
    if command.get_about().is_none() {
        command = command.about(found.help.clone());
    }
    command = command.args(found.options.iter().map(argument));
    for below in &found.commands {
        if command.find_subcommand(&below.name).is_none() {
            command = command.subcommand(Command::new(below.name.clone()));
        }
        command = command.mut_subcommand(&below.name, |known| with_options(known, below));
    }
    command
}

fn argument(option: &ProgramOption) -> Arg {
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

    fn command(name: &str, option: &str, commands: Vec<ProgramCommand>) -> ProgramCommand {
        ProgramCommand {
            name: name.to_owned(),
            help: format!("What {name} does"),
            options: vec![ProgramOption {
                long: option.to_owned(),
                help: "Where tensors are computed".to_owned(),
                takes_value: true,
                values: vec!["flex".to_owned(), "wgpu".to_owned()],
            }],
            commands,
        }
    }

    fn cli() -> Command {
        let rest = || Arg::new("rest").trailing_var_arg(true).num_args(0..);
        Command::new("xtask")
            .subcommand(Command::new("bench").arg(rest()))
            .subcommand(Command::new("train").arg(rest()))
    }

    fn script(mut cli: Command, shell: Shell) -> String {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut cli, "xtask", &mut script);
        String::from_utf8(script).unwrap()
    }

    #[test]
    fn options_of_commands_and_of_those_below_them_are_in_the_script() {
        let networks = command("networks", "rounds", vec![]);
        let commands = vec![
            command("train", "backend", vec![]),
            command("bench", "peers", vec![networks]),
            command("gone", "none", vec![]),
        ];
        let lab = command("lab", "unused", commands);
        let codec = command("cargo xtask bench codec", "entropy", vec![]);
        let cli = with_program(cli(), &[], &lab);
        let cli = with_program(cli, &["bench", "codec"], &codec);
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(cli.clone(), shell);
            for word in ["backend", "peers", "networks", "rounds", "codec", "entropy"] {
                assert!(script.contains(word), "{word} in {shell}: {script}");
            }
            assert!(!script.contains("gone"), "{script}");
        }
        let bash = script(cli, Shell::Bash);
        let of = |place: &str| {
            let start = bash.find(&format!("        {place})\n")).unwrap();
            let end = bash[start..].find(";;").unwrap();
            bash[start..start + end].to_owned()
        };
        assert!(of("xtask__subcmd__bench").contains("--peers"), "{bash}");
        assert!(
            of("xtask__subcmd__bench__subcmd__codec").contains("--entropy"),
            "{bash}"
        );
        assert!(
            of("xtask__subcmd__bench__subcmd__networks").contains("--rounds"),
            "{bash}"
        );
        assert!(bash.contains("flex wgpu"), "{bash}");
    }
}
