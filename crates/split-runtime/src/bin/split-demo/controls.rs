//! What a visitor of the page can turn.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::link::LinkState;
use crate::program::allowed::POLICIES;

/// Rates in kbit/s: from a poor radio to a cable.
pub(crate) const KBIT: (u32, u32) = (5, 100_000);
/// Round trips in milliseconds.
pub(crate) const RTT_MS: (u32, u32) = (0, 1_000);
/// Deadlines in milliseconds.
pub(crate) const DEADLINE_MS: (u64, u64) = (20, 5_000);
/// Pictures a minute.
pub(crate) const PER_MINUTE: (u32, u32) = (6, 1_200);

/// The policy that sends nothing.
const ALONE: &str = "device-only";

/// Everything that can be turned, at once.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Controls {
    pub(crate) link: LinkState,
    /// A policy of `split-device`.
    pub(crate) policy: String,
    /// The rung that the policy `fixed` sends.
    pub(crate) rung: String,
    /// Whether the device may run the whole network by itself.
    pub(crate) alone: bool,
    pub(crate) deadline_ms: u64,
    pub(crate) per_minute: u32,
}

impl Controls {
    /// Whether all values are ones that the programs take; `rungs` are those of the bank.
    ///
    /// # Errors
    /// Naming the value and what is allowed.
    pub(crate) fn check(&self, rungs: &[String]) -> Result<()> {
        within("kbit", self.link.kbit, KBIT)?;
        within("rtt_ms", self.link.rtt_ms, RTT_MS)?;
        within("deadline_ms", self.deadline_ms, DEADLINE_MS)?;
        within("per_minute", self.per_minute, PER_MINUTE)?;
        ensure!(
            POLICIES.contains(&self.policy.as_str()),
            "policy {:?} is unknown; known are {}",
            self.policy,
            POLICIES.join(", ")
        );
        ensure!(
            self.alone || self.policy != ALONE,
            "policy {ALONE:?} without alone: nobody would answer"
        );
        ensure!(
            rungs.contains(&self.rung),
            "the bank has no rung {:?}; it has {}",
            self.rung,
            rungs.join(", ")
        );
        Ok(())
    }

    /// Whether the device has to be started anew to follow.
    pub(crate) fn is_other_device(&self, before: &Self) -> bool {
        let of_device = |controls: &Self| Self {
            link: self.link,
            per_minute: self.per_minute,
            ..controls.clone()
        };
        of_device(self) != of_device(before)
    }
}

fn within<T: PartialOrd + std::fmt::Display + Copy>(
    name: &str,
    value: T,
    (least, most): (T, T),
) -> Result<()> {
    ensure!(
        (least..=most).contains(&value),
        "{name} = {value}, allowed are {least} to {most}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_and_unknown_names_are_refused_by_name() {
        let rungs = ["fine".to_owned()];
        let sound = Controls {
            link: LinkState {
                kbit: 100,
                rtt_ms: 20,
                up: true,
            },
            policy: "own".to_owned(),
            rung: "fine".to_owned(),
            alone: false,
            deadline_ms: 200,
            per_minute: 60,
        };
        sound.check(&rungs).unwrap();
        type Turn = fn(&mut Controls);
        let wrong: [(Turn, &str); 7] = [
            (|c| c.link.kbit = 0, "kbit = 0, allowed are 5 to 100000"),
            (|c| c.link.rtt_ms = 1_001, "rtt_ms = 1001"),
            (|c| c.deadline_ms = 0, "deadline_ms = 0"),
            (|c| c.per_minute = 0, "per_minute = 0"),
            (
                |c| c.policy = "device-only".to_owned(),
                "nobody would answer",
            ),
            (|c| c.policy.clear(), "known are fixed, own"),
            (|c| c.rung.push('s'), "no rung \"fines\"; it has fine"),
        ];
        for (turn, said) in wrong {
            let mut controls = sound.clone();
            turn(&mut controls);
            let error = controls.check(&rungs).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
