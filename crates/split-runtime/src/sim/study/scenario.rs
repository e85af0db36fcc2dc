use std::sync::Arc;

use super::super::link::{PACKET_BYTES, PACKET_HEADER_BYTES};
use super::super::random::EntityRandom;
use super::super::trace::Trace;
use crate::policy::{Choice, Menu};

/// A device's link, deadlines and requests.
#[derive(Clone, Debug)]
pub struct ScenarioConfig {
    /// Everything random follows from it.
    pub seed: u64,
    /// Rate of the way up over time.
    pub trace: Arc<Trace>,
    /// The rate is the trace's times this, in thousandths.
    pub scale_permille: u32,
    /// Round trip without bytes, jitter and edge.
    pub rtt_ns: u64,
    /// Most that is added on each way, drawn evenly.
    pub jitter_ns: u64,
    /// Of a thousand packets, how many are lost; each loss takes `repair_ns` more.
    pub loss_permille: u32,
    /// Time to repair a loss.
    pub repair_ns: u64,
    /// Time for each request in microseconds.
    pub budget_us: u64,
    /// Time between requests; the actual one varies by a tenth.
    pub period_ns: u64,
    /// How many requests.
    pub requests: usize,
    /// What the first picture after a change of split point takes longer on the device.
    pub switch_us: u64,
    /// Other devices that share the edge at most; their number walks by one a second or so.
    pub others_max: u32,
}

impl ScenarioConfig {
    /// Ten requests a second for a minute over a trace: 20 ms of round trip, up to 4 ms of jitter
    /// each way, no loss, 100 ms of time.
    #[must_use]
    pub const fn new(seed: u64, trace: Arc<Trace>) -> Self {
        Self {
            seed,
            trace,
            scale_permille: 1_000,
            rtt_ns: 20_000_000,
            jitter_ns: 4_000_000,
            loss_permille: 0,
            repair_ns: 200_000_000,
            budget_us: 100_000,
            period_ns: 100_000_000,
            requests: 600,
            switch_us: 10_000,
            others_max: 7,
        }
    }
}

/// What is drawn for a request before anybody chooses.
#[derive(Clone, Copy, Debug)]
struct Draw {
    at_ns: u64,
    /// Standard normal: how long its frame is among frames.
    length: f64,
    up_ns: u64,
    down_ns: u64,
    loss: f64,
    queue_us: u64,
    /// Of the edge, without the request's own pictures but one.
    batch: u32,
    pictures: u32,
}

/// Requests over a link.
#[derive(Clone, Debug)]
pub struct Scenario {
    config: ScenarioConfig,
    offset_ns: u64,
    draws: Vec<Draw>,
}

/// Where device and link stand between two requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// When the device has done what it has.
    pub device_free_ns: u64,
    /// When the link has passed what it has.
    pub link_free_ns: u64,
    /// No answer comes before this: a stream keeps its order.
    pub arrival_ns: u64,
    /// Split point in use.
    pub split: Option<usize>,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Device and link after it.
    pub node: Node,
    /// When its answer was there; nothing for one that was given up or came too late to be sent.
    pub done_ns: Option<u64>,
    /// Whether that was in time.
    pub in_time: bool,
    /// When its frame was handed to the link, and its bytes.
    pub sent: Option<(u64, u32)>,
    /// Time in the edge's queue and of its batch, and the size of that.
    pub edge: (u64, u64, u32),
    /// Whether the split point changed.
    pub switched: bool,
}

impl Scenario {
    /// Draws everything.
    #[must_use]
    pub fn new(config: ScenarioConfig) -> Self {
        let entity = |index: u64| EntityRandom::new(config.seed, (5 << 32) + index);
        let offset_ns = entity(0).below(config.trace.length_ns());
        let [mut times, mut lengths, mut link, mut edge] = [1, 2, 3, 4].map(entity);
        let mut others = u32::try_from(edge.below(u64::from(config.others_max) + 1)).unwrap_or(0);
        let mut at_ns = 0;
        let draws = (0..config.requests)
            .map(|_| {
                at_ns += config.period_ns * 9 / 10 + times.below(config.period_ns / 5 + 1);
                match edge.below(20) {
                    0 => others = (others + 1).min(config.others_max),
                    1 => others = others.saturating_sub(1),
                    _ => {}
                }
                let batch = 1 + u32::try_from(edge.below(u64::from(others) + 1)).unwrap_or(0);
                Draw {
                    at_ns,
                    length: lengths.normal(),
                    up_ns: link.below(config.jitter_ns + 1),
                    down_ns: link.below(config.jitter_ns + 1),
                    loss: link.unit(),
                    queue_us: edge.below(u64::from(others) * 1_000 + 1),
                    batch,
                    pictures: 1,
                }
            })
            .collect();
        Self {
            config,
            offset_ns,
            draws,
        }
    }

    /// The same with 1 to `pictures_max` pictures in each request, drawn evenly; without it there is one. The
    /// device computes one after the other, their frames go together, and the edge's batch has all of them.
    #[must_use]
    pub fn with_pictures(mut self, pictures_max: u32) -> Self {
        let mut random = EntityRandom::new(self.config.seed, 7 << 32);
        for draw in &mut self.draws {
            let more = random.below(u64::from(pictures_max.max(1)));
            draw.pictures = 1 + u32::try_from(more).unwrap_or(0);
        }
        self
    }

    /// How many pictures a request has.
    ///
    /// # Panics
    /// If there is no such request.
    #[must_use]
    pub fn pictures(&self, request: usize) -> u32 {
        self.draws[request].pictures
    }

    /// Its settings.
    #[must_use]
    pub const fn config(&self) -> &ScenarioConfig {
        &self.config
    }

    /// Number of requests.
    #[must_use]
    pub fn len(&self) -> usize {
        self.draws.len()
    }

    /// Whether nothing is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.draws.is_empty()
    }

    /// When a request comes.
    ///
    /// # Panics
    /// If there is no such request.
    #[must_use]
    pub fn at_ns(&self, request: usize) -> u64 {
        self.draws[request].at_ns
    }

    /// Carries out a choice; `switch_us` is what a change of split point takes.
    ///
    /// # Panics
    /// If there is no such request or entry.
    #[must_use]
    pub fn step(
        &self,
        node: Node,
        request: usize,
        choice: Choice,
        menu: &Menu,
        switch_us: u64,
    ) -> Step {
        let draw = &self.draws[request];
        let mut step = Step {
            node,
            done_ns: None,
            in_time: false,
            sent: None,
            edge: (0, 0, 0),
            switched: false,
        };
        let Choice::Entry(index) = choice else {
            return step;
        };
        let entry = &menu.entries()[index];
        let deadline_ns = draw.at_ns + self.config.budget_us * 1_000;
        let start_ns = draw.at_ns.max(node.device_free_ns);
        if start_ns >= deadline_ns {
            // Nobody waits for it any more.
            return step;
        }
        step.switched = node.split.is_some_and(|split| split != entry.split);
        let pause_us = if step.switched { switch_us } else { 0 };
        let head_us = u64::from(draw.pictures) * entry.head_us;
        let ready_ns = start_ns + (head_us + pause_us) * 1_000;
        step.node.split = Some(entry.split);
        step.node.device_free_ns = ready_ns;
        if !entry.is_sent() {
            step.done_ns = Some(ready_ns);
            step.in_time = ready_ns <= deadline_ns;
            return step;
        }
        if ready_ns >= deadline_ns {
            return step;
        }
        // Lengths of several frames even out.
        let pictures = f64::from(draw.pictures);
        let normal = draw.length / pictures.sqrt();
        let bytes = length(
            pictures * entry.bytes_mean,
            pictures * entry.bytes_p95,
            normal,
        );
        let packets = u64::from(bytes).div_ceil(PACKET_BYTES).max(1);
        let bits = (u64::from(bytes) + packets * PACKET_HEADER_BYTES) * 8;
        let start = ready_ns.max(node.link_free_ns) + self.offset_ns;
        let scale = self.config.scale_permille;
        let passed = self.config.trace.transmit_end_ns(start, bits, scale) - self.offset_ns;
        step.node.link_free_ns = passed;
        let kept = 1.0 - f64::from(self.config.loss_permille) / 1e3;
        let all_kept = kept.powi(i32::try_from(packets).unwrap_or(i32::MAX));
        let repair_ns = if draw.loss < all_kept {
            0
        } else {
            self.config.repair_ns
        };
        let batch = draw.batch + draw.pictures - 1;
        let compute_us = entry.tail_batch_us(batch);
        let edge_ns = (draw.queue_us + compute_us) * 1_000;
        let came = passed + self.config.rtt_ns + draw.up_ns + draw.down_ns + repair_ns + edge_ns;
        let done_ns = came.max(node.arrival_ns);
        step.node.arrival_ns = done_ns;
        step.done_ns = Some(done_ns);
        step.in_time = done_ns <= deadline_ns;
        step.sent = Some((ready_ns, bytes));
        step.edge = (draw.queue_us, compute_us, batch);
        step
    }
}

/// A length from a log-normal distribution of this mean and 95th percentile, at a standard normal.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "menus bound lengths to ten million bytes; the cast saturates"
)]
pub(crate) fn length(mean: f64, p95: f64, normal: f64) -> u32 {
    // 1.645 spreads lie below the 95th percentile, and the mean half a squared one above the middle.
    const Z95: f64 = 1.645;
    let ratio = (p95 / mean).ln().clamp(0.0, 1.35);
    let spread = Z95 - (Z95 * Z95 - 2.0 * ratio).max(0.0).sqrt();
    let bytes = mean * (spread * normal - spread * spread / 2.0).exp();
    bytes.round().clamp(1.0, 4e9) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_their_mean_and_percentile() {
        let mut random = EntityRandom::new(3, 3);
        let mut drawn: Vec<u32> = (0..20_000)
            .map(|_| length(1_000.0, 1_300.0, random.normal()))
            .collect();
        drawn.sort_unstable();
        let mean = drawn.iter().map(|&bytes| f64::from(bytes)).sum::<f64>() / 20_000.0;
        assert!((mean - 1_000.0).abs() < 10.0, "{mean}");
        assert!((1_270..1_330).contains(&drawn[19_000]), "{}", drawn[19_000]);
    }
}
