//! Which table codes which symbol, where that depends on the neighbours decoded before.

use alloc::vec::Vec;

/// Most classes of one channel.
pub(crate) const MAX_CLASSES: usize = 16;

/// What is summed over the neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Magnitudes: how lively the neighbourhood is.
    Magnitude,
    /// Values: where the neighbourhood lies.
    Value,
}

impl Measure {
    #[inline]
    fn of(self, symbol: i32) -> i32 {
        match self {
            Self::Magnitude => symbol.abs(),
            Self::Value => symbol,
        }
    }
}

/// Classes of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChannelContext {
    /// Rising; a sum belongs to the class with as many thresholds at or below it.
    pub(crate) thresholds: Vec<i32>,
    /// Table of each class, one more than thresholds.
    pub(crate) tables: Vec<u16>,
    /// Table of the first symbol of the channel, which has no neighbours.
    pub(crate) first: u16,
}

impl ChannelContext {
    /// The table for a neighbour sum.
    #[inline]
    pub(crate) fn table_at(&self, sum: i32) -> u16 {
        let class = self
            .thresholds
            .iter()
            .filter(|&&threshold| sum >= threshold)
            .count();
        self.tables[class]
    }
}

/// Neighbour classes of a set. Symbols are coded pixel by pixel and, at each pixel, channel by
/// channel, so that all channels of a pixel have their neighbours when their turn comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContextModel {
    pub(crate) measure: Measure,
    pub(crate) channels: Vec<ChannelContext>,
    /// Bits that a thousand symbols took in training; chooses the lane count only.
    pub(crate) expected_millibits: u32,
}

/// `2 W + 2 N + NW + NE` at a position other than the first. A neighbour outside the channel
/// is replaced: above the first row by `W`, left of the first column and right of the last
/// one by `N`. At most 6 * 2^24 in magnitude.
#[inline]
pub(crate) fn neighbour_sum(
    plane: &[i32],
    width: usize,
    row: usize,
    column: usize,
    measure: Measure,
) -> i32 {
    let at = row * width + column;
    if row == 0 {
        return 6 * measure.of(plane[at - 1]);
    }
    let above = measure.of(plane[at - width]);
    let right = if column + 1 < width {
        measure.of(plane[at - width + 1])
    } else {
        above
    };
    if column == 0 {
        return 5 * above + right;
    }
    let left = measure.of(plane[at - 1]);
    let corner = measure.of(plane[at - width - 1]);
    2 * left + 2 * above + corner + right
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_neighbours_are_replaced_by_those_at_hand() {
        let plane = [1, -2, 3, 4, 5, 6, 7, 8, 9];
        let sum = |row, column| neighbour_sum(&plane, 3, row, column, Measure::Magnitude);
        assert_eq!(sum(0, 1), 6);
        assert_eq!(sum(0, 2), 12);
        assert_eq!(sum(1, 0), 5 + 2);
        assert_eq!(sum(1, 1), 2 * 4 + 2 * 2 + 1 + 3);
        assert_eq!(sum(1, 2), 2 * 5 + 2 * 3 + 2 + 3);
        assert_eq!(neighbour_sum(&plane, 3, 0, 2, Measure::Value), -12);
        assert_eq!(neighbour_sum(&plane, 1, 4, 0, Measure::Value), 5 * 4 + 4);
    }

    #[test]
    fn classes_begin_at_their_threshold() {
        let context = ChannelContext {
            thresholds: alloc::vec![1, 5],
            tables: alloc::vec![7, 8, 9],
            first: 0,
        };
        let found: Vec<_> = [-3, 0, 1, 4, 5, 900]
            .map(|sum| context.table_at(sum))
            .to_vec();
        assert_eq!(found, [7, 7, 8, 8, 9, 9]);
    }
}
