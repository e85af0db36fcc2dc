//! Pictures in folders, one folder per class.

use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;
use image::imageops::{FilterType, crop_imm, resize};
use rayon::prelude::*;

use super::pictures::set_bytes;
use super::read::read_picture;
use super::{DataError, LoadOptions, Loaded, Part, Pictures, SkippedPicture, io_error};

/// Most picture files that one set may list.
const MAX_FILES: usize = 1 << 22;
/// Pictures that are decoded before their pixels are gathered: what a set takes beyond its own
/// size while it is read.
const CHUNK: usize = 256;
/// Most folders between a picture and the folder that is searched.
const MAX_DEPTH: usize = 16;
/// Names of picture files end like this.
const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// How a picture of any size becomes a square: the shorter side is scaled to `resize` pixels,
/// then the middle `crop` by `crop` pixels are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    resize: u32,
    crop: u32,
}

impl Framing {
    /// Scales the shorter side to `crop` and keeps the middle square.
    ///
    /// `None` for a size of 0 or above 4096.
    #[must_use]
    pub fn square(crop: u32) -> Option<Self> {
        Self::new(crop, crop)
    }

    /// Scales the shorter side to `resize` and keeps the middle `crop` pixels, as in
    /// ImageNet's 256 and 224.
    ///
    /// `None` unless `1 <= crop <= resize <= 4096`.
    #[must_use]
    pub fn new(resize: u32, crop: u32) -> Option<Self> {
        (1 <= crop && crop <= resize && resize <= 4096).then_some(Self { resize, crop })
    }

    /// Side of the resulting square in pixels.
    #[must_use]
    pub fn side(&self) -> usize {
        // At most 4096, so it always fits.
        usize::try_from(self.crop).unwrap_or(usize::MAX)
    }

    /// Brings one picture to this size. The scaling filter is a triangle that widens with the
    /// scale, as PIL's bilinear filter does.
    ///
    /// # Panics
    ///
    /// If the picture has no pixels or is more than 2^16 times as long as wide.
    #[must_use]
    pub fn apply(&self, picture: &RgbImage) -> RgbImage {
        let (width, height) = (picture.width(), picture.height());
        let shorter = u64::from(width.min(height));
        assert!(shorter > 0, "a picture has pixels");
        let scaled = |side: u32| {
            let side = u64::from(side) * u64::from(self.resize) / shorter;
            u32::try_from(side).expect("sides are limited")
        };
        let (width, height) = (scaled(width), scaled(height));
        let picture = resize(picture, width, height, FilterType::Triangle);
        // Rounded to even like Python's round, which torchvision's centre crop uses.
        let offset = |side: u32| half_to_even(side - self.crop);
        crop_imm(
            &picture,
            offset(width),
            offset(height),
            self.crop,
            self.crop,
        )
        .to_image()
    }
}

fn half_to_even(value: u32) -> u32 {
    value / 2 + (value % 4 == 3) as u32
}

pub(super) fn load(dir: &Path, part: Part, options: &LoadOptions) -> Result<Loaded, DataError> {
    let framing = options.framing.ok_or(DataError::NoFraming)?;
    let (root, share) = locate(dir, part);
    let folders = class_folders(&root)?;
    // A test folder may lack a class; numbers are those of the training folder all the same.
    let train = dir.join("train");
    let classes: Vec<String> = if share.is_none() && root != train {
        class_folders(&train)?
    } else {
        folders.clone()
    }
    .iter()
    .map(|path| folder_name(path))
    .collect();
    let mut files = Vec::new();
    for folder in &folders {
        let name = folder_name(folder);
        let label = classes.iter().position(|class| *class == name);
        let label = label.ok_or_else(|| DataError::Malformed {
            path: folder.clone(),
            reason: format!("{} has no such class", train.display()),
        })?;
        let label = u16::try_from(label).map_err(|_| DataError::Malformed {
            path: root.clone(),
            reason: format!("{} class folders; at most 65536 are read", folders.len()),
        })?;
        let found = picture_files(folder)?;
        files.extend(found.into_iter().map(|path| (label, path)));
        if files.len() > MAX_FILES {
            return Err(DataError::Malformed {
                path: root,
                reason: format!("more than {MAX_FILES} picture files"),
            });
        }
    }
    if let Some(share) = share {
        let mut index = 0;
        files.retain(|_| {
            index += 1;
            (index % 5 == 0) == (share == Part::Test)
        });
    }
    if let Some(limit) = options.limit.filter(|&limit| limit < files.len()) {
        let total = files.len();
        files = (0..limit)
            .map(|index| files[index * total / limit].clone())
            .collect();
    }
    read_all(&files, framing, classes)
}

/// The folder with the class folders, and the part to take of it where it holds both.
fn locate(dir: &Path, part: Part) -> (PathBuf, Option<Part>) {
    let train = dir.join("train");
    let test = ["val", "test"].map(|name| dir.join(name));
    let test = test.into_iter().find(|path| path.is_dir());
    match (test, part) {
        (Some(_), Part::Train) if train.is_dir() => (train, None),
        (Some(test), Part::Test) if train.is_dir() => (test, None),
        _ => (dir.to_owned(), Some(part)),
    }
}

fn read_all(
    files: &[(u16, PathBuf)],
    framing: Framing,
    classes: Vec<String>,
) -> Result<Loaded, DataError> {
    let side = framing.side();
    set_bytes(files.len(), side, side)?;
    let mut rgb8 = Vec::new();
    let mut labels = Vec::new();
    let mut skipped = Vec::new();
    for chunk in files.chunks(CHUNK) {
        let read: Vec<Result<Vec<u8>, SkippedPicture>> = chunk
            .par_iter()
            .map(|(_, path)| match read_picture(path) {
                Ok(picture) => Ok(framing.apply(&picture).into_raw()),
                Err(error) => Err(SkippedPicture {
                    path: path.clone(),
                    reason: error.to_string(),
                }),
            })
            .collect();
        for (result, (label, _)) in read.into_iter().zip(chunk) {
            match result {
                Ok(pixels) => {
                    rgb8.extend(pixels);
                    labels.push(*label);
                }
                Err(picture) => skipped.push(picture),
            }
        }
    }
    if labels.is_empty()
        && let Some(first) = skipped.first()
    {
        return Err(DataError::AllSkipped {
            count: skipped.len(),
            first: first.clone(),
        });
    }
    let pictures = Pictures::new((side, side), rgb8, labels, classes)?;
    Ok(Loaded { pictures, skipped })
}

/// All picture files of a folder and of the folders below it, in order of their names.
///
/// # Errors
///
/// [`DataError`] where a folder cannot be read, holds more than four million entries, lies deeper
/// than 16 folders, or where there is no picture at all.
pub fn photo_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    let mut open = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = open.pop() {
        for path in entries(&folder)? {
            if path.is_dir() && !folder_name(&path).starts_with('.') {
                if depth == MAX_DEPTH {
                    return Err(DataError::Malformed {
                        path,
                        reason: format!("more than {MAX_DEPTH} folders deep"),
                    });
                }
                open.push((path, depth + 1));
            } else if is_picture(&path) {
                files.push(path);
            }
        }
        if files.len() > MAX_FILES {
            return Err(DataError::Malformed {
                path: folder,
                reason: format!("more than {MAX_FILES} picture files"),
            });
        }
    }
    if files.is_empty() {
        return Err(DataError::NotFound {
            path: folder.to_owned(),
            wanted: "picture (.jpg, .jpeg, .png, .webp)",
        });
    }
    files.sort();
    Ok(files)
}

fn class_folders(root: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut folders: Vec<PathBuf> = entries(root)?
        .into_iter()
        .filter(|path| path.is_dir() && !folder_name(path).starts_with('.'))
        .collect();
    folders.sort();
    if folders.is_empty() {
        return Err(DataError::NotFound {
            path: root.to_owned(),
            wanted: "class folders",
        });
    }
    Ok(folders)
}

fn picture_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = entries(folder)?;
    files.retain(|path| is_picture(path));
    files.sort();
    if files.is_empty() {
        return Err(DataError::EmptyClass {
            path: folder.to_owned(),
        });
    }
    Ok(files)
}

fn is_picture(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|found| EXTENSIONS.iter().any(|e| e.eq_ignore_ascii_case(found)))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(io_error(folder))? {
        paths.push(entry.map_err(io_error(folder))?.path());
        if paths.len() > MAX_FILES {
            return Err(DataError::Malformed {
                path: folder.to_owned(),
                reason: format!("more than {MAX_FILES} entries"),
            });
        }
    }
    Ok(paths)
}

fn folder_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn write_picture(path: &Path, width: u32, height: u32, value: u8) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(width, height, Rgb([value; 3]))
            .save(path)
            .unwrap();
    }

    fn options() -> LoadOptions {
        LoadOptions {
            limit: None,
            framing: Framing::square(8),
        }
    }

    #[test]
    fn an_unreadable_picture_is_named_and_the_rest_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        for (class, value) in [("cat", 10), ("dog", 200)] {
            for index in 0..5 {
                let path = dir.path().join(format!("train/{class}/{index}.png"));
                write_picture(&path, 20, 12, value + index);
            }
        }
        write_picture(&dir.path().join("val/cat/0.png"), 9, 9, 1);
        fs::write(dir.path().join("train/dog/1.png"), b"no picture").unwrap();
        let loaded = load(dir.path(), Part::Train, &options()).unwrap();
        assert_eq!(loaded.pictures.labels(), [0, 0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(loaded.pictures.classes(), ["cat", "dog"]);
        assert_eq!(loaded.pictures.rgb8(6), [202; 8 * 8 * 3]);
        assert_eq!(loaded.skipped.len(), 1);
        assert!(loaded.skipped[0].path.ends_with("train/dog/1.png"));
    }

    #[test]
    fn test_pictures_get_the_numbers_of_the_training_classes() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["train/bird/0.png", "train/cat/0.png", "val/cat/0.png"] {
            write_picture(&dir.path().join(name), 9, 9, 1);
        }
        let loaded = load(dir.path(), Part::Test, &options()).unwrap();
        assert_eq!(loaded.pictures.labels(), [1]);
        assert_eq!(loaded.pictures.classes(), ["bird", "cat"]);
        write_picture(&dir.path().join("val/ant/0.png"), 9, 9, 1);
        let error = load(dir.path(), Part::Test, &options()).unwrap_err();
        assert!(error.to_string().contains("ant"), "{error}");
    }

    #[test]
    fn more_pictures_than_are_decoded_at_once_stay_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let count = CHUNK + 20;
        for index in 0..count {
            let value = u8::try_from(index % 251).unwrap();
            let path = dir.path().join(format!("train/a/{index:04}.png"));
            write_picture(&path, 8, 8, value);
        }
        write_picture(&dir.path().join("val/a/0.png"), 8, 8, 0);
        fs::write(dir.path().join("train/a/0003.png"), b"").unwrap();
        let loaded = load(dir.path(), Part::Train, &options()).unwrap();
        assert_eq!(loaded.skipped.len(), 1);
        let expected = (0..count).filter(|index| *index != 3);
        for (place, index) in expected.enumerate() {
            let value = u8::try_from(index % 251).unwrap();
            assert_eq!(loaded.pictures.rgb8(place)[0], value);
        }
    }

    #[test]
    fn photos_are_found_in_folders_below() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["b/c/1.png", "a.PNG", "b/0.png"] {
            write_picture(&dir.path().join(path), 8, 8, 0);
        }
        fs::write(dir.path().join("b/readme.txt"), b"").unwrap();
        let found = photo_files(dir.path()).unwrap();
        let expected = ["a.PNG", "b/0.png", "b/c/1.png"].map(|path| dir.path().join(path));
        assert_eq!(found, expected);
        fs::create_dir(dir.path().join("none")).unwrap();
        assert!(matches!(
            photo_files(&dir.path().join("none")),
            Err(DataError::NotFound { .. })
        ));
    }

    #[test]
    fn one_folder_is_parted_without_overlap() {
        let dir = tempfile::tempdir().unwrap();
        for index in 0..10 {
            write_picture(&dir.path().join(format!("a/{index}.png")), 8, 8, index);
        }
        let values = |part| {
            let set = load(dir.path(), part, &options()).unwrap().pictures;
            (0..set.len()).map(|i| set.rgb8(i)[0]).collect::<Vec<_>>()
        };
        assert_eq!(values(Part::Test), [4, 9]);
        assert_eq!(values(Part::Train), [0, 1, 2, 3, 5, 6, 7, 8]);
    }

    #[test]
    fn an_empty_class_folder_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        write_picture(&dir.path().join("a/0.png"), 8, 8, 1);
        fs::create_dir(dir.path().join("lynx")).unwrap();
        let error = load(dir.path(), Part::Train, &options()).unwrap_err();
        assert!(matches!(&error, DataError::EmptyClass { path } if path.ends_with("lynx")));
    }

    #[test]
    fn a_folder_of_broken_pictures_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/0.jpg"), b"").unwrap();
        let error = load(dir.path(), Part::Train, &options()).unwrap_err();
        assert!(matches!(error, DataError::AllSkipped { count: 1, .. }));
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = load(Path::new("no/such"), Part::Train, &options()).unwrap_err();
        assert!(error.to_string().contains("no/such"));
    }

    #[test]
    fn framing_keeps_the_middle() {
        let mut picture = RgbImage::from_pixel(30, 10, Rgb([0; 3]));
        for y in 0..10 {
            for x in 10..20 {
                picture.put_pixel(x, y, Rgb([255; 3]));
            }
        }
        let framed = Framing::square(10).unwrap().apply(&picture);
        assert_eq!((framed.width(), framed.height()), (10, 10));
        assert!(framed.as_raw().iter().all(|&value| value == 255));
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 7].map(half_to_even),
            [0, 0, 1, 2, 2, 2, 4]
        );
        assert!(Framing::new(10, 11).is_none());
    }
}
