//! Unpacks an archive into a folder that exists only when it is complete.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use flate2::read::GzDecoder;
use tar::{Archive, Entry, EntryType};

/// Most bytes that an archive may hold, unpacked.
const MAX_UNPACKED_BYTES: u64 = 256 << 20;

/// Most entries that an archive may hold.
const MAX_ENTRIES: usize = 64;

/// Unpacks the one folder of `archive` as `dir`, after `check` has found it good.
pub(super) fn unpack<T>(
    archive: &Path,
    dir: &Path,
    check: impl Fn(&Path) -> Result<T>,
) -> Result<T> {
    let hidden = Hidden::create(dir)?;
    unpack_into(archive, dir, &hidden.0)
        .with_context(|| format!("unpacking {}", archive.display()))?;
    let found =
        check(&hidden.0).with_context(|| format!("{} is not complete", archive.display()))?;
    fs::rename(&hidden.0, dir)
        .with_context(|| format!("renaming {} to {}", hidden.0.display(), dir.display()))?;
    Ok(found)
}

/// A folder that disappears unless it was renamed.
struct Hidden(PathBuf);

impl Hidden {
    fn create(dir: &Path) -> Result<Self> {
        let mut name = std::ffi::OsString::from(".");
        name.push(
            dir.file_name()
                .context("the folder to unpack to has no name")?,
        );
        name.push(".part");
        let path = dir.with_file_name(name);
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // After the rename there is nothing left to remove, and in a failure the first error counts.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn unpack_into(archive: &Path, dir: &Path, hidden: &Path) -> Result<()> {
    let file = File::open(archive)?;
    // One byte more than allowed, so that reaching the end of the limit is seen as such.
    let bytes = GzDecoder::new(io::BufReader::new(file)).take(MAX_UNPACKED_BYTES + 1);
    let folder = dir.file_name().unwrap_or_default();
    let mut sum = 0_u64;
    for (i, entry) in Archive::new(bytes).entries()?.enumerate() {
        ensure!(i < MAX_ENTRIES, "more than {MAX_ENTRIES} entries");
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        sum = sum.saturating_add(entry.size());
        ensure!(
            sum <= MAX_UNPACKED_BYTES,
            "{} brings it to {sum} bytes, at most {MAX_UNPACKED_BYTES} are unpacked",
            path.display()
        );
        let Some(name) = file_name(&entry, &path, folder)? else {
            continue;
        };
        let mut file = File::create_new(hidden.join(&name))
            .with_context(|| format!("creating {}", name.display()))?;
        io::copy(&mut entry, &mut file).with_context(|| format!("writing {}", name.display()))?;
        file.sync_all()
            .with_context(|| format!("writing {}", name.display()))?;
    }
    Ok(())
}

/// The name of a plain file right below `folder`, `None` for the folder itself.
fn file_name(
    entry: &Entry<'_, impl io::Read>,
    path: &Path,
    folder: &std::ffi::OsStr,
) -> Result<Option<PathBuf>> {
    let parts: Vec<Component<'_>> = path
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    match (entry.header().entry_type(), parts.as_slice()) {
        (EntryType::Directory, [] | [_]) => Ok(None),
        (EntryType::Regular, [Component::Normal(first), Component::Normal(name)])
            if *first == folder =>
        {
            Ok(Some(PathBuf::from(name)))
        }
        (kind, _) => bail!(
            "entry {} ({kind:?}) is not a file in {}/",
            path.display(),
            Path::new(folder).display()
        ),
    }
}
