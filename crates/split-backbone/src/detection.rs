//! From pictures to boxes, and from boxes to a score: letterbox, decoding, suppression, COCO.

mod coco;
mod covered;
mod decode;
mod letterbox;
mod precision;
mod resample;
mod views;

pub use self::coco::{
    Annotation, CocoCategory, CocoError, CocoFolder, CocoPicture, CocoSet, ScoredBox,
};
pub use self::covered::{CoveredCodec, CoveredError, CoveredFrame};
pub use self::decode::{DetectOptions, Detection, decode};
pub use self::letterbox::{Letterbox, LetterboxError, canvas_input};
pub use self::precision::{Precision, average_precision};
pub use self::resample::{Interval, PairedBootstrap};
pub use self::views::{View, ViewConfig, Views, ViewsError};
