//! Manifests for a cluster, held against the programs: flags that are known, probes that are answered,
//! metrics that exist. What a cluster makes of them is not tested here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::Value;

use super::bank::Rig;
use super::processes::{Edge, edge, printed};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/deploy/kubernetes")
}

/// The text of all files, and all of their documents.
fn manifests() -> (String, Vec<Value>) {
    let mut text = String::new();
    let mut documents = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let file = fs::read_to_string(&path).unwrap();
        for document in serde_norway::Deserializer::from_str(&file) {
            let document = Value::deserialize(document);
            documents.push(document.unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        }
        text.push_str(&file);
    }
    (text, documents)
}

/// Every value of that key, wherever it stands.
fn all_of<'a>(document: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match document {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == key {
                    found.push(value);
                }
                all_of(value, key, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| all_of(value, key, found)),
        _ => {}
    }
}

fn every(documents: &[Value], key: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for document in documents {
        all_of(document, key, &mut found);
    }
    found.into_iter().cloned().collect()
}

#[test]
fn manifests_name_flags_paths_and_metrics_that_exist() {
    let (text, documents) = manifests();
    let kinds: BTreeSet<String> = documents
        .iter()
        .map(|document| document["kind"].as_str().unwrap().to_owned())
        .collect();
    for kind in [
        "Deployment",
        "HorizontalPodAutoscaler",
        "ServingRuntime",
        "InferenceService",
    ] {
        assert!(kinds.contains(kind), "{kind} in {kinds:?}");
    }

    let mut started = 0;
    for args in every(&documents, "args") {
        let args: Vec<&str> = args
            .as_array()
            .unwrap()
            .iter()
            .map(|arg| arg.as_str().unwrap())
            .collect();
        assert_eq!(args[0], "split-edge");
        let settings = printed(edge().args(&args[1..]).arg("--print-config"));
        for arg in &args[1..] {
            let (key, value) = arg.trim_start_matches("--").split_once('=').unwrap();
            let set = settings
                .lines()
                .find(|line| line.starts_with(&format!("{key} = ")));
            assert!(
                set.is_some_and(|line| line.contains(value)),
                "{arg} in\n{settings}"
            );
        }
        started += 1;
    }
    assert_eq!(started, 2);

    let rig = Rig::new();
    let edge = Edge::start(&rig.models, &[]);
    let probes = every(&documents, "httpGet");
    assert!(probes.len() >= 4, "{probes:?}");
    for probe in probes {
        let answer = edge.get(probe["path"].as_str().unwrap());
        assert!(answer.starts_with("HTTP/1.1 200"), "{probe}: {answer}");
    }
    let metrics = edge.get("/metrics");
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let named: BTreeSet<&str> = words
        .filter(|word| word.starts_with("split_edge_"))
        .collect();
    assert!(!named.is_empty());
    for name in named {
        // What the adapter makes of a histogram.
        let source = name.replace("_p95", "_bucket");
        assert!(
            metrics.contains(&format!("\n{source}")),
            "{name} in\n{metrics}"
        );
    }
    edge.drain();
}
