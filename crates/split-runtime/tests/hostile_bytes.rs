//! Any bytes give `Ok` or `Err`, in bounded memory.

mod pair;

use pair::{Pair, contract};
use proptest::prelude::*;
use split_runtime::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_listening_edge_survives_any_bytes(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..20)) {
        let config = EdgeConfig::new(vec![contract("layer1")]);
        let mut edge = EdgeConnection::new(config, Time::ZERO).unwrap();
        for (index, chunk) in chunks.iter().enumerate() {
            let now = Time::from_us(index as u64);
            let failed = edge.receive(now, chunk).is_err();
            prop_assert!(!failed || edge.is_closed());
        }
    }

    #[test]
    fn open_ends_survive_messages_of_any_content(
        kinds in proptest::collection::vec((1..9_u8, proptest::collection::vec(any::<u8>(), 0..40)), 1..20),
        to_edge in any::<bool>(),
    ) {
        let mut pair = Pair::opened();
        pair.send(1, 10_000).unwrap();
        pair.run_for(6_000);
        for (kind, fields) in &kinds {
            let length = u8::try_from(fields.len() + 1).unwrap();
            let mut bytes = vec![length, *kind];
            bytes.extend_from_slice(fields);
            let failed = if to_edge {
                pair.edge.receive(pair.now, &bytes).is_err()
            } else {
                pair.device.receive(pair.now, &bytes).is_err()
            };
            if failed {
                break;
            }
        }
        pair.run_for(100_000_000);
        for all in pair.outcomes().values() {
            prop_assert_eq!(all.len(), 1);
        }
        prop_assert!(pair.edge.in_flight() == 0);
    }

    #[test]
    fn datagrams_of_any_content_close_nothing_by_being_unreadable(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut config = EdgeConfig::new(vec![contract("layer1")]);
        config.transport = Transport::Datagram;
        let mut edge = EdgeConnection::new(config, Time::ZERO).unwrap();
        let _ = edge.receive(Time::ZERO, &bytes);
        let hello = bytes.get(1) == Some(&1);
        prop_assert!(!edge.is_closed() || hello);
    }
}
