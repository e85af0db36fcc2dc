//! The last steps of a training: the encoder stands still and the decoder learns from what will be sent.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::{StepReport, TrainError, Training, cosine, unit_adam};
use crate::cache::ActivationCache;
use crate::loss::relative_error;
use crate::split::Distortion;

/// Peak of the learning rate, as a share of the one before.
const PACE: f64 = 0.5;

impl Training {
    /// One step of the finish.
    pub(super) fn advance_finish(
        &mut self,
        cache: &ActivationCache,
        distortion: &impl Distortion,
    ) -> Result<StepReport, TrainError> {
        let main_steps = self.config.main_steps();
        if self.step == main_steps {
            self.begin_finish();
        }
        let batch = self.next_batch(cache);
        // Off the tracked device batch norms take their running statistics, as on a device in the field.
        let input = self.unit_config.input(&batch).inner();
        let latent = self.unit.encoder.valid().forward(input);
        let symbols = self.unit_config.divided(latent).round();
        let bits = self.rate.valid().symbol_bits(symbols.clone());
        let sent = Tensor::from_inner(self.unit_config.multiplied(symbols));
        let restored = self.unit.decoder.forward(sent);
        let loss = if self.step < self.config.warmup_steps {
            relative_error(restored, batch.activation.clone())
        } else {
            distortion.distortion(restored, &batch)
        };
        let lost = f64::from(loss.clone().detach().into_scalar::<f32>());
        if !lost.is_finite() {
            return Err(TrainError::NotFinite {
                step: self.step,
                loss: lost,
                lambda: self.lambda(),
            });
        }
        let factor = PACE * cosine(self.step - main_steps, self.config.finish_steps);
        let mut grads = loss.backward();
        let decoder = GradientsParams::from_module(&mut grads, &self.unit.decoder);
        let rate = self.config.learning_rate * factor;
        self.unit = self.unit_optimizer.step(rate, self.unit.clone(), decoder);
        self.average();
        self.mean_bits = 0.95 * self.mean_bits + 0.05 * bits;
        self.step += 1;
        Ok(StepReport {
            step: self.step,
            steps: self.config.steps,
            distortion: lost,
            bits: self.coded_bits(),
            lambda: self.lambda(),
        })
    }

    /// The unit that goes on is the one that would leave now, and its optimizer forgets: old moments are of
    /// another task.
    fn begin_finish(&mut self) {
        if let Some(averaged) = &self.averaged {
            self.unit = self.unit_of(averaged);
        }
        self.unit_optimizer = unit_adam(&self.config);
    }
}
