//! Trade-offs of bytes, accuracy and work on the device: which are worth having.

/// One measured trade-off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TradeOff {
    /// Bytes a picture; fewer are better.
    pub bytes: f64,
    /// Accuracy; more is better.
    pub value: f64,
    /// Multiply-accumulates on the device for one picture; fewer are better.
    pub device_macs: f64,
}

impl TradeOff {
    /// Whether this is at least as good in all three and better in one.
    #[must_use]
    pub fn dominates(&self, other: &Self) -> bool {
        let no_worse = self.bytes <= other.bytes
            && self.value >= other.value
            && self.device_macs <= other.device_macs;
        no_worse && self != other
    }
}

/// Rank of each trade-off: 0 on the Pareto front, 1 on the front of the rest, and so on
/// (non-dominated sorting, Deb 2002). One that is not a number comes last of all.
#[must_use]
pub fn pareto_ranks(all: &[TradeOff]) -> Vec<usize> {
    let is_number = |one: &TradeOff| {
        [one.bytes, one.value, one.device_macs]
            .iter()
            .all(|number| !number.is_nan())
    };
    let mut ranks = vec![usize::MAX; all.len()];
    let mut left: Vec<usize> = (0..all.len()).filter(|i| is_number(&all[*i])).collect();
    let mut rank = 0;
    while !left.is_empty() {
        // Nothing dominates a best one, so every round takes at least one.
        let front: Vec<usize> = left
            .iter()
            .copied()
            .filter(|i| !left.iter().any(|other| all[*other].dominates(&all[*i])))
            .collect();
        for index in &front {
            ranks[*index] = rank;
        }
        left.retain(|index| !front.contains(index));
        rank += 1;
    }
    ranks
}

/// The better half of trade-offs, rounded up: by rank, and within a rank those in the widest gaps,
/// so that both ends of a front stay.
#[must_use]
pub fn better_half(all: &[TradeOff]) -> Vec<usize> {
    let ranks = pareto_ranks(all);
    let gaps = gaps(all, &ranks);
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| {
        ranks[*a]
            .cmp(&ranks[*b])
            .then(gaps[*b].total_cmp(&gaps[*a]))
            .then(a.cmp(b))
    });
    order.truncate(all.len().div_ceil(2));
    order.sort_unstable();
    order
}

/// Distance in log bytes between a trade-off's neighbours of the same rank; infinite at the ends.
fn gaps(all: &[TradeOff], ranks: &[usize]) -> Vec<f64> {
    let mut gaps = vec![0.0; all.len()];
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| {
        ranks[*a]
            .cmp(&ranks[*b])
            .then(all[*a].bytes.total_cmp(&all[*b].bytes))
    });
    for place in 0..order.len() {
        let own = order[place];
        let beside = |step: Option<usize>| {
            step.and_then(|at| order.get(at))
                .filter(|other| ranks[**other] == ranks[own])
                .map(|other| all[*other].bytes.max(1e-9).ln())
        };
        let (before, after) = (beside(place.checked_sub(1)), beside(place.checked_add(1)));
        gaps[own] = match (before, after) {
            (Some(before), Some(after)) => after - before,
            _ => f64::INFINITY,
        };
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(triples: &[(f64, f64, f64)]) -> Vec<TradeOff> {
        triples
            .iter()
            .map(|&(bytes, value, device_macs)| TradeOff {
                bytes,
                value,
                device_macs,
            })
            .collect()
    }

    #[test]
    fn ranks_peel_front_after_front() {
        let found = pareto_ranks(&all(&[
            (10.0, 50.0, 1.0),
            (20.0, 60.0, 1.0),
            (20.0, 55.0, 1.0),
            (21.0, 54.0, 1.0),
            (20.0, 55.0, 0.5),
            (f64::NAN, 99.0, 0.0),
        ]));
        assert_eq!(found, [0, 0, 1, 2, 0, usize::MAX]);
    }

    #[test]
    fn equal_trade_offs_share_a_rank() {
        assert_eq!(pareto_ranks(&all(&[(1.0, 1.0, 1.0); 3])), [0, 0, 0]);
        assert!(pareto_ranks(&[]).is_empty());
    }

    #[test]
    fn the_better_half_keeps_both_ends_of_the_front() {
        let front = all(&[
            (10.0, 50.0, 1.0),
            (11.0, 51.0, 1.0),
            (40.0, 60.0, 1.0),
            (90.0, 70.0, 1.0),
            (95.0, 10.0, 1.0),
        ]);
        assert_eq!(better_half(&front), [0, 2, 3]);
        assert_eq!(better_half(&front[..1]), [0]);
    }
}
