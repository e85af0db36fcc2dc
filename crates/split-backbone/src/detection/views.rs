//! Training canvases from photographs: no boxes, no labels.

use std::ops::Range;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use rand_core::Rng;
use rand_pcg::Pcg64;
use rayon::prelude::*;
use thiserror::Error;

use super::letterbox::{PADDING, resize_into};
use super::{Letterbox, LetterboxError};
use crate::data::{SkippedPicture, read_picture};

/// Most canvases that one plan may hold.
const MAX_VIEWS: usize = 1 << 24;
/// Photographs that are tried for one place before it stays empty.
const TRIES: usize = 4;

/// How canvases are made of photographs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ViewConfig {
    /// Side of a canvas in pixels, a multiple of 32.
    pub side: u32,
    /// Number of canvases.
    pub count: usize,
    /// Least size of objects, as a factor to the size that they have in a letterbox.
    pub scale_min: f64,
    /// Greatest size of objects, likewise.
    pub scale_max: f64,
    /// Seed of all draws.
    pub seed: u64,
}

/// Canvases cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ViewsError {
    /// There are no photographs.
    #[error("there are no photographs to make views of")]
    NoFiles,
    /// The scales are no range of positive numbers up to 8.
    #[error("object scales from {min} to {max}; a range within 0.1 to 8 is needed")]
    Scale {
        /// Least scale asked for.
        min: f64,
        /// Greatest scale asked for.
        max: f64,
    },
    /// None or too many canvases.
    #[error("{found} views; 1 to {MAX_VIEWS} can be made")]
    Count {
        /// Number asked for.
        found: usize,
    },
    /// The side is unusable.
    #[error(transparent)]
    Side(#[from] LetterboxError),
}

/// One canvas, or the photograph that could not be read.
pub type View = Result<RgbImage, SkippedPicture>;

/// A plan of canvases: photographs at random scales, cropped, mirrored half of the time; what one
/// leaves empty others fill, so that no canvas teaches what padding looks like.
///
/// Each canvas depends on the seed and its own number only, so any part can be made at any time,
/// by any number of threads.
#[derive(Clone, Debug)]
pub struct Views {
    files: Vec<PathBuf>,
    config: ViewConfig,
}

impl Views {
    /// Plans canvases of some photographs.
    ///
    /// # Errors
    ///
    /// [`ViewsError`] for the first number out of its range.
    pub fn new(files: Vec<PathBuf>, config: ViewConfig) -> Result<Self, ViewsError> {
        Letterbox::empty_canvas(config.side)?;
        if files.is_empty() {
            return Err(ViewsError::NoFiles);
        }
        let (min, max) = (config.scale_min, config.scale_max);
        // Written so that a number that is none is refused too.
        if !(min >= 0.1 && min <= max && max <= 8.0) {
            return Err(ViewsError::Scale { min, max });
        }
        if !(1..=MAX_VIEWS).contains(&config.count) {
            return Err(ViewsError::Count {
                found: config.count,
            });
        }
        Ok(Self { files, config })
    }

    /// Number of canvases.
    #[must_use]
    pub fn len(&self) -> usize {
        self.config.count
    }

    /// Always false: a plan without canvases cannot be made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.config.count == 0
    }

    /// Makes some canvases on all threads; in memory are these and one photograph a thread.
    ///
    /// # Panics
    ///
    /// If the range ends past [`len`](Self::len).
    #[must_use]
    pub fn render(&self, range: Range<usize>) -> Vec<View> {
        assert!(range.end <= self.len(), "views up to {}", self.len());
        range.into_par_iter().map(|index| self.one(index)).collect()
    }

    fn one(&self, index: usize) -> View {
        let stream = u128::try_from(index).expect("an index fits 128 bits");
        let mut rng = Pcg64::new(u128::from(self.config.seed), stream);
        let side = self.config.side;
        let mut canvas = RgbImage::from_pixel(side, side, Rgb([PADDING; 3]));
        let path = &self.files[index % self.files.len()];
        let first = photo(path, &mut rng)?;
        let scale = self.scale(&first, &mut rng);
        let size = scaled(&first, scale);
        let place = Place {
            left: 0,
            top: 0,
            width: size.0.min(side),
            height: size.1.min(side),
        };
        paste(&first, size, place, &mut canvas, &mut rng);
        for free in place.rest(side) {
            self.fill(free, &mut canvas, &mut rng);
        }
        Ok(canvas)
    }

    /// Covers a part of the canvas with another photograph; it stays padding if several of them
    /// cannot be read, which their own turn reports.
    fn fill(&self, place: Place, canvas: &mut RgbImage, rng: &mut Pcg64) {
        for _ in 0..TRIES {
            let path = &self.files[below(self.files.len(), rng)];
            let Ok(picture) = photo(path, rng) else {
                continue;
            };
            let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
            let covering = (f64::from(place.width) / width).max(f64::from(place.height) / height);
            let size = scaled(&picture, self.scale(&picture, rng).max(covering));
            // Rounding must not leave a row of padding.
            let size = (size.0.max(place.width), size.1.max(place.height));
            paste(&picture, size, place, canvas, rng);
            return;
        }
    }

    /// Canvas pixels per photograph pixel, log-uniform around the letterbox's.
    fn scale(&self, picture: &RgbImage, rng: &mut Pcg64) -> f64 {
        let longer = picture.width().max(picture.height());
        let letterbox = f64::from(self.config.side) / f64::from(longer);
        let (low, high) = (self.config.scale_min.ln(), self.config.scale_max.ln());
        letterbox * (low + (high - low) * unit(rng)).exp()
    }
}

/// A rectangle of the canvas.
#[derive(Clone, Copy)]
struct Place {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

impl Place {
    /// What lies right of a place in the top left corner, and below it.
    fn rest(self, side: u32) -> impl Iterator<Item = Self> {
        let right = Self {
            left: self.width,
            top: 0,
            width: side - self.width,
            height: side,
        };
        let below = Self {
            left: 0,
            top: self.height,
            width: self.width,
            height: side - self.height,
        };
        let parts = [right, below].into_iter();
        parts.filter(|part| part.width > 0 && part.height > 0)
    }
}

/// A photograph, mirrored half of the time.
fn photo(path: &Path, rng: &mut Pcg64) -> View {
    let mirrored = rng.next_u32() >> 31 == 1;
    let picture = read_picture(path).map_err(|error| SkippedPicture {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(if mirrored {
        image::imageops::flip_horizontal(&picture)
    } else {
        picture
    })
}

/// Scales a photograph to `size` and puts a random part of it at `place`.
fn paste(
    picture: &RgbImage,
    size: (u32, u32),
    place: Place,
    canvas: &mut RgbImage,
    rng: &mut Pcg64,
) {
    let mut scaled = RgbImage::new(size.0, size.1);
    resize_into(picture, size, &mut scaled);
    let offset = |whole: u32, part: u32, rng: &mut Pcg64| {
        let spare = usize::try_from(whole - part).unwrap_or(0);
        u32::try_from(below(spare + 1, rng)).unwrap_or(0)
    };
    let left = offset(size.0, place.width, rng);
    let top = offset(size.1, place.height, rng);
    let part = image::imageops::crop_imm(&scaled, left, top, place.width, place.height);
    let at = (i64::from(place.left), i64::from(place.top));
    image::imageops::replace(canvas, &*part, at.0, at.1);
}

/// Width and height after scaling, at least one pixel.
fn scaled(picture: &RgbImage, scale: f64) -> (u32, u32) {
    let side = |length: u32| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and bounded by the greatest scale and aspect"
        )]
        let side = (f64::from(length) * scale).round() as u32;
        side.max(1)
    };
    (side(picture.width()), side(picture.height()))
}

/// A draw from 0 to below `bound`.
fn below(bound: usize, rng: &mut Pcg64) -> usize {
    let bound = u64::try_from(bound).unwrap_or(u64::MAX);
    let draw = (u128::from(rng.next_u64()) * u128::from(bound)) >> 64;
    usize::try_from(draw).unwrap_or(0)
}

/// A draw from 0 to below 1.
fn unit(rng: &mut Pcg64) -> f64 {
    f64::from(rng.next_u32()) / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Photographs of one colour each, none of them the padding's grey.
    fn photos(dir: &Path) -> Vec<PathBuf> {
        let sizes = [(90, 40), (40, 90), (64, 64), (200, 11)];
        let files = sizes.iter().zip(0_u8..).map(|(&(width, height), index)| {
            let path = dir.join(format!("{index}.png"));
            RgbImage::from_pixel(width, height, Rgb([10 * index; 3]))
                .save(&path)
                .unwrap();
            path
        });
        files.collect()
    }

    fn config() -> ViewConfig {
        ViewConfig {
            side: 64,
            count: 24,
            scale_min: 0.5,
            scale_max: 1.6,
            seed: 7,
        }
    }

    #[test]
    fn canvases_are_full_and_depend_on_seed_and_number_alone() {
        let dir = tempfile::tempdir().unwrap();
        let files = photos(dir.path());
        let views = Views::new(files.clone(), config()).unwrap();
        let all: Vec<RgbImage> = views
            .render(0..24)
            .into_iter()
            .map(Result::unwrap)
            .collect();
        for canvas in &all {
            assert_eq!(canvas.dimensions(), (64, 64));
            assert!(canvas.pixels().all(|pixel| pixel.0[0] != PADDING));
        }
        let some: Vec<RgbImage> = views.render(5..9).into_iter().map(Result::unwrap).collect();
        assert!(some == all[5..9]);
        let other = ViewConfig {
            seed: 8,
            ..config()
        };
        let other = Views::new(files, other).unwrap().render(0..24);
        assert!(other.into_iter().map(Result::unwrap).collect::<Vec<_>>() != all);
    }

    #[test]
    fn an_unreadable_photograph_is_named_at_its_own_turn() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = photos(dir.path());
        let broken = dir.path().join("broken.jpg");
        fs::write(&broken, b"no picture").unwrap();
        files.insert(1, broken.clone());
        let views = Views::new(files, config()).unwrap().render(0..10);
        for (index, view) in views.iter().enumerate() {
            match view {
                Err(skipped) => assert!(index % 5 == 1 && skipped.path == broken),
                Ok(_) => assert!(index % 5 != 1),
            }
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let new = |files: &[&str], config| {
            Views::new(files.iter().map(PathBuf::from).collect(), config).is_err()
        };
        let config = config();
        assert!(!new(&["a"], config));
        assert!(new(&[], config));
        assert!(new(&["a"], ViewConfig { side: 65, ..config }));
        assert!(new(&["a"], ViewConfig { count: 0, ..config }));
        let scales = [(0.0, 1.0), (1.0, 0.9), (1.0, 9.0), (f64::NAN, 1.0)];
        for (scale_min, scale_max) in scales {
            let config = ViewConfig {
                scale_min,
                scale_max,
                ..config
            };
            assert!(new(&["a"], config), "{scale_min} {scale_max}");
        }
    }
}
