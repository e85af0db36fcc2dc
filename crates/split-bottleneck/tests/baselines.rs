//! Laws of untrained units and rivals: the closed form is what it claims, loops are closed.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail loudly")]

mod common;

use burn::tensor::Device;
use common::{cache, config, distortion, run};
use split_bottleneck::{
    ActivationCache, BackboneNote, Bank, DecoderKind, EncoderKind, HuffmanRival, IntegerEncoder,
    IntegerError, Klt, KltError, Objective, Rung, TablePictures, Training, UnitConfig,
    activation_latent_shape, evaluate, evaluate_symbols, evaluate_without_unit,
};
use split_tensor::{Codec, FreqTable, Quantizer, TableSet, ValueRange};

const PICTURES: usize = 48;

fn bank_of(rungs: Vec<Rung>) -> Bank {
    let note = BackboneNote {
        name: "toy".to_owned(),
        split: "stem".to_owned(),
        weights_sha256: "00".to_owned(),
    };
    Bank::new(note, rungs).unwrap()
}

fn pictures<'a>(cache: &'a ActivationCache, device: &'a Device) -> TablePictures<'a> {
    TablePictures {
        cache,
        limit: PICTURES,
        mixing: false,
        device,
    }
}

fn trained(unit: &UnitConfig, cache: &ActivationCache, steps: usize) -> Rung {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let settings = config(steps, Objective::Lambda(0.02));
    let mut training = Training::start(unit, &settings, None, cache, &device).unwrap();
    run(&mut training, cache, steps, &device);
    Rung::from_training("one", "unit", unit, &training, cache, PICTURES, &plain).unwrap()
}

/// Squared error of restored activations, mean over patches.
fn squared_error(rung: &Rung, cache: &ActivationCache, patches: f64) -> f64 {
    let plain = Device::flex();
    let codec = bank_of(vec![rung.clone()]).open(0, &plain).unwrap();
    let indices: Vec<usize> = (0..cache.len()).collect();
    let activation = cache.batch(&indices, &plain).activation;
    let frames = codec.encode(activation.clone()).unwrap();
    let restored = codec.decode(&frames).unwrap();
    let sum: f32 = (restored - activation).powi_scalar(2).sum().into_scalar();
    f64::from(sum) / patches
}

#[test]
fn mixing_is_taken_where_held_out_pictures_gain_and_frames_get_smaller() {
    const MANY: usize = 96;
    let plain = Device::flex();
    let cache = cache(MANY, &plain);
    let klt = Klt::fit(&cache, 1, MANY).unwrap();
    // Fine steps leave symbols that neighbours hardly foretell; coarse ones many equal symbols.
    for (step, gains) in [(0.02, false), (0.5, true)] {
        let unit = klt.unit(4, step);
        let weights = klt.weights(&unit, 0, &plain).unwrap();
        let bytes = [false, true].map(|mixing| {
            let source = TablePictures {
                limit: MANY,
                mixing,
                ..pictures(&cache, &plain)
            };
            let rung = Rung::fitted("one", "pca", &unit, &weights, source).unwrap();
            assert_eq!(rung.tables.mixes(), mixing && gains, "step {step}");
            let codec = bank_of(vec![rung]).open(0, &plain).unwrap();
            let result = evaluate(&codec, &distortion(&plain).tail, &cache, &plain).unwrap();
            result.payload_bytes.iter().sum::<usize>()
        });
        assert_eq!(bytes[1] < bytes[0], gains, "step {step}: {bytes:?}");
    }
}

#[test]
fn dropped_components_cost_exactly_their_variance() {
    let plain = Device::flex();
    let cache = cache(PICTURES, &plain);
    let stride = 2;
    let klt = Klt::fit(&cache, stride, PICTURES).unwrap();
    let side = cache.shape().height / stride;
    let patches = (PICTURES * side * side) as f64;
    let total = klt.variances().len();
    assert_eq!(total, cache.shape().channels * stride * stride);
    for kept in [total, 7, 2] {
        let unit = UnitConfig {
            decoder: DecoderKind::Patch { rectified: false },
            ..klt.unit(kept, 1e-3)
        };
        let weights = klt.weights(&unit, 0, &plain).unwrap();
        let rung = Rung::fitted("k", "pca", &unit, &weights, pictures(&cache, &plain)).unwrap();
        let dropped: f64 = klt.variances()[kept..].iter().sum();
        let found = squared_error(&rung, &cache, patches);
        assert!(
            (found - dropped).abs() < 1e-3 + 1e-3 * dropped,
            "{found} for {dropped}"
        );
    }
}

#[test]
fn refined_sides_start_where_the_transform_is_and_learn_from_there() {
    let plain = Device::flex();
    let cache = cache(PICTURES, &plain);
    let klt = Klt::fit(&cache, 2, PICTURES).unwrap();
    let plain_unit = klt.unit(6, 0.25);
    let refined = UnitConfig {
        decoder: DecoderKind::Refined {
            hidden: 12,
            blocks: 1,
            gdn: true,
            rectified: true,
        },
        ..plain_unit.clone()
    };
    let both = UnitConfig {
        encoder: EncoderKind::Refined { hidden: 12 },
        ..refined.clone()
    };
    let attentive = UnitConfig {
        decoder: DecoderKind::Attentive {
            hidden: 12,
            blocks: 1,
            heads: 3,
            rectified: true,
        },
        ..both.clone()
    };
    let fitted = |unit: &UnitConfig| {
        let weights = klt.weights(unit, 3, &plain).unwrap();
        Rung::fitted("k", "pca", unit, &weights, pictures(&cache, &plain)).unwrap()
    };
    let untrained = squared_error(&fitted(&plain_unit), &cache, 1.0);
    let device = plain.clone().autodiff();
    let settings = config(60, Objective::Lambda(0.01));
    for unit in [&refined, &both, &attentive] {
        let error = squared_error(&fitted(unit), &cache, 1.0);
        assert!(
            (error - untrained).abs() < 1e-3 * untrained,
            "{unit:?}: {error} for {untrained}"
        );
        let warm = klt.warm_start(unit, &settings, &cache, &plain).unwrap();
        let mut training = Training::start(unit, &settings, Some(&warm), &cache, &device).unwrap();
        let first = run(&mut training, &cache, 1, &device);
        let last = run(&mut training, &cache, 59, &device);
        assert!(first < 0.2, "components restore most at once: {first}");
        assert!(last < first, "from {first} to {last}");
    }
    let wrong = UnitConfig::patch(cache.shape(), 6, 4, 0.25);
    let error = klt.weights(&wrong, 0, &plain).unwrap_err();
    assert!(matches!(error, KltError::Layout { .. }), "{error}");
}

#[test]
fn light_encoders_and_refined_decoders_learn_with_and_without_normalisation() {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let cache = cache(64, &plain);
    for gdn in [false, true] {
        let unit = UnitConfig {
            encoder: EncoderKind::Light {
                hidden: 12,
                groups: 3,
                gdn,
            },
            decoder: DecoderKind::Refined {
                hidden: 12,
                blocks: 1,
                gdn,
                rectified: true,
            },
            ..UnitConfig::conv(cache.shape(), 4, 2, 0.5)
        };
        let settings = config(150, Objective::Lambda(0.02));
        let mut training = Training::start(&unit, &settings, None, &cache, &device).unwrap();
        let first = run(&mut training, &cache, 1, &device);
        let last = run(&mut training, &cache, 149, &device);
        assert!(last < 0.5 * first, "gdn {gdn}: from {first} to {last}");
    }
    let odd = UnitConfig {
        encoder: EncoderKind::Light {
            hidden: 12,
            groups: 5,
            gdn: false,
        },
        ..UnitConfig::conv(cache.shape(), 4, 2, 0.5)
    };
    assert!(odd.latent_shape().is_err());
}

#[test]
fn a_start_takes_the_step_that_gives_the_bits_asked_for() {
    let plain = Device::flex();
    let cache = cache(PICTURES, &plain);
    let klt = Klt::fit(&cache, 2, PICTURES).unwrap();
    let unit = klt.unit(6, 0.25);
    let settings = config(1, Objective::Lambda(0.01));
    let warm = || klt.warm_start(&unit, &settings, &cache, &plain).unwrap();
    let mut steps = Vec::new();
    for asked in [400.0, 200.0, 100.0] {
        let (config, start) = warm()
            .at_bits(&unit, &settings, asked, &cache, &plain)
            .unwrap();
        let rung =
            Rung::fitted("k", "pca", &config, &start.unit, pictures(&cache, &plain)).unwrap();
        let codec = bank_of(vec![rung]).open(0, &plain).unwrap();
        let tail = distortion(&plain).tail;
        let found = evaluate(&codec, &tail, &cache, &plain).unwrap();
        let bits = found.estimated_bits.iter().sum::<f64>() / PICTURES as f64;
        assert!((bits / asked - 1.0).abs() < 0.1, "{bits} for {asked}");
        assert_ne!(start.rate, warm().rate, "the rate model begins anew");
        steps.push(config.step);
    }
    assert!(steps.is_sorted(), "{steps:?}");
    let (furthest, _) = warm()
        .at_bits(&unit, &settings, 1e-3, &cache, &plain)
        .unwrap();
    assert!(furthest.step <= 0.25 * 32.0, "{}", furthest.step);
}

#[test]
fn light_units_cost_the_device_less_than_full_convolutions() {
    let shape = cache(1, &Device::flex()).shape();
    let light = UnitConfig::light(shape, 4, 2, 0.5, 2);
    let conv = UnitConfig::conv(shape, 4, 2, 0.5);
    assert!(2 * light.encoder_macs() < conv.encoder_macs());
    assert!(light.decoder_macs() > conv.decoder_macs());
}

#[test]
fn huffman_on_the_same_symbols_decides_the_same_for_more_bytes() {
    let plain = Device::flex();
    let cache = cache(PICTURES, &plain);
    // Coarse steps leave channels silent: one code for all channels pays a bit for each zero.
    let unit = UnitConfig::conv(cache.shape(), 6, 1, 2.0);
    let codec = bank_of(vec![trained(&unit, &cache, 40)])
        .open(0, &plain)
        .unwrap();
    let tail = distortion(&plain).tail;
    let ours = evaluate(&codec, &tail, &cache, &plain).unwrap();
    let rival = HuffmanRival::fit(&codec, &cache, PICTURES, &plain).unwrap();
    let theirs = rival.evaluate(&codec, &tail, &cache, &plain).unwrap();
    assert_eq!(ours.predictions, theirs.predictions);
    assert!(theirs.mean_payload_bytes() > ours.mean_payload_bytes());
    for (bytes, bits) in theirs.payload_bytes.iter().zip(&theirs.estimated_bits) {
        assert_eq!(*bytes as f64, (bits / 8.0).ceil());
    }
    for (frame, payload) in theirs.frame_bytes.iter().zip(&theirs.payload_bytes) {
        assert!((10..=13).contains(&(frame - payload)), "{frame} {payload}");
    }
}

#[test]
fn eight_bits_of_the_activation_leave_the_decisions_alone() {
    let plain = Device::flex();
    let cache = cache(PICTURES, &plain);
    let values: Vec<f32> = (0..cache.len())
        .flat_map(|index| cache.activation(index).to_vec())
        .collect();
    let shape = activation_latent_shape(&cache).unwrap();
    let tail = distortion(&plain).tail;
    for (bits, share) in [(8, 1.0), (4, 0.9)] {
        let range = ValueRange::min_max(&values).unwrap();
        let quantizer = Quantizer::affine(range, bits).unwrap();
        let (min, max) = quantizer.symbol_range().unwrap();
        let flat = vec![1; usize::try_from(max - min + 1).unwrap()];
        let tables = TableSet::shared(FreqTable::from_counts(min, &flat).unwrap());
        let codec = Codec::new(quantizer, tables, shape, 0, 0).unwrap();
        let result = evaluate_without_unit(&codec, &tail, &cache, &plain).unwrap();
        let pairs = result.predictions.iter().zip(cache.predictions());
        let same = pairs.filter(|(a, b)| **a == *b).count();
        assert!(
            same as f64 >= share * PICTURES as f64,
            "{bits} bits: {same}"
        );
        let bytes = (shape.len() * usize::try_from(bits).unwrap()).div_ceil(8) as f64;
        let payload = result.mean_payload_bytes();
        assert!(
            (payload - bytes).abs() < 0.03 * bytes,
            "{payload} for {bytes}"
        );
    }
}

#[test]
fn rungs_that_differ_in_their_step_alone_keep_their_weights_once() {
    let plain = Device::flex();
    let cache = cache(PICTURES, &plain);
    let first = trained(&UnitConfig::conv(cache.shape(), 4, 2, 0.25), &cache, 30);
    let one = bank_of(vec![first.clone()]).to_bytes().unwrap().len();
    let mut rungs = vec![first.clone()];
    for factor in [2.0, 4.0] {
        let name = format!("x{factor}");
        let rung = first.with_step_factor(&name, "step-only", factor, pictures(&cache, &plain));
        rungs.push(rung.unwrap());
    }
    let bank = bank_of(rungs);
    let bytes = bank.to_bytes().unwrap();
    assert!(bytes.len() < one + one / 2, "{} after {one}", bytes.len());
    let again = Bank::from_bytes(&bytes).unwrap();
    let tail = distortion(&plain).tail;
    let mut last = f64::INFINITY;
    for index in 0..3 {
        let codec = again.open(index, &plain).unwrap();
        let result = evaluate(&codec, &tail, &cache, &plain).unwrap();
        assert!(result.mean_payload_bytes() < last);
        last = result.mean_payload_bytes();
    }
    assert!(
        first
            .with_step_factor("bad", "step-only", 0.0, pictures(&cache, &plain))
            .is_err()
    );
}

#[test]
fn a_step_for_each_channel_is_the_steps_of_its_quantizer() {
    let shape = cache(1, &Device::flex()).shape();
    let unit = UnitConfig {
        step_factors: vec![1.0, 2.0, 0.5, 1.0],
        ..UnitConfig::conv(shape, 4, 2, 0.25)
    };
    assert_eq!(unit.quantizer().unwrap().step_of(1), Some(0.5));
    for factors in [vec![1.0; 3], vec![1.0, -1.0, 1.0, 1.0], vec![f32::NAN; 4]] {
        let bad = UnitConfig {
            step_factors: factors,
            ..unit.clone()
        };
        assert!(bad.latent_shape().is_err());
    }
}

#[test]
fn integers_of_a_fixed_length_take_their_bits_and_keep_the_decisions() {
    let plain = Device::flex();
    let cache = cache(PICTURES, &plain);
    let tail = distortion(&plain).tail;
    let bottlenet = UnitConfig::bottlenet(cache.shape(), 3, 2);
    for unit in [bottlenet, UnitConfig::conv(cache.shape(), 3, 2, 0.25)] {
        let one = trained(&unit, &cache, 120);
        let source = pictures(&cache, &plain);
        let fine = |bits| Rung::integers("i", "kind", &unit, &one.weights, bits, source).unwrap();
        let measured = |rung: Rung| {
            let codec = bank_of(vec![rung]).open(0, &plain).unwrap();
            evaluate(&codec, &tail, &cache, &plain).unwrap()
        };
        let (eight, ten) = (measured(fine(8)), measured(fine(10)));
        let symbols = unit.latent_shape().unwrap().len();
        for (result, bits) in [(&eight, 8), (&ten, 10)] {
            let bytes = (symbols * bits).div_ceil(8) as f64;
            let found = result.mean_payload_bytes();
            assert!((found - bytes).abs() < 0.05 * bytes, "{found} for {bytes}");
        }
        let pairs = eight.predictions.iter().zip(&ten.predictions);
        let same = pairs.filter(|(a, b)| a == b).count();
        assert!(same >= PICTURES - 1, "{same}");
    }
}

#[test]
fn latents_of_a_bottlenet_lie_between_zero_and_one() {
    let plain = Device::flex();
    let cache = cache(PICTURES, &plain);
    let activation = |count: usize| {
        let indices: Vec<usize> = (0..count).collect();
        cache.batch(&indices, &plain).activation
    };
    for stride in [1, 2] {
        let unit = UnitConfig::bottlenet(cache.shape(), 3, stride);
        let rung = trained(&unit, &cache, 20);
        let codec = bank_of(vec![rung]).open(0, &plain).unwrap();
        let latent = codec.unit_latent(activation(8)).unwrap();
        let (low, high): (f32, f32) = (
            latent.clone().min().into_scalar(),
            latent.max().into_scalar(),
        );
        assert!(low > 0.0 && high < 1.0, "{low} to {high}");
        let frames = codec.encode(activation(8)).unwrap();
        assert_eq!(codec.decode(&frames).unwrap().dims(), activation(8).dims());
    }
}

/// A trained rung of each layout that has a form in integers.
fn integer_rungs(cache: &ActivationCache) -> Vec<Rung> {
    let (shape, plain) = (cache.shape(), Device::flex());
    let klt = Klt::fit(cache, 2, PICTURES).unwrap();
    let patch = klt.unit(6, 0.25);
    let weights = klt.weights(&patch, 0, &plain).unwrap();
    let patch = Rung::fitted("p", "pca", &patch, &weights, pictures(cache, &plain)).unwrap();
    let mut rungs = vec![patch];
    for unit in [
        UnitConfig::conv(shape, 4, 2, 0.25),
        UnitConfig::paper(shape, 4, 2, 0.25),
        UnitConfig::light(shape, 4, 2, 0.25, 1),
        UnitConfig::refined(shape, 4, 2, 0.25, 1),
        UnitConfig {
            step_factors: vec![1.0, 0.5, 2.0, 1.0],
            ..UnitConfig::conv(shape, 4, 1, 0.25)
        },
    ] {
        rungs.push(trained(&unit, cache, 60));
    }
    rungs
}

#[test]
fn encoders_in_integers_give_the_symbols_of_those_in_floats() {
    let plain = Device::flex();
    let cache = cache(PICTURES, &plain);
    let tail = distortion(&plain).tail;
    for rung in integer_rungs(&cache) {
        let encoder = IntegerEncoder::fit(&rung, &cache, PICTURES).unwrap();
        let kind = format!("{:?}", rung.config.encoder);
        let codec = bank_of(vec![rung]).open(0, &plain).unwrap();
        let all: Vec<usize> = (0..PICTURES).collect();
        let floats = codec.symbols(cache.batch(&all, &plain).activation).unwrap();
        let (mut near, mut equal, mut count) = (0_usize, 0_usize, 0_usize);
        for (index, expected) in floats.iter().enumerate() {
            let found = encoder.symbols(cache.activation(index)).unwrap();
            for (found, expected) in found.values().iter().zip(expected.values()) {
                let apart = found.abs_diff(*expected);
                near += usize::from(apart <= 1);
                equal += usize::from(apart == 0);
                count += 1;
            }
        }
        assert_eq!(near, count, "{kind}");
        assert!(equal * 100 >= count * 90, "{kind}: {equal} of {count}");
        let integers = |chunk: &[usize]| {
            let one = |index: &usize| encoder.symbols(cache.activation(*index));
            chunk.iter().map(one).collect()
        };
        let ours = evaluate_symbols(&codec, integers, &tail, &cache).unwrap();
        let theirs = evaluate(&codec, &tail, &cache, &plain).unwrap();
        let pairs = ours.predictions.iter().zip(&theirs.predictions);
        let same = pairs.filter(|(a, b)| a == b).count();
        assert!(same >= PICTURES - 2, "{kind}: {same}");
        let longer = ours.mean_bytes() / theirs.mean_bytes();
        assert!((0.97..1.03).contains(&longer), "{kind}: {longer}");
    }
}

#[test]
fn what_has_no_form_in_integers_is_named() {
    let plain = Device::flex();
    let cache = cache(PICTURES, &plain);
    let light = UnitConfig::light(cache.shape(), 4, 2, 0.25, 1);
    let EncoderKind::Light { hidden, groups, .. } = light.encoder else {
        panic!("a light unit has a light encoder");
    };
    let gdn = UnitConfig {
        encoder: EncoderKind::Light {
            hidden,
            groups,
            gdn: true,
        },
        ..light
    };
    let bottlenet = UnitConfig::bottlenet(cache.shape(), 3, 2);
    for (unit, what) in [(gdn, "divisive"), (bottlenet, "sigmoid")] {
        let error = IntegerEncoder::fit(&trained(&unit, &cache, 5), &cache, 8).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
    let sound = trained(&UnitConfig::conv(cache.shape(), 4, 2, 0.25), &cache, 5);
    let mut foreign = sound.clone();
    foreign.config.encoder = EncoderKind::Conv { hidden: 7 };
    let error = IntegerEncoder::fit(&foreign, &cache, 8).unwrap_err();
    assert!(matches!(error, IntegerError::State(_)), "{error}");
    let encoder = IntegerEncoder::fit(&sound, &cache, 8).unwrap();
    let mut broken = cache.activation(0).to_vec();
    assert!(encoder.symbols(&broken[1..]).is_err());
    broken[5] = f32::NAN;
    let error = encoder.symbols(&broken).unwrap_err().to_string();
    assert!(error.contains("position 5 is NaN"), "{error}");
}
