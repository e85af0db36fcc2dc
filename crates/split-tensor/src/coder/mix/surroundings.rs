//! What is known about a symbol before it is decoded: its neighbours, the same place in other
//! channels, and two linear predictions, all as the places of its cells.

use crate::latent::LatentShape;
use crate::table::mixing::{FEATURES, MAX_COEFFICIENT, MixChannel, OWN_FEATURES, REFERENCES};

/// Values beyond this are cut before anything is predicted from them.
const CUT: i32 = 20;

/// Cells of a channel, and of all channels together; the latter come first.
pub(crate) const CHANNEL_CELLS: usize = 64;
pub(crate) const SHARED_CELLS: usize = 119 + 120 + 117;

/// Predictions that are mixed.
pub(crate) const INPUTS: usize = 7;

/// Sets of weights, chosen by how lively the neighbours are.
pub(crate) const WEIGHT_SETS: usize = 10;

/// Where the state of a symbol lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Places {
    /// A cell for each prediction.
    pub(crate) cells: [usize; INPUTS],
    pub(crate) weights: usize,
}

/// Symbols of one payload on their way, channel by channel.
pub(crate) struct Plane<'a> {
    pub(crate) shape: LatentShape,
    /// All channels; those before the present one are whole.
    pub(crate) symbols: &'a [i32],
    pub(crate) channels: &'a [MixChannel],
    /// The present channel.
    pub(crate) channel: usize,
}

/// Numbers that a linear prediction is made of: six neighbours, a one, and for each reference
/// its symbol at this place and the sum of the four around it.
pub(crate) type Features = [i32; FEATURES];

impl Plane<'_> {
    /// Values around a place. Those outside of the channel are replaced by others at hand.
    #[inline]
    pub(crate) fn features(&self, row: usize, column: usize) -> Features {
        let model = &self.channels[self.channel];
        let width = self.shape.width();
        let plane = self.plane(self.channel);
        let value = |at: usize| (plane[at] - model.centre).clamp(-CUT, CUT);
        let at = row * width + column;
        let (has_north, has_west) = (row > 0, column > 0);
        let (north, west) = match (has_north, has_west) {
            (true, true) => (value(at - width), value(at - 1)),
            (true, false) => (value(at - width), value(at - width)),
            (false, true) => (value(at - 1), value(at - 1)),
            (false, false) => (0, 0),
        };
        let mut features = [0; FEATURES];
        features[0] = west;
        features[1] = north;
        features[2] = match (has_north, has_west) {
            (true, true) => value(at - width - 1),
            (true, false) => north,
            (false, _) => west,
        };
        features[3] = if has_north && column + 1 < width {
            value(at - width + 1)
        } else {
            north
        };
        features[4] = if column > 1 { value(at - 2) } else { west };
        features[5] = if row > 1 {
            value(at - 2 * width)
        } else {
            north
        };
        features[6] = 1;
        let references = model.references.iter().enumerate();
        for (index, &reference) in references.take(REFERENCES) {
            let Some(reference) = reference else { continue };
            let (here, around) = self.reference(usize::from(reference), row, column);
            features[OWN_FEATURES + 2 * index] = here;
            features[OWN_FEATURES + 2 * index + 1] = around;
        }
        features
    }

    /// The value of another channel at a place, and the sum of the four around it; where one of
    /// them lies outside, the value itself stands for it.
    #[inline]
    fn reference(&self, channel: usize, row: usize, column: usize) -> (i32, i32) {
        let (height, width) = (self.shape.height(), self.shape.width());
        let centre = self.channels[channel].centre;
        let plane = self.plane(channel);
        let value = |at: usize| (plane[at] - centre).clamp(-CUT, CUT);
        let at = row * width + column;
        let here = value(at);
        let or_here = |inside: bool, at: usize| if inside { value(at) } else { here };
        let around = or_here(column > 0, at.wrapping_sub(1))
            + or_here(column + 1 < width, at + 1)
            + or_here(row > 0, at.wrapping_sub(width))
            + or_here(row + 1 < height, at + width);
        (here, around)
    }

    #[inline]
    fn plane(&self, channel: usize) -> &[i32] {
        let plane = self.shape.plane();
        &self.symbols[channel * plane..(channel + 1) * plane]
    }

    /// The cells and weights of the symbol at a place.
    #[inline]
    pub(crate) fn places(&self, row: usize, column: usize) -> Places {
        let features = self.features(row, column);
        let model = &self.channels[self.channel];
        let value = model.predict_value(&features);
        let magnitude = model.predict_magnitude(&features);
        let [west, north, corner, right, ..] = features;
        let sum = 2 * west + 2 * north + corner + right;
        let lively = 2 * west.abs() + 2 * north.abs() + corner.abs() + right.abs();
        let first = row == 0 && column == 0;
        let area = row * 4 / self.shape.height() * 4 + column * 4 / self.shape.width();
        let own = SHARED_CELLS + CHANNEL_CELLS * self.channel;
        let level = rank(magnitude, &COARSE);
        let sign = (value.signum() + 1).unsigned_abs() as usize;
        let reference = features[OWN_FEATURES];
        Places {
            cells: [
                signed_rank(reference, &[1, 2, 3]) * 17
                    + signed_rank(sum, &[1, 2, 4, 7, 11, 16, 24, 40]),
                119 + rank(magnitude, &FINE) * 3 + sign,
                239 + level * 9 + signed_rank(value, &[6, 24, 60, 140]),
                own + if first {
                    9
                } else {
                    signed_rank(sum, &[1, 4, 10, 22])
                },
                own + 10 + area,
                own + 26 + signed_rank(west, &[1, 2]) * 5 + signed_rank(north, &[1, 2]),
                own + 51 + level,
            ],
            weights: rank(lively, &[1, 2, 3, 4, 6, 8, 11, 16, 24]),
        }
    }
}

/// Steps of the predicted magnitude, in 1/16.
const FINE: [i32; 39] = fine();
const COARSE: [i32; 12] = [1, 2, 6, 12, 18, 24, 30, 56, 80, 104, 128, 152];

/// 1, then steps of 2 to 16, of 4 to 48 and of 16 to 400.
const fn fine() -> [i32; 39] {
    let mut steps = [1; 39];
    let mut at = 1;
    while at < steps.len() {
        let last = steps[at - 1];
        steps[at] = if last < 2 {
            2
        } else if last < 16 {
            last + 2
        } else if last < 48 {
            last + 4
        } else {
            last + 16
        };
        at += 1;
    }
    steps
}

/// How many steps are at or below a value. A count without branches, as many of them would miss.
#[inline]
fn rank(value: i32, steps: &[i32]) -> usize {
    steps.iter().map(|&step| usize::from(value >= step)).sum()
}

/// The rank of the magnitude, up or down from the middle.
#[inline]
fn signed_rank(value: i32, steps: &[i32]) -> usize {
    let rank = rank(value.abs(), steps);
    if value < 0 {
        steps.len() - rank
    } else {
        steps.len() + rank
    }
}

impl MixChannel {
    /// The predicted value, in 1/16.
    #[inline]
    fn predict_value(&self, features: &Features) -> i32 {
        let parts = self.value.iter().zip(features);
        parts.map(|(weight, feature)| weight * feature).sum::<i32>() >> 8
    }

    /// The predicted magnitude, in 1/16.
    #[inline]
    fn predict_magnitude(&self, features: &Features) -> i32 {
        let parts = self.magnitude.iter().zip(features);
        parts
            .map(|(weight, feature)| weight * feature.abs())
            .sum::<i32>()
            >> 8
    }
}

/// Cells that a set with so many channels has.
pub(crate) fn cells_of(channels: usize) -> usize {
    SHARED_CELLS + CHANNEL_CELLS * channels
}

/// The largest sum that a prediction can reach fits 32 bits.
const _: () = {
    let largest = (6 + REFERENCES * 5) * CUT.unsigned_abs() as usize + 1;
    let coefficient = MAX_COEFFICIENT.unsigned_abs() as usize;
    assert!(largest < (i32::MAX.unsigned_abs() as usize) / coefficient);
};

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn ranks_count_steps() {
        assert_eq!(FINE[38], 400);
        assert_eq!(FINE[8], 16);
        assert_eq!(rank(0, &FINE), 0);
        assert_eq!(rank(1000, &FINE), 39);
        let found: Vec<usize> = (-3..4).map(|value| signed_rank(value, &[1, 2])).collect();
        assert_eq!(found, [0, 0, 1, 2, 3, 4, 4]);
        assert_eq!(cells_of(2), 356 + 128);
    }
}
