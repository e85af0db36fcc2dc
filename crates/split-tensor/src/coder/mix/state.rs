//! The state that learns while a payload is coded: cells that predict, weights that mix them.

use super::curve::{MAX_ODDS, squash, stretch};
use super::surroundings::{INPUTS, Places};

/// Binary decisions that a symbol is made of.
pub(crate) const NODES: usize = 12;

/// Weights of a decision: one for each prediction and one for a constant.
pub(crate) const WEIGHTS: usize = INPUTS + 1;

/// Cells hold probabilities of 2^22, weights are in 1/65536.
const CELL_BITS: u32 = 22;
const WEIGHT_BITS: u32 = 16;

/// A cell moves by a 512th of its error.
const CELL_RATE: u32 = 9;

/// Weights move by the product of error and input over this power of two.
const WEIGHT_RATE: u32 = 18;

/// Largest magnitude of a weight: 64.
pub(crate) const MAX_WEIGHT: i32 = 64 << WEIGHT_BITS;

/// Symbols after which a cell in training moves as slowly as it ever will.
const MAX_SEEN: u16 = 1000;

/// Log-odds of the constant input.
const CONSTANT: i32 = 256;

/// Cells and weights of one payload, or of a set in training.
pub(crate) struct State<'a> {
    pub(crate) cells: &'a mut [i32],
    pub(crate) weights: &'a mut [i32],
    /// How often each cell was met; empty but in training.
    pub(crate) seen: &'a mut [u16],
}

/// A prediction that waits for its bit.
pub(crate) struct Prediction {
    odds: [i32; WEIGHTS],
    cells: [usize; INPUTS],
    weights: usize,
    one: i32,
}

impl Prediction {
    /// The probability of a one, of 65536.
    pub(crate) fn one(&self) -> u32 {
        self.one.unsigned_abs()
    }
}

impl State<'_> {
    #[inline]
    pub(crate) fn predict(&self, places: &Places, node: usize) -> Prediction {
        let weights = (places.weights * NODES + node) * WEIGHTS;
        let mut odds = [CONSTANT; WEIGHTS];
        let mut cells = [0; INPUTS];
        for (input, &place) in places.cells.iter().enumerate() {
            cells[input] = place * NODES + node;
            odds[input] = stretch(self.cells[cells[input]] >> (CELL_BITS - 12));
        }
        let parts = odds.iter().zip(&self.weights[weights..weights + WEIGHTS]);
        let sum: i64 = parts
            .map(|(&odds, &weight)| i64::from(odds) * i64::from(weight))
            .sum();
        let mixed = (sum >> WEIGHT_BITS).clamp(i64::from(-MAX_ODDS), i64::from(MAX_ODDS));
        Prediction {
            odds,
            cells,
            weights,
            one: squash(i32::try_from(mixed).unwrap_or(0)),
        }
    }

    /// Learns from the bit.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "2815 * 65535 >> 18")]
    pub(crate) fn update(&mut self, prediction: &Prediction, bit: bool) {
        let error = (i32::from(bit) << 16) - prediction.one;
        let weights = &mut self.weights[prediction.weights..prediction.weights + WEIGHTS];
        for (weight, &odds) in weights.iter_mut().zip(&prediction.odds) {
            let step =
                (i64::from(odds) * i64::from(error) + (1 << (WEIGHT_RATE - 1))) >> WEIGHT_RATE;
            *weight = (*weight + step as i32).clamp(-MAX_WEIGHT, MAX_WEIGHT);
        }
        let target = if bit { (1 << CELL_BITS) - 1 } else { 0 };
        for &at in &prediction.cells {
            let cell = &mut self.cells[at];
            match self.seen.get_mut(at) {
                None => *cell += (target - *cell) >> CELL_RATE,
                Some(seen) => {
                    *cell += 2 * (target - *cell) / (2 * i32::from(*seen) + 3);
                    *seen = MAX_SEEN.min(*seen + 1);
                }
            }
        }
    }
}

/// A cell that leans neither way.
pub(crate) const MIDDLE: i32 = 1 << (CELL_BITS - 1);

/// A cell from the twelve bits that a set holds of it, and back.
pub(crate) fn cell_from(twelve_bits: u16) -> i32 {
    (i32::from(twelve_bits) << (CELL_BITS - 12)) + (1 << (CELL_BITS - 13))
}

pub(crate) fn cell_to(cell: i32) -> u16 {
    u16::try_from(cell >> (CELL_BITS - 12)).unwrap_or(0)
}

/// A weight from the 1/256 that a set holds of it, and back.
pub(crate) fn weight_from(coarse: i16) -> i32 {
    i32::from(coarse) << (WEIGHT_BITS - 8)
}

pub(crate) fn weight_to(weight: i32) -> i16 {
    i16::try_from((weight + 128) >> (WEIGHT_BITS - 8)).unwrap_or(i16::MAX)
}
