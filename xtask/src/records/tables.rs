//! Markdown of a rate-accuracy document.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::table::Table;
use crate::{
    BdRate, Curve, CurveError, Machine, Point, RaDocument, Row, TradeOff, bd_rate, pareto_ranks,
};

/// Kinds that send the picture itself; they stand beside ours as columns and curves.
pub(crate) const PICTURE_KINDS: [&str; 4] = ["webp", "jpeg", "webp-lossless", "png"];

/// Kinds whose backbone isn't frozen: they stand in whole tables, and nowhere among choices.
pub(crate) const HELPED_KINDS: [&str; 2] = ["tail-affine", "tail-statistics"];

/// Kinds of pictures with a rate to choose: a lossless file is one point, no curve.
const LOSSY_KINDS: [&str; 2] = ["webp", "jpeg"];

/// Kinds with one row, shown below the others.
const SINGLE_KINDS: [&str; 3] = ["unsplit", "device-only", "raw"];

/// Kinds that a newcomer compares, in this order.
const BRIEF_KINDS: [&str; 8] = [
    "unit",
    "continuous",
    "paper-unit",
    "pca",
    "webp",
    "webp-original",
    "jpeg",
    "jpeg-original",
];

/// Losses against the unsplit network at which bytes are compared, points.
pub(crate) const LOSSES: [f64; 5] = [1.0, 3.0, 5.0, 6.4, 10.0];

/// Those of them in the brief table.
const BRIEF_LOSSES: [f64; 3] = [1.0, 3.0, 5.0];

/// What a newcomer reads: a line for each of a few kinds, with work on the device, bytes at equal loss and
/// the difference in rate to `WebP`.
#[must_use]
pub fn brief_table(document: &RaDocument) -> String {
    let curves = curves(document);
    let differences = differences(document);
    let line = |kind: &&str| {
        let (_, points) = curves.iter().find(|(name, _)| name == kind)?;
        let curve = Curve::new(points, 2).ok()?;
        let mut cells = vec![(*kind).to_owned(), device_share(document, kind)];
        cells.extend(BRIEF_LOSSES.map(|loss| needed_at(document, &curve, loss)));
        let own = differences.iter().find(|(name, _)| name == kind);
        let to_webp = own.and_then(|(_, all)| all.iter().find(|(rival, _)| rival == "webp"));
        let percent = |bd: &BdRate| format!("{:+.1} %", bd.percent);
        cells.push(to_webp.map_or_else(dash, |(_, found)| {
            found.as_ref().map_or_else(|_| dash(), percent)
        }));
        Some(cells)
    };
    let mut heads = vec!["sent".to_owned(), "work on the device".to_owned()];
    heads.extend(BRIEF_LOSSES.map(|loss| format!("bytes at {loss} {} lost", points_named(loss))));
    heads.push("rate to WebP's".to_owned());
    let table = Table {
        caption: String::new(),
        heads,
        words: 1,
        rows: BRIEF_KINDS.iter().filter_map(line).collect(),
    };
    joined([format!("{}\n", summary(document)), table.markdown()])
}

fn points_named(loss: f64) -> &'static str {
    if loss.total_cmp(&1.0).is_eq() {
        "point"
    } else {
        "points"
    }
}

/// Mean part of the network's work that the device does for rows of a kind.
fn device_share(document: &RaDocument, kind: &str) -> String {
    let rows = means_where(document, |row| row.kind == kind);
    let macs: Vec<f64> = rows.iter().filter_map(|row| row.device_macs).collect();
    if macs.is_empty() {
        return dash();
    }
    share(
        macs.iter().sum::<f64>() / macs.len() as f64,
        document.backbone.macs,
    )
}

/// Every row of the document, means over seeds.
#[must_use]
pub fn full_table(document: &RaDocument) -> String {
    whole(document, &document.means())
}

/// The rows that no other row beats in bytes, accuracy and work on the device together, cheapest
/// first, one line each. Rows of one answer (device only) and of raw activations take part too: they
/// are choices like the others. Those whose backbone isn't frozen don't.
#[must_use]
pub fn front_table(document: &RaDocument) -> String {
    let mut rows = document.means();
    rows.retain(|row| !HELPED_KINDS.contains(&row.kind.as_str()));
    let trade_offs: Vec<TradeOff> = rows
        .iter()
        .map(|row| TradeOff {
            bytes: row.bytes,
            value: row.value,
            device_macs: row.device_macs.unwrap_or(f64::NAN),
        })
        .collect();
    let ranks = pareto_ranks(&trade_offs);
    let mut front: Vec<&Row> = rows
        .iter()
        .zip(ranks)
        .filter(|(_, rank)| *rank == 0)
        .map(|(row, _)| row)
        .collect();
    front.sort_by(|a, b| a.bytes.total_cmp(&b.bytes));
    let mut out = format!(
        "| Pareto front | kind | bytes | {} | device MACs |\n|---|---|--:|--:|--:|\n",
        metric_name(document)
    );
    for row in front {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            row.name,
            row.kind,
            bytes(row.bytes),
            accuracy(document, row.value),
            row.device_macs.map_or_else(dash, millions),
        );
    }
    out
}

fn whole(document: &RaDocument, rows: &[Row]) -> String {
    joined([
        caption(document),
        row_table(document, rows).markdown(),
        loss_table(document).markdown(),
        bd_lines(document),
    ])
}

/// What is there, with an empty line between.
fn joined<const N: usize>(parts: [String; N]) -> String {
    let there: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    there.join("\n")
}

fn caption(document: &RaDocument) -> String {
    let minutes = training_minutes(document);
    let trained = if minutes > 0.0 {
        format!("\nThe trainings of these rows took {minutes:.0} minutes.\n")
    } else {
        String::new()
    };
    format!(
        "{}\n\n```\n{}\n```\n{trained}",
        summary(document),
        commands(document).join("\n")
    )
}

/// The commands that wrote the rows, the newest first.
pub(crate) fn commands(document: &RaDocument) -> Vec<&str> {
    let rows = document.rows.iter().map(|row| row.command.as_deref());
    distinct(&document.command, rows)
}

/// The commits that wrote the rows, the newest first.
fn commits(document: &RaDocument) -> Vec<&str> {
    let rows = document.rows.iter().map(|row| row.git.as_deref());
    distinct(&document.git, rows)
}

/// The machines that the rows were measured on, the newest first.
fn machines(document: &RaDocument) -> String {
    let text = |machine: &Machine| {
        let card = machine.gpu.as_ref();
        let card = card.map_or(String::new(), |gpu| format!(" and {gpu}"));
        let cores = match machine.cores {
            1 => "1 core".to_owned(),
            cores => format!("{cores} cores"),
        };
        format!("{} with {cores}{card}", machine.cpu)
    };
    let rows = document.rows.iter();
    let others: Vec<_> = rows.map(|row| row.machine.as_ref().map(text)).collect();
    let others = others.iter().map(Option::as_deref);
    distinct(&text(&document.machine), others).join("; ")
}

fn distinct<'a>(first: &'a str, others: impl Iterator<Item = Option<&'a str>>) -> Vec<&'a str> {
    let mut all = vec![first];
    for other in others.flatten() {
        if !all.contains(&other) {
            all.push(other);
        }
    }
    all
}

/// Kinds whose rows take over what a rung of another kind was trained to.
const TAKEN_OVER: [&str; 5] = [
    "huffman",
    "step-only",
    "int8-encoder",
    "tail-statistics",
    "tail-affine",
];

/// Wall time of all trainings in minutes; the rows of a continuous unit share one.
fn training_minutes(document: &RaDocument) -> f64 {
    let mut shared = BTreeSet::new();
    let rows = document.rows.iter();
    let seconds: f64 = rows
        .filter(|row| !TAKEN_OVER.contains(&row.kind.as_str()))
        .filter_map(|row| Some((row, row.train_s?)))
        .filter(|(row, train_s)| {
            row.kind != "continuous" || shared.insert((row.seed, train_s.to_bits()))
        })
        .map(|(_, train_s)| train_s)
        .sum();
    seconds / 60.0
}

/// What was measured, on what, by which commit and machine.
pub(crate) fn summary(document: &RaDocument) -> String {
    let (backbone, data) = (&document.backbone, &document.data);
    format!(
        "Network {} cut at {}, tested on {} ({}); unsplit {} {}, {} MACs. {} {}, {}.",
        backbone.name,
        backbone.split,
        pictures(&data.test),
        data.name,
        accuracy(document, backbone.value),
        metric_name(document),
        millions(backbone.macs),
        match commits(document).len() {
            1 => "Commit",
            _ => "Commits",
        },
        commits(document).join(" and "),
        machines(document),
    )
}

/// A number of pictures, or the words that stand in its place.
fn pictures(value: &serde_json::Value) -> String {
    value
        .as_str()
        .map_or_else(|| format!("{value} pictures"), str::to_owned)
}

/// Every figure of `rows`, and what the picture codecs need for the same accuracy.
pub(crate) fn row_table(document: &RaDocument, rows: &[Row]) -> Table {
    let rivals: Vec<(&str, Curve)> = LOSSY_KINDS
        .into_iter()
        .filter_map(|kind| Some((kind, Curve::new(&document.points_of(kind), 2).ok()?)))
        .collect();
    let mut heads = [
        "name",
        "kind",
        "bytes",
        "payload",
        "bpp",
        metric_name(document),
        "points lost",
        "device MACs",
        "share",
        "unit params",
    ]
    .map(str::to_owned)
    .to_vec();
    heads.extend(rivals.iter().map(|(kind, _)| format!("{kind} bytes there")));
    let cells = |row: &Row| {
        let mut cells = vec![
            row.name.clone(),
            row.kind.clone(),
            bytes(row.bytes),
            row.bytes_payload.map_or_else(dash, bytes),
            format!("{:.3}", row.bpp),
            accuracy(document, row.value),
            points(document, document.backbone.value - row.value),
            row.device_macs.map_or_else(dash, millions),
            row.device_macs
                .map_or_else(dash, |macs| share(macs, document.backbone.macs)),
            row.unit_params
                .map_or_else(dash, |count| format!("{count:.0}")),
        ];
        let picture = PICTURE_KINDS.contains(&row.kind.as_str());
        cells.extend(rivals.iter().map(|(_, curve)| {
            if picture {
                dash()
            } else {
                needed(curve, row.value)
            }
        }));
        cells
    };
    Table {
        caption: "Points, means over seeds".to_owned(),
        heads,
        words: 2,
        rows: rows.iter().map(cells).collect(),
    }
}

/// Bytes at fixed losses, one line a curve.
pub(crate) fn loss_table(document: &RaDocument) -> Table {
    let mut heads = vec!["bytes at a loss of".to_owned()];
    heads.extend(LOSSES.map(|loss| format!("{loss} points")));
    let line = |(name, points): (String, Vec<Point>)| {
        let curve = Curve::new(&points, 2).ok()?;
        let mut cells = vec![name];
        cells.extend(LOSSES.map(|loss| needed_at(document, &curve, loss)));
        Some(cells)
    };
    Table {
        caption: "Bytes that each curve needs at a loss against the unsplit network".to_owned(),
        heads,
        words: 1,
        rows: curves(document).into_iter().filter_map(line).collect(),
    }
}

/// Bytes of a curve at a loss against the unsplit network.
fn needed_at(document: &RaDocument, curve: &Curve, loss: f64) -> String {
    let value = document.backbone.value - loss * document.backbone.points();
    needed(curve, value)
}

/// Mean difference in bytes at equal accuracy, our kinds against the picture codecs.
fn bd_lines(document: &RaDocument) -> String {
    let mut out = String::new();
    for (name, against) in differences(document) {
        let against: Vec<String> = against
            .iter()
            .map(|(rival, difference)| match difference {
                Ok(bd) => format!(
                    "{:+.1} % against {rival} ({} to {})",
                    bd.percent,
                    accuracy(document, bd.value_min),
                    accuracy(document, bd.value_max),
                ),
                Err(error @ CurveError::TooFew { .. }) => error.to_string(),
                Err(error) => format!("{error} with {rival}"),
            })
            .collect();
        // A curve that is too short is so against every rival.
        let against = match against.split_first() {
            Some((first, rest)) if rest.iter().all(|other| other == first) => first.clone(),
            _ => against.join(", "),
        };
        let _ = writeln!(out, "- BD-rate of {name}: {against}.");
    }
    out
}

/// Whether a curve's name is the kind itself or that kind without headers.
fn is_of(curve: &str, kind: &str) -> bool {
    curve
        .strip_prefix(kind)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// The same as a table, against those that have a curve.
pub(crate) fn bd_table(document: &RaDocument) -> Table {
    let line = |name: &str, rival: &str, found: &Result<BdRate, CurveError>| {
        let mut cells = vec![name.to_owned(), rival.to_owned()];
        cells.extend(match found {
            Ok(bd) => [
                format!("{:+.1} %", bd.percent),
                format!(
                    "{} to {}",
                    accuracy(document, bd.value_min),
                    accuracy(document, bd.value_max)
                ),
            ],
            Err(error) => [dash(), error.to_string()],
        });
        cells
    };
    let rows = differences(document)
        .iter()
        .flat_map(|(name, against)| {
            against
                .iter()
                .map(|(rival, found)| line(name, rival, found))
        })
        .collect();
    Table {
        caption: "BD-rate: mean difference in bytes at equal accuracy, negative is fewer"
            .to_owned(),
        heads: ["curve", "against", "BD-rate", "over"]
            .map(str::to_owned)
            .to_vec(),
        words: 2,
        rows,
    }
}

type Difference = (String, Result<BdRate, CurveError>);

/// Of each of our curves with several points, against each picture codec.
fn differences(document: &RaDocument) -> Vec<(String, Vec<Difference>)> {
    let (rivals, ours): (Vec<_>, Vec<_>) = curves(document)
        .into_iter()
        .partition(|(name, _)| PICTURE_KINDS.iter().any(|kind| name.starts_with(kind)));
    let of = |points: &[Point]| -> Vec<Difference> {
        rivals
            .iter()
            .filter(|(rival, _)| LOSSY_KINDS.iter().any(|kind| is_of(rival, kind)))
            .map(|(rival, theirs)| {
                let found = bd_rate(points, theirs, document.backbone.points());
                (rival.clone(), found)
            })
            .collect()
    };
    ours.into_iter()
        .filter(|(_, points)| points.len() > 1 && !rivals.is_empty())
        .map(|(name, points)| {
            let against = of(&points);
            (name, against)
        })
        .collect()
}

/// All curves of a document: ours first, then picture codecs, these also without fixed headers.
fn curves(document: &RaDocument) -> Vec<(String, Vec<Point>)> {
    let mut found: Vec<(String, Vec<Point>)> = coded_kinds(document)
        .into_iter()
        .map(|kind| {
            let points = document.points_of(&kind);
            (kind, points)
        })
        .collect();
    for kind in PICTURE_KINDS {
        let rows = means_where(document, |row| row.kind == kind);
        found.push((kind.to_owned(), document.points_of(kind)));
        let bare: Vec<Point> = rows
            .iter()
            .filter_map(|row| {
                row.bytes_payload.map(|bytes| Point {
                    bytes,
                    value: row.value,
                })
            })
            .collect();
        found.push((format!("{kind} without headers"), bare));
    }
    found.retain(|(_, points)| !points.is_empty());
    found
}

/// Kinds of coded activations, `unit` first, then the paper's, then the rest as they come.
pub(crate) fn coded_kinds(document: &RaDocument) -> Vec<String> {
    let mut kinds: Vec<String> = Vec::new();
    for row in &document.rows {
        let other =
            PICTURE_KINDS.contains(&row.kind.as_str()) || SINGLE_KINDS.contains(&row.kind.as_str());
        if !other && !kinds.contains(&row.kind) {
            kinds.push(row.kind.clone());
        }
    }
    kinds.sort_by_key(|kind| match kind.as_str() {
        "unit" => 0,
        "paper-unit" => 1,
        _ => 2,
    });
    kinds
}

fn means_where(document: &RaDocument, keep: impl Fn(&Row) -> bool) -> Vec<Row> {
    document
        .means()
        .into_iter()
        .filter(|row| keep(row))
        .collect()
}

/// Bytes that a curve needs; `<=` where even its cheapest point is better than asked.
fn needed(curve: &Curve, value: f64) -> String {
    if value < curve.value_min() {
        return curve
            .bytes_at(curve.value_min())
            .map_or_else(dash, |least| format!("<= {}", bytes(least)));
    }
    curve.bytes_at(value).map_or_else(dash, bytes)
}

pub(crate) fn metric_name(document: &RaDocument) -> &'static str {
    if document.backbone.metric == "map" {
        "mAP"
    } else {
        "top-1 %"
    }
}

pub(crate) fn accuracy(document: &RaDocument, value: f64) -> String {
    if document.backbone.metric == "map" {
        format!("{value:.4}")
    } else {
        format!("{value:.2}")
    }
}

pub(crate) fn points(document: &RaDocument, difference: f64) -> String {
    format!("{:.2}", difference / document.backbone.points())
}

pub(crate) fn bytes(count: f64) -> String {
    if count < 1000.0 {
        format!("{count:.1}")
    } else {
        format!("{count:.0}")
    }
}

pub(crate) fn millions(macs: f64) -> String {
    if macs < 1e5 {
        format!("{:.3} M", macs / 1e6)
    } else {
        format!("{:.1} M", macs / 1e6)
    }
}

pub(crate) fn share(part: f64, all: f64) -> String {
    if all > 0.0 {
        format!("{:.0} %", 100.0 * part / all)
    } else {
        dash()
    }
}

pub(crate) fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// Twelve units and two codecs; units need half of WebP's bytes at every accuracy.
    pub(crate) fn document() -> RaDocument {
        let mut rows = Vec::new();
        for i in 0..12 {
            rows.push(row(&format!("u{i}"), "unit", i, 0.5));
            rows.push(row(&format!("webp-{i}"), "webp", i, 1.0));
            rows.push(row(&format!("jpeg-{i}"), "jpeg", i, 2.0));
        }
        rows.push(
            json!({"name": "device-only", "kind": "device-only", "bytes": 1.0, "bpp": 8.0 / 1024.0,
            "value": 93.0, "n": 4000, "device_macs": 125.5e6}),
        );
        let document = json!({
            "schema": "split-ra/1", "command": "cargo xtask train", "git": "abc", "date": "2026-11-23",
            "machine": {"cpu": "cpu", "cores": 2, "os": "linux"},
            "versions": {"burn": "0.22.1", "backend": "flex"}, "seed": 1,
            "data": {"name": "cifar10", "train": 12000, "test": 4000, "sha256": "00"},
            "backbone": {"name": "resnet56", "split": "layer1", "weights_sha256": "00",
                "macs": 125.5e6, "params": 853_018.0, "metric": "top1", "value": 93.0},
            "rows": rows,
        });
        RaDocument::parse(&document.to_string()).unwrap()
    }

    fn row(name: &str, kind: &str, i: i32, scale: f64) -> serde_json::Value {
        let bytes = scale * 100.0 * 1.2_f64.powi(i);
        json!({"name": name, "kind": kind, "bytes": bytes, "bytes_payload": bytes - 20.0,
            "bpp": bytes * 8.0 / 1024.0, "value": 81.0 + f64::from(i), "n": 4000})
    }

    #[test]
    fn every_command_and_commit_stands_in_the_caption_once_and_the_graphics_card_too() {
        let mut merged = document();
        merged.machine.gpu = Some("a card".to_owned());
        merged.rows[0].command = Some("cargo xtask train --seed 2".to_owned());
        merged.rows[1].command = Some("cargo xtask train --seed 2".to_owned());
        merged.rows[2].command = Some(merged.command.clone());
        merged.rows[3].git = Some("older".to_owned());
        merged.rows[4].machine = Some(Machine {
            cpu: "another".to_owned(),
            cores: 1,
            gpu: None,
            os: "linux".to_owned(),
        });
        let text = caption(&merged);
        let wanted = "Commits abc and older, cpu with 2 cores and a card; another with 1 core.";
        assert!(text.contains(wanted), "{text}");
        let wanted = "```\ncargo xtask train\ncargo xtask train --seed 2\n```";
        assert!(text.contains(wanted), "{text}");
    }

    #[test]
    fn a_training_counts_once_however_many_rows_came_of_it() {
        let mut trained = document();
        assert!(!caption(&trained).contains("trainings"));
        let mut set = |index: usize, kind: &str, train_s: f64| {
            trained.rows[index].kind = kind.to_owned();
            trained.rows[index].train_s = Some(train_s);
        };
        set(0, "unit", 600.0);
        set(3, "huffman", 600.0);
        set(6, "continuous", 240.0);
        set(9, "continuous", 240.0);
        let text = caption(&trained);
        assert!(text.contains("took 14 minutes."), "{text}");
    }

    #[test]
    fn rivals_bytes_at_equal_accuracy_stand_beside_ours() {
        let text = full_table(&document());
        let first = text
            .lines()
            .find(|line| line.starts_with("| u0 |"))
            .unwrap();
        assert!(first.ends_with(" 100.0 | 200.0 |"), "{first}");
        assert!(first.contains("| 81.00 | 12.00 |"), "{first}");
    }

    #[test]
    fn bytes_at_a_loss_are_read_off_the_curve() {
        let text = full_table(&document());
        let webp = text
            .lines()
            .find(|line| line.starts_with("| webp | "))
            .unwrap();
        assert!(webp.starts_with("| webp | 743.0 | 516.0 |"), "{webp}");
    }

    #[test]
    fn difference_in_rate_is_printed_with_its_interval() {
        let text = full_table(&document());
        let line = text
            .lines()
            .find(|line| line.starts_with("- BD-rate of unit"))
            .unwrap();
        assert!(
            line.contains("-50.0 % against webp (81.00 to 92.00)"),
            "{line}"
        );
        assert!(
            line.contains("-75.0 % against jpeg (81.00 to 92.00)"),
            "{line}"
        );
    }

    #[test]
    fn brief_tables_have_a_line_a_kind() {
        let mut document = document();
        for row in document.rows.clone() {
            if row.kind == "unit" {
                let name = format!("int8 of {}", row.name);
                let kind = "int8".to_owned();
                document.rows.push(Row { name, kind, ..row });
            }
        }
        let text = brief_table(&document);
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
        let heads =
            "| sent | work on the device | bytes at 1 point lost | bytes at 3 points lost |";
        assert!(rows[0].starts_with(heads), "{text}");
        let kinds: Vec<&str> = rows[1..]
            .iter()
            .map(|row| row.split(' ').nth(1).unwrap())
            .collect();
        assert_eq!(kinds, ["unit", "webp", "jpeg"], "{text}");
        assert!(rows[1].ends_with(" -50.0 % |"), "{text}");
        assert!(rows[2].ends_with(" | - |"), "{text}");
        assert!(rows[2].contains(" | 743.0 | 516.0 |"), "{text}");
    }

    #[test]
    fn full_table_shows_every_row() {
        let document = document();
        let text = full_table(&document);
        for row in &document.rows {
            assert!(
                text.contains(&format!("| {} | {} |", row.name, row.kind)),
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn rows_with_help_from_the_backbone_are_no_choice() {
        let mut document = document();
        let mut helped = document.rows[0].clone();
        helped.name = "tail-affine u0".to_owned();
        helped.kind = "tail-affine".to_owned();
        (helped.bytes, helped.value) = (helped.bytes / 2.0, helped.value + 1.0);
        document.rows.push(helped);
        assert!(!front_table(&document).contains("tail-affine"));
        assert!(full_table(&document).contains("tail-affine u0"));
    }

    #[test]
    fn front_holds_what_nothing_beats_in_bytes_accuracy_and_work() {
        let mut document = document();
        for row in &mut document.rows {
            // Pictures cost the device nothing, units a little, the whole network most.
            let macs = row.device_macs.unwrap_or(0.0);
            row.device_macs = Some(if row.kind == "unit" { 1e6 } else { macs });
        }
        let text = front_table(&document);
        for name in ["| u0 |", "| u11 |", "| webp-0 |", "| webp-11 |"] {
            assert!(text.contains(name), "{name} in {text}");
        }
        assert!(!text.contains("jpeg-3"), "{text}");
        let places: Vec<usize> = ["| u0 |", "| webp-0 |", "| u11 |", "| webp-11 |"]
            .iter()
            .filter_map(|name| text.find(name))
            .collect();
        assert!(places.is_sorted(), "{text}");
    }
}
