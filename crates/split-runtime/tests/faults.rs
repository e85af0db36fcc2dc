//! Whole systems with everything going wrong: each request ends once, bounds hold.

use split_runtime::sim::{WorldConfig, simulate};

fn check(first_seed: u64, seeds: u64) {
    let mut answered = 0;
    let mut requests = 0;
    for seed in first_seed..first_seed + seeds {
        let report = simulate(&WorldConfig::with_faults(seed));
        let found = (report.double, report.lost, report.bound_broken);
        assert_eq!(found, (0, 0, 0), "seed {seed}: double, lost, bounds broken");
        let ended = report.answered + report.fallback + report.errors;
        assert_eq!(ended, report.requests, "seed {seed}");
        answered += report.answered + report.fallback;
        requests += report.requests;
    }
    eprintln!("{seeds} seeds: {requests} requests, {answered} answered");
    assert!(answered * 2 > requests, "the faults leave something to do");
}

#[test]
fn a_thousand_fault_seeds_end_each_request_once_within_bounds() {
    check(0, 1_000);
}

#[test]
fn one_seed_gives_one_log_byte_for_byte() {
    for seed in [3, 14, 159] {
        let mut config = WorldConfig::with_faults(seed);
        config.log = true;
        let first = simulate(&config);
        assert!(first.log.lines().count() > 20, "seed {seed}");
        assert_eq!(first, simulate(&config), "seed {seed}");
    }
}

#[test]
fn without_faults_and_below_capacity_every_request_is_answered() {
    let report = simulate(&WorldConfig::new(1));
    assert!(report.requests > 900, "{}", report.requests);
    assert_eq!(report.answered, report.requests);
    let p50_us = report.latencies_us[report.latencies_us.len() / 2];
    assert!((24_000..32_000).contains(&p50_us), "{p50_us}");
}

#[test]
fn twice_the_capacity_from_many_devices_is_shed_and_not_queued() {
    let mut config = WorldConfig::new(5);
    // 16 in 12 ms are possible; 267 devices ask for twice that.
    config.devices = 267;
    config.active_ns = 3_000_000_000;
    let report = simulate(&config);
    let possible = 0.5 * report.requests as f64;
    let share = report.answered as f64 / possible;
    println!(
        "{} requests, {share:.3} of what is possible answered",
        report.requests
    );
    assert!(share >= 0.9, "{share}");
    assert_eq!((report.double, report.lost, report.bound_broken), (0, 0, 0));
}

#[test]
fn one_of_three_edges_after_the_other_can_restart_at_half_load_without_an_error() {
    use split_runtime::sim::{Fault, FaultPlan};
    let mut config = WorldConfig::new(9);
    config.edges = 3;
    config.devices = 60;
    config.dispatcher.retry_least_us = 30_000;
    let drain = |at: u64, edge| {
        let within_us = 200_000;
        (at * 1_000_000, Fault::Drain { edge, within_us })
    };
    let list = vec![drain(2_000, 0), drain(4_500, 1), drain(7_000, 2)];
    config.faults = FaultPlan { list };
    let report = simulate(&config);
    assert!(report.requests > 5_000);
    assert_eq!(report.errors, 0, "of {}", report.requests);
}
