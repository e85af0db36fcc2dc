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
//! The traits [`Head`], [`Tail`] and [`Distortion`] are all a network has to offer:
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use split_bottleneck::{
//!     ActivationCache, BackboneNote, Bank, Batch, Distortion, Head, Objective, Rung, Tail,
//!     TrainConfig, Training, UnitConfig,
//! };
//!
//! /// Doubles the picture on the device, and answers with the mean of each channel on the edge.
//! struct Means;
//!
//! impl Head for Means {
//!     fn forward(&self, input: Tensor<4>) -> Tensor<4> {
//!         input.mul_scalar(2.0)
//!     }
//! }
//!
//! impl Tail for Means {
//!     type Output = Tensor<2>;
//!
//!     fn forward(&self, activation: Tensor<4>) -> Tensor<2> {
//!         let [n, channels, height, width] = activation.dims();
//!         activation.reshape([n, channels, height * width]).mean_dim(2).reshape([n, channels])
//!     }
//! }
//!
//! impl Distortion for Means {
//!     fn distortion(&self, restored: Tensor<4>, batch: &Batch) -> Tensor<1> {
//!         (Tail::forward(self, restored) - batch.reference.clone()).powi_scalar(2).mean()
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = Device::flex();
//! # let pictures = Tensor::<1, burn::tensor::Int>::arange(0..16 * 3 * 64, &device);
//! # let pictures = pictures.float().mul_scalar(0.1).sin().reshape([16, 3, 8, 8]);
//! // `pictures`: [16, 3, 8, 8]. What head and tail say of them is computed once.
//! let cache = ActivationCache::build(&Means, &Means, [(pictures.clone(), vec![0; 16])], 1 << 20)?;
//! let unit = UnitConfig::conv(cache.shape(), 4, 2, 0.5);
//! let config = TrainConfig {
//!     batch_size: 8,
//!     learning_rate: 1e-2,
//!     ..TrainConfig::new(10, Objective::Lambda(0.01))
//! };
//! let mut training = Training::start(&unit, &config, None, &cache, &device.clone().autodiff())?;
//! while !training.is_done() {
//!     training.advance(&cache, &Means)?;
//! }
//!
//! let rung = Rung::from_training("unit-1", "unit", &unit, &training, &cache, 16, &device)?;
//! let note = BackboneNote {
//!     name: "means".to_owned(),
//!     split: "doubled".to_owned(),
//!     weights_sha256: "no weights".to_owned(),
//! };
//! let codec = Bank::new(note, vec![rung])?.open(0, &device)?;
//! let frames = codec.encode(Head::forward(&Means, pictures))?; // on the device
//! let answers = Tail::forward(&Means, codec.decode(&frames)?); // on the edge
//! assert_eq!((frames.len(), answers.dims()), (16, [16, 3]));
//! # Ok(())
//! # }
//! ```
//!
//! | you want | take |
//! |---|---|
//! | a unit for a rate | [`UnitConfig`], [`Training`] with an [`Objective`] |
//! | one unit for many rates | [`ContinuousTraining`] |
//! | a unit encoder without floats, on a weak device | [`IntegerEncoder`] |
//! | a start without training | [`Klt`]: principal components of patches |
//! | what device and edge share | [`Rung`]s in a [`Bank`]; [`RungCodec`] runs one |
//! | bytes and accuracy as they are on the wire | [`evaluate`] |
//! | what a frame gives away | [`Inversion`] |
//! | the authors' checkpoints | [`ReleasedUnit`] |

mod bank;
mod cache;
mod error;
mod evaluate;
mod fidelity;
mod integer;
mod inversion;
mod klt;
mod loss;
mod norms;
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
    BackboneNote, Bank, BankDigests, BankError, CodingError, MAX_BANK_VALUES, MAX_RUNGS, Measured,
    Rung, RungCodec, TablePictures,
};
pub use cache::{ActivationCache, CacheError};
pub use error::{ConfigError, StateError};
pub use evaluate::{Evaluation, evaluate, evaluate_symbols};
pub use fidelity::{psnr_db, ssim};
pub use integer::{IntegerEncoder, IntegerError};
pub use inversion::{
    Inversion, InversionConfig, InversionError, Leak, LeakedPictures, PSNR_MAX_DB,
};
pub use klt::{Klt, KltError, MAX_PATCH_VALUES};
pub use loss::{ClassifierDistortion, relative_error};
pub use norms::{NormsConfig, NormsError, fit_norms, norm_parameters};
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
    ActivationShape, BottleNetDecoder, BottleNetEncoder, ConvDecoder, ConvEncoder, DecoderKind,
    EncoderKind, Gdn, LightEncoder, MAX_ACTIVATION_VALUES, MAX_RELEASED_BYTES, MAX_SCALES,
    MAX_UNIT_PARAMETERS, MisshapenTensor, PaperDecoder, PaperEncoder, PatchDecoder, PatchEncoder,
    RefinedDecoder, RefinedEncoder, ReleasedError, ReleasedPlace, ReleasedTask, ReleasedUnit,
    ResidualBlock, Scale, ScaleCountError, ScaleList, ScalesEncoder, StudentDecoder,
    StudentEncoder, StudentLayers, Unit, UnitConfig, UnitDecoder, UnitEncoder,
};
