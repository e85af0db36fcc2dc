//! The pictures that are shown.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use split_backbone::embedded::{self, EmbeddedSplit};
use split_backbone::photo_files;

/// How many pictures of the embedded set are drawn.
const DRAWN: usize = 200;

/// A picture in a file.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) path: PathBuf,
    /// The file's length.
    pub(crate) bytes: u64,
    /// What it shows, where that is known.
    pub(crate) truth: Option<&'static str>,
}

/// The named pictures, or pictures of the embedded set, which are written into `folder`.
///
/// # Errors
/// Naming what isn't there or can't be written.
pub(crate) fn open(named: &[PathBuf], folder: &Path) -> Result<Vec<Shown>> {
    if named.is_empty() {
        return drawn(&folder.join("pictures"));
    }
    let mut album = Vec::new();
    for path in named {
        let files = if path.is_dir() {
            photo_files(path)?
        } else {
            vec![path.clone()]
        };
        for path in files {
            let path = std::path::absolute(&path)?;
            let note =
                fs::metadata(&path).with_context(|| format!("the picture {}", path.display()))?;
            album.push(Shown {
                path,
                bytes: note.len(),
                truth: None,
            });
        }
    }
    ensure!(
        !album.is_empty(),
        "no .jpg, .png or .webp file in what was named"
    );
    Ok(album)
}

fn drawn(folder: &Path) -> Result<Vec<Shown>> {
    fs::create_dir(folder).context("a folder for pictures")?;
    let set = embedded::pictures(EmbeddedSplit::Test, DRAWN)?;
    let side = u32::try_from(embedded::SIDE)?;
    let one = |(index, label): (usize, &u16)| {
        let path = folder.join(format!("{index:04}.png"));
        let pixels = set.rgb8(index);
        image::save_buffer(&path, pixels, side, side, image::ColorType::Rgb8)
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(Shown {
            bytes: fs::metadata(&path)?.len(),
            path,
            truth: Some(embedded::CLASSES[usize::from(*label)]),
        })
    };
    set.labels().iter().enumerate().map(one).collect()
}
