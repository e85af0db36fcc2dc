//! What can be asked for.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use split_backbone::DataSource;

use crate::link::How;

/// Measures how long answers take over links of a given rate, round trip and loss, from end to end.
///
/// Three ways in turn on each link: `split` has `split-device` send frames of one rung to `split-edge`,
/// `picture` has it send whole WebP files over the same protocol to an edge that runs the whole network, and
/// `device-only` sends nothing. Both ends are programs on this machine and compute at its speed, so an edge
/// is no faster than a device here; only the link is made up. One request is under way at a time, a new
/// picture each, over one connection that is open before. Times run from the picture in memory to its answer.
///
/// For a device slower than its edge every request is also reckoned with the device's own part (head, unit,
/// coding the frame or the file, the whole network), as it was measured, taken --device-slower times.
///
/// On Linux, as root, the link lies between two network namespaces: this process carries IP packets from one
/// TUN device to another, and the kernel's TCP resends what is lost. Elsewhere a TCP proxy makes the link,
/// without loss.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask bench link",
    bin_name = "cargo xtask bench link",
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = "Examples:\n  \
        cargo xtask bench link --rung unit-2\n  \
        cargo xtask bench link --kbit 500,2000 --rtt-ms 20 --loss 0,1,5 --requests 100\n  \
        cargo xtask bench link --bank out/cifar/bank.safetensors --weights resnet56.th --data cifar10:out/cifar10"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What this program is when it starts itself at an end of the link.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Run a program until standard input ends
    #[command(hide = true)]
    Keep {
        /// Program and arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<OsString>,
    },
}

/// A way to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Head and unit here, frames of one rung to `split-edge`
    Split,
    /// The picture file to an edge that runs everything
    Picture,
    /// Everything here
    DeviceOnly,
}

impl Mode {
    /// As records say it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Picture => "picture",
            Self::DeviceOnly => "device-only",
        }
    }
}

/// What is measured, and on which links.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Bank of the split, as `cargo xtask train` writes it
    #[arg(
        long,
        value_name = "FILE",
        default_value = "out/train/bank.safetensors"
    )]
    pub(crate) bank: PathBuf,
    /// Weights of the bank's backbone; the embedded one needs none
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    /// Test pictures: `cifar10:DIR`, `cifar100:DIR` or `folder:DIR`; without it those of the embedded set
    #[arg(long, value_name = "KIND:DIR")]
    pub(crate) data: Option<DataSource>,
    /// Rung whose frames are sent, by name or place
    #[arg(long, default_value = "0")]
    pub(crate) rung: String,
    /// Quality of the WebP files, 0 to 100 as in libwebp, at method 6
    #[arg(long, default_value_t = 75, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) quality: u8,
    /// Ways to an answer
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "WAYS",
        default_value = "split,picture,device-only"
    )]
    pub(crate) modes: Vec<Mode>,
    /// Rates in kbit/s, of both directions; with any of --kbit, --rtt-ms and --loss every combination is
    /// measured, without them twelve links of 100 kbit/s to 100 Mbit/s, 5 to 100 ms and 0 to 5 %
    #[arg(long, value_delimiter = ',', value_name = "KBIT")]
    pub(crate) kbit: Vec<u64>,
    /// Round trips in milliseconds
    #[arg(long, value_delimiter = ',', value_name = "MS")]
    pub(crate) rtt_ms: Vec<f64>,
    /// Packets lost in each direction, in per cent; needs `--how netns`
    #[arg(long, value_delimiter = ',', value_name = "PERCENT")]
    pub(crate) loss: Vec<f64>,
    /// Requests on each link in each way
    #[arg(long, default_value_t = 200, value_parser = requests)]
    pub(crate) requests: usize,
    /// How many times slower than this machine the device of the last columns is
    #[arg(long, default_value_t = 50, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) device_slower: u32,
    /// Longest time on one link in one way, in seconds; then fewer requests are counted
    #[arg(long, default_value_t = 120)]
    pub(crate) cell_seconds: u64,
    /// How the link is made; without it namespaces where they can be had, else the proxy
    #[arg(long)]
    pub(crate) how: Option<How>,
    /// Seed of the losses
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// File that a line is appended to for each link and way
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
}

fn requests(text: &str) -> Result<usize, String> {
    let count = text
        .parse()
        .map_err(|_| "a whole number is expected".to_owned());
    let count: usize = count?;
    if (1..=100_000).contains(&count) {
        return Ok(count);
    }
    Err("allowed are 1 to 100000".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn options_hold_together_and_their_defaults_are_valid() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["link"]).unwrap();
        assert_eq!(
            cli.options.modes,
            [Mode::Split, Mode::Picture, Mode::DeviceOnly]
        );
        assert!(Cli::try_parse_from(["link", "--requests", "0"]).is_err());
        assert!(Cli::try_parse_from(["link", "--quality", "101"]).is_err());
    }

    #[test]
    fn what_is_kept_gets_its_own_options() {
        let words = ["link", "keep", "--", "split-edge", "--models", "m"];
        let cli = Cli::try_parse_from(words).unwrap();
        match cli.role {
            Some(Role::Keep { program }) => assert_eq!(program, ["split-edge", "--models", "m"]),
            other => panic!("{other:?}"),
        }
    }
}
