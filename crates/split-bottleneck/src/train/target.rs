//! How a target in bytes becomes a price.

use super::{LOG_LAMBDA_MAX, LOG_LAMBDA_MIN, Objective, Training, cosine};
use crate::bank::coded_bits;
use crate::cache::ActivationCache;

/// Shares of the steps after which the estimate is compared with the coder.
const COMPARED_AFTER: [f64; 3] = [0.3, 0.5, 0.75];

/// Pictures of a comparison.
const COMPARED_PICTURES: usize = 1000;

/// Steps that the trend of the rate is carried on.
const LOOK_AHEAD: f64 = 60.0;

/// Bounds of what a comparison may find. Proxies of the rate are off by a factor; more than this
/// is a unit that has not learned anything yet.
const SHARE_MIN: f64 = 0.05;
const SHARE_MAX: f64 = 20.0;

impl Training {
    /// What the coder would need for a picture, by the rate model's running mean and the last
    /// comparison.
    pub(super) fn coded_bits(&self) -> f64 {
        self.mean_bits * self.coded_share
    }

    /// Keeps the running mean of the rate and, for a target, raises the price while a picture
    /// takes more bits than asked for and lowers it otherwise. The rate here is that of rounded
    /// symbols: the noisy one, which the gradient needs, lies far above it where most are zero.
    pub(super) fn follow_rate(&mut self, bits: f64, warming: bool) {
        let before = if self.step == 0 { bits } else { self.mean_bits };
        self.mean_bits = 0.95 * before + 0.05 * bits;
        if let Objective::TargetBits { bits: target, .. } = self.config.objective
            && !warming
        {
            let excess = (self.coded_bits() / target).max(1e-6).ln();
            // The unit answers a price some dozens of steps later. Without a look ahead the price
            // runs on past the target, and channels that fell silent come back slowly.
            let trend = (self.mean_bits / before.max(1e-6)).max(1e-6).ln();
            let excess = excess + LOOK_AHEAD * trend.clamp(-0.05, 0.05);
            // The unit follows less and less as its learning rate falls, and so does the price, but
            // not down to nothing: what is left to correct late is small and slow.
            let gain = 0.06 * cosine(self.step, self.config.main_steps()).max(0.25);
            let move_by = (gain * excess).clamp(-0.03, 0.03);
            self.log_lambda = (self.log_lambda + move_by).clamp(LOG_LAMBDA_MIN, LOG_LAMBDA_MAX);
        }
    }

    /// After some of the steps towards a target, fits the coder's tables to the symbols as they
    /// are: tables with contexts take up to a third less than a rate model knows of, and some
    /// rate models are no more than proxies.
    pub(super) fn compare_with_coder(&mut self, cache: &ActivationCache) {
        let Objective::TargetBits { .. } = self.config.objective else {
            return;
        };
        let steps = f64::from(crate::state::usize_to_f32(self.config.main_steps()));
        let is_time = COMPARED_AFTER
            .map(|share| (share * steps).round())
            .contains(&f64::from(crate::state::usize_to_f32(self.step)));
        if !is_time || self.mean_bits <= 0.0 {
            return;
        }
        let device = self.device.clone().inner();
        let coded = coded_bits(
            &self.unit_config,
            &self.unit(),
            &self.rate(),
            (cache, COMPARED_PICTURES),
            self.config.mixing,
            &device,
        );
        // A latent that can't be coded now may be by the end; the export says it if not.
        if let Some(coded) = coded {
            self.coded_share = (coded / self.mean_bits).clamp(SHARE_MIN, SHARE_MAX);
        }
    }
}
