//! Links that are drawn, for runs without recorded traces.

use super::super::random::EntityRandom;
use super::super::trace::Trace;

/// Name of the drawn family in records.
pub const SYNTHETIC_FAMILY: &str = "synthetic";

/// A trace of `seconds` half-second steps and more: a rate that wanders around its own level in
/// the logarithm, jumps now and then and sometimes stalls for seconds.
///
/// The level lies between 0.2 and 8 Mbit/s, changes have a spread of 5 to 30 per cent a step; all of
/// it is made up, to be unlike any one recorded family.
///
/// # Panics
/// If `seconds` is zero.
#[must_use]
pub fn synthetic_trace(seed: u64, seconds: u64) -> Trace {
    assert!(seconds > 0, "a trace of no time");
    let mut random = EntityRandom::new(seed, 6 << 32);
    let level = (0.2_f64.ln() + random.unit() * 40_f64.ln()).exp();
    let wander = 0.05 + 0.25 * random.unit();
    let jumps = u32::try_from(random.below(30)).unwrap_or(0);
    let stalls = u32::try_from(random.below(10)).unwrap_or(0);
    let mut off = 0.0;
    let mut stalled = 0;
    let steps: Vec<(u64, u64)> = (0..seconds * 2)
        .map(|index| {
            off = 0.97 * off + wander * random.normal();
            if random.happens(jumps) {
                off = 1.5 * random.normal();
            }
            let (stall, length) = (random.happens(stalls), random.below(10));
            if stall {
                stalled = 1 + length;
            }
            let slow = if stalled > 0 { 0.005 } else { 1.0 };
            stalled = stalled.saturating_sub(1);
            let mbit_s = (level * off.exp() * slow).clamp(0.000_5, 200.0);
            (index * HALF_S_NS, whole(mbit_s * 1e6))
        })
        .collect();
    Trace::from_steps(steps, seconds * 2 * HALF_S_NS).expect("rates above zero in rising steps")
}

const HALF_S_NS: u64 = 500_000_000;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive rate of at most 200 Mbit/s"
)]
const fn whole(bit_per_s: f64) -> u64 {
    bit_per_s as u64
}
