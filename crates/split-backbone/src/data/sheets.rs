//! CIFAR-10 as PNG sheets: tiles on large pictures, with an index and checksums.

use std::fs;
use std::path::{Component, Path};

use image::{ImageFormat, ImageReader, Limits};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::pictures::set_bytes;
use super::{DataError, Part, Pictures, io_error};
use crate::weights::hex;

/// Largest `index.json`, in bytes.
const MAX_INDEX_BYTES: u64 = 1 << 20;
/// Largest sheet or label file, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Longest side of a sheet, in pixels.
const MAX_SHEET_SIDE: u32 = 1 << 14;

#[derive(Deserialize)]
struct Index {
    classes: Vec<String>,
    sheet: Sheet,
    splits: Vec<Split>,
}

#[derive(Deserialize)]
struct Sheet {
    columns: usize,
    rows: usize,
    tile: usize,
}

#[derive(Deserialize)]
struct Split {
    split: String,
    pictures: usize,
    sheets: Vec<Entry>,
    labels: Entry,
}

#[derive(Deserialize)]
struct Entry {
    file: String,
    sha256: String,
}

pub(super) fn load(dir: &Path, part: Part, limit: Option<usize>) -> Result<Pictures, DataError> {
    let index = read_index(dir)?;
    let name = match part {
        Part::Train => "train",
        Part::Test => "test",
    };
    let split = index.splits.iter().find(|split| split.split == name);
    let split = split.ok_or(DataError::NotFound {
        path: dir.join("index.json"),
        wanted: match part {
            Part::Train => "split named train",
            Part::Test => "split named test",
        },
    })?;
    let count = split.pictures.min(limit.unwrap_or(usize::MAX));
    let tile = index.sheet.tile;
    let capacity = set_bytes(count, tile, tile)?;

    let labels = read_checked(dir, &split.labels)?;
    if labels.len() != split.pictures {
        return Err(DataError::WrongSize {
            path: dir.join(&split.labels.file),
            found: u64::try_from(labels.len()).unwrap_or(u64::MAX),
            rule: format!("the index counts {} pictures", split.pictures),
        });
    }
    let mut rgb8 = Vec::with_capacity(capacity);
    for entry in &split.sheets {
        if rgb8.len() == capacity {
            break;
        }
        append_sheet(dir, entry, &index.sheet, capacity, &mut rgb8)?;
    }
    let labels = labels[..count].iter().copied().map(u16::from).collect();
    Ok(Pictures::new((tile, tile), rgb8, labels, index.classes)?)
}

fn read_index(dir: &Path) -> Result<Index, DataError> {
    let path = dir.join("index.json");
    let bytes = read_limited(&path, MAX_INDEX_BYTES)?;
    let index: Index = serde_json::from_slice(&bytes).map_err(|error| DataError::Malformed {
        path: path.clone(),
        reason: error.to_string(),
    })?;
    let Sheet {
        columns,
        rows,
        tile,
    } = index.sheet;
    let side = usize::try_from(MAX_SHEET_SIDE).expect("a pointer has 32 bits or more");
    let fits = |tiles: usize| {
        tiles
            .checked_mul(tile)
            .is_some_and(|s| (1..=side).contains(&s))
    };
    if fits(columns) && fits(rows) {
        return Ok(index);
    }
    Err(DataError::Malformed {
        path,
        reason: format!("sheets of {columns}x{rows} tiles of {tile} pixels"),
    })
}

/// Appends the tiles of one sheet, up to `capacity` bytes in all.
fn append_sheet(
    dir: &Path,
    entry: &Entry,
    sheet: &Sheet,
    capacity: usize,
    rgb8: &mut Vec<u8>,
) -> Result<(), DataError> {
    let path = dir.join(&entry.file);
    let bytes = read_checked(dir, entry)?;
    let malformed = |reason: String| DataError::Malformed {
        path: path.clone(),
        reason,
    };
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SHEET_SIDE);
    limits.max_image_height = Some(MAX_SHEET_SIDE);
    let mut reader = ImageReader::with_format(std::io::Cursor::new(bytes), ImageFormat::Png);
    reader.limits(limits);
    let picture = reader
        .decode()
        .map_err(|error| malformed(error.to_string()))?
        .into_rgb8();
    let (width, height) = (sheet.columns * sheet.tile, sheet.rows * sheet.tile);
    let size = [picture.width(), picture.height()].map(|s| usize::try_from(s).unwrap_or(0));
    if size != [width, height] {
        return Err(malformed(format!(
            "a sheet of {width}x{height} was expected, this is {}x{}",
            size[0], size[1]
        )));
    }
    let pixels = picture.as_raw();
    for row in 0..sheet.rows {
        for column in 0..sheet.columns {
            if rgb8.len() == capacity {
                return Ok(());
            }
            for line in 0..sheet.tile {
                let start = ((row * sheet.tile + line) * width + column * sheet.tile) * 3;
                rgb8.extend_from_slice(&pixels[start..start + sheet.tile * 3]);
            }
        }
    }
    Ok(())
}

/// A file of the index, whole and with the right checksum.
fn read_checked(dir: &Path, entry: &Entry) -> Result<Vec<u8>, DataError> {
    let mut parts = Path::new(&entry.file).components();
    if !matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(_)), None)
    ) {
        return Err(DataError::Malformed {
            path: dir.join("index.json"),
            reason: format!("{:?} is no plain file name", entry.file),
        });
    }
    let path = dir.join(&entry.file);
    let bytes = read_limited(&path, MAX_FILE_BYTES)?;
    let found = hex(&Sha256::digest(&bytes));
    if found == entry.sha256 {
        return Ok(bytes);
    }
    Err(DataError::WrongDigest {
        path,
        found,
        expected: entry.sha256.clone(),
    })
}

fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, DataError> {
    let found = path.metadata().map_err(io_error(path))?.len();
    if found > limit {
        return Err(DataError::WrongSize {
            path: path.to_owned(),
            found,
            rule: format!("at most {limit} are read"),
        });
    }
    fs::read(path).map_err(io_error(path))
}
