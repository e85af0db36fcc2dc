//! Cross-entropy of values under mixtures of logistics, with all its derivatives in one pass.

use pulp::Arch;

use super::curves::{ln, sigmoid};
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
