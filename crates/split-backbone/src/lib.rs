//! Backbones that can be cut: ResNets and YOLOX, their split points, weights and data sets.
//!
//! ```text
//! picture -> Preprocess -> input -> head -> activation ........ tail -> scores, or boxes
//!                                   ^ device         unit, link         ^ edge
//! ```
//! A cut never changes what the network computes: `tail(head(x))` is `network(x)`, bit by bit.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use split_backbone::{Head, ResNetConfig, Tail, cut};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ResNetConfig::named("resnet20")?;
//! let device = Device::flex();
//! let network = config.init_seeded(1, &device);
//!
//! // Every place where one tensor flows, with what crosses it and what both sides pay.
//! let profile = config.profile(32, 32);
//! let costs = profile.cuts.iter().find(|cut| cut.point.to_string() == "layer2").expect("a stage's end is a cut");
//! assert_eq!((costs.shape.channels, costs.bytes), (32, 32 * 16 * 16 * 4));
//!
//! let (head, tail) = cut(&network, costs.point)?;
//! let picture = Tensor::ones([1, 3, 32, 32], &device);
//! let whole = network.forward(picture.clone()).into_data();
//! assert_eq!(tail.forward(head.forward(picture)).into_data(), whole);
//! # Ok(())
//! # }
//! ```
//!
//! | you have | take |
//! |---|---|
//! | a ResNet, from a name or a configuration | [`ResNetConfig`], [`cut`], [`SplitPoint`] |
//! | a YOLOX | [`YoloxConfig`], [`cut_yolox`], [`YoloxPoint`], [`decode`] |
//! | a name and a weights file | [`Opened::load`]: network, head, tail, preprocessing |
//! | the question where to cut | [`Profile`] for ResNets, [`Graph`] for any backbone by name ([`BackboneConfig`]) |
//! | pictures | [`DataSource`]: CIFAR, folders, sheets, the embedded set; [`CocoFolder`] for detection |
//! | nothing yet | [`embedded`]: a picture set that is drawn and a small trained network |
//! | a network of your own | no adapter at all: implement [`Head`] and [`Tail`] (`examples/own_network.rs`) |

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
