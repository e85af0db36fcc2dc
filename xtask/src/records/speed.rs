//! Lines of `speed.jsonl`, and computers made from them.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;

use crate::lines::{LineError, check_line};
use crate::{Machine, ProfileError};

/// One timed step, `split-speed/1`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct SpeedLine {
    /// The step: `forward` (the whole network), `head`, `head-unit` (head and unit encoder), `unit-encode`,
    /// `code`, `decode`, ...
    pub what: String,
    /// The command that timed it.
    #[serde(default)]
    pub command: String,
    /// Backbone.
    pub model: String,
    /// Where it is cut, in lines that say so.
    #[serde(default)]
    pub split: Option<String>,
    /// Rung that was timed and its latent, in lines that say so.
    #[serde(default)]
    pub unit: Option<String>,
    /// Burn backend.
    pub backend: String,
    /// What the backend computed on.
    pub device: String,
    /// Pictures at once.
    pub batch: u32,
    /// Threads that the run could use.
    pub threads: u32,
    /// Median time of the step, milliseconds for the whole batch.
    pub ms_median: f64,
    /// First quartile.
    pub ms_p25: f64,
    /// Third quartile.
    pub ms_p75: f64,
    /// Timed repetitions.
    pub n: u64,
    /// The very first call, in lines that say so: on a graphics card shaders are compiled and kernels tuned in it.
    #[serde(default)]
    pub ms_first: Option<f64>,
    /// What ran in turns with it, where something did.
    #[serde(default)]
    pub peer: Option<String>,
    /// Our time over the peer's.
    #[serde(default)]
    pub ratio_peer: Option<f64>,
    /// Median of the peer, milliseconds.
    #[serde(default)]
    pub peer_ms_median: Option<f64>,
    /// First quartile of the peer, milliseconds.
    #[serde(default)]
    pub peer_ms_p25: Option<f64>,
    /// Third quartile of the peer, milliseconds.
    #[serde(default)]
    pub peer_ms_p75: Option<f64>,
    /// Mean bytes of a picture's frame, where a trained unit was timed beside a wire.
    #[serde(default)]
    pub wire_bytes: Option<f64>,
    /// Mean bytes that the peer sends and receives for a picture.
    #[serde(default)]
    pub peer_wire_bytes: Option<f64>,
    /// Most bytes of the host's heap that the step held beyond what was held before it.
    #[serde(default)]
    pub heap_peak_bytes: Option<u64>,
    /// Most bytes of activations that are alive at once in the head, by arithmetic; in `head-unit` lines.
    #[serde(default)]
    pub live_bytes: Option<u64>,
    /// Working space of the head's convolution that needs most of it, by arithmetic: a padded copy of its
    /// input for each column of the kernel; in `head-unit` lines.
    #[serde(default)]
    pub workspace_bytes: Option<u64>,
    /// `heap_peak_bytes` over the sum of the two before; in `head-unit` lines.
    #[serde(default)]
    pub heap_ratio: Option<f64>,
    /// What computed it; `build` where it was not compiled as people compile it.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    /// Commit.
    pub git: String,
    /// Day, `YYYY-MM-DD` first.
    pub date: String,
    /// Where it ran.
    pub machine: Machine,
}

/// How the source of a computer made from lines begins.
const MEASURED: &str = "measured";

/// Which end of a split a computer is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// Head, unit encoder, coding.
    Device,
    /// Decoding, unit decoder, tail.
    Edge,
}

/// A computer: work a second, and time for what records count no work of.
#[derive(Clone, Debug, PartialEq)]
pub struct Compute {
    mmacs_s: f64,
    extra_ms: f64,
    source: String,
}

/// Why lines make no computer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpeedError {
    /// A line is no record.
    #[error("line {number}: {error}")]
    Line {
        /// Which line, from 1.
        number: usize,
        /// What is wrong with it.
        error: LineError,
    },
    /// No line times the whole network.
    #[error(
        "no line times `forward` of {model} at batch 1{}; there are: {}",
        backend.as_ref().map_or_else(String::new, |name| format!(" on {name}")),
        if found.is_empty() { "none".to_owned() } else { found.join(", ") }
    )]
    NoForward {
        /// Backbone asked for.
        model: String,
        /// Backend asked for, where one was.
        backend: Option<String>,
        /// Whole networks that are timed at batch 1, as `MODEL on BACKEND`.
        found: Vec<String>,
    },
    /// A timed step has no time.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

impl SpeedLine {
    /// Reads the lines of a `speed.jsonl`.
    ///
    /// # Errors
    /// [`SpeedError::Line`] for the first one that breaks its schema.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, SpeedError> {
        let read = |line: &str| {
            check_line(line)?;
            Ok(serde_json::from_str(line)?)
        };
        let lines = text.lines().enumerate();
        lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(i, line)| {
                read(line).map_err(|error| SpeedError::Line {
                    number: i + 1,
                    error,
                })
            })
            .collect()
    }
}

impl Compute {
    /// A computer of `mmacs_s` million multiply-accumulates a second that needs `extra_ms` a
    /// picture for what is not in the MACs: coding, the unit decoder, a queue.
    ///
    /// # Errors
    /// [`ProfileError::Range`] unless the speed is above 0 and the time not below.
    pub fn entered(mmacs_s: f64, extra_ms: f64) -> Result<Self, ProfileError> {
        let range = |field, found: f64, allowed, ok: bool| {
            if ok && found.is_finite() {
                return Ok(());
            }
            Err(ProfileError::Range {
                field,
                found,
                allowed,
            })
        };
        range("speed (MMAC/s)", mmacs_s, "numbers above 0", mmacs_s > 0.0)?;
        let ok = extra_ms >= 0.0;
        range("extra time (ms)", extra_ms, "numbers from 0", ok)?;
        Ok(Self {
            mmacs_s,
            extra_ms,
            source: "entered".to_owned(),
        })
    }

    /// The same computer with other words for where its figures come from.
    #[must_use]
    pub fn with_source(self, source: &str) -> Self {
        Self {
            source: source.to_owned(),
            ..self
        }
    }

    /// A computer that takes `ms` for a whole network of `macs` multiply-accumulates.
    ///
    /// # Errors
    /// As [`Self::entered`]; also where the network has no MACs.
    pub fn from_whole_network(ms: f64, macs: f64, extra_ms: f64) -> Result<Self, ProfileError> {
        if !(ms > 0.0 && ms.is_finite()) {
            return Err(ProfileError::Range {
                field: "time of the whole network (ms)",
                found: ms,
                allowed: "numbers above 0",
            });
        }
        Self::entered(macs / 1e6 / (ms / 1e3), extra_ms)
    }

    /// The newest `forward` of `model` at batch 1, on `backend` where one is named. Coding and the
    /// unit decoder are added as they were timed beside it, where they were.
    ///
    /// # Errors
    /// [`SpeedError::NoForward`] where there is no such line.
    pub fn from_lines(
        lines: &[SpeedLine],
        model: &str,
        backend: Option<&str>,
        macs: f64,
        end: End,
    ) -> Result<Self, SpeedError> {
        let single = || lines.iter().filter(|line| line.batch == 1);
        let forward = single()
            .filter(|line| line.what == "forward" && line.model == model)
            .rfind(|line| backend.is_none_or(|name| line.backend == name));
        let Some(forward) = forward else {
            let mut found: Vec<String> = single()
                .filter(|line| line.what == "forward")
                .map(|line| format!("{} on {}", line.model, line.backend))
                .collect();
            found.sort();
            found.dedup();
            return Err(SpeedError::NoForward {
                model: model.to_owned(),
                backend: backend.map(str::to_owned),
                found,
            });
        };
        let beside = |what: &str| {
            single()
                .filter(|line| line.what == what && line.model == model)
                .rfind(|line| line.backend == forward.backend && line.device == forward.device)
                .map_or(0.0, |line| line.ms_median)
        };
        let extra_ms = match end {
            End::Device => beside("code"),
            End::Edge => beside("decode") + beside("unit-decode"),
        };
        let timed = Self::from_whole_network(forward.ms_median, macs, extra_ms)?;
        Ok(Self {
            source: format!(
                "{MEASURED} {}: {} on {}, {}, {} threads, {:.3} ms",
                forward.date.get(..10).unwrap_or(&forward.date),
                forward.model,
                forward.backend,
                forward.machine.cpu,
                forward.threads,
                forward.ms_median
            ),
            ..timed
        })
    }

    /// Million multiply-accumulates a second.
    #[must_use]
    pub fn mmacs_s(&self) -> f64 {
        self.mmacs_s
    }

    /// Time a picture besides the MACs, milliseconds.
    #[must_use]
    pub fn extra_ms(&self) -> f64 {
        self.extra_ms
    }

    /// Where the figures come from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the speed comes from timed lines.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.source.starts_with(MEASURED)
    }

    /// Time for `macs`, milliseconds.
    #[must_use]
    pub fn ms(&self, macs: f64) -> f64 {
        macs / 1e3 / self.mmacs_s
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A line with the given figures.
    pub(crate) fn line(what: &str, backend: &str, ms: f64) -> String {
        serde_json::json!({"schema": "split-speed/1", "command": "c", "git": "g",
            "date": "2026-11-25T10:00:00Z", "machine": {"cpu": "cpu", "cores": 2, "os": "linux"},
            "versions": {}, "seed": 1, "what": what, "model": "resnet56", "backend": backend,
            "device": "d", "batch": 1, "threads": 2, "ms_median": ms, "ms_p25": 0.9 * ms,
            "ms_p75": 1.2 * ms, "n": 15})
        .to_string()
    }

    #[test]
    fn newest_whole_network_gives_the_speed_and_other_steps_the_extra_time() {
        let text = [
            line("forward", "flex", 999.0),
            line("forward", "flex", 50.0),
            line("code", "flex", 0.25),
            line("decode", "flex", 0.5),
            line("unit-decode", "flex", 2.0),
            line("forward", "wgpu", 5.0),
        ]
        .join("\n");
        let lines = SpeedLine::parse_all(&text).unwrap();
        let of =
            |backend, end| Compute::from_lines(&lines, "resnet56", backend, 125e6, end).unwrap();
        let device = of(Some("flex"), End::Device);
        assert!((device.mmacs_s() - 2500.0).abs() < 1e-9);
        assert!((device.extra_ms() - 0.25).abs() < 1e-12);
        assert!((device.ms(25e6) - 10.0).abs() < 1e-9);
        assert!(device.source().contains("flex"), "{}", device.source());
        let edge = of(Some("flex"), End::Edge);
        assert!((edge.extra_ms() - 2.5).abs() < 1e-12);
        assert!((of(None, End::Edge).mmacs_s() - 25_000.0).abs() < 1e-9);
    }

    #[test]
    fn missing_lines_name_what_there_is() {
        let lines = SpeedLine::parse_all(&line("forward", "flex", 50.0)).unwrap();
        let error = Compute::from_lines(&lines, "resnet56", Some("cuda"), 1e6, End::Edge)
            .unwrap_err()
            .to_string();
        assert!(error.contains("resnet56 at batch 1 on cuda"), "{error}");
        assert!(error.contains("resnet56 on flex"), "{error}");
        let none = Compute::from_lines(&[], "x", None, 1e6, End::Edge).unwrap_err();
        assert!(none.to_string().ends_with("there are: none"), "{none}");
    }

    #[test]
    fn impossible_computers_and_lines_are_refused() {
        for (speed, extra) in [
            (0.0, 0.0),
            (-1.0, 0.0),
            (f64::NAN, 0.0),
            (1.0, -1.0),
            (1.0, f64::INFINITY),
        ] {
            assert!(Compute::entered(speed, extra).is_err(), "{speed} {extra}");
        }
        assert!(Compute::from_whole_network(0.0, 1e6, 0.0).is_err());
        assert!(Compute::from_whole_network(5.0, 0.0, 0.0).is_err());
        let error = SpeedLine::parse_all("\n{}").unwrap_err().to_string();
        assert!(error.starts_with("line 2"), "{error}");
    }
}
