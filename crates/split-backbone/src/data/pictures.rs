//! A set of pictures of one size in memory.

use std::ops::Range;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::weights::hex;

/// Most bytes of pixels that one set may hold.
pub const MAX_SET_BYTES: usize = 4 << 30;

/// Numbers that do not make a picture set.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PicturesError {
    /// A picture without pixels.
    #[error("pictures of {width}x{height} have no pixels")]
    NoPixels {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// The pixels do not add up to one picture per label.
    #[error("{labels} labels, but {bytes} bytes are not {labels} pictures of {width}x{height}")]
    CountMismatch {
        /// Number of labels.
        labels: usize,
        /// Number of bytes.
        bytes: usize,
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// A label without a class.
    #[error("picture {picture} has label {label}, but there are {classes} classes")]
    LabelOutOfRange {
        /// Index of the picture.
        picture: usize,
        /// Its label.
        label: u16,
        /// Number of classes.
        classes: usize,
    },
    /// The set would take more than [`MAX_SET_BYTES`].
    #[error(
        "{count} pictures of {width}x{height} take more than {MAX_SET_BYTES} bytes; load fewer \
         or smaller ones"
    )]
    TooLarge {
        /// Number of pictures.
        count: usize,
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
}

/// Labelled pictures of one size, 8 bits a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pictures {
    width: usize,
    height: usize,
    rgb8: Vec<u8>,
    labels: Vec<u16>,
    classes: Vec<String>,
}

impl Pictures {
    /// A set from pixels: per picture, row after row, red, green and blue of each pixel.
    ///
    /// # Errors
    ///
    /// [`PicturesError`] where sizes, labels and classes do not agree.
    pub fn new(
        (width, height): (usize, usize),
        rgb8: Vec<u8>,
        labels: Vec<u16>,
        classes: Vec<String>,
    ) -> Result<Self, PicturesError> {
        if width == 0 || height == 0 {
            return Err(PicturesError::NoPixels { width, height });
        }
        let bytes = set_bytes(labels.len(), width, height)?;
        if bytes != rgb8.len() {
            return Err(PicturesError::CountMismatch {
                labels: labels.len(),
                bytes: rgb8.len(),
                width,
                height,
            });
        }
        let stray = labels
            .iter()
            .position(|&label| usize::from(label) >= classes.len());
        if let Some(picture) = stray {
            return Err(PicturesError::LabelOutOfRange {
                picture,
                label: labels[picture],
                classes: classes.len(),
            });
        }
        Ok(Self {
            width,
            height,
            rgb8,
            labels,
            classes,
        })
    }

    /// Number of pictures.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no picture.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Width of every picture in pixels.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height of every picture in pixels.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// Class of every picture.
    #[must_use]
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }

    /// Names of the classes.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Pixels of one picture, row after row, three bytes a pixel.
    ///
    /// # Panics
    ///
    /// If there is no picture `index`.
    #[must_use]
    pub fn rgb8(&self, index: usize) -> &[u8] {
        let size = self.picture_bytes();
        &self.rgb8[index * size..(index + 1) * size]
    }

    /// A copy of some pictures, in the given order.
    ///
    /// # Panics
    ///
    /// If an index is not below [`len`](Self::len).
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        Self {
            width: self.width,
            height: self.height,
            rgb8: indices
                .iter()
                .flat_map(|&i| self.rgb8(i))
                .copied()
                .collect(),
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
            classes: self.classes.clone(),
        }
    }

    /// A copy of consecutive pictures.
    ///
    /// # Panics
    ///
    /// If the range ends past [`len`](Self::len).
    #[must_use]
    pub fn range(&self, range: Range<usize>) -> Self {
        let size = self.picture_bytes();
        Self {
            width: self.width,
            height: self.height,
            rgb8: self.rgb8[range.start * size..range.end * size].to_vec(),
            labels: self.labels[range].to_vec(),
            classes: self.classes.clone(),
        }
    }

    /// SHA-256 over the standard CIFAR form, in hex: per picture the label in one byte (in two,
    /// low byte first, past 256 classes), then all red, all green and all blue values.
    #[must_use]
    pub fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        let mut planes = vec![0; self.picture_bytes()];
        let plane = self.width * self.height;
        for (index, label) in self.labels.iter().enumerate() {
            let [low, high] = label.to_le_bytes();
            hasher.update([low]);
            if self.classes.len() > 256 {
                hasher.update([high]);
            }
            for (pixel, rgb) in self.rgb8(index).chunks_exact(3).enumerate() {
                for (channel, &value) in rgb.iter().enumerate() {
                    planes[channel * plane + pixel] = value;
                }
            }
            hasher.update(&planes);
        }
        hex(&hasher.finalize())
    }

    fn picture_bytes(&self) -> usize {
        self.width * self.height * 3
    }
}

/// Bytes of pixels of a set, if it may be that large.
pub(crate) fn set_bytes(count: usize, width: usize, height: usize) -> Result<usize, PicturesError> {
    width
        .checked_mul(height)
        .and_then(|pixels| pixels.checked_mul(3))
        .and_then(|bytes| bytes.checked_mul(count))
        .filter(|&bytes| bytes <= MAX_SET_BYTES)
        .ok_or(PicturesError::TooLarge {
            count,
            width,
            height,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|i| i.to_string()).collect()
    }

    #[test]
    fn sizes_labels_and_classes_have_to_agree() {
        let new = |size, bytes, labels: &[u16], classes| {
            Pictures::new(size, vec![0; bytes], labels.to_vec(), names(classes))
        };
        assert!(new((2, 2), 24, &[0, 1], 2).is_ok());
        assert!(matches!(
            new((0, 2), 0, &[], 2),
            Err(PicturesError::NoPixels { .. })
        ));
        assert!(matches!(
            new((2, 2), 23, &[0, 1], 2),
            Err(PicturesError::CountMismatch { .. })
        ));
        assert!(matches!(
            new((2, 2), 24, &[0, 2], 2),
            Err(PicturesError::LabelOutOfRange {
                picture: 1,
                label: 2,
                classes: 2
            })
        ));
        assert!(matches!(
            new((usize::MAX, 2), 0, &[0], 1),
            Err(PicturesError::TooLarge { .. })
        ));
    }

    #[test]
    fn selected_pictures_keep_pixels_and_labels() {
        let pixels: Vec<u8> = (0..36).collect();
        let set = Pictures::new((2, 2), pixels, vec![0, 1, 2], names(3)).unwrap();
        let picked = set.select(&[2, 0]);
        assert_eq!(picked.labels(), [2, 0]);
        assert_eq!(picked.rgb8(0), set.rgb8(2));
        assert_eq!(picked.rgb8(1), set.rgb8(0));
        assert_eq!(set.range(1..3).rgb8(0), set.rgb8(1));
    }
}
