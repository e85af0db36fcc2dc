//! What is known of a link's rate: a distribution, not a number.
//!
//! A message of 100 bytes says little about a rate of 10 Mbit/s beside a few milliseconds of
//! jitter, and a frame that hasn't come back says a lot about one of 10 kbit/s. Both follow from
//! Bayes' rule on a grid of rates. The grid is kept under several hypotheses of how fast the rate
//! changes and how noisy round trips are; what was seen decides between them.

/// Rates per factor of two.
const BINS_PER_OCTAVE: f64 = 3.0;

/// Rates of the grid: from 0.2 kbit/s, 19 factors of two up.
pub(crate) const BINS: usize = 58;

/// Lowest rate in bits per microsecond.
const RATE_LEAST: f64 = 0.000_2;

/// Lengths of noise above the round trip without bytes, in microseconds.
pub(crate) const NOISES_US: [f64; 3] = [1_000.0, 4_000.0, 15_000.0];

/// The round trip without bytes as a share of the least round trip seen: on a slow link even the
/// smallest frame takes a while, and equal frames can't tell one from the other.
pub(crate) const BASES: [f64; 4] = [1.0, 0.8, 0.55, 0.3];

/// Of round trips, how many are far from what any rate explains: repaired losses, a waking radio. A link
/// that loses packets must not pass for a slow one.
const STRAYS: [f64; 3] = [0.000_5, 0.03, 0.2];

/// What is believed of these before anything was seen: most links repair their losses below our sight.
const STRAYS_PRIOR: [f64; 3] = [0.96, 0.03, 0.01];

/// Share of strays that come before they are given up: a stray answer is rarer than a stray silence.
const STRAYS_COME: f64 = 0.1;

/// Noise, base and strays together: what is needed besides a rate to say when an answer comes.
pub(crate) const SIDES: usize = NOISES_US.len() * BASES.len() * STRAYS.len();

/// How a rate may change: variance of its logarithm in squared bins a second, and jumps a second
/// to a rate that has little to do with the last.
const CHANGES: [(f64, f64); 3] = [(0.3, 0.01), (2.0, 0.1), (6.0, 0.5)];

const HYPOTHESES: usize = CHANGES.len() * SIDES;

/// Hypotheses are doubted at this rate a second, so that none dies out.
const DOUBT_PER_S: f64 = 0.02;

/// Seconds that the climate takes to change, and that its prior is worth.
const CLIMATE_S: f64 = 120.0;
const CLIMATE_PRIOR_S: f64 = 8.0;

/// Share of the climate that stays what it was before anything was seen.
const CLIMATE_KEPT: f64 = 0.2;

/// Strays are spread over this time.
const STRAY_US: f64 = 1e6;

/// Scale of noise below the round trip without bytes.
const NOISE_BELOW_US: f64 = 500.0;

/// The base is known to half the noise and this at best. Such an error is the same in every
/// sample, so no number of small frames may say more about the rate than one.
const BASE_OFF_US: f64 = 500.0;

/// Half a bin, as a share of the transmission time.
const BIN_WIDTH: f64 = 0.12;

/// Distribution over rates.
pub(crate) type Weights = [f64; BINS];

/// Rate of a bin in bits per microsecond.
pub(crate) fn rate(bin: usize) -> f64 {
    let octaves = f64::from(u32::try_from(bin).unwrap_or(u32::MAX)) / BINS_PER_OCTAVE;
    RATE_LEAST * octaves.exp2()
}

/// Distribution over rates, changes and noises.
#[derive(Clone, Debug)]
pub(crate) struct Belief {
    weights: [Weights; HYPOTHESES],
    /// Where the rate has been over the last minutes: where jumps lead.
    climate: Weights,
    /// The climate before anything was seen.
    prior: Weights,
    /// Microseconds that the transmission of a bit takes, for each rate.
    us_per_bit: Weights,
}

impl Belief {
    /// Nothing is known but that a rate lies around 1 Mbit/s, give or take a factor of six.
    pub(crate) fn new() -> Self {
        let mut climate = [0.0; BINS];
        for (bin, weight) in climate.iter_mut().enumerate() {
            let octaves = rate(bin).log2() / 2.6;
            // Nowhere zero: a link may stall.
            *weight = (-0.5 * octaves * octaves).exp() + 0.01;
        }
        normalize(&mut climate);
        let weights = fresh(&climate);
        let mut us_per_bit = [0.0; BINS];
        us_per_bit
            .iter_mut()
            .enumerate()
            .for_each(|(bin, us)| *us = 1.0 / rate(bin));
        Self {
            weights,
            climate,
            prior: climate,
            us_per_bit,
        }
    }

    /// Lets `seconds` pass without news.
    pub(crate) fn age(&mut self, seconds: f64) {
        let seconds = seconds.clamp(0.0, 60.0);
        if seconds == 0.0 {
            return;
        }
        let mixed = fresh(&self.rates());
        let doubt = 1.0 - (-DOUBT_PER_S * seconds).exp();
        for (index, weights) in self.weights.iter_mut().enumerate() {
            let (variance, jumps) = CHANGES[index / SIDES];
            spread(weights, variance * seconds);
            let stays = (-jumps * seconds).exp();
            let mass: f64 = weights.iter().sum();
            for (bin, weight) in weights.iter_mut().enumerate() {
                *weight = stays * *weight + (1.0 - stays) * mass * self.climate[bin];
                *weight += doubt * (mixed[index][bin] - *weight);
            }
        }
        self.normalize();
    }

    /// Learns that `bits` took `took_us` to pass, which depends on the base. `for_s` is the time
    /// since the last answer, for the climate.
    pub(crate) fn learn(&mut self, bits: f64, took_us: [f64; BASES.len()], for_s: f64) {
        self.weigh(bits, |side, passing| {
            let noise = side.noise_us;
            let off_us = BASE_OFF_US + 0.5 * noise;
            let late_us = took_us[side.base] - (passing - off_us).max(0.0);
            density(late_us, passing, noise + off_us, STRAYS_COME * side.stray)
        });
        let now = self.rates();
        let share = (for_s / (CLIMATE_S + CLIMATE_PRIOR_S)).clamp(0.0, 0.2);
        for (bin, climate) in self.climate.iter_mut().enumerate() {
            let goal = (1.0 - CLIMATE_KEPT) * now[bin] + CLIMATE_KEPT * self.prior[bin];
            *climate += share * (goal - *climate);
        }
    }

    /// Learns that `bits` hadn't passed after `waited_us`, which depends on the base.
    pub(crate) fn learn_late(&mut self, bits: f64, waited_us: [f64; BASES.len()]) {
        self.weigh(bits, |side, passing| {
            1.0 - arrived(waited_us[side.base] - passing, passing, side)
        });
    }

    fn weigh(&mut self, bits: f64, likelihood: impl Fn(Side, f64) -> f64) {
        for side in 0..SIDES {
            let parts = Side::of(side);
            for bin in 0..BINS {
                let factor = likelihood(parts, bits * self.us_per_bit[bin]);
                for change in 0..CHANGES.len() {
                    self.weights[change * SIDES + side][bin] *= factor;
                }
            }
        }
        self.normalize();
    }

    /// Weights of rates.
    pub(crate) fn rates(&self) -> Weights {
        let mut rates = [0.0; BINS];
        for weights in &self.weights {
            rates
                .iter_mut()
                .zip(weights)
                .for_each(|(sum, weight)| *sum += weight);
        }
        rates
    }

    /// Weights of rates under each base and noise.
    pub(crate) fn rates_by_side(&self) -> [Weights; SIDES] {
        let mut rates = [[0.0; BINS]; SIDES];
        for (index, weights) in self.weights.iter().enumerate() {
            let under = &mut rates[index % SIDES];
            under
                .iter_mut()
                .zip(weights)
                .for_each(|(sum, weight)| *sum += weight);
        }
        rates
    }

    /// The rate that is exceeded with probability `share`, in bits per microsecond.
    pub(crate) fn rate_exceeded(&self, share: f64) -> f64 {
        let mut above = 0.0;
        for (bin, weight) in self.rates().iter().enumerate().rev() {
            above += weight;
            if above >= share {
                return rate(bin);
            }
        }
        RATE_LEAST
    }

    fn normalize(&mut self) {
        let sum: f64 = self.weights.iter().flatten().sum();
        if sum > 1e-280 {
            self.weights
                .iter_mut()
                .flatten()
                .for_each(|weight| *weight /= sum);
        } else {
            // Nothing explains what was seen: start again from the climate.
            self.weights = fresh(&self.climate);
        }
    }
}

/// Diffuses by a variance in squared bins; nothing leaves the ends.
fn spread(weights: &mut Weights, variance: f64) {
    // A step of three points is stable up to a variance of one half; 40 steps reach the climate.
    let steps = (variance / 0.5).ceil().clamp(1.0, 40.0);
    let side = (variance / steps).min(0.5) / 2.0;
    let mut left = steps;
    while left > 0.0 {
        let before = *weights;
        for bin in 0..BINS {
            let below = before[bin.saturating_sub(1)];
            let above = before[(bin + 1).min(BINS - 1)];
            weights[bin] = before[bin] + side * (below + above - 2.0 * before[bin]);
        }
        left -= 1.0;
    }
}

/// What is needed besides a rate to say when an answer comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    /// Index of the base.
    pub(crate) base: usize,
    noise_us: f64,
    /// Share of round trips that no rate explains.
    stray: f64,
}

impl Side {
    pub(crate) const fn of(side: usize) -> Self {
        let (noises, strays) = (NOISES_US.len(), STRAYS.len());
        Self {
            base: side / noises / strays,
            noise_us: NOISES_US[side / strays % noises],
            stray: STRAYS[side % strays],
        }
    }
}

/// These rates under every hypothesis, as likely as each is before anything was seen.
fn fresh(rates: &Weights) -> [Weights; HYPOTHESES] {
    let mut weights = [*rates; HYPOTHESES];
    let others = (HYPOTHESES / STRAYS.len()) as f64;
    for (index, weights) in weights.iter_mut().enumerate() {
        let share = STRAYS_PRIOR[index % STRAYS.len()] / others;
        weights.iter_mut().for_each(|weight| *weight *= share);
    }
    weights
}

/// Noise is as likely anywhere up to its length; these are the scales of what lies below and above.
fn scales(passing_us: f64, noise_us: f64) -> (f64, f64) {
    let width = BIN_WIDTH * passing_us;
    (NOISE_BELOW_US + width, 0.5 * noise_us + width)
}

/// Density of a round trip that took `late_us` more than its transmission.
fn density(late_us: f64, passing_us: f64, noise_us: f64, stray: f64) -> f64 {
    let (below, above) = scales(passing_us, noise_us);
    let shape = if late_us < 0.0 {
        (late_us / below).exp()
    } else if late_us <= noise_us {
        1.0
    } else {
        ((noise_us - late_us) / above).exp()
    };
    (1.0 - stray) * shape / (below + noise_us + above) + stray / STRAY_US
}

/// Probability that a round trip takes at most `spare_us` more than its transmission.
pub(crate) fn arrived(spare_us: f64, passing_us: f64, side: Side) -> f64 {
    let Side {
        noise_us, stray, ..
    } = side;
    let (below, above) = scales(passing_us, noise_us);
    let all = below + noise_us + above;
    let usual = if spare_us < 0.0 {
        below / all * (spare_us / below).exp()
    } else if spare_us <= noise_us {
        (below + spare_us) / all
    } else {
        1.0 - above / all * ((noise_us - spare_us) / above).exp()
    };
    (1.0 - stray) * usual + stray * (spare_us / STRAY_US).clamp(0.0, 1.0)
}

fn normalize(weights: &mut Weights) {
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half and nine tenths of the belief after frames of `bits` over `rate` with some noise.
    fn after(bits: f64, rate: f64, frames: u32) -> (f64, f64, f64) {
        let mut belief = Belief::new();
        for index in 0..frames {
            belief.age(0.1);
            let noise_us = f64::from(index * 7 % 5) * 500.0;
            belief.learn(bits, [bits / rate + noise_us; BASES.len()], 0.1);
        }
        let at = |share| belief.rate_exceeded(share);
        (at(0.95), at(0.5), at(0.05))
    }

    /// Share of the belief below a rate.
    fn below(belief: &Belief, limit: f64) -> f64 {
        let rates = belief.rates();
        let below = rates.iter().enumerate();
        below
            .filter(|(bin, _)| rate(*bin) < limit)
            .map(|(_, weight)| weight)
            .sum()
    }

    #[test]
    fn large_frames_pin_the_rate_within_the_beliefs_own_interval() {
        for rate in [0.02, 0.3, 2.0] {
            let (low, middle, high) = after(40_000.0, rate, 30);
            assert!(
                low <= rate * 1.13 && rate <= high * 1.13,
                "{low} {rate} {high}"
            );
            assert!(
                (rate / 1.5..=rate * 1.5).contains(&middle),
                "{rate} {middle}"
            );
        }
    }

    #[test]
    fn tiny_frames_leave_a_fast_rate_open() {
        let (low, _, high) = after(1_000.0, 20.0, 30);
        assert!(
            low < 20.0 && 20.0 < high && high / low > 5.0,
            "{low} {high}"
        );
    }

    #[test]
    fn waiting_in_vain_lowers_the_rate_and_age_widens_it() {
        let mut belief = Belief::new();
        (0..20).for_each(|_| {
            belief.age(0.1);
            belief.learn(8_000.0, [9_000.0; BASES.len()], 0.1);
        });
        let before = belief.rate_exceeded(0.7);
        let mut late = belief.clone();
        late.age(0.4);
        late.learn_late(8_000.0, [400_000.0; BASES.len()]);
        // A stray may explain one frame as well, so not all of the belief moves.
        assert!(
            (0.05..0.95).contains(&below(&late, before / 10.0)),
            "{}",
            below(&late, before / 10.0)
        );
        let mut old = belief.clone();
        old.age(20.0);
        let width = |belief: &Belief| belief.rate_exceeded(0.05) / belief.rate_exceeded(0.95);
        assert!(width(&old) > 2.0 * width(&belief));
    }

    #[test]
    fn a_link_that_loses_some_frames_is_not_a_slow_one() {
        let after = |lost_of_ten: u32| {
            let mut belief = Belief::new();
            for index in 0..200 {
                belief.age(0.1);
                if index % 10 < lost_of_ten {
                    belief.learn_late(8_000.0, [150_000.0; BASES.len()]);
                } else {
                    belief.learn(8_000.0, [9_000.0; BASES.len()], 0.1);
                }
            }
            belief.learn_late(8_000.0, [150_000.0; BASES.len()]);
            below(&belief, 0.1)
        };
        // The rate is 1 bit a microsecond: what is lost time and again says little about it.
        assert!(after(1) < after(0) / 5.0, "{} {}", after(1), after(0));
    }

    #[test]
    fn nothing_that_is_seen_breaks_the_distribution() {
        let mut belief = Belief::new();
        for took_us in [0.0, -1e9, 1e12, 5.0, f64::MAX] {
            belief.learn(8e5, [took_us; BASES.len()], 1e9);
            belief.learn_late(8e5, [took_us; BASES.len()]);
            belief.age(1e9);
            let sum: f64 = belief.rates().iter().sum();
            assert!((sum - 1.0).abs() < 1e-9, "{took_us} {sum}");
        }
    }

    #[test]
    fn arrival_probability_is_the_integral_of_the_density() {
        let side = Side {
            base: 0,
            noise_us: 4_000.0,
            stray: STRAYS[0],
        };
        let (passing, noise, share) = (8_000.0, side.noise_us, side.stray);
        let step = 10.0;
        let mut sum = arrived(-20_000.0, passing, side);
        let mut at = -20_000.0;
        while at < 30_000.0 {
            let stray = if at < 0.0 { share / STRAY_US } else { 0.0 };
            sum += (density(at + step / 2.0, passing, noise, share) - stray) * step;
            at += step;
        }
        assert!((sum - arrived(at, passing, side)).abs() < 1e-3, "{sum}");
    }
}
