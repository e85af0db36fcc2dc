//! Seeded symbols for the integration tests.
#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "draws are far below the narrower type's range"
)]

use split_tensor::{FitConfig, FrequencyCount, LatentShape, Symbols, TableSet};

/// SplitMix64: portable draws from a seed.
pub(crate) struct Draws(u64);

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0..bound.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Two-sided geometric: each step away from zero happens with `per_mille / 1000`.
    pub(crate) fn geometric(&mut self, per_mille: u64) -> i32 {
        let mut magnitude = 0;
        while magnitude < 1000 && self.below(1000) < per_mille {
            magnitude += 1;
        }
        if self.below(2) == 0 {
            magnitude
        } else {
            -magnitude
        }
    }
}

/// Symbols of a shape, two-sided geometric, each channel a little livelier than the last.
pub(crate) fn symbols(shape: LatentShape, seed: u64, per_mille: u64) -> Symbols {
    let mut draws = Draws::new(seed);
    let mut values = Vec::new();
    for channel in 0..shape.channels() {
        let lively = per_mille * (channel as u64 + 1) / shape.channels() as u64;
        values.extend((0..shape.height() * shape.width()).map(|_| draws.geometric(lively)));
    }
    Symbols::new(shape, values).expect("values fit")
}

/// Per-channel tables counted on several draws.
pub(crate) fn tables(shape: LatentShape, seed: u64, per_mille: u64) -> TableSet {
    let mut count = FrequencyCount::new(shape.channels()).expect("a valid count");
    for round in 0..8 {
        count
            .add(&symbols(shape, seed + round, per_mille))
            .expect("same channels");
    }
    count.channel_tables(16.0).expect("something was counted")
}

pub(crate) fn shape(channels: usize, height: usize, width: usize) -> LatentShape {
    LatentShape::new(channels, height, width).expect("a valid shape")
}

/// Smooth non-negative fields: each symbol leans on its left and upper neighbour.
pub(crate) fn smooth(shape: LatentShape, seed: u64, signed: bool) -> Symbols {
    let mut draws = Draws::new(seed);
    let (height, width) = (shape.height(), shape.width());
    let mut values: Vec<i32> = Vec::new();
    for channel in 0..shape.channels() {
        let begin = channel * height * width;
        for at in 0..height * width {
            let left = if at % width > 0 {
                values[begin + at - 1]
            } else {
                0
            };
            let above = if at >= width {
                values[begin + at - width]
            } else {
                0
            };
            let drawn = (left + above) / 2 + draws.geometric(300 + 20 * channel as u64);
            values.push(if signed {
                drawn.clamp(-60, 60)
            } else {
                drawn.clamp(0, 60)
            });
        }
    }
    Symbols::new(shape, values).expect("values fit")
}

/// A set with contexts, fitted to smooth fields.
pub(crate) fn smooth_set(shape: LatentShape) -> TableSet {
    let samples: Vec<Symbols> = (0..60).map(|seed| smooth(shape, seed, false)).collect();
    TableSet::fit(&samples, &FitConfig::default()).expect("samples of one shape")
}
