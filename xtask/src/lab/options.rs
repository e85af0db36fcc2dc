//! The options of all commands, for who completes them without being compiled with them.

#[path = "../../../crates/split-runtime/src/bin/program/options.rs"]
mod printed;

use clap::{Arg, Command};

pub(crate) use printed::were_asked_for;

/// `command` with the options that its commands take for a detector: they are completed before `--data` says
/// which ones hold.
pub(crate) fn with_those_of(mut command: Command, detector: &Command) -> Command {
    for other in detector.get_subcommands() {
        if command.find_subcommand(other.get_name()).is_some() {
            command = command.mut_subcommand(other.get_name(), |both| with_more(both, other));
        }
    }
    command
}

fn with_more(command: Command, other: &Command) -> Command {
    let is_new = |argument: &&Arg| {
        let mut known = command.get_arguments();
        argument.get_long().is_some() && !known.any(|one| one.get_long() == argument.get_long())
    };
    let more = other.get_arguments().filter(is_new).map(|argument| {
        let help = argument.get_help().map(ToString::to_string);
        let help = format!("With --data coco:DIR: {}", help.unwrap_or_default());
        // Names of arguments may stand for others here.
        let id = format!("coco-{}", argument.get_id());
        argument.clone().id(id).help(help)
    });
    let more: Vec<Arg> = more.collect();
    command.args(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_detector_come_once_and_say_so() {
        let command = |longs: &[&'static str]| {
            let options = longs
                .iter()
                .map(|long| Arg::new(*long).long(*long).help("A"));
            Command::new("lab").subcommand(Command::new("train").args(options))
        };
        let detector = command(&["out", "side"]).subcommand(Command::new("gone"));
        let both = with_those_of(command(&["out", "epochs"]), &detector);
        let train = both.find_subcommand("train").unwrap();
        let found = train.get_arguments().filter_map(Arg::get_long);
        assert_eq!(found.collect::<Vec<_>>(), ["out", "epochs", "side"]);
        let side = train.get_arguments().last().unwrap();
        let help = side.get_help().unwrap().to_string();
        assert_eq!(help, "With --data coco:DIR: A");
        assert!(both.find_subcommand("gone").is_none());
    }
}
