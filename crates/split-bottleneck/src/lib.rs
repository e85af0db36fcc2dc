//! Bottleneck units for frozen networks.
//!
//! A trained network is cut at a split point into a head (device) and a tail (edge). This
//! crate trains the small pair that makes the activation at the cut cheap to send: a
//! [`Unit`] of unit encoder and unit decoder, with head and tail frozen, on
//! `distortion + lambda * rate`. The rate comes from a [`RateModel`], a learned density whose
//! [`export`](RateModel::export) is the integer tables of the coder; a trained unit with its
//! tables is a [`Rung`], the rungs of a split point are a [`Bank`].
//!
//! ```text
//! activation -> unit encoder -> latent -> quantizer -> symbols -> coder -> frame
//! restored activation <- unit decoder <- latent <- dequantizer <- symbols <- coder <- frame
//! ```
//!
//! What a listener could restore of the pictures is measured with [`Inversion`].
//!
//! The traits [`Head`], [`Tail`] and [`Distortion`] are all a network has to offer.

mod bank;
mod cache;
mod error;
mod evaluate;
mod fidelity;
mod inversion;
mod klt;
mod loss;
pub mod ops;
mod proxy;
mod rate;
mod rival;
mod split;
mod state;
mod store;
mod train;
mod unit;

pub use bank::{
    BackboneNote, Bank, BankDigests, BankError, CodingError, MAX_RUNGS, Measured, Rung, RungCodec,
    TablePictures,
};
pub use cache::{ActivationCache, CacheError};
pub use error::{ConfigError, StateError};
pub use evaluate::{Evaluation, evaluate};
pub use fidelity::{psnr_db, ssim};
pub use inversion::{
    Inversion, InversionConfig, InversionError, Leak, LeakedPictures, PSNR_MAX_DB,
};
pub use klt::{Klt, KltError, MAX_PATCH_VALUES};
pub use loss::{ClassifierDistortion, relative_error};
pub use proxy::{Proxy, straight_through_round};
pub use rate::{
    Density, Factorised, FactorisedRate, HyperDensity, HyperpriorRate, L1Rate, LaplaceRate,
    MixtureRate, NeighbourRate, RateKind, RateModel,
};
pub use rival::{HuffmanRival, RivalError, activation_latent_shape, evaluate_without_unit};
pub use split::{Batch, Distortion, Head, Tail};
pub use state::{HostTensor, ModuleState, load_state, module_state, parameter_count, redraw};
pub use store::{ArchiveError, MAX_ARCHIVE_BYTES};
pub use train::{
    CheckpointError, ContinuousConfig, ContinuousTraining, Objective, StepReport, TrainConfig,
    TrainError, Training, WarmStart,
};
pub use unit::{
    ActivationShape, ConvDecoder, ConvEncoder, DecoderKind, EncoderKind, Gdn, LightEncoder,
    MAX_RELEASED_BYTES, MisshapenTensor, PaperDecoder, PaperEncoder, PatchDecoder, PatchEncoder,
    RefinedDecoder, RefinedEncoder, ReleasedError, ReleasedPlace, ReleasedTask, ReleasedUnit,
    ResidualBlock, Unit, UnitConfig, UnitDecoder, UnitEncoder,
};
