/// How long a batch takes: `fixed_us + each_us * size`, learned from what batches took.
///
/// Least squares with forgetting over (size, time). The prior stands for a few batches, so the
/// first ones can't throw the estimate far off.
#[derive(Clone, Debug)]
pub struct BatchCost {
    weight: f64,
    size_mean: f64,
    time_mean: f64,
    size_spread: f64,
    size_time_spread: f64,
}

/// Weight kept when a batch comes in: about the last 50 batches count.
const KEEP: f64 = 0.98;

/// How many batches the prior stands for.
const PRIOR_WEIGHT: f64 = 4.0;

impl BatchCost {
    /// Begins with a guess, such as the result of a warm-up.
    #[must_use]
    pub fn new(fixed_us: u32, each_us: u32) -> Self {
        // Sizes of 1 and 7 in equal parts have mean 4 and variance 9 and give the guess back.
        let (size_mean, size_spread) = (4.0, 9.0);
        let each_us = f64::from(each_us);
        Self {
            weight: PRIOR_WEIGHT,
            size_mean,
            time_mean: f64::from(fixed_us) + each_us * size_mean,
            size_spread: size_spread * PRIOR_WEIGHT,
            size_time_spread: each_us * size_spread * PRIOR_WEIGHT,
        }
    }

    /// Learns from a batch.
    pub fn learn(&mut self, size: usize, compute_us: u64) {
        let size = to_f64(size);
        let time = u64_to_f64(compute_us);
        self.weight = self.weight * KEEP + 1.0;
        self.size_spread *= KEEP;
        self.size_time_spread *= KEEP;
        let size_step = size - self.size_mean;
        let time_step = time - self.time_mean;
        self.size_mean += size_step / self.weight;
        self.time_mean += time_step / self.weight;
        self.size_spread += size_step * (size - self.size_mean);
        self.size_time_spread += size_step * (time - self.time_mean);
    }

    /// Expected time of a batch of `size`.
    #[must_use]
    pub fn predict_us(&self, size: usize) -> u64 {
        let (fixed_us, each_us) = self.line();
        to_us(fixed_us + each_us * to_f64(size))
    }

    /// The largest batch, up to `batch_max`, that takes at most a third of `budget_us`.
    ///
    /// A batch as long as the tightest budget would leave no time to wait for the one before.
    #[must_use]
    pub fn batch_max_for(&self, budget_us: u64, batch_max: usize) -> usize {
        let fits = |size: &usize| self.predict_us(*size) <= budget_us / 3;
        (1..=batch_max).take_while(fits).last().unwrap_or(1)
    }

    fn line(&self) -> (f64, f64) {
        // Equal sizes say nothing about the slope: then all of the time counts as fixed.
        let each_us = if self.size_spread > 1e-9 {
            (self.size_time_spread / self.size_spread).max(0.0)
        } else {
            0.0
        };
        let fixed_us = self.time_mean - each_us * self.size_mean;
        if fixed_us < 0.0 {
            return (0.0, self.time_mean / self.size_mean.max(1.0));
        }
        (fixed_us, each_us)
    }
}

fn to_f64(size: usize) -> f64 {
    u32::try_from(size).map_or(f64::from(u32::MAX), f64::from)
}

fn u64_to_f64(us: u64) -> f64 {
    u32::try_from(us).map_or(f64::from(u32::MAX), f64::from)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the range of u32 just before"
)]
fn to_us(us: f64) -> u64 {
    us.clamp(0.0, f64::from(u32::MAX)).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prior_is_what_was_given() {
        let cost = BatchCost::new(4000, 500);
        assert_eq!(cost.predict_us(1), 4500);
        assert_eq!(cost.predict_us(16), 12_000);
        assert_eq!(cost.batch_max_for(30_000, 16), 12);
        assert_eq!(cost.batch_max_for(1_000, 16), 1);
    }

    #[test]
    fn the_line_is_found_from_a_wrong_prior() {
        let mut cost = BatchCost::new(50_000, 1);
        for index in 0..400 {
            let size = 1 + index % 9;
            cost.learn(size, 1000 + 3000 * size as u64);
        }
        let (fixed, each) = (cost.predict_us(0), cost.predict_us(10) - cost.predict_us(9));
        assert!(fixed.abs_diff(1000) < 100, "{fixed}");
        assert!(each.abs_diff(3000) < 30, "{each}");
    }

    #[test]
    fn equal_sizes_leave_a_finite_estimate() {
        let mut cost = BatchCost::new(0, 0);
        for _ in 0..5_000 {
            cost.learn(1, 800);
        }
        assert!(cost.predict_us(1).abs_diff(800) < 5);
        assert!(cost.predict_us(16) < 100_000);
    }
}
