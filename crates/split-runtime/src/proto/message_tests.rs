use proptest::prelude::*;

use super::*;

fn contracts() -> impl Strategy<Value = Vec<Contract>> {
    let one = (
        any::<u64>(),
        "[a-z0-9.]{1,12}",
        any::<u64>(),
        any::<u32>(),
        1..u16::MAX,
    );
    let one = one.prop_map(|(backbone, split, unit, bank, rungs)| Contract {
        backbone,
        split,
        unit,
        tables: unit.rotate_left(7),
        bank,
        rungs,
    });
    proptest::collection::vec(one, 0..4)
}

fn answers() -> impl Strategy<Value = Answer> {
    let body = proptest::collection::vec(any::<u8>(), 0..80);
    let ok = (any::<u32>(), any::<u16>(), any::<u32>(), body).prop_map(
        |(queue_us, batch, compute_us, body)| Answer::ok(queue_us, batch, compute_us, body),
    );
    let refusal = (1..STATUSES.len(), any::<u32>(), any::<u32>(), ".{0,30}").prop_map(
        |(code, queue_us, retry, detail)| Answer::refusal(STATUSES[code], queue_us, retry, detail),
    );
    prop_oneof![ok, refusal]
}

fn messages() -> impl Strategy<Value = Message> {
    let body = proptest::collection::vec(any::<u8>(), 0..300);
    let head = (any::<u32>(), any::<u8>(), any::<u16>(), any::<u32>());
    let head = head.prop_map(|(seq, split, rung, budget_us)| FrameHead {
        seq,
        split,
        rung,
        budget_us,
    });
    prop_oneof![
        (any::<u16>(), any::<u32>(), any::<u16>(), contracts()).prop_map(
            |(version, frame_bytes_max, in_flight_max, contracts)| Message::Hello {
                version,
                frame_bytes_max,
                in_flight_max,
                contracts,
            }
        ),
        (
            any::<u32>(),
            any::<u16>(),
            proptest::collection::vec(any::<u8>(), 0..16)
        )
            .prop_map(
                |(frame_bytes_max, in_flight_max, accepted)| Message::HelloAck {
                    frame_bytes_max,
                    in_flight_max,
                    accepted,
                }
            ),
        (any::<u16>(), contracts())
            .prop_map(|(version, served)| Message::HelloRefused { version, served }),
        (head, body).prop_map(|(head, body)| Message::Frame { head, body }),
        (any::<u32>(), answers()).prop_map(|(seq, answer)| Message::Answer { seq, answer }),
        (any::<u32>(), any::<u16>()).prop_map(|(epoch, in_flight_max)| Message::Credit {
            epoch,
            in_flight_max,
        }),
        any::<u32>().prop_map(|within_ms| Message::Drain { within_ms }),
        (any::<u32>(), any::<bool>(), 0..200_usize)
            .prop_map(|(id, reply, filler)| Message::Probe { id, reply, filler }),
    ]
}

fn read_all(reader: &mut MessageReader) -> Result<Vec<Message>, MessageError> {
    let mut out = Vec::new();
    while let Some(message) = reader.next()? {
        out.push(message);
    }
    Ok(out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_come_back_in_any_chunks(sent in proptest::collection::vec(messages(), 1..5), chunk in 1..40_usize) {
        let mut bytes = Vec::new();
        for message in &sent {
            message.write(&mut bytes);
        }
        let mut reader = MessageReader::default();
        let mut found = Vec::new();
        for part in bytes.chunks(chunk) {
            reader.push(part);
            found.extend(read_all(&mut reader).unwrap());
        }
        prop_assert_eq!(found, sent);
        prop_assert_eq!(reader.unfinished_bytes(), 0);
    }

    #[test]
    fn any_bytes_give_a_message_or_an_error(kind in 0..10_u8, bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let mut whole = vec![kind];
        whole.extend_from_slice(&bytes);
        if let Ok(message) = Message::parse(&whole) {
            // What was understood is written in one way only.
            let mut again = Vec::new();
            message.write(&mut again);
            let mut reader = MessageReader::default();
            reader.push(&again);
            prop_assert_eq!(reader.next().unwrap(), Some(message));
        }
        let mut reader = MessageReader::default();
        reader.push(&bytes);
        let _ = read_all(&mut reader);
    }

    #[test]
    fn cut_messages_are_never_taken_for_whole_ones(message in messages()) {
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        let mut reader = MessageReader::default();
        reader.push(&bytes[..bytes.len() - 1]);
        prop_assert_eq!(reader.next(), Ok(None));
    }
}

#[test]
fn a_long_length_is_refused_before_its_bytes_come() {
    let mut reader = MessageReader::default();
    let mut bytes = Vec::new();
    put_varint(&mut bytes, 65_537);
    reader.push(&bytes);
    let expected = MessageError::TooLong {
        found: 65_537,
        allowed: MAX_MESSAGE_BYTES,
    };
    assert_eq!(reader.next(), Err(expected));
}

#[test]
fn a_frame_of_300_bytes_takes_at_most_12_more() {
    let head = FrameHead {
        seq: 100_000,
        split: 1,
        rung: 5,
        budget_us: 100_000,
    };
    let mut out = Vec::new();
    write_frame(&mut out, &head, &[7; 300]);
    assert!(out.len() <= 312, "{} bytes", out.len());
}

#[test]
fn long_details_are_cut_at_a_character() {
    let detail = "ä".repeat(200);
    let answer = Answer::refusal(Status::BadFrame, 0, 0, detail);
    let mut out = Vec::new();
    Message::Answer { seq: 1, answer }.write(&mut out);
    let mut reader = MessageReader::default();
    reader.push(&out);
    let Some(Message::Answer { answer, .. }) = reader.next().unwrap() else {
        panic!("an answer was written");
    };
    assert_eq!(answer.detail, "ä".repeat(80));
}
