//! The embedded default: a picture set and a small trained ResNet that come with the crate.
//!
//! The pictures are drawn, not stored: 64 x 64 colour pictures of ten kinds of animals and
//! things, put together from solid parts with random proportions, pose, coat and view, lit and
//! shadowed, on textured ground before walls, trees or sky, among clutter and behind twigs,
//! then taken by a camera with blur, vignetting, colour cast and noise. Equal arguments give
//! equal bytes on every machine, since only exactly defined floating-point operations are used.
//! Stored without loss a picture would take 7 kB; only the network is stored.
//!
//! ```
//! use split_backbone::embedded::{self, EmbeddedSplit};
//!
//! let pictures = embedded::pictures(EmbeddedSplit::Test, 20)?;
//! assert_eq!((pictures.len(), pictures.width(), pictures.height()), (20, 64, 64));
//! assert_eq!(pictures.classes()[usize::from(pictures.labels()[0])], "bird");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod animals;
mod backdrop;
mod camera;
mod canvas;
mod draw;
mod geometry;
mod scene;
mod solid;
mod stored;
mod texture;
mod things;
mod training;

use rayon::prelude::*;

pub use self::stored::{
    BACKBONE_SHA256, EmbeddedError, TEST_ACCURACY, TEST_CORRECT, backbone, read_backbone,
    write_backbone,
};
pub use self::training::{
    BackboneProgress, BackboneTraining, PREPROCESS, TrainBackboneError, config, predictions,
    train_backbone,
};

use self::draw::Draw;
use self::texture::Textures;
use crate::data::{MAX_SET_BYTES, Pictures, PicturesError};

/// Width and height of an embedded picture in pixels.
pub const SIDE: usize = camera::PIXELS;

/// Names of the ten classes, in order of their labels. Picture `i` is of class `i % 10`.
pub const CLASSES: [&str; 10] = [
    "bird", "car", "cat", "chair", "deer", "dog", "horse", "mushroom", "teapot", "truck",
];

/// Pictures that the embedded network was trained on: the first of [`EmbeddedSplit::Train`].
pub const TRAIN_COUNT: usize = 10_000;

/// Pictures of [`EmbeddedSplit::Test`] that reported accuracies use.
pub const TEST_COUNT: usize = 2_000;

/// All pictures are drawn from this seed.
const SEED: u64 = 0x5eed;

/// Which pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddedSplit {
    /// For training networks and units and for counting symbols.
    Train,
    /// For reported accuracies; drawn from other random streams than `Train`.
    Test,
}

/// The first `count` pictures of a split. More of them never change the first ones.
///
/// Takes about 2.5 ms of processor time a picture, spread over all cores.
///
/// # Errors
///
/// [`PicturesError::TooLarge`] if the set would take more than [`MAX_SET_BYTES`].
#[expect(
    clippy::missing_panics_doc,
    reason = "the generator fills what it sized"
)]
pub fn pictures(split: EmbeddedSplit, count: usize) -> Result<Pictures, PicturesError> {
    let size = SIDE * SIDE * 3;
    if count > MAX_SET_BYTES / size {
        return Err(PicturesError::TooLarge {
            count,
            width: SIDE,
            height: SIDE,
        });
    }
    let set = match split {
        EmbeddedSplit::Train => 0,
        EmbeddedSplit::Test => 1,
    };
    let textures = Textures::new();
    let mut rgb8 = vec![0; count * size];
    rgb8.par_chunks_exact_mut(size)
        .enumerate()
        .for_each(|(i, out)| {
            let mut draw = Draw::new(SEED, set, u64::try_from(i).expect("an index fits 64 bits"));
            scene::render(i % CLASSES.len(), &textures, &mut draw, out);
        });
    let label = |i: usize| u16::try_from(i % CLASSES.len()).expect("below 10");
    let labels = (0..count).map(label).collect();
    Pictures::new(
        (SIDE, SIDE),
        rgb8,
        labels,
        CLASSES.map(str::to_owned).to_vec(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_the_same_everywhere() {
        let digest = |split| pictures(split, 100).unwrap().sha256();
        assert_eq!(
            digest(EmbeddedSplit::Train),
            "3f97816401000b1bc9aadd51369020c0271a928d02e9dde5bc934f6e60c59b23"
        );
        assert_eq!(
            digest(EmbeddedSplit::Test),
            "f23ab3430c27ee9612e2cac01090557b3b172c0e7e6f3f7c02895e8643b38dc9"
        );
    }

    #[test]
    fn more_pictures_do_not_change_the_first() {
        let few = pictures(EmbeddedSplit::Test, 7).unwrap();
        let more = pictures(EmbeddedSplit::Test, 23).unwrap();
        assert_eq!(few, more.range(0..7));
    }

    #[test]
    fn splits_share_no_picture() {
        let train = pictures(EmbeddedSplit::Train, 40).unwrap();
        let test = pictures(EmbeddedSplit::Test, 40).unwrap();
        for i in 0..40 {
            assert!((0..40).all(|j| train.rgb8(i) != test.rgb8(j)));
        }
    }

    #[test]
    fn classes_are_balanced() {
        let set = pictures(EmbeddedSplit::Train, 50).unwrap();
        for class in 0..10u16 {
            assert_eq!(set.labels().iter().filter(|l| **l == class).count(), 5);
        }
    }

    #[test]
    fn pictures_have_light_and_detail() {
        let set = pictures(EmbeddedSplit::Train, 60).unwrap();
        for i in 0..set.len() {
            let picture = set.rgb8(i);
            let mean = picture.iter().map(|v| f64::from(*v)).sum::<f64>() / 12288.0;
            let square = picture
                .iter()
                .map(|v| (f64::from(*v) - mean).powi(2))
                .sum::<f64>();
            assert!((40.0..215.0).contains(&mean), "picture {i} has mean {mean}");
            assert!((square / 12288.0).sqrt() > 12.0, "picture {i} is flat");
        }
    }

    #[test]
    fn sets_without_bound_are_refused() {
        assert!(matches!(
            pictures(EmbeddedSplit::Train, usize::MAX),
            Err(PicturesError::TooLarge { .. })
        ));
        assert!(pictures(EmbeddedSplit::Train, 0).unwrap().is_empty());
    }
}
