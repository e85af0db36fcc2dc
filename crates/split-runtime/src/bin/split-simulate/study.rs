//! Policies over families of traces, beside two oracles.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use split_runtime::sim::{Cell, Scenario, ScenarioConfig, Summary, plan, play};
use split_runtime::{Menu, OwnConfig, Plan};

pub(crate) use crate::policies::OWN;
use crate::policies::all_with;
use crate::traces::{self, Family, Part};
use crate::{menus, plot, record};

/// What is compared.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Folder of traces `FAMILY-*.csv`; without it `traces` under SPLIT_ASSETS, else under
    /// `../shared/assets`
    #[arg(long)]
    traces: Option<PathBuf>,
    /// Menu file; without it the one of the embedded picture set and network
    #[arg(long)]
    menu: Option<PathBuf>,
    /// Which traces of each family
    #[arg(long, value_enum, default_value = "all")]
    part: Part,
    /// Traces of the synthetic family
    #[arg(long, default_value_t = 12)]
    synthetic: u64,
    /// Rates are the traces' times these
    #[arg(long, value_delimiter = ',', default_value = "1,0.25")]
    scales: Vec<f64>,
    /// Time for each request
    #[arg(long, value_delimiter = ',', default_value = "150,250,400")]
    deadlines_ms: Vec<u64>,
    /// Requests of a run
    #[arg(long, default_value_t = 1_200)]
    requests: usize,
    /// Runs of each trace, each from another place
    #[arg(long, default_value_t = 2)]
    runs: u64,
    /// Of a thousand packets, how many are lost and take 200 ms more
    #[arg(long, default_value_t = 0)]
    loss_permille: u32,
    /// What a change of split point takes on the device
    #[arg(long, default_value_t = 10)]
    switch_ms: u64,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Most pictures of a request: each has 1 to this many
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pictures_max: u32,
    /// Own policy: requests that may be lost for a better answer, as a share
    #[arg(long, default_value_t = OwnConfig::default().risk)]
    risk: f64,
    /// Own policy: a larger frame every so many requests; 0 for never
    #[arg(long, default_value_t = OwnConfig::default().dither_every)]
    dither_every: u32,
    /// Own policy: chance constraint of those
    #[arg(long, default_value_t = OwnConfig::default().dither_risk)]
    dither_risk: f64,
    /// Own policy: decisions that a better split point has to last
    #[arg(long, default_value_t = OwnConfig::default().patience)]
    patience: u32,
    /// Own policy: points that it has to be better by
    #[arg(long, default_value_t = OwnConfig::default().margin)]
    margin: f64,
    /// Own policy: points that are given for fewer bytes
    #[arg(long, default_value_t = OwnConfig::default().thrift)]
    thrift: f64,
    /// File of records, written anew
    #[arg(long)]
    record: Option<PathBuf>,
    /// File of the plot
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Print every fixed choice and not the best ones only
    #[arg(long)]
    full: bool,
    /// Leave with an error where the own policy misses a bar
    #[arg(long)]
    check: bool,
}

/// Family, scale and deadline.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) family: String,
    pub(crate) scale: f64,
    pub(crate) deadline_ms: u64,
}

/// Summaries of all policies at a place, in the order of their names.
pub(crate) struct Compared {
    pub(crate) place: Place,
    pub(crate) rows: BTreeMap<String, Summary>,
    /// Half intervals of how far ours is from each, run by run.
    apart: BTreeMap<String, [f64; 2]>,
    cut: u64,
}

/// Names of the oracles in records.
pub(crate) const ORACLE: &str = "oracle-switching";
const ORACLE_FREE: &str = "oracle";

pub(crate) fn run(options: &Options) -> Result<()> {
    let menu = menus::read(options.menu.as_deref())?;
    ensure!(
        options
            .scales
            .iter()
            .all(|scale| (0.001..=1_000.0).contains(scale)),
        "scales lie between 0.001 and 1000"
    );
    let families = traces::load(
        options.traces.as_deref(),
        options.part,
        options.seed,
        options.synthetic,
    )?;
    let mut all = Vec::new();
    for family in &families {
        for &scale in &options.scales {
            for &deadline_ms in &options.deadlines_ms {
                let place = Place {
                    family: family.name.clone(),
                    scale,
                    deadline_ms,
                };
                let compared = compare(options, &menu, family, place);
                print(options, &menu, &compared);
                all.push(compared);
            }
        }
    }
    let misses = bars(&menu, &all);
    if let Some(path) = &options.svg {
        fs::write(path, plot::svg(&all)).with_context(|| format!("writing {}", path.display()))?;
    }
    if let Some(path) = &options.record {
        record::write(path, &lines(options, &all), true)?;
    }
    ensure!(!options.check || misses == 0, "{misses} bars missed");
    Ok(())
}

type Runs = BTreeMap<String, Cell>;

/// Plays all policies over all traces of a family, on all cores; the order of runs is kept.
fn compare(options: &Options, menu: &Menu, family: &Family, place: Place) -> Compared {
    let jobs: Vec<(usize, u64)> = (0..family.traces.len())
        .flat_map(|trace| (0..options.runs).map(move |run| (trace, run)))
        .collect();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let next = Mutex::new(0);
    let done = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = {
                        let mut next = next.lock().expect("no thread panics with it");
                        *next += 1;
                        *next - 1
                    };
                    let Some(&(trace, run)) = jobs.get(index) else {
                        return;
                    };
                    let played = play_all(options, menu, family, &place, trace, run);
                    done.lock()
                        .expect("no thread panics with it")
                        .insert(index, played);
                }
            });
        }
    });
    let mut runs = Runs::new();
    let mut cut = 0;
    for (played, planned_cut) in done.into_inner().expect("threads have ended").into_values() {
        cut += planned_cut;
        for (name, run) in played {
            runs.entry(name).or_default().push(run);
        }
    }
    let own = &runs[OWN];
    let apart = runs
        .iter()
        .map(|(name, cell)| (name.clone(), own.ci95_apart(cell)));
    let rows = runs
        .iter()
        .map(|(name, cell)| (name.clone(), cell.summary()));
    Compared {
        place,
        apart: apart.collect(),
        rows: rows.collect(),
        cut,
    }
}

type PlayedAll = (Vec<(String, split_runtime::sim::Played)>, u64);

fn play_all(
    options: &Options,
    menu: &Menu,
    family: &Family,
    place: &Place,
    trace: usize,
    run: u64,
) -> PlayedAll {
    let seed = options.seed.wrapping_mul(1_000_003) + (trace as u64) * 101 + run;
    let config = ScenarioConfig {
        scale_permille: permille(place.scale),
        rtt_ns: family.rtt_ms * 1_000_000,
        jitter_ns: family.jitter_ms * 1_000_000,
        loss_permille: options.loss_permille,
        budget_us: place.deadline_ms * 1_000,
        requests: options.requests,
        switch_us: options.switch_ms * 1_000,
        ..ScenarioConfig::new(seed, family.traces[trace].clone())
    };
    let switch_us = config.switch_us;
    let scenario = Scenario::new(config).with_pictures(options.pictures_max);
    let own = OwnConfig {
        risk: options.risk,
        dither_every: options.dither_every,
        dither_risk: options.dither_risk,
        patience: options.patience,
        margin: options.margin,
        thrift: options.thrift,
        switch_us: options.switch_ms * 1_000,
        ..OwnConfig::default()
    };
    let mut played: Vec<_> = all_with(menu, &own)
        .into_iter()
        .map(|(name, make)| {
            let run = play(&scenario, menu, make().as_mut(), switch_us, false);
            (name, run)
        })
        .collect();
    let mut cut = 0;
    // The oracle without switching cost is one of a world without it.
    for (name, switch_us) in [(ORACLE, switch_us), (ORACLE_FREE, 0)] {
        let planned = plan(&scenario, menu, switch_us);
        cut += planned.cut;
        let mut policy = Plan::new(planned.choices);
        played.push((
            name.to_owned(),
            play(&scenario, menu, &mut policy, switch_us, false),
        ));
    }
    (played, cut)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to lie between 0.001 and 1000"
)]
fn permille(scale: f64) -> u32 {
    (scale * 1_000.0).round() as u32
}

/// How far a policy is from the oracle that pays for switching, in points a request.
fn regret(compared: &Compared, row: &Summary) -> f64 {
    compared.rows[ORACLE].value_at_deadline - row.value_at_deadline
}

/// Best fixed choice by requests in time, and by accuracy with late answers counted as wrong.
fn best_fixed(compared: &Compared) -> [(&str, &Summary); 2] {
    let fixed = || {
        compared
            .rows
            .iter()
            .filter(|(name, _)| name.starts_with("fixed-"))
    };
    let by = |of: fn(&Summary) -> f64| {
        let best = fixed().max_by(|a, b| of(a.1).total_cmp(&of(b.1)));
        let (name, row) = best.expect("a menu has at least one entry");
        (name.as_str(), row)
    };
    [by(|row| row.in_time), by(|row| row.value_at_deadline)]
}

fn print(options: &Options, menu: &Menu, compared: &Compared) {
    let Place {
        family,
        scale,
        deadline_ms,
    } = &compared.place;
    println!(
        "\n{family} x{scale}, {deadline_ms} ms, menu of {} entries",
        menu.entries().len()
    );
    println!(
        "{:<26} {:>15} {:>7} {:>9} {:>8} {:>9} {:>7} {:>8}",
        "policy", "in time %", "value", "all late 0", "bytes", "switches", "regret", "p95 ms"
    );
    let best = best_fixed(compared).map(|(name, _)| name);
    for (name, row) in &compared.rows {
        if !options.full && name.starts_with("fixed-") && !best.contains(&name.as_str()) {
            continue;
        }
        println!(
            "{name:<26} {:>8.2} ±{:>5.2} {:>7.2} {:>10.2} {:>8.0} {:>9.2} {:>7.2} {:>8.0}",
            100.0 * row.in_time,
            100.0 * row.ci95_in_time,
            row.value,
            row.value_at_deadline,
            row.bytes,
            row.switches,
            regret(compared, row),
            row.latency_ms[1],
        );
    }
    if compared.cut > 0 {
        println!(
            "the oracles left out states {} times: they may fall short of the best",
            compared.cut
        );
    }
}

/// Prints what was asked of our policy and how many of it is missed.
fn bars(menu: &Menu, all: &[Compared]) -> usize {
    println!(
        "\n{:<22} {:>14} {:>14} {:>22}",
        "own policy", "of oracle >= 0.9", "value >= -0.5", "best fixed >= -1.00 %"
    );
    let mut misses = 0;
    for compared in all {
        let (own, oracle) = (&compared.rows[OWN], &compared.rows[ORACLE]);
        let [(_, most), _] = best_fixed(compared);
        let share = own.in_time / oracle.in_time.max(1e-9);
        let value = own.value - oracle.value;
        let fixed = 100.0 * (own.in_time - most.in_time);
        let missed = [share < 0.9, value < -0.5, fixed < -1.0];
        misses += missed.iter().filter(|&&missed| missed).count();
        let mark = |missed: bool| if missed { '!' } else { ' ' };
        let Place {
            family,
            scale,
            deadline_ms,
        } = &compared.place;
        println!(
            "{:<22} {share:>13.3} {} {value:>+12.2} {} {fixed:>+20.2} {}",
            format!("{family} x{scale} {deadline_ms} ms"),
            mark(missed[0]),
            mark(missed[1]),
            mark(missed[2]),
        );
    }
    println!(
        "{misses} of {} missed, {} entries",
        3 * all.len(),
        menu.entries().len()
    );
    misses
}

fn lines(options: &Options, all: &[Compared]) -> Vec<Value> {
    let common = record::common("split-policy/1", &record::command("simulate"), options.seed);
    let round = record::rounded;
    let menu = options.menu.as_ref().map_or_else(
        || "embedded".to_owned(),
        |path| {
            path.file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        },
    );
    let mut lines = Vec::new();
    for compared in all {
        for (name, row) in &compared.rows {
            let mut line = common.clone();
            let more = json!({
                "policy": name,
                "family": compared.place.family,
                "scale": compared.place.scale,
                "deadline_ms": compared.place.deadline_ms,
                "in_time": round(row.in_time),
                "value": round(row.value),
                "bytes": round(row.bytes),
                "switches": round(row.switches),
                "regret": round(regret(compared, row)),
                "requests": row.requests,
                "ci95_in_time": round(row.ci95_in_time),
                "ci95_own_in_time": round(compared.apart[name][0]),
                "ci95_own_value": round(compared.apart[name][1]),
                "value_at_deadline": round(row.value_at_deadline),
                "given_up": round(row.given_up),
                "p50_ms": row.latency_ms[0],
                "p95_ms": row.latency_ms[1],
                "p99_ms": row.latency_ms[2],
                "menu": menu,
            });
            record::add(&mut line, more);
            lines.push(line);
        }
    }
    lines
}
