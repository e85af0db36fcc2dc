//! The law of the fuzz target, over its corpus and seeded mutants.
//!
//! `UPDATE_GOLDEN=1 cargo test -p split-bottleneck --test laws` writes the corpus; the weights in it were drawn
//! here and differ in their last bits from machine to machine, so what is there is only checked to be sound.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail loudly")]

mod common;
#[path = "../fuzz/laws.rs"]
mod laws;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use common::{cache, config, run};
use rand_core::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;
use split_bottleneck::{BackboneNote, Bank, DecoderKind, Objective, Rung, Training, UnitConfig};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/bank")
}

/// A small bank of each layout, trained for a few steps.
fn seeds() -> Vec<Vec<u8>> {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let cache = cache(32, &plain);
    let shape = cache.shape();
    let mut narrow = UnitConfig::conv(shape, 4, 2, 0.5);
    narrow.decoder = DecoderKind::Conv {
        hidden: 4,
        blocks: 1,
    };
    let units = [UnitConfig::paper(shape, 4, 2, 0.5), narrow];
    units
        .iter()
        .map(|unit| {
            let settings = config(6, Objective::Lambda(0.05));
            let mut training = Training::start(unit, &settings, None, &cache, &device).unwrap();
            run(&mut training, &cache, 6, &device);
            let rung =
                Rung::from_training("r0", "unit", unit, &training, &cache, 32, &plain).unwrap();
            let note = BackboneNote {
                name: "toy".to_owned(),
                split: "stem".to_owned(),
                weights_sha256: "00".to_owned(),
            };
            Bank::new(note, vec![rung]).unwrap().to_bytes().unwrap()
        })
        .collect()
}

fn kept() -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(corpus()).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test may ask whether to rewrite its files"
)]
fn the_corpus_holds_banks_that_open() {
    if std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1") {
        std::fs::create_dir_all(corpus()).unwrap();
        for (index, seed) in seeds().iter().enumerate() {
            std::fs::write(corpus().join(format!("seed-{index}")), seed).unwrap();
        }
    }
    let kept = kept();
    assert_eq!(kept.len(), 2);
    for bytes in kept.iter().chain(&seeds()) {
        assert_eq!(laws::bank(bytes), 1);
    }
}

#[test]
fn the_law_holds_for_mutants_and_noise() {
    let pool = kept();
    let mut random = Pcg64::seed_from_u64(0x1a05);
    let mut below = |count: usize| usize::try_from(random.next_u32()).unwrap() % count.max(1);
    for round in 0..600 {
        let mut bytes = pool[below(pool.len())].clone();
        // Most of the time where names, sizes and configurations stand.
        let within = if round % 4 == 0 {
            bytes.len()
        } else {
            4096.min(bytes.len())
        };
        for _ in 0..=below(3) {
            let at = below(within.min(bytes.len()));
            match below(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, u8::try_from(below(256)).unwrap()),
                2 => {
                    let other = &pool[below(pool.len())];
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[at.min(other.len())..]);
                }
                _ if at < bytes.len() => bytes[at] = u8::try_from(below(256)).unwrap(),
                _ => {}
            }
        }
        let held = std::panic::catch_unwind(|| laws::bank(&bytes));
        assert!(held.is_ok(), "round {round}");
    }
    for _ in 0..200 {
        let length = below(200);
        let bytes: Vec<u8> = (0..length)
            .map(|_| u8::try_from(below(256)).unwrap())
            .collect();
        assert_eq!(laws::bank(&bytes), 0);
    }
}
