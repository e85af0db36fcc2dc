//! Files of others that tests and runs can use and that are never committed.

use std::env;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::shell;

/// The manifest, relative to the workspace.
const MANIFEST: &str = "xtask/assets.json";

/// One file of the manifest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asset {
    file: String,
    sha256: String,
    source: String,
    licence: String,
}

/// Compares a folder with the manifest and says what each file is.
pub(crate) fn run(root: &Path, dir: Option<PathBuf>) -> Result<()> {
    let path = root.join(MANIFEST);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {MANIFEST}"))?;
    let assets = parse(&text).with_context(|| format!("reading {MANIFEST}"))?;
    let dir = dir
        .or_else(|| env::var_os("SPLIT_ASSETS").map(PathBuf::from))
        .unwrap_or_else(|| root.join("../shared/assets"));
    ensure!(
        dir.is_dir(),
        "{} is no folder; name one, or set SPLIT_ASSETS",
        dir.display()
    );
    let mut bad = 0;
    for asset in &assets {
        let verdict = verdict(&dir, asset)?;
        bad += u32::from(verdict.is_some());
        let verdict = verdict.unwrap_or_else(|| "ok".to_owned());
        let Asset {
            file,
            source,
            licence,
            ..
        } = asset;
        shell::say(&format!("{file}: {verdict} ({source}; {licence})"));
    }
    if bad > 0 {
        bail!(
            "{bad} of {} files in {} are missing or differ",
            assets.len(),
            dir.display()
        );
    }
    shell::say(&format!("all {} files are as listed", assets.len()));
    Ok(())
}

fn parse(text: &str) -> Result<Vec<Asset>> {
    let assets: Vec<Asset> = serde_json::from_str(text)?;
    for asset in &assets {
        let file = &asset.file;
        let hex = asset.sha256.len() == 64
            && asset.sha256.chars().all(|c| "0123456789abcdef".contains(c));
        ensure!(
            hex,
            "{file}: sha256 {:?} is not 64 small hex digits",
            asset.sha256
        );
        let inside = !file.split('/').any(|part| part.is_empty() || part == "..");
        ensure!(inside, "{file}: not a path below the folder");
        ensure!(
            !asset.source.is_empty() && !asset.licence.is_empty(),
            "{file}: no source or licence"
        );
    }
    Ok(assets)
}

/// What is wrong with a file, if anything.
fn verdict(dir: &Path, asset: &Asset) -> Result<Option<String>> {
    let path = dir.join(&asset.file);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some("missing".to_owned()));
        }
        Err(error) => return Err(error).with_context(|| format!("opening {}", path.display())),
    };
    let found = sha256(file).with_context(|| format!("reading {}", path.display()))?;
    Ok((found != asset.sha256).then(|| format!("sha256 is {found}, expected {}", asset.sha256)))
}

fn sha256(mut file: File) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
    }
    Ok(digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of the three bytes `abc` (FIPS 180-4, example 1).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn asset(file: &str) -> Asset {
        let json =
            format!(r#"[{{"file": "{file}", "sha256": "{ABC}", "source": "s", "licence": "l"}}]"#);
        parse(&json).unwrap().remove(0)
    }

    #[test]
    fn files_are_judged_by_their_digest() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("good"), "abc").unwrap();
        std::fs::write(dir.path().join("bad"), "abd").unwrap();
        assert_eq!(verdict(dir.path(), &asset("good")).unwrap(), None);
        assert!(
            verdict(dir.path(), &asset("bad"))
                .unwrap()
                .unwrap()
                .contains(ABC)
        );
        assert_eq!(
            verdict(dir.path(), &asset("none")).unwrap().unwrap(),
            "missing"
        );
    }

    #[test]
    fn manifest_of_the_workspace_is_valid() {
        let root = shell::workspace_root().unwrap();
        let text = std::fs::read_to_string(root.join(MANIFEST)).unwrap();
        assert!(!parse(&text).unwrap().is_empty());
    }

    #[test]
    fn paths_out_of_the_folder_are_refused() {
        for file in ["../x", "/x", "a//b", ""] {
            let json = format!(
                r#"[{{"file": "{file}", "sha256": "{ABC}", "source": "s", "licence": "l"}}]"#
            );
            assert!(parse(&json).is_err(), "{file}");
        }
    }
}
