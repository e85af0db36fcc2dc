//! Every legal cut of a backbone, from `split-graph/1` lines.

use serde::Deserialize;

use super::{figure, folded, heads};
use crate::chart::{Axis, Chart, Dot, Level, Series};
use crate::table::Table;
use crate::tables::{millions, share};

/// A backbone and its cuts, as `cargo xtask splits` counts them.
#[derive(Debug, Deserialize)]
pub(super) struct SplitGraph {
    model: String,
    /// Channels, height, width.
    input: [u64; 3],
    macs: f64,
    cuts: Vec<Cut>,
}

#[derive(Debug, Deserialize)]
struct Cut {
    after: String,
    /// Whether commands take it.
    split_point: bool,
    tensors: Vec<Crossing>,
    bytes: f64,
    head_macs: f64,
    head_parameters: f64,
    head_peak_bytes: f64,
}

#[derive(Debug, Deserialize)]
struct Crossing {
    name: String,
    shape: [u64; 3],
}

impl Cut {
    fn crosses(&self) -> String {
        let tensors = self.tensors.iter().map(|tensor| {
            let [channels, height, width] = tensor.shape;
            format!("{} {channels}x{height}x{width}", tensor.name)
        });
        tensors.collect::<Vec<_>>().join(", ")
    }
}

/// A figure and a table per backbone; of two lines of one the later counts.
pub(super) fn part(graphs: &[SplitGraph]) -> String {
    let last = |(i, graph): &(usize, &SplitGraph)| {
        let same = |later: &SplitGraph| (&later.model, later.input) == (&graph.model, graph.input);
        !graphs[i + 1..].iter().any(same)
    };
    let newest = graphs.iter().enumerate().filter(last);
    newest.map(|(_, graph)| one(graph)).collect()
}

fn one(graph: &SplitGraph) -> String {
    let [channels, height, width] = graph.input;
    let name = format!("{} on {channels}x{height}x{width}", graph.model);
    let caption = format!(
        "{name}, {} MACs: each place where it can be cut. Commands take the filled ones; dashed is the 8-bit picture.",
        millions(graph.macs)
    );
    let table = Table {
        caption: format!("Legal cuts of {name}; bytes are uncoded 32-bit floats of one picture"),
        heads: heads(&[
            "cut after",
            "crosses",
            "bytes",
            "device MACs",
            "share",
            "device parameters",
            "device peak bytes",
        ]),
        words: 2,
        rows: graph.cuts.iter().map(|cut| cells(graph, cut)).collect(),
    };
    figure("Counted", &caption, &chart(graph, &name).svg())
        + &folded(&format!("All cuts of {}", graph.model), &table.html())
}

fn chart(graph: &SplitGraph, name: &str) -> Chart {
    let percent = |cut: &Cut| 100.0 * cut.head_macs / graph.macs;
    let dot = |cut: &Cut| Dot {
        x: percent(cut),
        y: cut.bytes,
        title: format!(
            "{}: {} bytes, {} of the MACs on the device ({})",
            cut.after,
            cut.bytes,
            share(cut.head_macs, graph.macs),
            cut.crosses()
        ),
        note: cut.split_point.then(|| cut.after.clone()),
        hollow: !cut.split_point,
    };
    let picture = graph.input.iter().product::<u64>() as f64;
    let bytes = graph.cuts.iter().map(|cut| cut.bytes).chain([picture]);
    Chart {
        label: format!(
            "Bytes of the activation at each cut of {name} against the share of work before it"
        ),
        heading: None,
        x: Axis::linear(
            "share of the network's MACs on the device, %",
            [0.0, 100.0].into_iter(),
            1.0,
        ),
        y: Axis::log(
            "bytes of the activation, 32-bit floats (logarithmic)",
            bytes,
        ),
        series: vec![Series {
            name: "legal cuts".to_owned(),
            look: 0,
            // No line: between two cuts there is nothing.
            line: Vec::new(),
            dots: graph.cuts.iter().map(dot).collect(),
        }],
        levels: vec![Level {
            name: "picture, 8 bits a value".to_owned(),
            y: picture,
        }],
    }
}

fn cells(graph: &SplitGraph, cut: &Cut) -> Vec<String> {
    let mark = if cut.split_point { " *" } else { "" };
    vec![
        format!("{}{mark}", cut.after),
        cut.crosses(),
        format!("{}", cut.bytes),
        millions(cut.head_macs),
        share(cut.head_macs, graph.macs),
        format!("{}", cut.head_parameters),
        format!("{}", cut.head_peak_bytes),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn graph(bytes: u64) -> SplitGraph {
        let cut = |after: &str, split_point: bool, head_macs: u64| {
            json!({"after": after, "split_point": split_point, "bytes": bytes, "head_macs": head_macs,
                "tail_macs": 100 - head_macs, "head_parameters": 1, "tail_parameters": 2,
                "head_peak_bytes": 3, "tail_peak_bytes": 4,
                "tensors": [{"name": after, "shape": [4, 2, 2]}]})
        };
        let line = json!({"model": "m", "input": [3, 8, 8], "macs": 100, "cuts":
            [cut("stem", false, 10), cut("layer1", true, 50)]});
        serde_json::from_value(line).unwrap()
    }

    #[test]
    fn the_newest_counts_of_a_backbone_are_drawn_and_listed() {
        let html = part(&[graph(999), graph(64)]);
        assert_eq!(html.matches("<figure>").count(), 1, "{html}");
        assert!(!html.contains("999"), "{html}");
        assert!(
            html.contains("layer1: 64 bytes, 50 % of the MACs on the device (layer1 4x2x2)"),
            "{html}"
        );
        assert!(html.contains("layer1 *"), "{html}");
        assert!(html.contains("picture, 8 bits a value"), "{html}");
    }
}
