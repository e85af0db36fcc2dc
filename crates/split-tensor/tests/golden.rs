//! Pinned bytes: frames, tables and normalisation stay as they are on every machine.
//!
//! `UPDATE_GOLDEN=1 cargo test -p split-tensor --test golden` rewrites the files. A changed
//! frame needs a new format version.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail loudly")]

mod common;

use std::path::PathBuf;

use common::{
    Draws, bundle, bundle_symbols, nested, nested_symbols, shape, smooth, symbols, tables,
};
use split_tensor::{
    BundleCodec, Checksums, Codec, FitConfig, Frame, FrameHeader, FreqTable, Lanes, LatentShape,
    Quantizer, Symbols, TableSet, TensorPlan, ValueRange,
};

#[expect(
    clippy::disallowed_methods,
    reason = "a test may ask whether to rewrite its files"
)]
fn check(name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1") {
        std::fs::write(&path, bytes).unwrap();
    }
    let pinned = std::fs::read(&path).unwrap_or_else(|fault| panic!("{name}: {fault}"));
    assert_eq!(pinned, bytes, "{name} changed");
}

fn codec(shape: LatentShape, per_mille: u64) -> Codec {
    let set = tables(shape, 11, per_mille);
    Codec::new(Quantizer::uniform(0.5).unwrap(), set, shape, 3, 0xfeed_beef).unwrap()
}

#[test]
fn frames_of_every_lane_count_are_pinned() {
    let shape = shape(4, 12, 16);
    let codec = codec(shape, 600);
    check("tables-per-channel.bin", &codec.tables().to_bytes());
    let sent = symbols(shape, 99, 600);
    for code in 0..7 {
        let lanes = 1usize << code;
        let frame = codec
            .clone()
            .with_lanes(Lanes::Exactly(lanes))
            .encode_symbols(&sent)
            .unwrap();
        check(&format!("frame-lanes-{lanes}.bin"), &frame);
        assert_eq!(codec.decode_symbols(&frame).unwrap(), sent);
    }
}

#[test]
fn escapes_and_raw_payloads_are_pinned() {
    let shape = shape(2, 4, 4);
    let codec = codec(shape, 300);
    let mut values = symbols(shape, 98, 300).into_values();
    values[3] = 700;
    values[20] = -123_456;
    let sent = Symbols::new(shape, values).unwrap();
    let frame = codec.encode_symbols(&sent).unwrap();
    check("frame-escapes.bin", &frame);
    assert_eq!(codec.decode_symbols(&frame).unwrap(), sent);

    let mut draws = Draws::new(1);
    let noise = (0..32).map(|_| draws.geometric(990) + 1000).collect();
    let sent = Symbols::new(shape, noise).unwrap();
    let frame = codec.with_checksum(false).encode_symbols(&sent).unwrap();
    check("frame-raw.bin", &frame);
}

#[test]
fn normalised_tables_are_pinned() {
    let table = FreqTable::from_counts(-2, &[1, 20, 4000, 900, 31, 0, 2, 1]).unwrap();
    check("table-normalised.bin", &TableSet::shared(table).to_bytes());
    let weights: Vec<f64> = (0..40).map(|k| 0.7f64.powi(k)).collect();
    let table = FreqTable::from_weights(0, &weights, 1e-4).unwrap();
    check("table-weights.bin", &TableSet::shared(table).to_bytes());
}

#[test]
fn frames_with_contexts_are_pinned() {
    let shape = shape(6, 8, 8);
    let mut draws = Draws::new(77);
    let mut smooth = || {
        let mut last = 0;
        let values = (0..shape.len()).map(|_| {
            last = (last * 3 / 4 + draws.geometric(400)).clamp(0, 20);
            last
        });
        Symbols::new(shape, values.collect()).unwrap()
    };
    let samples: Vec<Symbols> = (0..60).map(|_| smooth()).collect();
    let config = FitConfig {
        max_tables: 64,
        ..FitConfig::default()
    };
    let set = TableSet::fit(&samples, &config).unwrap();
    assert!(set.contexts() > 0);
    check("tables-contexts.bin", &set.to_bytes());
    let codec = Codec::new(Quantizer::uniform(1.0).unwrap(), set, shape, 9, 0x0102_0304).unwrap();
    let mut sent = samples[7].clone().into_values();
    sent[100] = 5000;
    let sent = Symbols::new(shape, sent).unwrap();
    for lanes in [1, 4] {
        let codec = codec.clone().with_lanes(Lanes::Exactly(lanes));
        let frame = codec.encode_symbols(&sent).unwrap();
        check(&format!("frame-contexts-lanes-{lanes}.bin"), &frame);
        assert_eq!(codec.decode_symbols(&frame).unwrap(), sent);
    }
}

#[test]
fn frames_with_mixed_predictions_are_pinned() {
    let shape = shape(5, 6, 7);
    let samples: Vec<Symbols> = (0..60).map(|seed| smooth(shape, seed, true)).collect();
    let config = FitConfig {
        mixing: true,
        ..FitConfig::default()
    };
    let set = TableSet::fit(&samples, &config).unwrap();
    assert!(set.mixes());
    check("tables-mixing.bin", &set.to_bytes());
    let codec = Codec::new(Quantizer::uniform(1.0).unwrap(), set, shape, 5, 0x0506_0708).unwrap();
    let mut sent = smooth(shape, 200, true).into_values();
    sent[40] = -30_000;
    let sent = Symbols::new(shape, sent).unwrap();
    let frame = codec.encode_symbols(&sent).unwrap();
    check("frame-mixing.bin", &frame);
    assert_eq!(codec.decode_symbols(&frame).unwrap(), sent);
}

#[test]
fn frames_with_segments_packets_and_files_are_pinned() {
    let codec = bundle(12);
    let sent = bundle_symbols(&codec, 13);
    for (name, checksums) in [
        ("none", Checksums::None),
        ("frame", Checksums::Frame),
        ("segment", Checksums::Segment),
    ] {
        let codec = codec.clone().with_checksums(checksums);
        let frame = codec.encode_symbols(&sent).unwrap();
        check(&format!("bundle-{name}.bin"), &frame);
        assert_eq!(codec.decode_symbols(&frame).unwrap(), sent);
    }
    let packets = codec.encode_symbol_packets(&sent, 600).unwrap();
    check("packets.bin", &packets.concat());
    let latents = codec.restore(&sent).unwrap();
    let others = codec.restore(&bundle_symbols(&codec, 14)).unwrap();
    check("file.bin", &codec.encode_file(&[latents, others]).unwrap());
}

#[test]
fn a_frame_of_a_part_is_pinned() {
    let whole = nested();
    for plan in whole.tensors() {
        let name = format!("tables-nested-{}.bin", plan.shape().channels());
        check(&name, &plan.tables().to_bytes());
    }
    let part = whole.for_part(1, 2).unwrap();
    let sent = nested_symbols(&part, 15);
    let frame = part.encode_symbols(&sent).unwrap();
    check("bundle-part.bin", &frame);
    assert_eq!(part.decode_symbols(&frame).unwrap(), sent);
}

#[test]
fn payloads_with_their_own_tables_are_pinned() {
    let shape = shape(4, 24, 24);
    let codec = codec(shape, 300).with_own_tables(true);
    let sent = symbols(shape, 97, 900);
    let frame = codec.encode_symbols(&sent).unwrap();
    assert_eq!(frame[0] & 15, 15, "its own tables pay");
    check("frame-own-tables.bin", &frame);
    assert_eq!(codec.decode_symbols(&frame).unwrap(), sent);
}

#[test]
fn quantizers_are_pinned() {
    let range = |min, max| ValueRange::new(min, max).unwrap();
    let steps = Quantizer::per_channel(vec![0.5, 0.75, 3.0]).unwrap();
    check("quantizer-steps.bin", &steps.to_bytes());
    let zone = steps.dead_zone(0.25, 0.125).unwrap();
    check("quantizer-dead-zone.bin", &zone.to_bytes());
    let ranges = [range(-1.0, 3.0), range(0.0, 2.0), range(-8.0, 0.5)];
    let affine = Quantizer::affine_per_channel(&ranges, 8).unwrap();
    check("quantizer-affine.bin", &affine.to_bytes());
    let levels = Quantizer::clipped(range(-1.0, 2.5), 8).unwrap();
    check("quantizer-levels.bin", &levels.to_bytes());
}

/// Whether the page has these bytes in hex, over as many lines as it likes.
fn check_page(what: &str, bytes: &[u8]) {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/format.md");
    let page = std::fs::read_to_string(page).unwrap().replace('\n', " ");
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let hex = hex.join(" ");
    assert!(page.contains(&hex), "docs/format.md lacks {what}: {hex}");
}

/// The worked examples of docs/format.md.
#[test]
fn the_worked_examples_of_the_format_are_right() {
    let shape = shape(1, 2, 8);
    let table = FreqTable::from_frequencies(0, &[3072, 768, 192, 48]).unwrap();
    let set = TableSet::shared(table);
    let step = Quantizer::uniform(1.0).unwrap();
    let codec = Codec::new(step.clone(), set.clone(), shape, 3, 0xfeed_beef).unwrap();
    let symbols =
        Symbols::new(shape, vec![0, 0, 1, 0, 0, 3, 0, 0, 0, 2, 0, 0, 1, 0, 3, 1]).unwrap();
    check_page("the table set", &set.to_bytes());
    let frame = codec.encode_symbols(&symbols).unwrap();
    check_page("the frame", &frame);

    // The same payload with its table inside.
    let mut payload = vec![15, 0, u8::try_from(set.to_bytes().len()).unwrap()];
    payload.extend(set.to_bytes());
    set.encode_into(&symbols, &mut payload).unwrap();
    let header = FrameHeader {
        rung: 3,
        bank: 0xfeed_beef,
        shape: None,
        checksum: false,
    };
    let own = Frame::new(header, payload).unwrap();
    assert_eq!(codec.decode_frame(&own).unwrap(), symbols);
    check_page("the frame with its own table", &own.to_bytes());

    // Two channels, the second one first, and a tensor of one symbol.
    let shapes = [LatentShape::new(2, 1, 8), LatentShape::new(1, 1, 1)].map(Result::unwrap);
    let first = TensorPlan::new(step, set.clone(), shapes[0]).unwrap();
    let first = first.with_order(vec![1, 0]).unwrap();
    let first = first.with_segments(&[1, 1]).unwrap();
    let range = ValueRange::new(0.0, 1.5).unwrap();
    let levels = Quantizer::clipped(range, 4).unwrap();
    let second = TensorPlan::new(levels, set, shapes[1]).unwrap();
    let plans = vec![first, second.with_fill(vec![3]).unwrap()];
    let codec = BundleCodec::new(plans, 3, 0xfeed_beef).unwrap();
    let codec = codec.with_checksums(Checksums::Segment);
    let sent = [
        Symbols::new(shapes[0], symbols.into_values()).unwrap(),
        Symbols::new(shapes[1], vec![2]).unwrap(),
    ];
    let frame = codec.encode_symbols(&sent).unwrap();
    assert_eq!(codec.decode_symbols(&frame).unwrap(), sent);
    check_page("the frame with segments", &frame);
    let packets = codec.encode_symbol_packets(&sent, 5).unwrap();
    check_page("the packet", &packets[0]);
    let file = codec.file_head(1).unwrap();
    check_page("the head of the file", &file);
}
