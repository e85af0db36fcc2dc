//! The command against a server on this machine and archives made here.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest as _, Md5};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::*;

/// What the server does with one request.
enum Reply {
    /// All bytes, whatever range is asked for.
    Whole(Vec<u8>),
    /// Announces all bytes, closes after so many.
    Cut(Vec<u8>, usize),
    /// The range that is asked for.
    Range(Vec<u8>),
    /// Only a status.
    Status(&'static str),
}

/// Answers one request per reply, then returns the requests.
fn serve(replies: Vec<Reply>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/set.tar.gz", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let mut requests = Vec::new();
        for reply in replies {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> = lines
                .map(Result::unwrap)
                .take_while(|line| !line.is_empty())
                .collect();
            let head = head.join("\n").to_ascii_lowercase();
            stream.write_all(&answer(&reply, &head)).unwrap();
            requests.push(head);
        }
        requests
    });
    (url, server)
}

fn answer(reply: &Reply, head: &str) -> Vec<u8> {
    let from = head.lines().find_map(|line| {
        line.strip_prefix("range: bytes=")?
            .strip_suffix('-')?
            .parse::<usize>()
            .ok()
    });
    let (status, more, length, body) = match reply {
        Reply::Whole(bytes) => ("200 OK", String::new(), bytes.len(), &bytes[..]),
        Reply::Cut(bytes, end) => ("200 OK", String::new(), bytes.len(), &bytes[..*end]),
        Reply::Range(bytes) => {
            let from = from.unwrap();
            let range = format!(
                "Content-Range: bytes {from}-{}/{}\r\n",
                bytes.len() - 1,
                bytes.len()
            );
            (
                "206 Partial Content",
                range,
                bytes.len() - from,
                &bytes[from..],
            )
        }
        Reply::Status(status) => (*status, String::new(), 0, &[][..]),
    };
    let head =
        format!("HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A set with `count` pictures a batch.
fn set(count: usize) -> Vec<(String, Vec<u8>)> {
    let batch = |seed: usize| -> Vec<u8> {
        (0..count)
            .flat_map(|i| {
                let mut record = vec![u8::try_from((i * 7 + seed) % 251).unwrap(); RECORD_BYTES];
                record[0] = u8::try_from((i + seed) % 10).unwrap();
                record
            })
            .collect()
    };
    let names = TRAIN.iter().chain(&TEST).enumerate();
    names
        .map(|(seed, name)| (format!("{FOLDER}/{name}"), batch(seed)))
        .collect()
}

fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, bytes) in files {
        let mut header = Header::new_gnu();
        // Straight into the field: the crate's own setter refuses the names that we must refuse.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append(&header, &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn md5_of(bytes: &[u8]) -> String {
    Md5::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn args(out: &TempDir, url: &str, archive: &[u8]) -> Cifar10Args {
    Cifar10Args {
        out: out.path().to_path_buf(),
        url: url.to_owned(),
        file: None,
        md5: md5_of(archive),
    }
}

fn names_in(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn error_of(args: &Cifar10Args) -> String {
    format!("{:#}", cifar10(args).unwrap_err())
}

#[test]
fn archive_is_fetched_checked_and_unpacked_once() {
    let (out, bytes) = (TempDir::new().unwrap(), archive(&set(3)));
    let (url, server) = serve(vec![Reply::Whole(bytes.clone())]);
    let args = args(&out, &url, &bytes);
    let (dir, counts) = cifar10(&args).unwrap();
    assert_eq!(counts, Counts { train: 15, test: 3 });
    assert_eq!(fs::read(dir.join("test_batch.bin")).unwrap(), set(3)[5].1);
    assert_eq!(server.join().unwrap().len(), 1);
    assert_eq!(names_in(&out), [FOLDER, ARCHIVE]);
    assert_eq!(
        cifar10(&args).unwrap().1,
        counts,
        "the second call asks nobody"
    );
}

#[test]
fn interrupted_download_goes_on_where_it_stopped() {
    let (out, bytes) = (TempDir::new().unwrap(), archive(&set(2)));
    let (url, server) = serve(vec![
        Reply::Cut(bytes.clone(), 200),
        Reply::Range(bytes.clone()),
    ]);
    let args = args(&out, &url, &bytes);
    let error = error_of(&args);
    assert!(error.contains("goes on from there"), "{error}");
    assert_eq!(names_in(&out), [format!("{ARCHIVE}.part")]);
    cifar10(&args).unwrap();
    let requests = server.join().unwrap();
    assert!(!requests[0].contains("range:"), "{requests:?}");
    assert!(requests[1].contains("range: bytes=200-"), "{requests:?}");
}

#[test]
fn complete_part_file_is_used_when_the_server_has_no_more() {
    let (out, bytes) = (TempDir::new().unwrap(), archive(&set(1)));
    fs::write(out.path().join(format!("{ARCHIVE}.part")), &bytes).unwrap();
    let (url, server) = serve(vec![Reply::Status("416 Range Not Satisfiable")]);
    cifar10(&args(&out, &url, &bytes)).unwrap();
    assert_eq!(server.join().unwrap().len(), 1);
}

#[test]
fn server_without_ranges_sends_all_again() {
    let (out, bytes) = (TempDir::new().unwrap(), archive(&set(2)));
    fs::write(out.path().join(format!("{ARCHIVE}.part")), b"other bytes").unwrap();
    let (url, server) = serve(vec![Reply::Whole(bytes.clone())]);
    cifar10(&args(&out, &url, &bytes)).unwrap();
    assert_eq!(server.join().unwrap().len(), 1);
}

#[test]
fn part_of_another_file_is_thrown_away() {
    let (out, bytes) = (TempDir::new().unwrap(), archive(&set(2)));
    fs::write(out.path().join(format!("{ARCHIVE}.part")), b"other bytes").unwrap();
    let (url, server) = serve(vec![
        Reply::Range(bytes.clone()),
        Reply::Whole(bytes.clone()),
    ]);
    cifar10(&args(&out, &url, &bytes)).unwrap();
    assert_eq!(server.join().unwrap().len(), 2);
}

#[test]
fn wrong_checksum_names_both_and_leaves_nothing() {
    let (out, bytes) = (TempDir::new().unwrap(), archive(&set(1)));
    let (url, server) = serve(vec![Reply::Whole(bytes[1..].to_vec())]);
    let error = error_of(&args(&out, &url, &bytes));
    assert!(error.contains(&md5_of(&bytes)), "{error}");
    assert!(error.contains(&md5_of(&bytes[1..])), "{error}");
    assert_eq!(names_in(&out), [""; 0]);
    server.join().unwrap();
}

#[test]
fn server_that_is_not_there_or_refuses_points_to_local_archives() {
    let (out, bytes) = (TempDir::new().unwrap(), archive(&set(1)));
    let (url, server) = serve(vec![Reply::Status("404 Not Found")]);
    let args = args(&out, &url, &bytes);
    let error = error_of(&args);
    assert!(error.contains("404") && error.contains("--file"), "{error}");
    server.join().unwrap();
    let error = error_of(&args);
    assert!(
        error.contains("cannot reach") && error.contains("--file"),
        "{error}"
    );
    assert_eq!(names_in(&out), [""; 0]);
}

#[cfg(target_os = "linux")]
#[test]
fn full_disk_leaves_nothing_half_written() {
    let (out, bytes) = (TempDir::new().unwrap(), archive(&set(1)));
    let part = out.path().join(format!("{ARCHIVE}.part"));
    std::os::unix::fs::symlink("/dev/full", part).unwrap();
    let (url, server) = serve(vec![Reply::Whole(bytes.clone())]);
    let error = error_of(&args(&out, &url, &bytes));
    assert!(error.contains("No space left"), "{error}");
    assert_eq!(names_in(&out), [""; 0]);
    server.join().unwrap();
}

#[test]
fn local_archive_needs_no_network_and_stays_where_it_is() {
    let (out, from) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let bytes = archive(&set(1));
    let file = from.path().join("mine.tgz");
    fs::write(&file, &bytes).unwrap();
    let mut args = args(&out, "http://127.0.0.1:1/never", &bytes);
    args.file = Some(file.clone());
    cifar10(&args).unwrap();
    assert!(file.exists());
    assert_eq!(names_in(&out), [FOLDER]);
    args.md5 = md5_of(b"another");
    args.out = from.path().join("new");
    assert!(error_of(&args).contains(&md5_of(&bytes)));
}

/// An archive that must be refused, and a part of the reason.
fn check_refused(files: &[(String, Vec<u8>)], expected: &str) {
    let (out, from) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let bytes = archive(files);
    let file = from.path().join("bad.tgz");
    fs::write(&file, &bytes).unwrap();
    let mut args = args(&out, "", &bytes);
    args.file = Some(file);
    let error = error_of(&args);
    assert!(error.contains(expected), "{error}");
    assert_eq!(names_in(&out), [""; 0], "{error}");
    assert_eq!(names_in(&from), ["bad.tgz"], "{error}");
}

#[test]
fn archives_that_leave_their_folder_are_refused() {
    for name in [
        "../evil",
        "/tmp/evil",
        "other/x",
        "cifar-10-batches-bin/../../evil",
        "cifar-10-batches-bin/a/b",
    ] {
        let mut files = set(1);
        files.push((name.to_owned(), b"x".to_vec()));
        check_refused(&files, "is not a file in cifar-10-batches-bin/");
    }
}

#[test]
fn incomplete_or_broken_sets_are_refused_by_name() {
    check_refused(&set(1)[1..], "data_batch_1.bin");
    let mut short = set(1);
    short[2].1.pop();
    check_refused(&short, "no multiple of 3073");
    let mut label = set(2);
    label[5].1[RECORD_BYTES] = 10;
    check_refused(&label, "picture 1 has label 10");
    let mut twice = set(1);
    twice.push(twice[0].clone());
    check_refused(&twice, "creating data_batch_1.bin");
    let many = (0..65).map(|i| (format!("{FOLDER}/{i}"), Vec::new()));
    check_refused(&many.collect::<Vec<_>>(), "more than 64 entries");
}

#[test]
fn cut_archive_is_refused() {
    let (out, from) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let bytes = archive(&set(3));
    let cut = &bytes[..bytes.len() / 2];
    let file = from.path().join("cut.tgz");
    fs::write(&file, cut).unwrap();
    let mut args = args(&out, "", cut);
    args.file = Some(file);
    assert!(error_of(&args).contains("unpacking"));
    assert_eq!(names_in(&out), [""; 0]);
}
