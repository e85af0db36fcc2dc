//! Record files with one line a figure: each schema shown in its own way.

use serde_json::Value;

use super::{Section, codec, figure, graphs, heads, of_schema, paragraph, speed};
use crate::chart::{Axis, Bar, BarChart, Chart, Dot, Series, figure as digits};
use crate::table::Table;

/// Columns of schemas that are shown as a table.
const COLUMNS: [(&str, usize, &[&str]); 6] = [
    (
        "split-accuracy/1",
        4,
        &[
            "model", "backend", "data", "metric", "correct", "n", "value",
        ],
    ),
    (
        "split-runtime/1",
        3,
        &[
            "what",
            "transport",
            "tls",
            "in_flight",
            "bytes",
            "p50_us",
            "p99_us",
            "per_s",
            "ratio_raw_tcp",
            "ratio_tonic_echo",
        ],
    ),
    (
        "split-link/1",
        2,
        &[
            "mode", "how", "kbit_s", "rtt_ms", "loss", "p50_ms", "p95_ms", "p99_ms", "value",
            "bytes",
        ],
    ),
    (
        "split-policy/1",
        2,
        &[
            "policy",
            "family",
            "scale",
            "deadline_ms",
            "in_time",
            "ci95_in_time",
            "value",
            "bytes",
            "switches",
            "regret",
            "requests",
        ],
    ),
    (
        "split-privacy/1",
        5,
        &[
            "rung",
            "kind",
            "model",
            "split",
            "data",
            "bytes",
            "value",
            "psnr_db",
            "ssim",
            "psnr_mean_db",
            "ssim_mean",
            "n",
            "seed",
        ],
    ),
    (
        "split-faults/1",
        1,
        &[
            "what",
            "first_seed",
            "seeds",
            "requests",
            "outcomes",
            "double",
            "lost",
            "bound_broken",
        ],
    ),
];

/// A file may mix schemas; each is shown in the order of its first line.
pub(super) fn section(name: &str, lines: &[Value]) -> Section {
    let mut schemas: Vec<&str> = Vec::new();
    for line in lines {
        let schema = line["schema"].as_str().unwrap_or_default();
        if !schemas.contains(&schema) {
            schemas.push(schema);
        }
    }
    let mut body = provenance(lines);
    for schema in schemas {
        let own: Vec<&Value> = lines
            .iter()
            .filter(|line| line["schema"] == schema)
            .collect();
        body.push_str(&shown(schema, &own));
    }
    Section::new(name, &format!("{name}.jsonl"), body)
}

fn shown(schema: &str, lines: &[&Value]) -> String {
    let owned = || lines.iter().copied();
    match schema {
        "split-codec/1" => codec::part(&of_schema(owned(), schema)),
        "split-graph/1" => graphs::part(&of_schema(owned(), schema)),
        "split-speed/1" => speed::part(&of_schema(owned(), schema)),
        "split-runtime/1" => runtime_bars(lines) + &table(schema, lines),
        "split-link/1" => link_charts(lines) + &table(schema, lines),
        _ => format!("<figure>\n{}</figure>\n", table(schema, lines)),
    }
}

/// Commands, commits and machines of the lines.
fn provenance(lines: &[Value]) -> String {
    let mut seen: Vec<String> = Vec::new();
    for line in lines {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let one = format!(
            "{}: commit {}, {}",
            text(&line["command"]),
            text(&line["git"]),
            text(&line["machine"]["cpu"])
        );
        if !seen.contains(&one) {
            seen.push(one);
        }
    }
    seen.iter().map(|one| paragraph(one)).collect()
}

fn table(schema: &str, lines: &[&Value]) -> String {
    record_table(schema, lines).map_or_else(
        || paragraph(&format!("{} lines of {schema}.", lines.len())),
        |table| table.html(),
    )
}

/// All lines of a schema whose lines are shown as they are; none of another.
pub(crate) fn record_table(schema: &str, lines: &[&Value]) -> Option<Table> {
    let (_, words, columns) = COLUMNS.iter().find(|(name, ..)| *name == schema)?;
    let rows = lines
        .iter()
        .map(|line| columns.iter().map(|name| cell(&line[*name])).collect())
        .collect();
    Some(Table {
        caption: format!("All lines of {schema}, oldest first"),
        heads: heads(columns),
        words: *words,
        rows,
    })
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map_or_else(|| number.to_string(), digits)
        }
        Value::Object(parts) => {
            let parts: Vec<String> = parts
                .iter()
                .map(|(name, part)| format!("{name} {}", cell(part)))
                .collect();
            parts.join(", ")
        }
        other => other.to_string(),
    }
}

fn number(line: &Value, field: &str) -> f64 {
    line[field].as_f64().unwrap_or(f64::NAN)
}

/// Median round trips, the 99th percentile as a whisker.
fn runtime_bars(lines: &[&Value]) -> String {
    let mut whats: Vec<String> = Vec::new();
    let mut transports: Vec<String> = Vec::new();
    for line in lines {
        for (found, field) in [(&mut whats, "what"), (&mut transports, "transport")] {
            let word = cell(&line[field]);
            if !found.contains(&word) {
                found.push(word);
            }
        }
    }
    let bar = |line: &Value| {
        let transport = cell(&line["transport"]);
        let name = format!(
            "{transport}, {} in flight, TLS {}",
            cell(&line["in_flight"]),
            cell(&line["tls"])
        );
        let (p50, p99) = (number(line, "p50_us"), number(line, "p99_us"));
        Bar {
            look: transports
                .iter()
                .position(|one| *one == transport)
                .unwrap_or(0),
            value: p50,
            spread: Some((p50, p99)),
            title: format!(
                "{name}: p50 {} us, p99 {} us, {} a second, {} bytes",
                digits(p50),
                digits(p99),
                digits(number(line, "per_s")),
                digits(number(line, "bytes"))
            ),
            name,
        }
    };
    let groups = whats
        .into_iter()
        .map(|what| {
            let own = lines.iter().filter(|line| cell(&line["what"]) == what);
            let bars = own.map(|line| bar(line)).collect();
            (what, bars)
        })
        .collect();
    let chart = BarChart {
        label: "Median and 99th percentile of round trips in microseconds, by transport".to_owned(),
        unit: "microseconds, median; whiskers to the 99th percentile (logarithmic)".to_owned(),
        log: true,
        groups,
    };
    figure(
        "Measured",
        "Round trips of the runtime by transport.",
        &chart.svg(),
    )
}

/// Median latency over the rate of the link, one chart per round trip and loss.
fn link_charts(lines: &[&Value]) -> String {
    let mut cases: Vec<(f64, f64)> = Vec::new();
    let case = |line: &Value| (number(line, "rtt_ms"), number(line, "loss"));
    for line in lines {
        if !cases.contains(&case(line)) {
            cases.push(case(line));
        }
    }
    let mut out = String::new();
    for (rtt_ms, loss) in cases {
        let own: Vec<&Value> = lines
            .iter()
            .copied()
            .filter(|line| case(line) == (rtt_ms, loss))
            .collect();
        let caption = format!(
            "Median time to an answer over the rate of the link; round trip {} ms, loss {}.",
            digits(rtt_ms),
            digits(loss)
        );
        out.push_str(&figure("Measured", &caption, &link_chart(&own).svg()));
    }
    out
}

fn link_chart(lines: &[&Value]) -> Chart {
    let series: Vec<Series> = [("split", 0), ("picture", 2), ("device-only", 5)]
        .into_iter()
        .map(|(mode, look)| {
            let mut dots: Vec<Dot> = lines
                .iter()
                .filter(|line| line["mode"] == mode)
                .map(|line| Dot {
                    x: number(line, "kbit_s"),
                    y: number(line, "p50_ms"),
                    title: format!(
                        "{mode} at {} kbit/s: p50 {} ms, p99 {} ms, {} bytes",
                        digits(number(line, "kbit_s")),
                        digits(number(line, "p50_ms")),
                        digits(number(line, "p99_ms")),
                        digits(number(line, "bytes"))
                    ),
                    ..Dot::default()
                })
                .collect();
            dots.sort_by(|a, b| a.x.total_cmp(&b.x));
            Series {
                name: mode.to_owned(),
                look,
                line: dots.iter().map(|dot| (dot.x, dot.y)).collect(),
                dots,
            }
        })
        .filter(|series| !series.dots.is_empty())
        .collect();
    let dots = || series.iter().flat_map(|one| &one.dots);
    Chart {
        label: "Median milliseconds to an answer against kbit/s, by mode".to_owned(),
        heading: None,
        x: Axis::log(
            "rate of the link, kbit/s (logarithmic)",
            dots().map(|dot| dot.x),
        ),
        y: Axis::log(
            "ms to an answer, median (logarithmic)",
            dots().map(|dot| dot.y),
        ),
        series,
        levels: Vec::new(),
    }
}
