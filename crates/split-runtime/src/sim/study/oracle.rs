use super::scenario::{Node, Scenario};
use crate::policy::{Choice, Menu};

/// Most states that are kept at a time; beyond it the plan may fall short of the best.
const STATES_MAX: usize = 512;

/// What a change of split point costs besides its time, in points: enough to leave out useless ones.
const SWITCH_POINTS: f64 = 0.01;

/// The best choices for a scenario that is known beforehand.
#[derive(Clone, Debug)]
pub struct OraclePlan {
    /// One choice a request.
    pub choices: Vec<Choice>,
    /// Sum of accuracies of what is in time, in points.
    pub points: f64,
    /// How often more states were worth keeping than were kept. The plan is the best for 0.
    pub cut: u64,
}

#[derive(Clone, Copy)]
struct State {
    node: Node,
    points: f64,
    /// Index into the history of choices.
    last: usize,
}

/// Plans by dynamic programming over the states of device and link: those that no other state of
/// the same split point beats in points, busy device and busy link. `switch_us` is what a change of
/// split point takes; 0 gives the oracle without switching cost.
#[must_use]
pub fn plan(scenario: &Scenario, menu: &Menu, switch_us: u64) -> OraclePlan {
    let mut history: Vec<(usize, Choice)> = vec![(0, Choice::GiveUp)];
    let mut states = vec![State {
        node: Node::default(),
        points: 0.0,
        last: 0,
    }];
    let mut cut = 0;
    for request in 0..scenario.len() {
        let next_ns = match request + 1 < scenario.len() {
            true => scenario.at_ns(request + 1),
            false => u64::MAX,
        };
        let mut reached: Vec<(State, Choice)> = Vec::new();
        for state in &states {
            let entries = (0..menu.entries().len()).map(Choice::Entry);
            for choice in entries.chain([Choice::GiveUp]) {
                let step = scenario.step(state.node, request, choice, menu, switch_us);
                // What brings nothing, not even another split point, is no better than giving up.
                if choice != Choice::GiveUp && !step.in_time && !step.switched {
                    continue;
                }
                let mut points = state.points;
                if let (true, Choice::Entry(index)) = (step.in_time, choice) {
                    points += menu.entries()[index].accuracy;
                }
                if step.switched && switch_us > 0 {
                    points -= SWITCH_POINTS;
                }
                let node = rested(step.node, next_ns, switch_us);
                let last = state.last;
                reached.push((State { node, points, last }, choice));
            }
        }
        states = prune(reached, &mut history, &mut cut);
    }
    let best = states.iter().max_by(|a, b| a.points.total_cmp(&b.points));
    let (mut at, points) = best.map_or((0, 0.0), |state| (state.last, state.points));
    let mut choices = Vec::with_capacity(scenario.len());
    while at != 0 {
        choices.push(history[at].1);
        at = history[at].0;
    }
    choices.reverse();
    OraclePlan {
        choices,
        points,
        cut,
    }
}

/// What is free before the next request is as good as free when it comes.
fn rested(node: Node, next_ns: u64, switch_us: u64) -> Node {
    Node {
        device_free_ns: node.device_free_ns.max(next_ns),
        link_free_ns: node.link_free_ns.max(next_ns),
        arrival_ns: node.arrival_ns.max(next_ns),
        split: node.split.filter(|_| switch_us > 0),
    }
}

fn prune(
    mut reached: Vec<(State, Choice)>,
    history: &mut Vec<(usize, Choice)>,
    cut: &mut u64,
) -> Vec<State> {
    reached.sort_by(|(a, _), (b, _)| b.points.total_cmp(&a.points));
    let mut kept: Vec<State> = Vec::new();
    for (state, choice) in reached {
        let node = state.node;
        // Sorted by points, so an earlier one that is free as soon is at least as good.
        let beaten = kept.iter().any(|better| {
            better.node.split == node.split
                && better.node.device_free_ns <= node.device_free_ns
                && better.node.link_free_ns <= node.link_free_ns
                && better.node.arrival_ns <= node.arrival_ns
        });
        if beaten {
            continue;
        }
        if kept.len() == STATES_MAX {
            *cut += 1;
            break;
        }
        history.push((state.last, choice));
        kept.push(State {
            last: history.len() - 1,
            ..state
        });
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::scenario::ScenarioConfig;
    use super::*;
    use crate::policy::tests::small;
    use crate::sim::{Trace, synthetic_trace};

    /// Tries every sequence of choices.
    fn best_points(
        scenario: &Scenario,
        menu: &Menu,
        switch_us: u64,
        node: Node,
        request: usize,
    ) -> f64 {
        if request == scenario.len() {
            return 0.0;
        }
        let entries = (0..menu.entries().len()).map(Choice::Entry);
        let points = entries.chain([Choice::GiveUp]).map(|choice| {
            let step = scenario.step(node, request, choice, menu, switch_us);
            let own = match (choice, step.in_time) {
                (Choice::Entry(index), true) => menu.entries()[index].accuracy,
                _ => 0.0,
            };
            let price = if step.switched && switch_us > 0 {
                SWITCH_POINTS
            } else {
                0.0
            };
            own - price + best_points(scenario, menu, switch_us, step.node, request + 1)
        });
        points.fold(0.0, f64::max)
    }

    #[test]
    fn no_sequence_of_choices_beats_the_plan() {
        let menu = small();
        for seed in 0..6 {
            let trace = synthetic_trace(seed, 100);
            let mut config = ScenarioConfig::new(seed, Arc::new(trace));
            config.requests = 5;
            config.scale_permille = 200;
            config.period_ns = 60_000_000;
            config.budget_us = 170_000;
            let scenario = Scenario::new(config);
            for switch_us in [0, 10_000] {
                let plan = plan(&scenario, &menu, switch_us);
                let best = best_points(&scenario, &menu, switch_us, Node::default(), 0);
                assert!(
                    (plan.points - best).abs() < 1e-9,
                    "{seed}: {} {best}",
                    plan.points
                );
                assert_eq!((plan.choices.len(), plan.cut), (5, 0));
            }
        }
    }

    #[test]
    fn a_fast_link_gets_the_best_entry_every_time() {
        let config = ScenarioConfig::new(1, Arc::new(Trace::constant(50_000_000)));
        let plan = plan(&Scenario::new(config), &small(), 10_000);
        assert!(
            plan.choices
                .iter()
                .all(|&choice| choice == Choice::Entry(4))
        );
    }
}
