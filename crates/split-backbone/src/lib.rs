//! Backbones that can be cut: ResNets, their split points, weights and data sets.

mod catalog;
mod conv;
mod cut;
mod data;
mod detection;
pub mod embedded;
mod graph;
mod opened;
mod ops;
mod profile;
mod resnet;
#[cfg(feature = "rivals")]
pub mod rivals;
mod weights;
mod yolox;

pub use self::catalog::{BackboneConfig, MAX_INPUT_SIDE};
pub use self::cut::{CutError, ResNetHead, ResNetTail, SplitPoint, cut};
pub use self::data::{
    DataError, DataSource, Framing, LoadOptions, Loaded, MAX_PICTURE_FILE_BYTES, MAX_SET_BYTES,
    Part, PictureError, Pictures, PicturesError, Preprocess, SkippedPicture, decode_picture,
    photo_files, read_picture, top1, topk,
};
pub use self::detection::{
    Annotation, CocoCategory, CocoError, CocoFolder, CocoPicture, CocoSet, CoveredCodec,
    CoveredError, CoveredFrame, DetectOptions, Detection, Interval, Letterbox, LetterboxError,
    PairedBootstrap, Precision, ScoredBox, View, ViewConfig, Views, ViewsError, average_precision,
    canvas_input, decode,
};
pub use self::graph::{Graph, GraphCut, Layer};
pub use self::opened::{EMBEDDED_NAME, OpenError, Opened, check_backbone};
pub use self::profile::{CutProfile, Profile};
pub use self::resnet::{
    BlockKind, ConfigError, MAX_BLOCKS, MAX_CHANNELS, MAX_CLASSES, MAX_STAGES, ResNet,
    ResNetConfig, ShortcutKind, StageConfig, StemConfig,
};
pub use self::weights::{
    MAX_WEIGHTS_BYTES, ShapeDifference, WeightsError, WeightsReport, file_sha256,
};
pub use self::yolox::{
    DetectorDistortion, SILU_DEPTH, Yolox, YoloxConfig, YoloxHead, YoloxPoint, YoloxTail, cut_yolox,
};
pub use split_bottleneck::{ActivationShape, Head, Tail};
