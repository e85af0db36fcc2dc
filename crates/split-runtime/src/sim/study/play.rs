use std::collections::VecDeque;
use std::fmt::Write as _;

use super::scenario::{Node, Scenario};
use crate::policy::{AnswerSeen, Choice, InFlight, Menu, Observation, Policy};
use crate::time::Time;

/// What a policy made of a scenario.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Played {
    /// Requests.
    pub requests: u64,
    /// Those answered in time.
    pub in_time: u64,
    /// Sum of the accuracies of those, in points.
    pub points: f64,
    /// Bytes handed to the link.
    pub bytes: u64,
    /// Changes of split point.
    pub switches: u64,
    /// Requests that were given up without trying.
    pub given_up: u64,
    /// Times from request to answer in microseconds, of what was answered at all; unsorted.
    pub latencies_us: Vec<u64>,
    /// One line a request, if a log was asked for.
    pub log: String,
}

/// Lets a policy play a scenario; `switch_us` is what a change of split point takes.
///
/// # Panics
/// If the policy picks an entry that the menu hasn't.
#[must_use]
pub fn play(
    scenario: &Scenario,
    menu: &Menu,
    policy: &mut dyn Policy,
    switch_us: u64,
    log: bool,
) -> Played {
    let mut node = Node::default();
    let mut under_way: VecDeque<AnswerSeen> = VecDeque::new();
    let mut played = Played::default();
    let mut answers: Vec<AnswerSeen> = Vec::new();
    let mut in_flight: Vec<InFlight> = Vec::new();
    for request in 0..scenario.len() {
        let at_ns = scenario.at_ns(request);
        let now = Time::from_us(at_ns / 1_000);
        answers.clear();
        // A stream keeps its order, so the first sent is the first to be answered.
        while under_way
            .front()
            .is_some_and(|answer| answer.arrived <= now)
        {
            answers.extend(under_way.pop_front());
        }
        in_flight.clear();
        in_flight.extend(under_way.iter().map(|answer| InFlight {
            bytes: answer.bytes,
            sent: answer.sent,
        }));
        let observation = Observation {
            budget_us: scenario.config().budget_us,
            device_wait_us: node.device_free_ns.saturating_sub(at_ns) / 1_000,
            period_us: scenario.config().period_ns / 1_000,
            batch: scenario.pictures(request),
            in_flight: &in_flight,
            answers: &answers,
        };
        let choice = policy.decide(&observation, menu, now);
        let step = scenario.step(node, request, choice, menu, switch_us);
        node = step.node;
        played.requests += 1;
        played.switches += u64::from(step.switched);
        played.given_up += u64::from(choice == Choice::GiveUp);
        if let (true, Choice::Entry(entry)) = (step.in_time, choice) {
            played.in_time += 1;
            played.points += menu.entries()[entry].accuracy;
        }
        let latency_us = step.done_ns.map(|done_ns| (done_ns - at_ns) / 1_000);
        played.latencies_us.extend(latency_us);
        if let (Some((sent_ns, bytes)), Some(done_ns), Choice::Entry(entry)) =
            (step.sent, step.done_ns, choice)
        {
            played.bytes += u64::from(bytes);
            let (queue_us, compute_us, batch) = step.edge;
            under_way.push_back(AnswerSeen {
                entry,
                bytes,
                sent: Time::from_us(sent_ns / 1_000),
                arrived: Time::from_us(done_ns / 1_000),
                came: true,
                queue_us,
                compute_us,
                batch,
            });
        }
        if log {
            let latency_us = latency_us.unwrap_or(0);
            let _ = writeln!(
                played.log,
                "{request} {at_ns} {choice:?} {latency_us} {}",
                step.in_time
            );
        }
    }
    played
}
