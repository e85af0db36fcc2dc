//! Frames without a connection: checked like others, one answer each, gone when nobody waits.

mod pair;

use pair::{contract, frame};
use split_runtime::*;

fn hub() -> EdgeHub {
    let key = BatchKey {
        backbone: 0xb0b0,
        split: 0,
        shape: [4, 8, 8],
    };
    let config = HubConfig {
        connection: EdgeConfig::new(vec![contract("layer1")]),
        scheduler: SchedulerConfig::new(1_000, 100),
        keys: vec![key.into()],
        connections_max: 4,
    };
    EdgeHub::new(config, Time::ZERO).expect("a valid config")
}

fn call(rung: Option<u16>) -> Call {
    Call {
        client: 1,
        contract: 0,
        rung,
        budget_us: 50_000,
        body: frame(1, 7),
    }
}

#[test]
fn a_call_is_answered_under_its_number() {
    let mut hub = hub();
    let first = hub.call(Time::ZERO, call(None)).unwrap();
    let second = hub.call(Time::ZERO, call(Some(1))).unwrap();
    let batch = hub.next_batch(Time::from_us(10)).unwrap();
    let results = vec![Ok(vec![1]), Err(JobError::Failed)];
    hub.batch_done(Time::from_us(900), &batch, 890, results);
    assert_eq!(
        hub.poll_answer(),
        Some((first, Answer::ok(10, 2, 890, vec![1])))
    );
    let (number, answer) = hub.poll_answer().unwrap();
    assert_eq!((number, answer.status), (second, Status::Failed));
    assert_eq!(hub.poll_answer(), None);
    let counts = hub.connection_counts();
    assert_eq!((counts.frames, counts.replied, counts.refused), (2, 2, 0));
}

#[test]
fn a_call_is_checked_before_it_takes_a_place() {
    let mut hub = hub();
    let wrong = |call: Call| {
        let answer = self::hub().call(Time::ZERO, call).unwrap_err();
        (answer.status, answer.detail)
    };
    assert_eq!(wrong(call(Some(8))).0, Status::UnknownRung);
    let (status, detail) = wrong(call(Some(2)));
    assert_eq!(status, Status::BadFrame);
    assert_eq!(detail, "frame of rung 1 of split `layer1`, sent as rung 2");
    let other_bank = Call {
        body: frame(1, 8),
        ..call(None)
    };
    assert_eq!(wrong(other_bank).0, Status::BadFrame);
    let other_contract = Call {
        contract: 1,
        ..call(None)
    };
    assert_eq!(wrong(other_contract).0, Status::UnknownSplit);
    let no_time = Call {
        budget_us: 0,
        ..call(None)
    };
    assert_eq!(wrong(no_time).0, Status::Expired);
    let noise = Call {
        body: vec![9; 3],
        ..call(None)
    };
    assert!(hub.call(Time::ZERO, noise).is_err());
    assert_eq!(hub.connection_counts().refused, 1);
    assert_eq!(hub.counts().waiting, 0);
}

#[test]
fn a_call_that_waits_too_long_or_is_given_up_is_gone() {
    let mut hub = hub();
    let late = hub.call(Time::ZERO, call(None)).unwrap();
    let gone = hub.call(Time::ZERO, call(None)).unwrap();
    hub.cancel_call(gone);
    assert_eq!(hub.counts().cancelled, 1);
    assert_eq!(hub.poll_timeout(), Some(Time::from_us(50_000)));
    hub.handle_timeout(Time::from_us(50_000));
    let (number, answer) = hub.poll_answer().unwrap();
    assert_eq!((number, answer.status), (late, Status::Expired));
    assert_eq!(hub.poll_answer(), None);
    assert!(hub.counts().is_conserved());
}

#[test]
fn a_drain_waits_for_calls_that_run() {
    let mut hub = hub();
    hub.call(Time::ZERO, call(None)).unwrap();
    let batch = hub.next_batch(Time::ZERO).unwrap();
    hub.drain(Time::ZERO, 10_000);
    assert!(!hub.is_drained());
    let refused = hub.call(Time::ZERO, call(None)).unwrap_err();
    assert_eq!(refused.status, Status::Draining);
    hub.batch_done(Time::from_us(5), &batch, 5, vec![Ok(Vec::new())]);
    assert!(hub.is_drained());
}

#[test]
fn a_light_model_that_is_swapped_in_beside_a_heavy_one_is_served() {
    let mut hub = hub();
    let served = |split: u16, fixed_us: u32| ServedKey {
        key: BatchKey {
            backbone: 0xb0b0,
            split,
            shape: [4, 8, 8],
        },
        cost: Some(CostGuess {
            fixed_us,
            each_us: 10,
        }),
    };
    let models = [
        (contract("layer1"), served(1, 500_000)),
        (contract("layer2"), served(2, 1_000)),
    ];
    hub.set_contracts(Time::ZERO, &models, 0).unwrap();
    let to = |contract: usize| Call {
        contract,
        ..call(None)
    };
    let refusal = hub.call(Time::ZERO, to(0)).unwrap_err();
    assert_eq!(refusal.status, Status::Overloaded);
    hub.call(Time::ZERO, to(1)).unwrap();
}
