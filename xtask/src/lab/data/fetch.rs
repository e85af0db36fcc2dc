//! Downloads one file over HTTP, resumably, and gives it its name when its checksum is right.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use md5::{Digest as _, Md5};
use ureq::http::{Response, StatusCode};

/// Longest file that is fetched.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// A server that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

const CHUNK_BYTES: usize = 1 << 16;

/// Leaves the file of `url` at `path`, checked. Bytes of an earlier attempt are used.
pub(super) fn fetch(url: &str, path: &Path, md5: &str) -> Result<()> {
    if path.exists() {
        return check_md5(path, md5).with_context(|| {
            format!(
                "{} is there already; remove it to fetch it anew",
                path.display()
            )
        });
    }
    let part = part_of(path);
    let resumed = download(url, &part)? == Start::Resumed;
    let mut checked = check_md5(&part, md5);
    if checked.is_err() && resumed {
        // The bytes of the earlier attempt may be those of another file: once more, from the start.
        remove(&part)?;
        download(url, &part)?;
        checked = check_md5(&part, md5);
    }
    if checked.is_err() {
        remove(&part)?;
    }
    checked.with_context(|| format!("{url} is not the expected file"))?;
    fs::rename(&part, path)
        .with_context(|| format!("renaming {} to {}", part.display(), path.display()))
}

/// Compares a file with its published checksum.
pub(super) fn check_md5(path: &Path, expected: &str) -> Result<()> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut digest = Md5::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let count = file
            .read(&mut buffer)
            .with_context(|| format!("reading {}", path.display()))?;
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
    }
    let found: String = digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    ensure!(
        found == expected,
        "{}: MD5 is {found}, expected {expected}",
        path.display()
    );
    Ok(())
}

/// Where a download began.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    Fresh,
    Resumed,
}

/// Completes `part` from `url`.
fn download(url: &str, part: &Path) -> Result<Start> {
    let have = fs::metadata(part).map_or(0, |metadata| metadata.len());
    let mut response = request(url, have)?;
    let (start, from) = match response.status() {
        StatusCode::OK => (Start::Fresh, 0),
        StatusCode::PARTIAL_CONTENT if continues(&response, have) => (Start::Resumed, have),
        // Nothing after what we have: the earlier attempt got it all, the checksum will tell.
        StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => return Ok(Start::Resumed),
        status => bail!(
            "{url} answers {status}; name a mirror with --url, or a local archive with --file"
        ),
    };
    let length = response.body().content_length();
    let end = length.map(|length| from.saturating_add(length));
    ensure!(
        end.is_none_or(|end| end <= MAX_FILE_BYTES),
        "{url} has {} bytes, at most {MAX_FILE_BYTES} are fetched",
        end.unwrap_or_default()
    );
    let file = open(part, start)?;
    let bar = progress(from, end);
    let outcome = copy(response.body_mut().as_reader(), file, from, &bar);
    bar.finish_and_clear();
    let stopped = match outcome {
        Ok(count) if end.is_none_or(|end| count == end) => return Ok(start),
        Ok(count) => format!("the connection closed after {count} bytes"),
        Err(Failure::Read(error)) => format!("reading failed: {error}"),
        Err(Failure::Write(error)) => {
            remove(part)?;
            return Err(error)
                .with_context(|| format!("writing {}; it was removed", part.display()));
        }
        Err(Failure::TooLong) => {
            remove(part)?;
            bail!("{url} sends more than {MAX_FILE_BYTES} bytes");
        }
    };
    bail!(
        "{url}: {stopped}; what came is kept in {}, the same command goes on from there",
        part.display()
    );
}

fn request(url: &str, have: u64) -> Result<Response<ureq::Body>> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE))
        .accept_encoding("identity")
        .build()
        .new_agent();
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    request.call().map_err(|error| {
        anyhow::anyhow!(
            "cannot reach {url}: {error}; without a network, name a local archive with --file"
        )
    })
}

/// Whether a partial answer begins where our bytes end.
fn continues(response: &Response<ureq::Body>, have: u64) -> bool {
    let range = response
        .headers()
        .get("content-range")
        .and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {have}-")))
}

fn open(part: &Path, start: Start) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create(true);
    match start {
        Start::Fresh => options.write(true).truncate(true),
        Start::Resumed => options.append(true),
    };
    options
        .open(part)
        .with_context(|| format!("opening {}", part.display()))
}

/// Whose fault it was that a copy ended.
enum Failure {
    Read(io::Error),
    Write(io::Error),
    TooLong,
}

/// Copies until the end and returns the file's length then.
fn copy(mut from: impl Read, mut to: File, have: u64, bar: &ProgressBar) -> Result<u64, Failure> {
    let mut count = have;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::Read(error)),
        };
        to.write_all(&buffer[..read]).map_err(Failure::Write)?;
        count += read as u64;
        if count > MAX_FILE_BYTES {
            return Err(Failure::TooLong);
        }
        bar.set_position(count);
    }
    to.sync_all().map_err(Failure::Write)?;
    Ok(count)
}

/// Bytes, rate and time left; nothing where no terminal is.
fn progress(from: u64, end: Option<u64>) -> ProgressBar {
    let bar = end
        .map_or_else(ProgressBar::no_length, ProgressBar::new)
        .with_position(from);
    let style =
        ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).with_context(|| format!("removing {}", path.display()))
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(".part");
    PathBuf::from(name)
}
