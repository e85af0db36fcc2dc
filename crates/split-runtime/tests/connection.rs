//! Two connections in memory: the contract, the credit, the deadlines, the end.

mod pair;

use pair::{LinkShape, Pair, contract, frame};
use split_runtime::*;

fn closed(events: &[DeviceEvent]) -> Option<&ProtocolError> {
    match events.last() {
        Some(DeviceEvent::Closed(error)) => Some(error),
        _ => None,
    }
}

#[test]
fn a_frame_is_answered_with_what_the_edge_measured() {
    let mut pair = Pair::opened();
    let seq = pair.send(3, 100_000).unwrap();
    pair.run_for(6_000);
    let EdgeEvent::Frame {
        contract,
        rung,
        body,
        ..
    } = &pair.edge_events[0]
    else {
        panic!("{:?}", pair.edge_events);
    };
    assert_eq!((*contract, *rung, body), (0, 3, &frame(3, 7)));
    pair.answer_all();
    pair.run_for(6_000);
    let Outcome::Answered {
        answer,
        round_trip_us,
    } = pair.outcomes()[&seq][0]
    else {
        panic!("{:?}", pair.device_events);
    };
    assert_eq!(
        (answer.queue_us, answer.batch, answer.compute_us),
        (10, 1, 20)
    );
    assert_eq!(*round_trip_us, 11_000);
    assert_eq!(pair.device.in_flight(), 0);
}

#[test]
fn every_frame_that_came_has_one_record_of_its_end() {
    let mut pair = Pair::opened();
    pair.edge.keep_records();
    let answered = pair.send(3, 100_000).unwrap();
    pair.run_for(6_000);
    pair.answer_all();
    let body = frame(3, 7);
    let other = Request {
        split: 1,
        rung: 2,
        budget_us: 100_000,
        body: &body,
    };
    let refused = pair.device.send(pair.now, &other).unwrap();
    let late = pair.send(1, 20_000).unwrap();
    pair.run_for(40_000);
    let lost = pair.send(1, 100_000).unwrap();
    pair.run_for(6_000);
    pair.edge.transport_lost(pair.now);
    let records: Vec<FrameRecord> = std::iter::from_fn(|| pair.edge.poll_record()).collect();
    let ends: Vec<_> = records.iter().map(|one| (one.seq, one.status)).collect();
    let expected = [
        (answered, Some(Status::Ok)),
        (refused, Some(Status::BadFrame)),
        (late, Some(Status::Expired)),
        (lost, None),
    ];
    assert_eq!(ends, expected);
    let first = &records[0];
    assert_eq!((first.split.as_deref(), first.rung), (Some("layer1"), 3));
    assert_eq!(
        (first.frame_bytes, first.answer_bytes),
        (body.len(), body.len())
    );
    assert_eq!((first.queue_us, first.batch), (10, 1));
    assert_eq!(first.ended.since(first.received), 1_000);
    assert_eq!(records[1].split.as_deref(), Some("layer2"));
    assert_eq!(records[2].ended.since(records[2].received), 20_000);
}

#[test]
fn the_edge_takes_the_split_points_it_shares() {
    let device = DeviceConfig::new(vec![contract("layer1"), contract("layer3")]);
    let edge = EdgeConfig::new(vec![contract("layer2"), contract("layer3")]);
    let mut pair = Pair::new(device, edge, LinkShape::QUIET, 1);
    pair.run_for(20_000);
    assert_eq!(
        pair.device_events,
        [DeviceEvent::Opened { accepted: vec![1] }]
    );
    let refused = pair.send(0, 1000);
    let split = "layer1".to_owned();
    assert_eq!(refused, Err(SendError::SplitRefused { split }));
}

#[test]
fn a_foreign_contract_is_refused_with_the_list_of_served_ones() {
    let mut foreign = contract("layer1");
    foreign.tables = 0x33;
    let edge = EdgeConfig::new(vec![contract("layer1"), contract("layer2")]);
    let mut pair = Pair::new(DeviceConfig::new(vec![foreign]), edge, LinkShape::QUIET, 1);
    pair.run_for(20_000);
    let Some(error @ ProtocolError::ContractRefused { served, .. }) = closed(&pair.device_events)
    else {
        panic!("{:?}", pair.device_events);
    };
    assert_eq!(served, &[contract("layer1"), contract("layer2")]);
    let text = error.to_string();
    assert!(text.contains("differs in tables"), "{text}");
    assert!(text.contains("`layer2`"), "{text}");
    assert!(pair.edge.is_closed());
}

#[test]
fn a_frame_for_a_rung_that_is_not_there_is_refused_by_name() {
    let mut pair = Pair::opened();
    let text = pair.send(8, 1000).unwrap_err().to_string();
    assert_eq!(text, "rung 8 of split `layer1`, which has 8");

    // A device with a larger bank of the same name doesn't get this far: the contract has the
    // number of rungs. One that lies about it is refused by the edge.
    let message = [6, 4, 0, 0, 8, 200, 1];
    pair.edge.receive(pair.now, &message).unwrap();
    let mut out = Vec::new();
    assert!(pair.edge.poll_transmit(&mut out));
    let detail = b"rung 8 of split `layer1`, which has 8";
    assert!(out.windows(detail.len()).any(|part| part == detail));
    assert_eq!(pair.edge.counts().refused, 1);
}

#[test]
fn a_frame_of_another_bank_or_rung_or_a_damaged_one_is_refused_before_the_queue() {
    let mut damaged = frame(1, 7);
    damaged[7] ^= 1;
    let cases = [
        (
            frame(1, 8),
            "frame of bank 00000008, split `layer1` has bank 00000007",
        ),
        (
            frame(2, 7),
            "frame of rung 2 of split `layer1`, sent as rung 1",
        ),
        (damaged, "unreadable frame"),
        ([frame(1, 7), vec![0]].concat(), "1 bytes after the frame"),
    ];
    for (body, expected) in cases {
        let mut pair = Pair::opened();
        let request = Request {
            split: 0,
            rung: 1,
            budget_us: 50_000,
            body: &body,
        };
        let seq = pair.device.send(pair.now, &request).unwrap();
        pair.run_for(20_000);
        assert!(pair.edge_events.is_empty());
        let [Outcome::Refused { answer, .. }] = pair.outcomes()[&seq][..] else {
            panic!("{:?}", pair.device_events);
        };
        assert_eq!(answer.status, Status::BadFrame);
        assert!(answer.detail.starts_with(expected), "{}", answer.detail);
    }
}

#[test]
fn a_number_that_was_used_closes_a_stream() {
    let mut pair = Pair::opened();
    pair.send(0, 1000).unwrap();
    let mut bytes = Vec::new();
    pair.device.poll_transmit(&mut bytes);
    pair.edge.receive(pair.now, &bytes).unwrap();
    let error = pair.edge.receive(pair.now, &bytes).unwrap_err();
    let expected = ProtocolError::SeqReused {
        found: 0,
        highest: 0,
    };
    assert_eq!(error, expected);
    assert!(pair.edge.is_closed());
}

#[test]
fn credit_bounds_what_is_in_flight_on_both_ends() {
    let mut pair = Pair::opened();
    pair.edge.set_credit(pair.now, 2);
    pair.run_for(6_000);
    assert_eq!(
        pair.device_events,
        [DeviceEvent::Credit { in_flight_max: 2 }]
    );
    pair.send(0, 50_000).unwrap();
    pair.send(0, 50_000).unwrap();
    let blocked = SendError::Blocked {
        in_flight: 2,
        granted: 2,
    };
    assert_eq!(pair.send(0, 50_000), Err(blocked));
    pair.run_for(6_000);
    pair.answer_all();
    pair.run_for(6_000);
    assert!(pair.send(0, 50_000).is_ok());
}

#[test]
fn a_deadline_gives_one_outcome_and_the_late_answer_is_kept_apart() {
    let mut pair = Pair::opened();
    let seq = pair.send(0, 8_000).unwrap();
    pair.run_for(7_000);
    let deadline_on_edge = pair.edge.poll_timeout().unwrap();
    assert_eq!(deadline_on_edge, pair.now.before(2_000).after(8_000));
    pair.answer_all();
    pair.run_for(20_000);
    assert_eq!(pair.outcomes()[&seq], [&Outcome::Expired]);
    let late = pair.device_events.iter().any(|event| {
        matches!(
            event,
            DeviceEvent::LateAnswer {
                round_trip_us: 12_000,
                ..
            }
        )
    });
    assert!(late, "{:?}", pair.device_events);
    assert_eq!(pair.device.in_flight(), 0);
}

#[test]
fn the_edge_gets_the_budget_less_the_way() {
    let mut pair = Pair::opened();
    pair.send(0, 100_000).unwrap();
    pair.run_for(6_000);
    pair.answer_all();
    pair.run_for(6_000);
    assert_eq!(pair.device.net_us(), 11_000 - 30);
    let sent = pair.now;
    pair.send(0, 100_000).unwrap();
    pair.run_for(6_000);
    let Some(EdgeEvent::Frame { deadline, .. }) = pair.edge_events.last() else {
        panic!("{:?}", pair.edge_events);
    };
    assert_eq!(*deadline, sent.after(5_000 + 100_000 - 10_970));
}

#[test]
fn the_edge_answers_what_it_could_not_finish() {
    let mut pair = Pair::opened();
    let seq = pair.send(0, 20_000).unwrap();
    pair.run_for(60_000);
    assert_eq!(pair.outcomes()[&seq], [&Outcome::Expired]);
    let expired = EdgeEvent::Expired { seq };
    assert!(pair.edge_events.contains(&expired));
    let gone = pair.edge.reply(pair.now, seq, Answer::ok(0, 1, 0, vec![]));
    assert_eq!(gone, Err(ReplyError::NotInFlight { found: seq }));
    assert_eq!(
        pair.device.in_flight(),
        0,
        "its place in the credit is free"
    );
}

#[test]
fn a_drain_answers_what_is_in_flight_and_ends() {
    let mut pair = Pair::opened();
    let done = pair.send(0, 50_000).unwrap();
    pair.run_for(6_000);
    pair.edge.drain(pair.now, 30_000);
    pair.run_for(6_000);
    assert_eq!(pair.send(0, 50_000), Err(SendError::Draining));
    pair.answer_all();
    pair.run_for(6_000);
    assert!(matches!(
        pair.outcomes()[&done][..],
        [Outcome::Answered { .. }]
    ));
    assert_eq!(closed(&pair.device_events), Some(&ProtocolError::Drained));
}

#[test]
fn a_drain_never_waits_for_ever() {
    let mut pair = Pair::opened();
    let stuck = pair.send(0, 60_000_000).unwrap();
    pair.run_for(6_000);
    pair.edge.drain(pair.now, 30_000);
    pair.run_for(40_000);
    assert!(pair.edge.is_closed());
    let [Outcome::Refused { answer, .. }] = pair.outcomes()[&stuck][..] else {
        panic!("{:?}", pair.device_events);
    };
    assert_eq!(answer.status, Status::Draining);
}

#[test]
fn a_lost_transport_loses_what_is_in_flight_once() {
    let mut pair = Pair::opened();
    let first = pair.send(0, 8_000).unwrap();
    pair.run_for(9_000);
    let second = pair.send(0, 8_000).unwrap();
    pair.device.transport_lost(pair.now);
    pair.run_for(50_000);
    let outcomes = pair.outcomes();
    assert_eq!(outcomes[&first], [&Outcome::Expired]);
    assert_eq!(outcomes[&second], [&Outcome::Lost]);
    assert_eq!(pair.send(0, 1), Err(SendError::NotOpen));
}

#[test]
fn silent_and_slow_peers_are_cut_off() {
    let config = EdgeConfig::new(vec![contract("layer1")]);
    let mut silent = EdgeConnection::new(config.clone(), Time::ZERO).unwrap();
    let at = silent.poll_timeout().unwrap();
    assert_eq!(at, Time::from_us(5_000_000));
    silent.handle_timeout(at);
    assert!(silent.is_closed());

    // One byte a second keeps a socket busy; the message still has to end.
    let mut slow = EdgeConnection::new(config, Time::ZERO).unwrap();
    let hello = [120, 1, 1];
    let mut now = Time::ZERO;
    for &byte in hello.iter().chain(&[0; 100]) {
        now = now.after(1_000_000);
        slow.handle_timeout(now);
        if slow.is_closed() {
            break;
        }
        slow.receive(now, &[byte]).unwrap();
    }
    assert_eq!(now, Time::from_us(5_000_000));
}

#[test]
fn a_peer_that_never_reads_is_cut_off_with_bounded_memory() {
    let mut pair = Pair::opened();
    let probe = [3, 8, 1, 0];
    let mut result = Ok(());
    for _ in 0..MAX_TRANSMIT_BYTES {
        result = pair.edge.receive(pair.now, &probe);
        if result.is_err() {
            break;
        }
    }
    assert!(matches!(result, Err(ProtocolError::TransmitFull { .. })));
    assert!(pair.edge.waiting_bytes() <= MAX_TRANSMIT_BYTES);
}

#[test]
fn a_quiet_connection_is_probed_and_a_dead_one_given_up() {
    let mut pair = Pair::opened();
    pair.run_for(120_000_000);
    assert!(
        pair.device.is_open() && !pair.edge.is_closed(),
        "probes keep it alive"
    );
    let start = pair.now;
    let mut last = start;
    while let Some(at) = pair.device.poll_timeout() {
        last = at;
        pair.device.handle_timeout(at);
    }
    assert!(last <= start.after(30_000_000));
    assert!(pair.device.is_closed());
}

#[test]
fn one_byte_at_a_time_equals_all_at_once() {
    let run = |chunk| {
        let contracts = vec![contract("layer1")];
        let shape = LinkShape {
            chunk,
            ..LinkShape::QUIET
        };
        let edge = EdgeConfig::new(contracts.clone());
        let mut pair = Pair::new(DeviceConfig::new(contracts), edge, shape, 1);
        pair.run_for(20_000);
        for rung in 0..8 {
            pair.send(rung, 40_000).unwrap();
            pair.run_for(3_000);
            pair.answer_all();
        }
        pair.run_for(60_000);
        pair.device_events
    };
    let whole = run(0);
    let outcomes = whole
        .iter()
        .filter(|event| matches!(event, DeviceEvent::Outcome { .. }));
    assert_eq!(outcomes.count(), 8);
    assert_eq!(run(1), whole);
    assert_eq!(run(7), whole);
}

#[test]
fn every_request_gets_one_outcome_on_links_that_lose_double_and_reorder() {
    for seed in 0..200 {
        let contracts = vec![contract("layer1")];
        let mut device = DeviceConfig::new(contracts.clone());
        let mut edge = EdgeConfig::new(contracts);
        device.transport = Transport::Datagram;
        edge.transport = Transport::Datagram;
        let shape = LinkShape {
            jitter_us: 30_000,
            loss_permille: 200,
            double_permille: 100,
            ..LinkShape::QUIET
        };
        let mut pair = Pair::new(device, edge, shape, seed);
        pair.run_for(3_000_000);
        assert!(
            pair.device.is_open(),
            "seed {seed}: the hello is sent again"
        );
        let mut sent = 0;
        for _ in 0..60 {
            sent += usize::from(pair.send(1, 60_000).is_ok());
            pair.run_for(4_000);
            pair.answer_all();
        }
        pair.run_for(1_000_000);
        let outcomes = pair.outcomes();
        assert_eq!(outcomes.len(), sent, "seed {seed}");
        assert!(outcomes.values().all(|all| all.len() == 1), "seed {seed}");
        assert_eq!(
            pair.device.in_flight(),
            0,
            "seed {seed}: no place in the credit is lost"
        );
        let answered = outcomes
            .values()
            .filter(|all| matches!(all[0], Outcome::Answered { .. }));
        assert!(answered.count() > sent / 4, "seed {seed}");
    }
}
