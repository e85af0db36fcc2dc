//! Picture sets: where they come from, how they are kept, how they become tensors.

mod cifar;
mod folder;
mod pictures;
mod preprocess;
mod read;
mod sheets;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

pub use self::folder::{Framing, photo_files};
pub use self::pictures::{MAX_SET_BYTES, Pictures, PicturesError};
pub use self::preprocess::{Preprocess, top1, topk};
pub use self::read::{MAX_PICTURE_FILE_BYTES, PictureError, decode_picture, read_picture};

/// Where a picture set comes from.
///
/// Written `cifar10:DIR`, `cifar100:DIR` or `folder:DIR`.
///
/// - `cifar10`: the standard binary batches (in `DIR` or in `DIR/cifar-10-batches-bin`), or a
///   folder of PNG sheets with an `index.json`.
/// - `cifar100`: `train.bin` and `test.bin` (in `DIR` or in `DIR/cifar-100-binary`), fine labels.
/// - `folder`: one folder per class below `DIR/train` and `DIR/val` (or `DIR/test`); without
///   these two, below `DIR` itself, where every fifth picture in order of names is for testing.
///
/// ```
/// use split_backbone::DataSource;
///
/// let source: DataSource = "cifar10:pictures/cifar".parse()?;
/// assert_eq!(source.to_string(), "cifar10:pictures/cifar");
/// # Ok::<(), split_backbone::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataSource {
    /// CIFAR-10, in one of its forms.
    Cifar10(PathBuf),
    /// CIFAR-100 with fine labels.
    Cifar100(PathBuf),
    /// One folder per class.
    Folder(PathBuf),
}

/// Which part of a picture set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// For training.
    Train,
    /// For testing; no part of it is ever in [`Part::Train`].
    Test,
}

/// What to load of a picture set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// At most this many pictures: the first ones of a CIFAR set, and pictures spread evenly
    /// over the classes of a folder.
    pub limit: Option<usize>,
    /// How pictures of a folder are brought to one size; needed for `folder`, unused otherwise.
    pub framing: Option<Framing>,
}

/// A picture file that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedPicture {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// A loaded picture set.
#[derive(Clone, Debug)]
#[must_use]
pub struct Loaded {
    /// The pictures.
    pub pictures: Pictures,
    /// Files that were left out since they could not be read.
    pub skipped: Vec<SkippedPicture>,
}

/// A picture set cannot be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// The text names no data source.
    #[error("{text:?} is no data source; write cifar10:DIR, cifar100:DIR or folder:DIR")]
    UnknownSource {
        /// What was to be read.
        text: String,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder lacks what a set of this kind consists of.
    #[error("{} holds no {wanted}", path.display())]
    NotFound {
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// A file has a size that its format does not allow.
    #[error("{}: {found} bytes, but {rule}", path.display())]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// What the format asks for.
        rule: String,
    },
    /// A file's checksum differs from the one in the index.
    #[error("{} is damaged: SHA-256 {found}, but the index says {expected}", path.display())]
    WrongDigest {
        /// The file.
        path: PathBuf,
        /// Digest of the file.
        found: String,
        /// Digest in the index.
        expected: String,
    },
    /// A file's content breaks its format.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which rule is broken.
        reason: String,
    },
    /// A class folder without a single picture file.
    #[error(
        "the class folder {} holds no picture (.jpg, .jpeg, .png, .webp); fill it or remove it",
        path.display()
    )]
    EmptyClass {
        /// The folder.
        path: PathBuf,
    },
    /// None of the pictures could be read.
    #[error("none of {count} pictures could be read; the first was {}: {}", first.path.display(), first.reason)]
    AllSkipped {
        /// How many were tried.
        count: usize,
        /// The first of them.
        first: SkippedPicture,
    },
    /// Pictures of a folder need one size.
    #[error("pictures of a folder have to be brought to one size: give a picture size")]
    NoFraming,
    /// The set breaks a rule of [`Pictures`].
    #[error(transparent)]
    Pictures(#[from] PicturesError),
}

impl DataSource {
    /// Loads one part of the set.
    ///
    /// # Errors
    ///
    /// [`DataError`], which names the file or folder. Single unreadable pictures of a folder are
    /// no error: they are listed in [`Loaded::skipped`].
    pub fn load(&self, part: Part, options: &LoadOptions) -> Result<Loaded, DataError> {
        let pictures = match self {
            Self::Cifar10(dir) if dir.join("index.json").is_file() => {
                sheets::load(dir, part, options.limit)?
            }
            Self::Cifar10(dir) => cifar::load10(dir, part, options.limit)?,
            Self::Cifar100(dir) => cifar::load100(dir, part, options.limit)?,
            Self::Folder(dir) => return folder::load(dir, part, options),
        };
        Ok(Loaded {
            pictures,
            skipped: Vec::new(),
        })
    }

    /// The folder that the set lies in.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Cifar10(path) | Self::Cifar100(path) | Self::Folder(path) => path,
        }
    }
}

impl fmt::Display for DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Cifar10(_) => "cifar10",
            Self::Cifar100(_) => "cifar100",
            Self::Folder(_) => "folder",
        };
        write!(f, "{kind}:{}", self.path().display())
    }
}

impl FromStr for DataSource {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        match text.split_once(':') {
            Some(("cifar10", dir)) if !dir.is_empty() => Ok(Self::Cifar10(dir.into())),
            Some(("cifar100", dir)) if !dir.is_empty() => Ok(Self::Cifar100(dir.into())),
            Some(("folder", dir)) if !dir.is_empty() => Ok(Self::Folder(dir.into())),
            _ => Err(DataError::UnknownSource {
                text: text.to_owned(),
            }),
        }
    }
}

/// Turns an I/O error into one that names its path.
fn io_error(path: &Path) -> impl FnOnce(io::Error) -> DataError + '_ {
    move |source| DataError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_read_back_as_written() {
        for text in ["cifar10:a/b", "cifar100:.", "folder:/x y/z"] {
            assert_eq!(text.parse::<DataSource>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_no_source() {
        for text in ["", "cifar10", "cifar10:", "mnist:x", "a/b"] {
            assert!(text.parse::<DataSource>().is_err(), "{text}");
        }
    }
}
