//! Timed steps of a split: which lines count, in which order they stand, and their Markdown.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter, Write as _};

use crate::SpeedLine;
use crate::chart::figure;
use crate::systems::commands_block;
use crate::table::Table;

/// In the order of the work; steps unknown here come last.
const STEPS: [&str; 13] = [
    "forward",
    "head",
    "head-unit",
    "unit-encoder",
    "unit-encode",
    "quantize-code",
    "code",
    "decode",
    "unit-decode",
    "tail",
    "split",
    "train-step",
    "feature-step",
];

/// Beyond the medians, below which a first call is within the noise, milliseconds.
const FIRST_MS: f64 = 0.5;

/// Place of a step in the order of the work.
pub(crate) fn place_of(what: &str) -> usize {
    let place = STEPS.iter().position(|step| *step == what);
    place.unwrap_or(STEPS.len())
}

/// What is timed: steps of one subject stand beside each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Subject<'a> {
    model: &'a str,
    split: Option<&'a str>,
    unit: Option<&'a str>,
}

impl<'a> Subject<'a> {
    pub(crate) fn of(line: &'a SpeedLine) -> Self {
        Self {
            model: &line.model,
            split: line.split.as_deref(),
            unit: line.unit.as_deref(),
        }
    }
}

impl Display for Subject<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.model)?;
        if let Some(split) = self.split {
            write!(f, " cut at {split}")?;
        }
        if let Some(unit) = self.unit {
            write!(f, ", {unit}")?;
        }
        Ok(())
    }
}

/// Backend, and what it computed on where the name says more (without kind and driver, which stand in
/// brackets).
pub(crate) fn computed_by(line: &SpeedLine) -> String {
    let device = if line.device.eq_ignore_ascii_case(&line.backend) {
        String::new()
    } else {
        let name = line.device.split(" (").next().unwrap_or(&line.device);
        format!(", {name}")
    };
    format!("{}{device}", line.backend)
}

/// The last lines of each step, in the order of the file: one, or one for each peer of its run.
pub(crate) fn newest(lines: &[SpeedLine]) -> Vec<&SpeedLine> {
    let key = |line: &SpeedLine| {
        let words = [&line.what, &line.backend, &line.device];
        (words.map(String::clone), line.batch)
    };
    let same = |a: &SpeedLine, b: &SpeedLine| Subject::of(a) == Subject::of(b) && key(a) == key(b);
    let of_one_run = |a: &SpeedLine, b: &SpeedLine| {
        a.peer != b.peer && (&a.date, a.ms_median.to_bits()) == (&b.date, b.ms_median.to_bits())
    };
    let newer = |i: usize| {
        let mut later = lines[i + 1..].iter();
        later.any(|later| same(&lines[i], later) && !of_one_run(&lines[i], later))
    };
    (0..lines.len())
        .filter(|i| !newer(*i))
        .map(|i| &lines[i])
        .collect()
}

/// The lines of each key, keys in the order in which they come.
fn grouped<'a, K: PartialEq>(
    lines: &[&'a SpeedLine],
    key: impl Fn(&'a SpeedLine) -> K,
) -> Vec<(K, Vec<&'a SpeedLine>)> {
    let mut groups: Vec<(K, Vec<&SpeedLine>)> = Vec::new();
    for line in lines {
        let key = key(line);
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, group)) => group.push(line),
            None => groups.push((key, vec![line])),
        }
    }
    groups
}

/// A table for each subject and machine: a row per step and batch, a column per backend, peers behind.
pub(crate) fn steps(lines: &[SpeedLine]) -> String {
    let newest = newest(lines);
    let subjects = grouped(&newest, |line| {
        (Subject::of(line), &line.machine.cpu, line.threads)
    });
    let mut out = commands_block(newest.iter().map(|line| line.command.as_str()));
    for ((subject, cpu, threads), lines) in subjects {
        let mut commits: Vec<&str> = lines.iter().map(|line| line.git.as_str()).collect();
        commits.sort_unstable();
        commits.dedup();
        let _ = writeln!(
            out,
            "{subject}; {cpu}, {threads} threads, commit {}. Median milliseconds for the whole batch:\n",
            commits.join(" and ")
        );
        let _ = writeln!(out, "{}{}", times(&lines), first_calls(&lines));
    }
    out
}

fn times(lines: &[&SpeedLine]) -> String {
    let columns: Vec<String> = grouped(lines, computed_by)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let mut rows = grouped(lines, |line| (line.batch, line.what.as_str()));
    rows.sort_by_key(|((batch, what), _)| (*batch, place_of(what)));
    let cells = |((batch, what), lines): &((u32, &str), Vec<&SpeedLine>)| {
        // Beside several backends a peer is timed once; the first column is compared with it.
        let first = lines
            .iter()
            .take_while(|line| computed_by(line) == computed_by(lines[0]));
        let peers: Vec<String> = first.filter_map(|line| beside(line)).collect();
        let mut cells = vec![
            (*what).to_owned(),
            or_dash(peers.join("; ")),
            batch.to_string(),
        ];
        cells.extend(columns.iter().map(|name| {
            let line = lines.iter().find(|line| computed_by(line) == *name);
            or_dash(line.map_or_else(String::new, |line| figure(line.ms_median)))
        }));
        cells
    };
    let heads = ["step", "peers, ms, and our first column over it", "batch"].map(str::to_owned);
    let table = Table {
        caption: String::new(),
        heads: heads.into_iter().chain(columns.iter().cloned()).collect(),
        words: 2,
        rows: rows.iter().map(cells).collect(),
    };
    table.markdown()
}

fn beside(line: &SpeedLine) -> Option<String> {
    let (peer, ms) = (line.peer.as_ref()?, line.peer_ms_median?);
    let ratio = line.ms_median / ms;
    Some(format!("{peer} {} ({ratio:.2} x)", figure(ms)))
}

fn or_dash(words: String) -> String {
    if words.is_empty() {
        "-".to_owned()
    } else {
        words
    }
}

/// What the first calls of all steps took beyond usual ones: compiled shaders and tuned kernels on a
/// graphics card, buffers and threads elsewhere.
fn first_calls(lines: &[&SpeedLine]) -> String {
    let mut sums: BTreeMap<(String, u32), f64> = BTreeMap::new();
    // A step that was compared with two peers stands there twice.
    for ((by, batch, _), lines) in grouped(lines, |line| {
        (computed_by(line), line.batch, line.what.as_str())
    }) {
        if let Some(first) = lines[0].ms_first {
            *sums.entry((by, batch)).or_default() += first - lines[0].ms_median;
        }
    }
    let mut out = String::new();
    for ((by, batch), ms) in sums {
        if ms > FIRST_MS {
            let _ = writeln!(
                out,
                "- First calls of {by} at batch {batch}: {} ms beyond the medians, not in them.",
                figure(ms)
            );
        }
    }
    if out.is_empty() {
        out
    } else {
        format!("\n{out}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::speed::tests::line;

    fn with(line: &str, more: Value) -> String {
        let mut line: Value = serde_json::from_str(line).unwrap();
        for (field, value) in more.as_object().unwrap() {
            line[field] = value.clone();
        }
        line.to_string()
    }

    fn parsed(lines: &[String]) -> Vec<SpeedLine> {
        SpeedLine::parse_all(&lines.join("\n")).unwrap()
    }

    #[test]
    fn newest_line_of_a_step_is_the_one_that_counts() {
        let lines = parsed(&[
            line("forward", "flex", 9.0),
            line("head", "flex", 3.0),
            line("forward", "flex", 8.0),
            line("forward", "ndarray", 30.0),
        ]);
        let times: Vec<f64> = newest(&lines).iter().map(|line| line.ms_median).collect();
        assert_eq!(times, [3.0, 8.0, 30.0]);
    }

    #[test]
    fn a_later_run_of_another_unit_takes_no_peer_away() {
        let step = line("train-step", "flex", 8.0);
        let lines = parsed(&[
            with(
                &step,
                json!({"unit": "a", "peer": "p", "peer_ms_median": 4.0, "ratio_peer": 2.0}),
            ),
            with(
                &step,
                json!({"unit": "a", "peer": "q", "peer_ms_median": 16.0, "ratio_peer": 0.5}),
            ),
            with(&step, json!({"unit": "b"})),
        ]);
        assert_eq!(newest(&lines).len(), 3);
        let text = steps(&lines);
        let row = "| train-step | p 4.00 (2.00 x); q 16.0 (0.50 x) | 1 | 8.00 |";
        assert!(text.contains(row), "{text}");
        assert!(
            text.contains("resnet56, b; cpu, 2 threads, commit g"),
            "{text}"
        );
    }

    #[test]
    fn backends_stand_side_by_side_and_first_calls_below() {
        let slow = with(&line("head", "ndarray", 30.0), json!({"ms_first": 31.0}));
        let text = steps(&parsed(&[
            line("head", "flex", 3.0),
            slow,
            line("forward", "flex", 9.0),
            with(
                &line("forward", "ndarray", 50.0),
                json!({"ms_first": 1050.0}),
            ),
        ]));
        let tail = "| step | peers, ms, and our first column over it | batch | flex, d | ndarray, d |\n\
            |---|---|--:|--:|--:|\n\
            | forward | - | 1 | 9.00 | 50.0 |\n\
            | head | - | 1 | 3.00 | 30.0 |\n\n\
            - First calls of ndarray, d at batch 1: 1001 ms beyond the medians, not in them.\n";
        assert!(text.contains(tail), "{text}");
    }
}
