//! Entropy coders, from `split-codec/1` lines.

use serde::Deserialize;

use super::{figure, folded, heads};
use crate::chart::{Axis, Chart, Dot, Series, figure as digits};
use crate::table::Table;

/// One timed coder.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct CodecLine {
    coder: String,
    path: String,
    lanes: u64,
    entropy: f64,
    symbols: u64,
    op: String,
    msym_s: f64,
    bytes: f64,
    ideal_bytes: f64,
    data: String,
    git: String,
}

/// The fastest path of a coder on one input.
#[derive(Clone, Debug)]
struct Best<'a> {
    encode: Option<&'a CodecLine>,
    decode: Option<&'a CodecLine>,
    line: &'a CodecLine,
}

/// Speed over message length for both directions, and a table of the fastest path of each coder.
pub(super) fn part(lines: &[CodecLine]) -> String {
    let best = best(lines);
    let mut out = String::new();
    if let Some((data, entropy)) = widest(&best) {
        let chosen: Vec<&Best<'_>> = best
            .iter()
            .filter(|one| one.line.data == data && same(one.line.entropy, entropy))
            .collect();
        for (what, of) in [
            (
                "encode",
                (|one| one.encode) as for<'a> fn(&Best<'a>) -> Option<&'a CodecLine>,
            ),
            ("decode", |one| one.decode),
        ] {
            let chart = chart(what, &chosen, of);
            let caption = format!(
                "{what}: million symbols a second on one thread over the symbols of a message, fastest path of each coder. \
                 {data}, {entropy} bits a symbol; commit {}.",
                chosen[0].line.git
            );
            out.push_str(&figure("Measured", &caption, &chart.svg()));
        }
    }
    out + &folded(
        "Fastest path of each coder on every input",
        &table(&best).html(),
    )
}

/// The input on which most coders were timed.
fn widest(best: &[Best<'_>]) -> Option<(String, f64)> {
    let count = |one: &Best<'_>| {
        let like = |other: &&Best<'_>| {
            other.line.data == one.line.data && same(other.line.entropy, one.line.entropy)
        };
        best.iter().filter(like).count()
    };
    // Of equals the one nearest to 2.5 bits, where latents of mid rates lie.
    let far = |one: &Best<'_>| (one.line.entropy - 2.5).abs();
    best.iter()
        .max_by(|a, b| count(a).cmp(&count(b)).then(far(b).total_cmp(&far(a))))
        .map(|one| (one.line.data.clone(), one.line.entropy))
}

/// Entropies stand in the records with a few digits.
fn same(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

/// One entry per coder and input; later lines replace earlier ones of the same path and lanes.
fn best(lines: &[CodecLine]) -> Vec<Best<'_>> {
    let alike = |a: &CodecLine, b: &CodecLine| {
        a.coder == b.coder
            && a.data == b.data
            && a.symbols == b.symbols
            && same(a.entropy, b.entropy)
    };
    let newest = lines.iter().enumerate().filter(|(i, line)| {
        let again = |later: &CodecLine| {
            alike(line, later)
                && (&line.op, &line.path, line.lanes) == (&later.op, &later.path, later.lanes)
        };
        !lines[i + 1..].iter().any(again)
    });
    let mut found: Vec<Best<'_>> = Vec::new();
    for (_, line) in newest {
        let place = found.iter().position(|one| alike(one.line, line));
        let place = place.unwrap_or_else(|| {
            found.push(Best {
                encode: None,
                decode: None,
                line,
            });
            found.len() - 1
        });
        let one = &mut found[place];
        let slot = if line.op == "encode" {
            &mut one.encode
        } else {
            &mut one.decode
        };
        if slot.is_none_or(|other| other.msym_s < line.msym_s) {
            *slot = Some(line);
        }
    }
    found
}

fn chart(
    what: &str,
    chosen: &[&Best<'_>],
    of: for<'a> fn(&Best<'a>) -> Option<&'a CodecLine>,
) -> Chart {
    let mut coders: Vec<&str> = chosen.iter().map(|one| one.line.coder.as_str()).collect();
    // Ours first.
    coders.sort_by_key(|name| (!name.starts_with("split-"), *name));
    coders.dedup();
    let series: Vec<Series> = coders
        .into_iter()
        .enumerate()
        .map(|(look, coder)| {
            let mut lines: Vec<&CodecLine> = chosen
                .iter()
                .filter(|one| one.line.coder == coder)
                .filter_map(|one| of(one))
                .collect();
            lines.sort_by_key(|line| line.symbols);
            let dots: Vec<Dot> = lines.iter().map(|line| dot(line)).collect();
            Series {
                name: coder.to_owned(),
                look,
                line: dots.iter().map(|dot| (dot.x, dot.y)).collect(),
                dots,
            }
        })
        .filter(|series| !series.dots.is_empty())
        .collect();
    let dots = || series.iter().flat_map(|one| &one.dots);
    Chart {
        label: format!("Million symbols a second against symbols of a message, {what}, by coder"),
        heading: None,
        x: Axis::log(
            "symbols of a message (logarithmic)",
            dots().map(|dot| dot.x),
        ),
        y: Axis::log(
            "million symbols a second (logarithmic)",
            dots().map(|dot| dot.y),
        ),
        series,
        levels: Vec::new(),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of symbols, far below 2^52"
)]
fn dot(line: &CodecLine) -> Dot {
    Dot {
        x: line.symbols as f64,
        y: line.msym_s,
        title: format!(
            "{}, {}, {} lanes, {} symbols: {} Msym/s, {} bytes (ideal {})",
            line.coder,
            line.path,
            line.lanes,
            line.symbols,
            digits(line.msym_s),
            digits(line.bytes),
            digits(line.ideal_bytes)
        ),
        ..Dot::default()
    }
}

fn table(best: &[Best<'_>]) -> Table {
    let speed = |line: Option<&CodecLine>| {
        line.map_or_else(
            || "-".to_owned(),
            |line| format!("{} ({} x{})", digits(line.msym_s), line.path, line.lanes),
        )
    };
    let rows = best
        .iter()
        .map(|one| {
            let line = one.line;
            vec![
                line.coder.clone(),
                line.data.clone(),
                line.entropy.to_string(),
                line.symbols.to_string(),
                speed(one.encode),
                speed(one.decode),
                digits(line.bytes),
                digits(line.ideal_bytes),
            ]
        })
        .collect();
    Table {
        caption: "Million symbols a second (path x lanes), bytes of a payload and the entropy's"
            .to_owned(),
        heads: heads(&[
            "coder",
            "data",
            "bits / symbol",
            "symbols",
            "encode Msym/s",
            "decode Msym/s",
            "bytes",
            "ideal bytes",
        ]),
        words: 2,
        rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(coder: &str, path: &str, op: &str, symbols: u64, msym_s: f64) -> CodecLine {
        CodecLine {
            coder: coder.to_owned(),
            path: path.to_owned(),
            lanes: 1,
            entropy: 2.5,
            symbols,
            op: op.to_owned(),
            msym_s,
            bytes: 10.0,
            ideal_bytes: 9.0,
            data: "iid".to_owned(),
            git: "g".to_owned(),
        }
    }

    #[test]
    fn fastest_path_counts_and_later_lines_replace_earlier_ones() {
        let lines = [
            line("split-rans", "scalar", "encode", 256, 900.0),
            line("split-rans", "scalar", "encode", 256, 100.0),
            line("split-rans", "avx2", "encode", 256, 300.0),
            line("split-rans", "scalar", "decode", 256, 80.0),
            line("other", "scalar", "decode", 256, 50.0),
        ];
        let found = best(&lines);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].encode.unwrap().path, "avx2");
        assert_eq!(found[1].encode, None);
        let html = part(&lines);
        assert!(
            html.contains("split-rans, avx2, 1 lanes, 256 symbols: 300 Msym/s"),
            "{html}"
        );
        assert!(!html.contains("900"), "{html}");
    }
}
