//! The laws of the fuzz targets, over their corpus, the golden files and seeded mutants.
//!
//! `UPDATE_GOLDEN=1 cargo test -p split-tensor --test laws` writes the seeds of the corpus.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail loudly")]

mod common;
#[path = "../fuzz/laws.rs"]
mod laws;

use std::path::{Path, PathBuf};

use common::Draws;
use split_tensor::{Checksums, Quantizer, Symbols, ValueRange};

fn folder(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files_of(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|fault| panic!("{folder:?}: {fault}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

/// Valid bytes for each law, made by the crate itself.
fn seeds(law: &str) -> Vec<Vec<u8>> {
    let [channels, contexts, mixing] = laws::single_codecs();
    assert!(mixing.tables().mixes());
    assert!(channels.tables().contexts() == 0 && contexts.tables().contexts() > 0);
    let sent = |seed: usize| laws::bundle_symbols(seed)[0].clone();
    let codec = laws::bundle_codec();
    let both: Vec<Vec<Symbols>> = (0..2)
        .map(|seed| laws::bundle_symbols(seed).into())
        .collect();
    match law {
        "frame" => vec![
            channels.encode_symbols(&sent(1)).unwrap(),
            contexts.encode_symbols(&sent(2)).unwrap(),
            channels
                .clone()
                .with_checksum(false)
                .encode_symbols(&sent(3))
                .unwrap(),
            [
                codec.encode_symbols(&both[0]).unwrap(),
                codec.encode_symbol_packets(&both[0], 3).unwrap().concat(),
            ]
            .concat(),
            mixing.encode_symbols(&sent(4)).unwrap(),
        ],
        "bundle" => [Checksums::None, Checksums::Frame, Checksums::Segment]
            .map(|checksums| codec.clone().with_checksums(checksums))
            .iter()
            .map(|codec| codec.encode_symbols(&both[0]).unwrap())
            .chain(codec.encode_symbol_packets(&both[1], 3).unwrap())
            .collect(),
        "file" => {
            let groups: Vec<_> = both
                .iter()
                .map(|both| codec.restore(both).unwrap())
                .collect();
            vec![codec.encode_file(&groups).unwrap()]
        }
        "tables" => vec![
            channels.tables().to_bytes(),
            contexts.tables().to_bytes(),
            codec.tensors()[1].tables().to_bytes(),
            mixing.tables().to_bytes(),
        ],
        "quantizer" => {
            let range = ValueRange::new(-1.0, 2.0).unwrap();
            let steps = Quantizer::per_channel(vec![0.5, 2.0]).unwrap();
            vec![
                steps.to_bytes(),
                steps.dead_zone(0.25, 0.5).unwrap().to_bytes(),
                Quantizer::affine(range, 4).unwrap().to_bytes(),
                Quantizer::clipped(range, 3).unwrap().to_bytes(),
            ]
        }
        _ => vec![
            vec![0, 5, 1, 1, 2, 1, 1, 3],
            vec![129, 9, 0, 251, 1, 1, 1, 255, 0, 0, 2],
            vec![13, 40, 7],
            vec![2, 9, 3, 1, 0, 252, 0, 6, 1, 255],
        ],
    }
}

/// Flips, cuts, repeats and splices.
fn mutant(pool: &[Vec<u8>], draws: &mut Draws) -> Vec<u8> {
    let pick = |draws: &mut Draws| {
        let at = draws.below(pool.len() as u64);
        pool[usize::try_from(at).unwrap()].clone()
    };
    let mut bytes = pick(draws);
    for _ in 0..=draws.below(3) {
        let at = usize::try_from(draws.below(bytes.len() as u64 + 1)).unwrap();
        match draws.below(6) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << draws.below(8),
            2 if at < bytes.len() => bytes[at] = (draws.next_u64() & 255) as u8,
            3 => bytes.truncate(at),
            4 => {
                let other = pick(draws);
                let from = usize::try_from(draws.below(other.len() as u64 + 1)).unwrap();
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes.insert(at, (draws.next_u64() & 255) as u8),
        }
    }
    bytes
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test may ask whether to rewrite its files"
)]
fn the_corpus_holds_valid_bytes_for_each_law() {
    let update = std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1");
    for (name, law) in laws::LAWS {
        let corpus = folder("fuzz/corpus").join(name);
        for (index, seed) in seeds(name).iter().enumerate() {
            let path = corpus.join(format!("seed-{index}"));
            if update {
                std::fs::create_dir_all(&corpus).unwrap();
                std::fs::write(&path, seed).unwrap();
            }
            let kept = std::fs::read(&path).unwrap_or_else(|fault| panic!("{path:?}: {fault}"));
            assert_eq!(kept, *seed, "{name}, seed {index}");
            law(seed);
        }
    }
}

#[test]
fn every_law_holds_for_the_corpus_the_golden_files_and_mutants_of_both() {
    let golden = files_of(&folder("tests/golden"));
    for (name, law) in laws::LAWS {
        let own = files_of(&folder("fuzz/corpus").join(name));
        golden.iter().chain(&own).for_each(|bytes| law(bytes));
        for (pool, count) in [(&own, 1500), (&golden, 300)] {
            let mut draws = Draws::new(0x1a05);
            for round in 0..count {
                let bytes = mutant(pool, &mut draws);
                let held = std::panic::catch_unwind(|| law(&bytes));
                assert!(held.is_ok(), "{name}, round {round}: {bytes:02x?}");
            }
        }
    }
}

#[test]
fn every_law_holds_for_noise() {
    for (name, law) in laws::LAWS {
        let mut draws = Draws::new(0xd1ce);
        for round in 0..500 {
            let length = draws.below(120);
            let bytes: Vec<u8> = (0..length)
                .map(|_| (draws.next_u64() & 255) as u8)
                .collect();
            let held = std::panic::catch_unwind(|| law(&bytes));
            assert!(held.is_ok(), "{name}, round {round}: {bytes:02x?}");
        }
    }
}
