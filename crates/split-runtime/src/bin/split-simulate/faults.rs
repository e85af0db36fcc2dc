//! Faults and overload, seed by seed.

use std::path::PathBuf;
use std::thread;

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use split_runtime::Menu;
use split_runtime::sim::{DecidingReport, WorldConfig, simulate, simulate_deciding};

use crate::policies::{MakePolicy, all};
use crate::{menus, record};

/// Which seeds.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// First seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// Let the devices choose what they send, by every policy in turn; each has all seeds
    #[arg(long)]
    policies: bool,
    /// With --policies: menu file; without it the one of the embedded picture set and network
    #[arg(long, requires = "policies")]
    menu: Option<PathBuf>,
    /// Print what happens, line by line; for one seed
    #[arg(long, conflicts_with = "policies")]
    log: bool,
    /// File that a line is appended to
    #[arg(long)]
    record: Option<PathBuf>,
}

/// How much is asked.
#[derive(Args, Debug)]
pub(crate) struct OverloadOptions {
    /// First seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// File that a line is appended to
    #[arg(long)]
    record: Option<PathBuf>,
}

#[derive(Default)]
struct Totals {
    requests: u64,
    answered: u64,
    fallback: u64,
    errors: u64,
    double: u64,
    lost: u64,
    bound_broken: u64,
    bad_seeds: Vec<u64>,
    points: f64,
    bytes: u64,
    switches: u64,
    given_up: u64,
}

impl Totals {
    fn add(&mut self, seed: u64, deciding: &DecidingReport) {
        self.points += deciding.points;
        self.bytes += deciding.bytes;
        self.switches += deciding.switches;
        self.given_up += deciding.given_up;
        let report = &deciding.world;
        self.requests += report.requests;
        self.answered += report.answered;
        self.fallback += report.fallback;
        self.errors += report.errors;
        self.double += report.double;
        self.lost += report.lost;
        self.bound_broken += report.bound_broken;
        if report.double + report.lost + report.bound_broken > 0 {
            self.bad_seeds.push(seed);
        }
    }

    fn line(&self, what: &str, first_seed: u64, seeds: u64) -> Value {
        let mut line = record::common("split-faults/1", &record::command("simulate"), first_seed);
        let more = json!({
            "what": what,
            "first_seed": first_seed,
            "seeds": seeds,
            "requests": self.requests,
            "outcomes": {"result": self.answered, "fallback": self.fallback, "error": self.errors},
            "double": self.double,
            "lost": self.lost,
            "bound_broken": self.bound_broken,
        });
        record::add(&mut line, more);
        line
    }

    /// A line of worlds whose devices choose.
    fn policy_line(&self, name: &str, first_seed: u64, seeds: u64) -> Value {
        let mut line = self.line(&format!("faults-{name}"), first_seed, seeds);
        let each = |of: f64| record::rounded(of / (self.requests as f64).max(1.0));
        let more = json!({
            "policy": name,
            "in_time": each((self.answered + self.fallback) as f64),
            "value_at_deadline": each(self.points),
            "bytes": each(self.bytes as f64),
            "switches": each(100.0 * self.switches as f64),
            "given_up": each(self.given_up as f64),
        });
        record::add(&mut line, more);
        line
    }

    fn print(&self, seeds: u64) {
        println!(
            "{seeds} seeds, {} requests: {} answered, {} by the device itself, {} errors; {} ended twice, {} lost, {} bounds broken",
            self.requests,
            self.answered,
            self.fallback,
            self.errors,
            self.double,
            self.lost,
            self.bound_broken
        );
    }

    fn check(&self) -> Result<()> {
        ensure!(
            self.bad_seeds.is_empty(),
            "seeds {:?} went wrong; replay one with the same command and `--seed N --seeds 1`, and `--log` without --policies",
            self.bad_seeds
        );
        let ended = self.answered + self.fallback + self.errors;
        ensure!(
            ended == self.requests,
            "{ended} endings of {} requests",
            self.requests
        );
        Ok(())
    }
}

/// Runs worlds on all cores; totals don't depend on their order.
fn totals(first: u64, seeds: u64, run: impl Fn(u64) -> DecidingReport + Sync) -> Totals {
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let of_thread = |offset: u64| {
        let mut reports = Vec::new();
        let mut seed = first + offset;
        while seed < first + seeds {
            reports.push((seed, run(seed)));
            seed += threads;
        }
        reports
    };
    let mut totals = Totals::default();
    thread::scope(|scope| {
        let of_thread = &of_thread;
        let handles: Vec<_> = (0..threads)
            .map(|offset| scope.spawn(move || of_thread(offset)))
            .collect();
        for handle in handles {
            let reports = handle
                .join()
                .expect("a bound that the core checks itself holds");
            reports
                .iter()
                .for_each(|(seed, report)| totals.add(*seed, report));
        }
    });
    totals.bad_seeds.sort_unstable();
    totals
}

/// Runs the seeds; a failing one is named and can be replayed.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.log {
        ensure!(options.seeds == 1, "--log needs --seeds 1");
        let mut config = WorldConfig::with_faults(options.seed);
        config.log = true;
        print!("{}", simulate(&config).log);
    }
    if options.policies {
        return run_policies(options);
    }
    let totals = totals(options.seed, options.seeds, |seed| {
        undeciding(&WorldConfig::with_faults(seed))
    });
    totals.print(options.seeds);
    if let Some(path) = &options.record {
        record::write(
            path,
            &[totals.line("faults", options.seed, options.seeds)],
            false,
        )?;
    }
    totals.check()
}

/// A world whose devices send one frame after the other.
fn undeciding(config: &WorldConfig) -> DecidingReport {
    DecidingReport {
        world: simulate(config),
        ..DecidingReport::default()
    }
}

/// The same worlds for every policy.
fn run_policies(options: &Options) -> Result<()> {
    let (seed, seeds) = (options.seed, options.seeds);
    let menu = menus::read(options.menu.as_deref())?;
    println!(
        "{:<26} {:>9} {:>9} {:>9} {:>8} {:>8} {:>10} {:>7} {:>9} {:>8}",
        "policy",
        "requests",
        "by edge",
        "by device",
        "errors",
        "given up",
        "all late 0",
        "bytes",
        "switches",
        "broken"
    );
    let mut lines = Vec::new();
    let mut bad = Ok(());
    for (name, make) in all(&menu) {
        let totals = policy_totals(&menu, make.as_ref(), seed, seeds);
        let line = totals.policy_line(&name, seed, seeds);
        println!(
            "{name:<26} {:>9} {:>9} {:>9} {:>8} {:>8} {:>10.2} {:>7.0} {:>9.2} {:>8}",
            totals.requests,
            totals.answered,
            totals.fallback,
            totals.errors,
            totals.given_up,
            line["value_at_deadline"].as_f64().unwrap_or(0.0),
            line["bytes"].as_f64().unwrap_or(0.0),
            line["switches"].as_f64().unwrap_or(0.0),
            totals.double + totals.lost + totals.bound_broken,
        );
        lines.push(line);
        bad = bad.and(totals.check());
    }
    if let Some(path) = &options.record {
        record::write(path, &lines, false)?;
    }
    bad
}

fn policy_totals(menu: &Menu, make: &MakePolicy, seed: u64, seeds: u64) -> Totals {
    totals(seed, seeds, |seed| {
        simulate_deciding(&WorldConfig::with_faults(seed), menu, make)
    })
}

/// 267 devices that ask one edge, whose full batches of 16 take 12 ms, for twice what it can do.
fn overloaded(seed: u64) -> WorldConfig {
    let mut config = WorldConfig::new(seed);
    config.devices = 267;
    config.active_ns = 3_000_000_000;
    config
}

/// Runs the overload and compares with what full batches without a pause would answer.
pub(crate) fn overload(options: &OverloadOptions) -> Result<()> {
    let totals = totals(options.seed, options.seeds, |seed| {
        undeciding(&overloaded(seed))
    });
    totals.print(options.seeds);
    let config = overloaded(0);
    let (fixed_us, each_us) = config.batch_us;
    let per_us = 16.0 / (fixed_us + 16 * each_us) as f64;
    // The edge may go on until the last request's time is over.
    let busy_us = (config.active_ns / 1_000 + config.budget_us) as f64;
    let achievable = (per_us * busy_us * options.seeds as f64).min(totals.requests as f64);
    let share = totals.answered as f64 / achievable;
    println!("{share:.3} of the {achievable:.0} answers that are achievable came in time");
    if let Some(path) = &options.record {
        let mut line = totals.line("overload-2x", options.seed, options.seeds);
        let more = json!({"achievable": record::rounded(achievable), "share_of_achievable": record::rounded(share)});
        record::add(&mut line, more);
        record::write(path, &[line], false)?;
    }
    ensure!(
        share >= 0.9,
        "{share:.3} of what is achievable, at least 0.9 is wanted"
    );
    totals.check()
}
