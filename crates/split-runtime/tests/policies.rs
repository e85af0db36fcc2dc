//! Policies over links in virtual time: the same run twice, laws that hold for each of them, and a
//! small form of the study.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use split_runtime::sim::{
    Cell, DecidingReport, Scenario, ScenarioConfig, Summary, Trace, WorldConfig, plan, play,
    simulate_deciding, synthetic_trace,
};
use split_runtime::{
    Choice, DynamicSplit, EntryKind, Fixed, Menu, Neurosurgeon, Own, OwnConfig, Plan, Policy,
    Throughput,
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

/// The whole network takes the device longer than requests are apart, and is the most accurate: what counts is how
/// often it runs, and that others make up for it before anything is late.
#[test]
fn a_device_that_is_too_slow_for_every_request_takes_what_it_can() {
    let menu = menu();
    let scenario = scenario(3, Arc::new(Trace::constant(1_000_000)), 1_000);
    let alone = |choice: &Choice| match choice {
        Choice::Entry(index) => menu.entries()[*index].kind == EntryKind::DeviceOnly,
        Choice::GiveUp => false,
    };
    let planned = plan(&scenario, &menu, SWITCH_US);
    let wanted = planned.choices.iter().filter(|one| alone(one)).count();
    assert!((300..590).contains(&wanted), "{wanted} of 600");
    let mut oracle = Plan::new(planned.choices);
    let best = play(&scenario, &menu, &mut oracle, SWITCH_US, false);
    let mut own = Own::new(OwnConfig::default());
    let played = play(&scenario, &menu, &mut own, SWITCH_US, false);
    assert_eq!((best.in_time, played.in_time), (600, 600));
    let behind = (best.points - played.points) / 600.0;
    assert!(behind < 0.15, "{behind} points behind the oracle");
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

/// Each policy with a policy a device, in the worlds of these seeds.
fn in_worlds(menu: &Menu, config: impl Fn(u64) -> WorldConfig, seeds: u64) -> Vec<DecidingReport> {
    let sum = |index: usize| {
        let mut sum = DecidingReport::default();
        for seed in 0..seeds {
            let report = simulate_deciding(&config(seed), menu, || all(menu).swap_remove(index));
            let world = &report.world;
            let found = (world.double, world.lost, world.bound_broken);
            assert_eq!(found, (0, 0, 0), "policy {index}, seed {seed}");
            let ended = world.answered + world.fallback + world.errors;
            assert_eq!(ended, world.requests, "policy {index}, seed {seed}");
            let chosen: u64 = report.chosen.iter().sum();
            assert_eq!(chosen + report.given_up, world.requests + world.not_taken);
            sum.points += report.points;
            sum.world.requests += world.requests;
            sum.world.answered += world.answered + world.fallback;
        }
        sum
    };
    (0..all(menu).len()).map(sum).collect()
}

#[test]
fn policies_of_broken_systems_end_each_request_once_and_ours_stands_the_faults() {
    let menu = menu();
    let sums = in_worlds(&menu, WorldConfig::with_faults, 60);
    let value = |sum: &DecidingReport| sum.points / sum.world.requests as f64;
    let values: Vec<f64> = sums.iter().map(value).collect();
    let (ours, rivals, fixed) = (values[0], &values[1..4], &values[4..]);
    // Lost packets pass for a slow link with those that take a mean of the last answers. Requests come faster than any
    // head of this menu is done, so nobody gets far.
    assert!(rivals.iter().all(|&rival| ours > 1.2 * rival), "{values:?}");
    // The best fixed choice is known only afterwards; half of the others get nothing.
    let best = fixed.iter().copied().fold(0.0, f64::max);
    assert!(ours > 0.8 * best, "{values:?}");
}

#[test]
fn devices_with_policies_share_an_edge_without_faults() {
    let menu = menu();
    let mut config = WorldConfig::new(1);
    config.budget_us = 250_000;
    let own = || Box::new(Own::new(OwnConfig::default())) as Box<dyn Policy>;
    let report = simulate_deciding(&config, &menu, own);
    let requests = report.world.requests as f64;
    assert!(requests > 900.0, "{requests}");
    let answered = report.world.answered + report.world.fallback;
    assert!(answered as f64 > 0.98 * requests, "{report:?}");
    // 10 Mbit/s and 250 ms leave room for the best entry, or the one before, most of the time.
    assert!(
        report.points / requests > menu.accuracy_max() - 1.5,
        "{report:?}"
    );
    // One seed, one report, log included.
    config.log = true;
    let first = simulate_deciding(&config, &menu, own);
    assert!(first.world.log.contains("chooses"));
    assert_eq!(first, simulate_deciding(&config, &menu, own));
}

#[test]
fn a_device_that_loses_its_edge_answers_itself() {
    use split_runtime::sim::{Fault, FaultPlan};
    let menu = menu();
    let alone = menu.entries().iter().find(|entry| !entry.is_sent());
    let alone_us = alone.expect("the menu knows the device alone").head_us;
    let mut config = WorldConfig::new(2);
    config.devices = 1;
    // Time for the whole network on the device, one request after the other.
    config.budget_us = 3 * alone_us;
    config.period_ns = 2_000 * alone_us;
    config.active_ns = 60_000_000_000;
    let for_ns = 30_000_000_000;
    let (device, edge) = (0, 0);
    config.faults = FaultPlan {
        list: vec![(
            20_000_000_000,
            Fault::Partition {
                device,
                edge,
                for_ns,
            },
        )],
    };
    let answered = |policy: &dyn Fn() -> Box<dyn Policy>| {
        let report = simulate_deciding(&config, &menu, policy);
        let world = report.world;
        assert_eq!((world.double, world.lost, world.bound_broken), (0, 0, 0));
        (world.answered + world.fallback) as f64 / world.requests as f64
    };
    let own = answered(&|| Box::new(Own::new(OwnConfig::default())));
    let fixed = answered(&|| Box::new(Fixed(0)));
    assert!(own > 0.9, "{own}");
    assert!(fixed < 0.6, "{fixed}");
}

#[test]
fn requests_of_several_pictures_cost_as_many_heads_and_frames() {
    let menu = menu();
    let own = OwnConfig::default();
    let mut totals = Vec::new();
    for most in [1, 4] {
        let mut sums = vec![0.0; 5];
        let mut bytes = 0;
        for seed in 0..6 {
            let trace = Arc::new(synthetic_trace(seed, 120));
            let mut config = ScenarioConfig::new(seed, trace);
            config.budget_us = 400_000;
            config.period_ns = 300_000_000;
            let scenario = Scenario::new(config).with_pictures(most);
            assert!((0..600).all(|request| (1..=most).contains(&scenario.pictures(request))));
            let mut policies: Vec<Box<dyn Policy>> = vec![
                Box::new(Own::new(own.clone())),
                Box::new(Throughput::default()),
                Box::new(Neurosurgeon::default()),
                Box::new(DynamicSplit::default()),
            ];
            for (sum, policy) in sums.iter_mut().zip(&mut policies) {
                *sum += play(&scenario, &menu, policy.as_mut(), SWITCH_US, false).points;
            }
            bytes += play(&scenario, &menu, &mut Fixed(0), SWITCH_US, false).bytes;
            let planned = plan(&scenario, &menu, SWITCH_US);
            sums[4] += planned.points;
        }
        assert!(
            sums[..4].iter().all(|&sum| sum <= sums[4] + 1e-6),
            "{sums:?}"
        );
        assert!(sums[0] > 0.97 * sums[4], "{most}: {sums:?}");
        totals.push((bytes, sums));
    }
    // 2.5 pictures in the mean; some requests don't get past the device.
    let ratio = totals[1].0 as f64 / totals[0].0 as f64;
    assert!((2.0..2.6).contains(&ratio), "{ratio}");
}
