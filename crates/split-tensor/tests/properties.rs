//! Laws that hold for all symbols, tables, shapes and lane counts.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail loudly")]

mod common;

use common::{Draws, shape, symbols, tables};
use proptest::prelude::*;
use split_tensor::{
    Codec, CoderPath, FrameReader, FreqTable, Lanes, Latent, LatentShape, MAX_SYMBOL, Quantizer,
    Symbols, TableSet, ValueRange,
};

fn any_shape() -> impl Strategy<Value = LatentShape> {
    (1usize..9, 1usize..9, 1usize..9).prop_map(|(c, h, w)| shape(c, h, w))
}

fn any_symbols() -> impl Strategy<Value = Symbols> {
    let symbol = prop_oneof![
        8 => -3i32..4,
        2 => -40i32..40,
        1 => -MAX_SYMBOL..=MAX_SYMBOL,
    ];
    any_shape().prop_flat_map(move |shape| {
        prop::collection::vec(symbol.clone(), shape.len())
            .prop_map(move |values| Symbols::new(shape, values).unwrap())
    })
}

fn any_table() -> impl Strategy<Value = FreqTable> {
    (-20i32..5, prop::collection::vec(0u64..1000, 1..50)).prop_map(|(min, mut counts)| {
        counts[0] += 1;
        FreqTable::from_counts(min, &counts).unwrap()
    })
}

proptest! {
    #[test]
    fn decoding_inverts_encoding(
        symbols in any_symbols(),
        tables in prop::collection::vec(any_table(), 8),
        per_channel in any::<bool>(),
        lanes in 0u32..7,
    ) {
        let set = if per_channel {
            TableSet::per_channel(tables[..symbols.shape().channels()].to_vec()).unwrap()
        } else {
            TableSet::shared(tables[0].clone())
        };
        let mut payload = Vec::new();
        set.encode_with(&symbols, Lanes::Exactly(1 << lanes), &mut payload).unwrap();
        prop_assert_eq!(set.decode(symbols.shape(), &payload).unwrap(), symbols.clone());
        // Raw symbols bound the growth: two bytes and the width of the widest symbol.
        prop_assert!(payload.len() <= 2 + symbols.values().len() * 26 / 8 + 1);
    }

    #[test]
    fn every_lane_count_carries_long_runs(seed in any::<u64>(), lively in 1u64..900) {
        let shape = shape(3, 40, 41);
        let set = tables(shape, seed, lively);
        let symbols = symbols(shape, seed ^ 1, lively);
        for code in 0..7 {
            let mut payload = Vec::new();
            set.encode_with(&symbols, Lanes::Exactly(1 << code), &mut payload).unwrap();
            prop_assert_eq!(set.decode(shape, &payload).unwrap(), symbols.clone());
        }
    }

    #[test]
    fn every_path_writes_and_reads_the_same(
        seed in any::<u64>(),
        lively in 1u64..950,
        sides in (1usize..6, 1usize..30, 1usize..70),
        code in 0u32..7,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u32..8), 0..3),
    ) {
        let shape = shape(sides.0, sides.1, sides.2);
        let set = tables(shape, seed, lively);
        let symbols = symbols(shape, seed ^ 1, lively);
        let scalar = set.clone().with_path(CoderPath::scalar());
        let mut expected = Vec::new();
        scalar.encode_with(&symbols, Lanes::Exactly(1 << code), &mut expected).unwrap();
        let mut damaged = expected.clone();
        for (at, bit) in flips {
            let at = at.index(damaged.len());
            damaged[at] ^= 1 << bit;
        }
        let judged = scalar.decode(shape, &damaged);
        for path in CoderPath::all() {
            let set = set.clone().with_path(path);
            let mut payload = Vec::new();
            set.encode_with(&symbols, Lanes::Exactly(1 << code), &mut payload).unwrap();
            prop_assert_eq!(&payload, &expected, "{}", path.name());
            prop_assert_eq!(&set.decode(shape, &payload).unwrap(), &symbols, "{}", path.name());
            prop_assert_eq!(&set.decode(shape, &damaged), &judged, "{}", path.name());
        }
    }

    #[test]
    fn any_bytes_give_a_result_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        descriptor in 0u8..16,
        seed in any::<u64>(),
    ) {
        let shape = shape(4, 3, 5);
        let set = tables(shape, seed, 500);
        let _ = set.decode(shape, &bytes);
        let mut described = vec![descriptor];
        described.extend_from_slice(&bytes);
        if let Ok(symbols) = set.decode(shape, &described) {
            prop_assert_eq!(symbols.values().len(), shape.len());
        }
        let _ = TableSet::from_bytes(&bytes);
        let codec = Codec::new(Quantizer::uniform(1.0).unwrap(), set, shape, 1, 2).unwrap();
        let _ = codec.decode(&bytes);
        let mut reader = FrameReader::new();
        reader.push(&bytes);
        while let Ok(Some(_)) = reader.next_frame() {}
    }

    #[test]
    fn table_sets_survive_their_serial_form(
        tables in prop::collection::vec(any_table(), 1..6),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
    ) {
        let chosen = picks.iter().map(|pick| tables[pick.index(tables.len())].clone());
        for set in [
            TableSet::per_channel(chosen.collect()).unwrap(),
            TableSet::shared(tables[0].clone()),
        ] {
            let bytes = set.to_bytes();
            let read = TableSet::from_bytes(&bytes).unwrap();
            prop_assert_eq!(read.digest(), set.digest());
            prop_assert_eq!(read, set);
            for end in 0..bytes.len() {
                prop_assert!(TableSet::from_bytes(&bytes[..end]).is_err());
            }
        }
    }

    #[test]
    fn frames_come_out_of_any_chunks(
        seeds in prop::collection::vec(any::<u64>(), 1..5),
        chunk in 1usize..40,
    ) {
        let shape = shape(2, 5, 5);
        let set = tables(shape, 7, 400);
        let codec = Codec::new(Quantizer::uniform(0.5).unwrap(), set, shape, 300, 9).unwrap();
        let sent: Vec<Symbols> = seeds.iter().map(|&seed| symbols(shape, seed, 500)).collect();
        let mut stream = Vec::new();
        for (index, symbols) in sent.iter().enumerate() {
            let codec = codec.clone().with_checksum(index % 2 == 0);
            stream.extend_from_slice(&codec.encode_symbols(symbols).unwrap());
        }
        let mut reader = FrameReader::new();
        let mut received = Vec::new();
        for bytes in stream.chunks(chunk) {
            reader.push(bytes);
            while let Some(frame) = reader.next_frame().unwrap() {
                received.push(codec.decode_frame(&frame).unwrap());
            }
        }
        prop_assert_eq!(received, sent);
        prop_assert_eq!(reader.pending_bytes(), 0);
    }

    #[test]
    fn a_latent_comes_back_within_half_a_step(seed in any::<u64>(), step in 0.01f32..2.0) {
        let shape = shape(3, 4, 4);
        let mut draws = Draws::new(seed);
        let values: Vec<f32> =
            (0..shape.len()).map(|_| draws.below(2000) as f32 / 100.0 - 10.0).collect();
        let set = tables(shape, seed, 700);
        let codec = Codec::new(Quantizer::uniform(step).unwrap(), set, shape, 0, 0).unwrap();
        let latent = Latent::new(shape, values).unwrap();
        let restored = codec.decode(&codec.encode(&latent).unwrap()).unwrap();
        for (restored, value) in restored.values().iter().zip(latent.values()) {
            prop_assert!((restored - value).abs() <= step * 0.5001);
        }
    }
}

/// Every scheme, with parameters from a seed.
fn any_scheme() -> impl Strategy<Value = Quantizer> {
    let range = (-4f32..0.0, 0.1f32..6.0).prop_map(|(min, max)| ValueRange::new(min, max).unwrap());
    let steps = prop::collection::vec(0.05f32..2.0, 3);
    prop_oneof![
        (0.05f32..2.0).prop_map(|step| Quantizer::uniform(step).unwrap()),
        steps
            .clone()
            .prop_map(|steps| Quantizer::per_channel(steps).unwrap()),
        (steps, 0f32..0.5, 0f32..1.0).prop_map(|(steps, shift, restore)| {
            let steps = Quantizer::per_channel(steps).unwrap();
            steps.dead_zone(shift, restore).unwrap()
        }),
        (range.clone(), 2u32..=8).prop_map(|(range, bits)| Quantizer::affine(range, bits).unwrap()),
        (range, 2usize..=8).prop_map(|(range, levels)| Quantizer::clipped(range, levels).unwrap()),
    ]
}

proptest! {
    #[test]
    fn a_codec_restores_what_its_quantizer_makes_of_a_latent(
        quantizer in any_scheme(),
        values in prop::collection::vec(-9f32..9.0, 3 * 4 * 4),
        lanes in 0u32..7,
        checksum in any::<bool>(),
        own_tables in any::<bool>(),
        table in any_table(),
    ) {
        let latent = Latent::new(shape(3, 4, 4), values).unwrap();
        let symbols = quantizer.quantize(&latent).unwrap();
        let expected = quantizer.dequantize(&symbols).unwrap();
        let codec = Codec::new(quantizer, TableSet::shared(table), latent.shape(), 7, 8)
            .unwrap()
            .with_lanes(Lanes::Exactly(1 << lanes))
            .with_checksum(checksum)
            .with_own_tables(own_tables);
        let frame = codec.encode(&latent).unwrap();
        prop_assert_eq!(codec.decode_symbols(&frame).unwrap(), symbols);
        prop_assert_eq!(codec.decode(&frame).unwrap(), expected);
        for end in 0..frame.len() {
            prop_assert!(codec.decode(&frame[..end]).is_err());
        }
    }
}

#[test]
fn every_length_comes_back_over_every_lane_count() {
    let set = tables(shape(1, 64, 64), 3, 500);
    for length in (1..140).chain([255, 256, 257, 2047, 2048, 2049, 4097]) {
        let sent = symbols(shape(1, 1, length), length as u64, 500);
        for code in 0..7 {
            let mut payload = Vec::new();
            set.encode_with(&sent, Lanes::Exactly(1 << code), &mut payload)
                .unwrap();
            assert_eq!(
                set.decode(sent.shape(), &payload).unwrap(),
                sent,
                "{length}, {code}"
            );
        }
    }
}

#[test]
fn raw_symbols_of_every_width_come_back_and_bound_the_payload() {
    let set = TableSet::shared(FreqTable::from_counts(0, &[1]).unwrap());
    for width in 0..=26u32 {
        // The widest symbol in zigzag form, one of the other sign, and small ones.
        let widest = (1i32 << width >> 1).min(MAX_SYMBOL);
        let values = (0..97).map(|at| match at % 3 {
            0 => -widest,
            // The largest symbol of all takes one bit more than the smallest.
            1 if width == 26 => MAX_SYMBOL,
            1 => (widest - 1).max(0),
            _ => at % widest.max(1),
        });
        let sent = Symbols::new(shape(1, 1, 97), values.collect()).unwrap();
        let mut payload = Vec::new();
        set.encode_into(&sent, &mut payload).unwrap();
        assert_eq!(
            set.decode(sent.shape(), &payload).unwrap(),
            sent,
            "width {width}"
        );
        assert!(payload.len() <= 2 + (97 * width as usize).div_ceil(8));
        // Zeros have a slot of their own; all else is cheaper raw than as escapes.
        let raw = (payload[0] == 7).then(|| u32::from(payload[1]));
        assert_eq!(raw, (width > 0).then_some(width));
    }
}

/// Mean body bytes minus ideal bytes over many messages.
fn overhead_bytes(length: usize, per_mille: u64, lanes: usize, messages: u64) -> f64 {
    let shape = shape(1, 1, length);
    let set = tables(LatentShape::new(1, 64, 1024).unwrap(), 5, per_mille);
    let mut total = 0.0;
    for seed in 0..messages {
        let symbols = symbols(shape, 1000 + seed, per_mille);
        let mut payload = Vec::new();
        set.encode_with(&symbols, Lanes::Exactly(lanes), &mut payload)
            .unwrap();
        total += (payload.len() - 1) as f64 - set.code_length_bits(&symbols) / 8.0;
    }
    total / messages as f64
}

#[test]
fn ending_a_payload_costs_less_than_two_bytes_a_lane() {
    for per_mille in [60, 250, 700] {
        for (length, lanes) in [
            (256, 1),
            (256, 2),
            (1024, 4),
            (4096, 8),
            (16384, 32),
            (16384, 64),
        ] {
            let messages = if length > 5000 { 8 } else { 60 };
            let found = overhead_bytes(length, per_mille, lanes, messages);
            println!("{per_mille} {length} {lanes}: {found:.2}");
            let allowed = 2.1 * lanes as f64 + 1.0;
            assert!(
                found < allowed,
                "{found} bytes over {lanes} lanes at {per_mille}"
            );
        }
    }
}

/// The bars that payloads have to stay below, at about one bit a symbol.
#[test]
fn payloads_stay_within_the_bytes_allowed_beyond_the_ideal() {
    let training = shape(1, 512, 512);
    let mut count = split_tensor::FrequencyCount::new(1).unwrap();
    count.add(&symbols(training, 3, 250)).unwrap();
    let set = TableSet::shared(count.shared_table().unwrap());
    for (length, fast_lanes, allowed) in [
        (256, 4, Some(7.0)),
        (1024, 8, Some(16.0)),
        (4096, 16, Some(26.0)),
        (16384, 32, None),
    ] {
        let shape = shape(1, 1, length);
        for lanes in [Lanes::Small, Lanes::Fast] {
            let (mut real, mut ideal) = (0.0, 0.0);
            let messages = 200;
            for seed in 0..messages {
                let symbols = symbols(shape, 9000 + seed, 250);
                let mut payload = Vec::new();
                set.encode_with(&symbols, lanes, &mut payload).unwrap();
                if lanes == Lanes::Fast {
                    // Eight more says that escapes follow.
                    assert_eq!(1 << (payload[0] % 8), fast_lanes);
                }
                real += (payload.len() - 1) as f64;
                ideal += set.code_length_bits(&symbols) / 8.0;
            }
            let over = (real - ideal) / messages as f64;
            // From 16,384 symbols on it is a share of the payload, and fewest lanes count.
            let allowed = match (allowed, lanes) {
                (Some(allowed), _) => allowed,
                (None, Lanes::Small) => ideal / messages as f64 * 0.002,
                (None, _) => continue,
            };
            println!("{length}: {over:.2} of {allowed:.2} bytes");
            assert!(over <= allowed, "{over} bytes over at {length} symbols");
        }
    }
}

/// What a table costs beyond the source that it was made for, at one bit a symbol.
#[test]
fn a_table_costs_less_than_a_thousandth_of_its_source() {
    let ratio = 0.25f64;
    let weights: Vec<f64> = (-15i32..=15).map(|k| ratio.powi(k.abs())).collect();
    let total: f64 = weights.iter().sum();
    let table = FreqTable::from_weights(-15, &weights, total * 1e-5).unwrap();
    let entropy: f64 = weights.iter().map(|w| w / total * (total / w).log2()).sum();
    let pairs = (-15..).zip(&weights);
    let spent: f64 = pairs
        .map(|(k, w)| w / total * table.code_length_bits(k))
        .sum();
    assert!(
        (spent / entropy - 1.0).abs() < 1e-3,
        "{spent} against {entropy} bits"
    );
}

#[test]
fn payload_stays_within_one_per_cent_of_the_ideal_and_the_flush() {
    for seed in 0..20 {
        let shape = shape(16, 16, 16);
        let set = tables(shape, seed, 400);
        let symbols = symbols(shape, seed + 100, 400);
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
fn silent_channels_cost_next_to_nothing() {
    let shape = shape(64, 4, 4);
    let mut count = split_tensor::FrequencyCount::new(64).unwrap();
    let silent = Symbols::new(shape, vec![0; shape.len()]).unwrap();
    for _ in 0..1000 {
        count.add(&silent).unwrap();
    }
    let set = count.channel_tables(4.0).unwrap();
    assert!(set.code_length_bits(&silent) < 1.0);
    let codec = Codec::new(Quantizer::uniform(1.0).unwrap(), set, shape, 5, 77).unwrap();
    assert_eq!(codec.encode_symbols(&silent).unwrap().len(), 11);
}
