//! What a run leaves on the machine, and how it goes: at its end, by a signal, and when an earlier run was
//! killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How names of namespaces and folders begin; the number of the process follows.
const PREFIX: &str = "split-link-";

/// Where `ip` keeps names of namespaces.
const NAMESPACES: &str = "/run/netns";

/// Name of a process's namespace.
#[cfg(target_os = "linux")]
pub(crate) fn namespace(process: u32, end: &str) -> String {
    format!("{PREFIX}{process}-{end}")
}

/// How the name of this process's folder begins.
pub(crate) fn folder_prefix() -> String {
    format!("{PREFIX}{}-", std::process::id())
}

/// Removes everything of this process, for an end without unwinding.
pub(crate) fn remove_own(folder: &Path) {
    remove_namespaces(std::process::id());
    let _ = fs::remove_dir_all(folder);
}

/// Ends what runs in a process's namespaces, and removes them.
pub(crate) fn remove_namespaces(process: u32) {
    for (name, owner) in owned(Path::new(NAMESPACES)) {
        if owner != process {
            continue;
        }
        let pids = Command::new("ip").args(["netns", "pids", &name]).output();
        let pids = pids.map_or_else(|_| Vec::new(), |output| output.stdout);
        for pid in String::from_utf8_lossy(&pids).split_whitespace() {
            let _ = Command::new("kill").args(["-KILL", pid]).status();
        }
        let _ = Command::new("ip").args(["netns", "del", &name]).status();
    }
}

/// Removes what runs left behind that were killed.
pub(crate) fn remove_those_of_the_dead() {
    for (_, process) in owned(Path::new(NAMESPACES)) {
        if is_dead(process) {
            remove_namespaces(process);
        }
    }
    let folders = std::env::temp_dir();
    for (name, process) in owned(&folders) {
        if is_dead(process) {
            let _ = fs::remove_dir_all(folders.join(name));
        }
    }
}

/// Names in a folder that some run gave, and its process.
fn owned(folder: &Path) -> Vec<(String, u32)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let owned = names.filter_map(|name| {
        let process = name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()?;
        Some((name, process))
    });
    owned.collect()
}

/// Whether a process is gone, or its number belongs to another program now. Where that can't be told,
/// nobody is dead.
fn is_dead(process: u32) -> bool {
    let proc = PathBuf::from("/proc");
    if !proc.join("self/comm").exists() {
        return false;
    }
    let name = fs::read_to_string(proc.join(process.to_string()).join("comm"));
    name.map_or(true, |name| name.trim_end() != "split-link")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_whose_they_are_and_others_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "split-link-12-edge",
            "split-link-x-edge",
            "other-12",
            "split-link-",
        ] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert_eq!(
            owned(folder.path()),
            [("split-link-12-edge".to_owned(), 12)]
        );
        assert!(owned(&folder.path().join("nowhere")).is_empty());
    }
}
