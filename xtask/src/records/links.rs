//! Markdown of the record of links: a table for each model, the three ways to an answer beside each other.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::systems::{markdown, number, word};

/// Ways to an answer, as records name them.
const MODES: [&str; 3] = ["split", "picture", "device-only"];

/// Lines of one model over one link, by way.
type Ways<'a> = BTreeMap<&'a str, &'a Value>;

pub(crate) fn links(lines: &[Value]) -> String {
    let mut models: Vec<&str> = Vec::new();
    for line in lines {
        let model = word(line, "model");
        if !models.contains(&model) {
            models.push(model);
        }
    }
    let tables = models.iter().map(|model| {
        let of_model = lines.iter().filter(|line| word(line, "model") == *model);
        table(model, &of_model.collect::<Vec<_>>())
    });
    tables.collect::<Vec<_>>().join("\n")
}

fn table(model: &str, lines: &[&Value]) -> String {
    let mut order: Vec<String> = Vec::new();
    let mut cells: BTreeMap<String, Ways<'_>> = BTreeMap::new();
    for line in lines {
        let place = ["kbit_s", "rtt_ms", "loss", "how"].map(|field| line[field].to_string());
        let place = place.join(" ");
        if !order.contains(&place) {
            order.push(place.clone());
        }
        cells
            .entry(place)
            .or_default()
            .insert(word(line, "mode"), line);
    }
    let slower = lines
        .first()
        .map_or(f64::NAN, |line| number(line, "device_slower"));
    let slower = ["split", "picture", "alone"].map(|way| format!("{way}, device x{slower}"));
    let heads = [
        "kbit/s",
        "RTT ms",
        "loss %",
        "split p50 / p95 / p99 ms",
        "picture p50 / p95 / p99 ms",
        "device alone p50 / p95 / p99 ms",
        &slower[0],
        &slower[1],
        &slower[2],
        "bytes",
        "picture bytes",
        "failed",
    ];
    let rows = order.iter().map(|place| row(&cells[place])).collect();
    let about = MODES.iter().filter_map(|mode| {
        let line = lines.iter().find(|line| word(line, "mode") == *mode)?;
        Some(format!("{mode} {:.1}", number(line, "value")))
    });
    let about: Vec<String> = about.collect();
    let split = lines.iter().find(|line| word(line, "mode") == "split");
    let cut = split.map_or_else(String::new, |line| {
        format!(
            ", cut at {}, rung {}, {} requests a cell",
            word(line, "split"),
            word(line, "rung"),
            line["n"]
        )
    });
    let how = lines.first().map_or("", |line| word(line, "how"));
    format!(
        "{model}{cut}; link by {how}; top-1 % of the pictures sent: {}.\n\n{}",
        about.join(", "),
        markdown(&heads, 0, rows)
    )
}

fn row(ways: &Ways<'_>) -> Vec<String> {
    let any = ways.values().next();
    let of_link = |field: &str| any.map_or(f64::NAN, |line| number(line, field));
    let times = |mode: &str, of: &str| {
        ways.get(mode).map_or_else(
            || "-".to_owned(),
            |line| {
                let [p50, p95, p99] =
                    ["p50_ms", "p95_ms", "p99_ms"].map(|at| number(line, &format!("{of}{at}")));
                // Lines of older commands say nothing of slower devices.
                match p50.is_nan() {
                    true => "-".to_owned(),
                    false => format!("{p50:.1} / {p95:.1} / {p99:.1}"),
                }
            },
        )
    };
    let bytes = |mode: &str| {
        let line = ways.get(mode);
        line.map_or_else(
            || "-".to_owned(),
            |line| format!("{:.0}", number(line, "bytes")),
        )
    };
    let failed: f64 = ways
        .values()
        .map(|line| line["failed"].as_f64().unwrap_or(0.0))
        .sum();
    let [split, picture, alone] = MODES.map(|mode| times(mode, ""));
    let slower = MODES.map(|mode| times(mode, "slower_"));
    let [slower_split, slower_picture, slower_alone] = slower;
    vec![
        of_link("kbit_s").to_string(),
        of_link("rtt_ms").to_string(),
        (100.0 * of_link("loss")).to_string(),
        split,
        picture,
        alone,
        slower_split,
        slower_picture,
        slower_alone,
        bytes("split"),
        bytes("picture"),
        failed.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(mode: &str, kbit_s: u64, p50_ms: f64) -> Value {
        json!({
            "mode": mode, "kbit_s": kbit_s, "rtt_ms": 20.0, "loss": 0.01, "p50_ms": p50_ms, "p95_ms": 2.0 * p50_ms,
            "p99_ms": 3.0 * p50_ms, "device_slower": 50, "slower_p50_ms": 4.0 * p50_ms, "slower_p95_ms": 5.0 * p50_ms,
            "slower_p99_ms": 6.0 * p50_ms, "value": 91.0, "bytes": 120.4, "how": "netns", "model": "embedded",
            "split": "layer2", "rung": "unit-2", "n": 200, "failed": 1,
        })
    }

    #[test]
    fn ways_over_one_link_are_one_row() {
        let lines = [
            line("split", 100, 30.0),
            line("picture", 100, 90.5),
            line("split", 500, 25.0),
        ];
        let text = links(&lines);
        assert!(
            text.contains(
                "| 100 | 20 | 1 | 30.0 / 60.0 / 90.0 | 90.5 / 181.0 / 271.5 | - | 120.0 / 150.0 / 180.0 | \
                 362.0 / 452.5 / 543.0 | - | 120 | 120 | 2 |"
            ),
            "{text}"
        );
        assert!(
            text.contains("| 500 | 20 | 1 | 25.0 / 50.0 / 75.0 | - | - | 100.0 / 125.0 / 150.0 | - | - | 120 | - | 1 |"),
            "{text}"
        );
        assert!(text.contains("cut at layer2, rung unit-2, 200 requests"));
        assert!(text.contains("| split, device x50 |"), "{text}");
    }
}
