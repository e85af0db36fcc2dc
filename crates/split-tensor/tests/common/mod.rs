//! Seeded symbols for the integration tests.
#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "draws are far below the narrower type's range"
)]

use split_tensor::{
    BundleCodec, FitConfig, FreqTable, FrequencyCount, LatentShape, Quantizer, Symbols, TableSet,
    TensorPlan, ValueRange,
};

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

/// Three tensors of falling size, as a detector's scales, each in segments of its own: one
/// with a table for each channel, one with contexts, one with levels and a shared table.
pub(crate) fn bundle(seed: u64) -> BundleCodec {
    let shapes = [shape(6, 6, 5), shape(4, 4, 4), shape(3, 2, 2)];
    let step = Quantizer::uniform(0.5).expect("a valid step");
    let zone = step.clone().dead_zone(0.25, 0.125).expect("valid offsets");
    let range = ValueRange::new(-2.0, 4.0).expect("a valid range");
    let levels = Quantizer::clipped(range, 7).expect("valid levels");
    let table = FreqTable::from_counts(0, &[9, 30, 80, 40, 20, 5, 1]).expect("a valid table");
    let plan = |quantizer, tables, shape| TensorPlan::new(quantizer, tables, shape).expect("fits");
    let plans = vec![
        plan(step, tables(shapes[0], seed, 500), shapes[0])
            .with_order(vec![3, 0, 5, 1, 2, 4])
            .and_then(|plan| plan.with_segments(&[1, 2, 3]))
            .and_then(|plan| plan.with_fill(vec![0, 1, 0, -2, 0, 300]))
            .expect("a valid plan"),
        plan(zone, smooth_set(shapes[1]), shapes[1])
            .with_segments(&[2, 2])
            .expect("a valid plan"),
        plan(levels, TableSet::shared(table), shapes[2]),
    ];
    BundleCodec::new(plans, 300, 0x0bad_cafe).expect("few segments")
}

/// Three tensors whose cells lie in each other, 2x3 of the smallest, with and without mixing.
pub(crate) fn nested() -> BundleCodec {
    let plans = [shape(3, 8, 12), shape(4, 4, 6), shape(2, 2, 3)].map(|shape| {
        let set = smooth_set(shape);
        let samples: Vec<Symbols> = (0..40).map(|seed| smooth(shape, seed, false)).collect();
        let set = if shape.channels() == 4 {
            set.with_mixing(&samples).expect("samples of one shape")
        } else {
            set
        };
        let step = Quantizer::uniform(0.5).expect("a valid step");
        TensorPlan::new(step, set, shape).expect("fits")
    });
    BundleCodec::new(plans.into(), 300, 0x0bad_cafe).expect("few segments")
}

/// Symbols for each tensor of any codec of [`nested`] or a part of it.
pub(crate) fn nested_symbols(codec: &BundleCodec, seed: u64) -> Vec<Symbols> {
    let shapes = codec.tensors().iter().map(TensorPlan::shape);
    shapes.map(|shape| smooth(shape, seed, false)).collect()
}

/// Symbols for each tensor of [`bundle`].
pub(crate) fn bundle_symbols(codec: &BundleCodec, seed: u64) -> Vec<Symbols> {
    let shapes: Vec<LatentShape> = codec.tensors().iter().map(TensorPlan::shape).collect();
    let mut draws = Draws::new(seed);
    let levels = (0..shapes[2].len()).map(|_| draws.below(7) as i32);
    vec![
        symbols(shapes[0], seed, 600),
        smooth(shapes[1], seed, false),
        Symbols::new(shapes[2], levels.collect()).expect("values fit"),
    ]
}

/// What a receiver should hold where only some segments arrived.
pub(crate) fn with_fill(
    codec: &BundleCodec,
    sent: &[Symbols],
    arrived: impl Fn(usize) -> bool,
) -> Vec<Symbols> {
    let mut values: Vec<Vec<i32>> = Vec::new();
    for plan in codec.tensors() {
        let plane = plan.shape().plane();
        let fill = plan.fill().iter();
        values.push(fill.flat_map(|&fill| vec![fill; plane]).collect());
    }
    for index in (0..codec.segment_count()).filter(|&index| arrived(index)) {
        let (tensor, channels) = codec.segment(index);
        let plane = codec.tensors()[tensor].shape().plane();
        for &channel in channels {
            let begin = usize::from(channel) * plane;
            values[tensor][begin..begin + plane]
                .copy_from_slice(&sent[tensor].values()[begin..begin + plane]);
        }
    }
    let pairs = codec.tensors().iter().zip(values);
    pairs
        .map(|(plan, values)| Symbols::new(plan.shape(), values).expect("values fit"))
        .collect()
}
