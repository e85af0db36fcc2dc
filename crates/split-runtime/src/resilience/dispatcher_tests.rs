use proptest::prelude::*;

use super::*;

fn dispatcher(endpoints: usize, change: impl FnOnce(&mut DispatcherConfig)) -> Dispatcher {
    let mut config = DispatcherConfig::new(1);
    config.endpoints = endpoints;
    change(&mut config);
    let mut dispatcher = Dispatcher::new(config).unwrap();
    (0..endpoints).for_each(|index| dispatcher.set_endpoint(Time::ZERO, index, true));
    dispatcher
}

fn actions(dispatcher: &mut Dispatcher) -> Vec<Action> {
    std::iter::from_fn(|| dispatcher.poll_action()).collect()
}

fn sent(actions: &[Action]) -> Vec<(AttemptId, usize)> {
    let pick = |action: &Action| match action {
        Action::Send {
            attempt, endpoint, ..
        } => Some((*attempt, *endpoint)),
        _ => None,
    };
    actions.iter().filter_map(pick).collect()
}

fn endings(actions: &[Action]) -> Vec<Ending> {
    let pick = |action: &Action| match action {
        Action::Done { ending, .. } => Some(ending.clone()),
        _ => None,
    };
    actions.iter().filter_map(pick).collect()
}

fn answered() -> Outcome {
    Outcome::Answered {
        answer: Answer::ok(0, 1, 0, vec![]),
        round_trip_us: 0,
    }
}

fn refused(status: Status, retry_after_ms: u32) -> Outcome {
    Outcome::Refused {
        answer: Answer::refusal(status, 0, retry_after_ms, String::new()),
        round_trip_us: 0,
    }
}

#[test]
fn a_refusal_is_retried_elsewhere_after_its_hint() {
    let mut device = dispatcher(2, |_| ());
    device.submit(Time::ZERO, 100_000).unwrap();
    let (first, endpoint) = sent(&actions(&mut device))[0];
    device.attempt_ended(Time::ZERO, first, refused(Status::Overloaded, 30));
    let at = device.poll_timeout().unwrap();
    assert!(at >= Time::from_us(30_000));
    device.handle_timeout(at);
    let (second, other) = sent(&actions(&mut device))[0];
    assert_ne!(endpoint, other);
    device.attempt_ended(at, second, answered());
    assert!(matches!(
        endings(&actions(&mut device))[..],
        [Ending::Answered(_)]
    ));
}

#[test]
fn what_can_not_succeed_is_not_retried() {
    let mut device = dispatcher(2, |_| ());
    device.submit(Time::ZERO, 100_000).unwrap();
    let (attempt, _) = sent(&actions(&mut device))[0];
    device.attempt_ended(Time::ZERO, attempt, refused(Status::BadFrame, 0));
    let ended = endings(&actions(&mut device));
    assert_eq!(ended, [Ending::Refused(Status::BadFrame)]);
}

#[test]
fn retries_stay_within_a_tenth_of_the_successes() {
    let mut device = dispatcher(1, |config| config.breaker.failures_max = 1_000_000);
    let mut now = Time::ZERO;
    for round in 0..2_000_u32 {
        now = now.after(1_000_000);
        device.submit(now, 900_000).unwrap();
        let mut first = true;
        loop {
            let sends = sent(&actions(&mut device));
            let Some(&(attempt, _)) = sends.first() else {
                break;
            };
            // Each second request is refused at first, always.
            let outcome = if first && round % 2 == 0 {
                refused(Status::Overloaded, 0)
            } else {
                answered()
            };
            first = false;
            device.attempt_ended(now, attempt, outcome);
            while device.counts().open > 0
                && let Some(at) = device.poll_timeout()
            {
                now = now.max(at);
                device.handle_timeout(now);
                if !device.actions.is_empty() {
                    break;
                }
            }
        }
    }
    let counts = device.counts();
    let allowed = counts.answered / 10 + 10;
    assert!(counts.retries <= allowed, "{counts:?}");
    assert!(counts.retries > 100, "{counts:?}");
}

#[test]
fn the_device_answers_in_time_when_the_edge_does_not() {
    let mut device = dispatcher(1, |config| config.fallback_us = Some(40_000));
    let request = device.submit(Time::ZERO, 100_000).unwrap();
    actions(&mut device);
    assert_eq!(device.poll_timeout(), Some(Time::from_us(60_000)));
    device.handle_timeout(Time::from_us(60_000));
    assert_eq!(actions(&mut device), [Action::Fallback { request }]);
    device.fallback_done(Time::from_us(95_000), request);
    assert_eq!(endings(&actions(&mut device)), [Ending::Fallback]);
    device.fallback_done(Time::from_us(96_000), request);
    assert!(actions(&mut device).is_empty());
}

#[test]
fn without_an_edge_the_device_answers_at_once() {
    let mut device = dispatcher(1, |config| config.fallback_us = Some(40_000));
    device.set_endpoint(Time::ZERO, 0, false);
    let request = device.submit(Time::ZERO, 100_000).unwrap();
    assert_eq!(actions(&mut device), [Action::Fallback { request }]);
}

#[test]
fn a_request_waits_for_an_edge_until_its_deadline_and_no_longer() {
    let mut device = dispatcher(1, |_| ());
    device.set_endpoint(Time::ZERO, 0, false);
    device.submit(Time::ZERO, 100_000).unwrap();
    device.submit(Time::ZERO, 10_000).unwrap();
    assert!(actions(&mut device).is_empty());
    device.handle_timeout(Time::from_us(10_000));
    assert_eq!(endings(&actions(&mut device)), [Ending::Expired]);
    device.set_endpoint(Time::from_us(20_000), 0, true);
    assert_eq!(sent(&actions(&mut device)).len(), 1);
}

#[test]
fn an_edge_that_keeps_failing_is_left_alone_for_a_while() {
    let mut device = dispatcher(1, |config| config.attempts_max = 1);
    for _ in 0..5 {
        device.submit(Time::ZERO, 100_000).unwrap();
        let (attempt, _) = sent(&actions(&mut device))[0];
        device.attempt_ended(Time::ZERO, attempt, Outcome::Lost);
    }
    actions(&mut device);
    device.submit(Time::ZERO, 5_000_000).unwrap();
    assert!(sent(&actions(&mut device)).is_empty());
    let at = device.poll_timeout().unwrap();
    assert_eq!(at, Time::from_us(1_000_000));
    device.handle_timeout(at);
    assert_eq!(sent(&actions(&mut device)).len(), 1, "one trial");
}

#[test]
fn a_slow_attempt_is_doubled_on_another_edge_and_the_first_answer_counts() {
    let mut device = dispatcher(2, |config| config.hedge = true);
    for _ in 0..30 {
        device.submit(Time::ZERO, 100_000).unwrap();
        let (attempt, _) = sent(&actions(&mut device))[0];
        device.attempt_ended(Time::from_us(0), attempt, answered());
    }
    actions(&mut device);
    let start = Time::from_us(50_000);
    device.submit(start, 100_000).unwrap();
    let (slow, endpoint) = sent(&actions(&mut device))[0];
    device.handle_timeout(start);
    let (quick, other) = sent(&actions(&mut device))[0];
    assert_ne!(endpoint, other);
    device.attempt_ended(start.after(5), quick, answered());
    device.attempt_ended(start.after(6), slow, answered());
    assert_eq!(endings(&actions(&mut device)).len(), 1);
    assert_eq!(device.counts().hedges, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_request_ends_once_and_never_after_its_deadline(
        steps in proptest::collection::vec((0..10_u8, 0..50_000_u32), 1..150),
        fallback in any::<bool>(),
        hedge in any::<bool>(),
    ) {
        let mut device = dispatcher(3, |config| {
            config.fallback_us = fallback.then_some(5_000);
            config.hedge = hedge;
        });
        let mut now = Time::ZERO;
        let mut under_way = Vec::new();
        let mut deadlines = BTreeMap::new();
        let mut ended = BTreeMap::new();
        let mut steps = steps;
        steps.push((0, 60_000));
        steps.push((3, 10_000_000));
        for (what, draw) in steps {
            let amount = u64::from(draw);
            let index = draw as usize;
            match what {
                0..=2 => {
                    if let Some(id) = device.submit(now, amount + 1) {
                        deadlines.insert(id, now.after(amount + 1));
                    }
                }
                3..=5 => {
                    // Time comes in steps no longer than the timers ask for.
                    let end = now.after(amount);
                    while let Some(at) = device.poll_timeout().filter(|&at| at <= end) {
                        now = now.max(at);
                        device.handle_timeout(now);
                        collect(&mut device, now, &mut under_way, &mut ended, &deadlines)?;
                    }
                    now = end;
                }
                6 => device.set_endpoint(now, index % 3, amount % 2 == 0),
                _ => {
                    if !under_way.is_empty() {
                        let attempt = under_way.swap_remove(index % under_way.len());
                        let outcome = match amount % 5 {
                            0 => refused(Status::Overloaded, 1),
                            1 => refused(Status::BadFrame, 0),
                            2 => Outcome::Lost,
                            3 => refused(Status::Failed, 0),
                            _ => answered(),
                        };
                        device.attempt_ended(now, attempt, outcome);
                    }
                }
            }
            collect(&mut device, now, &mut under_way, &mut ended, &deadlines)?;
        }
        prop_assert_eq!(ended.len(), deadlines.len());
        prop_assert_eq!(device.counts().open, 0);
        prop_assert!(device.timers.is_empty() && device.attempts.is_empty());
    }
}

fn collect(
    device: &mut Dispatcher,
    now: Time,
    under_way: &mut Vec<AttemptId>,
    ended: &mut BTreeMap<RequestId, Ending>,
    deadlines: &BTreeMap<RequestId, Time>,
) -> Result<(), TestCaseError> {
    for action in actions(device) {
        match action {
            Action::Send { attempt, .. } => under_way.push(attempt),
            Action::Fallback { request } => device.fallback_done(now, request),
            Action::Done { request, ending } => {
                if let Some(deadline) = deadlines.get(&request) {
                    prop_assert!(now <= *deadline, "{:?} at {:?}", ending, now);
                }
                prop_assert!(ended.insert(request, ending).is_none());
            }
        }
    }
    for action in actions(device) {
        if let Action::Done { request, ending } = action {
            prop_assert!(ended.insert(request, ending).is_none());
        }
    }
    Ok(())
}

#[test]
fn a_request_without_a_fallback_waits_where_others_fall_back() {
    let mut config = DispatcherConfig::new(1);
    config.fallback_us = Some(10_000);
    let mut dispatcher = Dispatcher::new(config).unwrap();
    let alone = dispatcher
        .submit_without_fallback(Time::ZERO, 50_000)
        .unwrap();
    assert_eq!(dispatcher.poll_action(), None);
    let helped = dispatcher.submit(Time::ZERO, 50_000).unwrap();
    let request = helped;
    assert_eq!(dispatcher.poll_action(), Some(Action::Fallback { request }));
    dispatcher.fallback_failed(Time::from_us(100), helped);
    let ending = Ending::Lost;
    let done = Action::Done { request, ending };
    assert_eq!(dispatcher.poll_action(), Some(done));
    dispatcher.handle_timeout(Time::from_us(50_000));
    let (request, ending) = (alone, Ending::Expired);
    let done = Action::Done { request, ending };
    assert_eq!(dispatcher.poll_action(), Some(done));
}
