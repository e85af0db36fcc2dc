//! From pictures to boxes, and from boxes to a score: letterbox, decoding, suppression, COCO.

mod coco;
mod decode;
mod letterbox;
mod precision;

pub use self::coco::{Annotation, CocoCategory, CocoError, CocoPicture, CocoSet, ScoredBox};
pub use self::decode::{DetectOptions, Detection, decode};
pub use self::letterbox::{Letterbox, LetterboxError};
pub use self::precision::{Precision, average_precision};
