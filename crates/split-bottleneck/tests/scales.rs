//! Several tensors across one cut: a map, a segment and a loss of its own for each.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail loudly")]

mod common;

use burn::tensor::{Device, Tensor, s};
use common::{CHANNELS, SIDE, cache, config, run};
use split_bottleneck::{
    ActivationCache, BackboneNote, Bank, CodingError, ConfigError, DecoderKind, EncoderKind,
    IntegerEncoder, IntegerError, Klt, KltError, MAX_SCALES, Objective, Rung, RungCodec, Scale,
    ScaleList, TablePictures, Training, UnitConfig, evaluate, relative_error,
};
use split_tensor::{BundleRef, Checksums, FrameRef};

const PICTURES: usize = 64;

fn list(sizes: &[[usize; 2]]) -> ScaleList {
    let scales = sizes
        .iter()
        .map(|&[channels, latent]| Scale { channels, latent });
    ScaleList::new(&scales.collect::<Vec<_>>()).unwrap()
}

fn unit(sizes: &[[usize; 2]], step: f32) -> UnitConfig {
    UnitConfig::scales(list(sizes), [SIDE, SIDE], step, 1)
}

fn bank_of(rung: Rung) -> Bank {
    let note = BackboneNote {
        name: "toy".to_owned(),
        split: "scales".to_owned(),
        weights_sha256: "00".to_owned(),
    };
    Bank::new(note, vec![rung]).unwrap()
}

fn fitted(unit: &UnitConfig, cache: &ActivationCache, mixing: bool) -> Rung {
    let device = Device::flex();
    let klt = Klt::for_unit(cache, unit, PICTURES).unwrap();
    let weights = klt.weights(unit, 3, &device).unwrap();
    let pictures = TablePictures {
        cache,
        limit: PICTURES,
        mixing,
        device: &device,
    };
    Rung::fitted("k", "pca", unit, &weights, pictures).unwrap()
}

fn codec(rung: Rung) -> RungCodec {
    let bytes = bank_of(rung).to_bytes().unwrap();
    let bank = Bank::from_bytes(&bytes).unwrap();
    bank.open(0, &Device::flex()).unwrap()
}

fn activations(cache: &ActivationCache, count: usize) -> Tensor<4> {
    let indices: Vec<usize> = (0..count).collect();
    cache.batch(&indices, &Device::flex()).activation
}

fn largest(tensor: Tensor<4>) -> f32 {
    tensor.abs().max().into_scalar()
}

#[test]
fn all_components_of_every_tensor_restore_the_activation() {
    let cache = cache(PICTURES, &Device::flex());
    let unit = UnitConfig {
        decoder: DecoderKind::Patch { rectified: true },
        ..unit(&[[3, 3], [2, 2], [1, 1]], 1e-3)
    };
    let codec = codec(fitted(&unit, &cache, false));
    let activation = activations(&cache, 4);
    let frames = codec.encode(activation.clone()).unwrap();
    let error = largest(codec.decode(&frames).unwrap() - activation);
    assert!(error < 3e-3, "{error}");
}

#[test]
fn a_latent_hangs_on_its_own_tensor_alone_and_has_a_segment_of_its_own() {
    let device = Device::flex();
    let cache = cache(PICTURES, &device);
    let unit = unit(&[[3, 2], [2, 2], [1, 1]], 0.1);
    assert_eq!(unit.segments(), [2, 2, 1]);
    assert_eq!(unit.encoder_macs(), SIDE * SIDE * (3 * 2 + 2 * 2 + 1));
    for mixing in [false, true] {
        let codec = codec(fitted(&unit, &cache, mixing));
        assert!(mixing || !codec.codec().tables().mixes());
        let activation = activations(&cache, 1);
        // Another second tensor, the same first and third.
        let noise = activations(&cache, 2).slice(s![1..2, 3..5]);
        let changed = activation.clone().slice_assign(s![.., 3..5], noise);
        let [one, other] = [activation, changed].map(|x| codec.unit_latent(x).unwrap());
        let difference = |from: usize, to: usize| {
            let part = |x: &Tensor<4>| x.clone().slice(s![.., from..to]);
            largest(part(&one) - part(&other))
        };
        assert!(difference(0, 2).to_bits() == 0 && difference(4, 5).to_bits() == 0);
        assert!(difference(2, 4) > 0.01);

        // A damaged segment costs the tensor that it is of.
        let symbols = codec.symbols(activations(&cache, 1)).unwrap();
        let bundle = codec.bundle().unwrap();
        let apart = bundle.clone().with_checksums(Checksums::Segment);
        let mut frame = apart.encode_symbols(&symbols).unwrap();
        let parsed = BundleRef::parse(&frame).unwrap().0;
        assert_eq!(parsed.segment_count(), 3);
        let second = parsed.segments().nth(1).unwrap().body;
        let begin = frame
            .windows(second.len())
            .position(|bytes| bytes == second)
            .unwrap();
        frame[begin] ^= 1;
        let received = apart.decode_partial(&frame).unwrap();
        assert_eq!(received.present(0), [true, true, false, false, true]);
        let plane = SIDE * SIDE;
        let (found, sent) = (received.symbols()[0].values(), symbols[0].values());
        assert_eq!(found[..2 * plane], sent[..2 * plane]);
        assert_eq!(found[4 * plane..], sent[4 * plane..]);
        assert!(found[2 * plane..4 * plane].iter().all(|&fill| fill == 0));

        // Sizes add up, and the estimate is what the segments take.
        let frame = codec.encode_symbols(&symbols[0]).unwrap();
        assert_eq!(codec.decode_symbols(&frame).unwrap(), symbols[0]);
        let payload = FrameRef::parse(&frame).unwrap().0.payload_bytes();
        let bits = codec.code_length_bits(&symbols[0]).unwrap();
        // Raw symbols may take less than the tables say.
        let share = payload as f64 / (bits / 8.0);
        assert!((0.8..1.05).contains(&share), "{share}");
        assert!(frame.len() - payload < 24);
    }
}

#[test]
fn training_starts_from_components_and_lowers_the_loss() {
    let plain = Device::flex();
    let cache = cache(PICTURES, &plain);
    let unit = unit(&[[4, 3], [2, 2]], 0.25);
    let settings = config(60, Objective::Lambda(0.01));
    let klt = Klt::for_unit(&cache, &unit, PICTURES).unwrap();
    let warm = klt.warm_start(&unit, &settings, &cache, &plain).unwrap();
    let device = plain.clone().autodiff();
    let mut training = Training::start(&unit, &settings, Some(&warm), &cache, &device).unwrap();
    let first = run(&mut training, &cache, 1, &device);
    let last = run(&mut training, &cache, 59, &device);
    assert!(last < first && first < 0.3, "{first} to {last}");
    let rung =
        Rung::from_training("one", "unit", &unit, &training, &cache, PICTURES, &plain).unwrap();
    let integer = IntegerEncoder::fit(&rung, &cache, PICTURES).err();
    assert!(
        matches!(integer, Some(IntegerError::Unsupported { .. })),
        "{integer:?}"
    );
    let codec = codec(rung);
    let found = evaluate(&codec, &common::ToyTail::new(&plain), &cache, &plain).unwrap();
    assert!(found.mean_payload_bytes() < found.mean_bytes());
    let activation = activations(&cache, PICTURES);
    let restored = codec
        .decode(&codec.encode(activation.clone()).unwrap())
        .unwrap();
    let error: f32 = relative_error(restored, activation).into_scalar();
    assert!(error < 0.2, "{error}");
}

#[test]
fn tensors_that_do_not_add_up_are_refused_by_name() {
    let cache = cache(PICTURES, &Device::flex());
    let good = unit(&[[4, 3], [2, 2]], 0.25);
    let with = |sizes: &[[usize; 2]]| UnitConfig {
        encoder: EncoderKind::Scales { list: list(sizes) },
        ..good.clone()
    };
    for (wrong, field) in [
        (with(&[[4, 3], [3, 2]]), "activation channels"),
        (with(&[[4, 3], [2, 1]]), "latent channels"),
    ] {
        let error = wrong.latent_shape().unwrap_err();
        assert!(
            matches!(&error, ConfigError::Scales { field: found, .. } if *found == field),
            "{error}"
        );
        let error = Klt::for_unit(&cache, &wrong, PICTURES).unwrap_err();
        assert!(matches!(error, KltError::Config(_)), "{error}");
    }
    let huge = with(&[[usize::MAX, 3], [7, 2]]).latent_shape();
    assert!(matches!(huge, Err(ConfigError::TooLarge { .. })));
    let empty = with(&[[CHANNELS, 5], [0, 0]]).latent_shape();
    assert!(matches!(empty, Err(ConfigError::Zero { .. })));
    let strided = UnitConfig {
        stride: 2,
        ..good.clone()
    };
    assert!(matches!(
        strided.latent_shape(),
        Err(ConfigError::Stride { stride: 2, .. })
    ));
    for count in [0, MAX_SCALES + 1] {
        let scales = vec![Scale::default(); count];
        assert_eq!(ScaleList::new(&scales).unwrap_err().found, count);
        let text = serde_json::to_string(&scales).unwrap();
        let error = serde_json::from_str::<ScaleList>(&text).unwrap_err();
        assert!(error.to_string().contains("tensors in a cut"), "{error}");
    }
    // A frame of one tensor is none of these.
    let codec = codec(fitted(&good, &cache, false));
    let symbols = codec.symbols(activations(&cache, 1)).unwrap();
    let single = codec.codec().encode_symbols(&symbols[0]).unwrap();
    assert!(matches!(
        codec.decode(&[single]),
        Err(CodingError::Decode(_))
    ));
}
