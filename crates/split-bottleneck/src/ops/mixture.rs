//! Cross-entropy of values under mixtures of logistics, with all its derivatives in one pass.

use pulp::Arch;

use super::norm::Maps;
use super::threads;

/// Work of one component on one value, in the multiply-adds that `threads` counts in.
const COMPONENT_MACS: usize = 100;

/// Values that are computed together.
const LANES: usize = 16;

/// Most components of a mixture.
pub(crate) const MAX_COMPONENTS: usize = 4;

/// Derivatives by weight, location and inverse scale.
const PARAMETERS: usize = 3;

/// Parameters, each `[components, channels]`.
#[derive(Clone, Copy)]
pub(crate) struct Mixture<'a> {
    pub(crate) components: usize,
    pub(crate) weights: &'a [f32],
    pub(crate) locations: &'a [f32],
    pub(crate) inverse_scales: &'a [f32],
    /// Added to each probability.
    pub(crate) floor: f32,
}

/// Nats and derivatives of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Entropy {
    /// Of each picture.
    pub(crate) nats: Vec<f32>,
    /// By each value.
    pub(crate) slopes: Vec<f32>,
    /// By each parameter, `[pictures, channels, parameters, components]`.
    pub(crate) sums: Vec<f32>,
}

/// One component in one channel.
#[derive(Clone, Copy, Default)]
struct Component {
    weight: f32,
    location: f32,
    inverse: f32,
}

/// Nats of all values under their channel's mixture integrated over bins of width one.
pub(crate) fn entropy(maps: Maps, x: &[f32], mixture: &Mixture<'_>) -> Entropy {
    let arch = Arch::new();
    let components = mixture.components;
    // Nats, then the parameters' sums, then the slopes of each map: one chunk a map.
    let head = 1 + PARAMETERS * components;
    let chunk = head + maps.points;
    let mut rows = vec![0.0; maps.batch * maps.channels * chunk];
    let work = COMPONENT_MACS * components * maps.points;
    threads::for_each_chunk(&mut rows, chunk, work, |(), index, row| {
        let channel = index % maps.channels;
        let component = |k: usize| {
            let at = k * maps.channels + channel;
            Component {
                weight: mixture.weights[at],
                location: mixture.locations[at],
                inverse: mixture.inverse_scales[at],
            }
        };
        let mut parts = [Component::default(); MAX_COMPONENTS];
        for (k, part) in parts[..components].iter_mut().enumerate() {
            *part = component(k);
        }
        let map = &x[index * maps.points..][..maps.points];
        let (sums, slopes) = row.split_at_mut(head);
        arch.dispatch(|| one_map(map, &parts[..components], mixture.floor, sums, slopes));
    });
    let mut entropy = Entropy {
        nats: Vec::with_capacity(maps.batch),
        slopes: Vec::with_capacity(x.len()),
        sums: Vec::with_capacity(maps.batch * maps.channels * (head - 1)),
    };
    for picture in rows.chunks_exact(maps.channels * chunk) {
        let maps = picture.chunks_exact(chunk);
        entropy.nats.push(maps.clone().map(|row| row[0]).sum());
        for row in maps {
            entropy.sums.extend_from_slice(&row[1..head]);
            entropy.slopes.extend_from_slice(&row[head..]);
        }
    }
    entropy
}

/// `sums` becomes the nats and the parameters' derivatives, `slopes` those by the values.
#[inline(always)]
fn one_map(map: &[f32], parts: &[Component], floor: f32, sums: &mut [f32], slopes: &mut [f32]) {
    let mut totals = [[0.0_f32; LANES]; 1 + PARAMETERS * MAX_COMPONENTS];
    for (values, slopes) in map.chunks(LANES).zip(slopes.chunks_mut(LANES)) {
        let mut x = [0.0; LANES];
        x[..values.len()].copy_from_slice(values);
        // Lanes past the end count nothing.
        let mut live = [0.0_f32; LANES];
        live[..values.len()].fill(1.0);
        let slope = one_block(&x, &live, parts, floor, &mut totals);
        slopes.copy_from_slice(&slope[..slopes.len()]);
    }
    for (sum, total) in sums.iter_mut().zip(&totals) {
        *sum = total.iter().sum();
    }
}

#[inline(always)]
fn one_block(
    x: &[f32; LANES],
    live: &[f32; LANES],
    parts: &[Component],
    floor: f32,
    totals: &mut [[f32; LANES]; 1 + PARAMETERS * MAX_COMPONENTS],
) -> [f32; LANES] {
    let mut mass = [[0.0; LANES]; MAX_COMPONENTS];
    let mut by_location = [[0.0; LANES]; MAX_COMPONENTS];
    let mut by_inverse = [[0.0; LANES]; MAX_COMPONENTS];
    let mut probability = [0.0; LANES];
    let mut rise = [0.0; LANES];
    for (k, part) in parts.iter().enumerate() {
        for i in 0..LANES {
            let (above, below) = (x[i] - part.location + 0.5, x[i] - part.location - 0.5);
            let (upper, lower) = (sigmoid(above * part.inverse), sigmoid(below * part.inverse));
            let (upper_rise, lower_rise) = (upper * (1.0 - upper), lower * (1.0 - lower));
            mass[k][i] = upper - lower;
            by_location[k][i] = (upper_rise - lower_rise) * part.inverse * part.weight;
            by_inverse[k][i] = (upper_rise * above - lower_rise * below) * part.weight;
            probability[i] += mass[k][i] * part.weight;
            rise[i] += by_location[k][i];
        }
    }
    let mut fall = [0.0; LANES];
    for i in 0..LANES {
        let clamped = probability[i].max(0.0);
        totals[0][i] -= live[i] * ln(clamped + floor);
        // A clamped probability has no derivative.
        let open = if probability[i] >= 0.0 { live[i] } else { 0.0 };
        fall[i] = -open / (clamped + floor);
        rise[i] *= fall[i];
    }
    let components = parts.len();
    for k in 0..components {
        for i in 0..LANES {
            totals[1 + k][i] += fall[i] * mass[k][i];
            totals[1 + components + k][i] -= fall[i] * by_location[k][i];
            totals[1 + 2 * components + k][i] += fall[i] * by_inverse[k][i];
        }
    }
    rise
}

/// Scales the derivatives by each picture's gradient: those by the values, then those by weights,
/// locations and inverse scales, each `[components, channels]`.
pub(crate) fn backward(
    maps: Maps,
    components: usize,
    entropy: &Entropy,
    grad: &[f32],
) -> (Vec<f32>, [Vec<f32>; PARAMETERS]) {
    let mut by_value = entropy.slopes.clone();
    for (slopes, grad) in by_value
        .chunks_exact_mut(maps.channels * maps.points)
        .zip(grad)
    {
        for slope in slopes {
            *slope *= grad;
        }
    }
    let mut by_parameter = [0; PARAMETERS].map(|_| vec![0.0; components * maps.channels]);
    let pictures = entropy
        .sums
        .chunks_exact(maps.channels * PARAMETERS * components);
    for (picture, grad) in pictures.zip(grad) {
        let channels = picture.chunks_exact(PARAMETERS * components);
        for (channel, sums) in channels.enumerate() {
            for (target, sums) in by_parameter.iter_mut().zip(sums.chunks_exact(components)) {
                for (k, sum) in sums.iter().enumerate() {
                    target[k * maps.channels + channel] += grad * sum;
                }
            }
        }
    }
    (by_value, by_parameter)
}

#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp2(-x * std::f32::consts::LOG2_E))
}

/// `2^x` to about 2e-7 of its value, in arithmetic that the compiler can turn into vectors; the
/// exponent is kept within what a normal float can hold.
#[inline(always)]
fn exp2(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves the nearest integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-126.0, 126.0);
    let shifted = x + ROUND;
    let rest = (x - (shifted - ROUND)) * std::f32::consts::LN_2;
    let series = 1.0 + rest * (1.0 + rest * (0.5 + rest * (1.0 / 6.0 + rest * tail(rest))));
    f32::from_bits(series.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// The series of the exponential from the fourth power on, divided by it.
#[inline(always)]
fn tail(rest: f32) -> f32 {
    1.0 / 24.0 + rest * (1.0 / 120.0 + rest * (1.0 / 720.0 + rest / 5040.0))
}

/// The logarithm of a positive normal float, to about 2e-7.
#[inline(always)]
fn ln(x: f32) -> f32 {
    // Bits of the square root of a half: mantissas are taken between it and the root of two.
    const ROOT_HALF: u32 = 0x3f35_04f3;
    // An integer below 2^23 in the lowest bits of 2^23 is that float plus 2^23.
    const TWO_23: u32 = 0x4b00_0000;
    let exponent = x.to_bits().wrapping_add((127 << 23) - ROOT_HALF) >> 23;
    let mantissa = f32::from_bits(x.to_bits().wrapping_sub(exponent.wrapping_sub(127) << 23));
    let power = f32::from_bits(TWO_23 | exponent) - 8_388_608.0 - 127.0;
    // ln((1 + s) / (1 - s)) = 2 (s + s^3 / 3 + ..)
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series = 1.0 / 3.0 + square * (0.2 + square * (1.0 / 7.0 + square / 9.0));
    power * std::f32::consts::LN_2 + 2.0 * (s + s * square * series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_accurate_over_its_range() {
        for step in 0..4000_u16 {
            let x = 1e-7_f32 * 1.0105_f32.powi(i32::from(step));
            if x > 1e6 {
                break;
            }
            let error = (f64::from(ln(x)) - f64::from(x).ln()).abs();
            assert!(error <= 1e-6 * f64::from(x).ln().abs().max(0.3), "{x}");
        }
    }

    #[test]
    fn the_sigmoid_is_accurate_and_saturates() {
        for step in -2000_i16..=2000 {
            let x = f32::from(step) / 50.0;
            let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
            let error = (f64::from(sigmoid(x)) - exact).abs();
            assert!(error <= 2e-6 * exact.max(1e-3), "{x}");
        }
        assert_eq!(sigmoid(1e30), 1.0);
        assert!(sigmoid(-1e30) < 1e-37);
    }
}
