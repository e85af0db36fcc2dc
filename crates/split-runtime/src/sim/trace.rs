/// Rate of a link over time; it starts again when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Start of each step in nanoseconds, the first 0, and its rate in bits per second.
    steps: Vec<(u64, u64)>,
    /// Bits times 10^9 that pass before each step.
    passed: Vec<u128>,
    length_ns: u64,
    total: u128,
}

/// Why a trace can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The first line isn't the expected header.
    #[error("line 1 is `{found}`, expected `t_s,kbit_s`")]
    Header {
        /// The line found.
        found: String,
    },
    /// A line isn't two numbers that can be meant.
    #[error("line {line} is `{found}`, expected a time and a rate")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// The line found.
        found: String,
    },
    /// Times don't rise.
    #[error("line {line} doesn't come after the one before")]
    NotRising {
        /// Number of the line, from 1.
        line: usize,
    },
    /// There is no step, or the rate is zero in all of them, so nothing would ever arrive.
    #[error("no step with a rate above zero")]
    AlwaysZero,
}

const NS_PER_S: f64 = 1e9;
const BITS_PER_KBIT: f64 = 1e3;

/// A week and a terabit: beyond it a number is a mistake.
const MAX_SECONDS: f64 = 604_800.0;
const MAX_KBIT_PER_S: f64 = 1e9;

impl Trace {
    /// A link that always has the same rate.
    ///
    /// # Panics
    /// If the rate is zero.
    #[must_use]
    pub fn constant(bit_per_s: u64) -> Self {
        Self::from_steps(vec![(0, bit_per_s)], 1_000_000_000).expect("a rate above zero")
    }

    /// A trace from the start of each step in nanoseconds and its rate in bits per second.
    ///
    /// # Errors
    /// [`TraceError::NotRising`] where starts don't rise from 0 or the trace ends before its last
    /// step, [`TraceError::AlwaysZero`] where nothing would ever pass.
    pub fn from_steps(steps: Vec<(u64, u64)>, length_ns: u64) -> Result<Self, TraceError> {
        let mut passed = Vec::with_capacity(steps.len());
        let mut total = 0_u128;
        for (index, &(start, rate)) in steps.iter().enumerate() {
            let end = steps.get(index + 1).map_or(length_ns, |&(next, _)| next);
            if end <= start || (index == 0 && start != 0) {
                return Err(TraceError::NotRising { line: index + 2 });
            }
            passed.push(total);
            total += u128::from(rate) * u128::from(end - start);
        }
        if total == 0 {
            return Err(TraceError::AlwaysZero);
        }
        Ok(Self {
            steps,
            passed,
            length_ns,
            total,
        })
    }

    /// Reads lines of seconds and kbit/s under the header `t_s,kbit_s`. The last step lasts as
    /// long as the median one.
    ///
    /// # Errors
    /// [`TraceError`] naming the line.
    pub fn parse_csv(text: &str) -> Result<Self, TraceError> {
        let mut lines = text.lines().zip(1_usize..);
        let (header, _) = lines.next().unwrap_or(("", 1));
        if header.trim() != "t_s,kbit_s" {
            let found = header.to_owned();
            return Err(TraceError::Header { found });
        }
        let mut steps = Vec::new();
        for (content, line) in lines.filter(|(content, _)| !content.trim().is_empty()) {
            let step = parse_step(content).ok_or_else(|| TraceError::Line {
                line,
                found: content.to_owned(),
            })?;
            steps.push(step);
        }
        if let Some(&(first, _)) = steps.first() {
            steps
                .iter_mut()
                .for_each(|step| step.0 = step.0.saturating_sub(first));
        }
        let mut gaps: Vec<u64> = steps
            .windows(2)
            .map(|pair| pair[1].0.saturating_sub(pair[0].0))
            .collect();
        gaps.sort_unstable();
        let last_ns = gaps.get(gaps.len() / 2).copied().unwrap_or(1_000_000_000);
        let start = steps.last().ok_or(TraceError::AlwaysZero)?.0;
        Self::from_steps(steps, start + last_ns)
    }

    /// Length of one round in nanoseconds.
    #[must_use]
    pub const fn length_ns(&self) -> u64 {
        self.length_ns
    }

    /// When the last of `bits` is out, if they start at `start_ns` and the rate is the trace's
    /// times `scale_permille` / 1000. Integrates over steps, and waits through those of zero.
    ///
    /// # Panics
    /// If `scale_permille` is zero: nothing would ever arrive.
    #[must_use]
    pub fn transmit_end_ns(&self, start_ns: u64, bits: u64, scale_permille: u32) -> u64 {
        assert!(scale_permille > 0, "a link that is scaled to nothing");
        let scale = u128::from(scale_permille);
        // Bits of the unscaled trace, times 10^9, rounded up.
        let wanted = (u128::from(bits) * 1_000_000_000 * 1_000).div_ceil(scale);
        let round = start_ns / self.length_ns;
        let goal = self.passed_at(start_ns % self.length_ns) + wanted;
        // Exactly whole rounds end within the last step that lets bits pass, not at the next start.
        let rounds = (goal.max(1) - 1) / self.total;
        let within = self.time_of(goal - rounds * self.total);
        let rounds = u64::try_from(rounds).unwrap_or(u64::MAX);
        round
            .saturating_add(rounds)
            .saturating_mul(self.length_ns)
            .saturating_add(within)
            .max(start_ns)
    }

    fn passed_at(&self, at_ns: u64) -> u128 {
        let index = self.steps.partition_point(|&(start, _)| start <= at_ns) - 1;
        let (start, rate) = self.steps[index];
        self.passed[index] + u128::from(rate) * u128::from(at_ns - start)
    }

    /// The first time at which `goal` has passed, within the first round.
    fn time_of(&self, goal: u128) -> u64 {
        let index = self.passed.partition_point(|&passed| passed < goal).max(1) - 1;
        let (start, rate) = self.steps[index];
        let rest = goal - self.passed[index].min(goal);
        if rest == 0 {
            return start;
        }
        let more = rest.div_ceil(u128::from(rate.max(1)));
        start.saturating_add(u64::try_from(more).unwrap_or(u64::MAX))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "both numbers are checked to lie between zero and their bound"
)]
fn parse_step(line: &str) -> Option<(u64, u64)> {
    let (time, rate) = line.split_once(',')?;
    let time: f64 = time.trim().parse().ok()?;
    let rate: f64 = rate.trim().parse().ok()?;
    let meant = (0.0..MAX_SECONDS).contains(&time) && (0.0..MAX_KBIT_PER_S).contains(&rate);
    meant.then_some(((time * NS_PER_S) as u64, (rate * BITS_PER_KBIT) as u64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn uneven() -> Trace {
        Trace::parse_csv("t_s,kbit_s\n0,8\n1,0\n3,16\n").unwrap()
    }

    #[test]
    fn a_frame_that_crosses_steps_is_integrated_and_zero_rates_are_waited_through() {
        let trace = uneven();
        // The median of the steps of 1 s and 2 s is taken for the last one.
        assert_eq!(trace.length_ns(), 5 * SECOND);
        let cases = [
            (0, 4_000, SECOND / 2),
            (0, 8_000, SECOND),
            (0, 16_000, 3 * SECOND + SECOND / 2),
            (SECOND + 5, 16_000, 4 * SECOND),
            // A whole round passes 40,000 bits.
            (0, 40_000, 5 * SECOND),
            (0, 48_000, 6 * SECOND),
            (7 * SECOND, 16_000, 9 * SECOND),
        ];
        for (start, bits, end) in cases {
            assert_eq!(
                trace.transmit_end_ns(start, bits, 1_000),
                end,
                "{start} {bits}"
            );
        }
        assert_eq!(trace.transmit_end_ns(0, 2_000, 250), SECOND);
    }

    #[test]
    fn bad_traces_name_their_line() {
        let check = |text: &str, expected: &str| {
            let error = Trace::parse_csv(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("time,rate\n", "line 1 is `time,rate`");
        check("t_s,kbit_s\n0,1\n1,fast\n", "line 3");
        check("t_s,kbit_s\n0,NaN\n", "line 2");
        check("t_s,kbit_s\n0,1\n0,2\n", "line 2 doesn't come after");
        check("t_s,kbit_s\n0,0\n1,0\n", "no step");
        check("t_s,kbit_s\n", "no step");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn transmission_is_monotonic_and_adds_up(
            steps in proptest::collection::vec((1..2_000_000_u64, 0..3_000_000_u64), 1..8),
            start in 0..10_000_000_u64,
            first in 1..20_000_u64,
            second in 1..20_000_u64,
        ) {
            let mut at = 0;
            let mut list = Vec::new();
            for (length, rate) in &steps {
                list.push((at, *rate));
                at += length;
            }
            prop_assume!(steps.iter().any(|&(_, rate)| rate > 0));
            let trace = Trace::from_steps(list, at).unwrap();
            let half = trace.transmit_end_ns(start, first, 1_000);
            let whole = trace.transmit_end_ns(start, first + second, 1_000);
            let chained = trace.transmit_end_ns(half, second, 1_000);
            prop_assert!(start <= half && half <= whole);
            // Rounding up to a nanosecond may add one for each part, and the wait that follows.
            prop_assert!(chained >= whole);
        }
    }
}
