//! Laws of banks: they come back from bytes, refuse damage and foreign frames.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail loudly")]

mod common;

use burn::tensor::Device;
use common::{cache, config, distortion, run};
use rand_core::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;
use split_bottleneck::{
    ActivationCache, BackboneNote, Bank, DecoderKind, EncoderKind, Objective, Rung, Training,
    UnitConfig, evaluate, straight_through_round,
};
use split_tensor::Latent;

fn bank(cache: &ActivationCache, seed: u64) -> Bank {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let rungs = [
        UnitConfig::paper(cache.shape(), 4, 2, 0.5),
        UnitConfig::conv(cache.shape(), 4, 2, 0.5),
    ]
    .iter()
    .enumerate()
    .map(|(index, unit)| {
        let mut settings = config(6, Objective::Lambda(0.05));
        settings.seed = seed;
        let mut training = Training::start(unit, &settings, None, cache, &device).unwrap();
        run(&mut training, cache, 6, &device);
        Rung::from_training(
            &format!("r{index}"),
            "unit",
            unit,
            &training,
            cache,
            32,
            &plain,
        )
        .unwrap()
    })
    .collect();
    let note = BackboneNote {
        name: "toy".to_owned(),
        split: "stem".to_owned(),
        weights_sha256: "00".to_owned(),
    };
    Bank::new(note, rungs).unwrap()
}

#[test]
fn a_bank_from_its_bytes_gives_the_same_frames_and_predictions() {
    let plain = Device::flex();
    let cache = cache(32, &plain);
    let bank = bank(&cache, 1);
    let bytes = bank.to_bytes().unwrap();
    assert_eq!(bytes, bank.to_bytes().unwrap());
    let again = Bank::from_bytes(&bytes).unwrap();
    assert_eq!(again.digest(), bank.digest());
    let tail = distortion(&plain).tail;
    for rung in 0..2 {
        let first = bank.open(rung, &plain).unwrap();
        let second = again.open(rung, &plain).unwrap();
        let indices: Vec<usize> = (0..8).collect();
        let activation = cache.batch(&indices, &plain).activation;
        assert_eq!(
            first.encode(activation.clone()).unwrap(),
            second.encode(activation).unwrap()
        );
        assert_eq!(
            evaluate(&first, &tail, &cache, &plain).unwrap(),
            evaluate(&second, &tail, &cache, &plain).unwrap()
        );
    }
}

#[test]
fn rungs_are_found_by_name_and_place() {
    let bank = bank(&cache(32, &Device::flex()), 1);
    assert_eq!(bank.find("r1").unwrap(), 1);
    assert_eq!(bank.find("0").unwrap(), 0);
    let unknown = bank.find("2").unwrap_err().to_string();
    assert!(unknown.contains("no rung 2; it has r0, r1"), "{unknown}");
}

#[test]
fn digests_say_which_part_of_two_banks_differs() {
    let cache = cache(32, &Device::flex());
    let (ours, other) = (bank(&cache, 1), bank(&cache, 2));
    let again = Bank::from_bytes(&ours.to_bytes().unwrap()).unwrap();
    assert_eq!(again.digests(), ours.digests());
    assert_eq!(other.digests().backbone, ours.digests().backbone);
    assert_ne!(other.digests().unit, ours.digests().unit);
    let note = BackboneNote {
        weights_sha256: "01".to_owned(),
        ..ours.backbone().clone()
    };
    let moved = Bank::new(note, ours.rungs().to_vec()).unwrap().digests();
    assert_ne!(moved.backbone, ours.digests().backbone);
    assert_eq!(moved.unit, ours.digests().unit);
    assert_eq!(moved.tables, ours.digests().tables);
}

#[test]
fn a_damaged_bank_is_refused() {
    let cache = cache(32, &Device::flex());
    let bytes = bank(&cache, 1).to_bytes().unwrap();
    for cut in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
        assert!(Bank::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    for place in (0..bytes.len()).step_by(bytes.len() / 97 + 1) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x10;
        let refused = match Bank::from_bytes(&damaged) {
            Err(_) => true,
            // A name or note outside the digest changed: the frames still mean the same.
            Ok(read) => read.to_bytes().unwrap().len() == bytes.len(),
        };
        assert!(refused, "flipped at {place}");
    }
}

/// A bank with a digest that is right for what it holds.
#[test]
fn a_bank_whose_units_are_larger_than_units_may_be_is_refused_before_memory_is_taken() {
    let plain = Device::flex();
    let cache = cache(32, &plain);
    let sound = bank(&cache, 1);
    let many = 1 << 40;
    let changed = |change: &dyn Fn(&mut UnitConfig)| {
        let mut rung = sound.rungs()[1].clone();
        change(&mut rung.config);
        let bank = Bank::new(sound.backbone().clone(), vec![rung]).unwrap();
        let read = Bank::from_bytes(&bank.to_bytes().unwrap()).unwrap();
        let found = read.open(0, &plain).unwrap_err().to_string();
        assert!(found.starts_with("rung r1: "), "{found}");
        found
    };
    let refused = |change: &dyn Fn(&mut UnitConfig), expected: &str| {
        let found = changed(change);
        assert!(found.contains(expected), "{found}");
    };
    refused(
        &|unit| unit.activation.channels = many,
        "values of the activation",
    );
    refused(
        &|unit| unit.activation.height = usize::MAX,
        "values of the activation",
    );
    refused(&|unit| unit.latent_channels = many, "weights");
    refused(
        &|unit| unit.encoder = EncoderKind::Conv { hidden: many },
        "weights",
    );
    refused(
        &|unit| unit.encoder = EncoderKind::Refined { hidden: usize::MAX },
        "weights",
    );
    refused(
        &|unit| {
            unit.encoder = EncoderKind::Paper {
                padding: usize::MAX,
            }
        },
        "padding",
    );
    let blocks = |blocks, hidden| DecoderKind::Conv { hidden, blocks };
    refused(&|unit| unit.decoder = blocks(1 << 20, 1), "blocks");
    refused(&|unit| unit.decoder = blocks(200, 4096), "weights");
    refused(&|unit| unit.decoder = blocks(1, 0), "hidden channels");
    let attention = |hidden, heads| DecoderKind::Attentive {
        hidden,
        blocks: 1,
        heads,
        rectified: true,
    };
    for heads in [0, 5, usize::MAX] {
        refused(&|unit| unit.decoder = attention(12, heads), "heads");
    }
    refused(
        &|unit| {
            unit.decoder = attention(12, 4);
            (unit.activation.height, unit.activation.width) = (256, 256);
        },
        "attention",
    );
    refused(&|unit| unit.stride = usize::MAX, "weights");
    // Sizes that a unit may have, but not this one: its weights say so.
    refused(&|unit| unit.decoder = blocks(2, 48), "tensor");
}

#[test]
fn no_damage_to_a_bank_makes_reading_or_opening_it_panic() {
    let plain = Device::flex();
    let cache = cache(32, &plain);
    let bytes = bank(&cache, 1).to_bytes().unwrap();
    let mut random = Pcg64::seed_from_u64(5);
    let mut below = |count: usize| usize::try_from(random.next_u32()).unwrap() % count;
    for round in 0..600 {
        let mut damaged = bytes.clone();
        // Most of the time where names, sizes and configurations stand.
        let within = if round % 4 == 0 {
            bytes.len()
        } else {
            4096.min(bytes.len())
        };
        for _ in 0..=below(3) {
            damaged[below(within)] = u8::try_from(below(256)).unwrap();
        }
        if let Ok(read) = Bank::from_bytes(&damaged) {
            let _ = read.open(0, &plain);
        }
    }
}

#[test]
fn frames_of_another_rung_or_bank_are_refused_by_name() {
    let plain = Device::flex();
    let cache = cache(32, &plain);
    let (ours, other) = (bank(&cache, 1), bank(&cache, 2));
    let activation = cache.batch(&[0], &plain).activation;
    let frames = ours.open(0, &plain).unwrap().encode(activation).unwrap();
    let error = ours.open(1, &plain).unwrap().decode(&frames).unwrap_err();
    let text = error.to_string();
    assert!(text.contains('0') && text.contains('1'), "{text}");
    let error = other.open(0, &plain).unwrap().decode(&frames).unwrap_err();
    let text = error.to_string().to_lowercase();
    assert!(text.contains("bank"), "{text}");
}

#[test]
fn training_and_codec_round_to_the_same_symbols() {
    let plain = Device::flex();
    let cache = cache(32, &plain);
    let bank = bank(&cache, 1);
    for (index, rung) in bank.rungs().iter().enumerate() {
        let codec = bank.open(index, &plain).unwrap();
        let shape = codec.codec().shape();
        let step = rung.config.step;
        // Values on and around rounding borders, as a latent could hold them.
        let values: Vec<f32> = (0..shape.len())
            .map(|i| (i as f32 - 31.0) * step / 4.0)
            .collect();
        let latent = Latent::new(shape, values.clone()).unwrap();
        let coded = codec.codec().quantizer().quantize(&latent).unwrap();
        let tensor = burn::tensor::Tensor::<1>::from_floats(values.as_slice(), &plain);
        let trained = straight_through_round(tensor.div_scalar(step))
            .into_data()
            .try_to_vec::<f32>()
            .unwrap();
        let coded: Vec<f32> = coded.values().iter().map(|s| *s as f32).collect();
        assert_eq!(coded, trained);
    }
}

#[test]
fn an_activation_of_another_shape_is_refused_with_both_shapes() {
    let plain = Device::flex();
    let cache = cache(32, &plain);
    let codec = bank(&cache, 1).open(0, &plain).unwrap();
    let wrong = burn::tensor::Tensor::zeros([1, 3, 8, 8], &plain);
    let text = codec.encode(wrong).unwrap_err().to_string();
    assert!(
        text.contains("[6, 8, 8]") && text.contains("[3, 8, 8]"),
        "{text}"
    );
}

#[test]
fn mixing_makes_the_frames_of_the_same_unit_smaller() {
    let plain = Device::flex();
    let cache = cache(96, &plain);
    let device = plain.clone().autodiff();
    let unit = UnitConfig::conv(cache.shape(), 4, 1, 0.1);
    let bytes = [false, true].map(|mixing| {
        let mut settings = config(40, Objective::Lambda(0.01));
        settings.mixing = mixing;
        let mut training = Training::start(&unit, &settings, None, &cache, &device).unwrap();
        run(&mut training, &cache, 40, &device);
        let rung =
            Rung::from_training("one", "unit", &unit, &training, &cache, 96, &plain).unwrap();
        let note = BackboneNote {
            name: "toy".to_owned(),
            split: "stem".to_owned(),
            weights_sha256: "00".to_owned(),
        };
        let bank = Bank::from_bytes(&Bank::new(note, vec![rung]).unwrap().to_bytes().unwrap());
        let codec = bank.unwrap().open(0, &plain).unwrap();
        assert_eq!(codec.codec().tables().mixes(), mixing);
        let result = evaluate(&codec, &distortion(&plain).tail, &cache, &plain).unwrap();
        result.payload_bytes.iter().sum::<usize>()
    });
    assert!(bytes[1] < bytes[0], "{bytes:?}");
}
