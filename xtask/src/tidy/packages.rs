//! What a package on crates.io needs, from the manifests and the files beside them.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::shell;

/// Packages that are for this workspace alone.
const PRIVATE: [&str; 2] = ["split-benches", "xtask"];

/// What lies beside the manifest of a published crate.
const FILES: [&str; 3] = ["README.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// Most keywords and categories that crates.io takes.
const WORDS_MAX: usize = 5;

/// All broken rules.
pub(crate) fn problems(root: &Path) -> Result<Vec<String>> {
    let mut cargo = shell::cargo();
    cargo
        .current_dir(root)
        .args(["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value =
        serde_json::from_str(&shell::output_of(&mut cargo)?).context("reading cargo metadata")?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    Ok(packages
        .flat_map(|package| {
            let folder = Path::new(package["manifest_path"].as_str().unwrap_or_default())
                .parent()
                .unwrap_or(root);
            let beside = |file: &str| folder.join(file).is_file();
            package_problems(package, beside)
        })
        .collect())
}

fn package_problems(package: &Value, beside: impl Fn(&str) -> bool) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let is_private = package["publish"]
        .as_array()
        .is_some_and(|registries| registries.is_empty());
    if PRIVATE.contains(&name) || is_private {
        let is_right = PRIVATE.contains(&name) == is_private;
        let problem =
            format!("{name}: `publish = false` is for {PRIVATE:?} alone, and both say it");
        return (!is_right).then_some(problem).into_iter().collect();
    }
    let mut problems = Vec::new();
    for field in ["description", "license", "readme", "rust_version"] {
        if package[field].as_str().is_none_or(str::is_empty) {
            problems.push(format!("{name}: its manifest has no {field}"));
        }
    }
    for field in ["keywords", "categories"] {
        let count = package[field].as_array().map_or(0, Vec::len);
        if !(1..=WORDS_MAX).contains(&count) {
            problems.push(format!(
                "{name}: {count} {field}, 1 to {WORDS_MAX} are right"
            ));
        }
    }
    for file in FILES {
        if !beside(file) {
            problems.push(format!("{name}: no {file} beside its manifest"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> Value {
        json!({"name": "split-x", "publish": null, "description": "d", "license": "MIT",
            "readme": "README.md", "rust_version": "1.95", "keywords": ["a"], "categories": ["b"]})
    }

    fn check(change: impl FnOnce(&mut Value), expected: &str) {
        let mut package = good();
        change(&mut package);
        let found = package_problems(&package, |_| true);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(expected), "{found:?}");
    }

    #[test]
    fn packages_that_a_registry_or_a_reader_would_miss_something_in_are_found() {
        assert!(package_problems(&good(), |_| true).is_empty());
        check(
            |package| package["description"] = Value::Null,
            "no description",
        );
        check(|package| package["license"] = "".into(), "no license");
        check(|package| package["keywords"] = json!([]), "0 keywords");
        check(
            |package| package["categories"] = json!(["a", "b", "c", "d", "e", "f"]),
            "6 categories",
        );
        let found = package_problems(&good(), |file| file != "LICENSE-MIT");
        assert_eq!(found, ["split-x: no LICENSE-MIT beside its manifest"]);
    }

    #[test]
    fn only_the_workspace_s_own_packages_stay_private() {
        check(|package| package["publish"] = json!([]), "publish = false");
        let private = json!({"name": "xtask", "publish": []});
        assert!(package_problems(&private, |_| false).is_empty());
        let public = json!({"name": "xtask", "publish": null});
        assert_eq!(package_problems(&public, |_| false).len(), 1);
    }
}
