//! Pictures of a rate-accuracy document.

use crate::chart::{Axis, Chart, Dot, Level, Series};
use crate::curve::front;
use crate::tables::{
    HELPED_KINDS, PICTURE_KINDS, accuracy, bytes, coded_kinds, dash, metric_name, millions, share,
};
use crate::{Curve, Point, RaDocument, Row};

/// Points further below the unsplit network than this are left to the table: they would squeeze
/// the part of the picture in which one chooses.
const LOSS_SHOWN_MAX: f64 = 35.0;

/// Pieces of a curve's line.
const LINE_PIECES: u32 = 60;

/// Losses at which the price of a split is drawn, points.
const LOSSES: [f64; 3] = [1.0, 3.0, 5.0];

/// Kinds that pictures leave to the tables and to the report: they say little of what to choose.
const LEFT_OUT: [&str; 7] = [
    "huffman",
    "int4",
    "int8",
    "int8-encoder",
    "png",
    "step-only",
    "webp-lossless",
];

/// Accuracy against bytes as a picture for Markdown pages: SVG that stands alone. Kinds that say little of what
/// to choose are left to the tables.
#[must_use]
pub fn rate_picture(document: &RaDocument) -> String {
    let mut pictured = document.clone();
    pictured.rows.retain(|row| {
        ![&LEFT_OUT[..], &HELPED_KINDS]
            .concat()
            .contains(&row.kind.as_str())
    });
    let mut chart = rate_chart(&pictured);
    let (data, backbone) = (&document.data, &document.backbone);
    chart.heading = Some(format!(
        "{} cut at {}, pictures {}",
        backbone.name, backbone.split, data.name
    ));
    chart.picture()
}

/// Accuracy against bytes: every kind with its points and the line through its front.
pub(crate) fn rate_chart(document: &RaDocument) -> Chart {
    let shown = shown_rows(document);
    let metric = metric_name(document);
    let values = shown.iter().map(|row| row.value);
    let chart_levels = levels(document);
    let values = values.chain(chart_levels.iter().map(|level| level.y));
    let series = kinds(document)
        .into_iter()
        .enumerate()
        .map(|(place, kind)| rate_series(document, &kind, look(&kind, place), &shown))
        .filter(|series| !series.dots.is_empty())
        .collect();
    Chart {
        label: format!(
            "{metric} against bytes a picture, {} cut at {} on {}; the figures stand in the table below",
            document.backbone.name, document.backbone.split, document.data.name
        ),
        heading: None,
        x: Axis::log(
            "bytes a picture, whole frame or file (logarithmic)",
            shown.iter().map(|row| row.bytes),
        ),
        y: Axis::linear(metric, values, document.backbone.points()),
        series,
        levels: chart_levels,
    }
}

/// Rows that [`rate_chart`] leaves out because they lie too far below, by number.
pub(crate) fn rows_below(document: &RaDocument) -> usize {
    let drawn = |row: &&Row| has_curve(row);
    let all = document.means().iter().filter(drawn).count();
    all - shown_rows(document).len()
}

/// What a cut costs: bytes at a fixed loss against the part of the network on the device. The
/// documents are of one network on one data set.
pub(crate) fn split_chart(documents: &[&RaDocument]) -> Option<Chart> {
    let first = documents.first()?;
    let mut series: Vec<Series> = Vec::new();
    for (look, loss) in LOSSES.into_iter().enumerate() {
        let mut dots: Vec<Dot> = documents
            .iter()
            .flat_map(|document| split_dots(document, loss))
            .collect();
        dots.sort_by(|a, b| a.x.total_cmp(&b.x).then(a.y.total_cmp(&b.y)));
        dots.dedup_by(|a, b| a.title == b.title);
        series.push(Series {
            name: format!("at most {} lost", counted_points(loss)),
            look,
            // No line: between two cuts there is nothing.
            line: Vec::new(),
            dots,
        });
    }
    series.retain(|one| !one.dots.is_empty());
    name_once(&mut series);
    if series.is_empty() {
        return None;
    }
    let dots = || series.iter().flat_map(|one| &one.dots);
    Some(Chart {
        label: format!(
            "Bytes a picture against the share of {} that the device computes, at fixed losses",
            first.backbone.name
        ),
        heading: None,
        x: Axis::linear(
            "share of the network's MACs on the device, %",
            [0.0, 100.0].into_iter(),
            1.0,
        ),
        y: Axis::log("bytes a picture (logarithmic)", dots().map(|dot| dot.y)),
        series,
        levels: Vec::new(),
    })
}

/// The same place in several series gets its name once.
fn name_once(series: &mut [Series]) {
    let mut named: Vec<String> = Vec::new();
    for dot in series.iter_mut().flat_map(|one| &mut one.dots) {
        if named.contains(&dot.title) {
            dot.note = None;
        } else {
            named.push(dot.title.clone());
        }
    }
}

/// The cheapest rung of a document and the cheapest picture at a loss, and the device alone.
fn split_dots(document: &RaDocument, loss: f64) -> Vec<Dot> {
    let backbone = &document.backbone;
    let least = backbone.value - loss * backbone.points();
    let enough = |row: &Row| row.value >= least - 1e-9;
    let cheapest = |keep: &dyn Fn(&Row) -> bool| {
        let rows = document.means().into_iter();
        rows.filter(|row| keep(row) && enough(row))
            .min_by(|a, b| a.bytes.total_cmp(&b.bytes))
    };
    let coded = coded_kinds(document);
    let found = [
        cheapest(&|row| PICTURE_KINDS.contains(&row.kind.as_str())),
        cheapest(&|row| {
            coded.contains(&row.kind) && row.device_macs.is_some_and(|macs| macs > 0.0)
        }),
        cheapest(&|row| row.kind == "device-only"),
    ];
    found
        .into_iter()
        .flatten()
        .filter(|row| row.bytes > 0.0 && backbone.macs > 0.0)
        .map(|row| {
            let place = if row.device_macs == Some(0.0) || row.kind == "device-only" {
                row.name.clone()
            } else {
                format!("{} {}", backbone.split, row.name)
            };
            let x = 100.0 * row.device_macs.unwrap_or(0.0) / backbone.macs;
            Dot {
                x,
                y: row.bytes,
                title: format!(
                    "{place}: {} bytes, {x:.0} % of the MACs on the device, {} {}",
                    bytes(row.bytes),
                    accuracy(document, row.value),
                    metric_name(document)
                ),
                note: Some(place),
                hollow: false,
            }
        })
        .collect()
}

fn rate_series(document: &RaDocument, kind: &str, look: usize, shown: &[Row]) -> Series {
    let rows: Vec<&Row> = shown.iter().filter(|row| row.kind == kind).collect();
    let all = document.points_of(kind);
    let best = front(&all);
    let on_front = |row: &Row| best.iter().any(|point| is(point, row));
    let notes: Vec<Option<String>> = rows.iter().map(|row| device_note(row)).collect();
    // What all points share is said once, in the legend.
    let shared = notes.first().and_then(Option::as_ref);
    let shared = shared.filter(|first| notes.iter().all(|note| note.as_ref() == Some(*first)));
    let dots = rows
        .iter()
        .zip(&notes)
        .map(|(row, note)| Dot {
            x: row.bytes,
            y: row.value,
            title: row_title(document, row),
            note: note.clone().filter(|_| shared.is_none()),
            hollow: !on_front(row),
        })
        .collect();
    Series {
        name: shared.map_or_else(
            || kind.to_owned(),
            |macs| format!("{kind} ({macs} MACs on the device)"),
        ),
        look,
        dots,
        line: curve_line(&all),
    }
}

#[expect(
    clippy::float_cmp,
    reason = "a point of the front is a copy of the row's figures"
)]
fn is(point: &Point, row: &Row) -> bool {
    point.bytes == row.bytes && point.value == row.value
}

/// The interpolation that tables use, as corners of a line.
fn curve_line(points: &[Point]) -> Vec<(f64, f64)> {
    let Ok(curve) = Curve::new(points, 2) else {
        return Vec::new();
    };
    let (low, high) = (curve.value_min(), curve.value_max());
    (0..=LINE_PIECES)
        .map(|i| low + (high - low) * f64::from(i) / f64::from(LINE_PIECES))
        // Rounding may put the last one beyond the end.
        .map(|value| value.min(high))
        .filter_map(|value| Some((curve.bytes_at(value)?, value)))
        .collect()
}

/// `1 point`, `3 points`.
pub(crate) fn counted_points(count: f64) -> String {
    let ending = if (count - 1.0).abs() < 1e-9 { "" } else { "s" };
    format!("{count} point{ending}")
}

/// Multiply-accumulates on the device, where there are any.
fn device_note(row: &Row) -> Option<String> {
    row.device_macs.filter(|macs| *macs > 0.0).map(millions)
}

/// All that matters of a row, for the pointer.
pub(crate) fn row_title(document: &RaDocument, row: &Row) -> String {
    let device = row.device_macs.map_or_else(dash, |macs| {
        format!(
            "{} ({})",
            millions(macs),
            share(macs, document.backbone.macs)
        )
    });
    format!(
        "{}: {} bytes, {} {}, device MACs {device}",
        row.name,
        bytes(row.bytes),
        accuracy(document, row.value),
        metric_name(document),
    )
}

/// The same value for both is one line.
fn levels(document: &RaDocument) -> Vec<Level> {
    let backbone = &document.backbone;
    let means = document.means();
    let alone = means.iter().find(|row| row.kind == "device-only");
    let name = |what: &str, value: f64| format!("{what} {}", accuracy(document, value));
    let near = |value: f64| (value - backbone.value).abs() < 0.005 * backbone.points();
    match alone {
        Some(row) if near(row.value) => vec![Level {
            name: name("unsplit, device only", backbone.value),
            y: backbone.value,
        }],
        Some(row) => vec![
            Level {
                name: name("unsplit", backbone.value),
                y: backbone.value,
            },
            Level {
                name: name("device only", row.value),
                y: row.value,
            },
        ],
        None => vec![Level {
            name: name("unsplit", backbone.value),
            y: backbone.value,
        }],
    }
}

/// Ours first, then what sends pictures.
fn kinds(document: &RaDocument) -> Vec<String> {
    let mut kinds = coded_kinds(document);
    for kind in PICTURE_KINDS {
        kinds.push(kind.to_owned());
    }
    kinds
}

/// The same kind looks the same in every document; kinds that are not listed share what is left.
fn look(kind: &str, place: usize) -> usize {
    const LISTED: [&str; 17] = [
        "unit",
        "paper-unit",
        "webp",
        "jpeg",
        "webp-lossless",
        "continuous",
        "unsupervised",
        "png",
        "pca",
        "clip-quantize",
        "int8",
        "int4",
        "entropic-student",
        "cr-bq",
        "bottlenet-pp",
        "huffman",
        "int8-encoder",
    ];
    let listed = LISTED.iter().position(|known| *known == kind);
    listed.unwrap_or(LISTED.len() + place)
}

/// Levels and the raw activation are no points of a curve.
fn has_curve(row: &Row) -> bool {
    row.bytes > 0.0 && !["unsplit", "device-only", "raw"].contains(&row.kind.as_str())
}

fn shown_rows(document: &RaDocument) -> Vec<Row> {
    let least = document.backbone.value - LOSS_SHOWN_MAX * document.backbone.points();
    let rows = document.means().into_iter();
    rows.filter(|row| has_curve(row) && row.value >= least)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::tests::document;

    #[test]
    fn every_row_is_drawn_with_its_bytes_accuracy_and_device_macs() {
        let mut document = document();
        document.rows[15].device_macs = Some(10.4e6);
        let svg = rate_picture(&document);
        assert!(
            svg.contains("<title>u5: 124.4 bytes, 86.00 top-1 %, device MACs 10.4 M (8 %)</title>"),
            "{svg}"
        );
        let drawn = svg.matches("<g class=\"mark ").count();
        assert_eq!(drawn, document.rows.len() - 1);
        assert!(svg.contains(">unsplit, device only 93.00</text>"), "{svg}");
        assert!(svg.contains(">10.4 M</text>"), "{svg}");
        for row in &mut document.rows {
            row.device_macs = Some(10.4e6);
        }
        let svg = rate_picture(&document);
        assert!(!svg.contains(">10.4 M</text>"), "{svg}");
        assert!(
            svg.contains(">unit (10.4 M MACs on the device)</text>"),
            "{svg}"
        );
    }

    #[test]
    fn rows_far_below_are_counted_instead_of_drawn() {
        let mut document = document();
        document.rows[0].value = 20.0;
        assert_eq!(rows_below(&document), 1);
        assert!(!rate_picture(&document).contains("<title>u0:"));
    }

    #[test]
    fn beaten_points_are_hollow() {
        let mut document = document();
        document.rows[3].value = 80.0;
        let svg = rate_chart(&document).svg();
        assert_eq!(svg.matches(" hollow").count(), 1, "{svg}");
    }

    #[test]
    fn price_of_a_cut_names_picture_split_and_device() {
        let mut document = document();
        for row in &mut document.rows {
            row.device_macs = Some(match row.kind.as_str() {
                "unit" => 40e6,
                "device-only" => 125.5e6,
                _ => 0.0,
            });
        }
        let chart = split_chart(&[&document]).unwrap();
        assert_eq!(chart.series.len(), 3);
        // A loss of one point leaves 92 %: the dearest rung and the dearest WebP.
        let titles: Vec<&str> = chart.series[0]
            .dots
            .iter()
            .map(|dot| dot.title.as_str())
            .collect();
        assert_eq!(titles.len(), 3, "{titles:?}");
        assert!(
            titles[0].starts_with("webp-11: 743.0 bytes, 0 %"),
            "{titles:?}"
        );
        assert!(
            titles[1].starts_with("layer1 u11: 371.5 bytes, 32 %"),
            "{titles:?}"
        );
        assert!(
            titles[2].starts_with("device-only: 1.0 bytes, 100 %"),
            "{titles:?}"
        );
        assert!(split_chart(&[]).is_none());
    }
}
