//! Which pictures, one after the other.

use std::collections::VecDeque;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use image::RgbImage;
use split_backbone::photo_files;
use tokio::sync::mpsc;

use crate::video::{self, Video};

/// The argument that stands for paths on standard input.
const STDIN: &str = "-";

/// A line of standard input, without its end.
type Line = std::io::Result<Vec<u8>>;

/// Paths of pictures, in the order in which they were named.
pub(crate) struct Paths {
    waiting: VecDeque<PathBuf>,
    /// From the first time that standard input is asked for.
    lines: Option<mpsc::Receiver<Line>>,
    /// The one that is being shown.
    video: Option<Video>,
    fps: Option<f64>,
}

/// What comes next.
pub(crate) enum Next {
    Picture(PathBuf),
    /// One of a video, under a name made of the video's and its number.
    Frame(PathBuf, Arc<RgbImage>),
    /// Something that was named and holds no picture, and why.
    Nothing(PathBuf, String),
}

impl Paths {
    /// Checks that everything named is there, so that a typing error costs no waiting. Videos are
    /// shown with at most `fps` pictures a second of their time where given.
    ///
    /// # Errors
    /// Naming what isn't there.
    pub(crate) fn new(named: &[PathBuf], fps: Option<f64>) -> Result<Self> {
        for path in named.iter().filter(|path| !is_stdin(path)) {
            ensure!(path.exists(), "{} does not exist", path.display());
        }
        if let Some(path) = named.iter().find(|path| video::is_video(path)) {
            video::check_program(path)?;
        }
        Ok(Self {
            waiting: named.iter().cloned().collect(),
            lines: None,
            video: None,
            fps,
        })
    }

    /// The next picture; waits for a line where they come from standard input. What holds none costs
    /// none of those behind it. Nothing is lost where the wait is given up.
    pub(crate) async fn next(&mut self) -> Option<Next> {
        loop {
            if let Some(video) = &mut self.video {
                match video.next().await {
                    Some((name, Ok(picture))) => return Some(Next::Frame(name, picture)),
                    Some((name, Err(why))) => return Some(Next::Nothing(name, why)),
                    None => self.video = None,
                }
            }
            match self.next_path().await? {
                Next::Picture(path) if video::is_video(&path) => {
                    match Video::open(&path, self.fps) {
                        Ok(video) => self.video = Some(video),
                        Err(error) => return Some(Next::Nothing(path, format!("{error:#}"))),
                    }
                }
                next => return Some(next),
            }
        }
    }

    async fn next_path(&mut self) -> Option<Next> {
        while let Some(path) = self.waiting.front().cloned() {
            if is_stdin(&path) {
                // It stays the first while a line is waited for: who waits may turn to something else.
                let Some(line) = self.lines.get_or_insert_with(stdin_lines).recv().await else {
                    self.waiting.pop_front();
                    continue;
                };
                match line {
                    Ok(line) if line.trim_ascii().is_empty() => {}
                    Ok(line) => return Some(named(line.trim_ascii())),
                    Err(error) => {
                        let why = format!("reading paths from standard input: {error}");
                        return Some(Next::Nothing(PathBuf::from(STDIN), why));
                    }
                }
                continue;
            }
            self.waiting.pop_front();
            if path.is_dir() {
                match files_of(&path) {
                    Ok(files) => {
                        for file in files.into_iter().rev() {
                            self.waiting.push_front(file);
                        }
                    }
                    Err(error) => return Some(Next::Nothing(path, format!("{error:#}"))),
                }
            } else {
                return Some(Next::Picture(path));
            }
        }
        None
    }
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = photo_files(folder)?;
    if files.is_empty() {
        bail!("no .jpg, .png or .webp file in it");
    }
    Ok(files)
}

/// Reads on a thread of its own, so that a signal is heard while nobody writes a line. It ends after
/// an error: the next read would give it again.
fn stdin_lines() -> mpsc::Receiver<Line> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = match stdin.read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => Ok(line),
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if sender.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// A path as the system writes it: names of files need not be UTF-8 everywhere.
#[cfg(unix)]
fn named(line: &[u8]) -> Next {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    Next::Picture(PathBuf::from(OsStr::from_bytes(line)))
}

#[cfg(not(unix))]
fn named(line: &[u8]) -> Next {
    match std::str::from_utf8(line) {
        Ok(line) => Next::Picture(PathBuf::from(line)),
        Err(error) => {
            let shown = String::from_utf8_lossy(line).into_owned();
            Next::Nothing(PathBuf::from(shown), error.to_string())
        }
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == STDIN
}
