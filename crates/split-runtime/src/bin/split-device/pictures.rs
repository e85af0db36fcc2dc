//! Which pictures, one after the other.

use std::collections::VecDeque;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use split_backbone::{Framing, Pictures, photo_files, read_picture};

/// The argument that stands for paths on standard input.
const STDIN: &str = "-";

/// Paths of pictures, in the order in which they were named.
pub(crate) struct Paths {
    waiting: VecDeque<PathBuf>,
}

impl Paths {
    /// Checks that everything named is there, so that a typing error costs no waiting.
    ///
    /// # Errors
    /// Naming what isn't there.
    pub(crate) fn new(named: &[PathBuf]) -> Result<Self> {
        for path in named.iter().filter(|path| !is_stdin(path)) {
            ensure!(path.exists(), "{} does not exist", path.display());
        }
        Ok(Self {
            waiting: named.iter().cloned().collect(),
        })
    }

    /// The next picture; waits for a line where they come from standard input.
    ///
    /// # Errors
    /// For a folder that can't be listed or holds no picture.
    pub(crate) fn next(&mut self) -> Result<Option<PathBuf>> {
        while let Some(path) = self.waiting.pop_front() {
            if is_stdin(&path) {
                let mut line = String::new();
                let read = std::io::stdin().lock().read_line(&mut line);
                if read.context("reading paths from standard input")? == 0 {
                    continue;
                }
                self.waiting.push_front(path);
                let line = line.trim();
                if !line.is_empty() {
                    return Ok(Some(PathBuf::from(line)));
                }
            } else if path.is_dir() {
                let files = photo_files(&path)?;
                let shown = path.display();
                ensure!(!files.is_empty(), "no .jpg, .png or .webp file in {shown}");
                for file in files.into_iter().rev() {
                    self.waiting.push_front(file);
                }
            } else {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == STDIN
}

/// A picture file as a set of one square picture.
///
/// # Errors
/// Naming the file and what is wrong with it.
pub(crate) fn open(path: &Path, side: u32) -> Result<Pictures> {
    let picture = read_picture(path).with_context(|| format!("the picture {}", path.display()))?;
    let framing = Framing::square(side).context("side is 1 to 4096 pixels")?;
    let pixels = framing.apply(&picture).into_raw();
    let side = usize::try_from(side)?;
    let set = Pictures::new((side, side), pixels, vec![0], vec![String::new()]);
    set.with_context(|| format!("the picture {}", path.display()))
}
