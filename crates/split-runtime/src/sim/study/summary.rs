use super::play::Played;

/// Runs of one policy over the traces of a family, at one scale and deadline.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    runs: Vec<Played>,
}

/// Figures of a [`Cell`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Requests of all runs.
    pub requests: u64,
    /// Share of them answered in time.
    pub in_time: f64,
    /// Half of the 95 % confidence interval of that, from the spread between runs.
    pub ci95_in_time: f64,
    /// Mean accuracy of what was in time, in per cent.
    pub value: f64,
    /// Mean accuracy of all requests with late ones counted as wrong, in per cent.
    pub value_at_deadline: f64,
    /// Mean bytes of a request.
    pub bytes: f64,
    /// Changes of split point in a hundred requests.
    pub switches: f64,
    /// Share of requests given up without trying.
    pub given_up: f64,
    /// Median, 95th and 99th percentile of the time to an answer, in milliseconds, of what came.
    pub latency_ms: [f64; 3],
}

impl Cell {
    /// Adds a run.
    pub fn push(&mut self, run: Played) {
        self.runs.push(run);
    }

    /// The runs.
    #[must_use]
    pub fn runs(&self) -> &[Played] {
        &self.runs
    }

    /// Half of the 95 % confidence intervals of how far this policy is from another one over the same runs: in the
    /// share of requests in time, and in the accuracy of what was in time (per cent). A hard link is hard for
    /// both, so these are narrower than the intervals of either.
    ///
    /// # Panics
    /// If the other one has another number of runs.
    #[must_use]
    pub fn ci95_apart(&self, other: &Self) -> [f64; 2] {
        assert_eq!(self.runs.len(), other.runs.len(), "runs of the same links");
        [Played::in_time_share, Played::value].map(|of| {
            let pairs = self.runs.iter().zip(&other.runs);
            let apart: Vec<f64> = pairs.map(|(a, b)| of(a) - of(b)).collect();
            half_interval(&apart)
        })
    }

    /// Figures of all runs; zeros where there is none.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let sum = |of: fn(&Played) -> f64| self.runs.iter().map(of).sum::<f64>();
        let requests = sum(|run| run.requests as f64).max(1.0);
        let in_time = sum(|run| run.in_time as f64);
        let points = sum(|run| run.points);
        let shares: Vec<f64> = self.runs.iter().map(Played::in_time_share).collect();
        let mut latencies: Vec<u64> = self
            .runs
            .iter()
            .flat_map(|run| run.latencies_us.iter().copied())
            .collect();
        latencies.sort_unstable();
        Summary {
            requests: self.runs.iter().map(|run| run.requests).sum(),
            in_time: in_time / requests,
            ci95_in_time: half_interval(&shares),
            value: points / in_time.max(1.0),
            value_at_deadline: points / requests,
            bytes: sum(|run| run.bytes as f64) / requests,
            switches: 100.0 * sum(|run| run.switches as f64) / requests,
            given_up: sum(|run| run.given_up as f64) / requests,
            latency_ms: [500, 950, 990].map(|permille| percentile_ms(&latencies, permille)),
        }
    }
}

impl Played {
    /// Share of requests in time.
    #[must_use]
    pub fn in_time_share(&self) -> f64 {
        self.in_time as f64 / (self.requests as f64).max(1.0)
    }

    /// Mean accuracy of what was in time, in per cent; 0 where nothing was.
    fn value(&self) -> f64 {
        self.points / (self.in_time as f64).max(1.0)
    }
}

/// 1.96 standard errors of the mean; runs are independent, the requests of one are not.
fn half_interval(shares: &[f64]) -> f64 {
    let count = shares.len() as f64;
    if count < 2.0 {
        return 0.0;
    }
    let mean = shares.iter().sum::<f64>() / count;
    let square: f64 = shares.iter().map(|share| (share - mean).powi(2)).sum();
    1.96 * (square / (count - 1.0) / count).sqrt()
}

fn percentile_ms(sorted_us: &[u64], permille: usize) -> f64 {
    let at = sorted_us.len() * permille / 1_000;
    let last = sorted_us.len().saturating_sub(1);
    sorted_us
        .get(at.min(last))
        .map_or(0.0, |&us| us as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_runs() {
        let run = |in_time| Played {
            requests: 100,
            in_time,
            points: 90.0 * in_time as f64,
            bytes: 1_000,
            switches: 2,
            latencies_us: (1..=100).map(|ms| ms * 1_000).collect(),
            ..Played::default()
        };
        let mut cell = Cell::default();
        cell.push(run(80));
        cell.push(run(100));
        let summary = cell.summary();
        assert_eq!(
            (summary.requests, summary.in_time, summary.value),
            (200, 0.9, 90.0)
        );
        assert_eq!(
            (summary.value_at_deadline, summary.bytes, summary.switches),
            (81.0, 10.0, 2.0)
        );
        assert_eq!(summary.latency_ms, [51.0, 96.0, 100.0]);
        // Two shares, 0.1 off the mean each: a standard error of 0.1.
        assert!((summary.ci95_in_time - 0.196).abs() < 1e-12);
        assert_eq!(Cell::default().summary().in_time, 0.0);
    }

    #[test]
    fn intervals_of_pairs_leave_out_what_both_have() {
        let cell = |shares: [u64; 3], accuracy: f64| {
            let mut cell = Cell::default();
            for in_time in shares {
                cell.push(Played {
                    requests: 100,
                    in_time,
                    points: accuracy * in_time as f64,
                    ..Played::default()
                });
            }
            cell
        };
        let (own, other) = (cell([30, 60, 90], 90.0), cell([32, 62, 92], 88.0));
        let [in_time, value] = own.ci95_apart(&other);
        assert!(own.summary().ci95_in_time > 0.3);
        assert!(in_time < 1e-9 && value < 1e-9, "{in_time} {value}");
        let [in_time, _] = own.ci95_apart(&cell([30, 60, 60], 88.0));
        // Differences of 0, 0 and 0.3: a standard error of 0.1.
        assert!((in_time - 0.196).abs() < 1e-12, "{in_time}");
    }
}
