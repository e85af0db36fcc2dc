//! Markdown of the record of networks: uncut beside peers, and the heap of head and unit.

use serde_json::Value;

use crate::chart::figure;
use crate::systems::{markdown, number, verdicts, word};

/// Most heap of head and unit, as a multiple of what has to be held.
const HEAP_RATIO_MAX: f64 = 1.5;

/// Whether the lines time networks and heads only, no steps of a split.
pub(crate) fn are_all(lines: &[Value]) -> bool {
    let known = ["forward", "head-unit"];
    lines.iter().all(|line| known.contains(&word(line, "what")))
}

pub(crate) fn networks(lines: &[Value]) -> String {
    let newest = newest(lines);
    let of = |what: &str| -> Vec<&Value> {
        let lines = newest.iter().copied();
        lines.filter(|line| word(line, "what") == what).collect()
    };
    let (uncut, heap) = (of("forward"), of("head-unit"));
    let mut parts = Vec::new();
    if !uncut.is_empty() {
        parts.push(times(&uncut));
    }
    if !heap.is_empty() {
        parts.push(heaps(&heap));
    }
    parts.join("\n")
}

/// The last line of each setting, in the order of the file.
fn newest(lines: &[Value]) -> Vec<&Value> {
    let setting = |line: &Value| {
        [
            "what", "model", "split", "unit", "backend", "device", "batch", "peer",
        ]
        .map(|field| line[field].to_string())
    };
    let is_last = |place: usize| {
        let mut later = lines[place + 1..].iter();
        !later.any(|line| setting(line) == setting(&lines[place]))
    };
    (0..lines.len())
        .filter(|place| is_last(*place))
        .map(|place| &lines[place])
        .collect()
}

fn times(lines: &[&Value]) -> String {
    let row = |line: &&Value| {
        let peer = |field: &str| match number(line, field) {
            number if number.is_nan() => "-".to_owned(),
            number => figure(number),
        };
        let name = word(line, "peer");
        vec![
            word(line, "model").to_owned(),
            word(line, "backend").to_owned(),
            if name.is_empty() { "-" } else { name }.to_owned(),
            line["batch"].to_string(),
            line["threads"].to_string(),
            figure(number(line, "ms_median")),
            peer("peer_ms_median"),
            peer("ratio_peer"),
        ]
    };
    let heads = [
        "network",
        "backend",
        "peer",
        "batch",
        "threads",
        "ms",
        "peer ms",
        "ours / peer",
    ];
    markdown(&heads, 3, lines.iter().map(row).collect())
}

fn heaps(lines: &[&Value]) -> String {
    let row = |line: &&Value| {
        let mib = |field: &str| format!("{:.2}", number(line, field) / f64::from(1 << 20));
        vec![
            word(line, "model").to_owned(),
            word(line, "split").to_owned(),
            word(line, "unit").to_owned(),
            word(line, "backend").to_owned(),
            line["threads"].to_string(),
            figure(number(line, "ms_median")),
            mib("heap_peak_bytes"),
            mib("live_bytes"),
            mib("workspace_bytes"),
            format!("{:.2}", number(line, "heap_ratio")),
        ]
    };
    let heads = [
        "head and unit of",
        "cut at",
        "unit",
        "backend",
        "threads",
        "ms",
        "heap MiB",
        "activations MiB",
        "working space MiB",
        "heap / both",
    ];
    let bar = |line: &&Value| {
        let ratio = number(line, "heap_ratio");
        let text = format!(
            "heap of head and unit of {} at {} ({}): {ratio:.2} x live activations and one working space; \
             at most {HEAP_RATIO_MAX} x",
            word(line, "model"),
            word(line, "split"),
            word(line, "unit"),
        );
        (text, ratio <= HEAP_RATIO_MAX)
    };
    let bars: Vec<_> = lines.iter().map(bar).collect();
    markdown(&heads, 4, lines.iter().map(row).collect()) + "\n" + &verdicts(&bars)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn newest_lines_stand_beside_their_peers_and_heaps_have_a_verdict() {
        let forward = |ms: f64, peer: &str, ratio: f64| {
            json!({"what": "forward", "model": "resnet50", "backend": "flex", "device": "d", "batch": 8,
                "threads": 2, "ms_median": ms, "peer": peer, "peer_ms_median": ms / ratio,
                "ratio_peer": ratio})
        };
        let heap = |peak: u64, ratio: f64| {
            json!({"what": "head-unit", "model": "resnet50", "split": "layer2", "unit": "u",
                "backend": "flex", "device": "d", "batch": 1, "threads": 1, "ms_median": 70.0,
                "peer": null, "heap_peak_bytes": peak, "live_bytes": 6 << 20,
                "workspace_bytes": 2 << 20, "heap_ratio": ratio})
        };
        let table = networks(&[
            forward(900.0, "torch", 9.0),
            forward(300.0, "torch", 1.5),
            forward(300.0, "onnx", 2.0),
            heap(9 << 20, 1.125),
        ]);
        assert!(
            table.contains("| resnet50 | flex | torch | 8 | 2 | 300 | 200 | 1.50 |"),
            "{table}"
        );
        assert!(
            table.contains("| onnx | 8 | 2 | 300 | 150 | 2.00 |"),
            "{table}"
        );
        assert!(!table.contains("900"), "{table}");
        assert!(table.contains("| 9.00 | 6.00 | 2.00 | 1.12 |"), "{table}");
        assert!(table.contains("- holds: heap of head and unit"), "{table}");
        let missed = networks(&[heap(16 << 20, 2.0)]);
        assert!(missed.contains("- **missed**: heap"), "{missed}");
    }
}
