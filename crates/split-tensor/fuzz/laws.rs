//! What must hold for any bytes at all. Each law is a plain function: the fuzz targets call
//! it with what the fuzzer finds, the test `laws` with the corpus and seeded mutants of it.

#![allow(dead_code, reason = "every target uses its own law")]

use std::sync::OnceLock;

use split_tensor::{
    BundleCodec, Checksums, Codec, DecodeError, FileReader, FitConfig, FrameReader, FrameRef,
    FreqTable, Lanes, Latent, LatentShape, Quantizer, Symbols, TableSet, TensorPlan, ValueRange,
};

/// A law with the name of its target and of its corpus.
pub(crate) type Law = (&'static str, fn(&[u8]));

/// All laws.
pub(crate) const LAWS: [Law; 6] = [
    ("frame", frame),
    ("bundle", bundle),
    ("file", file),
    ("tables", tables),
    ("quantizer", quantizer),
    ("round_trip", round_trip),
];

fn shape(channels: usize, height: usize, width: usize) -> LatentShape {
    LatentShape::new(channels, height, width).expect("a valid shape")
}

/// Symbols from a formula, smooth and a little lively.
fn wave(shape: LatentShape, seed: usize) -> Symbols {
    let value = |at: usize| i32::try_from((at * at / 7 + at * seed + seed) % 11 / 3).unwrap_or(0);
    let values = (0..shape.len()).map(value).collect();
    Symbols::new(shape, values).expect("values fit")
}

/// A table for each channel, then contexts, then mixed predictions.
pub(crate) fn single_codecs() -> &'static [Codec; 3] {
    static CODECS: OnceLock<[Codec; 3]> = OnceLock::new();
    CODECS.get_or_init(|| {
        let shape = shape(3, 5, 6);
        let samples: Vec<Symbols> = (0..40).map(|seed| wave(shape, seed)).collect();
        [(false, false), (true, false), (true, true)].map(|(contexts, mixing)| {
            let config = FitConfig {
                contexts,
                mixing,
                ..FitConfig::default()
            };
            let set = TableSet::fit(&samples, &config).expect("samples of one shape");
            let step = Quantizer::uniform(0.5).expect("a valid step");
            Codec::new(step, set, shape, 1, 2).expect("tables fit")
        })
    })
}

/// Two tensors in three segments.
pub(crate) fn bundle_codec() -> &'static BundleCodec {
    static CODEC: OnceLock<BundleCodec> = OnceLock::new();
    CODEC.get_or_init(|| {
        let single = &single_codecs()[0];
        let first = TensorPlan::new(
            single.quantizer().clone(),
            single.tables().clone(),
            single.shape(),
        );
        let first = first
            .and_then(|plan| plan.with_order(vec![2, 0, 1]))
            .and_then(|plan| plan.with_segments(&[1, 2]));
        let range = ValueRange::new(0.0, 3.0).expect("a valid range");
        let levels = Quantizer::clipped(range, 4).expect("valid levels");
        let table = FreqTable::from_counts(0, &[8, 4, 2, 1]).expect("a valid table");
        let second = TensorPlan::new(levels, TableSet::shared(table), shape(2, 2, 2));
        let plans = [first, second].map(|plan| plan.expect("a valid plan"));
        BundleCodec::new(plans.into(), 1, 2)
            .expect("few segments")
            .with_checksums(Checksums::Segment)
    })
}

/// Symbols for both tensors of [`bundle_codec`].
pub(crate) fn bundle_symbols(seed: usize) -> [Symbols; 2] {
    [wave(shape(3, 5, 6), seed), wave(shape(2, 2, 2), seed)]
}

/// What is decoded has the codec's shape and survives another round; with a checksum, what
/// is decoded without an error was sent by someone who computed it.
pub(crate) fn frame(bytes: &[u8]) {
    for codec in single_codecs() {
        let Ok(symbols) = codec.decode_symbols(bytes) else {
            continue;
        };
        assert_eq!(symbols.shape(), codec.shape());
        let again = codec.encode_symbols(&symbols).expect("decoded symbols fit");
        assert_eq!(codec.decode_symbols(&again).as_ref(), Ok(&symbols));
        // Raw mode bounds every frame, whatever its symbols.
        assert!(again.len() <= 16 + 2 + symbols.values().len() * 26 / 8 + 1);
    }
    // Byte by byte equals all at once, for every kind of frame.
    let mut slow = FrameReader::new();
    let mut fast = FrameReader::new();
    fast.push(bytes);
    let mut from_slow = Vec::new();
    for byte in bytes {
        slow.push(&[*byte]);
        while let Some(found) = next_of(&mut slow) {
            let failed = found.starts_with("Err");
            from_slow.push(found);
            if failed {
                break;
            }
        }
        if from_slow
            .last()
            .is_some_and(|last: &String| last.starts_with("Err"))
        {
            break;
        }
    }
    let mut from_fast = Vec::new();
    while let Some(found) = next_of(&mut fast) {
        let failed = found.starts_with("Err");
        from_fast.push(found);
        if failed {
            break;
        }
    }
    assert_eq!(from_slow, from_fast);
}

fn next_of(reader: &mut FrameReader) -> Option<String> {
    match reader.next_ref() {
        Ok(None) => None,
        Ok(Some(FrameRef::Bundle(frame))) => Some(format!("{:?}", frame.segment_count())),
        Ok(Some(frame)) => Some(format!("{frame:?}")),
        // A bundle may be seen to be wrong before its end is there; which fault is named then
        // may differ, that there is one may not.
        Err(_) => Some("Err".to_owned()),
    }
}

/// A strict decode and a partial one agree; a partial one holds fill where it says so, and
/// packets change nothing where they are refused.
pub(crate) fn bundle(bytes: &[u8]) {
    let codec = bundle_codec();
    let whole = codec.decode_symbols(bytes);
    let partial = codec.decode_partial(bytes);
    if let Ok(symbols) = &whole {
        let partial = partial.as_ref().expect("the whole is there");
        assert!(partial.is_whole());
        assert_eq!(partial.symbols(), symbols);
    }
    if let Ok(received) = &partial {
        for (tensor, plan) in codec.tensors().iter().enumerate() {
            let planes = received.symbols()[tensor]
                .values()
                .chunks(plan.shape().height() * plan.shape().width());
            for ((plane, &fill), here) in planes.zip(plan.fill()).zip(received.present(tensor)) {
                assert!(*here || plane.iter().all(|&symbol| symbol == fill));
            }
        }
        // A level that does not exist is refused; everything else has a value.
        let _ = received.latents(codec);
    }
    let mut gathering = codec.gather(3);
    let before = gathering.missing().count();
    match gathering.add(bytes) {
        Ok(_) => assert_eq!(gathering.missing().count(), before - 1),
        Err(_) => {
            assert_eq!(gathering.missing().count(), before);
            assert!(matches!(
                gathering.finish(),
                Err(DecodeError::NothingArrived { .. })
            ));
        }
    }
}

/// A file gives the same frames in chunks and at once, what it gives is within its plans, and
/// its plans survive another file. Asked again with the checksum of the plans made right, so
/// that damaged plans are read too.
pub(crate) fn file(bytes: &[u8]) {
    check_file(bytes);
    if let Some(repaired) = with_right_checksum(bytes) {
        check_file(&repaired);
    }
}

fn check_file(bytes: &[u8]) {
    let read = |chunk: usize| {
        let mut reader = FileReader::new();
        let mut frames = Vec::new();
        for piece in bytes.chunks(chunk) {
            reader.push(piece);
            loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(_) => return (frames, false),
                }
            }
        }
        if let Some(codec) = reader.codec() {
            for frame in &frames {
                assert_eq!(frame.len(), codec.tensors().len());
            }
            let mut again = FileReader::new();
            again.push(&codec.file_head(0).expect("plans that were read are small"));
            assert_eq!(again.next_frame(), Ok(None));
            let again = again.codec().expect("the head is whole");
            assert_eq!(again.tensors(), codec.tensors());
        }
        let whole = reader.finish().is_ok();
        (frames, whole)
    };
    let chunk = usize::from(bytes.first().copied().unwrap_or(1) % 16) + 1;
    assert_eq!(read(chunk), read(bytes.len().max(1)));
}

/// The same bytes with the checksum behind the plans made right, where there is one.
fn with_right_checksum(bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut at, mut length) = (8, 0usize);
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 127) << (7 * (at - 8));
        at += 1;
        if byte < 128 {
            break;
        }
        if at == 12 {
            return None;
        }
    }
    let end = at + length;
    let mut sum = u32::MAX;
    for byte in bytes.get(..end)? {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82f6_3b78 * (sum & 1));
        }
    }
    let mut repaired = bytes.to_vec();
    let place = repaired.get_mut(end..end + 4)?;
    place.copy_from_slice(&(!sum).to_le_bytes());
    Some(repaired)
}

/// Tables that are read write the same bytes, and code any symbols.
pub(crate) fn tables(bytes: &[u8]) {
    let Ok(set) = TableSet::from_bytes(bytes) else {
        return;
    };
    assert_eq!(set.to_bytes(), bytes);
    let channels = set.channels().unwrap_or(2);
    if channels > 64 {
        return;
    }
    let shape = shape(channels, 3, 3);
    let values = (0..shape.len()).map(|at| i32::try_from(at * 37 % 23).unwrap_or(0) - 5);
    let sent = Symbols::new(shape, values.collect()).expect("values fit");
    for lanes in [1, 4] {
        let mut payload = Vec::new();
        set.encode_with(&sent, Lanes::Exactly(lanes), &mut payload)
            .expect("as many channels");
        assert_eq!(set.decode(shape, &payload).as_ref(), Ok(&sent));
    }
}

/// A quantizer that is read survives its own bytes, and what it restores it finds again or
/// refuses by name.
pub(crate) fn quantizer(bytes: &[u8]) {
    let Ok(quantizer) = Quantizer::from_bytes(bytes) else {
        return;
    };
    let again = Quantizer::from_bytes(&quantizer.to_bytes());
    assert_eq!(again.as_ref(), Ok(&quantizer));
    let channels = quantizer.channels().unwrap_or(1);
    let shape = shape(channels, 1, 4);
    let values = [0.0f32, -0.75, 1e-3, 300.0];
    let values = (0..shape.len()).map(|at| values[at % 4]).collect();
    let latent = Latent::new(shape, values).expect("values fit");
    if let Ok(symbols) = quantizer.quantize(&latent) {
        if let Some((min, max)) = quantizer.symbol_range() {
            assert!(symbols.values().iter().all(|s| (min..=max).contains(s)));
        }
        let _ = quantizer.dequantize(&symbols);
    }
}

/// Whatever the bytes say is sent comes back; cut or with one bit flipped it never comes back
/// as something else.
pub(crate) fn round_trip(bytes: &[u8]) {
    let [choice, at, bit, rest @ ..] = bytes else {
        return;
    };
    let codec = &single_codecs()[usize::from(choice % 3)];
    let shape = codec.shape();
    // Small symbols for the most part, now and then a large one.
    let value = |index: usize| {
        let byte = rest.get(index % rest.len().max(1)).copied().unwrap_or(0);
        match byte {
            0..=250 => i32::from(byte % 7) - 1,
            _ => (i32::from(byte) - 253) * 1_000_003,
        }
    };
    let sent = Symbols::new(shape, (0..shape.len()).map(value).collect()).expect("values fit");
    let codec = codec
        .clone()
        .with_lanes(Lanes::Exactly(1 << (choice / 2 % 7)))
        .with_own_tables(choice & 128 != 0);
    let frame = codec.encode_symbols(&sent).expect("the codec's shape");
    assert_eq!(codec.decode_symbols(&frame).as_ref(), Ok(&sent));
    let at = usize::from(*at) % frame.len();
    assert!(codec.decode_symbols(&frame[..at]).is_err());
    let mut damaged = frame;
    damaged[at] ^= 1 << (bit % 8);
    assert!(codec.decode_symbols(&damaged).is_err());
}
