//! Weights to frequencies with the least expected code length.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Ordering;

use super::{FreqTable, SCALE};
use crate::error::TableError;
use crate::math;

/// Symbols are folded into the escape below these shares of one slot; the cheapest table wins.
/// A slot costs the others 0.00035 bit a symbol, an escape about ten bits more than a slot.
const FOLD_SHARES: [f64; 5] = [0.0, 0.05, 0.1, 0.2, 0.5];

/// The best table over all fold thresholds.
pub(super) fn best_table(
    min: i32,
    weights: &[f64],
    escape_weight: f64,
) -> Result<FreqTable, TableError> {
    let total: f64 = weights.iter().sum::<f64>() + escape_weight;
    if total <= 0.0 || weights.iter().all(|&weight| weight <= 0.0) {
        return Err(TableError::NoWeight);
    }
    if !total.is_finite() {
        return Err(TableError::BadWeight {
            found: total,
            index: weights.len(),
        });
    }
    let slot = total / f64::from(SCALE);
    let mut best: Option<(f64, FreqTable)> = None;
    let mut tried = usize::MAX;
    for share in FOLD_SHARES {
        let kept: Vec<bool> = weights
            .iter()
            .map(|&w| w > 0.0 && w >= share * slot)
            .collect();
        let count = kept.iter().filter(|&&keep| keep).count();
        // Every kept symbol and the escape need a slot.
        if count == 0 || count == tried || count >= SCALE as usize {
            continue;
        }
        tried = count;
        let table = table_of(min, weights, escape_weight, &kept);
        let cost = expected_bits(&table, min, weights, escape_weight);
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
            best = Some((cost, table));
        }
    }
    // At most 4095 weights, so the first threshold always gives a table.
    best.map(|(_, table)| table).ok_or(TableError::NoWeight)
}

/// The table that gives slots to the kept symbols and the escape alone.
fn table_of(min: i32, weights: &[f64], escape_weight: f64, kept: &[bool]) -> FreqTable {
    let first = kept
        .iter()
        .position(|&keep| keep)
        .expect("one symbol is kept");
    let last = kept
        .iter()
        .rposition(|&keep| keep)
        .expect("one symbol is kept");
    let mut escape = escape_weight;
    let mut listed = Vec::with_capacity(last - first + 2);
    for (index, (&weight, &keep)) in weights.iter().zip(kept).enumerate() {
        if keep {
            listed.push(weight);
        } else {
            escape += weight;
            if index > first && index < last {
                listed.push(0.0);
            }
        }
    }
    let gaps: Vec<bool> = kept[first..=last]
        .iter()
        .map(|&keep| !keep)
        .chain([false])
        .collect();
    listed.push(escape);
    let mut frequencies = frequencies_of(&listed, &gaps);
    let escape = frequencies.pop().expect("the escape is last");
    let offset = i32::try_from(first).expect("alphabets are small");
    FreqTable {
        min: min + offset,
        frequencies,
        escape,
    }
}

fn expected_bits(table: &FreqTable, min: i32, weights: &[f64], escape_weight: f64) -> f64 {
    let listed: f64 = (min..)
        .zip(weights)
        .filter(|&(_, &weight)| weight > 0.0)
        .map(|(symbol, &weight)| weight * table.code_length_bits(symbol))
        .sum();
    // What is not listed at all costs the same in every candidate but for the slot.
    listed + escape_weight * super::slot_bits(table.escape)
}

/// One entry's claim to the next slot.
struct Claim {
    gain: f64,
    index: usize,
}

impl PartialEq for Claim {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Claim {}

impl PartialOrd for Claim {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Claim {
    fn cmp(&self, other: &Self) -> Ordering {
        self.gain
            .total_cmp(&other.gain)
            .then(other.index.cmp(&self.index))
    }
}

/// Slots for every entry that is not a gap, one at least, by the greedy rule: each slot goes
/// where `weight * ln((f + 1) / f)` is largest, the lower index first. The cost is convex in
/// each frequency, so this is the optimum.
fn frequencies_of(weights: &[f64], gaps: &[bool]) -> Vec<u16> {
    let entries = gaps.iter().filter(|&&gap| !gap).count();
    let entries = u32::try_from(entries).expect("alphabets are small");
    let total: f64 = weights.iter().sum();
    // Up to the f with `weight / price >= f`, a slot gains more than `price`; with this price
    // all such slots fit, so the greedy rule hands them out in any case.
    let room = SCALE.saturating_sub(2 * entries);
    let price = if room > entries && total > 0.0 {
        total / f64::from(room)
    } else {
        f64::MAX
    };
    let mut frequencies: Vec<u16> = weights
        .iter()
        .zip(gaps)
        .map(|(&weight, &gap)| {
            if gap {
                0
            } else {
                floor_u16(weight / price).max(1)
            }
        })
        .collect();
    let used: u32 = frequencies.iter().map(|&f| u32::from(f)).sum();
    let claim = |index: usize, frequency: u16| Claim {
        gain: weights[index] * math::ln_step(u32::from(frequency)),
        index,
    };
    let mut heap: BinaryHeap<Claim> = (0..weights.len())
        .filter(|&index| !gaps[index])
        .map(|index| claim(index, frequencies[index]))
        .collect();
    for _ in used..SCALE {
        let Some(Claim { index, .. }) = heap.pop() else {
            break;
        };
        frequencies[index] += 1;
        heap.push(claim(index, frequencies[index]));
    }
    frequencies
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "at most the table's total, 4096"
)]
#[expect(clippy::cast_sign_loss, reason = "weights are not negative")]
fn floor_u16(value: f64) -> u16 {
    value as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rule as it is stated, without a warm start.
    fn naive_frequencies(weights: &[f64], gaps: &[bool]) -> Vec<u16> {
        let mut frequencies: Vec<u16> = gaps.iter().map(|&gap| u16::from(!gap)).collect();
        let used: u32 = frequencies.iter().map(|&f| u32::from(f)).sum();
        for _ in used..SCALE {
            let mut best = None;
            for index in (0..weights.len()).filter(|&index| !gaps[index]) {
                let gain = weights[index] * math::ln_step(u32::from(frequencies[index]));
                if best.is_none_or(|(most, _)| gain > most) {
                    best = Some((gain, index));
                }
            }
            frequencies[best.unwrap().1] += 1;
        }
        frequencies
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn warm_start_equals_the_stated_rule(
            entries in prop::collection::vec((0.0f64..1.0, 0u32..8, any::<bool>()), 1..60),
        ) {
            let weights: Vec<f64> =
                entries.iter().map(|e| e.0 * f64::from(1u32 << (3 * e.1))).collect();
            let mut gaps: Vec<bool> = entries.iter().map(|e| e.2).collect();
            gaps[0] = false;
            let weights: Vec<f64> =
                weights.iter().zip(&gaps).map(|(&w, &gap)| if gap { 0.0 } else { w }).collect();
            prop_assert_eq!(frequencies_of(&weights, &gaps), naive_frequencies(&weights, &gaps));
        }

        #[test]
        fn moving_a_slot_never_helps(counts in prop::collection::vec(0u64..1000, 2..30)) {
            prop_assume!(counts.iter().any(|&count| count > 0));
            let table = FreqTable::from_counts(-3, &counts).unwrap();
            let total: u32 = table.frequencies.iter().map(|&f| u32::from(f)).sum();
            prop_assert_eq!(total + u32::from(table.escape), SCALE);
            let weights: Vec<f64> = counts.iter().map(|&count| math::to_f64(count)).collect();
            let cost = |table: &FreqTable| expected_bits(table, -3, &weights, 0.0);
            let least = cost(&table);
            for to in 0..table.frequencies.len() {
                for from in 0..table.frequencies.len() {
                    if table.frequencies[from] > 1 && table.frequencies[to] > 0 {
                        let mut moved = table.clone();
                        moved.frequencies[from] -= 1;
                        moved.frequencies[to] += 1;
                        prop_assert!(cost(&moved) >= least * (1.0 - 1e-12));
                    }
                }
            }
        }
    }
}
