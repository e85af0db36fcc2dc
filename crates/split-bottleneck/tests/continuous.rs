//! Laws of continuous units: one set of weights, many rates.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail loudly")]

mod common;

use burn::tensor::{Device, Tensor, TensorData};
use common::{cache, distortion};
use rand_core::SeedableRng;
use rand_pcg::Pcg64;
use split_bottleneck::{
    ActivationCache, BackboneNote, Bank, ContinuousConfig, ContinuousTraining, ModuleState, Rung,
    TablePictures, UnitConfig, evaluate, load_state,
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
    let bank = Bank::new(note.clone(), ladder(&training, 9, &cache)).unwrap();
    let bytes = bank.to_bytes().unwrap();
    let first = Bank::new(note, bank.rungs()[..1].to_vec()).unwrap();
    let first = first.to_bytes().unwrap().len();
    let more = bytes.len() - first;
    assert!(
        more < 4 * first,
        "{first} bytes for a rung, {more} for eight more"
    );
    let back = Bank::from_bytes(&bytes).unwrap();
    for (one, other) in back.rungs().iter().zip(bank.rungs()) {
        assert_eq!(one.weights, other.weights);
    }
    let bank = back;
    let tail = distortion(&plain).tail;
    let mut bytes = Vec::new();
    let mut agreement = Vec::new();
    for index in 0..bank.rungs().len() {
        let codec = bank.open(index, &plain).unwrap();
        let result = evaluate(&codec, &tail, &cache, &plain).unwrap();
        bytes.push(result.mean_payload_bytes());
        let same = result.predictions.iter().zip(cache.predictions());
        let same = same.filter(|(own, unsplit)| **own == *unsplit).count();
        agreement.push(same as f64 / PICTURES as f64);
    }
    // At the coarse end whole maps of these flat pictures flip together, and the bytes with them.
    let falls = bytes[..6].windows(2).all(|pair| pair[1] < pair[0]);
    assert!(falls, "{bytes:?}");
    assert!(
        bytes[6..].iter().all(|coarse| *coarse < bytes[5]),
        "{bytes:?}"
    );
    assert!(bytes[0] >= 6.0 * bytes[8], "{bytes:?}");
    assert!(agreement[0] > 0.8, "{agreement:?}");
}

/// A fresh decoder normalizes by what each batch restores; statistics of a rung must be those of its own step.
#[test]
fn statistics_are_those_of_each_rungs_own_step() {
    let plain = Device::flex();
    let cache = cache(PICTURES, &plain);
    let training = trained(300, &cache);
    let rungs = ladder(&training, 3, &cache);
    let all: Vec<usize> = (0..PICTURES).collect();
    let activation = cache.batch(&all, &plain).activation;
    let lost = |rung: &Rung, weights: &ModuleState| -> f32 {
        let drawn = rung.config.init(&plain, &mut Pcg64::seed_from_u64(0));
        let unit = load_state(drawn.unwrap(), weights).unwrap();
        let steps = rung.config.channel_steps();
        let shape = [1, steps.len(), 1, 1];
        let steps = Tensor::<4>::from_data(TensorData::new(steps, shape), &plain);
        let symbols = (unit.encoder.forward(activation.clone()) / steps.clone()).round();
        let restored = unit.decoder.forward(symbols * steps);
        (restored - activation.clone())
            .powi_scalar(2)
            .mean()
            .into_scalar()
    };
    let [fine, coarse] = [&rungs[0], &rungs[2]];
    for (rung, other) in [(fine, coarse), (coarse, fine)] {
        let [own, others] = [&rung.weights, &other.weights].map(|weights| lost(rung, weights));
        assert!(own < others, "{}: {own} for {others}", rung.name);
    }
}

#[test]
fn channels_learn_steps_of_their_own_and_the_same_seed_the_same_ones() {
    let cache = cache(PICTURES, &Device::flex());
    let [first, second] = [(); 2].map(|()| ladder(&trained(40, &cache), 3, &cache));
    for (one, other) in first.iter().zip(&second) {
        assert_eq!(one.config, other.config);
        assert_eq!(one.weights, other.weights);
        // Statistics of the decoder's norms are those of a rung; all else is one unit's.
        for (path, tensor) in &first[0].weights {
            let own = path.starts_with("decoder.") && path.contains("running_");
            assert!(own || one.weights[path] == *tensor, "{path}");
        }
    }
    assert_ne!(first[0].weights, first[2].weights);
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
