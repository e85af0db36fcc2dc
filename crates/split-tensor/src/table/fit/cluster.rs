//! Few tables for many contexts.

use alloc::vec::Vec;

use super::histogram::{self, Weights};
use crate::math;

/// Rounds of reassignment; later ones change next to nothing.
const MAX_ROUNDS: usize = 12;

/// Groups of similar distributions.
pub(super) struct Groups {
    /// The group of each distribution.
    pub(super) of_each: Vec<usize>,
    /// The weights of each group's members together.
    pub(super) merged: Vec<Weights>,
}

/// At most `limit` groups, each distribution in the group that codes it best.
///
/// As k-means with code length for distance: the start sorts by bits a symbol under the
/// distribution of everything and cuts into even parts, so there is no chance in it.
pub(super) fn cluster(distributions: &[Weights], limit: usize) -> Groups {
    if distributions.len() <= limit {
        return Groups {
            of_each: (0..distributions.len()).collect(),
            merged: distributions.to_vec(),
        };
    }
    let whole = histogram::sum(distributions);
    let lengths = code_lengths(&whole, &whole);
    let mut order: Vec<usize> = (0..distributions.len()).collect();
    let means: Vec<f64> = distributions
        .iter()
        .map(|weights| mean(weights, &lengths))
        .collect();
    order.sort_by(|&a, &b| means[a].total_cmp(&means[b]).then(a.cmp(&b)));
    let mut of_each = alloc::vec![0; distributions.len()];
    for (rank, &index) in order.iter().enumerate() {
        of_each[index] = rank * limit / distributions.len();
    }
    let mut merged = merge(distributions, &mut of_each, limit);
    for _ in 0..MAX_ROUNDS {
        let lengths: Vec<Weights> = merged.iter().map(|m| code_lengths(m, &whole)).collect();
        let nearest: Vec<usize> = distributions
            .iter()
            .map(|weights| nearest(weights, &lengths))
            .collect();
        if nearest == of_each {
            break;
        }
        of_each = nearest;
        merged = merge(distributions, &mut of_each, limit);
    }
    Groups { of_each, merged }
}

/// Adds up the groups and closes the gaps that empty ones leave.
fn merge(distributions: &[Weights], of_each: &mut [usize], limit: usize) -> Vec<Weights> {
    let mut names = alloc::vec![usize::MAX; limit];
    let mut merged: Vec<Weights> = Vec::new();
    for (group, weights) in of_each.iter_mut().zip(distributions) {
        if names[*group] == usize::MAX {
            names[*group] = merged.len();
            merged.push(alloc::vec![0.0; weights.len()]);
        }
        *group = names[*group];
        for (sum, weight) in merged[*group].iter_mut().zip(weights) {
            *sum += weight;
        }
    }
    merged
}

fn nearest(weights: &[f64], lengths: &[Weights]) -> usize {
    let costs = lengths.iter().map(|lengths| mean(weights, lengths));
    costs
        .enumerate()
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(0, |(index, _)| index)
}

/// Bits of each symbol under a distribution with a trace of `whole` mixed in.
fn code_lengths(weights: &[f64], whole: &[f64]) -> Weights {
    let total: f64 = weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let all: f64 = whole.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let share = |weight: f64, whole: f64| weight / total + (whole / all + 1e-6) / 4096.0;
    weights
        .iter()
        .zip(whole)
        .map(|(&weight, &whole)| bits_of(share(weight, whole)))
        .collect()
}

/// `-log2` of a share above 2^-40.
#[expect(
    clippy::cast_possible_truncation,
    reason = "shares are at most about one"
)]
#[expect(clippy::cast_sign_loss, reason = "shares are positive")]
fn bits_of(share: f64) -> f64 {
    const SCALE: f64 = (1u64 << 40) as f64;
    40.0 - math::log2(((share * SCALE) as u64).max(1))
}

fn mean(weights: &[f64], lengths: &[f64]) -> f64 {
    let total: f64 = weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    weights
        .iter()
        .zip(lengths)
        .map(|(weight, length)| weight * length)
        .sum::<f64>()
        / total
}
