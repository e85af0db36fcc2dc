//! Several tensors in one frame, segments, packets, progressive order and files.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail loudly")]

mod common;

use common::{
    Draws, bundle, bundle_symbols, nested, nested_symbols, shape, symbols, tables, with_fill,
};
use proptest::prelude::*;
use split_tensor::{
    BundleCodec, BundleScratch, Checksums, DecodeError, EncodeError, FileReader, FrameReader,
    FrameRef, FreqTable, Lanes, Latent, MAX_SEGMENTS, PlanError, Quantizer, Symbols, TableSet,
    TensorPlan,
};

const ALL_CHECKSUMS: [Checksums; 3] = [Checksums::None, Checksums::Frame, Checksums::Segment];

fn latents_of(codec: &BundleCodec, symbols: &[Symbols]) -> Vec<Latent> {
    codec.restore(symbols).unwrap()
}

#[test]
fn segments_come_in_rounds_over_the_tensors() {
    let codec = bundle(1);
    let found: Vec<(usize, Vec<u16>)> = (0..codec.segment_count())
        .map(|index| codec.segment(index))
        .map(|(tensor, channels)| (tensor, channels.to_vec()))
        .collect();
    let expected = [
        (0, vec![3]),
        (1, vec![0, 1]),
        (2, vec![0, 1, 2]),
        (0, vec![0, 5]),
        (1, vec![2, 3]),
        (0, vec![1, 2, 4]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn whole_frames_come_back_with_every_kind_of_checksum() {
    let codec = bundle(1);
    let sent = bundle_symbols(&codec, 5);
    for checksums in ALL_CHECKSUMS {
        let codec = codec.clone().with_checksums(checksums);
        let latents = latents_of(&codec, &sent);
        let frame = codec.encode(&latents).unwrap();
        assert_eq!(codec.decode_symbols(&frame).unwrap(), sent);
        assert_eq!(codec.decode(&frame).unwrap(), latents);
        let (mut scratch, mut values) = (BundleScratch::new(), Vec::new());
        codec
            .decode_reusing(&frame, &mut scratch, &mut values)
            .unwrap();
        for (values, latent) in values.iter().zip(&latents) {
            assert_eq!(values, latent.values());
        }
        let received = codec.decode_partial(&frame).unwrap();
        assert!(received.is_whole());
        assert_eq!(received.symbols(), sent);
        let longer = [frame.as_slice(), &[0]].concat();
        let fault = DecodeError::TrailingBytes { found: 1 };
        assert_eq!(codec.decode_symbols(&longer), Err(fault));
        assert_eq!(codec.decode_partial(&longer).unwrap_err(), fault);
    }
}

#[test]
fn a_cut_frame_gives_the_segments_before_the_cut_and_fill_for_the_rest() {
    let codec = bundle(2);
    let sent = bundle_symbols(&codec, 6);
    for checksums in ALL_CHECKSUMS {
        let codec = codec.clone().with_checksums(checksums);
        let frame = codec.encode_symbols(&sent).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for end in 0..frame.len() {
            let cut = &frame[..end];
            assert!(matches!(
                codec.decode_symbols(cut),
                Err(DecodeError::Truncated { found, needed }) if found == end && needed > end
            ));
            let received = match codec.decode_partial(cut) {
                Ok(received) => received,
                Err(DecodeError::Truncated { .. } | DecodeError::NothingArrived { .. }) => continue,
                Err(fault) => panic!("{fault} for {end} bytes"),
            };
            assert_ne!(checksums, Checksums::Frame, "nothing vouches for a part");
            let count = received.arrived().iter().filter(|&&here| here).count();
            assert!(received.arrived()[..count].iter().all(|&here| here));
            let expected = with_fill(&codec, &sent, |index| index < count);
            assert_eq!(received.symbols(), expected);
            for (tensor, plan) in codec.tensors().iter().enumerate() {
                for channel in 0..plan.shape().channels() {
                    let named = (0..count).map(|index| codec.segment(index)).any(|found| {
                        found.0 == tensor && found.1.contains(&u16::try_from(channel).unwrap())
                    });
                    assert_eq!(received.present(tensor)[channel], named);
                }
            }
            seen.insert(count);
        }
        if checksums != Checksums::Frame {
            // Without checksums the last byte belongs to the last segment.
            assert_eq!(seen, (1..codec.segment_count()).collect());
        }
    }
}

#[test]
fn a_part_of_every_tensor_is_a_frame_that_says_so() {
    let whole = nested();
    for checksums in ALL_CHECKSUMS {
        let whole = whole.clone().with_checksums(checksums);
        for (rows, columns) in [(1, 1), (1, 3), (2, 2)] {
            let codec = whole.for_part(rows, columns).unwrap();
            assert_eq!(codec.part(), Some([rows, columns]));
            for (plan, scale) in codec.tensors().iter().zip([4, 2, 1]) {
                let shape = plan.shape();
                let found = [shape.height(), shape.width()];
                assert_eq!(found, [rows * scale, columns * scale]);
            }
            let sent = nested_symbols(&codec, 3);
            let frame = codec.encode_symbols(&sent).unwrap();
            let (parsed, rest) = split_tensor::BundleRef::parse(&frame).unwrap();
            assert_eq!((parsed.part(), rest), (Some([rows, columns]), &[][..]));
            assert_eq!(codec.decode_symbols(&frame).unwrap(), sent);
            let received = codec.decode_partial(&frame).unwrap();
            assert!(received.is_whole());
            assert_eq!(received.symbols(), sent);
            // Another part, or the whole, never becomes noise.
            let fault = |allowed| DecodeError::PartMismatch {
                found: [rows, columns],
                allowed,
            };
            assert_eq!(whole.decode_symbols(&frame), Err(fault([0, 0])));
            assert_eq!(whole.decode_partial(&frame).unwrap_err(), fault([0, 0]));
            let other = whole.for_part(2, 1).unwrap();
            assert_eq!(other.decode_symbols(&frame), Err(fault([2, 1])));
        }
    }
}

#[test]
fn a_part_of_all_rows_and_columns_is_the_whole() {
    let whole = nested();
    let same = whole.for_part(2, 3).unwrap();
    assert_eq!(same.part(), None);
    let sent = nested_symbols(&whole, 4);
    let frame = whole.encode_symbols(&sent).unwrap();
    assert_eq!(same.encode_symbols(&sent).unwrap(), frame);
    let part = whole.for_part(1, 3).unwrap();
    assert_eq!(
        part.decode_symbols(&frame),
        Err(DecodeError::PartMismatch {
            found: [0, 0],
            allowed: [1, 3]
        })
    );
}

#[test]
fn parts_that_cannot_be_are_refused_and_packets_and_files_carry_none() {
    let whole = nested();
    for (rows, columns) in [(0, 1), (1, 0), (3, 1), (1, 4), (usize::MAX, 1)] {
        let found = [rows, columns];
        let allowed = [2, 3];
        let fault = PlanError::BadPart { found, allowed };
        assert_eq!(whole.for_part(rows, columns).unwrap_err(), fault);
    }
    // The smallest of these has 2x2 cells, another 6x5.
    assert!(matches!(
        bundle(1).for_part(1, 1),
        Err(PlanError::BadPart { .. })
    ));
    let part = whole.for_part(1, 2).unwrap();
    assert!(matches!(
        part.for_part(1, 1),
        Err(PlanError::BadPart { .. })
    ));
    let sent = nested_symbols(&part, 5);
    let latents = latents_of(&part, &sent);
    assert_eq!(
        part.encode_symbol_packets(&sent, 1),
        Err(EncodeError::Part { what: "packets" })
    );
    assert_eq!(
        part.encode_file(&[latents]),
        Err(EncodeError::Part { what: "a file" })
    );
    let packets = whole
        .encode_symbol_packets(&nested_symbols(&whole, 5), 1)
        .unwrap();
    assert!(matches!(
        part.gather(1).add(&packets[0]),
        Err(DecodeError::PartMismatch { .. })
    ));
}

#[test]
fn every_flipped_bit_costs_at_most_its_segment() {
    let codec = bundle(3);
    let sent = bundle_symbols(&codec, 7);
    for checksums in [Checksums::Frame, Checksums::Segment] {
        let codec = codec.clone().with_checksums(checksums);
        let frame = codec.encode_symbols(&sent).unwrap();
        let mut partly = 0;
        for index in 0..frame.len() {
            for bit in 0..8 {
                let mut damaged = frame.clone();
                damaged[index] ^= 1 << bit;
                assert!(codec.decode_symbols(&damaged).is_err(), "{index}, {bit}");
                let Ok(received) = codec.decode_partial(&damaged) else {
                    continue;
                };
                partly += 1;
                let lost = received.arrived().iter().filter(|&&here| !here).count();
                assert_eq!((checksums, lost), (Checksums::Segment, 1));
                let expected = with_fill(&codec, &sent, |index| received.arrived()[index]);
                assert_eq!(received.symbols(), expected);
            }
        }
        // All but the header's bytes belong to one segment.
        let header = 5 + 2 + 1 + 2 * codec.segment_count();
        let expected = if checksums == Checksums::Segment {
            8 * (frame.len() - header)
        } else {
            0
        };
        assert_eq!(partly, expected);
    }
}

#[test]
fn lost_packets_cost_their_segments_only() {
    let codec = bundle(4);
    let sent = bundle_symbols(&codec, 8);
    let latents = latents_of(&codec, &sent);
    let packets = codec.encode_packets(&latents, 513).unwrap();
    assert_eq!(packets, codec.encode_symbol_packets(&sent, 513).unwrap());
    assert_eq!(packets.len(), codec.segment_count());
    for lost in 0..1u32 << packets.len() {
        let arrives = |index: usize| lost >> index & 1 == 0;
        let mut gathering = codec.gather(513);
        // Backwards, and the first one that arrives twice.
        for (index, packet) in packets
            .iter()
            .enumerate()
            .rev()
            .filter(|(i, _)| arrives(*i))
        {
            assert_eq!(gathering.add(packet), Ok(true), "{index}");
            assert_eq!(gathering.add(packet), Ok(false), "{index}");
        }
        let missing: Vec<usize> = gathering.missing().collect();
        let expected: Vec<usize> = (0..packets.len()).filter(|&i| !arrives(i)).collect();
        assert_eq!(missing, expected);
        assert_eq!(gathering.is_whole(), expected.is_empty());
        if expected.len() == packets.len() {
            assert!(matches!(
                gathering.finish(),
                Err(DecodeError::NothingArrived { segments: 6 })
            ));
            continue;
        }
        let received = gathering.finish().unwrap();
        assert_eq!(received.symbols(), with_fill(&codec, &sent, arrives));
    }
}

#[test]
fn damaged_and_foreign_packets_are_refused_and_change_nothing() {
    let codec = bundle(5);
    let sent = bundle_symbols(&codec, 9);
    let packets = codec.encode_symbol_packets(&sent, 7).unwrap();
    let mut gathering = codec.gather(7);
    gathering.add(&packets[1]).unwrap();
    for packet in &packets {
        for index in 0..packet.len() {
            assert!(gathering.add(&packet[..index]).is_err());
            for bit in 0..8 {
                let mut damaged = packet.clone();
                damaged[index] ^= 1 << bit;
                assert!(gathering.add(&damaged).is_err(), "{index}, {bit}");
            }
        }
    }
    let other = codec.encode_symbol_packets(&sent, 8).unwrap();
    assert_eq!(
        gathering.add(&other[0]),
        Err(DecodeError::GroupMismatch {
            found: 8,
            allowed: 7
        })
    );
    let stranger = BundleCodec::new(codec.tensors().to_vec(), 300, 1).unwrap();
    let foreign = stranger.encode_symbol_packets(&sent, 7).unwrap();
    assert!(matches!(
        gathering.add(&foreign[0]),
        Err(DecodeError::BankMismatch { found: 1, .. })
    ));
    // A payload whose checksum is right, made with other tables.
    let liar = BundleCodec::new(bundle(77).tensors().to_vec(), 300, codec.bank()).unwrap();
    for packet in liar.encode_symbol_packets(&sent, 7).unwrap() {
        let _ = gathering.clone().add(&packet);
    }
    let received = gathering.finish().unwrap();
    assert_eq!(
        received.symbols(),
        with_fill(&codec, &sent, |index| index == 1)
    );
}

#[test]
fn frames_of_other_codecs_are_refused_and_both_sides_named() {
    let codec = bundle(6);
    let sent = bundle_symbols(&codec, 10);
    let frame = codec.encode_symbols(&sent).unwrap();
    let remade = |rung, bank| BundleCodec::new(codec.tensors().to_vec(), rung, bank).unwrap();
    assert!(matches!(
        remade(1, codec.bank()).decode(&frame),
        Err(DecodeError::RungMismatch {
            found: 300,
            allowed: 1
        })
    ));
    assert!(matches!(
        remade(300, 2).decode_partial(&frame),
        Err(DecodeError::BankMismatch { allowed: 2, .. })
    ));
    let fewer = BundleCodec::new(codec.tensors()[..2].to_vec(), 300, codec.bank()).unwrap();
    assert!(matches!(
        fewer.decode(&frame),
        Err(DecodeError::SegmentMismatch {
            found: 6,
            allowed: 5
        })
    ));
    assert!(matches!(
        fewer.encode_symbols(&sent),
        Err(EncodeError::TensorMismatch {
            found: 3,
            allowed: 2
        })
    ));
    let swapped = [sent[1].clone(), sent[0].clone(), sent[2].clone()];
    assert!(matches!(
        codec.encode_symbols(&swapped),
        Err(EncodeError::ShapeMismatch { .. })
    ));
}

#[test]
fn hostile_headers_of_bundles_and_packets_are_refused() {
    use split_tensor::{BundleRef, PacketRef};
    let bundle = |bytes: &[u8]| BundleRef::parse(bytes).unwrap_err();
    let packet = |bytes: &[u8]| PacketRef::parse(bytes).unwrap_err();
    assert!(matches!(
        bundle(&[0x40]),
        DecodeError::UnknownKind {
            found: 1,
            allowed: 2
        }
    ));
    assert!(matches!(
        packet(&[0x80]),
        DecodeError::UnknownKind {
            found: 2,
            allowed: 3
        }
    ));
    for first in [0x81, 0x84, 0xb0, 0xb8, 0x94] {
        assert_eq!(bundle(&[first]), DecodeError::ReservedBits { found: first });
    }
    assert_eq!(packet(&[0xd0]), DecodeError::ReservedBits { found: 0xd0 });
    // A part without rows or columns, or with too many.
    for (sides, what) in [
        (&[0, 2][..], "row count"),
        (&[2, 0], "column count"),
        (&[0x81, 0x80, 0x80, 0x08], "row count"),
    ] {
        let bytes = [&[0x88, 1, 2, 3, 4, 0], sides].concat();
        let fault = DecodeError::BadNumber {
            what,
            allowed: 1 << 24,
        };
        assert_eq!(bundle(&bytes), fault);
    }
    // No segments, too many, a wide descriptor, lengths that exceed the limit together.
    let head = [0x80, 1, 2, 3, 4, 0];
    let with = |rest: &[u8]| [head.as_slice(), rest].concat();
    assert!(matches!(
        bundle(&with(&[0])),
        DecodeError::BadNumber {
            what: "segment count",
            ..
        }
    ));
    let allowed = u32::try_from(MAX_SEGMENTS).unwrap();
    assert_eq!(
        bundle(&with(&[0x81, 0x08])),
        DecodeError::BadNumber {
            what: "segment count",
            allowed
        }
    );
    assert_eq!(
        bundle(&with(&[1, 16])),
        DecodeError::UnknownDescriptor { found: 16 }
    );
    assert!(matches!(
        bundle(&with(&[2, 0, 0x80, 0x80, 0x80, 0x20, 0, 1])),
        DecodeError::BadNumber {
            what: "segment length",
            allowed: 0
        }
    ));
    assert!(matches!(
        packet(&[0xc0, 1, 2, 3, 4, 0, 0, 0x80, 0x08]),
        DecodeError::BadNumber {
            what: "segment",
            ..
        }
    ));
}

#[test]
fn a_frame_carries_its_own_table_only_where_that_is_shorter() {
    let shape = shape(4, 48, 48);
    let set = TableSet::shared(FreqTable::from_counts(0, &[50, 30, 10, 5, 3, 2]).unwrap());
    let plan = TensorPlan::new(Quantizer::uniform(1.0).unwrap(), set.clone(), shape).unwrap();
    let codec = BundleCodec::new(vec![plan], 0, 0).unwrap();
    let adapting = codec.clone().with_own_tables(true);
    // As the table expects: nothing changes. Otherwise: much shorter, and still exact.
    let mut draws = Draws::new(3);
    let mut draw = |bounds: &[u64]| {
        let values = (0..shape.len()).map(|_| {
            let at = draws.below(100);
            i32::try_from(bounds.iter().filter(|&&bound| at >= bound).count()).unwrap()
        });
        vec![Symbols::new(shape, values.collect()).unwrap()]
    };
    let expected = draw(&[50, 80, 90, 95, 98]);
    let frame = codec.encode_symbols(&expected).unwrap();
    assert_eq!(adapting.encode_symbols(&expected).unwrap(), frame);
    let strange = draw(&[1, 2, 10, 20, 60]);
    let (long, short) = (
        codec.encode_symbols(&strange).unwrap(),
        adapting.encode_symbols(&strange).unwrap(),
    );
    assert!(
        short.len() * 10 < long.len() * 7,
        "{} {}",
        short.len(),
        long.len()
    );
    // Every codec reads such frames, also one that would not write them.
    assert_eq!(codec.decode_symbols(&short).unwrap(), strange);
    let mut payload = Vec::new();
    set.encode_adapting(&strange[0], Lanes::Small, &mut payload)
        .unwrap();
    assert_eq!(payload[..2], [15, 0]);
    assert_eq!(set.decode(shape, &payload).unwrap(), strange[0]);
    for index in 0..payload.len().min(200) {
        let _ = set.decode(shape, &payload[..index]);
        let mut damaged = payload.clone();
        damaged[index] ^= 1 << (index % 8);
        let _ = set.decode(shape, &damaged);
    }
}

#[test]
fn own_tables_that_ask_for_too_much_are_refused() {
    let shape = shape(20, 1, 1);
    let set = TableSet::shared(FreqTable::from_counts(0, &[1]).unwrap());
    let refused = |own: &TableSet, rest: &[u8]| {
        let bytes = own.to_bytes();
        let mut payload = vec![15, 0];
        let length = bytes.len();
        let low = u8::try_from(length & 127).unwrap();
        if length > 127 {
            payload.extend([low | 128, u8::try_from(length >> 7).unwrap()]);
        } else {
            payload.push(low);
        }
        payload.extend_from_slice(&bytes);
        payload.extend_from_slice(rest);
        set.decode(shape, &payload).unwrap_err()
    };
    let of = |count: u16| FreqTable::from_frequencies(0, &[count]).unwrap();
    let seventeen = (0..20).map(|channel| of(1 + channel.min(16))).collect();
    let seventeen = TableSet::per_channel(seventeen).unwrap();
    assert!(matches!(
        refused(&seventeen, &[0]),
        DecodeError::Table(split_tensor::TableError::BadTableCount {
            found: 17,
            allowed: 16
        })
    ));
    let contexts = common::smooth_set(common::shape(20, 4, 4));
    assert!(matches!(refused(&contexts, &[0]), DecodeError::Table(_)));
    let other = TableSet::per_channel(vec![of(7), of(9)]).unwrap();
    assert!(matches!(
        refused(&other, &[0]),
        DecodeError::ChannelMismatch {
            found: 20,
            allowed: 2
        }
    ));
    // Tables within tables, an unknown extension, nothing at all.
    assert_eq!(
        refused(&set, &[15, 0]),
        DecodeError::UnknownDescriptor { found: 15 }
    );
    for payload in [&[15u8, 1][..], &[15], &[15, 0, 5, 1]] {
        assert!(set.decode(shape, payload).is_err());
    }
}

#[test]
fn channels_are_ranked_by_the_error_they_take_away_for_a_bit() {
    let shape = shape(3, 4, 4);
    // Channel 0 is small, 1 constant at 5, 2 large.
    let samples: Vec<Symbols> = (0..10)
        .map(|seed| {
            let mut draws = Draws::new(seed);
            let mut values: Vec<i32> = (0..16).map(|_| draws.geometric(200)).collect();
            values.extend([5; 16]);
            values.extend((0..16).map(|_| 10 + 8 * draws.geometric(600)));
            Symbols::new(shape, values).unwrap()
        })
        .collect();
    let mut count = split_tensor::FrequencyCount::new(3).unwrap();
    samples.iter().for_each(|sample| count.add(sample).unwrap());
    let set = count.channel_tables(1.0).unwrap();
    let plan = TensorPlan::new(Quantizer::uniform(0.5).unwrap(), set, shape).unwrap();
    let ranked = plan.clone().ranked(&samples).unwrap();
    assert_eq!(ranked.order(), [2, 0, 1]);
    assert_eq!(ranked.fill()[..2], [0, 5]);
    let large = samples.iter().flat_map(|sample| &sample.values()[32..]);
    let mean = large.sum::<i32>() as f64 / 160.0;
    assert!((f64::from(ranked.fill()[2]) - mean).abs() <= 0.5);
    assert_eq!(
        plan.ranked(&[]),
        Err(PlanError::BadSamples { allowed: shape })
    );
}

#[test]
fn plans_that_do_not_add_up_are_refused() {
    let shape = shape(4, 2, 2);
    let step = Quantizer::uniform(1.0).unwrap();
    let plan = TensorPlan::new(step.clone(), tables(shape, 1, 300), shape).unwrap();
    for order in [vec![0, 1, 2], vec![0, 1, 2, 2], vec![0, 1, 2, 4], vec![]] {
        assert!(matches!(
            plan.clone().with_order(order),
            Err(PlanError::BadOrder { .. })
        ));
    }
    for segments in [&[4, 1][..], &[2, 0, 2], &[3], &[], &[usize::MAX, 5]] {
        assert!(matches!(
            plan.clone().with_segments(segments),
            Err(PlanError::BadSegments { allowed: 4, .. })
        ));
    }
    assert!(plan.clone().with_segments(&[0; MAX_SEGMENTS + 1]).is_err());
    assert!(plan.clone().with_fill(vec![0; 3]).is_err());
    let levels = split_tensor::ValueRange::new(0.0, 1.0).unwrap();
    let levels = Quantizer::clipped(levels, 4).unwrap();
    let clipped = TensorPlan::new(levels, tables(shape, 1, 300), shape).unwrap();
    assert_eq!(
        clipped.with_fill(vec![0, 3, 4, 0]),
        Err(PlanError::BadFill {
            found: 4,
            channel: 2
        })
    );
    let narrow = common::shape(3, 2, 2);
    assert!(matches!(
        TensorPlan::new(step, tables(shape, 1, 300), narrow),
        Err(PlanError::ChannelMismatch { what: "tables", .. })
    ));
    assert!(BundleCodec::new(Vec::new(), 0, 0).is_err());
    assert!(matches!(
        BundleCodec::new(vec![plan; 65], 0, 0),
        Err(PlanError::BadCount {
            what: "tensors",
            found: 65,
            allowed: 64
        })
    ));
}

fn read_file(bytes: &[u8], chunk: usize) -> Result<(FileReader, Vec<Vec<Symbols>>), DecodeError> {
    let mut reader = FileReader::new();
    let mut frames = Vec::new();
    for piece in bytes.chunks(chunk) {
        reader.push(piece);
        while let Some(frame) = reader.next_frame()? {
            frames.push(frame);
        }
    }
    Ok((reader, frames))
}

#[test]
fn a_file_decodes_alone_in_chunks_of_any_size() {
    let codec = bundle(7);
    let sent: Vec<Vec<Symbols>> = (20..23).map(|seed| bundle_symbols(&codec, seed)).collect();
    let groups: Vec<Vec<Latent>> = sent
        .iter()
        .map(|symbols| latents_of(&codec, symbols))
        .collect();
    for frames in 0..=groups.len() {
        let file = codec.encode_file(&groups[..frames]).unwrap();
        for chunk in [1, 7, file.len()] {
            let (mut reader, read) = read_file(&file, chunk).unwrap();
            assert_eq!(read, sent[..frames]);
            assert_eq!(reader.next_frame(), Ok(None));
            let found = reader.codec().unwrap();
            assert_eq!(found.tensors(), codec.tensors());
            assert_eq!((found.rung(), found.bank()), (codec.rung(), codec.bank()));
            reader.finish().unwrap();
        }
    }
}

#[test]
fn files_that_are_cut_damaged_or_too_long_are_refused() {
    let codec = bundle(8);
    let sent = bundle_symbols(&codec, 30);
    let file = codec.encode_file(&[latents_of(&codec, &sent)]).unwrap();
    for end in 0..file.len() {
        let (reader, frames) = read_file(&file[..end], 4096).unwrap();
        assert!(frames.is_empty());
        assert!(matches!(
            reader.finish(),
            Err(DecodeError::Truncated { .. })
        ));
    }
    for index in 0..file.len() {
        let mut damaged = file.clone();
        damaged[index] ^= 1 << (index % 8);
        let whole = read_file(&damaged, 4096).and_then(|(reader, _)| reader.finish());
        assert!(whole.is_err(), "byte {index}");
    }
    let longer = [file.as_slice(), &[0]].concat();
    let whole = read_file(&longer, 4096).and_then(|(reader, _)| reader.finish());
    assert_eq!(whole, Err(DecodeError::TrailingBytes { found: 1 }));
    let mut reader = FileReader::new();
    reader.push(b"\x93SPLT\r\n\x02");
    assert_eq!(
        reader.next_frame(),
        Err(DecodeError::NotALatentFile {
            found: 2,
            allowed: 1
        })
    );
    let mut reader = FileReader::new();
    reader.push(b"P6");
    assert!(matches!(
        reader.next_frame(),
        Err(DecodeError::NotALatentFile { found: 0, .. })
    ));
}

#[test]
fn a_reader_hands_out_frames_of_every_kind_without_a_copy() {
    let codec = bundle(9);
    let sent = bundle_symbols(&codec, 40);
    let alone = shape(2, 3, 3);
    let single = split_tensor::Codec::new(
        Quantizer::uniform(1.0).unwrap(),
        tables(alone, 4, 400),
        alone,
        3,
        9,
    )
    .unwrap();
    let lone = symbols(alone, 50, 400);
    let mut stream = single.encode_symbols(&lone).unwrap();
    stream.extend(codec.encode_symbols(&sent).unwrap());
    for packet in codec.encode_symbol_packets(&sent, 1).unwrap() {
        stream.extend(packet);
    }
    let partial = codec.clone().with_checksums(Checksums::Segment);
    let last = partial.encode_symbols(&sent).unwrap();
    stream.extend_from_slice(&last[..last.len() - 3]);
    for chunk in [1, 10, stream.len()] {
        let mut reader = FrameReader::new();
        let mut gathering = codec.gather(1);
        let mut kinds = String::new();
        for piece in stream.chunks(chunk) {
            reader.push(piece);
            while let Some(frame) = reader.next_ref().unwrap() {
                match frame {
                    FrameRef::Single(frame) => {
                        kinds.push('s');
                        assert_eq!(single.decode_ref(&frame).unwrap(), lone);
                    }
                    FrameRef::Bundle(frame) => {
                        kinds.push('b');
                        assert_eq!(codec.decode_ref(&frame).unwrap(), sent);
                    }
                    FrameRef::Packet(packet) => {
                        kinds.push('p');
                        assert_eq!(gathering.add_ref(&packet), Ok(true));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(kinds, "sbpppppp");
        assert!(gathering.finish().unwrap().is_whole());
        let unfinished = codec.decode_partial(reader.unfinished()).unwrap();
        assert_eq!(unfinished.arrived(), [true, true, true, true, true, false]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn bundles_carry_any_symbols_in_every_form(
        seed in any::<u64>(),
        kind in 0usize..3,
        lanes in 0u32..7,
        own_tables in any::<bool>(),
        strays in prop::collection::vec((any::<prop::sample::Index>(), -70_000i32..70_000), 0..4),
        cut in any::<prop::sample::Index>(),
        group in any::<u16>(),
    ) {
        let codec = bundle(seed % 4)
            .with_checksums(ALL_CHECKSUMS[kind])
            .with_lanes(Lanes::Exactly(1 << lanes))
            .with_own_tables(own_tables);
        let mut sent = bundle_symbols(&codec, seed);
        let mut values = sent[0].values().to_vec();
        for (at, stray) in strays {
            let at = at.index(values.len());
            values[at] = stray;
        }
        sent[0] = Symbols::new(sent[0].shape(), values).unwrap();
        let frame = codec.encode_symbols(&sent).unwrap();
        prop_assert_eq!(&codec.decode_symbols(&frame).unwrap(), &sent);
        let cut = &frame[..cut.index(frame.len())];
        if let Ok(received) = codec.decode_partial(cut) {
            let expected = with_fill(&codec, &sent, |index| received.arrived()[index]);
            prop_assert_eq!(received.symbols(), expected);
        }
        let mut gathering = codec.gather(group);
        for packet in codec.encode_symbol_packets(&sent, group).unwrap() {
            gathering.add(&packet).unwrap();
        }
        let received = gathering.finish().unwrap();
        prop_assert_eq!(received.symbols(), sent);
    }
}
