//! The folder of one training run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::files::{folder, read, write_whole};

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

/// Removes the checkpoints of a run that came to its end, that is, that left `results`.
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
    for path in old.iter().chain([&results]) {
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

/// Refuses a record that could not be written after hours of training; its folder is made.
pub(crate) fn check_record(record: Option<&Path>) -> Result<()> {
    let Some(record) = record else {
        return Ok(());
    };
    ensure!(
        !record.is_dir(),
        "--record {} is a folder; name a file",
        record.display()
    );
    if let Some(parent) = record.parent().filter(|p| !p.as_os_str().is_empty()) {
        folder(parent).with_context(|| format!("--record {}", record.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::begin;

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
