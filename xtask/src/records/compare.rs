//! Which differences between timed steps are more than noise.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::SpeedLine;

/// Two runs of the same program differ by some per cent even on a quiet machine: other addresses,
/// another clock speed. So much must lie between their ranges before it is called a change.
pub const NOISE_SHARE: f64 = 0.05;

/// What became of a step between two runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// Slower beyond the noise: a regression.
    Slower,
    /// Faster beyond the noise.
    Faster,
    /// The runs cannot tell.
    Noise,
}

/// One step in two runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Step, backend and batch, for people.
    pub step: String,
    /// Median of the older run, milliseconds.
    pub old_ms: f64,
    /// Median of the newer run, milliseconds.
    pub new_ms: f64,
    /// What became of it.
    pub change: Change,
}

/// Two runs side by side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Steps that both runs timed.
    pub steps: Vec<Compared>,
    /// Steps of the newer run that the older one did not time in the same setting.
    pub only_new: Vec<String>,
}

/// Why two runs cannot be compared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompareError {
    /// No step was timed by both on the same machine, device, threads and build.
    #[error(
        "no step of this run was timed before with the same unit on the same machine, device, threads \
         and build; \
         this run: {new}; the record: {}",
        if old.is_empty() { "empty" } else { old }
    )]
    NothingInCommon {
        /// Where this run ran.
        new: String,
        /// Where the recorded ones ran.
        old: String,
    },
}

/// Compares each step with its newest line in `old` from the same model, split, unit, backend, device,
/// batch, threads, processor and build.
///
/// A step counts as changed when the ranges from first to third quartile lie apart by more than
/// [`NOISE_SHARE`].
///
/// # Errors
/// [`CompareError::NothingInCommon`] when no step has such a line.
pub fn compare(old: &[SpeedLine], new: &[SpeedLine]) -> Result<Comparison, CompareError> {
    let mut comparison = Comparison::default();
    let mut seen = BTreeSet::new();
    let several = new.iter().any(|line| line.model != new[0].model);
    for line in new {
        let mut step = name(line);
        if several {
            step = format!("{} {step}", line.model);
        }
        // The same step may stand there once for each peer.
        if !seen.insert(step.clone()) {
            continue;
        }
        match old.iter().rfind(|earlier| same_setting(earlier, line)) {
            Some(earlier) => comparison.steps.push(Compared {
                step,
                old_ms: earlier.ms_median,
                new_ms: line.ms_median,
                change: change(earlier, line),
            }),
            None => comparison.only_new.push(step),
        }
    }
    if comparison.steps.is_empty() {
        return Err(CompareError::NothingInCommon {
            new: settings(new),
            old: settings(old),
        });
    }
    Ok(comparison)
}

/// Whether any of the lines can be compared at all, for who times more of the same setting after
/// them.
///
/// # Errors
/// [`CompareError::NothingInCommon`].
pub fn comparable(old: &[SpeedLine], new: &[SpeedLine]) -> Result<(), CompareError> {
    let meets = |line: &SpeedLine| old.iter().any(|earlier| same_but_for_step(earlier, line));
    if new.iter().any(meets) {
        return Ok(());
    }
    Err(CompareError::NothingInCommon {
        new: settings(new),
        old: settings(old),
    })
}

impl Comparison {
    /// Steps that became slower beyond the noise.
    pub fn regressions(&self) -> impl Iterator<Item = &Compared> {
        let slower = |step: &&Compared| step.change == Change::Slower;
        self.steps.iter().filter(slower)
    }
}

/// Pairs of backends, and of a backend and a peer, whose difference in one run is inside the noise:
/// one remark each.
#[must_use]
pub fn noise_remarks(lines: &[SpeedLine]) -> Vec<String> {
    let mut remarks = BTreeSet::new();
    for (index, a) in lines.iter().enumerate() {
        let alike = |b: &&SpeedLine| {
            (&b.what, b.batch, &b.model) == (&a.what, a.batch, &a.model) && b.backend != a.backend
        };
        for b in lines[index + 1..].iter().filter(alike) {
            if meet((a.ms_p25, a.ms_p75), (b.ms_p25, b.ms_p75)) {
                remarks.insert(format!(
                    "{} at batch {}: the difference between {} and {} is inside the noise",
                    a.what, a.batch, a.backend, b.backend
                ));
            }
        }
        if let (Some(peer), Some(low), Some(high)) = (&a.peer, a.peer_ms_p25, a.peer_ms_p75)
            && meet((a.ms_p25, a.ms_p75), (low, high))
        {
            remarks.insert(format!(
                "{} at batch {}: the difference between {} and {peer} is inside the noise",
                a.what, a.batch, a.backend
            ));
        }
    }
    remarks.into_iter().collect()
}

fn change(old: &SpeedLine, new: &SpeedLine) -> Change {
    if new.ms_p25 > old.ms_p75 * (1.0 + NOISE_SHARE) {
        Change::Slower
    } else if new.ms_p75 < old.ms_p25 * (1.0 - NOISE_SHARE) {
        Change::Faster
    } else {
        Change::Noise
    }
}

fn meet(a: (f64, f64), b: (f64, f64)) -> bool {
    a.0 <= b.1 && b.0 <= a.1
}

fn same_setting(old: &SpeedLine, new: &SpeedLine) -> bool {
    old.what == new.what && old.batch == new.batch && same_but_for_step(old, new)
}

/// Early lines name no split and unit; they may have timed another one.
fn same_but_for_step(old: &SpeedLine, new: &SpeedLine) -> bool {
    let of = |line: &SpeedLine| {
        (
            (line.model.clone(), line.split.clone(), line.unit.clone()),
            (line.backend.clone(), line.device.clone(), line.threads),
            (line.machine.cpu.clone(), line.machine.cores),
            line.versions.get("build").cloned(),
        )
    };
    of(old) == of(new)
}

fn name(line: &SpeedLine) -> String {
    format!("{} on {} at batch {}", line.what, line.backend, line.batch)
}

/// Where lines ran, each setting once.
fn settings(lines: &[SpeedLine]) -> String {
    let shown: BTreeSet<String> = lines
        .iter()
        .map(|line| {
            let build = line.versions.get("build");
            format!(
                "{}{}{} with {} on {} ({}), {} threads{}",
                line.model,
                line.split
                    .as_ref()
                    .map_or(String::new(), |split| format!(" at {split}")),
                line.unit
                    .as_ref()
                    .map_or(String::new(), |unit| format!(" ({unit})")),
                line.backend,
                line.device,
                line.machine.cpu,
                line.threads,
                build.map_or(String::new(), |build| format!(", build {build}"))
            )
        })
        .collect();
    shown.into_iter().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speed::tests::line;

    /// A step with quartiles at 0.9 and 1.2 times its median.
    fn lines(steps: &[(&str, &str, f64)]) -> Vec<SpeedLine> {
        let text: Vec<String> = steps
            .iter()
            .map(|(what, backend, ms)| line(what, backend, *ms))
            .collect();
        SpeedLine::parse_all(&text.join("\n")).unwrap()
    }

    fn check(old_ms: f64, new_ms: f64, expected: Change) {
        let [old, new] = [old_ms, new_ms].map(|ms| lines(&[("tail", "flex", ms)]));
        let found = compare(&old, &new).unwrap();
        assert_eq!(found.steps[0].change, expected, "{old_ms} to {new_ms}");
        let regressions = found.regressions().count();
        assert_eq!(regressions, usize::from(expected == Change::Slower));
    }

    #[test]
    fn the_same_step_of_two_networks_is_compared_twice() {
        let old = lines(&[("forward", "flex", 10.0)]);
        let mut new = lines(&[("forward", "flex", 10.0), ("forward", "flex", 5.0)]);
        new[1].model = "yolox_nano".to_owned();
        let comparison = compare(&old, &new).unwrap();
        assert_eq!(
            comparison.steps[0].step,
            "resnet56 forward on flex at batch 1"
        );
        assert_eq!(
            comparison.only_new,
            ["yolox_nano forward on flex at batch 1"]
        );
    }

    #[test]
    fn only_ranges_that_do_not_meet_are_a_change() {
        check(10.0, 20.0, Change::Slower);
        check(20.0, 10.0, Change::Faster);
        // 0.9 times 12.5 lies within 1.2 times 10.
        check(10.0, 12.5, Change::Noise);
        check(10.0, 10.0, Change::Noise);
    }

    #[test]
    fn ranges_that_nearly_meet_are_no_change() {
        let narrow = |ms: f64| {
            let mut lines = lines(&[("tail", "flex", ms)]);
            (lines[0].ms_p25, lines[0].ms_p75) = (ms, ms);
            lines
        };
        let changed = |ms| compare(&narrow(10.0), &narrow(ms)).unwrap().steps[0].change;
        assert_eq!(changed(10.4), Change::Noise);
        assert_eq!(changed(10.6), Change::Slower);
        assert_eq!(changed(9.4), Change::Faster);
    }

    #[test]
    fn the_newest_line_of_the_same_setting_is_the_base() {
        let old = lines(&[("tail", "flex", 50.0), ("tail", "flex", 10.0)]);
        let new = lines(&[("tail", "flex", 10.0), ("head", "flex", 1.0)]);
        assert!(comparable(&old, &new[1..]).is_ok());
        let found = compare(&old, &new).unwrap();
        assert_eq!(found.steps.len(), 1);
        assert!((found.steps[0].old_ms - 10.0).abs() < 1e-12);
        assert_eq!(found.only_new, ["head on flex at batch 1"]);
    }

    #[test]
    fn other_machines_and_builds_are_not_compared() {
        let old = lines(&[("tail", "flex", 10.0)]);
        let mut machine = old.clone();
        machine[0].machine.cpu = "another".to_owned();
        let mut build = old.clone();
        build[0]
            .versions
            .insert("build".to_owned(), "slow.toml".to_owned());
        let mut threads = old.clone();
        threads[0].threads = 64;
        let mut split = old.clone();
        split[0].split = Some("layer1".to_owned());
        let mut unit = old.clone();
        unit[0].unit = Some("unit-1, 24 latent channels".to_owned());
        for new in [machine, build, threads, split, unit] {
            assert!(comparable(&old, &new).is_err());
            let error = compare(&old, &new).unwrap_err().to_string();
            assert!(error.contains("no step of this run"), "{error}");
        }
    }

    #[test]
    fn close_backends_and_peers_are_remarked() {
        let mut run = lines(&[
            ("tail", "flex", 10.0),
            ("tail", "ndarray", 11.0),
            ("head", "flex", 10.0),
            ("head", "ndarray", 40.0),
        ]);
        assert_eq!(
            noise_remarks(&run),
            ["tail at batch 1: the difference between flex and ndarray is inside the noise"]
        );
        run.truncate(1);
        run[0].peer = Some("pytorch-2-eager".to_owned());
        (run[0].peer_ms_p25, run[0].peer_ms_p75) = (Some(5.0), Some(9.5));
        assert!(noise_remarks(&run)[0].contains("pytorch-2-eager"));
        run[0].peer_ms_p75 = Some(8.0);
        assert_eq!(noise_remarks(&run).len(), 0);
    }
}
