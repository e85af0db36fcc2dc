//! Seeded random numbers for the pictures.

use rand_core::Rng;
use rand_pcg::Pcg64;

use super::geometry::Vec3;

/// Draws of one picture. Every picture has its own stream, so picture `i` does not depend on
/// how many others are made or in which order.
pub(super) struct Draw(Pcg64);

impl Draw {
    /// Stream of picture `index` in the set numbered `set`.
    pub(super) fn new(seed: u64, set: u64, index: u64) -> Self {
        let low = scramble(seed ^ scramble(index));
        let high = scramble(low ^ scramble(set.wrapping_add(0x5eed)));
        Self(Pcg64::new(
            u128::from(high) << 64 | u128::from(low),
            u128::from(set),
        ))
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `[0, 1)`, a multiple of 2^-24 and so exact in `f32`.
    pub(super) fn unit(&mut self) -> f32 {
        let bits = u16::try_from(self.bits() >> 48).expect("16 bits are left");
        let fine = u8::try_from(self.bits() >> 56).expect("8 bits are left");
        (f32::from(bits) + f32::from(fine) / 256.0) / 65536.0
    }

    /// Uniform in `[lo, hi)`.
    pub(super) fn within(&mut self, lo: f32, hi: f32) -> f32 {
        lo + (hi - lo) * self.unit()
    }

    /// Near zero, bell-shaped, standard deviation 1 (sum of four uniforms).
    pub(super) fn bell(&mut self) -> f32 {
        let bits = self.bits();
        let part = |shift: u32| {
            f32::from(u16::try_from(bits >> shift & 0xffff).expect("masked to 16 bits"))
        };
        let sum = part(0) + part(16) + part(32) + part(48);
        (sum / 65536.0 - 2.0) * 1.732
    }

    /// True with probability `p`.
    pub(super) fn chance(&mut self, p: f32) -> bool {
        self.unit() < p
    }

    /// One of `0..count`; `count` is at most 65,536.
    pub(super) fn below(&mut self, count: usize) -> usize {
        let bits = usize::try_from(self.bits() >> 48).expect("16 bits fit");
        bits * count / 65536
    }

    /// A colour in linear light: any hue, `saturation` 0 (grey) to 1, `value` its brightness.
    pub(super) fn colour(&mut self, saturation: f32, value: f32) -> Vec3 {
        let hue = [self.unit(), self.unit(), self.unit()];
        let top = hue[0].max(hue[1]).max(hue[2]).max(0.05);
        hue.map(|h| value * (1.0 - saturation + saturation * h / top))
    }

    /// `base` with each channel changed by up to `amount` of itself.
    pub(super) fn tinted(&mut self, base: Vec3, amount: f32) -> Vec3 {
        base.map(|c| c * (1.0 + amount * (2.0 * self.unit() - 1.0)))
    }
}

/// The finalizer of SplitMix64: spreads neighbouring numbers over all 64 bits.
pub(super) fn scramble(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_neighbouring_pictures_differ() {
        let first: Vec<u64> = (0..64).map(|i| Draw::new(1, 0, i).bits()).collect();
        let mut unique = first.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), first.len());
        assert_ne!(Draw::new(1, 0, 0).bits(), Draw::new(1, 1, 0).bits());
    }

    #[test]
    fn draws_have_the_promised_range_and_spread() {
        let mut draw = Draw::new(7, 0, 0);
        let mut square_sum = 0.0;
        for _ in 0..4000 {
            assert!((0.0..1.0).contains(&draw.unit()));
            assert!(draw.below(10) < 10);
            let x = draw.bell();
            square_sum += x * x;
        }
        let variance = square_sum / 4000.0;
        assert!((0.9..1.1).contains(&variance), "variance {variance}");
    }
}
