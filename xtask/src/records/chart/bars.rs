//! Bars with words on the left, figures on the right and a whisker for the spread.

use std::fmt::Write as _;

use super::{Axis, CHARACTER, LOOKS, WIDTH, axis, characters, wrapped};
use crate::xml::escaped;

/// Height of one bar with its gap.
const BAR_HEIGHT: f64 = 22.0;

/// Widest column of words; longer ones are cut off and stand in full in the title.
const WORDS_MAX: f64 = 300.0;

/// Horizontal bars, in groups.
#[derive(Debug)]
pub(crate) struct BarChart {
    /// What a listener hears in place of the picture.
    pub(crate) label: String,
    /// Unit of the bars, written below.
    pub(crate) unit: String,
    /// Logarithmic lengths, for values of several decades.
    pub(crate) log: bool,
    /// Headings and their bars.
    pub(crate) groups: Vec<(String, Vec<Bar>)>,
}

/// One bar.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: f64,
    /// Quartiles or a like interval.
    pub(crate) spread: Option<(f64, f64)>,
    /// Shown under the pointer.
    pub(crate) title: String,
    pub(crate) look: usize,
}

impl BarChart {
    /// SVG to stand inside a page that has the charts' style.
    pub(crate) fn svg(&self) -> String {
        let bars = || self.groups.iter().flat_map(|(_, bars)| bars);
        let longest = bars().map(|bar| characters(&bar.name)).fold(4.0, f64::max);
        let left = (CHARACTER * longest + 20.0).min(WORDS_MAX);
        // Room for the figure behind the longest bar.
        let right = WIDTH - 78.0;
        let axis = self.axis();
        let x = |value: f64| left + axis.place(value).clamp(0.0, 1.0) * (right - left);
        let mut y = 8.0;
        let mut body = String::new();
        for (heading, bars) in &self.groups {
            if !heading.is_empty() {
                let _ = writeln!(
                    body,
                    "<text class=\"heading\" x=\"4\" y=\"{:.1}\">{}</text>",
                    y + 16.0,
                    escaped(heading)
                );
                y += BAR_HEIGHT + 4.0;
            }
            for bar in bars {
                body.push_str(&bar.svg(left, y, &x));
                y += BAR_HEIGHT;
            }
            y += 8.0;
        }
        let mut grid = String::new();
        for tick in axis.ticks() {
            let at = x(tick);
            let _ = writeln!(
                grid,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"6\" y2=\"{y:.1}\"/>\
                 <text class=\"middle\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>",
                y + 16.0,
                axis::short(tick)
            );
        }
        let _ = writeln!(
            grid,
            "<text class=\"middle soft\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            0.5 * (left + right),
            y + 36.0,
            escaped(&self.unit)
        );
        wrapped(&self.label, y + 46.0, &(grid + &body))
    }

    fn axis(&self) -> Axis {
        let values = || {
            let bars = self.groups.iter().flat_map(|(_, bars)| bars);
            bars.flat_map(|bar| [Some(bar.value), bar.spread.map(|(_, high)| high)])
                .flatten()
        };
        if self.log {
            let mut axis = Axis::log("", values());
            // Half a decade below the least, which otherwise had no bar to see.
            axis.min /= 3.0;
            return axis;
        }
        let mut axis = Axis::linear("", values().chain([0.0]), 1e-9);
        axis.min = 0.0;
        axis
    }
}

impl Bar {
    fn svg(&self, left: f64, y: f64, x: &dyn Fn(f64) -> f64) -> String {
        let end = x(self.value);
        let middle = y + 0.5 * BAR_HEIGHT;
        let far = self.spread.map_or(end, |(_, high)| x(high).max(end));
        let mut out = format!(
            "<g class=\"mark s{}\"><title>{}</title>\
             <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
             <rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            self.look % LOOKS,
            escaped(&self.title),
            left - 8.0,
            middle + 4.5,
            escaped(&fitting(&self.name, left - 16.0)),
            y + 3.0,
            (end - left).max(1.0),
            BAR_HEIGHT - 6.0
        );
        if let Some((low, high)) = self.spread {
            let _ = write!(
                out,
                "<path class=\"whisker\" d=\"M{0:.1} {2:.1}H{1:.1}M{0:.1} {3:.1}V{4:.1}M{1:.1} {3:.1}V{4:.1}\"/>",
                x(low),
                x(high),
                middle,
                middle - 4.0,
                middle + 4.0
            );
        }
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            far + 6.0,
            middle + 4.5,
            figure(self.value)
        );
        out
    }
}

/// `name`, cut off where it is wider than the column.
fn fitting(name: &str, width: f64) -> String {
    if CHARACTER * characters(name) <= width {
        return name.to_owned();
    }
    let mut short = String::new();
    for c in name.chars() {
        if CHARACTER * (characters(&short) + 2.0) > width {
            break;
        }
        short.push(c);
    }
    short + "\u{2026}"
}

/// Three digits.
pub(crate) fn figure(value: f64) -> String {
    let size = value.abs();
    if size >= 100.0 || size == 0.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}
