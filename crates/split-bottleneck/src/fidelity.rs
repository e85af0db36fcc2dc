//! How like two pictures are: PSNR and SSIM.

/// Side of SSIM's window (Wang et al. 2004, as the authors' own program has it).
const WINDOW: usize = 11;
/// Deviation of the window's Gaussian, in pixels.
const DEVIATION: f64 = 1.5;
/// Keep SSIM's quotients finite on flat parts: `(0.01 L)^2` and `(0.03 L)^2` with `L` = 1.
const STABLE_MEAN: f64 = 1e-4;
const STABLE_VARIANCE: f64 = 9e-4;

/// Peak signal-to-noise ratio in decibels of values from 0 to 1: `-10 log10(mean squared error)`.
/// Infinite where the pictures are equal.
///
/// # Panics
///
/// When the pictures differ in length or have no values.
#[must_use]
pub fn psnr_db(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len(), "pictures of one size");
    assert!(!found.is_empty(), "pictures have values");
    let squares = found.iter().zip(expected).map(|(a, b)| {
        let difference = f64::from(*a) - f64::from(*b);
        difference * difference
    });
    -10.0 * mean(squares).log10()
}

/// Structural similarity (Wang et al. 2004) of values from 0 to 1: windows of 11x11 pixels weighted
/// by a Gaussian, only where they lie whole within the picture, mean over positions and channels. 1
/// for equal pictures; `None` where a side has fewer than 11 pixels.
///
/// # Shapes
///
/// - `found`, `expected`: `[channels, height, width]`, last dimension fastest
///
/// # Panics
///
/// When the lengths are not `channels * height * width`.
#[must_use]
pub fn ssim(found: &[f32], expected: &[f32], [channels, height, width]: [usize; 3]) -> Option<f64> {
    assert_eq!(found.len(), channels * height * width, "found has its size");
    assert_eq!(
        expected.len(),
        channels * height * width,
        "expected has its size"
    );
    if height < WINDOW || width < WINDOW || channels == 0 {
        return None;
    }
    let plane = height * width;
    let planes = found.chunks_exact(plane).zip(expected.chunks_exact(plane));
    Some(mean(planes.map(|(a, b)| plane_ssim(a, b, width))))
}

fn plane_ssim(a: &[f32], b: &[f32], width: usize) -> f64 {
    let product = |x: &[f32], y: &[f32]| -> Vec<f64> {
        let pairs = x.iter().zip(y);
        pairs.map(|(x, y)| f64::from(*x) * f64::from(*y)).collect()
    };
    let plain = |x: &[f32]| -> Vec<f64> { x.iter().map(|value| f64::from(*value)).collect() };
    let [mean_a, mean_b, square_a, square_b, cross] = [
        plain(a),
        plain(b),
        product(a, a),
        product(b, b),
        product(a, b),
    ]
    .map(|values| smoothed(&values, width));
    let positions = (0..mean_a.len()).map(|at| {
        let (a, b) = (mean_a[at], mean_b[at]);
        let variances = square_a[at] - a * a + square_b[at] - b * b;
        let covariance = cross[at] - a * b;
        (2.0 * a * b + STABLE_MEAN) * (2.0 * covariance + STABLE_VARIANCE)
            / ((a * a + b * b + STABLE_MEAN) * (variances + STABLE_VARIANCE))
    });
    mean(positions)
}

/// Weighted means over every window that lies whole within the plane, rows first.
fn smoothed(values: &[f64], width: usize) -> Vec<f64> {
    let weights = gaussian();
    let columns = width + 1 - WINDOW;
    let rows: Vec<f64> = values
        .chunks_exact(width)
        .flat_map(|row| row.windows(WINDOW).map(|part| dot(part, &weights)))
        .collect();
    let height = rows.len() / columns;
    let mut out = Vec::with_capacity((height + 1 - WINDOW) * columns);
    for top in 0..=height - WINDOW {
        for column in 0..columns {
            let part = (0..WINDOW).map(|row| weights[row] * rows[(top + row) * columns + column]);
            out.push(part.sum());
        }
    }
    out
}

fn gaussian() -> [f64; WINDOW] {
    let mut weights = [0.0; WINDOW];
    let mut distance = -5.0_f64;
    for weight in &mut weights {
        *weight = (-distance * distance / (2.0 * DEVIATION * DEVIATION)).exp();
        distance += 1.0;
    }
    let sum: f64 = weights.iter().sum();
    weights.map(|weight| weight / sum)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 16;
    const REFERENCE_SSIM: f64 = 0.934_268_06;

    /// Waves that a few lines of any language can draw again.
    fn waves(phase: f32) -> Vec<f32> {
        (0..SIDE * SIDE)
            .map(|place| {
                let [row, column] = [place / SIDE, place % SIDE].map(crate::state::usize_to_f32);
                0.5 + 0.25 * (0.7 * row + phase).sin() + 0.25 * (0.4 * column - phase).cos()
            })
            .collect()
    }

    #[test]
    fn psnr_is_ten_decibels_for_each_factor_of_ten_in_error() {
        let black = vec![0.0; 8];
        for (value, expected) in [(1.0, 0.0), (0.1, 20.0), (0.01, 40.0)] {
            let found = psnr_db(&[value; 8], &black);
            assert!((found - expected).abs() < 1e-5, "{value}: {found}");
        }
        assert_eq!(psnr_db(&black, &black), f64::INFINITY);
    }

    #[test]
    fn ssim_of_equal_pictures_is_one_and_of_flat_ones_the_closed_form() {
        let shape = [1, SIDE, SIDE];
        let picture = waves(0.0);
        assert!((ssim(&picture, &picture, shape).unwrap() - 1.0).abs() < 1e-9);
        let flat = |value: f32| vec![value; SIDE * SIDE];
        let found = ssim(&flat(0.25), &flat(0.75), shape).unwrap();
        let expected = (2.0 * 0.25 * 0.75 + 1e-4) / (0.25 * 0.25 + 0.75 * 0.75 + 1e-4);
        assert!((found - expected).abs() < 1e-9, "{found}");
    }

    /// Expected: scikit-image 0.26, `structural_similarity(a, b, data_range=1.0, gaussian_weights=True,
    /// sigma=1.5, use_sample_covariance=False)`, on the same waves.
    #[test]
    fn ssim_agrees_with_scikit_image() {
        let (a, b) = (waves(0.0), waves(0.3));
        let found = ssim(&a, &b, [1, SIDE, SIDE]).unwrap();
        assert!((found - REFERENCE_SSIM).abs() < 1e-5, "{found}");
        let both = [a.clone(), a.clone()].concat();
        let other = [b, a].concat();
        let found = ssim(&both, &other, [2, SIDE, SIDE]).unwrap();
        assert!((found - (REFERENCE_SSIM + 1.0) / 2.0).abs() < 1e-5);
    }

    #[test]
    fn pictures_smaller_than_the_window_have_no_ssim() {
        assert_eq!(ssim(&[0.0; 100], &[0.0; 100], [1, 10, 10]), None);
    }
}
