//! Counts of what the state machines don't see, and all of it as Prometheus text.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::grpc::trace::TraceCounts;
use crate::proto::EdgeCounts;
use crate::serving::SchedulerCounts;

/// A count that only rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets for times.
const TIME_BOUNDS_US: [u64; 12] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
];

/// Upper bounds of the buckets for sizes of batches.
const SIZE_BOUNDS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [u64],
    buckets: Vec<Counter>,
    sum: Counter,
    count: Counter,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            buckets: bounds.iter().map(|_| Counter::default()).collect(),
            sum: Counter::default(),
            count: Counter::default(),
        }
    }

    pub(crate) fn add(&self, value: u64) {
        let at = self.bounds.partition_point(|&bound| bound < value);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.one();
        }
        self.sum.add(value);
        self.count.one();
    }

    fn write(&self, out: &mut String, name: &str, help: &str) {
        header(out, name, "histogram", help);
        let mut total = 0;
        for (bound, bucket) in self.bounds.iter().zip(&self.buckets) {
            total += bucket.get();
            line(out, &format!("{name}_bucket{{le=\"{bound}\"}}"), total);
        }
        let count = self.count.get();
        line(out, &format!("{name}_bucket{{le=\"+Inf\"}}"), count);
        line(out, &format!("{name}_sum"), self.sum.get());
        line(out, &format!("{name}_count"), count);
    }
}

/// What happened below and beside the state machines.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) connections_taken: Counter,
    pub(crate) connections_refused: Counter,
    pub(crate) handshakes_failed: Counter,
    pub(crate) handshakes_slow: Counter,
    pub(crate) connections_idle: Counter,
    pub(crate) slow_readers: Counter,
    pub(crate) streams_refused: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) reloads: Counter,
    pub(crate) model_reloads: Counter,
    pub(crate) queue_us: Histogram,
    pub(crate) compute_us: Histogram,
    pub(crate) batch: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            connections_taken: Counter::default(),
            connections_refused: Counter::default(),
            handshakes_failed: Counter::default(),
            handshakes_slow: Counter::default(),
            connections_idle: Counter::default(),
            slow_readers: Counter::default(),
            streams_refused: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            reloads: Counter::default(),
            model_reloads: Counter::default(),
            queue_us: Histogram::new(&TIME_BOUNDS_US),
            compute_us: Histogram::new(&TIME_BOUNDS_US),
            batch: Histogram::new(&SIZE_BOUNDS),
        }
    }
}

/// What the hub knows at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) jobs: SchedulerCounts,
    pub(crate) frames: EdgeCounts,
    pub(crate) streams: u64,
    pub(crate) connections: u64,
    pub(crate) waiting_bytes: u64,
    pub(crate) oldest_us: u64,
    pub(crate) panics: u64,
    /// Where there are traces.
    pub(crate) spans: Option<TraceCounts>,
    pub(crate) ready: bool,
}

impl Metrics {
    pub(crate) fn to_text(&self, now: &Snapshot) -> String {
        let mut out = String::with_capacity(8 * 1024);
        let jobs = &now.jobs;
        let name = "split_edge_jobs_total";
        header(
            &mut out,
            name,
            "counter",
            "Frames in the queue, by what became of them.",
        );
        let outcomes = [
            ("accepted", jobs.accepted),
            ("refused", jobs.refused),
            ("done", jobs.done),
            ("failed", jobs.failed),
            ("expired", jobs.expired),
            ("shed", jobs.shed),
            ("drained", jobs.drained),
            ("cancelled", jobs.cancelled),
        ];
        for (outcome, count) in outcomes {
            line(&mut out, &format!("{name}{{outcome=\"{outcome}\"}}"), count);
        }
        for (name, help, value) in frame_counters(now).into_iter().chain(self.counters()) {
            header(&mut out, name, "counter", help);
            line(&mut out, name, value);
        }
        if let Some(spans) = now.spans {
            let name = "split_edge_spans_total";
            header(
                &mut out,
                name,
                "counter",
                "Spans of traces, by what became of them.",
            );
            let outcomes = [
                ("exported", spans.exported),
                ("dropped", spans.dropped),
                ("failed", spans.failed),
            ];
            for (outcome, count) in outcomes {
                line(&mut out, &format!("{name}{{outcome=\"{outcome}\"}}"), count);
            }
        }
        for (name, help, value) in gauges(now) {
            header(&mut out, name, "gauge", help);
            line(&mut out, name, value);
        }
        let histograms = [
            (
                &self.queue_us,
                "split_edge_queue_us",
                "Time a computed frame waited.",
            ),
            (
                &self.compute_us,
                "split_edge_compute_us",
                "Time of a batch: decoding and tail.",
            ),
            (&self.batch, "split_edge_batch", "Frames in a batch."),
        ];
        for (histogram, name, help) in histograms {
            histogram.write(&mut out, name, help);
        }
        out
    }

    /// What happened below the protocol.
    fn counters(&self) -> [(&'static str, &'static str, u64); 11] {
        [
            (
                "split_edge_connections_taken_total",
                "Connections accepted.",
                self.connections_taken.get(),
            ),
            (
                "split_edge_connections_refused_total",
                "Connections closed at once: too many.",
                self.connections_refused.get(),
            ),
            (
                "split_edge_handshakes_failed_total",
                "TLS handshakes that failed.",
                self.handshakes_failed.get(),
            ),
            (
                "split_edge_handshakes_slow_total",
                "Peers that didn't finish their handshake or preface in time.",
                self.handshakes_slow.get(),
            ),
            (
                "split_edge_connections_idle_total",
                "Connections closed for being idle.",
                self.connections_idle.get(),
            ),
            (
                "split_edge_slow_readers_total",
                "Streams cut off because nobody read.",
                self.slow_readers.get(),
            ),
            (
                "split_edge_streams_refused_total",
                "Streams that ended by a fault of the peer.",
                self.streams_refused.get(),
            ),
            (
                "split_edge_bytes_in_total",
                "Bytes of the protocol that came.",
                self.bytes_in.get(),
            ),
            (
                "split_edge_bytes_out_total",
                "Bytes of the protocol that left.",
                self.bytes_out.get(),
            ),
            (
                "split_edge_tls_reloads_total",
                "Certificates loaded anew.",
                self.reloads.get(),
            ),
            (
                "split_edge_model_reloads_total",
                "Times that other contracts were served from then on.",
                self.model_reloads.get(),
            ),
        ]
    }
}

/// What happened to frames.
fn frame_counters(now: &Snapshot) -> [(&'static str, &'static str, u64); 5] {
    [
        (
            "split_edge_frames_total",
            "Frames that were handed on.",
            now.frames.frames,
        ),
        (
            "split_edge_frames_refused_total",
            "Frames refused before the queue.",
            now.frames.refused,
        ),
        (
            "split_edge_frames_expired_total",
            "Frames whose deadline passed.",
            now.frames.expired,
        ),
        (
            "split_edge_answers_total",
            "Answers and refusals sent.",
            now.frames.replied,
        ),
        (
            "split_edge_panics_total",
            "Panics of the model.",
            now.panics,
        ),
    ]
}

fn gauges(now: &Snapshot) -> [(&'static str, &'static str, u64); 7] {
    [
        (
            "split_edge_ready",
            "1 while frames are taken.",
            u64::from(now.ready),
        ),
        (
            "split_edge_connections",
            "Open connections.",
            now.connections,
        ),
        (
            "split_edge_streams",
            "Open streams of devices.",
            now.streams,
        ),
        ("split_edge_waiting", "Frames that wait.", now.jobs.waiting),
        (
            "split_edge_running",
            "Frames that are computed.",
            now.jobs.running,
        ),
        (
            "split_edge_waiting_bytes",
            "Bytes of the frames that wait.",
            now.waiting_bytes,
        ),
        (
            "split_edge_oldest_us",
            "How long the oldest frame has waited.",
            now.oldest_us,
        ),
    ]
}

fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, value: u64) {
    let _ = writeln!(out, "{name} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up_and_every_line_has_a_value() {
        let metrics = Metrics::default();
        for us in [50, 100, 101, 2_000_000] {
            metrics.queue_us.add(us);
        }
        let text = metrics.to_text(&Snapshot::default());
        assert!(
            text.contains("split_edge_queue_us_bucket{le=\"100\"} 2\n"),
            "{text}"
        );
        assert!(
            text.contains("split_edge_queue_us_bucket{le=\"250\"} 3\n"),
            "{text}"
        );
        assert!(
            text.contains("split_edge_queue_us_bucket{le=\"+Inf\"} 4\n"),
            "{text}"
        );
        assert!(text.contains("split_edge_queue_us_sum 2000251\n"), "{text}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (_, value) = line.rsplit_once(' ').unwrap();
            value.parse::<u64>().unwrap();
        }
    }
}
