//! Hostile and damaged bytes: an error, never a panic, never a wrong answer passed off as right.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail loudly")]

mod common;

use common::{shape, symbols, tables};
use split_tensor::{
    Codec, DecodeError, Frame, FrameHeader, FrameReader, LatentShape, MAX_PAYLOAD_BYTES, Quantizer,
    Symbols, TableError, TableSet,
};

fn codec(shape: LatentShape) -> Codec {
    let set = tables(shape, 3, 500);
    Codec::new(
        Quantizer::uniform(1.0).unwrap(),
        set,
        shape,
        12,
        0xabcd_ef01,
    )
    .unwrap()
}

#[test]
fn every_flipped_bit_of_a_checked_frame_is_refused() {
    let shape = shape(3, 6, 6);
    let codec = codec(shape);
    let sent = symbols(shape, 40, 500);
    let frame = codec.encode_symbols(&sent).unwrap();
    for index in 0..frame.len() {
        for bit in 0..8 {
            let mut damaged = frame.clone();
            damaged[index] ^= 1 << bit;
            assert!(
                codec.decode_symbols(&damaged).is_err(),
                "byte {index}, bit {bit}"
            );
        }
    }
}

#[test]
fn flipped_bits_without_a_checksum_never_panic() {
    for (channels, lively) in [(3, 500), (40, 900)] {
        let shape = shape(channels, 12, 12);
        let codec = codec(shape).with_checksum(false);
        let frame = codec.encode_symbols(&symbols(shape, 41, lively)).unwrap();
        for index in 0..frame.len() {
            let mut damaged = frame.clone();
            damaged[index] ^= 1 << (index % 8);
            if let Ok(symbols) = codec.decode_symbols(&damaged) {
                assert_eq!(symbols.shape(), shape);
            }
        }
    }
}

#[test]
fn every_cut_frame_is_refused_as_truncated() {
    let shape = shape(3, 6, 6);
    let codec = codec(shape);
    let frame = codec.encode_symbols(&symbols(shape, 42, 500)).unwrap();
    for end in 0..frame.len() {
        let fault = codec.decode_symbols(&frame[..end]).unwrap_err();
        let DecodeError::Truncated { found, needed } = fault else {
            panic!("{fault} for {end} bytes");
        };
        assert_eq!(found, end);
        assert!(needed > end && needed <= frame.len());
    }
    let longer = [frame.as_slice(), &[0]].concat();
    assert_eq!(
        codec.decode(&longer),
        Err(DecodeError::TrailingBytes { found: 1 })
    );
}

#[test]
fn cut_payloads_never_panic_and_are_mostly_refused() {
    // Without its frame a payload has no length and no checksum, only the coder's own checks.
    let shape = shape(5, 9, 9);
    let set = tables(shape, 3, 700);
    let mut payload = Vec::new();
    set.encode_into(&symbols(shape, 43, 700), &mut payload)
        .unwrap();
    let passed = (0..payload.len()).filter(|&end| set.decode(shape, &payload[..end]).is_ok());
    assert!(passed.count() * 20 < payload.len());
}

#[test]
fn frames_of_others_are_refused_and_both_sides_named() {
    let shape = shape(3, 6, 6);
    let ours = codec(shape);
    let remade = |rung, bank| {
        Codec::new(
            ours.quantizer().clone(),
            ours.tables().clone(),
            shape,
            rung,
            bank,
        )
        .unwrap()
    };
    let sent = symbols(shape, 44, 500);
    assert_eq!(
        ours.decode(&remade(13, ours.bank()).encode_symbols(&sent).unwrap()),
        Err(DecodeError::RungMismatch {
            found: 13,
            allowed: 12
        })
    );
    assert_eq!(
        ours.decode(&remade(12, 5).encode_symbols(&sent).unwrap()),
        Err(DecodeError::BankMismatch {
            found: 5,
            allowed: 0xabcd_ef01
        })
    );
    let other = LatentShape::new(3, 6, 7).unwrap();
    let header = FrameHeader {
        rung: 12,
        bank: ours.bank(),
        shape: Some(other),
        checksum: false,
    };
    let frame = Frame::new(header, vec![0]).unwrap();
    assert_eq!(
        ours.decode_frame(&frame),
        Err(DecodeError::ShapeMismatch {
            found: other,
            allowed: shape
        })
    );
    let message = ours.decode_frame(&frame).unwrap_err().to_string();
    assert!(
        message.contains("3x6x7") && message.contains("3x6x6"),
        "{message}"
    );
}

#[test]
fn a_frame_names_its_shape_where_asked() {
    let wide = shape(200, 3, 1000);
    let header = FrameHeader {
        rung: 40_000,
        bank: 1,
        shape: Some(wide),
        checksum: true,
    };
    let frame = Frame::new(header, vec![0, 1, 2, 3]).unwrap();
    let bytes = frame.to_bytes();
    assert_eq!(Frame::parse(&bytes), Ok((frame, &[][..])));
}

#[test]
fn hostile_headers_are_refused_before_anything_is_allocated() {
    let long = |length: u32| {
        let mut bytes = vec![0x40, 0, 0, 0, 0, 0];
        let mut rest = length;
        while rest >= 128 {
            bytes.push((rest & 127) as u8 | 128);
            rest >>= 7;
        }
        bytes.push(u8::try_from(rest).unwrap());
        bytes
    };
    let limit = u32::try_from(MAX_PAYLOAD_BYTES).unwrap();
    assert!(matches!(
        Frame::parse(&long(limit + 1)),
        Err(DecodeError::BadNumber { what: "payload length", allowed }) if allowed == limit
    ));
    let mut reader = FrameReader::new();
    reader.push(&long(limit));
    assert_eq!(reader.next_frame(), Ok(None));
    for (bytes, what) in [
        (&[0x40, 0, 0, 0, 0, 0x80, 0x80, 0x04][..], "rung"),
        (&[0x40, 0, 0, 0, 0, 0x80, 0x00], "rung"),
        (&[0x50, 0, 0, 0, 0, 0, 0x81, 0x80, 0x01], "channel count"),
    ] {
        let fault = Frame::parse(bytes).unwrap_err();
        assert!(
            matches!(fault, DecodeError::BadNumber { what: w, .. } if w == what),
            "{fault}"
        );
    }
    assert!(matches!(
        Frame::parse(&[0x50, 0, 0, 0, 0, 0, 0, 1, 1, 0]),
        Err(DecodeError::Shape(_))
    ));
    for kind in [0, 2, 3] {
        assert_eq!(
            Frame::parse(&[kind << 6]),
            Err(DecodeError::UnknownKind {
                found: kind,
                allowed: 1
            })
        );
    }
}

#[test]
fn hostile_payloads_are_refused() {
    let shape = shape(1, 2, 2);
    let set = tables(shape, 3, 500);
    let corrupt = |payload: &[u8]| {
        assert!(set.decode(shape, payload).is_err(), "{payload:?}");
    };
    corrupt(&[]);
    // Unknown descriptors.
    corrupt(&[15]);
    corrupt(&[16]);
    // A state with a zero byte on top, and one of 2^31.
    corrupt(&[0, 5, 0]);
    corrupt(&[0, 0, 0, 0, 0x80]);
    // Raw: too wide, cut, too long, not minimal, symbol too large.
    corrupt(&[7, 27, 0, 0, 0]);
    corrupt(&[7, 8, 1, 1, 1]);
    corrupt(&[7, 8, 1, 1, 1, 255, 0]);
    corrupt(&[7, 8, 1, 1, 1, 1]);
    corrupt(&[[7, 26].as_slice(), &[0xff; 13]].concat());
    // Escape bytes longer than what is there.
    corrupt(&[8, 200, 1]);
    // Escape bits although no escape was coded.
    corrupt(&[8, 1, 0]);
}

#[test]
fn table_sets_refuse_what_their_writer_never_writes() {
    let unknown_version = TableSet::from_bytes(&[9, 0, 0, 1, 1]);
    assert_eq!(
        unknown_version,
        Err(TableError::UnknownVersion {
            found: 9,
            allowed: 1
        })
    );
    assert_eq!(
        TableSet::from_bytes(&[1, 200]),
        Err(TableError::UnknownLayout { found: 200 })
    );
    // Full without an escape.
    assert!(matches!(
        TableSet::from_bytes(&[1, 0, 0, 2, 0x80, 0x10, 0x80, 0x10]),
        Err(TableError::BadTotal { found: 4096, .. })
    ));
    // An escape that takes all slots: its frequency would not fit the entries of a coder.
    assert!(matches!(
        split_tensor::FreqTable::from_frequencies(0, &[0]),
        Err(TableError::BadTotal { found: 0, .. })
    ));
    assert!(matches!(
        TableSet::from_bytes(&[1, 0, 0, 1, 0]),
        Err(TableError::BadTotal { found: 0, .. })
    ));
    // A table that no channel uses, the same table twice, bytes left over.
    assert!(TableSet::from_bytes(&[1, 1, 1, 2, 0, 0, 1, 1, 0, 1, 2]).is_err());
    assert!(TableSet::from_bytes(&[1, 1, 2, 2, 0, 1, 0, 1, 1, 0, 1, 1]).is_err());
    assert!(TableSet::from_bytes(&[1, 0, 0, 1, 1, 0]).is_err());
    assert!(TableSet::from_bytes(&[1, 0, 0, 1, 1]).is_ok());
}

#[test]
fn channels_that_disagree_are_refused_at_every_door() {
    let set = tables(shape(3, 2, 2), 1, 300);
    let four = shape(4, 2, 2);
    let symbols = Symbols::new(four, vec![0; 16]).unwrap();
    assert!(set.encode_into(&symbols, &mut Vec::new()).is_err());
    assert!(set.decode(four, &[0]).is_err());
    assert!(matches!(
        Codec::new(Quantizer::uniform(1.0).unwrap(), set, four, 0, 0),
        Err(TableError::ChannelMismatch {
            found: 3,
            allowed: 4
        })
    ));
}
