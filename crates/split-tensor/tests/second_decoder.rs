//! The second decoder reads every golden file as the page says, and agrees with the crate on
//! fresh frames of every form.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail loudly")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "symbols are far below the limits of what they become"
)]

mod common;
mod second;

use std::path::PathBuf;

use common::{bundle, bundle_symbols, shape, smooth, smooth_set, symbols, tables, with_fill};
use proptest::prelude::*;
use second::frames::{self, Plan};
use second::payload::Set;
use split_tensor::{
    BundleCodec, Checksums, Codec, Lanes, Latent, LatentShape, Quantizer, Symbols, TableSet,
    TensorPlan,
};

fn golden(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::fs::read(folder.join(name)).unwrap_or_else(|fault| panic!("{name}: {fault}"))
}

/// Whether the page states this checksum of symbols.
fn check_page(what: &str, tensors: &[Vec<i64>]) {
    let symbols = tensors.iter().flatten();
    let bytes: Vec<u8> = symbols.flat_map(|&s| (s as i32).to_le_bytes()).collect();
    let line = format!("| {what} | {:08x} |", second::crc32c(&bytes));
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/format.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains(&line), "docs/format.md lacks {line}");
}

fn sides(shape: LatentShape) -> [usize; 3] {
    [shape.channels(), shape.height(), shape.width()]
}

fn plain(symbols: &Symbols) -> Vec<i64> {
    symbols.values().iter().map(|&s| i64::from(s)).collect()
}

#[test]
fn golden_frames_of_one_latent_are_read_from_the_page_alone() {
    let set = Set::parse(&golden("tables-per-channel.bin")).unwrap();
    for lanes in [1, 2, 4, 8, 16, 32, 64] {
        let frame = golden(&format!("frame-lanes-{lanes}.bin"));
        let (bank, rung, found) = frames::single(&frame, &set, [4, 12, 16]).unwrap();
        assert_eq!((bank, rung), (0xfeed_beef, 3));
        check_page("`frame-lanes-N.bin`", &[found]);
    }
    let set = Set::parse(&golden("tables-contexts.bin")).unwrap();
    for lanes in [1, 4] {
        let frame = golden(&format!("frame-contexts-lanes-{lanes}.bin"));
        let (bank, rung, found) = frames::single(&frame, &set, [6, 8, 8]).unwrap();
        assert_eq!((bank, rung, found[100]), (0x0102_0304, 9, 5000));
        check_page("`frame-contexts-lanes-N.bin`", &[found]);
    }
    let set_that_mixes = Set::parse(&golden("tables-mixing.bin")).unwrap();
    let frame = golden("frame-mixing.bin");
    let (bank, rung, found) = frames::single(&frame, &set_that_mixes, [5, 6, 7]).unwrap();
    assert_eq!((bank, rung, found[40]), (0x0506_0708, 5, -30_000));
    check_page("`frame-mixing.bin`", &[found]);
    // Its tables are its own; those of another set do not matter.
    let frame = golden("frame-own-tables.bin");
    let (.., found) = frames::single(&frame, &set, [4, 24, 24]).unwrap();
    check_page("`frame-own-tables.bin`", &[found]);
    // These two are made with tables that are not kept as files.
    let made = tables(shape(2, 4, 4), 11, 300).to_bytes();
    let set = Set::parse(&made).unwrap();
    let (.., found) = frames::single(&golden("frame-escapes.bin"), &set, [2, 4, 4]).unwrap();
    assert_eq!((found[3], found[20]), (700, -123_456));
    let (.., found) = frames::single(&golden("frame-raw.bin"), &set, [2, 4, 4]).unwrap();
    assert!(found.iter().all(|symbol| (0..2001).contains(symbol)));
    for name in ["table-normalised.bin", "table-weights.bin"] {
        Set::parse(&golden(name)).unwrap();
    }
}

#[test]
fn golden_bundles_packets_and_files_are_read_from_the_page_alone() {
    let (plans, found) = frames::file(&golden("file.bin")).unwrap();
    check_page(
        "first frame of `file.bin`, `bundle-*.bin`, `packets.bin`",
        &found[0],
    );
    check_page("second frame of `file.bin`", &found[1]);
    for name in ["bundle-none.bin", "bundle-frame.bin", "bundle-segment.bin"] {
        let frame = golden(name);
        let (read, rest) = frames::bundle(&frame, &plans, false).unwrap();
        assert_eq!((&read, rest.len()), (&found[0], 0), "{name}");
    }
    let packets = golden("packets.bin");
    assert_eq!(frames::packets(&packets, &plans).unwrap(), found[0]);
    // Values too, bit for bit.
    let mut reader = split_tensor::FileReader::new();
    reader.push(&golden("file.bin"));
    let symbols = reader.next_frame().unwrap().unwrap();
    let latents = reader.codec().unwrap().restore(&symbols).unwrap();
    for ((plan, symbols), latent) in plans.iter().zip(&found[0]).zip(&latents) {
        assert_eq!(values(plan, symbols), latent.values());
    }
}

#[test]
fn a_golden_part_is_read_from_the_page_alone() {
    let plan = |sides: [usize; 3]| {
        let set = golden(&format!("tables-nested-{}.bin", sides[0]));
        Plan {
            sides,
            quantizer: frames::Quantizer::Steps(vec![0.5]),
            set: Set::parse(&set).unwrap(),
            segments: vec![sides[0]],
            order: (0..sides[0]).collect(),
            fill: vec![0; sides[0]],
        }
    };
    let plans = [[3, 8, 12], [4, 4, 6], [2, 2, 3]].map(plan);
    let frame = golden("bundle-part.bin");
    let (found, rest) = frames::bundle(&frame, &plans, false).unwrap();
    assert!(rest.is_empty());
    assert_eq!(found.iter().map(Vec::len).sum::<usize>(), 96 + 32 + 4);
    check_page("`bundle-part.bin`", &found);
    let part = common::nested().for_part(1, 2).unwrap();
    let ours: Vec<Vec<i64>> = common::nested_symbols(&part, 15)
        .iter()
        .map(plain)
        .collect();
    assert_eq!(found, ours);
}

fn values(plan: &Plan, symbols: &[i64]) -> Vec<f32> {
    let plane = plan.sides[1] * plan.sides[2];
    let value = |(at, &symbol): (usize, &i64)| plan.quantizer.value(at / plane, symbol).unwrap();
    symbols.iter().enumerate().map(value).collect()
}

#[test]
fn golden_quantizers_are_read_from_the_page_alone() {
    for name in ["steps", "dead-zone", "affine", "levels"] {
        let bytes = golden(&format!("quantizer-{name}.bin"));
        let theirs = frames::Quantizer::parse(&bytes).unwrap();
        let ours = Quantizer::from_bytes(&bytes).unwrap();
        let shape = shape(3, 1, 5);
        let sent: Vec<f32> = (0..15u8).map(|at| f32::from(at) * 0.61 - 4.2).collect();
        let symbols = ours.quantize(&Latent::new(shape, sent).unwrap()).unwrap();
        let restored = ours.dequantize(&symbols).unwrap();
        let pairs = symbols.values().iter().zip(restored.values());
        for (at, (&symbol, &value)) in pairs.enumerate() {
            let found = theirs.value(at / 5, i64::from(symbol));
            assert_eq!(found, Ok(value), "{name}, {at}");
        }
    }
}

fn check_payload(set: &TableSet, sent: &Symbols, lanes: u32) {
    let mut payload = Vec::new();
    set.encode_with(sent, Lanes::Exactly(1 << lanes), &mut payload)
        .unwrap();
    let second = Set::parse(&set.to_bytes()).unwrap();
    let shape = sides(sent.shape());
    let decode = |payload: &[u8]| {
        let (descriptor, body) = payload.split_first().unwrap();
        second.decode(shape, *descriptor, body)
    };
    assert_eq!(decode(&payload).unwrap(), plain(sent));
    // Damage is judged alike, and what both accept is the same.
    for at in 0..payload.len().min(40) {
        let mut damaged = payload.clone();
        damaged[at] ^= 1 << (at % 8);
        let ours = set.decode(sent.shape(), &damaged);
        assert_eq!(
            ours.as_ref().ok().map(plain),
            decode(&damaged).ok(),
            "{ours:?}"
        );
    }
}

/// A set that mixes, whether that pays or not.
fn mixing_set(shape: LatentShape) -> TableSet {
    let samples: Vec<Symbols> = (0..12).map(|seed| smooth(shape, seed, true)).collect();
    tables(shape, 1, 500).with_mixing(&samples).unwrap()
}

/// Segments of a set that mixes refer to fewer channels than the set.
#[test]
fn both_decoders_agree_on_segments_that_mix() {
    let shape = shape(6, 7, 5);
    let plan = TensorPlan::new(Quantizer::uniform(1.0).unwrap(), mixing_set(shape), shape);
    let plan = plan.and_then(|plan| plan.with_order(vec![3, 0, 5, 1, 2, 4]));
    let plan = plan
        .and_then(|plan| plan.with_segments(&[2, 3, 1]))
        .unwrap();
    let codec = BundleCodec::new(vec![plan], 1, 2).unwrap();
    let plans = second_plans(&codec);
    for seed in 0..20 {
        let sent = [smooth(shape, seed, true)];
        let frame = codec.encode_symbols(&sent).unwrap();
        let (found, _) = frames::bundle(&frame, &plans, false).unwrap();
        assert_eq!(found[0], plain(&sent[0]));
    }
}

fn second_plans(codec: &BundleCodec) -> Vec<Plan> {
    frames::file(&codec.file_head(0).unwrap()).unwrap().0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn both_decoders_agree_on_payloads(
        seed in any::<u64>(),
        lanes in 0u32..7,
        sides in (1usize..7, 1usize..9, 1usize..9),
        lively in 1u64..950,
        strays in prop::collection::vec((any::<prop::sample::Index>(), -9000i32..9000), 0..3),
    ) {
        let shape = shape(sides.0, sides.1, sides.2);
        for (set, sent) in [
            (tables(shape, seed, lively), symbols(shape, seed ^ 1, lively)),
            (smooth_set(shape), smooth(shape, seed, false)),
            (mixing_set(shape), smooth(shape, seed, true)),
        ] {
            let mut values = sent.into_values();
            for (at, stray) in &strays {
                let at = at.index(values.len());
                values[at] = *stray;
            }
            check_payload(&set, &Symbols::new(shape, values).unwrap(), lanes);
        }
    }

    #[test]
    fn both_decoders_agree_on_cut_and_damaged_bundles(
        seed in any::<u64>(),
        own_tables in any::<bool>(),
        cut in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
    ) {
        let codec = bundle(seed % 3)
            .with_checksums(Checksums::Segment)
            .with_own_tables(own_tables);
        let plans = second_plans(&codec);
        let sent = bundle_symbols(&codec, seed);
        let frame = codec.encode_symbols(&sent).unwrap();
        let mut damaged = frame.clone();
        damaged[flip.index(frame.len())] ^= 4;
        for bytes in [&frame[..cut.index(frame.len())], &damaged, &frame] {
            let Ok(received) = codec.decode_partial(bytes) else {
                continue;
            };
            let (found, _) = frames::bundle(bytes, &plans, true).unwrap();
            let ours: Vec<Vec<i64>> = received.symbols().iter().map(plain).collect();
            prop_assert_eq!(&found, &ours);
            let expected = with_fill(&codec, &sent, |index| received.arrived()[index]);
            prop_assert_eq!(received.symbols(), expected);
        }
    }
}

#[test]
fn a_shape_in_the_frame_is_read_too() {
    let shape = shape(3, 5, 4);
    let set = tables(shape, 1, 400);
    let sent = symbols(shape, 2, 400);
    let mut payload = Vec::new();
    set.encode_into(&sent, &mut payload).unwrap();
    let header = split_tensor::FrameHeader {
        rung: 700,
        bank: 5,
        shape: Some(shape),
        checksum: true,
    };
    let frame = split_tensor::Frame::new(header, payload).unwrap();
    let second = Set::parse(&set.to_bytes()).unwrap();
    let found = frames::single(&frame.to_bytes(), &second, sides(shape)).unwrap();
    assert_eq!(found, (5, 700, plain(&sent)));
    let codec = Codec::new(Quantizer::uniform(1.0).unwrap(), set, shape, 700, 5).unwrap();
    assert_eq!(codec.decode_symbols(&frame.to_bytes()).unwrap(), sent);
}
