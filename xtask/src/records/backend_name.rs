//! Backends as `--backend` names them, for both programs: one compiles them, the other opens them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What `--backend` understands; each is a Cargo feature of this package.
pub const BACKENDS: [&str; 4] = ["flex", "ndarray", "wgpu", "cuda"];

/// Those whose devices have numbers.
const NUMBERED: [&str; 2] = ["wgpu", "cuda"];

/// A backend, and of several devices the one with a number: `flex`, `wgpu`, `wgpu:1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendName {
    /// One of [`BACKENDS`].
    pub name: &'static str,
    /// As `--list-devices` prints it; left out, the backend takes its own choice.
    pub number: Option<usize>,
}

/// Why a word names no backend.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BackendNameError {
    /// Nobody knows it.
    #[error("unknown backend {0:?}: choose from {known}", known = BACKENDS.join(", "))]
    Unknown(String),
    /// It computes on the processor.
    #[error("{name} takes no number, since it computes on the processor: write `--backend {name}`")]
    NoDevices {
        /// The backend.
        name: &'static str,
    },
    /// What follows the colon can't be one.
    #[error(
        "{number:?} is no number of a device: `cargo xtask bench --list-devices --backend {name}` prints them"
    )]
    NoNumber {
        /// The backend.
        name: &'static str,
        /// What was given.
        number: String,
    },
}

impl FromStr for BackendName {
    type Err = BackendNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (word, number) = match text.split_once(':') {
            Some((word, number)) => (word, Some(number)),
            None => (text, None),
        };
        let name = BACKENDS
            .into_iter()
            .find(|known| *known == word)
            .ok_or_else(|| BackendNameError::Unknown(word.to_owned()))?;
        let number = match number {
            None => None,
            Some(_) if !NUMBERED.contains(&name) => {
                return Err(BackendNameError::NoDevices { name });
            }
            Some(number) => {
                let parsed = number.parse().map_err(|_| BackendNameError::NoNumber {
                    name,
                    number: number.to_owned(),
                });
                Some(parsed?)
            }
        };
        Ok(Self { name, number })
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "{}:{number}", self.name),
            None => f.write_str(self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(&'static str, Option<usize>), &str>) {
        let found = text.parse::<BackendName>();
        let short = found.as_ref().map(|found| (found.name, found.number));
        let expected = expected.map_err(str::to_owned);
        assert_eq!(short.map_err(ToString::to_string), expected, "{text}");
        if let Ok(found) = found {
            assert_eq!(found.to_string(), text);
        }
    }

    #[test]
    fn a_number_follows_where_there_are_several_devices() {
        check("flex", Ok(("flex", None)));
        check("wgpu", Ok(("wgpu", None)));
        check("wgpu:0", Ok(("wgpu", Some(0))));
        check("cuda:12", Ok(("cuda", Some(12))));
    }

    #[test]
    fn other_words_are_refused_with_what_is_understood() {
        let unknown = "unknown backend \"tpu\": choose from flex, ndarray, wgpu, cuda";
        check("tpu", Err(unknown));
        check("tpu:1", Err(unknown));
        check(
            "flex:0",
            Err("flex takes no number, since it computes on the processor: write `--backend flex`"),
        );
        for number in ["", "-1", "x", "1.0", "99999999999999999999"] {
            let error = format!(
                "{number:?} is no number of a device: \
                 `cargo xtask bench --list-devices --backend wgpu` prints them"
            );
            check(&format!("wgpu:{number}"), Err(&error));
        }
    }
}
