use rand_core::Rng;
use rand_pcg::Pcg32;

/// The random numbers of one entity of a simulation.
///
/// Each entity has its own stream: adding one leaves the draws of all others as they are.
#[derive(Clone, Debug)]
pub struct EntityRandom(Pcg32);

impl EntityRandom {
    /// The stream of entity `entity` under `seed`.
    #[must_use]
    pub fn new(seed: u64, entity: u64) -> Self {
        // Neighbouring streams of one state are alike in their first draws, so the state differs too.
        let state = seed ^ entity.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = Pcg32::new(state, entity);
        random.next_u64();
        Self(random)
    }

    /// Evenly from 0 to `end`, `end` left out; 0 where it is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 {
            return 0;
        }
        // The bias is below end / 2^64.
        self.0.next_u64() % end
    }

    /// Whether an event of `permille` in a thousand happens.
    pub fn happens(&mut self, permille: u32) -> bool {
        self.below(1_000) < u64::from(permille)
    }

    /// Evenly between 0 and 1, neither included.
    pub fn unit(&mut self) -> f64 {
        (f64::from(self.0.next_u32()) + 0.5) / 4_294_967_296.0
    }

    /// From the standard normal distribution.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_draw_independently_and_repeatably() {
        let draw = |entity| {
            let mut random = EntityRandom::new(7, entity);
            (0..4).map(|_| random.below(1_000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn normal_draws_have_mean_zero_and_variance_one() {
        let mut random = EntityRandom::new(1, 1);
        let draws: Vec<f64> = (0..20_000).map(|_| random.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let square = draws.iter().map(|draw| draw * draw).sum::<f64>() / 20_000.0;
        assert!(
            mean.abs() < 0.03 && (square - 1.0).abs() < 0.05,
            "{mean} {square}"
        );
    }
}
