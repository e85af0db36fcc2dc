//! The folder of one training run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::files::{read, write_whole};
use crate::metrics::METRICS;

/// Holds the options that decide a run's result.
const OPTIONS: &str = "run.txt";
/// Is there when a training came to its end.
const RESULTS: &str = "results.json";

/// Refuses to mix two runs in one folder. A new run removes the checkpoints of one that came to its
/// end; those of one that did not are hours of work and stay.
pub(crate) fn begin(out: &Path, options: &str, resume: bool) -> Result<()> {
    let path = out.join(OPTIONS);
    if resume {
        let old = read(&path).with_context(|| {
            format!(
                "--resume needs a run in {}; leave --resume out to start one",
                out.display()
            )
        })?;
        ensure!(
            old == options.as_bytes(),
            "{} was written by a run with other options; repeat them or use another --out",
            path.display()
        );
        return Ok(());
    }
    make_room(out, RESULTS)?;
    write_whole(&path, options.as_bytes())
}

/// Removes checkpoints and metrics of a run that came to its end, that is, that left `results`.
///
/// # Errors
/// Where a run did not end.
pub(crate) fn make_room(out: &Path, results: &str) -> Result<()> {
    let (old, results) = (checkpoints(out)?, out.join(results));
    if let Some(first) = old.first()
        && !results.exists()
    {
        bail!(
            "{} holds {} of a run that did not end; go on with --resume, use another --out, or \
             remove the folder",
            out.display(),
            first.file_name().unwrap_or_default().display()
        );
    }
    for path in old.iter().chain([&results, &out.join(METRICS)]) {
        if path.exists() {
            std::fs::remove_file(path)
                .with_context(|| format!("removing the old {}", path.display()))?;
        }
    }
    Ok(())
}

fn checkpoints(out: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(out).with_context(|| format!("listing {}", out.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "checkpoint") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Refuses a record that could not be written after hours of training. Its folder is made where only
/// that one is missing; more would be a typing error.
pub(crate) fn check_record(record: Option<&Path>) -> Result<()> {
    let Some(record) = record else {
        return Ok(());
    };
    let folder = match record.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let made = folder.is_dir() || std::fs::create_dir(folder).is_ok();
    ensure!(
        made && !record.is_dir(),
        "--record {}: {} is no folder to write it to",
        record.display(),
        folder.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{begin, check_record};

    #[test]
    fn a_record_gets_its_folder_but_not_a_whole_path() {
        let dir = tempfile::tempdir().unwrap();
        check_record(Some(&dir.path().join("new/record.json"))).unwrap();
        assert!(dir.path().join("new").is_dir());
        let far = dir.path().join("not/there/record.json");
        let refused = check_record(Some(&far)).unwrap_err().to_string();
        assert!(refused.contains("--record"), "{refused}");
        assert!(!dir.path().join("not").exists());
    }

    #[test]
    fn unfinished_work_stays_and_finished_work_makes_room() {
        let out = std::env::temp_dir().join(format!("split-run-folder-{}", std::process::id()));
        let _ = fs::remove_dir_all(&out);
        fs::create_dir_all(&out).unwrap();
        begin(&out, "a", false).unwrap();
        fs::write(out.join("unit-1.checkpoint"), "state").unwrap();
        let refused = begin(&out, "a", false).unwrap_err().to_string();
        assert!(refused.contains("--resume"), "{refused}");
        assert!(begin(&out, "b", true).is_err());
        begin(&out, "a", true).unwrap();
        assert!(out.join("unit-1.checkpoint").exists());
        fs::write(out.join("results.json"), "{}").unwrap();
        begin(&out, "b", false).unwrap();
        assert!(!out.join("unit-1.checkpoint").exists());
        fs::remove_dir_all(&out).unwrap();
    }
}
