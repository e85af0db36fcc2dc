//! `metrics.csv` and `training.svg` of a run folder: how distortion, bytes and lambda went, step by
//! step, and the seconds a rung had taken by then, in all processes that worked on it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use split_bottleneck::StepReport;

use crate::files::{append, read, write_whole};
use crate::rung::now;

/// Name in the run folder.
pub(crate) const METRICS: &str = "metrics.csv";
const PLOT: &str = "training.svg";
const HEAD: &str = "rung,step,distortion,bytes,lambda,seconds\n";
/// Steps between lines.
const EVERY: usize = 10;

/// The lines of one rung on their way into the file.
pub(crate) struct Metrics {
    path: PathBuf,
    rung: String,
    /// Lines that are not in the file yet.
    pending: String,
    /// Seconds that earlier processes spent on the rung.
    pub(crate) earlier: f64,
    started: Instant,
}

impl Metrics {
    /// Goes on behind this step of a rung: later lines of it are of a run that was cut off.
    pub(crate) fn begin(folder: &Path, rung: &str, step: usize) -> Result<Self> {
        let path = folder.join(METRICS);
        let old = if path.exists() {
            String::from_utf8_lossy(&read(&path)?).into_owned()
        } else {
            HEAD.to_owned()
        };
        let stays = |line: &&str| match Line::parse(line) {
            Some(line) => line.rung != rung || line.step <= step,
            // The head, but nothing that a full disk left half.
            None => *line == HEAD,
        };
        let kept: String = old.split_inclusive('\n').filter(stays).collect();
        if kept != old || !path.exists() {
            write_whole(&path, kept.as_bytes())?;
        }
        let lines = kept.split_inclusive('\n').filter_map(Line::parse);
        let mut own = lines.filter(|line| line.rung == rung);
        Ok(Self {
            earlier: own.next_back().map_or(0.0, |line| line.seconds),
            path,
            rung: rung.to_owned(),
            pending: String::new(),
            started: now(),
        })
    }

    /// Takes in a step; `bytes` is what its bits are on the wire.
    pub(crate) fn push(&mut self, report: &StepReport, bytes: f64) {
        if !report.step.is_multiple_of(EVERY) && report.step != report.steps {
            return;
        }
        let (rung, step, distortion) = (&self.rung, report.step, report.distortion);
        let seconds = self.earlier + self.started.elapsed().as_secs_f64();
        // Writing to a string can't fail.
        let _ = writeln!(
            self.pending,
            "{rung},{step},{distortion:.6},{bytes:.1},{:.6e},{seconds:.1}",
            report.lambda
        );
    }

    /// Brings what was taken in into the file.
    pub(crate) fn save(&mut self) -> Result<()> {
        if !self.pending.is_empty() {
            append(&self.path, self.pending.as_bytes())?;
            self.pending.clear();
        }
        Ok(())
    }

    /// Saves, and draws all rungs of the run so far.
    pub(crate) fn end(mut self) -> Result<()> {
        self.save()?;
        let text = read(&self.path)?;
        let text = std::str::from_utf8(&text)
            .with_context(|| format!("{} is no text any more", self.path.display()))?;
        crate::plot::training(&self.path.with_file_name(PLOT), &rungs(text))
    }
}

/// One line of the file.
struct Line<'a> {
    rung: &'a str,
    step: usize,
    distortion: f64,
    bytes: f64,
    seconds: f64,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.strip_suffix('\n')?.split(',').collect();
        let [rung, step, distortion, bytes, _, seconds] = fields.as_slice() else {
            return None;
        };
        Some(Self {
            rung,
            step: step.parse().ok()?,
            distortion: distortion.parse().ok()?,
            bytes: bytes.parse().ok()?,
            seconds: seconds.parse().ok()?,
        })
    }
}

/// A rung's name and its points: step, distortion, bytes.
pub(crate) type RungCurve = (String, Vec<(f64, f64, f64)>);

/// The rungs in the order of the file.
fn rungs(text: &str) -> Vec<RungCurve> {
    let mut all: Vec<RungCurve> = Vec::new();
    for line in text.split_inclusive('\n').filter_map(Line::parse) {
        let step = f64::from(u32::try_from(line.step).unwrap_or(u32::MAX));
        let point = (step, line.distortion, line.bytes);
        match all.iter_mut().find(|(name, _)| name == line.rung) {
            Some((_, points)) => points.push(point),
            None => all.push((line.rung.to_owned(), vec![point])),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn report(step: usize) -> StepReport {
        StepReport {
            step,
            steps: 25,
            distortion: 0.5,
            bits: 80.0,
            lambda: 0.01,
        }
    }

    fn steps(folder: &Path) -> Vec<(String, usize)> {
        let text = fs::read_to_string(folder.join(METRICS)).unwrap();
        let lines = text.split_inclusive('\n').filter_map(Line::parse);
        lines
            .map(|line| (line.rung.to_owned(), line.step))
            .collect()
    }

    #[test]
    fn a_run_that_goes_on_has_each_line_once_and_other_rungs_keep_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = Metrics::begin(dir.path(), "one", 0).unwrap();
        (1..=25).for_each(|step| one.push(&report(step), 24.0));
        one.end().unwrap();
        let mut two = Metrics::begin(dir.path(), "two", 0).unwrap();
        (1..=20).for_each(|step| two.push(&report(step), 24.0));
        two.save().unwrap();
        // A line that a full disk cut short.
        fs::OpenOptions::new()
            .append(true)
            .open(dir.path().join(METRICS))
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"two,30,0."))
            .unwrap();
        let mut two = Metrics::begin(dir.path(), "two", 13).unwrap();
        two.earlier = 100.0;
        (14..=25).for_each(|step| two.push(&report(step), 24.0));
        two.end().unwrap();
        let expected = [
            ("one", 10),
            ("one", 20),
            ("one", 25),
            ("two", 10),
            ("two", 20),
            ("two", 25),
        ];
        let expected: Vec<_> = expected.map(|(rung, step)| (rung.to_owned(), step)).into();
        assert_eq!(steps(dir.path()), expected);
        let again = Metrics::begin(dir.path(), "two", 25).unwrap();
        assert!((100.0..200.0).contains(&again.earlier), "{}", again.earlier);
        let plot = fs::read_to_string(dir.path().join(PLOT)).unwrap();
        for text in ["<svg", "one", "two", "bytes"] {
            assert!(plot.contains(text), "{text} in {plot}");
        }
    }

    #[test]
    fn a_rung_from_its_first_step_replaces_an_old_one() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let mut one = Metrics::begin(dir.path(), "one", 0).unwrap();
            one.push(&report(10), 24.0);
            one.end().unwrap();
        }
        assert_eq!(steps(dir.path()), [("one".to_owned(), 10)]);
    }
}
