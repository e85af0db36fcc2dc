//! Probability and log-odds in integers: straight lines between 23 points of the logistic curve.

/// Largest log-odds, in 1/256.
pub(crate) const MAX_ODDS: i32 = 2815;

/// Log-odds between two points of the curve.
const STEP: i32 = 128;

/// `65536 / (1 + exp(-k / 2))`, rounded, for `k` from 0 on.
const CURVE: [u16; 23] = [
    32768, 40793, 47911, 53581, 57724, 60565, 62428, 63615, 64357, 64816, 65097, 65269, 65374,
    65438, 65476, 65500, 65514, 65523, 65528, 65531, 65533, 65534, 65535,
];

/// Log-odds of the 4096 probabilities that twelve bits hold.
static ODDS: [i16; 4096] = odds_of_probabilities();

/// The probability of log-odds, of 65536.
#[inline]
pub(crate) const fn squash(odds: i32) -> i32 {
    let magnitude = odds.unsigned_abs();
    let magnitude = if magnitude > MAX_ODDS.unsigned_abs() {
        MAX_ODDS.unsigned_abs()
    } else {
        magnitude
    };
    let at = (magnitude / STEP.unsigned_abs()) as usize;
    let within = (magnitude % STEP.unsigned_abs()).cast_signed();
    let (below, above) = (CURVE[at] as i32, CURVE[at + 1] as i32);
    let probability = below + ((above - below) * within) / STEP;
    if odds < 0 {
        65536 - probability
    } else {
        probability
    }
}

/// Log-odds of a probability of 4096: the least whose [`squash`] reaches its middle.
#[inline]
pub(crate) fn stretch(probability: i32) -> i32 {
    i32::from(ODDS[probability.unsigned_abs() as usize & 4095])
}

#[expect(clippy::cast_possible_truncation, reason = "at most 2815 in magnitude")]
const fn odds_of_probabilities() -> [i16; 4096] {
    let mut table = [0; 4096];
    let mut odds = -MAX_ODDS;
    let mut at = 0;
    let mut middle = 8;
    while at < table.len() {
        while odds < MAX_ODDS && squash(odds) < middle {
            odds += 1;
        }
        table[at] = odds as i16;
        at += 1;
        middle += 16;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_the_logistic_one() {
        for (k, &point) in CURVE.iter().enumerate() {
            let exact = 65536.0 / (1.0 + (-(k as f64) / 2.0).exp());
            assert!((f64::from(point) - exact).abs() <= 0.51, "{k}: {exact}");
        }
        let mut last = 0;
        for odds in -MAX_ODDS..=MAX_ODDS {
            let found = squash(odds);
            assert!((1..65536).contains(&found) && found >= last);
            assert_eq!(found + squash(-odds), 65536);
            last = found;
        }
        for probability in 1..4095 {
            assert!((squash(stretch(probability)) / 16 - probability).abs() <= 64 / 16);
        }
    }
}
