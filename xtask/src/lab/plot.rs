//! The plots of a run.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::files::write_whole;
use crate::metrics::RungCurve;
use crate::record::Document;

/// Curves drawn, in this order, with their colours (distinct also without colour vision).
const CURVES: [(&str, &str, RGBColor); 6] = [
    ("unit", "our unit", RGBColor(0, 90, 181)),
    ("paper-unit", "paper's unit", RGBColor(0, 158, 115)),
    ("webp", "WebP picture", RGBColor(213, 94, 0)),
    ("jpeg-420", "JPEG picture, 4:2:0", RGBColor(204, 121, 167)),
    ("jpeg-444", "JPEG picture, 4:4:4", RGBColor(120, 94, 160)),
    (
        "clip-quantize",
        "activation, clipped",
        RGBColor(120, 120, 120),
    ),
];

/// Writes rate (whole bytes, log scale) against accuracy as SVG.
pub(crate) fn save(document: &Document, path: &Path) -> Result<()> {
    let mut svg = String::new();
    draw(document, &mut svg).map_err(|error| anyhow!("drawing {}: {error}", path.display()))?;
    write_whole(path, svg.as_bytes())
}

fn draw(document: &Document, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let points = |kind: &str| {
        let mut points: Vec<(f64, f64)> = document
            .rows
            .iter()
            .filter(|row| row.kind == kind || row.name.split(" q").next() == Some(kind))
            .map(|row| (row.bytes, row.value))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let all: Vec<(f64, f64)> = CURVES.iter().flat_map(|(kind, ..)| points(kind)).collect();
    let unsplit = document.backbone.value;
    let fold = |start: f64, pick: fn(f64, f64) -> f64, of: fn(&(f64, f64)) -> f64| {
        all.iter().map(of).fold(start, pick)
    };
    let left = fold(f64::INFINITY, f64::min, |p| p.0).clamp(1.0, 1e9) * 0.8;
    let right = fold(2.0, f64::max, |p| p.0).max(left * 2.0) * 1.2;
    let (unit, metric, digits) = axis(&document.backbone.metric);
    let bottom = (fold(unsplit, f64::min, |p| p.1) - 2.0 * unit).max(0.0);
    let area = SVGBackend::with_string(svg, (760, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let title = format!(
        "{}, {} cut at {}",
        document.data.name, document.backbone.name, document.backbone.split
    );
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(52)
        .build_cartesian_2d((left..right).log_scale(), bottom..unsplit + 2.0 * unit)?;
    chart
        .configure_mesh()
        .x_desc("bytes per picture (whole frame or file)")
        .y_desc(metric)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.digits$}"))
        .draw()?;
    chart
        .draw_series(LineSeries::new(
            [(left, unsplit), (right, unsplit)],
            BLACK.mix(0.6),
        ))?
        .label("unsplit")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], BLACK.mix(0.6)));
    for (kind, label, colour) in CURVES {
        let points = points(kind);
        if points.is_empty() {
            continue;
        }
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(
            points
                .iter()
                .map(|point| Circle::new(*point, 3, colour.filled())),
        )?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.4))
        .draw()?;
    area.present()?;
    Ok(())
}

/// Size of a point, label and decimals of the accuracy: mean average precision goes from 0 to 1,
/// top-1 is in per cent.
fn axis(metric: &str) -> (f64, &'static str, usize) {
    match metric {
        "map" => (0.01, "mAP", 2),
        _ => (1.0, "top-1, %", 0),
    }
}

/// Writes how distortion and bytes went over the steps of all rungs, one behind the other, as SVG.
pub(crate) fn training(path: &Path, rungs: &[RungCurve]) -> Result<()> {
    let mut svg = String::new();
    draw_training(rungs, &mut svg)
        .map_err(|error| anyhow!("drawing {}: {error}", path.display()))?;
    write_whole(path, svg.as_bytes())
}

fn draw_training(rungs: &[RungCurve], svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, (760, 640)).into_drawing_area();
    area.fill(&WHITE)?;
    let (upper, lower) = area.split_vertically(320);
    for (panel, what, of) in [
        (
            upper,
            "distortion",
            (|p| p.1) as fn(&(f64, f64, f64)) -> f64,
        ),
        (lower, "bytes per picture, estimated", |p| p.2),
    ] {
        let mut end = 0.0;
        let curves: Vec<(&str, Vec<(f64, f64)>)> = rungs
            .iter()
            .map(|(name, points)| {
                let start = end;
                end = start + points.last().map_or(0.0, |point| point.0);
                let points = points.iter().map(|p| (start + p.0, of(p)));
                (name.as_str(), points.collect())
            })
            .collect();
        let values = curves.iter().flat_map(|(_, points)| points);
        let top = values.map(|p| p.1).fold(1e-3, f64::max) * 1.05;
        let mut chart = ChartBuilder::on(&panel)
            .caption(what, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..end.max(1.0), 0.0..top)?;
        chart
            .configure_mesh()
            .x_desc("steps of all rungs")
            .x_label_formatter(&|x| format!("{x:.0}"))
            .draw()?;
        for (index, (name, points)) in curves.into_iter().enumerate() {
            let colour = CURVES[index % CURVES.len()].2;
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(1)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.85))
            .draw()?;
    }
    area.present()?;
    Ok(())
}

/// Writes points (bytes, top-1, whether on the front) as SVG; those of the front are filled.
pub(crate) fn scatter(path: &Path, points: &[(f64, f64, bool)]) -> Result<()> {
    let mut svg = String::new();
    draw_scatter(points, &mut svg)
        .map_err(|error| anyhow!("drawing {}: {error}", path.display()))?;
    write_whole(path, svg.as_bytes())
}

fn draw_scatter(
    points: &[(f64, f64, bool)],
    svg: &mut String,
) -> Result<(), Box<dyn std::error::Error>> {
    let left = points.iter().map(|p| p.0).fold(1e9, f64::min).max(1.0) * 0.8;
    let right = points.iter().map(|p| p.0).fold(left, f64::max) * 1.3;
    let bottom = points.iter().map(|p| p.1).fold(100.0, f64::min) - 2.0;
    let top = points.iter().map(|p| p.1).fold(bottom, f64::max) + 4.0;
    let area = SVGBackend::with_string(svg, (760, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("search: all trials, front filled", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(52)
        .build_cartesian_2d((left..right).log_scale(), bottom.max(0.0)..top)?;
    chart
        .configure_mesh()
        .x_desc("bytes per picture (whole frame)")
        .y_desc("top-1, %")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .draw()?;
    let colour = RGBColor(0, 90, 181);
    chart.draw_series(points.iter().map(|(bytes, value, best)| {
        let style = if *best {
            colour.filled()
        } else {
            colour.stroke_width(1)
        };
        Circle::new((*bytes, *value), 4, style)
    }))?;
    area.present()?;
    Ok(())
}
