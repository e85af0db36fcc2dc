//! Pictures of a video file or a camera, decoded by `ffmpeg`.

use std::io::{BufReader, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use image::RgbImage;
use tokio::sync::{mpsc, watch};

use crate::ppm;

const PROGRAM: &str = "ffmpeg";

/// Endings of files that are taken for videos.
const VIDEOS: [&str; 11] = [
    "avi", "m4v", "mjpeg", "mjpg", "mkv", "mov", "mp4", "mpeg", "mpg", "webm", "y4m",
];

/// How Linux names cameras.
const CAMERA: &str = "/dev/video";

/// Most of ffmpeg's complaints that is repeated.
const MAX_SAID_BYTES: u64 = 2048;

/// A picture, or why there are no more.
type Item = Result<Arc<RgbImage>, String>;

/// A video on its way through ffmpeg.
pub(crate) struct Video {
    path: PathBuf,
    source: Source,
    seen: u64,
}

enum Source {
    /// Every picture, as fast as they are asked for.
    File(mpsc::Receiver<Item>),
    /// The newest picture: what nobody had time for is gone.
    Camera(watch::Receiver<Option<Item>>),
}

/// Whether a path names a video or a camera.
pub(crate) fn is_video(path: &Path) -> bool {
    let ending = path
        .extension()
        .map(|ending| ending.to_string_lossy().to_lowercase());
    is_camera(path) || ending.is_some_and(|ending| VIDEOS.contains(&ending.as_str()))
}

fn is_camera(path: &Path) -> bool {
    path.to_string_lossy().starts_with(CAMERA)
}

/// That ffmpeg can be started, so that its lack costs no waiting.
///
/// # Errors
/// Saying how to get it.
pub(crate) fn check_program(path: &Path) -> Result<()> {
    let quiet = |command: &mut Command| {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    };
    match quiet(Command::new(PROGRAM).arg("-version")) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "{} is a video, and {PROGRAM}, which decodes it, is not installed; install it, or give pictures",
            path.display()
        ),
        Err(error) => Err(error).context(format!("starting {PROGRAM} for {}", path.display())),
    }
}

impl Video {
    /// Starts ffmpeg; at most `fps` pictures a second of the video's time where given.
    ///
    /// # Errors
    /// Where it can't be started.
    pub(crate) fn open(path: &Path, fps: Option<f64>) -> Result<Self> {
        let camera = is_camera(path);
        let mut command = Command::new(PROGRAM);
        command.args(["-nostdin", "-v", "error"]);
        if camera {
            command.args(["-f", "v4l2"]);
        }
        command.arg("-i").arg(path).arg("-an");
        if let Some(fps) = fps {
            command.arg("-vf").arg(format!("fps={fps}"));
        }
        command.args(["-f", "image2pipe", "-c:v", "ppm", "-"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command
            .spawn()
            .with_context(|| format!("starting {PROGRAM} for {}", path.display()))?;
        let source = if camera {
            let (sender, receiver) = watch::channel(None);
            std::thread::spawn(move || read(child, |item| sender.send(Some(item)).is_ok()));
            Source::Camera(receiver)
        } else {
            let (sender, receiver) = mpsc::channel(1);
            std::thread::spawn(move || read(child, |item| sender.blocking_send(item).is_ok()));
            Source::File(receiver)
        };
        Ok(Self {
            path: path.to_owned(),
            source,
            seen: 0,
        })
    }

    /// The next picture and its name, `clip.mp4#1` for the first one that is taken.
    pub(crate) async fn next(&mut self) -> Option<(PathBuf, Item)> {
        let item = match &mut self.source {
            Source::File(pictures) => pictures.recv().await,
            Source::Camera(newest) => match newest.changed().await {
                Ok(()) => newest.borrow_and_update().clone(),
                Err(_) => None,
            },
        }?;
        let name = match &item {
            Ok(_) => {
                self.seen += 1;
                let mut name = self.path.clone().into_os_string();
                name.push(format!("#{}", self.seen));
                PathBuf::from(name)
            }
            Err(_) => self.path.clone(),
        };
        Some((name, item))
    }
}

/// Hands on pictures until there are none or nobody wants them, and then why it ended if not well.
fn read(mut child: Child, mut hand_on: impl FnMut(Item) -> bool) {
    let complaints = child
        .stderr
        .take()
        .map(|pipe| std::thread::spawn(|| said(pipe)));
    let Some(pipe) = child.stdout.take() else {
        return;
    };
    let mut pipe = BufReader::with_capacity(1 << 16, pipe);
    let mut any = false;
    let broken = loop {
        match ppm::read(&mut pipe) {
            Ok(Some(picture)) => {
                any = true;
                if !hand_on(Ok(Arc::new(picture))) {
                    let _ = child.kill();
                    let _ = child.wait();
                    return;
                }
            }
            Ok(None) => break None,
            Err(error) => break Some(format!("{PROGRAM} sent no picture: {error}")),
        }
    };
    if broken.is_some() {
        let _ = child.kill();
    }
    let status = child.wait();
    let said = complaints.and_then(|thread| thread.join().ok());
    let said = said.unwrap_or_default();
    let failed = match (broken, status) {
        (Some(why), _) => Some(why),
        (None, Ok(status)) if !status.success() => Some(format!("{PROGRAM}: {said}")),
        (None, Err(error)) => Some(format!("waiting for {PROGRAM}: {error}")),
        (None, Ok(_)) if !any => Some("there is no picture in it".to_owned()),
        (None, Ok(_)) => None,
    };
    if let Some(why) = failed {
        hand_on(Err(why));
    }
}

/// What ffmpeg complained of, in one line; the rest is read and dropped, so that it never waits for us.
fn said(mut pipe: ChildStderr) -> String {
    let mut text = Vec::new();
    let _ = pipe.by_ref().take(MAX_SAID_BYTES).read_to_end(&mut text);
    let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    if lines.is_empty() {
        "it failed without a word".to_owned()
    } else {
        lines.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn videos_and_cameras_are_known_by_their_names() {
        for name in ["a.mp4", "b/c.MKV", "/dev/video0", "x.y4m"] {
            assert!(is_video(Path::new(name)), "{name}");
        }
        for name in ["a.png", "mp4", "/dev/null", "video.d/x.jpg"] {
            assert!(!is_video(Path::new(name)), "{name}");
        }
    }
}
