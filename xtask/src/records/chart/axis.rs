//! Axes: from values to places, and which values are written beside them.

/// Most values written beside an axis.
const TICKS_MAX: usize = 9;

/// One axis of a chart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    pub(crate) label: String,
    /// Logarithmic; then `min` is above zero.
    pub(crate) log: bool,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Default for Axis {
    fn default() -> Self {
        Self {
            label: String::new(),
            log: false,
            min: 0.0,
            max: 1.0,
        }
    }
}

impl Axis {
    /// A logarithmic axis around the positive ones of `values`.
    pub(crate) fn log(label: &str, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = ends(values.filter(|value| *value > 0.0)).unwrap_or((1.0, 10.0));
        // At least half a decade, so that one value alone has an axis.
        let (low, high) = (low / 1.15, (high * 1.15).max(low * 3.0));
        Self {
            label: label.to_owned(),
            log: true,
            min: low,
            max: high,
        }
    }

    /// A linear axis around `values`, at least `width_min` wide.
    pub(crate) fn linear(label: &str, values: impl Iterator<Item = f64>, width_min: f64) -> Self {
        let (low, high) = ends(values).unwrap_or((0.0, 1.0));
        let width = (high - low).max(width_min);
        Self {
            label: label.to_owned(),
            log: false,
            min: low - 0.04 * width,
            max: low + 1.06 * width,
        }
    }

    pub(crate) fn holds(&self, value: f64) -> bool {
        // Lines are cut off at the very limit, which then counts as inside.
        let place = self.place(value);
        place.is_finite() && (-1e-9..=1.0 + 1e-9).contains(&place)
    }

    /// 0 at `min`, 1 at `max`.
    pub(crate) fn place(&self, value: f64) -> f64 {
        if self.log {
            (value / self.min).ln() / (self.max / self.min).ln()
        } else {
            (value - self.min) / (self.max - self.min)
        }
    }

    /// Round values inside the axis.
    pub(crate) fn ticks(&self) -> Vec<f64> {
        if self.log {
            let mut ticks = self.log_ticks(&[1.0, 2.0, 5.0]);
            if ticks.len() > TICKS_MAX {
                ticks = self.log_ticks(&[1.0]);
            }
            if ticks.len() > TICKS_MAX {
                let apart = ticks.len().div_ceil(TICKS_MAX);
                ticks = ticks.into_iter().step_by(apart).collect();
            }
            if ticks.len() < 3 {
                ticks = self.log_ticks(&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0]);
            }
            return ticks;
        }
        let rough = (self.max - self.min) / 6.0;
        let decade = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|part| part * decade)
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let first = (self.min / step).ceil();
        (0..=TICKS_MAX)
            .map(|i| (first + f64::from(u32::try_from(i).unwrap_or(0))) * step)
            .filter(|value| self.holds(*value))
            .collect()
    }

    fn log_ticks(&self, parts: &[f64]) -> Vec<f64> {
        let mut found = Vec::new();
        let mut decade = 10_f64.powf(self.min.log10().floor());
        while decade <= self.max && found.len() < 100 {
            found.extend(
                parts
                    .iter()
                    .map(|part| part * decade)
                    .filter(|value| self.holds(*value)),
            );
            decade *= 10.0;
        }
        found
    }
}

/// Smallest and largest of the finite values.
fn ends(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values
        .filter(|value| value.is_finite())
        .fold(None, |ends, value| {
            let (low, high) = ends.unwrap_or((value, value));
            Some((low.min(value), high.max(value)))
        })
}

/// A number of a few characters: `20`, `0.5`, `20k`, `3M`.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    let (scaled, unit) = if size >= 1e6 {
        (value / 1e6, "M")
    } else if size >= 1e4 {
        (value / 1e3, "k")
    } else {
        (value, "")
    };
    // Three decimals at most; what is not needed goes.
    let text = format!("{scaled:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    let text = if text == "-0" { "0" } else { text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_an_axis_lie_at_zero_and_one() {
        for axis in [
            Axis::log("", [10.0, 1000.0].into_iter()),
            Axis::linear("", [-3.0, 8.0].into_iter(), 1.0),
        ] {
            assert!(axis.place(axis.min).abs() < 1e-12);
            assert!((axis.place(axis.max) - 1.0).abs() < 1e-12);
            let middle = axis.place(7.0);
            assert!(axis.log || (0.0..1.0).contains(&middle));
        }
    }

    #[test]
    fn any_values_give_finite_axes_with_some_ticks() {
        for values in [
            vec![],
            vec![5.0],
            vec![f64::NAN, 0.0, -1.0],
            vec![1.0, 1.0],
            vec![1e-3, 1e9],
            vec![0.3, 0.31],
            vec![f64::INFINITY, 7.0],
        ] {
            for axis in [
                Axis::log("", values.iter().copied()),
                Axis::linear("", values.iter().copied(), 0.1),
            ] {
                let ticks = axis.ticks();
                assert!(axis.max > axis.min, "{axis:?}");
                assert!((2..=12).contains(&ticks.len()), "{axis:?} {ticks:?}");
                for tick in ticks {
                    assert!((-1e-6..=1.0 + 1e-6).contains(&axis.place(tick)), "{axis:?}");
                }
            }
        }
    }

    #[test]
    fn numbers_are_short_and_exact_to_three_decimals() {
        for (value, expected) in [
            (20.0, "20"),
            (0.5, "0.5"),
            (9999.0, "9999"),
            (20_000.0, "20k"),
            (3e6, "3M"),
            (-0.0, "0"),
            (0.0125, "0.013"),
        ] {
            assert_eq!(short(value), expected);
        }
    }
}
