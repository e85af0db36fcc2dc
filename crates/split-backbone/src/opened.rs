//! A backbone by name, weights and split point, cut and ready to run.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use split_bottleneck::{BackboneNote, Bank};
use thiserror::Error;

use crate::cut::{CutError, ResNetHead, ResNetTail, SplitPoint, cut};
use crate::data::Preprocess;
use crate::embedded::{self, EmbeddedError};
use crate::resnet::{ConfigError, ResNet, ResNetConfig};
use crate::weights::WeightsError;

/// Name of the backbone that comes with the crate.
pub const EMBEDDED_NAME: &str = "embedded";

/// A classifier cut at a split point, with what its pictures need.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The whole network, for inference.
    pub network: ResNet,
    /// Its part on the device.
    pub head: ResNetHead,
    /// Its part on the edge.
    pub tail: ResNetTail,
    /// Where it is cut.
    pub point: SplitPoint,
    /// How a bank names it.
    pub note: BackboneNote,
    /// How pixels become its input.
    pub preprocess: Preprocess,
    /// Side of the square pictures that its weights were trained for, in pixels.
    pub side: u32,
}

/// Why a backbone can't be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A backbone whose weights don't come with the crate.
    #[error("backbone {name} needs a weights file (.th, .pth, .safetensors or .onnx)")]
    NoWeights {
        /// Name of the backbone.
        name: String,
    },
    /// No such backbone, or no classifier.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights can't be read or are of another network.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The weights file holds more than the network.
    #[error(
        "{path} holds {count} tensors that {name} has no place for ({first}, ...); choose the \
         backbone that the file was saved from"
    )]
    Unused {
        /// The file.
        path: String,
        /// Name of the backbone.
        name: String,
        /// How many tensors.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// The embedded network is damaged.
    #[error("the embedded backbone: {0}")]
    Embedded(#[from] EmbeddedError),
    /// The network has no such split point.
    #[error(transparent)]
    Cut(#[from] CutError),
    /// The bank is for another network, other weights or another split point.
    #[error(
        "the bank is for {} at {} (weights {}), this is {} at {} (weights {}); give the same \
         backbone, split point and weights as in training",
        bank.name, bank.split, bank.weights_sha256, found.name, found.split, found.weights_sha256
    )]
    OtherBackbone {
        /// What the bank was trained for.
        bank: Box<BackboneNote>,
        /// What was opened.
        found: Box<BackboneNote>,
    },
}

impl Opened {
    /// Loads a backbone by its customary name and cuts it at `split`. `weights` isn't read for
    /// [`EMBEDDED_NAME`]; the number of classes is that of their last layer.
    ///
    /// # Errors
    ///
    /// [`OpenError`], one variant per broken rule.
    pub fn load(
        name: &str,
        weights: Option<&Path>,
        split: &str,
        device: &Device,
    ) -> Result<Self, OpenError> {
        let (network, preprocess, side, weights_sha256) = network_of(name, weights, device)?;
        let point: SplitPoint = split.parse()?;
        let network = network.fold_batch_norm().valid();
        let (head, tail) = cut(&network, point)?;
        let note = BackboneNote {
            name: name.to_owned(),
            split: point.to_string(),
            weights_sha256,
        };
        Ok(Self {
            network,
            head,
            tail,
            point,
            note,
            preprocess,
            side,
        })
    }

    /// The tail alone, as it was trained: its batch norms are not folded into its convolutions.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn tail_with_norms(
        name: &str,
        weights: Option<&Path>,
        split: &str,
        device: &Device,
    ) -> Result<ResNetTail, OpenError> {
        let (network, ..) = network_of(name, weights, device)?;
        let (_, tail) = cut(&network.valid(), split.parse()?)?;
        Ok(tail)
    }

    /// Loads the backbone that a bank was trained for, cut where the bank says.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; [`OpenError::OtherBackbone`] where `weights` are others than the bank's.
    pub fn for_bank(
        bank: &Bank,
        weights: Option<&Path>,
        device: &Device,
    ) -> Result<Self, OpenError> {
        let note = bank.backbone();
        let opened = Self::load(&note.name, weights, &note.split, device)?;
        check_backbone(&opened.note, bank)?;
        Ok(opened)
    }
}

/// A backbone as its weights have it, how pixels become its input, the side of its pictures, and the digest of its
/// weights.
fn network_of(
    name: &str,
    weights: Option<&Path>,
    device: &Device,
) -> Result<(ResNet, Preprocess, u32, String), OpenError> {
    if name == EMBEDDED_NAME {
        let side = u32::try_from(embedded::SIDE).unwrap_or(u32::MAX);
        let sha = embedded::BACKBONE_SHA256.to_owned();
        return Ok((embedded::backbone(device)?, embedded::PREPROCESS, side, sha));
    }
    let config = ResNetConfig::named(name)?;
    let path = weights.ok_or_else(|| OpenError::NoWeights {
        name: name.to_owned(),
    })?;
    let (network, report) = ResNet::load_with_its_classes(&config, path, device)?;
    if let Some(first) = report.unused.first() {
        return Err(OpenError::Unused {
            path: path.display().to_string(),
            name: name.to_owned(),
            count: report.unused.len(),
            first: first.clone(),
        });
    }
    let side = config.default_side();
    Ok((network, Preprocess::IMAGENET, side, report.sha256))
}

/// Refuses a bank that wasn't trained for this backbone, these weights and this split point.
///
/// # Errors
///
/// [`OpenError::OtherBackbone`] with both.
pub fn check_backbone(found: &BackboneNote, bank: &Bank) -> Result<(), OpenError> {
    if found == bank.backbone() {
        return Ok(());
    }
    Err(OpenError::OtherBackbone {
        bank: Box::new(bank.backbone().clone()),
        found: Box::new(found.clone()),
    })
}
