//! Steps of a split on each backend, from `split-speed/1` lines.

use super::{Section, figure, folded, heads, paragraph};
use crate::SpeedLine;
use crate::chart::{Bar, BarChart, figure as digits};
use crate::steps::{Subject, computed_by, newest, place_of};
use crate::table::Table;

/// Bytes.
const MIB: f64 = 1_048_576.0;

/// A figure per case, and a table of all lines.
pub(super) fn part(lines: &[SpeedLine]) -> String {
    let newest = newest(lines);
    let mut cases: Vec<(Subject<'_>, u32)> = Vec::new();
    for line in &newest {
        if !cases.contains(&(Subject::of(line), line.batch)) {
            cases.push((Subject::of(line), line.batch));
        }
    }
    let mut out = String::new();
    for (subject, batch) in cases {
        let chosen: Vec<&SpeedLine> = newest
            .iter()
            .copied()
            .filter(|line| (Subject::of(line), line.batch) == (subject, batch))
            .collect();
        out.push_str(&bars(&format!("{subject}, batch {batch}"), &chosen));
    }
    let rows = newest.iter().map(|line| cells(line)).collect();
    let table = Table {
        caption: "Newest line of each step".to_owned(),
        heads: heads(&[
            "step",
            "model",
            "cut at",
            "unit",
            "backend",
            "device",
            "peer",
            "batch",
            "threads",
            "median ms",
            "p25",
            "p75",
            "first",
            "n",
            "ours / peer",
            "heap MiB",
            "heap / needed",
        ]),
        words: 7,
        rows,
    };
    out + &folded("All timed steps", &table.html())
}

/// What stands there until something was timed.
pub(super) fn absent() -> Section {
    let body = paragraph("No speed.jsonl in benches/records: nothing was timed for this report.")
        + "<pre><code>cargo xtask bench --backend flex,ndarray --record benches/records/speed.jsonl</code></pre>\n";
    Section::new("speed", "Speed per backend", body)
}

fn bars(what: &str, lines: &[&SpeedLine]) -> String {
    let mut whats: Vec<&str> = lines.iter().map(|line| line.what.as_str()).collect();
    whats.sort_by_key(|what| (place_of(what), *what));
    whats.dedup();
    let mut names: Vec<String> = lines.iter().map(|line| computed_by(line)).collect();
    names.extend(lines.iter().filter_map(|line| line.peer.clone()));
    names.sort();
    names.dedup();
    let groups = whats
        .into_iter()
        .map(|what| {
            let of = lines.iter().filter(|line| line.what == what);
            let mut bars = Vec::new();
            for line in of {
                let ours = bar(line, &names);
                // A step that was compared with two peers stands there twice.
                if !bars.contains(&ours) {
                    bars.push(ours);
                }
                bars.extend(peer_bar(line, &names));
            }
            (what.to_owned(), bars)
        })
        .collect();
    let chart = BarChart {
        label: format!("Median milliseconds of each step, by backend: {what}"),
        unit: "ms, median; whiskers from first to third quartile (logarithmic)".to_owned(),
        log: true,
        groups,
    };
    let mut machines: Vec<String> = lines
        .iter()
        .map(|line| {
            format!(
                "{}, {} threads, commit {}",
                line.machine.cpu, line.threads, line.git
            )
        })
        .collect();
    machines.sort();
    machines.dedup();
    let caption = format!("{what}. {}.", machines.join("; "));
    figure("Measured", &caption, &chart.svg())
}

fn peer_bar(line: &SpeedLine, names: &[String]) -> Option<Bar> {
    let (peer, ms) = (line.peer.as_ref()?, line.peer_ms_median?);
    let wire = line.peer_wire_bytes.map_or_else(String::new, |bytes| {
        format!(", {bytes:.0} bytes a picture over the wire")
    });
    Some(Bar {
        look: names.iter().position(|name| name == peer).unwrap_or(0),
        value: ms,
        spread: line.peer_ms_p25.zip(line.peer_ms_p75),
        title: format!("{} by {peer}: {} ms{wire}", line.what, digits(ms)),
        name: peer.clone(),
    })
}

fn bar(line: &SpeedLine, names: &[String]) -> Bar {
    let who = computed_by(line);
    Bar {
        look: names.iter().position(|name| *name == who).unwrap_or(0),
        value: line.ms_median,
        spread: Some((line.ms_p25, line.ms_p75)),
        title: format!(
            "{} on {} ({}): {} ms, {} to {}, {} repetitions",
            line.what,
            line.backend,
            line.device,
            digits(line.ms_median),
            digits(line.ms_p25),
            digits(line.ms_p75),
            line.n
        ),
        name: who,
    }
}

fn or_dash(word: Option<&String>) -> String {
    word.cloned().unwrap_or_else(|| "-".to_owned())
}

fn cells(line: &SpeedLine) -> Vec<String> {
    let shown = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |n| format!("{n:.3}"));
    let heap = line.heap_peak_bytes.map(|bytes| bytes as f64 / MIB);
    vec![
        line.what.clone(),
        line.model.clone(),
        or_dash(line.split.as_ref()),
        or_dash(line.unit.as_ref()),
        line.backend.clone(),
        line.device.clone(),
        or_dash(line.peer.as_ref()),
        line.batch.to_string(),
        line.threads.to_string(),
        digits(line.ms_median),
        digits(line.ms_p25),
        digits(line.ms_p75),
        line.ms_first.map_or_else(|| "-".to_owned(), digits),
        line.n.to_string(),
        shown(line.ratio_peer),
        shown(heap),
        shown(line.heap_ratio),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speed::tests::line;

    #[test]
    fn newest_lines_are_drawn() {
        let text = [
            line("forward", "flex", 9.0),
            line("head", "flex", 3.0),
            line("forward", "flex", 8.0),
            line("forward", "ndarray", 30.0),
        ]
        .join("\n");
        let lines = SpeedLine::parse_all(&text).unwrap();
        let html = part(&lines);
        assert_eq!(html.matches("<figure>").count(), 1, "{html}");
        assert!(html.contains("forward on ndarray (d): 30.0 ms, 27.0 to 36.0, 15 repetitions"));
        assert!(!html.contains("9.00 ms"), "{html}");
    }
}
