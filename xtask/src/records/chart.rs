//! Charts as SVG: points and lines over two axes, and bars.
//!
//! A chart reads without a script and without colour: every series has its own mark, and each
//! mark says its figures in a `<title>`. Colours come from `chart.css`, which knows light and dark.

mod axis;
mod bars;
mod mark;

use std::fmt::Write as _;

pub(crate) use axis::Axis;
pub(crate) use bars::{Bar, BarChart, figure};
use mark::{legend, shape};

use crate::xml::escaped;

/// Colours of charts, for the page and inside pictures that stand alone.
pub(crate) const STYLE: &str = include_str!("chart.css");

/// Colours, and shapes. Looks from here on pair the same colours with other shapes, so that 64 differ.
pub(crate) const LOOKS: usize = 8;

/// Width of a chart, in its own units; the page scales it.
const WIDTH: f64 = 720.0;

/// Height of the plotting area.
const PLOT_HEIGHT: f64 = 320.0;

/// Width of one character of 13 units on average; legends and labels are laid out with it.
const CHARACTER: f64 = 7.3;

/// Points and lines over two axes.
#[derive(Debug, Default)]
pub(crate) struct Chart {
    /// What a listener hears in place of the picture.
    pub(crate) label: String,
    /// Drawn above the plot where the picture stands alone.
    pub(crate) heading: Option<String>,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
    pub(crate) levels: Vec<Level>,
}

/// One kind of thing.
#[derive(Debug, Default)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// Colour and shape; see [`LOOKS`].
    pub(crate) look: usize,
    pub(crate) dots: Vec<Dot>,
    /// Corners of the line that is drawn through the series.
    pub(crate) line: Vec<(f64, f64)>,
}

/// One point.
#[derive(Debug, Default)]
pub(crate) struct Dot {
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// Shown under the pointer.
    pub(crate) title: String,
    /// Small words beside the point, left out where there is no room.
    pub(crate) note: Option<String>,
    /// Drawn hollow: measured, but another point is better in every respect.
    pub(crate) hollow: bool,
}

/// A line across the whole plot.
#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) name: String,
    pub(crate) y: f64,
}

/// Where the plotting area lies.
#[derive(Clone, Copy, Debug)]
struct Area {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

/// A rectangle that words or marks already take.
#[derive(Clone, Copy, Debug)]
struct Taken {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Chart {
    /// SVG to stand inside a page that has [`STYLE`].
    pub(crate) fn svg(&self) -> String {
        let area = self.area();
        let mut body = self.grid(area);
        let mut taken = Vec::new();
        for level in self.levels.iter().filter(|level| self.y.holds(level.y)) {
            let y = area.y(self.y.place(level.y));
            let _ = writeln!(
                body,
                "<line class=\"level\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                area.left, area.right
            );
            taken.push(Taken {
                left: area.left,
                right: area.right,
                top: y - 1.0,
                bottom: y + 1.0,
            });
        }
        body.push_str(&self.lines(area, &mut taken));
        body.push_str(&self.dots(area, &mut taken));
        let (legend, height) = legend(&self.series, &self.levels, area.bottom + 58.0);
        body.push_str(&legend);
        wrapped(&self.label, height, &body)
    }

    /// SVG that stands alone, colours included.
    pub(crate) fn picture(&self) -> String {
        alone(&self.svg())
    }

    fn area(&self) -> Area {
        let top = if self.heading.is_some() { 40.0 } else { 14.0 };
        Area {
            left: 64.0,
            right: WIDTH - 18.0,
            top,
            bottom: top + PLOT_HEIGHT,
        }
    }

    fn grid(&self, area: Area) -> String {
        let mut out = String::new();
        if let Some(heading) = &self.heading {
            let _ = writeln!(
                out,
                "<text class=\"heading\" x=\"{:.0}\" y=\"24\">{}</text>",
                area.left,
                escaped(heading)
            );
        }
        for tick in self.y.ticks() {
            let y = area.y(self.y.place(tick));
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                area.left,
                area.right,
                area.left - 8.0,
                y + 4.5,
                axis::short(tick)
            );
        }
        for tick in self.x.ticks() {
            let x = area.x(self.x.place(tick));
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
                 <text class=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                area.top,
                area.bottom,
                area.bottom + 18.0,
                axis::short(tick)
            );
        }
        let (middle_x, middle_y) = (
            0.5 * (area.left + area.right),
            0.5 * (area.top + area.bottom),
        );
        let _ = writeln!(
            out,
            "<text class=\"middle soft\" x=\"{middle_x:.1}\" y=\"{:.1}\">{}</text>\
             <text class=\"middle soft\" transform=\"translate(16 {middle_y:.1}) rotate(-90)\">{}</text>",
            area.bottom + 38.0,
            escaped(&self.x.label),
            escaped(&self.y.label)
        );
        out
    }

    fn lines(&self, area: Area, taken: &mut Vec<Taken>) -> String {
        let mut out = String::new();
        for series in self.series.iter().filter(|series| series.line.len() > 1) {
            let inside = clipped(&series.line, &self.y);
            let corners: Vec<(f64, f64)> = inside
                .iter()
                .filter(|(x, y)| self.x.holds(*x) && self.y.holds(*y))
                .map(|(x, y)| (area.x(self.x.place(*x)), area.y(self.y.place(*y))))
                .collect();
            taken.extend(corners.windows(2).flat_map(|pair| along(pair[0], pair[1])));
            let corners: Vec<String> = corners
                .iter()
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            let _ = writeln!(
                out,
                "<polyline class=\"line s{} d{}\" points=\"{}\"/>",
                series.look % LOOKS,
                series.look % LOOKS,
                corners.join(" ")
            );
        }
        out
    }

    fn dots(&self, area: Area, taken: &mut Vec<Taken>) -> String {
        let mut out = String::new();
        let mut notes = Vec::new();
        for series in &self.series {
            for dot in &series.dots {
                if !self.x.holds(dot.x) || !self.y.holds(dot.y) {
                    continue;
                }
                let (x, y) = (area.x(self.x.place(dot.x)), area.y(self.y.place(dot.y)));
                let _ = writeln!(
                    out,
                    "<g class=\"mark s{}{}\"><title>{}</title>{}</g>",
                    series.look % LOOKS,
                    if dot.hollow { " hollow" } else { "" },
                    escaped(&dot.title),
                    shape(series.look, x, y)
                );
                taken.push(Taken {
                    left: x - 6.0,
                    right: x + 6.0,
                    top: y - 6.0,
                    bottom: y + 6.0,
                });
                if let Some(note) = &dot.note {
                    notes.push((x, y, note));
                }
            }
        }
        for (x, y, note) in notes {
            out.push_str(&placed(note, x, y, area, taken));
        }
        out
    }
}

/// Small boxes along a piece of a line, so that no words are written across it.
fn along(from: (f64, f64), to: (f64, f64)) -> Vec<Taken> {
    let length = (to.0 - from.0).hypot(to.1 - from.1);
    let pieces = (1_u32..400)
        .find(|pieces| length / f64::from(*pieces) < 4.0)
        .unwrap_or(400);
    (0..=pieces)
        .map(|i| f64::from(i) / f64::from(pieces))
        .map(|part| {
            let x = from.0 + part * (to.0 - from.0);
            let y = from.1 + part * (to.1 - from.1);
            Taken {
                left: x - 2.0,
                right: x + 2.0,
                top: y - 2.0,
                bottom: y + 2.0,
            }
        })
        .collect()
}

/// `note` at the first side of the point where nothing stands yet; nothing where all are taken.
fn placed(note: &str, x: f64, y: f64, area: Area, taken: &mut Vec<Taken>) -> String {
    let width = 0.85 * CHARACTER * characters(note);
    for (left, middle) in [
        (x + 9.0, y + 12.0),
        (x + 9.0, y - 8.0),
        (x - 9.0 - width, y - 8.0),
        (x - 9.0 - width, y + 12.0),
        (x - 0.5 * width, y + 20.0),
        (x - 0.5 * width, y - 18.0),
    ] {
        let wanted = Taken {
            left,
            right: left + width,
            top: middle - 6.0,
            bottom: middle + 6.0,
        };
        let inside = wanted.left > area.left
            && wanted.right < area.right
            && wanted.top > area.top
            && wanted.bottom < area.bottom;
        if inside && !taken.iter().any(|other| wanted.meets(other)) {
            taken.push(wanted);
            return format!(
                "<text class=\"note\" x=\"{left:.1}\" y=\"{:.1}\">{}</text>\n",
                middle + 4.0,
                escaped(note)
            );
        }
    }
    String::new()
}

/// A line cut off where it leaves the axis `y`, at the very place where it crosses the limit.
fn clipped(line: &[(f64, f64)], y: &Axis) -> Vec<(f64, f64)> {
    let mut out = Vec::new();
    for (i, &(x1, y1)) in line.iter().enumerate() {
        if i > 0 {
            let (x0, y0) = line[i - 1];
            for limit in [y.min, y.max] {
                if (y0 - limit) * (y1 - limit) < 0.0 {
                    let part = (limit - y0) / (y1 - y0);
                    out.push((x0 + part * (x1 - x0), limit));
                }
            }
        }
        out.push((x1, y1));
    }
    out
}

impl Area {
    fn x(&self, part: f64) -> f64 {
        self.left + part * (self.right - self.left)
    }

    fn y(&self, part: f64) -> f64 {
        self.bottom - part * (self.bottom - self.top)
    }
}

impl Taken {
    fn meets(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }
}

fn characters(text: &str) -> f64 {
    f64::from(u32::try_from(text.chars().count()).unwrap_or(u32::MAX))
}

fn wrapped(label: &str, height: f64, body: &str) -> String {
    format!(
        "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" \
         role=\"img\" aria-label=\"{}\">\n{body}</svg>\n",
        escaped(label)
    )
}

/// With style and background of its own.
fn alone(svg: &str) -> String {
    let Some(at) = svg.find('\n') else {
        return svg.to_owned();
    };
    let (open, body) = svg.split_at(at);
    format!(
        "{open}\n<style>\n{STYLE}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>{body}"
    )
}

#[cfg(test)]
mod tests;
