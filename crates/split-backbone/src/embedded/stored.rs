//! The embedded network: its bytes, their digest and how to read and write them.

use burn::store::{HalfPrecisionAdapter, ModuleSnapshot, SafetensorsStore};
use burn::tensor::Device;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::training;
use crate::resnet::{ConfigError, ResNet};
use crate::weights::hex;

/// The file that comes with the crate.
static FILE: &[u8] = include_bytes!("../../embedded/backbone.safetensors");

/// SHA-256 of the file that comes with the crate.
pub const BACKBONE_SHA256: &str =
    "af0d1dd05af1bd0f985b38b4640f195d604a52d64944d77b62a6d900bec52d7d";

/// Pictures of the first [`TEST_COUNT`](super::TEST_COUNT) test pictures that the embedded
/// network gets right, on the flex backend.
pub const TEST_CORRECT: usize = 1835;

/// Share of the first [`TEST_COUNT`](super::TEST_COUNT) test pictures that the embedded network
/// gets right.
pub const TEST_ACCURACY: f64 = TEST_CORRECT as f64 / super::TEST_COUNT as f64;

/// Why the embedded network cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// The file in the program is not the one that the source names.
    #[error("the embedded network has SHA-256 {found}, not {expected}: the build is damaged")]
    Digest {
        /// SHA-256 of the bytes in the program.
        found: String,
        /// SHA-256 that the source names.
        expected: &'static str,
    },
    /// The file does not fit the network.
    #[error("the stored network cannot be read: {reason}")]
    Unreadable {
        /// What the reader said.
        reason: String,
    },
    /// The network cannot be written.
    #[error("the network cannot be stored: {reason}")]
    Unwritable {
        /// What the writer said.
        reason: String,
    },
    /// The network's numbers are out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// The embedded network: a small ResNet trained on the first
/// [`TRAIN_COUNT`](super::TRAIN_COUNT) training pictures.
///
/// # Errors
///
/// [`EmbeddedError`] only if the program file is damaged.
pub fn backbone(device: &Device) -> Result<ResNet, EmbeddedError> {
    let found = hex(&Sha256::digest(FILE));
    if found != BACKBONE_SHA256 {
        return Err(EmbeddedError::Digest {
            found,
            expected: BACKBONE_SHA256,
        });
    }
    read_backbone(FILE, device)
}

/// A network of the embedded shape from bytes that [`write_backbone`] gave.
///
/// # Errors
///
/// [`EmbeddedError::Unreadable`] for bytes of another network or of none.
pub fn read_backbone(bytes: &[u8], device: &Device) -> Result<ResNet, EmbeddedError> {
    let mut network = training::config()?.init(device);
    let mut store = SafetensorsStore::from_bytes(Some(bytes.to_vec())).with_from_adapter(halves());
    network
        .load_from(&mut store)
        .map_err(|error| EmbeddedError::Unreadable {
            reason: error.to_string(),
        })?;
    Ok(network)
}

/// A network as safetensors, equal bytes for equal weights: convolutions and classifier in half
/// precision, batch norms in single (their variances underflow in half).
///
/// # Errors
///
/// [`EmbeddedError::Unwritable`] if a tensor cannot be read from its device.
pub fn write_backbone(network: &ResNet) -> Result<Vec<u8>, EmbeddedError> {
    let unwritable = |reason: String| EmbeddedError::Unwritable { reason };
    // The writer puts its own metadata down in an order that changes from run to run.
    let mut store = SafetensorsStore::from_bytes(None)
        .clear_metadata()
        .with_to_adapter(halves());
    network
        .save_into(&mut store)
        .map_err(|error| unwritable(error.to_string()))?;
    store
        .get_bytes()
        .map_err(|error| unwritable(error.to_string()))
}

fn halves() -> HalfPrecisionAdapter {
    HalfPrecisionAdapter::new().with_module("ConvNorm")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::embedded::{EmbeddedSplit, PREPROCESS, TEST_COUNT, pictures, predictions};

    fn correct(count: usize) -> usize {
        let device = Device::flex();
        let network = backbone(&device).unwrap();
        let set = pictures(EmbeddedSplit::Test, count).unwrap();
        let found = predictions(&network, &PREPROCESS, &set, (50, &device));
        let hits = found
            .iter()
            .zip(set.labels())
            .filter(|(f, l)| **f == usize::from(**l));
        hits.count()
    }

    #[test]
    fn embedded_network_is_as_good_on_some_pictures_as_on_all() {
        let share = correct(300) as f64 / 300.0;
        assert!(
            (share - TEST_ACCURACY).abs() < 0.05,
            "{share} against {TEST_ACCURACY}"
        );
    }

    #[test]
    fn embedded_network_has_the_stated_accuracy() {
        if std::env::var_os("SPLIT_SLOW").is_none() {
            // Past libtest, which keeps what a passing test prints to itself.
            let text = "skipped embedded_network_has_the_stated_accuracy: slow; set SPLIT_SLOW=1";
            writeln!(std::io::stderr(), "{text}").unwrap();
            return;
        }
        let found = correct(TEST_COUNT);
        assert!(
            found.abs_diff(TEST_CORRECT) <= 1,
            "{found} against {TEST_CORRECT}"
        );
    }

    #[test]
    fn stored_network_comes_back_within_half_precision() {
        let device = Device::flex();
        let network = training::config().unwrap().init_seeded(4, &device);
        let bytes = write_backbone(&network).unwrap();
        let again = read_backbone(&bytes, &device).unwrap();
        assert_eq!(write_backbone(&again).unwrap(), bytes);
        let set = pictures(EmbeddedSplit::Test, 2).unwrap();
        let input = PREPROCESS.input(&set, 0..2, &device);
        let difference = network.forward(input.clone()) - again.forward(input);
        assert!(difference.abs().max().into_scalar::<f32>() < 0.05);
    }

    #[test]
    fn other_bytes_are_refused() {
        let device = Device::flex();
        for bytes in [&b""[..], b"not a network", &FILE[..FILE.len() / 2]] {
            assert!(matches!(
                read_backbone(bytes, &device),
                Err(EmbeddedError::Unreadable { .. })
            ));
        }
    }
}
