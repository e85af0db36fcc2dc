//! Where to cut and which rung to send: arithmetic over records, no measurement.
//!
//! Every row of the records is a candidate way to an answer. Its time is the device's work, the
//! link and the edge's work, each as [`Compute`] and [`Link`] have it; its accuracy is the record's.
//! Sending the picture and computing all on the device are candidates like the others, so the
//! plan may well be not to split.

mod text;

use serde::Serialize;
use thiserror::Error;

use crate::link::Way;
use crate::tables::{HELPED_KINDS, PICTURE_KINDS};
use crate::{Compute, Link, RaDocument, Row};

/// What is asked of an answer; one of the two at the least.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Goal {
    /// Mean time an answer may take, milliseconds.
    pub deadline_ms: Option<f64>,
    /// Least accuracy, in the metric of the records.
    pub value_min: Option<f64>,
}

/// Two computers, a link and a goal.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The weak end.
    pub device: Compute,
    /// The strong end.
    pub edge: Compute,
    /// What lies between them.
    pub link: Link,
    /// What is asked for.
    pub goal: Goal,
    /// Time to code and decode a picture where pictures are sent, milliseconds; records have none.
    pub picture_ms: f64,
}

/// Sort of a candidate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Head and unit encoder on the device, the rest on the edge.
    Split,
    /// The picture is sent and the edge does everything.
    Picture,
    /// The device does everything, nothing is sent.
    DeviceOnly,
}

/// One way to an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// Sort.
    pub mode: Mode,
    /// Split point, where there is one.
    pub split: Option<String>,
    /// Name of the record's row: the rung, or codec and quality.
    pub name: String,
    /// Kind of the record's row.
    pub kind: String,
    /// Bytes that are sent.
    pub bytes: f64,
    /// Accuracy, in the metric of the records.
    pub value: f64,
    /// Points of accuracy below the unsplit network.
    pub loss_points: f64,
    /// Multiply-accumulates on the device.
    pub device_macs: f64,
    /// Multiply-accumulates on the edge that records count: the tail, or the whole network.
    pub edge_macs: f64,
    /// Time of the head, or of the whole network, on the device. Includes the unit encoder where
    /// the record has no `raw` row to tell them apart.
    pub head_ms: f64,
    /// Time of the unit encoder.
    pub unit_ms: f64,
    /// Time on the device besides: coding.
    pub code_ms: f64,
    /// Time on the link, both ways.
    pub link_ms: f64,
    /// Time of the tail, or of the whole network, on the edge.
    pub tail_ms: f64,
    /// Time on the edge besides: decoding, unit decoder.
    pub decode_ms: f64,
    /// Sum of the times above.
    pub total_ms: f64,
    /// Whether it meets the goal.
    pub meets: bool,
}

/// What to do, and what else there is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Backbone.
    pub backbone: String,
    /// Metric of the values, `top1` or `map`.
    pub metric: String,
    /// Accuracy of the unsplit network.
    pub unsplit: f64,
    /// The way to go; none where no candidate meets the goal.
    pub choice: Option<Candidate>,
    /// The candidate that misses the goal by least where none meets it: with an accuracy asked for
    /// the fastest that has it, else the fastest of all.
    pub nearest: Option<Candidate>,
    /// The fastest picture of the choice's accuracy or better.
    pub picture: Option<Candidate>,
    /// The device alone.
    pub device_only: Option<Candidate>,
    /// Rate of the link at which choice and picture take equally long, kbit/s.
    pub picture_crossover_kbit_s: Option<f64>,
    /// Rate of the link at which choice and device alone take equally long, kbit/s.
    pub device_crossover_kbit_s: Option<f64>,
    /// Candidates that no other beats in both time and accuracy, fastest first.
    pub frontier: Vec<Candidate>,
    /// All candidates, in the order of the records.
    pub candidates: Vec<Candidate>,
}

/// Why there is no plan.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum PlanError {
    /// Nothing to choose from.
    #[error("no record given")]
    NoRecord,
    /// Two records speak of different things.
    #[error("records differ in {what}: {first:?} and {second:?}; plan for one of them")]
    Differ {
        /// What they differ in.
        what: &'static str,
        /// What the first record says.
        first: String,
        /// What the other says.
        second: String,
    },
    /// Two records have the same split point.
    #[error("two records are cut at {split:?}; give one of them")]
    SameSplit {
        /// The split point.
        split: String,
    },
    /// Neither a deadline nor an accuracy is given.
    #[error("no goal: give a deadline, an accuracy, or both")]
    NoGoal,
    /// A figure is outside its range.
    #[error("{field} is {found}, allowed are {allowed}")]
    Range {
        /// Name of the figure, with its unit.
        field: &'static str,
        /// What was given.
        found: f64,
        /// What it may be.
        allowed: String,
    },
    /// The records hold no row that is a way to an answer.
    #[error("the records have no row with device_macs that could be chosen")]
    NoCandidate,
}

/// Chooses. With a deadline: the most accurate way in time, of these the fastest; what lies above the
/// unsplit network's accuracy is chance and counts as equal to it. Without one: the fastest way that
/// is accurate enough.
///
/// # Errors
/// [`PlanError`], one variant per broken rule.
pub fn plan(documents: &[RaDocument], request: &Request) -> Result<Plan, PlanError> {
    let first = documents.first().ok_or(PlanError::NoRecord)?;
    check_documents(first, documents)?;
    check_goal(first, request)?;
    let candidates = candidates(documents, request);
    if candidates.is_empty() {
        return Err(PlanError::NoCandidate);
    }
    let unsplit = first.backbone.value;
    let worth = |one: &Candidate| one.value.min(unsplit);
    let faster = |a: &&Candidate, b: &&Candidate| a.total_ms.total_cmp(&b.total_ms);
    let meeting = || candidates.iter().filter(|one| one.meets);
    let choice = match request.goal.deadline_ms {
        // `min_by` keeps the first of equals, so the worth is compared the other way round.
        Some(_) => meeting().min_by(|a, b| worth(b).total_cmp(&worth(a)).then(faster(a, b))),
        None => meeting().min_by(faster),
    };
    let value_min = request.goal.value_min.unwrap_or(f64::NEG_INFINITY);
    let accurate = || candidates.iter().filter(|one| one.value >= value_min);
    let nearest = || {
        let most = || candidates.iter().max_by(|a, b| a.value.total_cmp(&b.value));
        accurate().min_by(faster).or_else(most)
    };
    let of_mode = |mode: Mode, value: f64| {
        let rows = candidates.iter().filter(move |one| one.mode == mode);
        rows.filter(move |one| worth(one) >= value).min_by(faster)
    };
    let wanted = choice.map_or(value_min, worth);
    let picture = of_mode(Mode::Picture, wanted);
    let device_only = of_mode(Mode::DeviceOnly, f64::NEG_INFINITY);
    let crossover = |other: Option<&Candidate>| {
        let (ours, other) = (choice?, other?);
        let way = |one: &Candidate| one.way(&request.link);
        way(ours).crossover(&way(other))
    };
    Ok(Plan {
        backbone: first.backbone.name.clone(),
        metric: first.backbone.metric.clone(),
        unsplit,
        picture_crossover_kbit_s: crossover(picture),
        device_crossover_kbit_s: crossover(device_only),
        nearest: if choice.is_none() {
            nearest().cloned()
        } else {
            None
        },
        choice: choice.cloned(),
        picture: picture.cloned(),
        device_only: device_only.cloned(),
        frontier: frontier(&candidates),
        candidates,
    })
}

fn check_documents(first: &RaDocument, documents: &[RaDocument]) -> Result<(), PlanError> {
    for (i, other) in documents.iter().enumerate().skip(1) {
        let (a, b) = (&first.backbone, &other.backbone);
        for (what, first, second) in [
            ("backbone", &a.name, &b.name),
            ("weights", &a.weights_sha256, &b.weights_sha256),
            ("metric", &a.metric, &b.metric),
            ("data set", &first.data.name, &other.data.name),
            ("pictures", &first.data.sha256, &other.data.sha256),
        ] {
            if first != second {
                return Err(PlanError::Differ {
                    what,
                    first: first.clone(),
                    second: second.clone(),
                });
            }
        }
        if documents[..i]
            .iter()
            .any(|one| one.backbone.split == b.split)
        {
            let split = b.split.clone();
            return Err(PlanError::SameSplit { split });
        }
    }
    Ok(())
}

fn check_goal(first: &RaDocument, request: &Request) -> Result<(), PlanError> {
    let goal = request.goal;
    if goal.deadline_ms.is_none() && goal.value_min.is_none() {
        return Err(PlanError::NoGoal);
    }
    let value_max = if first.backbone.metric == "map" {
        1.0
    } else {
        100.0
    };
    let range = |field, found: f64, ok: bool, allowed: &str| {
        if ok && found.is_finite() {
            return Ok(());
        }
        Err(PlanError::Range {
            field,
            found,
            allowed: allowed.to_owned(),
        })
    };
    let deadline = goal.deadline_ms.unwrap_or(1.0);
    range("deadline (ms)", deadline, deadline > 0.0, "numbers above 0")?;
    let value = goal.value_min.unwrap_or(0.0);
    let ok = (0.0..=value_max).contains(&value);
    range("accuracy", value, ok, &format!("0 to {value_max}"))?;
    let ms = request.picture_ms;
    range("picture coding (ms)", ms, ms >= 0.0, "numbers from 0")
}

/// Rows that are a way to an answer; pictures and the device alone once for all documents.
fn candidates(documents: &[RaDocument], request: &Request) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    for document in documents {
        for row in document.means() {
            let Some(one) = candidate(document, &row, request) else {
                continue;
            };
            let again = |other: &Candidate| other.split.is_none() && other.name == one.name;
            if one.split.is_some() || !found.iter().any(again) {
                found.push(one);
            }
        }
    }
    found
}

/// How a row is a way to an answer. `raw` sends what a unit would have made small: a yardstick,
/// nothing that the runtime offers, and neither is a tail with norms of its own. Coded activations without `device_macs` have no time.
pub(crate) fn candidate(document: &RaDocument, row: &Row, request: &Request) -> Option<Candidate> {
    let backbone = &document.backbone;
    let picture = row.kind == "unsplit" || PICTURE_KINDS.contains(&row.kind.as_str());
    let mode = match row.kind.as_str() {
        "raw" => return None,
        kind if HELPED_KINDS.contains(&kind) => return None,
        "device-only" => Mode::DeviceOnly,
        _ if picture => Mode::Picture,
        _ => Mode::Split,
    };
    let (device, edge) = (&request.device, &request.edge);
    let (device_macs, head_macs, edge_macs) = match mode {
        Mode::DeviceOnly => (backbone.macs, backbone.macs, 0.0),
        Mode::Picture => (0.0, 0.0, backbone.macs),
        Mode::Split => {
            let device_macs = row.device_macs?;
            let head_macs = head_macs(document).filter(|head| *head <= device_macs);
            let head_macs = head_macs.unwrap_or(device_macs);
            (device_macs, head_macs, (backbone.macs - head_macs).max(0.0))
        }
    };
    let (code_ms, decode_ms) = match mode {
        Mode::DeviceOnly => (0.0, 0.0),
        Mode::Picture => (request.picture_ms, 0.0),
        Mode::Split => (device.extra_ms(), edge.extra_ms()),
    };
    let bytes = if mode == Mode::DeviceOnly {
        0.0
    } else {
        row.bytes
    };
    let mut one = Candidate {
        mode,
        split: (mode == Mode::Split).then(|| backbone.split.clone()),
        name: row.name.clone(),
        kind: row.kind.clone(),
        bytes,
        value: row.value,
        loss_points: (backbone.value - row.value) / backbone.points(),
        device_macs,
        edge_macs,
        head_ms: device.ms(head_macs),
        unit_ms: device.ms(device_macs - head_macs),
        code_ms,
        link_ms: if mode == Mode::DeviceOnly {
            0.0
        } else {
            request.link.exchange_ms(bytes)
        },
        tail_ms: edge.ms(edge_macs),
        decode_ms,
        total_ms: 0.0,
        meets: false,
    };
    one.total_ms = one.computing_ms() + one.link_ms;
    let goal = request.goal;
    one.meets = goal.deadline_ms.is_none_or(|limit| one.total_ms <= limit)
        && goal.value_min.is_none_or(|least| one.value >= least);
    Some(one)
}

/// The raw activation is what the head alone leaves, so its row has the head's MACs.
fn head_macs(document: &RaDocument) -> Option<f64> {
    let raw = document.rows.iter().find(|row| row.kind == "raw")?;
    raw.device_macs
}

fn frontier(candidates: &[Candidate]) -> Vec<Candidate> {
    let mut sorted: Vec<&Candidate> = candidates.iter().collect();
    sorted.sort_by(|a, b| {
        let value = || b.value.total_cmp(&a.value);
        a.total_ms.total_cmp(&b.total_ms).then_with(value)
    });
    let mut best = f64::NEG_INFINITY;
    sorted.retain(|one| {
        let better = one.value > best;
        best = best.max(one.value);
        better
    });
    sorted.into_iter().cloned().collect()
}

impl Candidate {
    /// Time on both ends, without the link.
    fn computing_ms(&self) -> f64 {
        self.head_ms + self.unit_ms + self.code_ms + self.tail_ms + self.decode_ms
    }

    /// The same candidate as time over the rate of the link.
    pub(crate) fn way(&self, link: &Link) -> Way {
        let sends = self.mode != Mode::DeviceOnly;
        Way {
            fixed_ms: self.computing_ms()
                + if sends {
                    link.fixed_ms(self.bytes)
                } else {
                    0.0
                },
            kbits: if sends { link.kbits(self.bytes) } else { 0.0 },
        }
    }
}

#[cfg(test)]
mod tests;
