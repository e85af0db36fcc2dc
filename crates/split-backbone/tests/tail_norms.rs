//! Help from the backbone: norms of the tail that are fitted to restored activations.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails it where it stands"
)]

use burn::tensor::{Device, Tolerance};
use split_backbone::embedded::{self, EmbeddedSplit};
use split_backbone::{Opened, ResNetTail, top1};
use split_bottleneck::{
    ActivationCache, Bank, Klt, NormsConfig, NormsError, Rung, TablePictures, Tail as _, evaluate,
    fit_norms, module_state, norm_parameters,
};

const SPLIT: &str = "layer2";
const LIMIT: usize = 1 << 28;

struct Ground {
    device: Device,
    opened: Opened,
    tail: ResNetTail,
    training: ActivationCache,
    test: ActivationCache,
}

impl Ground {
    fn new(training: usize, test: usize) -> Self {
        let device = Device::flex();
        let opened = Opened::load("embedded", None, SPLIT, &device).unwrap();
        let cache = |split, count| {
            let set = embedded::pictures(split, count).unwrap();
            let labels: Vec<i32> = set.labels().iter().map(|label| i32::from(*label)).collect();
            let input = opened.preprocess.input(&set, 0..set.len(), &device);
            let inputs = [(input, labels)];
            ActivationCache::build(&opened.head, &opened.tail, inputs, LIMIT).unwrap()
        };
        Self {
            tail: Opened::tail_with_norms("embedded", None, SPLIT, &device).unwrap(),
            training: cache(EmbeddedSplit::Train, training),
            test: cache(EmbeddedSplit::Test, test),
            opened,
            device,
        }
    }
}

/// Parameters that a fit changed, by path.
fn changed(before: &ResNetTail, after: &ResNetTail) -> Vec<String> {
    let (before, after) = (module_state(before), module_state(after));
    let pairs = before.into_iter().zip(after);
    let other = pairs.filter(|((path, one), (same, two))| {
        assert_eq!(path, same);
        one.values != two.values
    });
    other.map(|((path, _), _)| path).collect()
}

#[test]
fn fitted_to_restored_activations_norms_help_a_unit_that_nobody_trained() {
    let ground = Ground::new(1000, 500);
    let device = &ground.device;
    let klt = Klt::fit(&ground.training, 2, 1000).unwrap();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a step is single precision"
    )]
    let step = klt.variances()[0].sqrt() as f32 * 2.0;
    let unit = klt.unit(klt.variances().len(), step);
    let weights = klt.weights(&unit, 0, device).unwrap();
    let pictures = TablePictures {
        cache: &ground.training,
        limit: 200,
        mixing: false,
        device,
    };
    let rung = Rung::fitted("pca", "pca", &unit, &weights, pictures).unwrap();
    let bank = Bank::new(ground.opened.note.clone(), vec![rung]).unwrap();
    let codec = bank.open(0, device).unwrap();
    let restored = ground.training.restored(&codec, device).unwrap();
    assert_eq!(restored.labels(), ground.training.labels());
    assert_ne!(restored.activation(0), ground.training.activation(0));
    let top1_with =
        |tail: &ResNetTail| evaluate(&codec, tail, &ground.test, device).unwrap().top1();
    let fitted = |affine_steps| {
        let config = NormsConfig {
            affine_steps,
            ..NormsConfig::default()
        };
        let tail = fit_norms(
            ground.tail.clone(),
            &restored,
            &config,
            &device.clone().autodiff(),
        );
        tail.unwrap()
    };
    let (statistics, affine) = (fitted(0), fitted(60));
    assert!(
        changed(&ground.tail, &statistics)
            .iter()
            .all(|path| path.contains("running_"))
    );
    let of_norms = |path: &String| {
        path.contains("running_") || path.ends_with(".gamma") || path.ends_with(".beta")
    };
    let paths = changed(&ground.tail, &affine);
    assert!(paths.iter().all(of_norms), "{paths:?}");
    assert!(paths.iter().any(|path| path.ends_with(".gamma")));
    let frozen = top1_with(&ground.opened.tail);
    let found = [&statistics, &affine].map(|tail| top1_with(&tail.fold_batch_norm()));
    assert!(
        found[0] > frozen + 2.0 && found[1] > frozen + 2.0,
        "{frozen} {found:?}"
    );
    // Folding changes nothing but rounding.
    let one = ground.test.batch(&[0, 1, 2], device).activation;
    let folded = affine.fold_batch_norm().forward(one.clone()).into_data();
    let tolerance = Tolerance::<f32>::rel_abs(1e-3, 1e-3);
    affine
        .forward(one)
        .into_data()
        .assert_approx_eq(&folded, tolerance);
}

#[test]
fn statistics_of_what_the_tail_was_trained_on_change_next_to_nothing() {
    let ground = Ground::new(1000, 500);
    let config = NormsConfig::default();
    let device = ground.device.clone().autodiff();
    let tail = fit_norms(ground.tail.clone(), &ground.training, &config, &device).unwrap();
    let all: Vec<usize> = (0..ground.test.len()).collect();
    let activation = ground.test.batch(&all, &ground.device).activation;
    let found = top1(tail.fold_batch_norm().forward(activation));
    let labels = ground.test.labels().iter();
    let right = |found: &[i32]| labels.clone().zip(found).filter(|(a, b)| a == b).count();
    let found: Vec<i32> = found
        .iter()
        .map(|class| i32::try_from(*class).unwrap())
        .collect();
    let (before, after) = (right(&ground.test.predictions()), right(&found));
    // One point of 500 pictures.
    assert!(before.abs_diff(after) <= 5, "{before} and {after} right");
}

#[test]
fn what_cannot_be_fitted_is_named() {
    let ground = Ground::new(50, 10);
    let device = ground.device.clone().autodiff();
    let config = NormsConfig::default();
    let fit = |tail: &ResNetTail, config: &NormsConfig| {
        fit_norms(tail.clone(), &ground.training, config, &device).unwrap_err()
    };
    assert_eq!(norm_parameters(&ground.opened.tail), 0);
    assert_eq!(fit(&ground.opened.tail, &config), NormsError::NoNorms);
    let (found, needed) = (50, 64);
    assert_eq!(
        fit(&ground.tail, &config),
        NormsError::TooFewPictures { found, needed }
    );
    let wild = NormsConfig {
        affine_steps: 20,
        batch_size: 32,
        learning_rate: f64::from(f32::MAX),
        ..config
    };
    let error = fit(&ground.tail, &wild);
    assert!(matches!(error, NormsError::NotFinite { .. }), "{error}");
}
