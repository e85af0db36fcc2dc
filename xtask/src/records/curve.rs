//! Rate as a function of accuracy: the front of a set of points, interpolated.
//!
//! The logarithm of the rate is interpolated over accuracy by a monotone piecewise cubic (PCHIP,
//! Fritsch and Carlson 1980 with the end slopes of Moler), so the curve never overshoots between points.

use thiserror::Error;

/// Fewest points on the front that give a Bjøntegaard difference a meaning.
const BD_POINTS_MIN: usize = 4;

/// One measured point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Bytes a picture.
    pub bytes: f64,
    /// Accuracy, in the unit of its document.
    pub value: f64,
}

/// `log10(bytes)` as a function of accuracy, over the accuracies that were reached.
#[derive(Clone, Debug)]
pub struct Curve {
    value: Vec<f64>,
    log_bytes: Vec<f64>,
    slope: Vec<f64>,
}

/// Why a figure cannot be given.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum CurveError {
    /// The front has too few points.
    #[error("too few points ({found} on the front, {needed} needed)")]
    TooFew {
        /// Points on the front.
        found: usize,
        /// Fewest that are needed.
        needed: usize,
    },
    /// The curves share less than one point of accuracy.
    #[error("no overlap")]
    NoOverlap,
}

/// Mean difference in rate at equal accuracy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BdRate {
    /// Per cent; negative means fewer bytes.
    pub percent: f64,
    /// Lower end of the accuracies compared.
    pub value_min: f64,
    /// Upper end of the accuracies compared.
    pub value_max: f64,
}

/// Rate of `ours` against `theirs`, averaged over the accuracies that both reach. One point of
/// accuracy is `one_point` in the unit of the values.
///
/// # Errors
/// [`CurveError::TooFew`] under four points on a front, [`CurveError::NoOverlap`] under one point
/// of common accuracy.
pub fn bd_rate(ours: &[Point], theirs: &[Point], one_point: f64) -> Result<BdRate, CurveError> {
    let ours = Curve::new(ours, BD_POINTS_MIN)?;
    let theirs = Curve::new(theirs, BD_POINTS_MIN)?;
    let value_min = ours.value_min().max(theirs.value_min());
    let value_max = ours.value_max().min(theirs.value_max());
    if value_max - value_min < one_point {
        return Err(CurveError::NoOverlap);
    }
    let difference = ours.integral(value_min, value_max) - theirs.integral(value_min, value_max);
    let mean = difference / (value_max - value_min);
    Ok(BdRate {
        percent: (10_f64.powf(mean) - 1.0) * 100.0,
        value_min,
        value_max,
    })
}

impl Curve {
    /// The front of `points`: those that no other point beats in both bytes and accuracy.
    ///
    /// # Errors
    /// [`CurveError::TooFew`] when the front has fewer than `needed` points (two at the least).
    pub fn new(points: &[Point], needed: usize) -> Result<Self, CurveError> {
        let front = front(points);
        let needed = needed.max(2);
        if front.len() < needed {
            let found = front.len();
            return Err(CurveError::TooFew { found, needed });
        }
        let value: Vec<f64> = front.iter().map(|point| point.value).collect();
        let log_bytes: Vec<f64> = front.iter().map(|point| point.bytes.log10()).collect();
        let slope = slopes(&value, &log_bytes);
        Ok(Self {
            value,
            log_bytes,
            slope,
        })
    }

    /// Bytes needed for an accuracy, `None` outside what was reached.
    #[must_use]
    pub fn bytes_at(&self, value: f64) -> Option<f64> {
        let reached = self.value_min() <= value && value <= self.value_max();
        reached.then(|| 10_f64.powf(self.log_bytes_at(value)))
    }

    /// Lowest accuracy on the front.
    #[must_use]
    pub fn value_min(&self) -> f64 {
        self.value[0]
    }

    /// Highest accuracy on the front.
    #[must_use]
    pub fn value_max(&self) -> f64 {
        self.value[self.value.len() - 1]
    }

    fn log_bytes_at(&self, value: f64) -> f64 {
        let after = self.value.partition_point(|known| *known <= value);
        let i = after.clamp(1, self.value.len() - 1) - 1;
        let width = self.value[i + 1] - self.value[i];
        let t = (value - self.value[i]) / width;
        let u = 1.0 - t;
        let ends = u * u * (1.0 + 2.0 * t) * self.log_bytes[i]
            + t * t * (3.0 - 2.0 * t) * self.log_bytes[i + 1];
        ends + width * t * u * (u * self.slope[i] - t * self.slope[i + 1])
    }

    /// Simpson's rule is exact on each cubic piece.
    fn integral(&self, from: f64, to: f64) -> f64 {
        let mut sum = 0.0;
        for pair in self.value.windows(2) {
            let (low, high) = (pair[0].max(from), pair[1].min(to));
            if low < high {
                let middle = self.log_bytes_at(0.5 * (low + high));
                let ends = self.log_bytes_at(low) + self.log_bytes_at(high);
                sum += (high - low) / 6.0 * (ends + 4.0 * middle);
            }
        }
        sum
    }
}

/// Points with accuracy rising with bytes, dominated ones left out, cheapest first.
pub(crate) fn front(points: &[Point]) -> Vec<Point> {
    let mut sorted: Vec<Point> = points
        .iter()
        .copied()
        .filter(|point| point.bytes > 0.0)
        .collect();
    sorted.sort_by(|a, b| {
        a.bytes
            .total_cmp(&b.bytes)
            .then(b.value.total_cmp(&a.value))
    });
    let mut front: Vec<Point> = Vec::new();
    for point in sorted {
        if front.last().is_none_or(|last| last.value < point.value) {
            front.push(point);
        }
    }
    front
}

/// Weighted harmonic means inside, one-sided three-point slopes at the ends.
fn slopes(x: &[f64], y: &[f64]) -> Vec<f64> {
    let width: Vec<f64> = x.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let secant: Vec<f64> = y
        .windows(2)
        .zip(&width)
        .map(|(pair, h)| (pair[1] - pair[0]) / h)
        .collect();
    let last = secant.len() - 1;
    if last == 0 {
        return vec![secant[0]; 2];
    }
    let mut slope = vec![end_slope(width[0], width[1], secant[0], secant[1])];
    for i in 0..last {
        let (before, after) = (secant[i], secant[i + 1]);
        let (w1, w2) = (2.0 * width[i + 1] + width[i], width[i + 1] + 2.0 * width[i]);
        let flat = before * after <= 0.0;
        slope.push(if flat {
            0.0
        } else {
            (w1 + w2) / (w1 / before + w2 / after)
        });
    }
    slope.push(end_slope(
        width[last],
        width[last - 1],
        secant[last],
        secant[last - 1],
    ));
    slope
}

fn end_slope(near_width: f64, far_width: f64, near: f64, far: f64) -> f64 {
    let slope =
        ((2.0 * near_width + far_width) * near - near_width * far) / (near_width + far_width);
    if slope * near <= 0.0 {
        0.0
    } else if near * far <= 0.0 && slope.abs() > 3.0 * near.abs() {
        3.0 * near
    } else {
        slope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(pairs: &[(f64, f64)]) -> Vec<Point> {
        pairs
            .iter()
            .map(|&(bytes, value)| Point { bytes, value })
            .collect()
    }

    fn rival() -> Vec<Point> {
        points(&[
            (100.0, 60.0),
            (180.0, 70.0),
            (300.0, 78.0),
            (520.0, 82.0),
            (900.0, 84.5),
        ])
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }

    #[test]
    fn curve_shifted_by_a_quarter_costs_25_percent() {
        let shifted: Vec<Point> = rival()
            .iter()
            .map(|p| Point {
                bytes: p.bytes * 1.25,
                ..*p
            })
            .collect();
        let found = bd_rate(&shifted, &rival(), 1.0).unwrap();
        close(found.percent, 25.0);
        close(found.value_min, 60.0);
        close(found.value_max, 84.5);
        close(bd_rate(&rival(), &shifted, 1.0).unwrap().percent, -20.0);
    }

    #[test]
    fn difference_is_taken_over_the_common_accuracies_only() {
        let line = |scale: f64, from: f64, to: f64| -> Vec<Point> {
            let value = |i: f64| from + (to - from) * i / 4.0;
            (0..5)
                .map(|i| value(f64::from(i)))
                .map(|value| Point {
                    bytes: scale * 10_f64.powf(value / 50.0),
                    value,
                })
                .collect()
        };
        let found = bd_rate(&line(0.5, 40.0, 70.0), &line(1.0, 60.0, 90.0), 1.0).unwrap();
        close(found.percent, -50.0);
        close(found.value_min, 60.0);
        close(found.value_max, 70.0);
    }

    #[test]
    fn dominated_points_do_not_count() {
        let mut worse = rival();
        worse.extend(points(&[(400.0, 77.0), (901.0, 84.0), (300.0, 75.0)]));
        close(bd_rate(&worse, &rival(), 1.0).unwrap().percent, 0.0);
    }

    #[test]
    fn too_few_points_and_too_little_overlap_are_said() {
        let few = bd_rate(&rival()[..3], &rival(), 1.0).unwrap_err();
        assert_eq!(
            few,
            CurveError::TooFew {
                found: 3,
                needed: 4
            }
        );
        let above = points(&[(1.0, 84.0), (2.0, 85.0), (3.0, 86.0), (4.0, 87.0)]);
        assert_eq!(bd_rate(&above, &rival(), 1.0), Err(CurveError::NoOverlap));
        assert!(bd_rate(&above, &rival(), 0.01).is_ok());
    }

    #[test]
    fn curve_goes_through_its_points_and_stays_monotone() {
        let curve = Curve::new(&rival(), 2).unwrap();
        for point in rival() {
            close(curve.bytes_at(point.value).unwrap(), point.bytes);
        }
        let bytes: Vec<f64> = (0..=245)
            .map(|i| curve.bytes_at(60.0 + f64::from(i) / 10.0).unwrap())
            .collect();
        assert!(bytes.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(curve.bytes_at(59.9), None);
        assert_eq!(curve.bytes_at(84.6), None);
    }

    #[test]
    fn slopes_equal_those_worked_out_by_hand() {
        // Widths 1, 2, 1 and secants 1, 1/2, 3.
        let slope = slopes(&[0.0, 1.0, 3.0, 4.0], &[0.0, 1.0, 2.0, 5.0]);
        close(slope[0], 7.0 / 6.0);
        close(slope[1], 9.0 / (5.0 + 4.0 / 0.5));
        close(slope[2], 9.0 / (4.0 / 0.5 + 5.0 / 3.0));
        close(slope[3], 23.0 / 6.0);
    }
}
