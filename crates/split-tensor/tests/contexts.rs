//! Table sets fitted to training symbols.

mod common;

use common::{shape, smooth, symbols};
use proptest::prelude::*;
use split_tensor::{CoderPath, FitConfig, Lanes, LatentShape, Symbols, TableError, TableSet};

fn samples(shape: LatentShape, count: u64, signed: bool) -> Vec<Symbols> {
    (0..count).map(|seed| smooth(shape, seed, signed)).collect()
}

fn bits(set: &TableSet, samples: &[Symbols]) -> f64 {
    samples
        .iter()
        .map(|symbols| set.code_length_bits(symbols))
        .sum()
}

#[test]
fn neighbours_are_used_where_they_help_and_left_alone_where_not() {
    let shape = shape(8, 8, 8);
    let (set, candidates) =
        TableSet::fit_measured(&samples(shape, 200, false), &FitConfig::default()).unwrap();
    assert!(set.contexts() > 8, "{candidates:?}");
    assert!(set.tables().len() <= 16);
    let fresh: Vec<Symbols> = (1000..1050)
        .map(|seed| smooth(shape, seed, false))
        .collect();
    let plain = FitConfig {
        contexts: false,
        ..FitConfig::default()
    };
    let plain = TableSet::fit(&samples(shape, 200, false), &plain).unwrap();
    assert_eq!(plain.contexts(), 0);
    assert!(bits(&set, &fresh) < 0.9 * bits(&plain, &fresh));

    let noise: Vec<Symbols> = (0..200).map(|seed| symbols(shape, seed, 400)).collect();
    let (set, candidates) = TableSet::fit_measured(&noise, &FitConfig::default()).unwrap();
    assert_eq!(set.contexts(), 0, "{candidates:?}");
    assert_eq!(
        candidates
            .iter()
            .filter(|candidate| candidate.chosen)
            .count(),
        1
    );
    assert_eq!(set.channels(), Some(8));
}

#[test]
fn signed_fields_take_their_neighbours_values() {
    let shape = shape(4, 8, 8);
    let (_, candidates) =
        TableSet::fit_measured(&samples(shape, 100, true), &FitConfig::default()).unwrap();
    let chosen = candidates
        .iter()
        .find(|candidate| candidate.chosen)
        .unwrap();
    assert_eq!(chosen.name, "contexts-value", "{candidates:?}");
}

#[test]
fn payloads_with_contexts_keep_to_the_stated_length() {
    let shape = shape(16, 16, 16);
    let set = TableSet::fit(&samples(shape, 40, false), &FitConfig::default()).unwrap();
    for seed in 500..520 {
        let symbols = smooth(shape, seed, false);
        let mut payload = Vec::new();
        set.encode_into(&symbols, &mut payload).unwrap();
        let ideal = set.code_length_bits(&symbols);
        let real = (payload.len() - 1) as f64 * 8.0 - set.flush_bits(shape);
        assert!(
            (real / ideal - 1.0).abs() < 0.01,
            "{real} bits, {ideal} ideal"
        );
    }
}

#[test]
fn configurations_out_of_range_are_refused() {
    let good = samples(shape(2, 2, 2), 2, false);
    let refused = |samples: &[Symbols], config: FitConfig| TableSet::fit(samples, &config);
    let config = FitConfig::default();
    assert_eq!(refused(&[], config), Err(TableError::NoSymbols));
    let mixed = [good[0].clone(), smooth(shape(3, 2, 2), 0, false)];
    assert_eq!(
        refused(&mixed, config),
        Err(TableError::ChannelMismatch {
            found: 3,
            allowed: 2
        })
    );
    let none = FitConfig {
        max_tables: 0,
        ..config
    };
    assert!(matches!(
        refused(&good, none),
        Err(TableError::BadTableCount { .. })
    ));
    let negative = FitConfig {
        prior_count: -1.0,
        ..config
    };
    assert!(matches!(
        refused(&good, negative),
        Err(TableError::BadWeight { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn fitted_sets_carry_any_symbols(
        seed in any::<u64>(),
        lanes in 0u32..7,
        max_tables in 1usize..40,
        signed in any::<bool>(),
        sides in (1usize..6, 1usize..7, 1usize..7),
        strays in prop::collection::vec((any::<prop::sample::Index>(), -5000i32..5000), 0..4),
    ) {
        let shape = shape(sides.0, sides.1, sides.2);
        let config = FitConfig { max_tables, ..FitConfig::default() };
        let set = TableSet::fit(&samples(shape, 30, signed), &config).unwrap();
        prop_assert!(set.tables().len() <= max_tables);
        let read = TableSet::from_bytes(&set.to_bytes()).unwrap();
        prop_assert_eq!(&read, &set);
        let mut values = smooth(shape, seed, signed).into_values();
        for (at, stray) in strays {
            let at = at.index(values.len());
            values[at] = stray;
        }
        let sent = Symbols::new(shape, values).unwrap();
        let mut payload = Vec::new();
        set.encode_with(&sent, Lanes::Exactly(1 << lanes), &mut payload).unwrap();
        prop_assert_eq!(read.decode(shape, &payload).unwrap(), sent);
        for end in 0..payload.len() {
            let _ = read.decode(shape, &payload[..end]);
        }
        for at in 0..payload.len() {
            let mut damaged = payload.clone();
            damaged[at] ^= 0x5a;
            let _ = read.decode(shape, &damaged);
        }
        let bytes = set.to_bytes();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            let _ = TableSet::from_bytes(&damaged);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn every_path_reads_contexts_the_same(
        seed in any::<u64>(),
        lanes in 0u32..7,
        signed in any::<bool>(),
        max_tables in prop_oneof![Just(8usize), Just(16), Just(64)],
        largest in prop_oneof![Just(3i32), Just(15), Just(16), Just(60)],
        channels in prop_oneof![1usize..20, Just(8), Just(16), Just(24), Just(32), Just(48), Just(64)],
        sides in (1usize..7, 1usize..7),
        strays in prop::collection::vec((any::<prop::sample::Index>(), -5000i32..5000), 0..4),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u32..8), 1..3),
    ) {
        let shape = shape(channels, sides.0, sides.1);
        let narrow = |symbols: Symbols| {
            let values = symbols.into_values().into_iter();
            Symbols::new(shape, values.map(|value| value.min(largest)).collect()).unwrap()
        };
        let samples: Vec<Symbols> = samples(shape, 20, signed).into_iter().map(narrow).collect();
        // More tables or symbols than sixteen are looked up another way.
        let config = FitConfig { max_tables, ..FitConfig::default() };
        let set = TableSet::fit(&samples, &config).unwrap();
        let mut values = narrow(smooth(shape, seed, signed)).into_values();
        for (at, stray) in strays {
            let at = at.index(values.len());
            values[at] = stray;
        }
        let sent = Symbols::new(shape, values).unwrap();
        let scalar = set.clone().with_path(CoderPath::scalar());
        let mut payload = Vec::new();
        scalar.encode_with(&sent, Lanes::Exactly(1 << lanes), &mut payload).unwrap();
        let mut damaged = payload.clone();
        for (at, bit) in flips {
            let at = at.index(damaged.len());
            damaged[at] ^= 1 << bit;
        }
        let judged = scalar.decode(shape, &damaged);
        for path in CoderPath::all() {
            let set = set.clone().with_path(path);
            let mut written = Vec::new();
            set.encode_with(&sent, Lanes::Exactly(1 << lanes), &mut written).unwrap();
            prop_assert_eq!(&written, &payload, "{}", path.name());
            prop_assert_eq!(&set.decode(shape, &payload).unwrap(), &sent, "{}", path.name());
            prop_assert_eq!(&set.decode(shape, &damaged), &judged, "{}", path.name());
        }
    }
}
