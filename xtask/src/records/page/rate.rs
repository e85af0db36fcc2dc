//! A rate-accuracy document, and what documents of one network say together.

use super::{Assumed, Section, figure, folded, latency, paragraph};
use crate::rate_chart::{rate_chart, rows_below, split_chart};
use crate::tables::{bd_table, commands, loss_table, row_table, summary};
use crate::xml::escaped;
use crate::{RaDocument, Row, SpeedLine};

/// Curves, the front, bytes at equal loss, differences in rate, latency, and every row.
pub(super) fn section(
    name: &str,
    document: &RaDocument,
    speed: &[SpeedLine],
    assumed: &Assumed,
) -> Section {
    let mut body = paragraph(&summary(document));
    body.push_str(&format!(
        "<pre><code>{}</code></pre>\n",
        escaped(&commands(document).join("\n"))
    ));
    let below = match rows_below(document) {
        0 => String::new(),
        1 => " One point lies further down and stands in the table of all rows only.".to_owned(),
        count => {
            format!(" {count} points lie further down and stand in the table of all rows only.")
        }
    };
    body.push_str(&figure(
        "Measured",
        &format!(
            "Accuracy against bytes. Lines go through the points that no other of their kind beats \
             (monotone cubic over the logarithm of bytes); beaten points are hollow. Legend or small \
             figures say the multiply-accumulates on the device.{below}"
        ),
        &rate_chart(document).svg(),
    ));
    let mut best = row_table(document, &front(document));
    best.caption =
        "Pareto front: rows that no other beats in bytes, accuracy and device MACs".to_owned();
    body.push_str(&best.html());
    body.push_str(&loss_table(document).html());
    body.push_str(&bd_table(document).html());
    body.push_str(&latency::part(document, speed, assumed));
    let mut all = row_table(document, &document.means());
    all.caption = format!("All rows of {name}, means over seeds");
    body.push_str(&folded("All rows", &all.html()));
    Section::new(name, name, body)
}

/// Documents of one network on one data set, whatever the cut.
pub(super) fn split_section(documents: &[(&str, &RaDocument)]) -> Option<Section> {
    let mut groups: Vec<Vec<(&str, &RaDocument)>> = Vec::new();
    for &(name, document) in documents {
        let same = |group: &&mut Vec<(&str, &RaDocument)>| {
            let other = group[0].1;
            other.backbone.name == document.backbone.name
                && other.backbone.weights_sha256 == document.backbone.weights_sha256
                && other.data.sha256 == document.data.sha256
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push((name, document)),
            None => groups.push(vec![(name, document)]),
        }
    }
    let mut body = String::new();
    for group in groups {
        let only: Vec<&RaDocument> = group.iter().map(|(_, document)| *document).collect();
        let Some(chart) = split_chart(&only) else {
            continue;
        };
        let names: Vec<&str> = group.iter().map(|(name, _)| *name).collect();
        body.push_str(&figure(
            "Measured",
            &format!(
                "{} on {}: bytes of the cheapest picture, the cheapest rung of each cut and the device alone, \
                 at fixed losses. From {}.",
                only[0].backbone.name,
                only[0].data.name,
                names.join(", ")
            ),
            &chart.svg(),
        ));
    }
    (!body.is_empty()).then(|| Section::new("where-to-cut", "Where to cut", body))
}

/// Rows that no other beats in bytes, accuracy and work on the device; rows that say nothing of the
/// device, and the copies `unsplit` and `raw`, are no candidates.
fn front(document: &RaDocument) -> Vec<Row> {
    let rows: Vec<Row> = document
        .means()
        .into_iter()
        .filter(|row| row.device_macs.is_some())
        .filter(|row| !["unsplit", "raw"].contains(&row.kind.as_str()))
        .collect();
    let mut best: Vec<Row> = rows
        .iter()
        .filter(|row| !rows.iter().any(|other| beats(other, row)))
        .cloned()
        .collect();
    best.sort_by(|a, b| a.bytes.total_cmp(&b.bytes));
    best
}

fn beats(a: &Row, b: &Row) -> bool {
    let macs = |row: &Row| row.device_macs.unwrap_or(f64::INFINITY);
    let not_worse = a.bytes <= b.bytes && a.value >= b.value && macs(a) <= macs(b);
    not_worse && (a.bytes < b.bytes || a.value > b.value || macs(a) < macs(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::tests::document;

    #[test]
    fn front_holds_what_nothing_beats_in_bytes_accuracy_and_work() {
        let mut document = document();
        for row in &mut document.rows {
            row.device_macs = Some(match row.kind.as_str() {
                "unit" => 50e6,
                "device-only" => 125e6,
                _ => 0.0,
            });
        }
        let found = front(&document);
        let of = |kind: &str| found.iter().filter(|row| row.kind == kind).count();
        // JPEG needs twice WebP's bytes everywhere; the device alone has one row.
        assert_eq!(
            (of("unit"), of("webp"), of("jpeg"), of("device-only")),
            (12, 12, 0, 1)
        );
    }
}
