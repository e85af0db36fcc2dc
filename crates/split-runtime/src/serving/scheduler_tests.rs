use proptest::prelude::*;

use super::*;
use crate::serving::ClientLimits;

fn key(split: u16) -> BatchKey {
    BatchKey {
        backbone: 1,
        split,
        shape: [4, 8, 8],
    }
}

fn job(seq: u32, split: u16, deadline_us: u64) -> Job {
    Job {
        id: JobId { connection: 0, seq },
        client: 0,
        key: key(split),
        rung: 0,
        deadline: Time::from_us(deadline_us),
        body: vec![0; 100],
    }
}

fn scheduler(change: impl FnOnce(&mut SchedulerConfig)) -> EdgeScheduler {
    let mut config = SchedulerConfig::new(4_000, 500);
    change(&mut config);
    EdgeScheduler::new(config, Time::ZERO).unwrap()
}

fn seqs(batch: &Batch) -> Vec<u32> {
    batch
        .members
        .iter()
        .map(|member| member.job.id.seq)
        .collect()
}

#[test]
fn a_free_worker_gets_all_that_waits_at_once_and_of_one_key() {
    let mut edge = scheduler(|_| ());
    for (seq, split) in [(0, 1), (1, 2), (2, 1), (3, 1)] {
        edge.offer(Time::ZERO, job(seq, split, 90_000)).unwrap();
    }
    let batch = edge.next_batch(Time::ZERO).unwrap();
    assert_eq!(seqs(&batch), [0, 2, 3]);
    edge.batch_done(&batch, 5_500, 0);
    let batch = edge.next_batch(Time::from_us(5_500)).unwrap();
    assert_eq!(seqs(&batch), [1]);
    assert_eq!(batch.members[0].queue_us, 5_500);
    edge.batch_done(&batch, 4_500, 1);
    assert_eq!((edge.counts().done, edge.counts().failed), (3, 1));
    assert!(edge.counts().is_conserved());
}

#[test]
fn a_rare_key_does_not_starve_behind_a_busy_one() {
    let mut edge = scheduler(|config| config.batch_max = 1);
    edge.offer(Time::ZERO, job(0, 9, 900_000)).unwrap();
    let mut served = Vec::new();
    for turn in 0..4 {
        // The busy key fills again before each turn, always more urgent.
        edge.offer(Time::ZERO, job(turn + 1, 1, 60_000)).unwrap();
        let batch = edge.next_batch(Time::ZERO).unwrap();
        served.push(batch.key.split);
        edge.batch_done(&batch, 0, 0);
    }
    assert!(served[..2].contains(&9), "{served:?}");
}

#[test]
fn members_that_would_be_late_at_the_final_size_are_dropped() {
    let mut edge = scheduler(|config| config.admission = false);
    // 16 members take 12 ms: the tight one could only be in time in a smaller batch.
    edge.offer(Time::ZERO, job(0, 1, 10_000)).unwrap();
    for seq in 1..16 {
        edge.offer(Time::ZERO, job(seq, 1, 50_000)).unwrap();
    }
    let batch = edge.next_batch(Time::ZERO).unwrap();
    assert_eq!(batch.members.len(), 15);
    let dropped = edge.poll_dropped().unwrap();
    assert_eq!((dropped.id.seq, dropped.status), (0, Status::Expired));
}

#[test]
fn expired_jobs_are_answered_while_the_worker_is_busy() {
    let mut edge = scheduler(|config| config.admission = false);
    edge.offer(Time::ZERO, job(0, 1, 90_000)).unwrap();
    let running = edge.next_batch(Time::ZERO).unwrap();
    edge.offer(Time::ZERO, job(1, 1, 3_000)).unwrap();
    assert_eq!(edge.poll_timeout(), Some(Time::from_us(3_000)));
    edge.handle_timeout(Time::from_us(3_000));
    assert_eq!(edge.poll_dropped().unwrap().id.seq, 1);
    edge.batch_done(&running, 80_000, 0);
}

#[test]
fn members_that_got_late_before_the_tail_are_dropped_and_answered() {
    let mut edge = scheduler(|_| ());
    edge.offer(Time::ZERO, job(0, 1, 20_000)).unwrap();
    edge.offer(Time::ZERO, job(1, 1, 90_000)).unwrap();
    let mut batch = edge.next_batch(Time::ZERO).unwrap();
    edge.drop_late(Time::from_us(18_000), &mut batch);
    assert_eq!(seqs(&batch), [1]);
    assert_eq!(edge.poll_dropped().unwrap().queue_us, 18_000);
    edge.batch_done(&batch, 4_500, 0);
    assert!(edge.counts().is_conserved());
}

#[test]
fn work_that_can_not_be_done_in_time_is_refused_with_a_hint() {
    let mut edge = scheduler(|_| ());
    for seq in 0..32 {
        edge.offer(Time::ZERO, job(seq, 1, 900_000)).unwrap();
    }
    // Two batches of 12 ms are ahead; 4.5 ms of own work in a budget of 20 ms leave 15.5 ms.
    let refusal = edge.offer(Time::ZERO, job(99, 1, 20_000)).unwrap_err();
    assert_eq!(refusal.status, Status::Overloaded);
    assert_eq!(refusal.retry_after_ms, 9);
    assert!(edge.offer(Time::ZERO, job(99, 1, 30_000)).is_ok());
}

#[test]
fn count_and_bytes_bound_what_waits() {
    let mut edge = scheduler(|config| {
        config.waiting_max = 2;
        config.waiting_bytes_max = 250;
    });
    let far = 900_000;
    edge.offer(Time::ZERO, job(0, 1, far)).unwrap();
    edge.offer(Time::ZERO, job(1, 1, far)).unwrap();
    assert!(edge.offer(Time::ZERO, job(2, 1, far)).is_err());
    assert!(edge.cancel(JobId {
        connection: 0,
        seq: 0
    }));
    let mut large = job(3, 1, far);
    large.body = vec![0; 151];
    assert!(edge.offer(Time::ZERO, large).is_err());
    assert!(edge.offer(Time::ZERO, job(4, 1, far)).is_ok());
    assert_eq!(edge.waiting_bytes(), 200);
}

#[test]
fn a_drain_ends_with_an_answer_for_each_job() {
    let mut edge = scheduler(|_| ());
    for seq in 0..20 {
        edge.offer(Time::ZERO, job(seq, 1, 900_000)).unwrap();
    }
    edge.drain(Time::ZERO, 10_000);
    let refusal = edge.offer(Time::ZERO, job(99, 1, 900_000)).unwrap_err();
    assert_eq!(refusal.status, Status::Draining);
    let batch = edge.next_batch(Time::ZERO).unwrap();
    assert_eq!(edge.poll_timeout(), Some(Time::from_us(10_000)));
    edge.handle_timeout(Time::from_us(10_000));
    let dropped = std::iter::from_fn(|| edge.poll_dropped());
    assert_eq!(
        dropped.filter(|job| job.status == Status::Draining).count(),
        4
    );
    assert!(!edge.is_drained());
    edge.batch_done(&batch, 12_000, 0);
    assert!(edge.is_drained() && edge.counts().is_conserved());
}

#[test]
fn a_greedy_client_leaves_room_for_others() {
    let limits = ClientLimits {
        in_flight_max: 4,
        ..ClientLimits::UNLIMITED
    };
    let mut edge = scheduler(|config| config.client = limits);
    let taken = (0..100).filter(|&seq| edge.offer(Time::ZERO, job(seq, 1, 900_000)).is_ok());
    assert_eq!(taken.count(), 4);
    let mut other = job(200, 1, 900_000);
    other.client = 1;
    edge.offer(Time::ZERO, other).unwrap();
    let batch = edge.next_batch(Time::ZERO).unwrap();
    edge.batch_done(&batch, 6_500, 0);
    assert!(edge.offer(Time::ZERO, job(300, 1, 900_000)).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn jobs_are_conserved_and_none_is_computed_in_vain(
        steps in proptest::collection::vec((0..6_u8, 0..4_u16, 1..60_000_u64), 1..200),
        rule in 0..3_usize,
    ) {
        let order = [Order::Fifo, Order::EarliestDeadline, Order::NewestFirst][rule];
        let mut edge = scheduler(|config| {
            config.order = order;
            config.waiting_max = 40;
            config.admission = rule == 0;
        });
        let mut now = Time::ZERO;
        let mut running: Option<Batch> = None;
        let mut answered = 0_u64;
        for (seq, &(what, split, amount)) in (0_u32..).zip(&steps) {
            match what {
                0..=2 => {
                    let _ = edge.offer(now, job(seq, split, now.as_us() + amount));
                }
                3 => now = now.after(amount / 10),
                4 if running.is_none() => {
                    running = edge.next_batch(now);
                    if let Some(batch) = &running {
                        let cost = edge.cost_us(&batch.key, batch.members.len());
                        for member in &batch.members {
                            prop_assert!(now.after(cost) <= member.job.deadline);
                            prop_assert_eq!(member.job.key, batch.key);
                        }
                    }
                }
                4 => {
                    let batch = running.take().unwrap();
                    edge.batch_done(&batch, 4_000 + 500 * batch.members.len() as u64, 0);
                    answered += batch.members.len() as u64;
                }
                _ => {
                    let _ = edge.cancel(JobId { connection: 0, seq: seq / 2 });
                }
            }
            edge.handle_timeout(now);
            answered += std::iter::from_fn(|| edge.poll_dropped()).count() as u64;
            let counts = edge.counts();
            prop_assert!(counts.is_conserved(), "{:?}", counts);
            prop_assert!(counts.waiting <= 40);
            let open = counts.waiting + counts.running + counts.cancelled;
            prop_assert_eq!(answered, counts.accepted - open);
        }
    }
}

fn served(split: u16, each_us: u32) -> ServedKey {
    ServedKey {
        key: key(split),
        cost: Some(CostGuess {
            fixed_us: 0,
            each_us,
        }),
    }
}

#[test]
fn a_light_key_beside_a_heavy_one_is_weighed_by_its_own_cost() {
    let mut edge = scheduler(|_| ());
    edge.set_keys([served(0, 400_000), served(1, 1_000)]);
    assert!(edge.offer(Time::ZERO, job(0, 0, 20_000)).is_err());
    edge.offer(Time::ZERO, job(1, 1, 20_000)).unwrap();
    // What is learned of a key outlives a change of the others.
    let batch = edge.next_batch(Time::ZERO).unwrap();
    edge.batch_done(&batch, 5_000, 0);
    let learned = edge.cost_us(&key(1), 1);
    assert_ne!(learned, 1_000);
    edge.set_keys([served(1, 1_000), served(2, 2_000)]);
    assert_eq!(edge.cost_us(&key(1), 1), learned);
    edge.offer(Time::from_us(5_000), job(2, 2, 20_000)).unwrap();
}

#[test]
fn costs_of_keys_that_are_gone_make_room_for_new_ones() {
    let mut edge = scheduler(|_| ());
    for split in 0..2 * u16::try_from(MAX_KEYS).unwrap() {
        edge.offer(Time::ZERO, job(0, split, 900_000)).unwrap();
        let batch = edge.next_batch(Time::ZERO).unwrap();
        edge.batch_done(&batch, 70_000, 0);
        assert!(edge.cost_us(&key(split), 1) > 4_500, "{split}");
        assert!(edge.costs.len() <= MAX_KEYS);
    }
}
