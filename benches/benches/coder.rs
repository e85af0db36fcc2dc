//! The entropy coder's inner loops, for regressions between two commits:
//! `cargo bench -p split-benches --bench coder -- --save-baseline before`, then `--baseline before`.
//! Figures that are compared with others come from `cargo xtask bench codec`.

#![allow(missing_docs, reason = "the macros below make public items")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use split_tensor::{CoderPath, FreqTable, Lanes, LatentShape, Scratch, Symbols, TableSet};

/// About one bit a symbol: three of four are zero.
fn symbols(count: usize) -> Symbols {
    let mut state = 1u64;
    let mut draw = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let bits = state >> 32;
        let magnitude = i32::try_from((bits | 1 << 20).trailing_zeros() / 2).unwrap_or(0);
        if bits >> 31 == 0 {
            magnitude
        } else {
            -magnitude
        }
    };
    let values = (0..count).map(|_| draw()).collect();
    let shape = LatentShape::new(1, 1, count).expect("a small shape");
    Symbols::new(shape, values).expect("as many symbols as the shape says")
}

fn coder(criterion: &mut Criterion) {
    let weights: Vec<f64> = (-12i32..=12).map(|k| 0.25f64.powi(k.abs())).collect();
    let table = FreqTable::from_weights(-12, &weights, 1e-5).expect("weights are positive");
    for (count, lanes) in [(256, 4), (4096, 4), (4096, 16), (65_536, 64)] {
        let symbols = symbols(count);
        for path in CoderPath::all() {
            let set = TableSet::shared(table.clone()).with_path(path);
            let mut group = criterion.benchmark_group(format!("{}/{lanes}", path.name()));
            group.throughput(Throughput::Elements(count as u64));
            let (mut scratch, mut payload) = (Scratch::new(), Vec::new());
            group.bench_function(BenchmarkId::new("encode", count), |bencher| {
                bencher.iter(|| {
                    payload.clear();
                    set.encode_reusing(
                        black_box(&symbols),
                        Lanes::Exactly(lanes),
                        &mut scratch,
                        &mut payload,
                    )
                });
            });
            let mut values = Vec::new();
            group.bench_function(BenchmarkId::new("decode", count), |bencher| {
                bencher.iter(|| set.decode_into(symbols.shape(), black_box(&payload), &mut values));
            });
            group.finish();
        }
    }
}

criterion_group!(benches, coder);
criterion_main!(benches);
