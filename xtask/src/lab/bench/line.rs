//! Lines of `speed.jsonl`: made, shown, read back.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use records::SpeedLine;
use serde::Serialize;

use crate::backend::Backend;
use crate::record::{Machine, command_line, date, git_state, machine, versions};

/// What is timed.
pub(super) struct Subject<'a> {
    pub(super) model: &'a str,
    /// Where it is cut, and the rung with its latent; nothing of an uncut network.
    pub(super) split: Option<&'a str>,
    pub(super) unit: Option<&'a str>,
    pub(super) backend: Backend,
    /// What computes, as `--list-devices` names it.
    pub(super) device: &'a str,
    pub(super) seed: u64,
}

/// One line of `speed.jsonl`.
#[derive(Clone, Serialize)]
pub(super) struct Line {
    schema: &'static str,
    pub(super) what: &'static str,
    pub(super) model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<String>,
    /// Rung that was timed, and its latent.
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    pub(super) backend: String,
    device: String,
    pub(super) batch: usize,
    threads: usize,
    pub(super) ms_median: f64,
    ms_p25: f64,
    ms_p75: f64,
    n: usize,
    /// The very first call at this batch: on a GPU shaders are compiled and kernels tuned in it.
    pub(super) ms_first: f64,
    /// Host heap beyond what was held before the step, counted by the allocator.
    heap_peak_bytes: u64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    held: Option<Held>,
    peer: Option<String>,
    ratio_peer: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_ms_median: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_ms_p25: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_ms_p75: Option<f64>,
    /// Mean bytes a picture: of its frame, and of what the peer sends and receives for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    wire_bytes: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_wire_bytes: Option<f64>,
    command: String,
    git: String,
    date: String,
    machine: Machine,
    versions: BTreeMap<&'static str, String>,
    seed: u64,
}

/// What a step has to hold, by arithmetic.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Held {
    /// Most bytes of activations alive at once.
    pub(super) live_bytes: u64,
    /// Working space of the convolution that needs most of it.
    pub(super) workspace_bytes: u64,
    /// `heap_peak_bytes` over the sum of both.
    pub(super) heap_ratio: f64,
}

/// Times of one step, sorted, in milliseconds.
pub(super) struct Times(Vec<f64>);

impl Times {
    pub(super) fn new(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    /// Quartile 0 to 4, between neighbours by the share of the way.
    fn at(&self, quartile: usize) -> f64 {
        let quarters = (self.0.len() - 1) * quartile;
        let (low, share) = (quarters / 4, (quarters % 4) as f64 / 4.0);
        let high = (low + 1).min(self.0.len() - 1);
        self.0[low] + share * (self.0[high] - self.0[low])
    }
}

/// What the first calls of all steps took beyond a usual call, per backend and batch.
pub(super) fn first_use(lines: &[Line]) -> Vec<String> {
    let mut sums: BTreeMap<(&str, usize), f64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for line in lines {
        // A step that was compared with two peers stands there twice.
        if seen.insert((line.backend.as_str(), line.batch, line.what)) {
            *sums.entry((line.backend.as_str(), line.batch)).or_default() +=
                line.ms_first - line.ms_median;
        }
    }
    // Where it is less than the noise there is nothing to say.
    let dear = sums.into_iter().filter(|(_, ms)| *ms > 0.5);
    let words = dear.map(|((backend, batch), ms)| {
        let what = match backend.split(':').next() {
            Some("wgpu" | "cuda") => "shader compilation and autotune",
            _ => "buffers and threads",
        };
        format!("first use of {backend} at batch {batch}: {ms:.0} ms beyond the medians ({what}), not in them")
    });
    words.collect()
}

/// What cached activations save of a training step, per backend and batch: without them the head would
/// run in every step.
pub(super) fn cache_savings(lines: &[Line]) -> Vec<String> {
    let of = |line: &Line, what: &str| {
        let beside = |other: &&Line| {
            other.what == what && other.backend == line.backend && other.batch == line.batch
        };
        lines.iter().find(beside).map(|other| other.ms_median)
    };
    let heads = lines.iter().filter(|line| line.what == "head");
    let words = heads.filter_map(|head| {
        let times = |what| Some(1.0 + head.ms_median / of(head, what)?);
        let (tail, feature) = (times("train-step")?, times("feature-step")?);
        let (backend, batch) = (&head.backend, head.batch);
        Some(format!(
            "cached activations on {backend} at batch {batch}: a step through the tail is {tail:.2} times as \
             fast as with the head in it, one without the tail {feature:.2} times"
        ))
    });
    words.collect()
}

/// The lines as whoever reads the record sees them.
pub(super) fn parsed(lines: &[Line]) -> Result<Vec<SpeedLine>> {
    let text = lines
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(SpeedLine::parse_all(&text.join("\n"))?)
}

pub(super) fn show(json: bool, line: &Line, again: bool) -> Result<()> {
    if json {
        say!("{}", serde_json::to_string(line)?);
        return Ok(());
    }
    if !again {
        say!(
            "{:<13} {:<8} {:>5} {:>10.3} {:>10.3} {:>10.3} {:>10.3} {:>10.2}",
            line.what,
            line.backend,
            line.batch,
            line.ms_median,
            line.ms_p25,
            line.ms_p75,
            line.ms_first,
            mib(line.heap_peak_bytes)
        );
    }
    if let (Some(peer), Some(ratio)) = (&line.peer, line.ratio_peer) {
        let of = |ms: Option<f64>| ms.unwrap_or_default();
        say!(
            "  {peer}: {:.3} ms ({:.3} to {:.3}), {} takes {ratio:.2} times as long",
            of(line.peer_ms_median),
            of(line.peer_ms_p25),
            of(line.peer_ms_p75),
            line.backend
        );
    }
    if let Some(held) = &line.held {
        say!(
            "  heap: {:.2} times what has to be held: {:.2} MiB of activations and {:.2} MiB of working space",
            held.heap_ratio,
            mib(held.live_bytes),
            mib(held.workspace_bytes)
        );
    }
    if let Some(peer) = line.peer_wire_bytes {
        let ours = line
            .wire_bytes
            .map_or_else(String::new, |bytes| format!(", a frame {bytes:.0}"));
        say!("  bytes a picture: the peer {peer:.0} both ways{ours}");
    }
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The heads of what [`show`] prints.
pub(super) fn heads(repeats: usize) {
    say!(
        "{:<13} {:<8} {:>5} {:>10} {:>10} {:>10} {:>10} {:>10}   (ms; {repeats} repeats; heap in MiB)",
        "step",
        "backend",
        "batch",
        "median",
        "p25",
        "p75",
        "first",
        "heap"
    );
}

/// The line beside a peer over a wire: bytes a picture of a trained unit's frames, where there is one,
/// and of the peer.
#[cfg(feature = "remote")]
pub(super) fn on_the_wire(line: Line, ours: Option<f64>, peer: f64) -> Line {
    Line {
        wire_bytes: ours,
        peer_wire_bytes: Some(peer),
        ..line
    }
}

/// The line with a peer's times beside ours.
pub(super) fn beside(line: &Line, peer: &str, times: &Times) -> Line {
    Line {
        peer: Some(peer.to_owned()),
        ratio_peer: Some(line.ms_median / times.at(2)),
        peer_ms_median: Some(times.at(2)),
        peer_ms_p25: Some(times.at(1)),
        peer_ms_p75: Some(times.at(3)),
        ..line.clone()
    }
}

pub(super) fn line(
    subject: &Subject<'_>,
    what: &'static str,
    batch: usize,
    times: &Times,
    (first, heap): (f64, u64),
) -> Line {
    Line {
        schema: "split-speed/1",
        what,
        model: subject.model.to_owned(),
        split: subject.split.map(str::to_owned),
        unit: subject.unit.map(str::to_owned),
        backend: subject.backend.to_string(),
        device: subject.device.to_owned(),
        batch,
        threads: threads(),
        ms_median: times.at(2),
        ms_p25: times.at(1),
        ms_p75: times.at(3),
        n: times.0.len(),
        ms_first: first,
        heap_peak_bytes: heap,
        held: None,
        peer: None,
        ratio_peer: None,
        peer_ms_median: None,
        peer_ms_p25: None,
        peer_ms_p75: None,
        wire_bytes: None,
        peer_wire_bytes: None,
        command: command_line(),
        git: git_state(),
        date: date(),
        machine: machine(),
        versions: versions(subject.backend),
        seed: subject.seed,
    }
}

/// The line with what its step has to hold, beside what it held.
pub(super) fn holding(line: Line, live_bytes: u64, workspace_bytes: u64) -> Line {
    let needed = live_bytes.saturating_add(workspace_bytes);
    let held = Held {
        live_bytes,
        workspace_bytes,
        heap_ratio: line.heap_peak_bytes as f64 / needed as f64,
    };
    Line {
        held: Some(held),
        ..line
    }
}

/// Threads that tensors are computed with.
pub(super) fn threads() -> usize {
    rayon::current_num_threads()
}

#[cfg(test)]
mod tests {
    use super::Times;

    #[test]
    fn quartiles_lie_between_the_times() {
        let at = |times: &[f64]| {
            let times = Times::new(times.to_vec());
            [0, 1, 2, 3, 4].map(|quartile| times.at(quartile))
        };
        assert_eq!(at(&[4.0, 2.0]), [2.0, 2.5, 3.0, 3.5, 4.0]);
        assert_eq!(at(&[1.0, 2.0, 4.0]), [1.0, 1.5, 2.0, 3.0, 4.0]);
        assert_eq!(at(&[7.0]), [7.0; 5]);
    }
}
