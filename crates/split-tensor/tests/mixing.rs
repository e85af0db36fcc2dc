//! Payloads that mix predictions: the slow, smallest mode.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail loudly")]
#![allow(
    clippy::cast_precision_loss,
    reason = "lengths of payloads are small numbers"
)]

mod common;

use std::sync::OnceLock;

use common::{Draws, shape, smooth, symbols};
use proptest::prelude::*;
use split_tensor::{
    BundleCodec, Checksums, CoderPath, DecodeError, FitConfig, FreqTable, Lanes, LatentShape,
    Quantizer, Symbols, TableError, TableSet, TensorPlan,
};

const SHAPE: [usize; 3] = [6, 8, 7];

fn sides() -> LatentShape {
    shape(SHAPE[0], SHAPE[1], SHAPE[2])
}

/// Fields that lean on their neighbours and on the channel before.
fn fields(shape: LatentShape, seed: u64, signed: bool) -> Symbols {
    let own = smooth(shape, seed, signed);
    let mut values = own.into_values();
    for at in shape.plane()..values.len() {
        values[at] = (values[at] + values[at - shape.plane()]) / 2;
    }
    Symbols::new(shape, values).unwrap()
}

fn samples(shape: LatentShape, count: u64, signed: bool) -> Vec<Symbols> {
    (0..count).map(|seed| fields(shape, seed, signed)).collect()
}

fn config() -> FitConfig {
    FitConfig {
        mixing: true,
        ..FitConfig::default()
    }
}

/// A set that mixes, fitted once.
fn set() -> &'static TableSet {
    static SET: OnceLock<TableSet> = OnceLock::new();
    SET.get_or_init(|| {
        let set = TableSet::fit(&samples(sides(), 60, true), &config()).unwrap();
        assert!(set.mixes());
        set
    })
}

fn payload(set: &TableSet, symbols: &Symbols) -> Vec<u8> {
    let mut out = Vec::new();
    set.encode_into(symbols, &mut out).unwrap();
    out
}

#[test]
fn mixing_is_smaller_than_contexts_and_is_left_alone_where_it_is_not() {
    let shape = sides();
    let samples = samples(shape, 120, true);
    let (mixing, candidates) = TableSet::fit_measured(&samples, &config()).unwrap();
    let chosen: Vec<&str> = candidates
        .iter()
        .filter(|c| c.chosen)
        .map(|c| c.name)
        .collect();
    assert_eq!(chosen, ["mixing"], "{candidates:?}");
    let contexts = mixing.clone().without_mixing();
    assert_eq!(
        TableSet::fit(&samples, &FitConfig::default()).unwrap(),
        contexts
    );
    assert!(contexts.contexts() > 0 && !contexts.mixes());
    let total = |set: &TableSet| -> usize {
        let fresh = (500..540).map(|seed| fields(shape, seed, true));
        fresh.map(|symbols| payload(set, &symbols).len()).sum()
    };
    let (mixed, plain) = (total(&mixing), total(&contexts));
    assert!(mixed * 100 < plain * 96, "{mixed} against {plain} bytes");

    let noise: Vec<Symbols> = (0..64).map(|seed| symbols(shape, seed, 400)).collect();
    let set = TableSet::fit(&noise, &config()).unwrap();
    assert!(!set.mixes());
}

#[test]
fn nothing_changes_unless_it_is_asked_for() {
    assert!(!FitConfig::default().mixing);
    let set = set().clone().without_mixing();
    let bytes = set.to_bytes();
    assert!(bytes[1] < 3);
    assert_eq!(TableSet::from_bytes(&bytes).unwrap(), set);
    assert_ne!(set, *self::set());
    assert_ne!(set.digest(), self::set().digest());
    assert_eq!(self::set().to_bytes()[1], bytes[1] + 16);
}

#[test]
fn one_sample_more_than_a_set_can_hold_is_refused() {
    let table = || TableSet::shared(FreqTable::from_counts(0, &[3, 1]).unwrap());
    let zeros = |channels: usize| Symbols::new(shape(channels, 1, 1), vec![0; channels]).unwrap();
    assert_eq!(table().with_mixing(&[]), Err(TableError::NoSymbols));
    let wide = table().with_mixing(&[zeros(1025)]);
    let (found, allowed) = (1025, 1024);
    assert_eq!(wide, Err(TableError::BadChannelCount { found, allowed }));
    assert!(table().with_mixing(&[zeros(1024)]).unwrap().mixes());
    let (found, allowed) = (3, 2);
    let mismatch = Err(TableError::ChannelMismatch { found, allowed });
    assert_eq!(table().with_mixing(&[zeros(2), zeros(3)]), mismatch);
    let (found, allowed) = (6, 2);
    let mismatch = Err(TableError::ChannelMismatch { found, allowed });
    assert_eq!(set().clone().with_mixing(&[zeros(2)]), mismatch);
}

#[test]
fn the_stated_length_is_that_of_the_payload() {
    for seed in 300..320 {
        let sent = fields(sides(), seed, true);
        let bits = set().code_length_bits(&sent) + set().flush_bits(sides());
        let found = 8.0 * (payload(set(), &sent).len() - 1) as f64;
        assert!((found - bits).abs() <= 8.0, "{found} bits, {bits} stated");
    }
}

#[test]
fn lanes_and_paths_do_not_matter() {
    let sent = fields(sides(), 400, true);
    let first = payload(set(), &sent);
    for path in CoderPath::all() {
        let set = set().clone().with_path(path);
        for lanes in [Lanes::Fast, Lanes::Exactly(64)] {
            let mut other = Vec::new();
            set.encode_with(&sent, lanes, &mut other).unwrap();
            assert_eq!(other, first);
        }
    }
}

#[test]
fn only_the_descriptors_of_mixing_are_read() {
    let sent = fields(sides(), 401, true);
    let mut bytes = payload(set(), &sent);
    assert_eq!(bytes[0], 0);
    for descriptor in (1..7).chain(8..15).chain(16..=255) {
        bytes[0] = descriptor;
        assert_eq!(
            set().decode(sides(), &bytes),
            Err(DecodeError::UnknownDescriptor { found: descriptor })
        );
    }
    // Raw mode bounds what symbols of another kind can cost, and own tables still may pay.
    let mut draws = Draws::new(3);
    let noise = (0..sides().len()).map(|_| draws.geometric(999) * 1000);
    let noise = Symbols::new(sides(), noise.collect()).unwrap();
    let raw = payload(set(), &noise);
    assert_eq!(raw[0], 7);
    assert_eq!(set().decode(sides(), &raw).unwrap(), noise);
    let large = shape(6, 40, 40);
    let other = Symbols::new(
        large,
        (0..large.len()).map(|_| draws.geometric(300) + 9).collect(),
    );
    let other = other.unwrap();
    let mut own = Vec::new();
    set()
        .encode_adapting(&other, Lanes::Small, &mut own)
        .unwrap();
    assert_eq!(own[0], 15);
    assert_eq!(set().decode(large, &own).unwrap(), other);
}

#[test]
fn own_tables_cannot_mix() {
    let set = set().to_bytes();
    let mut bytes = vec![15, 0];
    let mut length = set.len();
    while length > 127 {
        bytes.push(u8::try_from(length & 127).unwrap() | 128);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.extend(&set);
    bytes.push(0);
    let found = 16;
    let refused = DecodeError::from(TableError::UnknownLayout { found });
    assert_eq!(self::set().decode(sides(), &bytes), Err(refused));
}

#[test]
fn every_flip_and_cut_is_refused_or_is_another_message() {
    let sent = fields(sides(), 402, true);
    let bytes = payload(set(), &sent);
    let mut refused = 0;
    for at in 1..bytes.len() {
        assert!(set().decode(sides(), &bytes[..at]) != Ok(sent.clone()));
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            match set().decode(sides(), &damaged) {
                Ok(found) => {
                    assert_ne!(found, sent);
                    // Each message has one body.
                    let again = payload(set(), &found);
                    assert!(again == damaged || again[0] == 7);
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused * 2 > 8 * (bytes.len() - 1), "{refused} refused");
    let mut longer = bytes;
    longer.push(0);
    assert!(set().decode(sides(), &longer).is_err());
}

/// Segments with some of the channels, in another order than that of training.
#[test]
fn segments_mix_too() {
    let plan = TensorPlan::new(Quantizer::uniform(1.0).unwrap(), set().clone(), sides()).unwrap();
    let plan = plan.with_order(vec![5, 1, 0, 2, 4, 3]).unwrap();
    let plan = plan.with_segments(&[1, 2, 3]).unwrap();
    let codec = BundleCodec::new(vec![plan], 1, 2).unwrap();
    let codec = codec.with_checksums(Checksums::Segment);
    for seed in 0..5 {
        let sent = [fields(sides(), 600 + seed, true)];
        let frame = codec.encode_symbols(&sent).unwrap();
        assert_eq!(codec.decode_symbols(&frame).unwrap(), sent);
        for end in 0..frame.len() {
            if let Ok(partial) = codec.decode_partial(&frame[..end]) {
                let expected = common::with_fill(&codec, &sent, |at| partial.arrived()[at]);
                assert_eq!(partial.symbols(), expected);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_symbols_of_any_shape_come_back(
        seed in any::<u64>(),
        signed in any::<bool>(),
        offset in prop_oneof![Just(0), Just(7), -200i32..200],
        train in (1usize..5, 1usize..5),
        sides in (1usize..7, 1usize..9, 1usize..9),
        strays in prop::collection::vec(
            (any::<prop::sample::Index>(), prop_oneof![-40i32..40, -(1i32 << 24)..=1 << 24]),
            0..4,
        ),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u32..8), 1..4),
    ) {
        let channels = sides.0;
        let moved = |symbols: Symbols| {
            let shape = symbols.shape();
            let values = symbols.into_values().into_iter().map(|value| value + offset);
            Symbols::new(shape, values.collect()).unwrap()
        };
        let samples: Vec<Symbols> = (0..8)
            .map(|seed| moved(fields(shape(channels, train.0, train.1), seed, signed)))
            .collect();
        let set = TableSet::fit(&samples, &FitConfig::default()).unwrap();
        let set = set.with_mixing(&samples).unwrap();
        let read = TableSet::from_bytes(&set.to_bytes()).unwrap();
        prop_assert_eq!(&read, &set);
        let shape = shape(channels, sides.1, sides.2);
        let mut values = moved(fields(shape, seed, signed)).into_values();
        for (at, stray) in strays {
            let at = at.index(values.len());
            values[at] = stray;
        }
        let sent = Symbols::new(shape, values).unwrap();
        let bytes = payload(&set, &sent);
        prop_assert_eq!(&read.decode(shape, &bytes).unwrap(), &sent);
        for end in 0..bytes.len() {
            let found = read.decode(shape, &bytes[..end]);
            prop_assert!(found.as_ref() != Ok(&sent));
        }
        let mut damaged = bytes.clone();
        for (at, bit) in flips {
            let at = at.index(damaged.len());
            damaged[at] ^= 1 << bit;
        }
        if damaged != bytes {
            let found = read.decode(shape, &damaged);
            prop_assert!(found.as_ref() != Ok(&sent));
        }
    }

    #[test]
    fn damaged_sets_are_refused_or_are_sets(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u32..8), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = set().to_bytes();
        prop_assert!(TableSet::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
        let mut damaged = bytes;
        for (at, bit) in flips {
            let at = at.index(damaged.len());
            damaged[at] ^= 1 << bit;
        }
        let Ok(found) = TableSet::from_bytes(&damaged) else {
            return Ok(());
        };
        prop_assert_eq!(found.to_bytes(), damaged);
        let Some(SHAPE_CHANNELS) = found.channels() else {
            return Ok(());
        };
        let sent = fields(sides(), 9, true);
        prop_assert_eq!(found.decode(sides(), &payload(&found, &sent)).unwrap(), sent);
    }
}

const SHAPE_CHANNELS: usize = SHAPE[0];

#[test]
fn a_set_fitted_in_segments_makes_smaller_frames_of_them() {
    let sides = sides();
    let seen = samples(sides, 60, true);
    let plain = || {
        let set = TableSet::fit(&seen, &FitConfig::default()).unwrap();
        assert!(!set.mixes());
        set
    };
    let segments = [1; SHAPE[0]];
    let whole = plain().with_mixing(&seen).unwrap();
    let apart = plain().with_mixing_in(&seen, &segments).unwrap();
    assert_eq!(
        plain().with_mixing_in(&seen, &[SHAPE[0]]).unwrap(),
        whole,
        "one segment is the whole"
    );
    let held_out: Vec<Symbols> = (200..230).map(|seed| fields(sides, seed, true)).collect();
    let cost = |set: &TableSet| -> [f64; 2] {
        let plan = TensorPlan::new(Quantizer::uniform(1.0).unwrap(), set.clone(), sides);
        let plan = plan.and_then(|plan| plan.with_segments(&segments)).unwrap();
        let codec = BundleCodec::new(vec![plan], 1, 2).unwrap();
        let mut sums = [0.0; 2];
        for one in &held_out {
            let one = std::slice::from_ref(one);
            let frame = codec.encode_symbols(one).unwrap();
            assert_eq!(codec.decode_symbols(&frame).unwrap(), one);
            sums[0] += 8.0 * frame.len() as f64;
            sums[1] += codec.code_length_bits(one).unwrap();
        }
        sums
    };
    let ([apart, estimated], [whole, _]) = (cost(&apart), cost(&whole));
    assert!(apart < whole, "{apart} {whole}");
    // Header, six entries and checksum are 23 bytes; six payloads end with up to two each.
    let spent = (apart - estimated) / held_out.len() as f64 / 8.0;
    assert!((23.0..36.0).contains(&spent), "{spent} bytes");
    for wrong in [&[5][..], &[3, 4], &[usize::MAX, 1]] {
        assert!(matches!(
            plain().with_mixing_in(&seen, wrong),
            Err(TableError::ChannelMismatch { allowed: 6, .. })
        ));
    }
}
