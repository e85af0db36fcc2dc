//! Which crate may use which, from the manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::shell;

/// Crate, those of ours that it always may use, those that it may use as an optional dependency.
const LAYERS: [(&str, &[&str], &[&str]); 4] = [
    ("split-tensor", &[], &[]),
    ("split-bottleneck", &["split-tensor"], &[]),
    ("split-backbone", &["split-bottleneck", "split-tensor"], &[]),
    (
        "split-runtime",
        &["split-tensor"],
        &["split-bottleneck", "split-backbone"],
    ),
];

/// Crates whose default build must not contain Burn.
const WITHOUT_BURN: [&str; 2] = ["split-tensor", "split-runtime"];

/// Crate whose tree holds each package in one version only.
const LEAN: &str = "split-tensor";

/// Execution backends of Burn, which only programs choose.
const BACKENDS: [&str; 8] = [
    "flex", "ndarray", "wgpu", "vulkan", "webgpu", "cuda", "cpu", "remote",
];

/// All broken rules.
pub(crate) fn problems(root: &Path) -> Result<Vec<String>> {
    let mut cargo = shell::cargo();
    cargo
        .current_dir(root)
        .args(["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value =
        serde_json::from_str(&shell::output_of(&mut cargo)?).context("reading cargo metadata")?;
    let mut problems = manifest_problems(&metadata);
    for name in WITHOUT_BURN {
        let mut tree: Command = shell::cargo();
        tree.current_dir(root)
            .args([
                "tree",
                "--package",
                name,
                "--edges",
                "normal,build",
                "--prefix",
                "none",
            ])
            .args(["--format", "{p}", "--locked"]);
        let tree = shell::output_of(&mut tree)?;
        problems.extend(burn_problems(name, &tree));
        if name == LEAN {
            problems.extend(duplicates(name, &tree));
        }
    }
    Ok(problems)
}

fn manifest_problems(metadata: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for package in array(&metadata["packages"]) {
        let name = text(&package["name"]);
        let Some((_, always, optional)) = LAYERS.iter().find(|(known, ..)| *known == name) else {
            if name.starts_with("split-") && name != "split-benches" {
                problems.push(format!(
                    "{name}: a new crate needs a place in xtask/src/tidy/layers.rs"
                ));
            }
            continue;
        };
        for dependency in array(&package["dependencies"]) {
            let used = text(&dependency["name"]);
            let is_optional = dependency["optional"] == true;
            let allowed = always.contains(&used) || (is_optional && optional.contains(&used));
            if used.starts_with("split-") && !allowed && used != name {
                problems.push(format!("{name} must not use {used}"));
            }
            let is_library = dependency["kind"].is_null();
            for feature in array(&dependency["features"]).map(text) {
                if used == "burn" && is_library && BACKENDS.contains(&feature) {
                    problems.push(format!(
                        "{name}: a library must not choose the backend {feature}"
                    ));
                }
            }
        }
    }
    problems
}

fn burn_problems(name: &str, tree: &str) -> Option<String> {
    let found = tree.lines().find(|line| line.starts_with("burn"))?;
    Some(format!("{name}: its default build contains {found}"))
}

fn duplicates(name: &str, tree: &str) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        if let (Some(package), Some(version)) = (words.next(), words.next()) {
            versions.entry(package).or_default().insert(version);
        }
    }
    let twice = versions.iter().filter(|(_, versions)| versions.len() > 1);
    twice
        .map(|(package, versions)| format!("{name}: its build contains {package} as {versions:?}"))
        .collect()
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(name: &str, dependency: Value, expected: &[&str]) {
        let metadata = json!({"packages": [{"name": name, "dependencies": [dependency]}]});
        assert_eq!(manifest_problems(&metadata), expected);
    }

    #[test]
    fn arrows_that_point_up_or_sideways_are_found() {
        let tensor = json!({"name": "split-tensor", "optional": false, "features": []});
        let backbone = json!({"name": "split-backbone", "optional": false, "features": []});
        let maybe_backbone = json!({"name": "split-backbone", "optional": true, "features": []});
        check("split-backbone", tensor.clone(), &[]);
        check("split-runtime", tensor, &[]);
        check("split-runtime", maybe_backbone.clone(), &[]);
        check(
            "split-runtime",
            backbone.clone(),
            &["split-runtime must not use split-backbone"],
        );
        check(
            "split-tensor",
            backbone,
            &["split-tensor must not use split-backbone"],
        );
        check(
            "split-bottleneck",
            maybe_backbone,
            &["split-bottleneck must not use split-backbone"],
        );
    }

    #[test]
    fn libraries_that_choose_a_backend_are_found() {
        let burn = |kind: Value| json!({"name": "burn", "kind": kind, "features": ["std", "wgpu"]});
        check(
            "split-bottleneck",
            burn(Value::Null),
            &["split-bottleneck: a library must not choose the backend wgpu"],
        );
        check("split-bottleneck", burn("dev".into()), &[]);
    }

    #[test]
    fn packages_in_two_versions_are_found() {
        let tree = "a v1.0.0\nb v1.0.0\nb v1.0.0 (*)\na v2.0.0 (proc-macro)\n";
        assert_eq!(
            duplicates("x", tree),
            ["x: its build contains a as {\"v1.0.0\", \"v2.0.0\"}"]
        );
    }

    #[test]
    fn burn_in_a_default_build_is_found() {
        assert_eq!(
            burn_problems("split-tensor", "split-tensor v0.1.0\nthiserror v2.0.0\n"),
            None
        );
        assert!(
            burn_problems("split-tensor", "split-tensor v0.1.0\nburn-core v0.22.1\n").is_some()
        );
    }
}
