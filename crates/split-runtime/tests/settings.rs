//! The law of settings files over its corpus, damaged copies and swapped lines.
//!
//! `UPDATE_GOLDEN=1 cargo test -p split-runtime --features bin --test settings` writes the corpus anew.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail loudly")]

#[path = "../fuzz/settings.rs"]
mod law;
#[path = "../src/bin/program"]
mod program {
    pub(crate) mod allowed;
    #[allow(dead_code, reason = "the programs read files too")]
    pub(crate) mod settings;
}

use std::fs;
use std::path::{Path, PathBuf};

use rand_core::Rng as _;
use rand_pcg::Pcg32;

/// What a value of a file may be replaced by.
const VALUES: [&str; 14] = [
    "0",
    "-1",
    "1",
    "18446744073709551615",
    "1e400",
    "nan",
    "\"\"",
    "\"[::1]:0\"",
    "\"edge:50051\"",
    "\"wgpu:99999999999999999999\"",
    "[]",
    "[\"a\", \"\"]",
    "true",
    "{ x = 1 }",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/settings")
}

fn corpus() -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

fn below(random: &mut Pcg32, end: usize) -> usize {
    usize::try_from(random.next_u32()).unwrap() % end
}

#[test]
fn the_corpus_names_every_setting() {
    for (name, text) in law::samples() {
        let path = folder().join(format!("{name}.toml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(folder()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            text,
            "{}",
            path.display()
        );
    }
}

#[test]
fn the_law_holds_for_the_corpus_its_mutants_and_other_values() {
    let mut random = Pcg32::new(71, 0);
    let corpus = corpus();
    assert!(corpus.len() >= 2);
    for sample in &corpus {
        law::settings(sample);
        for _ in 0..400 {
            let mut damaged = sample.clone();
            let at = below(&mut random, damaged.len());
            match random.next_u32() % 3 {
                0 => damaged.truncate(at),
                1 => damaged[at] = random.next_u32().to_le_bytes()[0],
                _ => damaged[at] ^= 1 << (random.next_u32() % 8),
            }
            law::settings(&damaged);
        }
        // Every setting in turn, also those that stand in a comment, with every value.
        let text = String::from_utf8(sample.clone()).unwrap();
        for (index, line) in text.lines().enumerate() {
            let Some((key, _)) = line.trim_start_matches("# ").split_once(" =") else {
                continue;
            };
            for value in VALUES {
                let mut lines: Vec<&str> = text.lines().collect();
                let changed = format!("{key} = {value}");
                lines[index] = &changed;
                law::settings(lines.join("\n").as_bytes());
            }
        }
    }
}
