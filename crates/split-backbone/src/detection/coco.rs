//! Pictures with boxes in COCO's JSON form.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

/// Largest JSON file that is read, in bytes.
const MAX_JSON_BYTES: u64 = 1 << 30;

/// A set of pictures with boxes, or a list of detections, cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CocoError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than what is read.
    #[error("{} has {bytes} bytes; at most {MAX_JSON_BYTES} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The file is not in COCO's form.
    #[error("{} is not in COCO's form", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A box belongs to a picture or category that the file does not list.
    #[error("{}: a box names {what} {id}, which is not listed", path.display())]
    UnknownId {
        /// The file.
        path: PathBuf,
        /// Picture or category.
        what: &'static str,
        /// Its number.
        id: u64,
    },
    /// The folder lacks a part of the set.
    #[error("{} holds no {wanted}", path.display())]
    NotFound {
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// Two entries have the same number.
    #[error("{}: {what} {id} is listed twice", path.display())]
    DoubleId {
        /// The file.
        path: PathBuf,
        /// Picture or category.
        what: &'static str,
        /// Its number.
        id: u64,
    },
}

/// A picture of a set.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct CocoPicture {
    /// Number in the set.
    pub id: u64,
    /// File name, relative to the folder of pictures.
    pub file_name: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// A category; COCO's numbers have gaps.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct CocoCategory {
    /// Number in the set.
    pub id: u64,
    /// Name.
    pub name: String,
}

/// A true box.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Annotation {
    /// The picture.
    pub image_id: u64,
    /// The category.
    pub category_id: u64,
    /// Left, top, width and height in pixels.
    pub bbox: [f64; 4],
    /// Whether the box is a region with a crowd, where detections count neither way.
    #[serde(default, deserialize_with = "flag")]
    pub iscrowd: bool,
}

/// A detected box in COCO's results form.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct ScoredBox {
    /// The picture.
    pub image_id: u64,
    /// The category.
    pub category_id: u64,
    /// Left, top, width and height in pixels.
    pub bbox: [f64; 4],
    /// Score, larger is better.
    pub score: f64,
}

/// Pictures with true boxes.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct CocoSet {
    /// All pictures.
    #[serde(rename = "images")]
    pub pictures: Vec<CocoPicture>,
    /// All boxes.
    pub annotations: Vec<Annotation>,
    /// All categories; a network's class `k` is the `k`-th of them.
    pub categories: Vec<CocoCategory>,
}

impl CocoSet {
    /// Reads a set in the form of COCO's `instances_*.json`.
    ///
    /// # Errors
    ///
    /// [`CocoError`], which names the file and the rule that it breaks.
    pub fn read(path: &Path) -> Result<Self, CocoError> {
        let set: Self = read_json(path)?;
        let pictures = unique(path, "picture", set.pictures.iter().map(|p| p.id))?;
        let categories = unique(path, "category", set.categories.iter().map(|c| c.id))?;
        for annotation in &set.annotations {
            for (what, id, known) in [
                ("picture", annotation.image_id, &pictures),
                ("category", annotation.category_id, &categories),
            ] {
                if !known.contains(&id) {
                    return Err(CocoError::UnknownId {
                        path: path.to_owned(),
                        what,
                        id,
                    });
                }
            }
        }
        Ok(set)
    }
}

/// A folder with pictures to train on and pictures with boxes to test on.
///
/// Both layouts are read: `val2017/` and `train2017/` beside `instances_val.json`, or beside
/// COCO's own `annotations/instances_val2017.json`. Boxes of training pictures are not used.
#[derive(Clone, Debug, PartialEq)]
pub struct CocoFolder {
    /// Folder with pictures to train on.
    pub train: PathBuf,
    /// Folder with the pictures of [`set`](Self::set).
    pub val: PathBuf,
    /// Pictures and boxes to test on.
    pub set: CocoSet,
}

impl CocoFolder {
    /// Finds the parts of a set and reads the boxes.
    ///
    /// # Errors
    ///
    /// [`CocoError::NotFound`] with what is missing, or what [`CocoSet::read`] says.
    pub fn open(dir: &Path) -> Result<Self, CocoError> {
        let first = |names: &[&str], wanted| {
            let mut paths = names.iter().map(|name| dir.join(name));
            paths
                .find(|path| path.exists())
                .ok_or_else(|| CocoError::NotFound {
                    path: dir.to_owned(),
                    wanted,
                })
        };
        let boxes = first(
            &["instances_val.json", "annotations/instances_val2017.json"],
            "instances_val.json or annotations/instances_val2017.json",
        )?;
        Ok(Self {
            train: first(&["train2017"], "folder train2017")?,
            val: first(&["val2017"], "folder val2017")?,
            set: CocoSet::read(&boxes)?,
        })
    }
}

impl ScoredBox {
    /// Reads a list of detections in COCO's results form.
    ///
    /// # Errors
    ///
    /// [`CocoError`] where the file cannot be read or has another form.
    pub fn read_all(path: &Path) -> Result<Vec<Self>, CocoError> {
        read_json(path)
    }
}

fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, CocoError> {
    let io = |source| CocoError::Io {
        path: path.to_owned(),
        source,
    };
    let bytes = path.metadata().map_err(io)?.len();
    if bytes > MAX_JSON_BYTES {
        return Err(CocoError::TooLarge {
            path: path.to_owned(),
            bytes,
        });
    }
    let bytes = fs::read(path).map_err(io)?;
    serde_json::from_slice(&bytes).map_err(|source| CocoError::Malformed {
        path: path.to_owned(),
        source,
    })
}

fn unique(
    path: &Path,
    what: &'static str,
    ids: impl Iterator<Item = u64>,
) -> Result<BTreeSet<u64>, CocoError> {
    let mut known = BTreeSet::new();
    for id in ids {
        if !known.insert(id) {
            return Err(CocoError::DoubleId {
                path: path.to_owned(),
                what,
                id,
            });
        }
    }
    Ok(known)
}

/// COCO writes flags as 0 and 1.
fn flag<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(u8::deserialize(deserializer)? != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<CocoSet, CocoError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set.json");
        fs::write(&path, text).unwrap();
        CocoSet::read(&path)
    }

    #[test]
    fn both_layouts_of_a_folder_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let open = || CocoFolder::open(dir.path());
        assert!(matches!(open(), Err(CocoError::NotFound { .. })));
        for name in ["train2017", "val2017", "annotations"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let set = |category: u8| {
            format!(
                r#"{{"images": [], "annotations": [],
                "categories": [{{"id": {category}, "name": "x"}}]}}"#
            )
        };
        let official = dir.path().join("annotations/instances_val2017.json");
        fs::write(official, set(1)).unwrap();
        let folder = open().unwrap();
        assert_eq!(folder.set.categories[0].id, 1);
        assert!(folder.val.ends_with("val2017") && folder.train.ends_with("train2017"));
        fs::write(dir.path().join("instances_val.json"), set(2)).unwrap();
        assert_eq!(open().unwrap().set.categories[0].id, 2);
    }

    #[test]
    fn sets_are_read_and_checked() {
        let set = |pictures: &str, picture: u64| {
            format!(
                r#"{{"images": [{pictures}], "categories": [{{"id": 3, "name": "car"}}],
                "annotations": [{{"id": 1, "image_id": {picture}, "category_id": 3,
                "bbox": [1, 2, 3.5, 4], "area": 14, "iscrowd": 1}}]}}"#
            )
        };
        let seven = r#"{"id": 7, "file_name": "7.jpg", "width": 9, "height": 8, "license": 1}"#;
        let good = read(&set(seven, 7)).unwrap();
        assert_eq!(good.annotations[0].bbox, [1.0, 2.0, 3.5, 4.0]);
        assert!(good.annotations[0].iscrowd);
        assert!(matches!(
            read(&set(seven, 8)),
            Err(CocoError::UnknownId { id: 8, .. })
        ));
        let twice = format!("{seven}, {seven}");
        assert!(matches!(
            read(&set(&twice, 7)),
            Err(CocoError::DoubleId { id: 7, .. })
        ));
        assert!(matches!(read("[]"), Err(CocoError::Malformed { .. })));
        assert!(matches!(
            CocoSet::read(Path::new("no/such")),
            Err(CocoError::Io { .. })
        ));
    }
}
