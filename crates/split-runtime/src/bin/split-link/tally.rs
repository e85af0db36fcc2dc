//! What a link in one way came to, as a row and as a line of records.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::cells::Cell;
use crate::lane::{Counts, QUEUE_PACKETS};
use crate::link::How;
use crate::measure::DEADLINE_MS;
use crate::options::{Mode, Options};
use crate::record;
use crate::work::Work;

/// Version of Burn and its crates, as the workspace's manifest pins it.
const BURN: &str = "0.22.1";

/// Requests of one link in one way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// Of those that were answered.
    times: Vec<Times>,
    /// Answers that named the picture's class first.
    right: usize,
    /// Frames or files of those that were answered.
    bytes: u64,
    /// Requests without an answer by the deadline.
    pub(crate) failed: usize,
    /// Bytes on the link up and down, headers and what was sent again included.
    carried: [u64; 2],
    /// Packets lost in both directions.
    lost: u64,
}

/// How long an answer took.
#[derive(Clone, Copy, Debug)]
struct Times {
    total_us: u64,
    /// The device's own part of it: head, unit, coding, or the whole network.
    device_us: u64,
}

/// Figures over the requests that were answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figures {
    /// Median, 95th and 99th percentile.
    pub(crate) ms: [f64; 3],
    /// The same where the device takes longer.
    pub(crate) slower_ms: [f64; 3],
    /// Mean of the device's own part.
    pub(crate) device_ms: f64,
    /// Top-1 in per cent.
    pub(crate) value: f64,
    pub(crate) bytes: f64,
}

impl Measured {
    /// Adds a device's line for a picture of a class.
    ///
    /// # Errors
    /// Where the line doesn't say what it has to.
    pub(crate) fn add(&mut self, answer: &Value, label: u16) -> Result<()> {
        if answer["by"].is_null() || answer["late"] == true {
            self.failed += 1;
            return Ok(());
        }
        let part = |name: &str| answer["us"][name].as_u64();
        let own = ["head", "code", "local"].map(|name| part(name).unwrap_or(0));
        self.times.push(Times {
            total_us: part("total").context("the device's line has no time")?,
            device_us: own.iter().sum(),
        });
        self.right += usize::from(answer["class"] == label);
        self.bytes += answer["bytes"].as_u64().unwrap_or(0);
        Ok(())
    }

    /// What the link carried for them.
    pub(crate) fn carried(&mut self, before: [Counts; 2], after: [Counts; 2]) {
        self.carried = [0, 1].map(|way| after[way].bytes - before[way].bytes);
        self.lost = (0..2).map(|way| after[way].lost - before[way].lost).sum();
    }

    /// Answered or not.
    pub(crate) fn requests(&self) -> usize {
        self.times.len() + self.failed
    }

    /// With a device so many times slower beside this one; nothing where no request was answered.
    pub(crate) fn figures(&self, device_slower: u32) -> Option<Figures> {
        if self.times.is_empty() {
            return None;
        }
        let count = self.times.len();
        let more = u64::from(device_slower.saturating_sub(1));
        let slower = |times: &Times| times.total_us + more * times.device_us;
        let own: u64 = self.times.iter().map(|times| times.device_us).sum();
        Some(Figures {
            ms: percentiles(self.times.iter().map(|times| times.total_us)),
            slower_ms: percentiles(self.times.iter().map(slower)),
            device_ms: own as f64 / 1e3 / count as f64,
            value: 100.0 * self.right as f64 / count as f64,
            bytes: self.bytes as f64 / count as f64,
        })
    }

    /// A line of records; nothing where no request was answered.
    pub(crate) fn line(
        &self,
        work: &Work,
        options: &Options,
        (cell, mode, how): (Cell, Mode, How),
    ) -> Option<Value> {
        let figures = self.figures(options.device_slower)?;
        let [[p50_ms, p95_ms, p99_ms], slower] =
            [figures.ms, figures.slower_ms].map(|times| times.map(record::rounded));
        let round = record::rounded;
        let command = record::command("bench link");
        let mut line = record::common("split-link/1", &command, options.seed);
        let each = |bytes: u64| round(bytes as f64 / self.requests() as f64);
        let more = json!({
            "versions": {"split": env!("CARGO_PKG_VERSION"), "burn": BURN, "backend": "flex"},
            "mode": mode.name(),
            "kbit_s": cell.kbit_s,
            "rtt_ms": cell.rtt_ms,
            "loss": cell.loss,
            "p50_ms": p50_ms,
            "p95_ms": p95_ms,
            "p99_ms": p99_ms,
            "device_ms": round(figures.device_ms),
            "device_slower": options.device_slower,
            "slower_p50_ms": slower[0],
            "slower_p95_ms": slower[1],
            "slower_p99_ms": slower[2],
            "value": round(figures.value),
            "bytes": round(figures.bytes),
            "how": how.name(),
            "model": work.name,
            "split": work.split,
            "data": work.data,
            "n": self.requests(),
            "failed": self.failed,
            "deadline_ms": DEADLINE_MS,
            "queue_packets": QUEUE_PACKETS,
            "carried_up": each(self.carried[0]),
            "carried_down": each(self.carried[1]),
            "packets_lost": self.lost,
        });
        record::add(&mut line, more);
        match mode {
            Mode::Split => record::add(&mut line, json!({"rung": work.rung})),
            Mode::Picture => record::add(&mut line, json!({"quality": options.quality})),
            Mode::DeviceOnly => {}
        }
        Some(line)
    }

    /// A row below [`heads`].
    pub(crate) fn row(&self, cell: Cell, mode: Mode, device_slower: u32) -> String {
        let link = format!(
            "{:>9} {:>7} {:>6} {:<12}",
            cell.kbit_s,
            cell.rtt_ms,
            cell.loss * 100.0,
            mode.name()
        );
        let Some(figures) = self.figures(device_slower) else {
            return format!("{link} none of {} requests was answered", self.requests());
        };
        let [p50_ms, p95_ms, p99_ms] = figures.ms;
        let [slower_p50_ms, slower_p95_ms, _] = figures.slower_ms;
        format!(
            "{link} {p50_ms:>9.1} {p95_ms:>9.1} {p99_ms:>9.1} {:>8.1} {:>8.1} {:>6} {:>7} {slower_p50_ms:>12.1} {slower_p95_ms:>9.1}",
            figures.value,
            figures.bytes,
            self.requests(),
            self.failed
        )
    }
}

/// Median, 95th and 99th percentile in milliseconds: the least time that so many of a hundred stayed within.
fn percentiles(times_us: impl Iterator<Item = u64>) -> [f64; 3] {
    let mut sorted: Vec<u64> = times_us.collect();
    sorted.sort_unstable();
    [50, 95, 99].map(|percent| {
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted[rank - 1] as f64 / 1e3
    })
}

/// Heads of the rows.
pub(crate) fn heads(device_slower: u32) -> String {
    format!(
        "{:>9} {:>7} {:>6} {:<12} {:>9} {:>9} {:>9} {:>8} {:>8} {:>6} {:>7} {:>12} {:>9}",
        "kbit/s",
        "RTT ms",
        "loss %",
        "way",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "top-1 %",
        "bytes",
        "n",
        "failed",
        format!("x{device_slower}: p50"),
        "p95 ms"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(total_us: u64, class: u16) -> Value {
        json!({"by": "edge", "late": false, "class": class, "bytes": 100,
            "us": {"total": total_us, "head": 700, "code": 300, "network": 9_000}})
    }

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let mut measured = Measured::default();
        for index in (1..=200).rev() {
            measured.add(&answer(index * 1_000, 3), 3).unwrap();
        }
        let figures = measured.figures(1).unwrap();
        assert_eq!(figures.ms, [100.0, 190.0, 198.0]);
        assert_eq!((figures.device_ms, figures.slower_ms), (1.0, figures.ms));
        // Of each time one millisecond is the device's.
        let figures = measured.figures(11).unwrap();
        assert_eq!(figures.slower_ms, [110.0, 200.0, 208.0]);
        assert_eq!((figures.value, figures.bytes), (100.0, 100.0));
    }

    #[test]
    fn failed_requests_are_counted_apart() {
        let mut measured = Measured::default();
        measured.add(&answer(5_000, 1), 1).unwrap();
        measured.add(&answer(7_000, 2), 1).unwrap();
        measured
            .add(&json!({"by": null, "why": "expired"}), 1)
            .unwrap();
        assert_eq!((measured.requests(), measured.failed), (3, 1));
        let figures = measured.figures(1).unwrap();
        assert_eq!(
            (figures.ms[0], figures.ms[2], figures.value),
            (5.0, 7.0, 50.0)
        );
    }

    #[test]
    fn without_an_answer_there_are_no_figures() {
        let mut measured = Measured::default();
        measured.add(&json!({"by": null}), 0).unwrap();
        assert_eq!(measured.figures(50), None);
        let cell = Cell {
            kbit_s: 100,
            rtt_ms: 20.0,
            loss: 0.05,
        };
        let row = measured.row(cell, Mode::Split, 50);
        assert!(row.contains("none of 1 requests was answered"), "{row}");
    }
}
