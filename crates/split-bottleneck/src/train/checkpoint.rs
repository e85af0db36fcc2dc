use std::collections::BTreeMap;

use burn::optim::ModuleOptimizer;
use burn::tensor::{Bytes, Device};
use rand_core::SeedableRng;
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{TrainConfig, TrainError, Training, WarmStart};
use crate::cache::ActivationCache;
use crate::state::{load_state, module_ids, with_ids};
use crate::store::{Archive, ArchiveError};
use crate::unit::UnitConfig;

const SCHEMA: &str = "split-checkpoint/2";
/// Name of the running mean of the weights, where there is one.
const AVERAGED: &str = "averaged";

/// Why a checkpoint cannot be read or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The bytes are no checkpoint.
    #[error("not a checkpoint: {0}")]
    Archive(#[from] ArchiveError),
    /// The checkpoint belongs to another run.
    #[error(
        "the checkpoint was written by a run with another {what}; \
         repeat that run's options or start afresh in another folder"
    )]
    OtherRun {
        /// What differs.
        what: &'static str,
    },
    /// The optimizer state is damaged.
    #[error("the optimizer state of the checkpoint is damaged: {message}")]
    Optimizer {
        /// What the reader said.
        message: String,
    },
    /// The weights are no numbers any more.
    #[error("{path} is no number at step {step}; start again with a lower learning rate")]
    NotFinite {
        /// The tensor.
        path: String,
        /// Steps done.
        step: usize,
    },
    /// The run cannot start.
    #[error(transparent)]
    Train(#[from] TrainError),
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    unit_config: UnitConfig,
    config: TrainConfig,
    step: usize,
    log_lambda: f64,
    mean_bits: f64,
    coded_share: f64,
    unit_ids: BTreeMap<String, u64>,
    rate_ids: BTreeMap<String, u64>,
}

impl Training {
    /// Everything a later process needs to go on to the same result.
    ///
    /// # Errors
    ///
    /// When the optimizer state cannot be written, or a weight is no number: a rectifier can hide
    /// that from the loss.
    pub fn to_checkpoint(&self) -> Result<Vec<u8>, CheckpointError> {
        let manifest = Manifest {
            unit_config: self.unit_config.clone(),
            config: self.config.clone(),
            step: self.step,
            log_lambda: self.log_lambda,
            mean_bits: self.mean_bits,
            coded_share: self.coded_share,
            unit_ids: module_ids(&self.unit),
            rate_ids: module_ids(&self.rate),
        };
        let mut archive = Archive::new(SCHEMA, &manifest)?;
        let (unit, rate) = (self.last_weights(), self.weights().rate);
        for (path, tensor) in unit.iter().chain(&rate) {
            if !tensor.values.iter().all(|value| value.is_finite()) {
                return Err(CheckpointError::NotFinite {
                    path: path.clone(),
                    step: self.step,
                });
            }
        }
        archive.insert_state("unit", &unit);
        archive.insert_state("rate", &rate);
        if let Some(averaged) = &self.averaged {
            archive.insert_state(AVERAGED, averaged);
        }
        for (name, optimizer) in [
            ("unit_optimizer", &self.unit_optimizer),
            ("rate_optimizer", &self.rate_optimizer),
        ] {
            let bytes = optimizer.into_bytes().map_err(damaged)?;
            archive.insert_bytes(name, bytes.to_vec());
        }
        Ok(archive.to_bytes()?)
    }

    /// What a checkpoint offers another run as its start.
    ///
    /// # Errors
    ///
    /// When the bytes are damaged.
    pub fn warm_start(checkpoint: &[u8]) -> Result<WarmStart, CheckpointError> {
        let archive = Archive::from_bytes(SCHEMA, checkpoint)?;
        let manifest: Manifest = archive.manifest()?;
        let averaged = archive.state(AVERAGED);
        Ok(WarmStart {
            unit: match averaged.is_empty() {
                true => archive.state("unit"),
                false => averaged,
            },
            rate: archive.state("rate"),
            lambda: manifest.log_lambda.exp(),
            coded_share: manifest.coded_share,
        })
    }

    /// Goes on from a checkpoint of the same configuration.
    ///
    /// # Errors
    ///
    /// When the bytes are damaged, or another configuration wrote them.
    pub fn resume(
        checkpoint: &[u8],
        unit_config: &UnitConfig,
        config: &TrainConfig,
        cache: &ActivationCache,
        device: &Device,
    ) -> Result<Self, CheckpointError> {
        let archive = Archive::from_bytes(SCHEMA, checkpoint)?;
        let manifest: Manifest = archive.manifest()?;
        if manifest.unit_config != *unit_config {
            return Err(CheckpointError::OtherRun { what: "unit" });
        }
        if manifest.config != *config {
            return Err(CheckpointError::OtherRun {
                what: "training configuration",
            });
        }
        let mut training = Self::start(unit_config, config, None, cache, device)?;
        let state = |name| archive.state(name);
        training.unit = load_state(training.unit, &state("unit")).map_err(TrainError::from)?;
        training.rate = load_state(training.rate, &state("rate")).map_err(TrainError::from)?;
        training.unit = with_ids(training.unit, &manifest.unit_ids);
        training.rate = with_ids(training.rate, &manifest.rate_ids);
        let averaged = state(AVERAGED);
        if !averaged.is_empty() {
            // Damage shows here, not at the next step.
            let fresh = unit_config.init(device, &mut Pcg64::seed_from_u64(config.seed));
            load_state(fresh.map_err(TrainError::from)?, &averaged).map_err(TrainError::from)?;
            training.averaged = Some(averaged);
        }
        let optimizer = |name, fresh: ModuleOptimizer| {
            let bytes = archive.bytes(name)?.to_vec();
            fresh
                .from_bytes(Bytes::from_bytes_vec(bytes))
                .map_err(damaged)
        };
        training.unit_optimizer = optimizer("unit_optimizer", super::unit_adam(config))?;
        training.rate_optimizer = optimizer("rate_optimizer", super::adam())?;
        training.step = manifest.step;
        training.log_lambda = manifest.log_lambda;
        training.mean_bits = manifest.mean_bits;
        training.coded_share = manifest.coded_share;
        Ok(training)
    }
}

fn damaged(error: impl core::fmt::Display) -> CheckpointError {
    CheckpointError::Optimizer {
        message: error.to_string(),
    }
}
