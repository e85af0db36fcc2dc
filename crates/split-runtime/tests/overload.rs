//! What the queue does near and above its capacity, in virtual time: the study that the default
//! drop rule and the zero batching delay come from.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times of a simulated minute"
)]

use std::collections::VecDeque;

use rand_core::Rng;
use rand_pcg::Pcg32;
use split_runtime::*;

/// Fixed and per-member time of a batch; 16 members take 12 ms, so 1,333 a second are possible.
const FIXED_US: u64 = 4_000;
const EACH_US: u64 = 500;
const CAPACITY_PER_S: f64 = 16.0 / 0.012;

struct Study {
    in_time: f64,
    p50_ms: f64,
    p99_ms: f64,
    waiting_most: u64,
    counts: SchedulerCounts,
}

fn uniform(rng: &mut Pcg32) -> f64 {
    (f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0
}

/// Requests in a Poisson stream, half with a budget of 30 ms and half with 100 ms.
fn arrivals(load: f64, count: u32, seed: u64) -> VecDeque<Job> {
    let mut rng = Pcg32::new(seed, 7);
    let mut at_us = 0.0;
    let key = BatchKey {
        backbone: 1,
        split: 0,
        shape: [1, 1, 1],
    };
    let mut job = |seq| {
        at_us += -uniform(&mut rng).ln() / (load * CAPACITY_PER_S) * 1e6;
        let budget_us = if rng.next_u32().is_multiple_of(2) {
            30_000
        } else {
            100_000
        };
        let deadline = Time::from_us(at_us as u64 + budget_us);
        let id = JobId {
            connection: budget_us,
            seq,
        };
        Job {
            id,
            client: 0,
            key,
            rung: 0,
            deadline,
            body: Vec::new(),
        }
    };
    (0..count).map(&mut job).collect()
}

/// Jobs carry their budget where others carry their connection.
fn arrival_of(job: &Job) -> Time {
    job.deadline.before(job.id.connection)
}

fn percentile_ms(sorted_us: &[u64], share: f64) -> f64 {
    sorted_us[(sorted_us.len() as f64 * share) as usize] as f64 / 1e3
}

fn run(config: SchedulerConfig, load: f64, count: u32) -> Study {
    let mut jobs = arrivals(load, count, 11);
    let mut edge = EdgeScheduler::new(config, Time::ZERO).expect("a valid config");
    let mut running: Option<(Batch, Time)> = None;
    let mut latencies = Vec::new();
    let mut waiting_most = 0;
    loop {
        let arrival = jobs.front().map(arrival_of);
        let done = running.as_ref().map(|(_, at)| *at);
        let Some(now) = [arrival, done, edge.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
        else {
            break;
        };
        if done == Some(now) {
            let (batch, _) = running.take().expect("just seen");
            edge.batch_done(&batch, now.since(batch.formed), 0);
            for member in &batch.members {
                if now <= member.job.deadline {
                    latencies.push(now.since(arrival_of(&member.job)));
                }
            }
        } else if arrival == Some(now) {
            let _ = edge.offer(now, jobs.pop_front().expect("just seen"));
        }
        edge.handle_timeout(now);
        if running.is_none() {
            running = edge.next_batch(now).map(|batch| {
                let took_us = FIXED_US + EACH_US * batch.members.len() as u64;
                (batch, now.after(took_us))
            });
        }
        while edge.poll_dropped().is_some() {}
        waiting_most = waiting_most.max(edge.counts().waiting);
    }
    latencies.sort_unstable();
    Study {
        in_time: latencies.len() as f64 / f64::from(count),
        p50_ms: percentile_ms(&latencies, 0.5),
        p99_ms: percentile_ms(&latencies, 0.99),
        waiting_most,
        counts: edge.counts(),
    }
}

/// The scheduler reduced to order and drop rule.
fn bare(order: Order, drop_rule: DropRule) -> SchedulerConfig {
    SchedulerConfig {
        order,
        drop_rule,
        admission: false,
        standing_target_us: 0,
        waiting_max: 1 << 24,
        ..SchedulerConfig::new(4_000, 500)
    }
}

const REQUESTS: u32 = 60_000;

#[test]
fn the_drop_rule_decides_in_overload_and_not_the_order() {
    // At 1.2 times capacity at most 0.833 can be in time.
    let cases = [
        (Order::Fifo, DropRule::Never, 0.0, 0.05),
        (Order::Fifo, DropRule::AtCurrentSize, 0.5, 0.75),
        (Order::Fifo, DropRule::AtFinalSize, 0.80, 0.84),
        (Order::EarliestDeadline, DropRule::Never, 0.0, 0.05),
        (Order::EarliestDeadline, DropRule::AtCurrentSize, 0.2, 0.75),
        (Order::EarliestDeadline, DropRule::AtFinalSize, 0.80, 0.84),
        (Order::NewestFirst, DropRule::AtCurrentSize, 0.79, 0.84),
        (Order::NewestFirst, DropRule::AtFinalSize, 0.79, 0.84),
    ];
    for (order, rule, least, most) in cases {
        let study = run(bare(order, rule), 1.2, REQUESTS);
        println!(
            "{order:?} {rule:?}: {:.3} in time, p50 {:.1} ms, p99 {:.1} ms",
            study.in_time, study.p50_ms, study.p99_ms
        );
        let found = study.in_time;
        assert!(
            (least..=most).contains(&found),
            "{order:?} {rule:?}: {found}"
        );
        assert!(study.counts.is_conserved());
    }
}

#[test]
fn at_capacity_the_final_size_rule_loses_little_and_below_all_are_equal() {
    let in_time = |order, rule, load| run(bare(order, rule), load, REQUESTS).in_time;
    for order in [Order::Fifo, Order::EarliestDeadline] {
        let full: Vec<f64> = [
            DropRule::Never,
            DropRule::AtCurrentSize,
            DropRule::AtFinalSize,
        ]
        .into_iter()
        .map(|rule| in_time(order, rule, 1.0))
        .collect();
        println!("{order:?} at capacity: {full:.3?}");
        assert!(full[2] > 0.94, "{order:?}: {full:?}");
        assert!(
            full[2] > full[1] && full[1] > full[0],
            "{order:?}: {full:?}"
        );
        for rule in [DropRule::Never, DropRule::AtFinalSize] {
            let found = in_time(order, rule, 0.7);
            assert!(found > 0.995, "{order:?} {rule:?}: {found}");
        }
    }
}

#[test]
fn twice_the_capacity_keeps_nine_tenths_of_what_is_possible_in_bounded_memory() {
    let config = SchedulerConfig {
        waiting_max: 256,
        ..SchedulerConfig::new(4_000, 500)
    };
    let study = run(config, 2.0, REQUESTS);
    println!(
        "default at twice the capacity: {:.3} in time of 0.5 possible, p50 {:.1} ms, p99 {:.1} ms",
        study.in_time, study.p50_ms, study.p99_ms
    );
    assert!(study.in_time >= 0.9 * 0.5, "{}", study.in_time);
    assert!(study.waiting_most <= 256);
    assert!(study.counts.is_conserved());
}

#[test]
fn admission_tells_at_once_and_costs_few_answers() {
    for order in [Order::Fifo, Order::EarliestDeadline] {
        let mut config = bare(order, DropRule::AtFinalSize);
        let without = run(config.clone(), 1.2, REQUESTS);
        config.admission = true;
        let with = run(config, 1.2, REQUESTS);
        println!(
            "{order:?}: {:.3} without, {:.3} with admission",
            without.in_time, with.in_time
        );
        assert!(with.in_time > without.in_time - 0.02);
        assert!(with.counts.refused > 0 && with.counts.expired < without.counts.expired);
    }
}

/// Latencies when a free worker waits up to `delay_us` for its batch to fill.
fn run_delayed(delay_us: u64, per_s: f64) -> (f64, f64) {
    let mut jobs = arrivals(per_s / CAPACITY_PER_S, 40_000, 5);
    let config = bare(Order::Fifo, DropRule::Never);
    let mut edge = EdgeScheduler::new(config, Time::ZERO).expect("a valid config");
    let mut busy: Option<(Batch, Time)> = None;
    let mut latencies = Vec::new();
    let mut now = Time::ZERO;
    loop {
        let waiting = edge.counts().waiting;
        let due = now.before(edge.oldest_us(now)).after(delay_us);
        if busy.is_none() && (waiting >= 16 || (waiting > 0 && due <= now)) {
            let batch = edge.next_batch(now).expect("jobs wait");
            let took_us = FIXED_US + EACH_US * batch.members.len() as u64;
            busy = Some((batch, now.after(took_us)));
        }
        let arrival = jobs.front().map(arrival_of);
        let done = busy.as_ref().map(|(_, at)| *at);
        let start = (busy.is_none() && waiting > 0).then_some(due);
        let Some(next) = [arrival, done, start].into_iter().flatten().min() else {
            break;
        };
        now = next;
        if done == Some(now) {
            let (batch, _) = busy.take().expect("just seen");
            edge.batch_done(&batch, now.since(batch.formed), 0);
            let members = batch.members.iter();
            latencies.extend(members.map(|member| now.since(arrival_of(&member.job))));
        } else if arrival == Some(now) {
            let job = jobs.pop_front().expect("just seen");
            edge.offer(now, job).expect("no bound is met");
        }
    }
    latencies.sort_unstable();
    (
        percentile_ms(&latencies, 0.5),
        percentile_ms(&latencies, 0.99),
    )
}

#[test]
fn waiting_to_fill_a_batch_helps_no_percentile() {
    for per_s in [300.0, 1_000.0] {
        let (p50, p99) = run_delayed(0, per_s);
        println!("{per_s}/s, no delay: p50 {p50:.1} ms, p99 {p99:.1} ms");
        for delay_us in [2_000, 5_000, 10_000] {
            let (p50_delayed, p99_delayed) = run_delayed(delay_us, per_s);
            println!("{per_s}/s, {delay_us} us: p50 {p50_delayed:.1} ms, p99 {p99_delayed:.1} ms");
            assert!(p50_delayed >= p50 - 0.3 && p99_delayed >= p99 - 0.3);
        }
    }
}
