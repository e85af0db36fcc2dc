//! Laws of continuous units: one set of weights, many rates.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail loudly")]

mod common;

use burn::tensor::Device;
use common::{cache, distortion};
use split_bottleneck::{
    ActivationCache, BackboneNote, Bank, ContinuousConfig, ContinuousTraining, Rung, TablePictures,
    UnitConfig, evaluate,
};

const PICTURES: usize = 96;
const FIRST: f32 = 0.25;
const LAST: f32 = 30.0;

fn config(steps: usize) -> ContinuousConfig {
    ContinuousConfig {
        steps,
        warmup_steps: steps / 5,
        batch_size: 16,
        learning_rate: 1e-2,
        rate_learning_rate: 2e-2,
        anchors: ContinuousConfig::ladder(FIRST, LAST, 6),
        lambda: 0.01,
        lambda_power: 1.5,
        seed: 5,
    }
}

fn trained(steps: usize, cache: &ActivationCache) -> ContinuousTraining {
    let device = Device::flex().autodiff();
    let unit = UnitConfig::conv(cache.shape(), 4, 2, 0.05);
    let settings = config(steps);
    let mut training = ContinuousTraining::start(&unit, &settings, None, cache, &device).unwrap();
    let loss = distortion(&device);
    while !training.is_done() {
        training.advance(cache, &loss).unwrap();
    }
    training
}

fn ladder(training: &ContinuousTraining, count: usize, cache: &ActivationCache) -> Vec<Rung> {
    let device = Device::flex();
    let pictures = TablePictures {
        cache,
        limit: PICTURES,
        mixing: false,
        device: &device,
    };
    ContinuousConfig::ladder(FIRST, LAST, count)
        .into_iter()
        .map(|factor| {
            let name = format!("x{factor:.2}");
            training
                .rung(&name, "continuous", factor, pictures)
                .unwrap()
        })
        .collect()
}

#[test]
fn one_unit_covers_six_times_in_bytes_on_a_fine_ladder() {
    let plain = Device::flex();
    let cache = cache(PICTURES, &plain);
    let training = trained(300, &cache);
    let note = BackboneNote {
        name: "toy".to_owned(),
        split: "stem".to_owned(),
        weights_sha256: "00".to_owned(),
    };
    let bank = Bank::new(note, ladder(&training, 9, &cache)).unwrap();
    let bank = Bank::from_bytes(&bank.to_bytes().unwrap()).unwrap();
    let tail = distortion(&plain).tail;
    let mut bytes = Vec::new();
    let mut top1 = Vec::new();
    for index in 0..bank.rungs().len() {
        let codec = bank.open(index, &plain).unwrap();
        let result = evaluate(&codec, &tail, &cache, &plain).unwrap();
        bytes.push(result.mean_payload_bytes());
        top1.push(result.top1());
    }
    // At the coarse end whole maps of these flat pictures flip together, and the bytes with them.
    let falls = bytes[..6].windows(2).all(|pair| pair[1] < pair[0]);
    assert!(falls, "{bytes:?}");
    assert!(
        bytes[6..].iter().all(|coarse| *coarse < bytes[5]),
        "{bytes:?}"
    );
    assert!(bytes[0] >= 6.0 * bytes[8], "{bytes:?}");
    // What the unsplit tail decides is the reference: it never saw the labels.
    let unsplit = cache.predictions().into_iter().zip(cache.labels());
    let unsplit = 100.0 * unsplit.filter(|(a, b)| a == *b).count() as f64 / PICTURES as f64;
    assert!((top1[0] - unsplit).abs() < 10.0, "{top1:?} for {unsplit}");
}

#[test]
fn channels_learn_steps_of_their_own_and_the_same_seed_the_same_ones() {
    let cache = cache(PICTURES, &Device::flex());
    let [first, second] = [(); 2].map(|()| ladder(&trained(40, &cache), 3, &cache));
    for (one, other) in first.iter().zip(&second) {
        assert_eq!(one.config, other.config);
        assert_eq!(one.weights, other.weights);
        assert_eq!(one.weights, first[0].weights);
    }
    let factors = &first[1].config.step_factors;
    assert_eq!(factors.len(), 4);
    assert!(
        factors.windows(2).any(|pair| pair[0] != pair[1]),
        "{factors:?}"
    );
}

#[test]
fn anchors_must_rise_from_above_zero() {
    let cache = cache(PICTURES, &Device::flex());
    let device = Device::flex().autodiff();
    let unit = UnitConfig::conv(cache.shape(), 4, 2, 0.05);
    for anchors in [vec![], vec![0.0, 1.0], vec![2.0, 1.0], vec![f32::NAN]] {
        let mut settings = config(4);
        settings.anchors = anchors;
        let error = ContinuousTraining::start(&unit, &settings, None, &cache, &device).unwrap_err();
        assert!(error.to_string().contains("anchors"), "{error}");
    }
}
