//! Policies over links in virtual time: the same run twice, laws that hold for each of them, and a
//! small form of the study.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use split_runtime::sim::{
    Cell, Scenario, ScenarioConfig, Summary, Trace, plan, play, synthetic_trace,
};
use split_runtime::{
    Choice, DynamicSplit, Fixed, Menu, Neurosurgeon, Own, OwnConfig, Plan, Policy, Throughput,
};

const SWITCH_US: u64 = 10_000;

fn menu() -> Menu {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("menus/embedded.json");
    let text = fs::read_to_string(path).expect("the menu is part of the project");
    Menu::parse_json(&text).expect("a valid menu")
}

fn scenario(seed: u64, trace: Arc<Trace>, scale_permille: u32) -> Scenario {
    let mut config = ScenarioConfig::new(seed, trace);
    config.scale_permille = scale_permille;
    config.budget_us = 250_000;
    Scenario::new(config)
}

fn drawn(seed: u64, scale_permille: u32) -> Scenario {
    scenario(seed, Arc::new(synthetic_trace(seed, 120)), scale_permille)
}

fn all(menu: &Menu) -> Vec<Box<dyn Policy>> {
    let mut policies: Vec<Box<dyn Policy>> = vec![
        Box::new(Own::new(OwnConfig::default())),
        Box::new(Throughput::default()),
        Box::new(Neurosurgeon::default()),
        Box::new(DynamicSplit::default()),
    ];
    policies
        .extend((0..menu.entries().len()).map(|index| Box::new(Fixed(index)) as Box<dyn Policy>));
    policies
}

#[test]
fn one_seed_gives_one_log_byte_for_byte_and_another_seed_another() {
    let menu = menu();
    let log = |seed: u64, index: usize| {
        let mut policy = all(&menu).swap_remove(index);
        play(&drawn(seed, 250), &menu, policy.as_mut(), SWITCH_US, true).log
    };
    for index in 0..4 {
        assert_eq!(log(1, index).lines().count(), 600);
        assert_eq!(log(1, index), log(1, index));
        assert_ne!(log(1, index), log(2, index));
    }
}

#[test]
fn no_policy_beats_the_oracle_and_all_runs_add_up() {
    let menu = menu();
    for seed in 0..6 {
        let scenario = drawn(seed, 250);
        let planned = plan(&scenario, &menu, SWITCH_US);
        assert_eq!(planned.choices.len(), scenario.len());
        let mut oracle = Plan::new(planned.choices);
        let best = play(&scenario, &menu, &mut oracle, SWITCH_US, false);
        // What a change of split point costs in the plan beyond its time is below a point each.
        let most = best.points + 1.0 * scenario.len() as f64 * 0.01 + 1e-6;
        for mut policy in all(&menu) {
            let played = play(&scenario, &menu, policy.as_mut(), SWITCH_US, false);
            assert_eq!(played.requests, 600);
            assert!(played.in_time <= played.requests - played.given_up);
            assert!(
                planned.cut > 0 || played.points <= most,
                "seed {seed}: {} {most}",
                played.points
            );
        }
    }
}

#[test]
fn a_plan_of_the_free_oracle_is_worth_at_least_that_of_the_other() {
    let menu = menu();
    let scenario = drawn(3, 250);
    let (free, paid) = (plan(&scenario, &menu, 0), plan(&scenario, &menu, SWITCH_US));
    assert!(free.cut > 0 || free.points >= paid.points);
    assert!(free.choices.iter().all(|choice| match choice {
        Choice::Entry(index) => *index < menu.entries().len(),
        Choice::GiveUp => true,
    }));
}

/// Own policy, oracle and best fixed choice by requests in time over some traces.
fn study(traces: &[Arc<Trace>], scale_permille: u32) -> [Summary; 3] {
    let menu = menu();
    let mut own = Cell::default();
    let mut oracle = Cell::default();
    let mut fixed = vec![Cell::default(); menu.entries().len()];
    for (trace, seed) in traces.iter().zip(1..) {
        let scenario = scenario(seed, trace.clone(), scale_permille);
        let mut policy = Own::new(OwnConfig::default());
        own.push(play(&scenario, &menu, &mut policy, SWITCH_US, false));
        let mut policy = Plan::new(plan(&scenario, &menu, SWITCH_US).choices);
        oracle.push(play(&scenario, &menu, &mut policy, SWITCH_US, false));
        for (index, cell) in fixed.iter_mut().enumerate() {
            cell.push(play(&scenario, &menu, &mut Fixed(index), SWITCH_US, false));
        }
    }
    let most = fixed
        .iter()
        .map(Cell::summary)
        .max_by(|a, b| a.in_time.total_cmp(&b.in_time));
    [
        own.summary(),
        oracle.summary(),
        most.expect("a menu has entries"),
    ]
}

#[test]
fn own_policy_is_near_the_oracle_on_drawn_links() {
    let traces: Vec<_> = (100..112)
        .map(|seed| Arc::new(synthetic_trace(seed, 120)))
        .collect();
    for scale in [1_000, 250] {
        let [own, oracle, fixed] = study(&traces, scale);
        eprintln!("x{scale}: {own:?}\n{oracle:?}\n{fixed:?}");
        assert!(own.in_time >= 0.9 * oracle.in_time);
        assert!(own.value >= oracle.value - 0.5);
        assert!(own.in_time >= fixed.in_time - 0.02);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests look for assets where the environment says"
)]
fn recorded() -> Option<PathBuf> {
    let near = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/assets");
    let assets = env::var("SPLIT_ASSETS").map_or(near, PathBuf::from);
    Some(assets.join("traces")).filter(|folder| folder.is_dir())
}

#[test]
fn own_policy_is_near_the_oracle_on_recorded_mobile_links() {
    let Some(folder) = recorded() else {
        eprintln!("skipped: no traces under SPLIT_ASSETS or ../shared/assets");
        return;
    };
    let mut names: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    names.retain(|path| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("hsdpa-")
    });
    let read =
        |path: &PathBuf| Arc::new(Trace::parse_csv(&fs::read_to_string(path).unwrap()).unwrap());
    let traces: Vec<_> = names.iter().map(read).collect();
    for scale in [1_000, 250] {
        let [own, oracle, fixed] = study(&traces, scale);
        eprintln!("x{scale}: {own:?}\n{oracle:?}\n{fixed:?}");
        assert!(own.in_time >= 0.9 * oracle.in_time);
        assert!(own.value >= oracle.value - 0.5);
        assert!(own.in_time >= fixed.in_time - 0.01);
    }
}
