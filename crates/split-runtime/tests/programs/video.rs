//! Videos, through an `ffmpeg` of our own making and through the real one where it is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::bank::{PICTURES, Rig};
use super::processes::{device_alone, failure_of, lines_of, output};
use super::{answers, by};

/// A folder with a program of that name, and a file that looks like a video.
fn staged(rig: &Rig, script: &str) -> (PathBuf, PathBuf) {
    let folder = rig.pictures.parent().unwrap();
    let programs = folder.join("programs");
    fs::create_dir_all(&programs).unwrap();
    let mut stream = Vec::new();
    for file in &rig.files {
        let picture = image::open(file).unwrap().to_rgb8();
        let (width, height) = picture.dimensions();
        stream.extend(format!("P6\n{width} {height}\n255\n").bytes());
        stream.extend(picture.as_raw());
    }
    fs::write(programs.join("frames"), stream).unwrap();
    let program = programs.join("ffmpeg");
    let text = format!("#!/bin/sh\ncd '{}'\n{script}\n", programs.display());
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let clip = folder.join("clip.mp4");
    fs::write(&clip, "not read by the program above").unwrap();
    (programs, clip)
}

fn watched(rig: &Rig, programs: &Path, clip: &Path) -> Command {
    let mut command = device_alone(&rig.model);
    let path = format!("{}:/usr/bin:/bin", programs.display());
    command.env("PATH", path).arg("--json").arg(clip);
    command
}

#[test]
fn every_picture_of_a_video_is_answered_under_its_number() {
    let rig = Rig::new();
    let (programs, clip) = staged(&rig, "echo \"$@\" > asked; cat frames");
    let mut command = watched(&rig, &programs, &clip);
    command.args(["--video-fps", "2.5"]);
    let lines = lines_of(&mut command);
    assert_eq!(answers(&lines), by("device", &rig.unsplit()));
    for (line, number) in lines.iter().zip(1..) {
        assert_eq!(line["picture"], format!("{}#{number}", clip.display()));
    }
    let asked = fs::read_to_string(programs.join("asked")).unwrap();
    assert!(asked.contains(&format!("-i {}", clip.display())), "{asked}");
    assert!(asked.contains("-vf fps=2.5"), "{asked}");
}

#[test]
fn a_video_that_breaks_off_says_why_and_costs_nothing_behind_it() {
    let rig = Rig::new();
    let script = "[ \"$1\" = -version ] && exit 0; head -c 40000 frames; echo 'moov atom not found' >&2; exit 1";
    let (programs, clip) = staged(&rig, script);
    let mut command = watched(&rig, &programs, &clip);
    command.arg(&rig.files[0]);
    let output = output(&mut command);
    assert!(!output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let last = text.lines().last().unwrap();
    assert!(
        last.contains("0.png") && last.contains("\"by\":\"device\""),
        "{text}"
    );
    let broken = text.lines().rev().nth(1).unwrap();
    assert!(broken.contains("it ends within a"), "{text}");
    let (programs, clip) = staged(
        &rig,
        "[ \"$1\" = -version ] && exit 0; echo 'moov atom not found' >&2; exit 1",
    );
    let broken = super::processes::output(&mut watched(&rig, &programs, &clip));
    let text = String::from_utf8(broken.stdout).unwrap();
    assert!(text.contains("ffmpeg: moov atom not found"), "{text}");
}

#[test]
fn without_ffmpeg_a_video_is_refused_at_once() {
    let rig = Rig::new();
    let (_, clip) = staged(&rig, "");
    let mut command = device_alone(&rig.model);
    command.env("PATH", rig.pictures.as_os_str()).arg(&clip);
    let said = failure_of(&mut command);
    assert!(
        said.contains("clip.mp4 is a video") && said.contains("not installed"),
        "{said}"
    );
    let mut command = device_alone(&rig.model);
    command.args(["--video-fps", "0"]).arg(&rig.pictures);
    let said = failure_of(&mut command);
    assert!(said.contains("video-fps = 0"), "{said}");
}

#[test]
fn a_real_video_gives_what_its_pictures_give() {
    let rig = Rig::new();
    let clip = rig.pictures.parent().unwrap().join("clip.mkv");
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-framerate", "5", "-i"]);
    command.arg(rig.pictures.join("%d.png"));
    // Without loss, so that the predictions are the same.
    command
        .args(["-c:v", "ffv1", "-pix_fmt", "gbrp"])
        .arg(&clip);
    match command.stdin(Stdio::null()).status() {
        Ok(status) => assert!(status.success()),
        Err(_) => {
            eprintln!("skipped: ffmpeg isn't installed");
            return;
        }
    }
    let mut command = device_alone(&rig.model);
    let lines = lines_of(command.arg("--json").arg(&clip));
    assert_eq!(lines.len(), PICTURES);
    assert_eq!(answers(&lines), by("device", &rig.unsplit()));
}
