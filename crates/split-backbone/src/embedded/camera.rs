//! From linear light to 8-bit pixels: lens, exposure, white balance, tone, sensor noise.

use super::canvas::{Canvas, SIDE};
use super::draw::Draw;
use super::geometry::{Vec3, scale};

/// Pixels a side of a finished picture.
pub(super) const PIXELS: usize = 64;

/// One pass of a 1-2-1 filter over the samples in both directions.
pub(super) fn blur(canvas: &mut Canvas) {
    for (step, line) in [(1, SIDE), (SIDE, 1)] {
        let before = canvas.samples.clone();
        for i in 0..SIDE {
            for j in 0..SIDE {
                let at = i * line + j * step;
                let back = if j == 0 { at } else { at - step };
                let ahead = if j + 1 == SIDE { at } else { at + step };
                let (a, b, c) = (before[back], before[at], before[ahead]);
                canvas.samples[at] = [0, 1, 2].map(|k| 0.25 * (a[k] + c[k]) + 0.5 * b[k]);
            }
        }
    }
}

/// Takes the picture: `PIXELS * PIXELS` RGB triples, top row first.
pub(super) fn expose(canvas: &Canvas, draw: &mut Draw, out: &mut [u8]) {
    let mut pixels = binned(canvas);
    let mean = pixels.iter().map(|p| p[1]).sum::<f32>() / 4096.0;
    let target = draw.within(0.1, 0.26);
    let gain = target / (mean + 0.02);
    let balance = [draw.within(0.85, 1.18), 1.0, draw.within(0.85, 1.18)];
    let vignette = draw.within(0.0, 0.45);
    let contrast = draw.within(0.95, 1.5);
    let saturation = draw.within(0.5, 1.2);
    for (i, pixel) in pixels.iter_mut().enumerate() {
        let (x, y) = (centred(i % PIXELS), centred(i / PIXELS));
        let fall = 1.0 - vignette * 0.5 * (x * x + y * y);
        let light = scale(*pixel, gain * fall);
        *pixel = tone(
            [0, 1, 2].map(|k| light[k] * balance[k]),
            contrast,
            saturation,
        );
    }
    if draw.chance(0.5) {
        sharpen(&mut pixels, draw.within(0.15, 0.7));
    }
    let (noise, coarse) = (draw.within(0.003, 0.015), draw.chance(0.4));
    let grain = sensor_noise(coarse, draw);
    for (i, pixel) in pixels.iter().enumerate() {
        for (k, value) in pixel.iter().enumerate() {
            let amount = noise * (1.3 - 0.6 * value);
            out[i * 3 + k] = quantized(value + amount * grain[i][k]);
        }
    }
}

/// Means of 2 x 2 samples.
fn binned(canvas: &Canvas) -> Vec<Vec3> {
    (0..PIXELS * PIXELS)
        .map(|i| {
            let at = i / PIXELS * 2 * SIDE + i % PIXELS * 2;
            let four = [at, at + 1, at + SIDE, at + SIDE + 1].map(|j| canvas.samples[j]);
            [0, 1, 2].map(|k| 0.25 * four.iter().map(|s| s[k].min(4.0)).sum::<f32>())
        })
        .collect()
}

/// -1 at one border, 1 at the other.
fn centred(i: usize) -> f32 {
    (f32::from(u8::try_from(i).expect("at most 63")) + 0.5) / 32.0 - 1.0
}

/// Film-like curve with a shoulder, then the square root in place of a gamma of 2.2 (an exact
/// operation), then contrast about mid-grey and saturation.
fn tone(light: Vec3, contrast: f32, saturation: f32) -> Vec3 {
    let curved = light.map(|x| (x.max(0.0) * 1.5 / (x.max(0.0) + 0.5)).min(1.0).sqrt());
    let grey = 0.3 * curved[0] + 0.59 * curved[1] + 0.11 * curved[2];
    curved.map(|x| ((grey + (x - grey) * saturation) - 0.5) * contrast + 0.5)
}

/// Unsharp mask with the four neighbours, as cameras do.
fn sharpen(pixels: &mut [Vec3], amount: f32) {
    let before = pixels.to_vec();
    for y in 1..PIXELS - 1 {
        for x in 1..PIXELS - 1 {
            let at = y * PIXELS + x;
            let around = [at - 1, at + 1, at - PIXELS, at + PIXELS];
            for k in 0..3 {
                let mean = 0.25 * around.iter().map(|&j| before[j][k]).sum::<f32>();
                pixels[at][k] += amount * (before[at][k] - mean);
            }
        }
    }
}

/// Bell-shaped noise: most of it common to the three channels; `coarse` spreads it over
/// neighbours as the interpolation of a colour filter does.
fn sensor_noise(coarse: bool, draw: &mut Draw) -> Vec<Vec3> {
    let raw: Vec<Vec3> = (0..PIXELS * PIXELS)
        .map(|_| {
            let common = draw.bell() * 0.8;
            [0, 1, 2].map(|_| common + draw.bell() * 0.6)
        })
        .collect();
    if !coarse {
        return raw;
    }
    (0..PIXELS * PIXELS)
        .map(|i| {
            let right = if i % PIXELS + 1 < PIXELS { i + 1 } else { i };
            let below = if i + PIXELS < raw.len() {
                i + PIXELS
            } else {
                i
            };
            [0, 1, 2].map(|k| 0.6 * (raw[i][k] + raw[right][k] + raw[below][k]))
        })
        .collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=255 before"
)]
fn quantized(value: f32) -> u8 {
    (value * 255.0 + 0.5).clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_rounded_and_clamped() {
        for (value, expected) in [(-1.0, 0), (0.0, 0), (0.5, 128), (1.0, 255), (7.0, 255)] {
            assert_eq!(quantized(value), expected, "{value}");
        }
    }

    #[test]
    fn blur_keeps_a_flat_canvas_flat() {
        let mut canvas = Canvas::new();
        canvas.fill(|_, _| [0.25, 0.5, 0.75]);
        blur(&mut canvas);
        assert!(canvas.samples.iter().all(|s| *s == [0.25, 0.5, 0.75]));
    }

    #[test]
    fn tone_curve_rises() {
        let steps: Vec<f32> = (0..=40u8)
            .map(|i| tone([f32::from(i) / 20.0; 3], 1.0, 1.0)[0])
            .collect();
        assert!(steps.windows(2).all(|w| w[0] <= w[1]));
        assert_eq!(steps[0], 0.0);
    }
}
