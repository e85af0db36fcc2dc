//! Training a network on pictures from scratch: how the embedded one was made.

use std::ops::ControlFlow;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use thiserror::Error;

use crate::data::{Pictures, Preprocess, top1};
use crate::resnet::{ConfigError, ResNet, ResNetConfig, StemConfig};

/// How long and how fast a network is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct BackboneTraining {
    /// Passes over the pictures.
    pub epochs: usize,
    /// Pictures in one step.
    pub batch: usize,
    /// Learning rate at its peak, after a rise over the first tenth of all steps; then it falls
    /// to zero along a cosine.
    pub learning_rate: f64,
    /// Decay of all weights, relative to the learning rate (AdamW).
    pub weight_decay: f32,
    /// Share of the target that is spread over all classes, 0 to 1.
    pub label_smoothing: f32,
    /// Largest shift of a picture in pixels, in each direction.
    pub shift: usize,
}

impl BackboneTraining {
    /// The numbers that made the embedded network.
    pub const EMBEDDED: Self = Self {
        epochs: 12,
        batch: 32,
        learning_rate: 3e-3,
        weight_decay: 0.01,
        label_smoothing: 0.05,
        shift: 4,
    };
}

/// How far a training has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackboneProgress {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Epochs done.
    pub epoch: usize,
    /// Loss of the last step.
    pub loss: f32,
    /// Whether an epoch ended with this step.
    pub epoch_ended: bool,
}

/// Why a network was not trained.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum TrainBackboneError {
    /// The set has fewer pictures than one step needs.
    #[error("{found} pictures are fewer than one batch of {batch}, or the batch is empty")]
    TooFewPictures {
        /// Pictures in the set.
        found: usize,
        /// Pictures in one step.
        batch: usize,
    },
    /// A shift moves the picture out of its frame.
    #[error("a shift by {found} pixels needs pictures of more than that; these have {side}")]
    ShiftTooLarge {
        /// The shift asked for.
        found: usize,
        /// The shorter side of the pictures.
        side: usize,
    },
    /// The loss is no number any more.
    #[error("the loss became {loss} at step {step}; lower the learning rate {learning_rate}")]
    NotFinite {
        /// The step, counted from 1.
        step: usize,
        /// Its loss.
        loss: f32,
        /// Learning rate of that step.
        learning_rate: f64,
    },
}

/// The shape of the embedded network: stem with stride 2, four stages of 16, 32, 64 and 128
/// channels with 1, 1, 2 and 3 blocks; 30.3 million multiplications a picture, 57 % of them up to
/// the end of the third stage.
///
/// # Errors
///
/// Never in practice: the numbers are constants.
pub fn config() -> Result<ResNetConfig, ConfigError> {
    let stem = StemConfig {
        kernel: 3,
        stride: 2,
        width: 16,
        max_pool: false,
    };
    ResNetConfig::small(
        stem,
        &[16, 32, 64, 128],
        &[1, 1, 2, 3],
        super::CLASSES.len(),
    )
}

/// How the embedded network's input is made from pixels.
pub const PREPROCESS: Preprocess = Preprocess {
    mean: [0.5; 3],
    std: [0.25; 3],
};

/// Trains a network from scratch on mirrored and shifted pictures.
///
/// Equal arguments on an equal machine give the same network. `on_progress` sees the network
/// after every step and may stop the training, which then gives what is there.
///
/// # Errors
///
/// [`TrainBackboneError`] for a set that does not fill a batch and for a loss that is no
/// number.
pub fn train_backbone(
    config: &ResNetConfig,
    training: &BackboneTraining,
    pictures: &Pictures,
    (seed, device): (u64, &Device),
    mut on_progress: impl FnMut(&ResNet, BackboneProgress) -> ControlFlow<()>,
) -> Result<ResNet, TrainBackboneError> {
    check(training, pictures)?;
    let device = device.clone().autodiff();
    let mut rng = Pcg64::seed_from_u64(!seed);
    let mut network = config.init_seeded(seed, &device);
    let mut optimizer = AdamWConfig::new()
        .with_weight_decay(training.weight_decay)
        .with_beta_2(0.99)
        .init();
    let criterion = CrossEntropyLossConfig::new()
        .with_smoothing(Some(training.label_smoothing))
        .init(&device);
    let per_epoch = pictures.len() / training.batch;
    let steps = per_epoch * training.epochs;
    let mut order: Vec<usize> = (0..pictures.len()).collect();
    for step in 0..steps {
        if step % per_epoch == 0 {
            shuffle(&mut order, &mut rng);
        }
        let first = step % per_epoch * training.batch;
        let indices = &order[first..first + training.batch];
        let (input, targets) = augmented(pictures, indices, training.shift, &mut rng, &device);
        let loss = criterion.forward(network.forward(input), targets);
        let value = loss.clone().into_scalar::<f32>();
        let learning_rate = learning_rate(training.learning_rate, step, steps);
        if !value.is_finite() {
            return Err(TrainBackboneError::NotFinite {
                step: step + 1,
                loss: value,
                learning_rate,
            });
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(learning_rate, network, gradients);
        let done = step + 1;
        let progress = BackboneProgress {
            step: done,
            steps,
            epoch: done / per_epoch,
            loss: value,
            epoch_ended: done % per_epoch == 0,
        };
        if on_progress(&network, progress).is_break() {
            break;
        }
    }
    Ok(network.valid())
}

/// Classes that a network gives to pictures, in order; `batch` pictures at a time.
#[must_use]
pub fn predictions(
    network: &ResNet,
    preprocess: &Preprocess,
    pictures: &Pictures,
    (batch, device): (usize, &Device),
) -> Vec<usize> {
    let folded = network.fold_batch_norm();
    (0..pictures.len())
        .step_by(batch.max(1))
        .flat_map(|start| {
            let end = (start + batch.max(1)).min(pictures.len());
            top1(folded.forward(preprocess.input(pictures, start..end, device)))
        })
        .collect()
}

fn check(training: &BackboneTraining, pictures: &Pictures) -> Result<(), TrainBackboneError> {
    if training.batch == 0 || pictures.len() < training.batch {
        return Err(TrainBackboneError::TooFewPictures {
            found: pictures.len(),
            batch: training.batch,
        });
    }
    let side = pictures.width().min(pictures.height());
    if training.shift >= side {
        return Err(TrainBackboneError::ShiftTooLarge {
            found: training.shift,
            side,
        });
    }
    Ok(())
}

/// Straight up to `peak` over the first tenth, then down along half a cosine.
fn learning_rate(peak: f64, step: usize, steps: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "steps stay far below 2^53")]
    let done = (step + 1) as f64 / steps as f64;
    if done < 0.1 {
        peak * done / 0.1
    } else {
        let angle = (done - 0.1) / 0.9 * core::f64::consts::PI;
        peak * (0.5 + 0.5 * angle.cos()).max(1e-4)
    }
}

fn below(rng: &mut Pcg64, count: usize) -> usize {
    let wide = u128::from(rng.next_u64()) * u128::try_from(count).expect("a count fits 128 bits");
    usize::try_from(wide >> 64).expect("less than the count")
}

fn shuffle(order: &mut [usize], rng: &mut Pcg64) {
    for i in (1..order.len()).rev() {
        order.swap(i, below(rng, i + 1));
    }
}

/// A batch, each picture mirrored with probability 1/2 and moved by up to `shift` pixels; what
/// comes into the frame is the mirror image of what is at its edge.
fn augmented(
    pictures: &Pictures,
    indices: &[usize],
    shift: usize,
    rng: &mut Pcg64,
    device: &Device,
) -> (Tensor<4>, Tensor<1, Int>) {
    let (width, height) = (pictures.width(), pictures.height());
    let mut rgb8 = Vec::with_capacity(indices.len() * width * height * 3);
    for &index in indices {
        let picture = pictures.rgb8(index);
        let mirrored = rng.next_u64() >> 63 == 1;
        let (dx, dy) = (below(rng, 2 * shift + 1), below(rng, 2 * shift + 1));
        for y in 0..height {
            let row = reflected(y + dy, shift, height) * width;
            for x in 0..width {
                let x = if mirrored { width - 1 - x } else { x };
                let at = (row + reflected(x + dx, shift, width)) * 3;
                rgb8.extend_from_slice(&picture[at..at + 3]);
            }
        }
    }
    let labels: Vec<u16> = indices.iter().map(|&i| pictures.labels()[i]).collect();
    let targets: Vec<i64> = labels.iter().map(|&label| i64::from(label)).collect();
    let batch = Pictures::new((width, height), rgb8, labels, pictures.classes().to_vec())
        .expect("same size and classes as the set");
    let input = PREPROCESS.input(&batch, 0..batch.len(), device);
    let targets = TensorData::new(targets, [indices.len()]);
    (input, Tensor::from_data(targets, device))
}

/// `at - shift`, mirrored at the borders of `0..size`; `shift < size`.
fn reflected(at: usize, shift: usize, size: usize) -> usize {
    let inside = at.abs_diff(shift);
    if inside < size {
        inside
    } else {
        2 * size - 2 - inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::{EmbeddedSplit, pictures};

    #[test]
    fn learning_rate_rises_then_falls() {
        let rates: Vec<f64> = (0..100).map(|step| learning_rate(1.0, step, 100)).collect();
        assert!(rates[..9].windows(2).all(|w| w[0] < w[1]));
        assert!(rates[10..].windows(2).all(|w| w[0] > w[1]));
        assert!((rates[9] - 1.0).abs() < 1e-9 && rates[99] > 0.0);
    }

    #[test]
    fn shifts_reflect_at_both_borders() {
        let line: Vec<usize> = (0..7).map(|at| reflected(at, 2, 5)).collect();
        assert_eq!(line, [2, 1, 0, 1, 2, 3, 4]);
        assert_eq!(reflected(8, 2, 5), 2);
    }

    #[test]
    fn shuffling_keeps_every_picture() {
        let mut order: Vec<usize> = (0..50).collect();
        shuffle(&mut order, &mut Pcg64::seed_from_u64(3));
        assert_ne!(order, (0..50).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn bad_settings_are_named() {
        let set = pictures(EmbeddedSplit::Train, 8).unwrap();
        let run = |training: &BackboneTraining| {
            let device = Device::flex();
            let config = config().unwrap();
            train_backbone(&config, training, &set, (1, &device), |_, _| {
                ControlFlow::Continue(())
            })
        };
        assert_eq!(
            run(&BackboneTraining::EMBEDDED).unwrap_err(),
            TrainBackboneError::TooFewPictures {
                found: 8,
                batch: 32
            }
        );
        let training = BackboneTraining {
            batch: 4,
            shift: 64,
            ..BackboneTraining::EMBEDDED
        };
        let expected = TrainBackboneError::ShiftTooLarge {
            found: 64,
            side: 64,
        };
        assert_eq!(run(&training).unwrap_err(), expected);
    }

    #[test]
    fn some_steps_lower_the_loss_and_repeat_exactly() {
        let set = pictures(EmbeddedSplit::Train, 20).unwrap();
        let stem = StemConfig {
            kernel: 3,
            stride: 2,
            width: 8,
            max_pool: false,
        };
        let config = ResNetConfig::small(stem, &[8, 16], &[1, 1], 10).unwrap();
        let training = BackboneTraining {
            epochs: 24,
            batch: 20,
            ..BackboneTraining::EMBEDDED
        };
        let run = || {
            let mut losses = Vec::new();
            let device = Device::flex();
            train_backbone(&config, &training, &set, (5, &device), |_, progress| {
                assert!(progress.epoch_ended);
                losses.push(progress.loss);
                if losses.len() < 20 {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })
            .unwrap();
            losses
        };
        let losses = run();
        assert_eq!(losses.len(), 20);
        assert!(losses[19] < 0.9 * losses[0], "{losses:?}");
        assert_eq!(losses, run());
    }
}
