//! Marks of points, and the legend that explains them.

use std::fmt::Write as _;

use super::{CHARACTER, LOOKS, Level, Series, WIDTH, characters};
use crate::xml::escaped;

/// The mark of a look around a point: eight shapes that differ without colour, moved on by one each
/// time the colours begin again.
pub(super) fn shape(look: usize, x: f64, y: f64) -> String {
    let corners = |parts: &[(f64, f64)]| -> String {
        let parts: Vec<String> = parts
            .iter()
            .map(|(dx, dy)| format!("{:.1} {:.1}", x + dx, y + dy))
            .collect();
        format!("<path d=\"M{}Z\"/>", parts.join("L"))
    };
    match (look + look / LOOKS) % LOOKS {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.6\"/>"),
        1 => corners(&[(-4.2, -4.2), (4.2, -4.2), (4.2, 4.2), (-4.2, 4.2)]),
        2 => corners(&[(0.0, -5.2), (5.0, 4.0), (-5.0, 4.0)]),
        3 => corners(&[(0.0, -5.8), (5.0, 0.0), (0.0, 5.8), (-5.0, 0.0)]),
        4 => corners(&[(0.0, 5.2), (5.0, -4.0), (-5.0, -4.0)]),
        5 => corners(&[(-1.5, -5.0), (1.5, -5.0), (1.5, 5.0), (-1.5, 5.0)]),
        6 => corners(&[(-5.0, -1.5), (5.0, -1.5), (5.0, 1.5), (-5.0, 1.5)]),
        _ => corners(&[
            (-2.5, -5.0),
            (2.5, -5.0),
            (5.0, 0.0),
            (2.5, 5.0),
            (-2.5, 5.0),
            (-5.0, 0.0),
        ]),
    }
}

/// The legend from `top` on, and the height of the whole chart.
pub(super) fn legend(series: &[Series], levels: &[Level], top: f64) -> (String, f64) {
    let mut out = String::new();
    let (mut x, mut y) = (64.0, top + 12.0);
    let names = series.iter().map(|one| (&one.name, Some(one)));
    for (name, one) in names.chain(levels.iter().map(|level| (&level.name, None))) {
        let width = 34.0 + CHARACTER * characters(name) + 18.0;
        if x > 64.0 && x + width > WIDTH {
            x = 64.0;
            y += 22.0;
        }
        let mark = one.map_or_else(
            || {
                format!(
                    "<line class=\"level\" x1=\"{x:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                    x + 26.0
                )
            },
            |one| sample(one, x, y),
        );
        let _ = writeln!(
            out,
            "{mark}<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x + 34.0,
            y + 4.5,
            escaped(name)
        );
        x += width;
    }
    let height = if out.is_empty() { top } else { y + 18.0 };
    (out, height)
}

fn sample(series: &Series, x: f64, y: f64) -> String {
    let look = series.look % LOOKS;
    let mut out = String::new();
    if series.line.len() > 1 {
        let _ = write!(
            out,
            "<polyline class=\"line s{look} d{look}\" points=\"{x:.1},{y:.1} {:.1},{y:.1}\"/>",
            x + 26.0
        );
    }
    if !series.dots.is_empty() {
        let _ = write!(
            out,
            "<g class=\"key s{look}\">{}</g>",
            shape(series.look, x + 13.0, y)
        );
    }
    out
}
