//! CIFAR-10 and CIFAR-100 in their standard binary form.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::pictures::set_bytes;
use super::{DataError, Part, Pictures, io_error};

/// Names of the ten classes, in order of their labels.
pub(super) const CIFAR10_CLASSES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const PIXEL_BYTES: usize = 3 * PLANE;

/// How the files of a set are laid out.
struct Layout {
    /// Bytes in front of the pixels; the last of them is the label.
    label_bytes: usize,
    /// What the byte in front of the label counts, where there is one.
    coarse_classes: u8,
    classes: Vec<String>,
}

pub(super) fn load10(dir: &Path, part: Part, limit: Option<usize>) -> Result<Pictures, DataError> {
    let dir = subfolder(dir, "cifar-10-batches-bin");
    let files = match part {
        Part::Test => vec![dir.join("test_batch.bin")],
        Part::Train => (1..=5)
            .map(|number| dir.join(format!("data_batch_{number}.bin")))
            .filter(|path| path.is_file())
            .collect(),
    };
    if !files.first().is_some_and(|path| path.is_file()) {
        return Err(DataError::NotFound {
            path: dir,
            wanted: match part {
                Part::Test => "test_batch.bin (nor an index.json of PNG sheets)",
                Part::Train => "data_batch_1.bin (nor an index.json of PNG sheets)",
            },
        });
    }
    let layout = Layout {
        label_bytes: 1,
        coarse_classes: 0,
        classes: CIFAR10_CLASSES.map(str::to_owned).to_vec(),
    };
    read_files(&files, layout, limit)
}

pub(super) fn load100(dir: &Path, part: Part, limit: Option<usize>) -> Result<Pictures, DataError> {
    let dir = subfolder(dir, "cifar-100-binary");
    let (name, wanted) = match part {
        Part::Train => ("train.bin", "train.bin of CIFAR-100"),
        Part::Test => ("test.bin", "test.bin of CIFAR-100"),
    };
    let file = dir.join(name);
    if !file.is_file() {
        return Err(DataError::NotFound { path: dir, wanted });
    }
    let layout = Layout {
        label_bytes: 2,
        coarse_classes: 20,
        classes: class_names(&dir.join("fine_label_names.txt"), 100),
    };
    read_files(&[file], layout, limit)
}

/// The folder that the official archive unpacks to, where it exists.
fn subfolder(dir: &Path, name: &str) -> PathBuf {
    let inner = dir.join(name);
    if inner.is_dir() {
        inner
    } else {
        dir.to_owned()
    }
}

/// Names from a text file with one name a line; numbers where it does not fit.
fn class_names(path: &Path, count: usize) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let names: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    if names.len() == count {
        names
    } else {
        (0..count).map(|label| label.to_string()).collect()
    }
}

fn read_files(
    files: &[PathBuf],
    layout: Layout,
    limit: Option<usize>,
) -> Result<Pictures, DataError> {
    let record = layout.label_bytes + PIXEL_BYTES;
    let mut rgb8 = Vec::new();
    let mut labels = Vec::new();
    for path in files {
        let remaining = limit.map_or(usize::MAX, |limit| limit - labels.len());
        if remaining == 0 {
            break;
        }
        let count = pictures_in(path, record)?.min(remaining);
        rgb8.reserve(set_bytes(count, SIDE, SIDE)?);
        set_bytes(labels.len() + count, SIDE, SIDE)?;
        let mut file = File::open(path).map_err(io_error(path))?;
        let mut bytes = vec![0; record];
        for _ in 0..count {
            file.read_exact(&mut bytes).map_err(io_error(path))?;
            let (label, planes) = bytes.split_at(layout.label_bytes);
            // A coarse label out of range means that the file is none of CIFAR-100, whatever
            // its size.
            if layout.label_bytes == 2 && label[0] >= layout.coarse_classes {
                return Err(DataError::Malformed {
                    path: path.clone(),
                    reason: format!(
                        "picture {} has coarse label {}, but there are {} coarse classes",
                        labels.len(),
                        label[0],
                        layout.coarse_classes
                    ),
                });
            }
            let label = label[layout.label_bytes - 1];
            if usize::from(label) >= layout.classes.len() {
                return Err(DataError::Malformed {
                    path: path.clone(),
                    reason: format!(
                        "picture {} of the set has label {label}, but there are {} classes",
                        labels.len(),
                        layout.classes.len()
                    ),
                });
            }
            labels.push(u16::from(label));
            for pixel in 0..PLANE {
                rgb8.extend([0, 1, 2].map(|channel| planes[channel * PLANE + pixel]));
            }
        }
    }
    Ok(Pictures::new((SIDE, SIDE), rgb8, labels, layout.classes)?)
}

/// Number of records in a file whose size has to be a multiple of theirs.
fn pictures_in(path: &Path, record: usize) -> Result<usize, DataError> {
    let bytes = path.metadata().map_err(io_error(path))?.len();
    let wrong = || DataError::WrongSize {
        path: path.to_owned(),
        found: bytes,
        rule: format!("a batch is a whole number of records of {record} bytes"),
    };
    let size = usize::try_from(bytes).map_err(|_| wrong())?;
    if size == 0 || !size.is_multiple_of(record) {
        return Err(wrong());
    }
    Ok(size / record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A picture whose red, green and blue are told apart.
    fn record(label: &[u8], first: u8) -> Vec<u8> {
        let mut bytes = label.to_vec();
        for channel in 0..3 {
            bytes.extend(vec![first + channel; PLANE]);
        }
        bytes
    }

    #[test]
    fn batches_are_read_in_order_and_deplaned() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("cifar-10-batches-bin");
        fs::create_dir(&inner).unwrap();
        fs::write(
            inner.join("data_batch_1.bin"),
            [record(&[3], 10), record(&[4], 20)].concat(),
        )
        .unwrap();
        fs::write(inner.join("data_batch_2.bin"), record(&[9], 30)).unwrap();
        let set = load10(dir.path(), Part::Train, None).unwrap();
        assert_eq!(set.labels(), [3, 4, 9]);
        assert_eq!(set.rgb8(1)[..6], [20, 21, 22, 20, 21, 22]);
        let two = load10(&inner, Part::Train, Some(2)).unwrap();
        assert_eq!(two, set.range(0..2));
    }

    #[test]
    fn fine_labels_of_cifar100_are_used() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("test.bin"), record(&[7, 99], 1)).unwrap();
        let set = load100(dir.path(), Part::Test, None).unwrap();
        assert_eq!(set.labels(), [99]);
        assert_eq!(set.classes().len(), 100);
    }

    #[test]
    fn batches_of_cifar100_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("cifar-100-binary");
        fs::create_dir(&inner).unwrap();
        let path = inner.join("train.bin");
        let names: String = (0..100).map(|label| format!("name-{label}\n")).collect();
        fs::write(inner.join("fine_label_names.txt"), names).unwrap();
        let write = |labels: &[[u8; 2]]| {
            let records = labels.iter().map(|label| record(label, 9));
            fs::write(&path, records.collect::<Vec<_>>().concat()).unwrap();
            load100(dir.path(), Part::Train, None)
        };
        let set = write(&[[19, 0], [0, 42]]).unwrap();
        assert_eq!(set.labels(), [0, 42]);
        assert_eq!(set.classes()[42], "name-42");
        assert_eq!(set.rgb8(1)[..3], [9, 10, 11]);
        for stray in [[20, 1], [1, 100]] {
            let error = write(&[[0, 0], stray]).unwrap_err();
            assert!(matches!(error, DataError::Malformed { .. }), "{error}");
        }
        // Of the size of CIFAR-10's records.
        fs::write(&path, record(&[1], 0)).unwrap();
        assert!(matches!(
            load100(dir.path(), Part::Train, None),
            Err(DataError::WrongSize { .. })
        ));
    }

    #[test]
    fn a_wrong_path_says_what_was_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let error = load10(dir.path(), Part::Test, None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("test_batch.bin"), "{error}");
        assert!(error.contains(&dir.path().display().to_string()), "{error}");
    }

    #[test]
    fn cut_off_batches_and_stray_labels_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test_batch.bin");
        let mut bytes = record(&[1], 0);
        bytes.pop();
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(
            load10(dir.path(), Part::Test, None),
            Err(DataError::WrongSize { found: 3072, .. })
        ));
        fs::write(&path, record(&[10], 0)).unwrap();
        assert!(matches!(
            load10(dir.path(), Part::Test, None),
            Err(DataError::Malformed { .. })
        ));
    }
}
