//! The frequency tables of published units: our coder against the Huffman code they came with.
//!
//! Needs the folder `bottleneck-units` of the assets (`SPLIT_ASSETS`, else `../shared/assets`
//! beside the workspace).
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail loudly")]

mod common;

use std::path::{Path, PathBuf};

use common::Draws;
use split_tensor::{FreqTable, Huffman, LatentShape, Symbols, TableSet};

fn assets() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/assets");
    let folder = std::env::var_os("SPLIT_ASSETS").map_or(beside, PathBuf::from);
    let units = folder.join("bottleneck-units");
    units.is_dir().then_some(units)
}

/// Every number that follows `key` in a JSON text.
fn numbers(text: &str, key: &str) -> Vec<u64> {
    let quoted = format!("\"{key}\":");
    let ends = |c: char| !c.is_ascii_digit();
    text.split(&quoted)
        .skip(1)
        .filter_map(|rest| rest.trim_start().split(ends).next()?.parse().ok())
        .collect()
}

struct Unit {
    name: String,
    shape: LatentShape,
    counts: Vec<u64>,
}

fn read_unit(path: &Path) -> Unit {
    let text = std::fs::read_to_string(path).unwrap();
    let table = text.split("\"frequency_table\"").nth(1).unwrap();
    let table = table.split(']').next().unwrap();
    let (symbols, seen) = (numbers(table, "symbol"), numbers(table, "count"));
    assert_eq!(symbols.len(), seen.len());
    let last = *symbols.iter().max().unwrap();
    let mut counts = vec![0; usize::try_from(last).unwrap() + 1];
    for (symbol, count) in symbols.iter().zip(seen) {
        counts[usize::try_from(*symbol).unwrap()] = count;
    }
    let sides = text.split("\"latent\":").nth(1).unwrap();
    let sides = sides.split(['[', ']']).nth(1).unwrap().split(',');
    let sides: Vec<usize> = sides.map(|side| side.trim().parse().unwrap()).collect();
    let shape = LatentShape::new(sides[0], sides[1], sides[2]).unwrap();
    Unit {
        name: path.file_stem().unwrap().to_string_lossy().into_owned(),
        shape,
        counts,
    }
}

/// A picture whose symbols follow the counts.
fn draw(unit: &Unit, draws: &mut Draws) -> Symbols {
    let total = unit.counts.iter().sum();
    let mut symbol = || {
        let mut left = draws.below(total);
        unit.counts.iter().position(|&count| {
            let here = left < count;
            left = left.saturating_sub(count);
            here
        })
    };
    let values = (0..unit.shape.len()).map(|_| i32::try_from(symbol().unwrap()).unwrap());
    Symbols::new(unit.shape, values.collect()).unwrap()
}

#[test]
fn published_units_cost_less_than_with_their_huffman_code() {
    let Some(folder) = assets() else {
        eprintln!("skipped: no assets (SPLIT_ASSETS or ../shared/assets)");
        return;
    };
    let mut found = 0;
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "json"));
    // In the order of their names, so that the draws are the same everywhere.
    files.sort();
    for path in files {
        let unit = read_unit(&path);
        found += 1;
        let table = FreqTable::from_counts(0, &unit.counts).unwrap();
        let huffman = Huffman::from_counts(0, &unit.counts).unwrap();
        let total: u64 = unit.counts.iter().sum();
        let mean = |bits: &dyn Fn(i32) -> f64| -> f64 {
            let weighted = (0..).zip(&unit.counts).filter(|&(_, &count)| count > 0);
            weighted
                .map(|(symbol, &count)| bits(symbol) * count as f64)
                .sum::<f64>()
                / total as f64
        };
        let ours = mean(&|symbol| table.code_length_bits(symbol));
        let theirs = mean(&|symbol| f64::from(huffman.length_of(symbol).unwrap()));
        let entropy = mean(&|symbol| {
            let count = unit.counts[usize::try_from(symbol).unwrap()];
            (total as f64 / count as f64).log2()
        });
        assert!(ours < theirs, "{}: {ours} against {theirs} bits", unit.name);
        assert!(
            ours - entropy < 0.003,
            "{}: {ours} bits for {entropy}",
            unit.name
        );

        let set = TableSet::shared(table);
        let mut draws = Draws::new(found);
        let (mut bytes, mut huffman_bytes) = (0, 0);
        for _ in 0..20 {
            let symbols = draw(&unit, &mut draws);
            let mut payload = Vec::new();
            set.encode_into(&symbols, &mut payload).unwrap();
            assert_eq!(set.decode(unit.shape, &payload).unwrap(), symbols);
            let by_huffman = huffman.encoded_bytes(symbols.values()).unwrap();
            assert!(payload.len() - 1 <= by_huffman, "{}", unit.name);
            bytes += payload.len() - 1;
            huffman_bytes += by_huffman;
        }
        println!(
            "{}: {ours:.4} bits, Huffman {theirs:.4}, entropy {entropy:.4}; \
             {} bytes a picture against {}",
            unit.name,
            bytes as f64 / 20.0,
            huffman_bytes as f64 / 20.0
        );
    }
    assert_eq!(found, 10, "ten units are shared");
}

/// What `units.csv` says of one unit; the tables of most units are not shared.
struct Summary {
    name: String,
    distinct: usize,
    p_zero: f64,
    entropy_bits: f64,
    huffman_bits: f64,
}

fn read_summaries(folder: &Path) -> Vec<Summary> {
    let text = std::fs::read_to_string(folder.join("units.csv")).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let place = |name: &str| names.iter().position(|found| *found == name).unwrap();
    let [distinct, p_zero, entropy, huffman] = [
        "distinct_symbols",
        "p_zero",
        "entropy_bits_per_symbol",
        "huffman_bits_per_symbol",
    ]
    .map(place);
    let read = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        Summary {
            name: fields[0].to_owned(),
            distinct: fields[distinct].parse().unwrap(),
            p_zero: fields[p_zero].parse().unwrap(),
            entropy_bits: fields[entropy].parse().unwrap(),
            huffman_bits: fields[huffman].parse().unwrap(),
        }
    };
    lines.map(read).collect()
}

fn entropy_of(weights: &[f64]) -> f64 {
    let total: f64 = weights.iter().sum();
    weights.iter().map(|w| w / total * (total / w).log2()).sum()
}

/// Zero as stated, the others falling as `exp((1 - k^shape) / scale^shape)` with the scale that gives
/// the stated entropy; nothing where no scale does.
fn rebuilt(unit: &Summary, shape: f64) -> Option<Vec<f64>> {
    let at = |scale: f64| {
        let tail: Vec<f64> = (1..unit.distinct)
            .map(|k| {
                ((1.0 - (k as f64).powf(shape)) / scale.powf(shape))
                    .exp()
                    .max(1e-9)
            })
            .collect();
        let sum: f64 = tail.iter().sum();
        let scaled = tail.iter().map(|w| w / sum * (1.0 - unit.p_zero));
        [unit.p_zero]
            .into_iter()
            .chain(scaled)
            .collect::<Vec<f64>>()
    };
    let (mut low, mut high) = (0.01, 1000.0);
    for _ in 0..100 {
        let middle = f64::sqrt(low * high);
        if entropy_of(&at(middle)) < unit.entropy_bits {
            low = middle;
        } else {
            high = middle;
        }
    }
    let weights = at(low);
    ((entropy_of(&weights) - unit.entropy_bits).abs() < 1e-6).then_some(weights)
}

#[test]
fn every_published_unit_leaves_more_room_than_a_table_of_ours_loses() {
    let Some(folder) = assets() else {
        eprintln!("skipped: no assets (SPLIT_ASSETS or ../shared/assets)");
        return;
    };
    let units = read_summaries(&folder);
    assert_eq!(units.len(), 61);
    let (mut proven, mut most) = (0, 0.0f64);
    for unit in &units {
        let room = unit.huffman_bits - unit.entropy_bits;
        // Whatever the counts: `1 + floor((4095 - n) p)` slots fit, and lose no more than this.
        // The best table loses less; the escape's weight of 2^-14 adds at most 12 bits of that.
        let bound = (4096.0 / (4095.0 - unit.distinct as f64)).log2() + 12.0 / 16384.0;
        proven += usize::from(bound < room);
        // A law with the stated zeros, alphabet and entropy, in three shapes of tail.
        let mut rebuilds = 0;
        for shape in [0.6, 1.0, 1.6] {
            let Some(weights) = rebuilt(unit, shape) else {
                continue;
            };
            rebuilds += 1;
            let table = FreqTable::from_weights(0, &weights, 1.0 / 16384.0).unwrap();
            let bits: f64 = (0..)
                .zip(&weights)
                .map(|(symbol, weight)| weight * table.code_length_bits(symbol))
                .sum();
            assert!(
                bits < unit.huffman_bits,
                "{}: {bits} bits against {}",
                unit.name,
                unit.huffman_bits
            );
            let lost = bits - unit.entropy_bits;
            assert!(
                lost < bound,
                "{}: {lost} above the bound {bound}",
                unit.name
            );
            most = most.max(lost);
        }
        assert!(rebuilds > 0, "{}: no law has this entropy", unit.name);
    }
    println!(
        "{} units, {proven} by the bound alone; lost at most {most:.4} bits",
        units.len()
    );
    assert!(proven >= 50, "{proven}");
    assert!(most < 0.01, "{most}");
}
