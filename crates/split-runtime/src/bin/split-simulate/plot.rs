//! One panel for each family, scale and deadline: answers in time against their accuracy.

use std::fmt::Write as _;

use crate::study::{Compared, ORACLE, OWN};

const PANEL_WIDTH: f64 = 230.0;
const PANEL_HEIGHT: f64 = 170.0;
const MARGIN: f64 = 34.0;
const TOP: f64 = 44.0;

/// Name, colour and radius of what is drawn; fixed choices are the rest.
const MARKS: [(&str, &str, f64); 6] = [
    (ORACLE, "#000000", 5.0),
    ("oracle", "#888888", 3.5),
    (OWN, "#d55e00", 5.0),
    ("throughput", "#005ab5", 3.5),
    ("neurosurgeon", "#009e73", 3.5),
    ("dynamic-split", "#cc79a7", 3.5),
];

/// Draws all places; the panels of a family share a row.
pub(crate) fn svg(all: &[Compared]) -> String {
    let mut families: Vec<&str> = all
        .iter()
        .map(|compared| compared.place.family.as_str())
        .collect();
    families.dedup();
    let columns = all.len() / families.len().max(1);
    let width = columns as f64 * PANEL_WIDTH + MARGIN;
    let height = families.len() as f64 * PANEL_HEIGHT + TOP + MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"10\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    legend(&mut out);
    for (index, compared) in all.iter().enumerate() {
        let (row, column) = (index / columns.max(1), index % columns.max(1));
        let left = MARGIN + column as f64 * PANEL_WIDTH;
        let top = TOP + row as f64 * PANEL_HEIGHT;
        panel(&mut out, compared, left, top);
    }
    out += "</svg>\n";
    out
}

fn legend(out: &mut String) {
    let _ = writeln!(
        out,
        "<text x=\"{MARGIN}\" y=\"14\">share of requests in time (right is better) against the mean accuracy of those (up is better)</text>"
    );
    let mut x = MARGIN;
    for (name, colour, radius) in MARKS.into_iter().chain([("fixed choices", "#bbbbbb", 2.5)]) {
        let _ = writeln!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"27\" r=\"{radius}\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"31\">{name}</text>",
            x + 8.0
        );
        x += 110.0;
    }
}

fn panel(out: &mut String, compared: &Compared, left: f64, top: f64) {
    let (width, height) = (PANEL_WIDTH - MARGIN - 8.0, PANEL_HEIGHT - MARGIN - 8.0);
    let values = compared
        .rows
        .values()
        .filter(|row| row.in_time > 0.0)
        .map(|row| row.value);
    let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let (low, high) = match low.is_finite() {
        true => (low.floor() - 0.5, high.ceil() + 0.5),
        false => (0.0, 100.0),
    };
    let x_of = |share: f64| left + share * width;
    let y_of = |value: f64| top + 14.0 + (high - value) / (high - low) * (height - 14.0);
    let place = &compared.place;
    let _ = writeln!(
        out,
        "<text x=\"{left:.1}\" y=\"{:.1}\" font-weight=\"bold\">{} x{}, {} ms</text>\n<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"none\" stroke=\"#999999\"/>",
        top + 10.0,
        place.family,
        place.scale,
        place.deadline_ms,
        top + 14.0,
        height - 14.0
    );
    for share in [0.0, 0.5, 1.0] {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{share}</text>",
            x_of(share),
            top + height + 12.0
        );
    }
    for value in [low + 0.5, high - 0.5] {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value:.0}</text>",
            left - 3.0,
            y_of(value) + 3.0
        );
    }
    let known = |name: &str| MARKS.iter().find(|mark| mark.0 == name).copied();
    // The marked ones last, on top of the rest.
    let mut rows: Vec<_> = compared
        .rows
        .iter()
        .filter(|(_, row)| row.in_time > 0.0)
        .collect();
    rows.sort_by_key(|(name, _)| known(name).is_some());
    for (name, row) in rows {
        let (_, colour, radius) = known(name).unwrap_or(("", "#bbbbbb", 2.5));
        let _ = writeln!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\" fill=\"{colour}\"><title>{name}: {:.4} in time at {:.2}</title></circle>",
            x_of(row.in_time),
            y_of(row.value),
            row.in_time,
            row.value
        );
    }
}
