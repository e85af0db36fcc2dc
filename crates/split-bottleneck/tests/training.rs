//! Laws of training: it learns, leaves the backbone alone, repeats and resumes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use burn::tensor::Device;
use common::{cache, config, distortion, run};
use split_bottleneck::{
    ActivationCache, BackboneNote, Bank, Objective, Rung, TrainConfig, Training, UnitConfig,
    evaluate, module_state,
};

fn units(cache: &ActivationCache) -> [UnitConfig; 2] {
    [
        UnitConfig::paper(cache.shape(), 4, 2, 0.5),
        UnitConfig::conv(cache.shape(), 4, 2, 0.5),
    ]
}

#[test]
fn training_lowers_the_distortion_and_leaves_the_tail_alone() {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let cache = cache(64, &plain);
    for unit in units(&cache) {
        let settings = config(200, Objective::Lambda(0.02));
        let mut training = Training::start(&unit, &settings, None, &cache, &device).unwrap();
        let loss = distortion(&device);
        let before = module_state(&loss.tail);
        let first = training.advance(&cache, &loss).unwrap().distortion;
        let mut last = first;
        while !training.is_done() {
            last = training.advance(&cache, &loss).unwrap().distortion;
        }
        assert!(last < 0.5 * first, "{unit:?}: from {first} to {last}");
        assert_eq!(module_state(&loss.tail), before);
    }
}

#[test]
fn the_same_seed_gives_the_same_weights_and_another_seed_others() {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let cache = cache(48, &plain);
    let [unit, _] = units(&cache);
    let weights = |seed| {
        let mut settings = config(8, Objective::Lambda(0.05));
        settings.seed = seed;
        let mut training = Training::start(&unit, &settings, None, &cache, &device).unwrap();
        run(&mut training, &cache, 8, &device);
        training.weights().unit
    };
    assert_eq!(weights(1), weights(1));
    assert_ne!(weights(1), weights(2));
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let cache = cache(48, &plain);
    for unit in units(&cache) {
        let objective = Objective::TargetBits {
            bits: 60.0,
            start: 0.1,
        };
        let settings = config(20, objective);
        let mut whole = Training::start(&unit, &settings, None, &cache, &device).unwrap();
        run(&mut whole, &cache, 11, &device);
        let checkpoint = whole.to_checkpoint().unwrap();
        run(&mut whole, &cache, 9, &device);
        let mut resumed = Training::resume(&checkpoint, &unit, &settings, &cache, &device).unwrap();
        assert_eq!(resumed.step_count(), 11);
        run(&mut resumed, &cache, 9, &device);
        assert_eq!(resumed.weights().unit, whole.weights().unit);
        assert_eq!(resumed.weights().rate, whole.weights().rate);
        assert_eq!(resumed.lambda().to_bits(), whole.lambda().to_bits());
    }
}

/// Averaged weights and a finish, each alone and both.
fn endings(settings: &TrainConfig) -> [TrainConfig; 3] {
    [(0.9, 0), (0.0, 6), (0.9, 6)].map(|(averaging, finish_steps)| TrainConfig {
        averaging,
        finish_steps,
        weight_decay: 1e-2,
        ..settings.clone()
    })
}

#[test]
fn a_run_with_an_averaged_unit_or_a_finish_resumes_to_the_same_bits() {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let cache = cache(48, &plain);
    let [_, unit] = units(&cache);
    for settings in endings(&config(20, Objective::Lambda(0.05))) {
        let mut whole = Training::start(&unit, &settings, None, &cache, &device).unwrap();
        // Before the finish, at its first step and within it.
        let mut checkpoints = Vec::new();
        for steps in [11, 3, 3, 3] {
            run(&mut whole, &cache, steps, &device);
            checkpoints.push((whole.to_checkpoint().unwrap(), whole.step_count()));
        }
        assert!(whole.is_done());
        for (checkpoint, step) in checkpoints {
            let mut resumed =
                Training::resume(&checkpoint, &unit, &settings, &cache, &device).unwrap();
            assert_eq!(resumed.step_count(), step);
            run(&mut resumed, &cache, 20 - step, &device);
            assert_eq!(resumed.weights().unit, whole.weights().unit);
            let warm = Training::warm_start(&checkpoint).unwrap();
            assert!(step < 20 || warm.unit == whole.weights().unit);
        }
    }
}

#[test]
fn the_finish_moves_the_decoder_alone_and_lowers_what_is_lost() {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let cache = cache(64, &plain);
    for unit in units(&cache) {
        let settings = TrainConfig {
            finish_steps: 100,
            ..config(160, Objective::Lambda(0.05))
        };
        let mut training = Training::start(&unit, &settings, None, &cache, &device).unwrap();
        run(&mut training, &cache, 60, &device);
        let before = training.weights();
        let mut mean = |steps: u8| {
            let lost = (0..steps).map(|_| run(&mut training, &cache, 1, &device));
            lost.sum::<f64>() / f64::from(steps)
        };
        let (first, _, last) = (mean(5), mean(75), mean(20));
        let after = training.weights();
        assert!(last < first, "{unit:?}: from {first} to {last}");
        for (path, tensor) in &before.unit {
            let moved = after.unit[path] != *tensor;
            assert_eq!(moved, path.starts_with("decoder."), "{path}");
        }
        assert_eq!(after.rate, before.rate);
        assert_eq!(after.lambda.to_bits(), before.lambda.to_bits());
    }
}

#[test]
fn an_averaged_unit_lies_between_the_last_ones_and_is_what_leaves() {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let cache = cache(48, &plain);
    let [_, unit] = units(&cache);
    let settings = config(12, Objective::Lambda(0.05));
    let weights = |averaging| {
        let settings = TrainConfig {
            averaging,
            ..settings.clone()
        };
        let mut training = Training::start(&unit, &settings, None, &cache, &device).unwrap();
        let mut seen = Vec::new();
        for _ in 0..12 {
            run(&mut training, &cache, 1, &device);
            seen.push(training.weights().unit);
        }
        assert_eq!(module_state(&training.unit()), *seen.last().unwrap());
        seen
    };
    // Averaging changes what leaves, not what is trained.
    let (plain, averaged) = (weights(0.0), weights(0.5));
    let mut mean = plain[0].clone();
    for (step, (last, found)) in plain.iter().zip(&averaged).enumerate() {
        let early = (step as f32 + 1.0) / (step as f32 + 10.0);
        for (path, tensor) in &mut mean {
            for (mean, value) in tensor.values.iter_mut().zip(&last[path].values) {
                *mean += (1.0 - early.min(0.5)) * (value - *mean);
            }
        }
        assert_eq!(*found, mean, "step {step}");
    }
    assert_ne!(plain.last(), averaged.last());
}

#[test]
fn weights_decay_where_that_is_asked_for() {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let cache = cache(48, &plain);
    let [_, unit] = units(&cache);
    let size = |weight_decay| {
        let settings = TrainConfig {
            weight_decay,
            ..config(30, Objective::Lambda(0.05))
        };
        let mut training = Training::start(&unit, &settings, None, &cache, &device).unwrap();
        run(&mut training, &cache, 30, &device);
        let unit = training.weights().unit;
        let weights = unit.iter().filter(|(path, _)| path.ends_with("weight"));
        weights
            .flat_map(|(_, tensor)| &tensor.values)
            .map(|value| f64::from(value * value))
            .sum::<f64>()
    };
    assert!(size(1.0) < 0.9 * size(0.0));
}

#[test]
fn endings_that_cannot_be_are_refused() {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let cache = cache(48, &plain);
    let [unit, _] = units(&cache);
    let with = |finish_steps, averaging, weight_decay| TrainConfig {
        finish_steps,
        averaging,
        weight_decay,
        ..config(20, Objective::Lambda(0.05))
    };
    for (settings, expected) in [
        (with(21, 0.0, 0.0), "21 of 20 steps"),
        (with(0, 1.0, 0.0), "averaging of 1"),
        (with(0, f32::NAN, 0.0), "averaging of NaN"),
        (with(0, 0.0, -1.0), "weight decay of -1"),
        (with(0, 0.0, f32::INFINITY), "weight decay of inf"),
    ] {
        let error = Training::start(&unit, &settings, None, &cache, &device).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let cache = cache(48, &plain);
    let [unit, other] = units(&cache);
    let settings = config(20, Objective::Lambda(0.1));
    let training = Training::start(&unit, &settings, None, &cache, &device).unwrap();
    let checkpoint = training.to_checkpoint().unwrap();
    let error = Training::resume(&checkpoint, &other, &settings, &cache, &device).unwrap_err();
    assert!(error.to_string().contains("another unit"), "{error}");
    let longer = config(21, Objective::Lambda(0.1));
    let error = Training::resume(&checkpoint, &unit, &longer, &cache, &device).unwrap_err();
    assert!(
        error.to_string().contains("training configuration"),
        "{error}"
    );
    for cut in [0, 7, checkpoint.len() / 2, checkpoint.len() - 1] {
        assert!(Training::resume(&checkpoint[..cut], &unit, &settings, &cache, &device).is_err());
    }
}

#[test]
fn a_loss_that_is_no_number_stops_with_the_weights_before_it() {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let cache = cache(48, &plain);
    let [unit, _] = units(&cache);
    let settings = config(20, Objective::Lambda(0.1));
    let mut training = Training::start(&unit, &settings, None, &cache, &device).unwrap();
    run(&mut training, &cache, 5, &device);
    let before = training.weights().unit;
    let mut loss = distortion(&device);
    loss.activation = f32::INFINITY;
    let error = training.advance(&cache, &loss).unwrap_err();
    assert!(error.to_string().contains("step 5"), "{error}");
    let parameters = |state: &split_bottleneck::ModuleState| {
        let mut state = state.clone();
        state.retain(|path, _| !path.contains("running_"));
        state
    };
    assert_eq!(parameters(&training.weights().unit), parameters(&before));
}

/// What training says of a picture's bits at its end, and what the tables and the coder take.
struct Taken {
    said: f64,
    estimated: f64,
    /// Without the coder's flush.
    real: f64,
}

fn trained_for(target: f64, cache: &ActivationCache) -> Taken {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let unit = UnitConfig::conv(cache.shape(), 4, 2, 0.1);
    let objective = Objective::TargetBits {
        bits: target,
        start: 0.05,
    };
    let settings = config(500, objective);
    let mut training = Training::start(&unit, &settings, None, cache, &device).unwrap();
    run(&mut training, cache, 499, &device);
    let said = training.advance(cache, &distortion(&device)).unwrap().bits;
    let rung = Rung::from_training("one", "unit", &unit, &training, cache, 96, &plain).unwrap();
    let note = BackboneNote {
        name: "toy".to_owned(),
        split: "stem".to_owned(),
        weights_sha256: "00".to_owned(),
    };
    let bank = Bank::new(note, vec![rung]).unwrap();
    let codec = bank.open(0, &plain).unwrap();
    let result = evaluate(&codec, &distortion(&plain).tail, cache, &plain).unwrap();
    let pictures = result.payload_bytes.len() as f64;
    let bytes: f64 = result.payload_bytes.iter().map(|bytes| *bytes as f64).sum();
    Taken {
        said,
        estimated: result.estimated_bits.iter().sum::<f64>() / pictures,
        real: 8.0 * bytes / pictures - codec.codec().tables().flush_bits(codec.codec().shape()),
    }
}

/// Without a comparison with the coder, training says twice as much on pictures as plain as these:
/// it does not know of contexts.
#[test]
fn a_target_steers_the_bits_and_what_training_says_is_what_the_coder_takes() {
    let cache = cache(96, &Device::flex());
    // The first is more than this unit sends at any price.
    let [free, priced] = [400.0, 40.0].map(|target| trained_for(target, &cache));
    assert!(
        priced.real < 0.4 * free.real,
        "{} {}",
        priced.real,
        free.real
    );
    for taken in [&free, &priced] {
        // Of a payload of two bytes the flush is known to a bit or two only.
        let allowed = (0.03 * taken.estimated).max(2.0);
        assert!(
            (taken.real - taken.estimated).abs() < allowed,
            "real {}, estimated {}",
            taken.real,
            taken.estimated
        );
    }
    let off = (free.said - free.estimated) / free.estimated;
    assert!(
        off.abs() < 0.15,
        "said {}, estimated {}",
        free.said,
        free.estimated
    );
}
