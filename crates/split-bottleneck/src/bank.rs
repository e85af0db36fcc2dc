use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use split_tensor::{Codec, TableSet};

use self::codec::in_segments;
use self::rung::opened;
use crate::state::{ModuleState, parameter_count};
use crate::store::Archive;
use crate::unit::UnitConfig;

mod codec;
mod digests;
mod error;
mod rung;

pub use codec::RungCodec;
pub use digests::BankDigests;
pub use error::{BankError, CodingError};
pub(crate) use rung::coded_bits;
pub use rung::{Rung, TablePictures};

const SCHEMA: &str = "split-bank/1";
/// Most rungs of a bank: a frame names its rung with 16 bits.
pub const MAX_RUNGS: usize = 1 << 16;

/// Most values of the weights of all rungs together: one GiB.
pub const MAX_BANK_VALUES: u64 = 1 << 28;

/// Which backbone a bank was trained for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackboneNote {
    /// Name of the backbone (`resnet56`).
    pub name: String,
    /// Split point (`layer1`).
    pub split: String,
    /// SHA-256 of the weights, lower-case hex.
    pub weights_sha256: String,
}

/// What was measured of a rung: whole frames, decoded again, over a whole test set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Mean bytes of a frame, header included.
    pub bytes: f64,
    /// Bytes that 95 of 100 frames stay within, where they were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_p95: Option<f64>,
    /// Mean bytes of its payload.
    pub bytes_payload: f64,
    /// Top-1 in per cent.
    pub top1: f64,
    /// Pictures it was measured on.
    pub pictures: usize,
}

/// The rungs of one split point.
#[derive(Debug, Clone)]
pub struct Bank {
    backbone: BackboneNote,
    rungs: Vec<Rung>,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    backbone: BackboneNote,
    digest: u64,
    rungs: Vec<RungManifest>,
}

#[derive(Serialize, Deserialize)]
struct RungManifest {
    name: String,
    kind: String,
    config: UnitConfig,
    lambda: f64,
    steps: usize,
    measured: Option<Measured>,
    /// An earlier rung with mostly the same tensors, which are then kept once; those that differ stand under
    /// this one's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weights_of: Option<usize>,
}

impl Bank {
    /// Gathers rungs of one split point.
    ///
    /// # Errors
    ///
    /// When there are more rungs than a frame can name.
    pub fn new(backbone: BackboneNote, rungs: Vec<Rung>) -> Result<Self, BankError> {
        if rungs.len() > MAX_RUNGS {
            return Err(BankError::TooManyRungs { found: rungs.len() });
        }
        Ok(Self { backbone, rungs })
    }

    /// The backbone and split point that the bank is for.
    #[must_use]
    pub fn backbone(&self) -> &BackboneNote {
        &self.backbone
    }

    /// The rungs in their order; a frame names a rung by its place.
    #[must_use]
    pub fn rungs(&self) -> &[Rung] {
        &self.rungs
    }

    /// The place of a rung that is named by its name or, in decimal, by its place.
    ///
    /// # Errors
    ///
    /// [`BankError::UnknownRung`] with the names of all rungs.
    pub fn find(&self, name: &str) -> Result<usize, BankError> {
        let by_name = self.rungs.iter().position(|rung| rung.name == name);
        let by_place = name.parse().ok().filter(|place| *place < self.rungs.len());
        by_name.or(by_place).ok_or_else(|| BankError::UnknownRung {
            name: name.to_owned(),
            known: self.rungs.iter().map(|rung| rung.name.clone()).collect(),
        })
    }

    /// Notes what was measured of a rung. This does not change the digest.
    ///
    /// # Errors
    ///
    /// When there is no such rung.
    pub fn set_measured(&mut self, rung: usize, measured: Measured) -> Result<(), BankError> {
        let rungs = self.rungs.len();
        let slot = self
            .rungs
            .get_mut(rung)
            .ok_or(BankError::NoRung { found: rung, rungs })?;
        slot.measured = Some(measured);
        Ok(())
    }

    /// Digest of all that decides what a frame means: backbone, split point, layouts, weights
    /// and tables.
    #[must_use]
    #[expect(
        clippy::missing_panics_doc,
        reason = "plain fields serialize and a SHA-256 has eight bytes"
    )]
    pub fn digest(&self) -> u64 {
        let mut hash = Sha256::new();
        let mut text = |part: &str| {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(part.as_bytes());
        };
        text(&self.backbone.name);
        text(&self.backbone.split);
        text(&self.backbone.weights_sha256);
        for rung in &self.rungs {
            let config = serde_json::to_string(&rung.config).expect("plain fields serialize");
            hash.update(config.as_bytes());
            hash.update(rung.tables.to_bytes());
            for (path, tensor) in &rung.weights {
                hash.update(path.as_bytes());
                for value in &tensor.values {
                    hash.update(value.to_le_bytes());
                }
            }
        }
        let digest = hash.finalize();
        let (head, _) = digest.split_at(8);
        u64::from_le_bytes(head.try_into().expect("eight bytes"))
    }

    /// The short name of the bank in its frames: the low 32 bits of the digest.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "masked to 32 bits")]
    pub fn id(&self) -> u32 {
        u32::try_from(self.digest() & 0xffff_ffff).expect("masked to 32 bits")
    }

    /// The bank as one safetensors file.
    ///
    /// # Errors
    ///
    /// When the container cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BankError> {
        let holders: Vec<_> = (0..self.rungs.len()).map(|i| self.holder(i)).collect();
        let manifest = Manifest {
            backbone: self.backbone.clone(),
            digest: self.digest(),
            rungs: self
                .rungs
                .iter()
                .enumerate()
                .map(|(index, rung)| RungManifest {
                    weights_of: holders[index],
                    name: rung.name.clone(),
                    kind: rung.kind.clone(),
                    config: rung.config.clone(),
                    lambda: rung.lambda,
                    steps: rung.steps,
                    measured: rung.measured.clone(),
                })
                .collect(),
        };
        let mut archive = Archive::new(SCHEMA, &manifest)?;
        for (index, rung) in self.rungs.iter().enumerate() {
            let mut own = rung.weights.clone();
            if let Some(holder) = holders[index] {
                let held = &self.rungs[holder].weights;
                own.retain(|path, tensor| held.get(path) != Some(tensor));
            }
            archive.insert_state(&format!("rung{index}"), &own);
            archive.insert_bytes(&format!("tables{index}"), rung.tables.to_bytes());
        }
        Ok(archive.to_bytes()?)
    }

    /// The first rung before `index` that has its layout and most of its values, as the rungs of one continuous unit
    /// have.
    fn holder(&self, index: usize) -> Option<usize> {
        let own = &self.rungs[index].weights;
        let all: usize = own.values().map(|tensor| tensor.values.len()).sum();
        (0..index).find(|earlier| {
            let held = &self.rungs[*earlier].weights;
            let same: usize = own
                .iter()
                .filter(|(path, tensor)| held.get(*path) == Some(tensor))
                .map(|(_, tensor)| tensor.values.len())
                .sum();
            held.keys().eq(own.keys()) && 2 * same > all
        })
    }

    /// Reads a bank and checks its digest.
    ///
    /// # Errors
    ///
    /// When the container, the manifest or a table is damaged, the digest differs, or its rungs have more than
    /// [`MAX_BANK_VALUES`] values.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BankError> {
        Self::within(MAX_BANK_VALUES, bytes)
    }

    fn within(allowed: u64, bytes: &[u8]) -> Result<Self, BankError> {
        let archive = Archive::from_bytes(SCHEMA, bytes)?;
        let manifest: Manifest = archive.manifest()?;
        let mut rungs: Vec<Rung> = Vec::new();
        let mut found = 0_u64;
        for (index, rung) in manifest.rungs.into_iter().enumerate() {
            let tables = TableSet::from_bytes(archive.bytes(&format!("tables{index}"))?).map_err(
                |source| BankError::Table {
                    rung: rung.name.clone(),
                    source,
                },
            )?;
            let holder = rung.weights_of.and_then(|holder| rungs.get(holder));
            let own = archive.state(&format!("rung{index}"));
            let values = |state: &ModuleState| -> u64 {
                let lengths = state.values().map(|tensor| tensor.values.len());
                lengths.sum::<usize>().try_into().unwrap_or(u64::MAX)
            };
            // Before they are copied.
            found = found
                .saturating_add(holder.map_or(0, |rung| values(&rung.weights)))
                .saturating_add(values(&own));
            if found > allowed {
                return Err(BankError::TooLarge { found, allowed });
            }
            let mut weights = holder.map_or_else(ModuleState::new, |rung| rung.weights.clone());
            weights.extend(own);
            rungs.push(Rung {
                weights,
                tables,
                name: rung.name,
                kind: rung.kind,
                config: rung.config,
                lambda: rung.lambda,
                steps: rung.steps,
                measured: rung.measured,
            });
        }
        let bank = Self::new(manifest.backbone, rungs)?;
        let found = bank.digest();
        if found != manifest.digest {
            return Err(BankError::Digest {
                found,
                expected: manifest.digest,
            });
        }
        Ok(bank)
    }

    /// Puts a rung on a device, ready to code.
    ///
    /// # Errors
    ///
    /// When there is no such rung, or its weights do not fit its configuration.
    #[expect(
        clippy::missing_panics_doc,
        reason = "the constructor bounds the rungs"
    )]
    pub fn open(&self, rung: usize, device: &Device) -> Result<RungCodec, BankError> {
        let found = self.rungs.get(rung).ok_or(BankError::NoRung {
            found: rung,
            rungs: self.rungs.len(),
        })?;
        let name = || found.name.clone();
        let config = |source| BankError::Config {
            rung: name(),
            source,
        };
        let unit = opened(&found.name, &found.config, &found.weights, device)?;
        let quantizer = found.config.quantizer().map_err(config)?;
        let shape = found.config.latent_shape().map_err(config)?;
        let index = u16::try_from(rung).expect("a bank has at most 65,536 rungs");
        let codec = Codec::new(quantizer, found.tables.clone(), shape, index, self.id()).map_err(
            |source| BankError::Table {
                rung: name(),
                source,
            },
        )?;
        let segments = found.config.segments();
        let bundle = if segments.len() > 1 {
            Some(
                in_segments(&codec, &segments).map_err(|source| BankError::Segments {
                    rung: name(),
                    source,
                })?,
            )
        } else {
            None
        };
        Ok(RungCodec {
            bundle,
            encoder_parameters: parameter_count(&unit.encoder),
            decoder_parameters: parameter_count(&unit.decoder),
            encoder: unit.encoder,
            decoder: unit.decoder,
            codec,
            input: found.config.encoder_input(),
            takes_pictures: found.config.takes_pictures(),
            device: device.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use split_tensor::FreqTable;

    use super::*;
    use crate::state::HostTensor;
    use crate::unit::ActivationShape;

    #[test]
    fn rungs_that_share_tensors_have_a_bound_in_memory() {
        let shape = ActivationShape {
            channels: 2,
            height: 4,
            width: 4,
        };
        let tensor = |value: f32, count: usize| HostTensor {
            shape: vec![count],
            values: vec![value; count],
        };
        let rung = |own: f32| Rung {
            name: format!("r{own}"),
            kind: "unit".to_owned(),
            config: UnitConfig::conv(shape, 2, 2, 0.5),
            weights: [
                ("own".to_owned(), tensor(own, 10)),
                ("shared".to_owned(), tensor(1.0, 90)),
            ]
            .into(),
            tables: TableSet::shared(FreqTable::from_counts(0, &[1, 1]).unwrap()),
            lambda: 0.0,
            steps: 0,
            measured: None,
        };
        let note = BackboneNote {
            name: "n".to_owned(),
            split: "s".to_owned(),
            weights_sha256: "00".to_owned(),
        };
        let bank = Bank::new(note, [0.0, 1.0, 2.0, 3.0].map(rung).to_vec()).unwrap();
        let bytes = bank.to_bytes().unwrap();
        // Three rungs bring ten values each of their own, but all hold a hundred.
        let read = Bank::within(430, &bytes).unwrap();
        for (one, other) in read.rungs().iter().zip(bank.rungs()) {
            assert_eq!(one.weights, other.weights);
        }
        let refused = Bank::within(429, &bytes).unwrap_err();
        assert!(
            matches!(refused, BankError::TooLarge { allowed: 429, .. }),
            "{refused}"
        );
    }
}
