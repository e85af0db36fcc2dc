//! Which links are measured.

use anyhow::{Result, ensure};

use crate::lane::{QUEUE_PACKETS, Shape};

/// Most cells of one run.
const MAX_CELLS: usize = 1000;

/// A link: what holds for both directions, and the round trip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cell {
    pub(crate) kbit_s: u64,
    pub(crate) rtt_ms: f64,
    /// Share of packets lost in each direction.
    pub(crate) loss: f64,
}

impl Cell {
    const fn new(kbit_s: u64, rtt_ms: f64, loss: f64) -> Self {
        Self {
            kbit_s,
            rtt_ms,
            loss,
        }
    }

    /// One direction of it.
    pub(crate) fn shape(&self) -> Shape {
        Shape {
            kbit_s: self.kbit_s,
            delay_ns: half_in_ns(self.rtt_ms),
            loss: self.loss,
            queue: QUEUE_PACKETS,
        }
    }
}

/// One line through the grid in each direction, and its two corners.
const DEFAULT: [Cell; 12] = [
    Cell::new(100, 20.0, 0.0),
    Cell::new(500, 20.0, 0.0),
    Cell::new(2_000, 20.0, 0.0),
    Cell::new(10_000, 20.0, 0.0),
    Cell::new(100_000, 20.0, 0.0),
    Cell::new(2_000, 5.0, 0.0),
    Cell::new(2_000, 50.0, 0.0),
    Cell::new(2_000, 100.0, 0.0),
    Cell::new(2_000, 20.0, 0.01),
    Cell::new(2_000, 20.0, 0.05),
    Cell::new(100, 100.0, 0.05),
    Cell::new(100_000, 5.0, 0.0),
];

/// The default cells, or every combination of what was named.
///
/// # Errors
/// For figures out of range, and for too many of them.
pub(crate) fn cells(kbit_s: &[u64], rtt_ms: &[f64], loss_percent: &[f64]) -> Result<Vec<Cell>> {
    if kbit_s.is_empty() && rtt_ms.is_empty() && loss_percent.is_empty() {
        return Ok(DEFAULT.to_vec());
    }
    let rates = or(kbit_s, 2_000);
    let (round_trips, losses) = (or(rtt_ms, 20.0), or(loss_percent, 0.0));
    for kbit_s in &rates {
        ensure!(
            (1..=10_000_000).contains(kbit_s),
            "--kbit {kbit_s}, allowed are 1 to 10000000"
        );
    }
    for rtt_ms in &round_trips {
        ensure!(
            (0.0..=10_000.0).contains(rtt_ms),
            "--rtt-ms {rtt_ms}, allowed are 0 to 10000"
        );
    }
    for loss in &losses {
        ensure!(
            (0.0..=50.0).contains(loss),
            "--loss {loss}, allowed are 0 to 50 per cent"
        );
    }
    let count = rates.len() * round_trips.len() * losses.len();
    ensure!(
        count <= MAX_CELLS,
        "{count} links, allowed are {MAX_CELLS}; name fewer rates, round trips or losses"
    );
    let mut cells = Vec::with_capacity(count);
    for kbit_s in &rates {
        for rtt_ms in &round_trips {
            for loss in &losses {
                cells.push(Cell::new(*kbit_s, *rtt_ms, loss / 100.0));
            }
        }
    }
    Ok(cells)
}

fn or<T: Copy>(given: &[T], default: T) -> Vec<T> {
    if given.is_empty() {
        return vec![default];
    }
    given.to_vec()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be 0 to 10 s"
)]
fn half_in_ns(ms: f64) -> u64 {
    (ms * 1e6 / 2.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_options_there_are_twelve_links_and_with_them_the_full_product() {
        assert_eq!(cells(&[], &[], &[]).unwrap().len(), 12);
        let found = cells(&[100, 500], &[], &[0.0, 5.0]).unwrap();
        let expected = [
            Cell::new(100, 20.0, 0.0),
            Cell::new(100, 20.0, 0.05),
            Cell::new(500, 20.0, 0.0),
            Cell::new(500, 20.0, 0.05),
        ];
        assert_eq!(found, expected);
        assert_eq!(found[0].shape().delay_ns, 10_000_000);
    }

    #[test]
    fn figures_out_of_range_are_refused_by_name() {
        let check = |kbit: &[u64], rtt: &[f64], loss: &[f64], expected: &str| {
            let error = cells(kbit, rtt, loss).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&[0], &[], &[], "--kbit 0");
        check(&[], &[f64::NAN], &[], "--rtt-ms NaN");
        check(&[], &[-1.0], &[], "--rtt-ms -1");
        check(&[], &[], &[51.0], "--loss 51");
        check(&[1; 50], &[1.0; 50], &[], "2500 links");
    }
}
