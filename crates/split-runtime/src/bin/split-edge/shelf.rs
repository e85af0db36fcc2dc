//! The models in service, shared by who loads them and who runs them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Error;
use burn::tensor::{Device, Tensor};
use split_backbone::{Framing, Preprocess, ResNet, ResNetTail};
use split_runtime::grpc::EdgeModel;
use split_runtime::stage::{DecodedFrame, EdgeStage, rank};
use split_runtime::{BatchKey, Job, JobError, Ranking};

use crate::program::{out, picture};

/// What answers the frames of a contract.
pub(crate) enum Stage {
    /// Unit decoders and a tail.
    Split(Box<EdgeStage<ResNetTail>>),
    /// The whole network, for pictures.
    Whole(Box<WholeStage>),
}

/// A network that is sent pictures.
pub(crate) struct WholeStage {
    pub(crate) network: ResNet,
    pub(crate) preprocess: Preprocess,
    pub(crate) framing: Framing,
    /// Classes of an answer.
    pub(crate) ranked: usize,
    pub(crate) compute: Device,
}

/// What a batch is made of.
pub(crate) enum Decoded {
    Frame(DecodedFrame),
    /// One picture, `[1, 3, side, side]`.
    Picture(Box<Tensor<4>>),
}

/// A stage that threads pass on; only one of them runs it at a time.
pub(crate) type SharedStage = Arc<Mutex<Stage>>;

impl Stage {
    pub(crate) fn decode_all(&self, frames: &[(u16, &[u8])]) -> Vec<Result<Decoded, JobError>> {
        match self {
            Self::Split(stage) => {
                let frames = stage.decode_all(frames).into_iter();
                frames.map(|frame| frame.map(Decoded::Frame)).collect()
            }
            Self::Whole(stage) => {
                let pictures = frames.iter().map(|(_, body)| stage.decode(body));
                pictures.collect()
            }
        }
    }

    /// Answers in the order of a batch; what was decoded for another kind of stage has none.
    pub(crate) fn run(&self, batch: Vec<Decoded>) -> Vec<Ranking> {
        match self {
            Self::Split(stage) => {
                let frames = batch.into_iter().filter_map(|one| match one {
                    Decoded::Frame(frame) => Some(frame),
                    Decoded::Picture(_) => None,
                });
                stage.run(frames.collect())
            }
            Self::Whole(stage) => {
                let inputs = batch.into_iter().filter_map(|one| match one {
                    Decoded::Picture(input) => Some(*input),
                    Decoded::Frame(_) => None,
                });
                stage.run(inputs.collect())
            }
        }
    }
}

impl WholeStage {
    fn decode(&self, body: &[u8]) -> Result<Decoded, JobError> {
        let bad = |error: Error| JobError::BadFrame(out::said(&error));
        let picture = picture::unframed(body, self.framing).map_err(bad)?;
        let input = self.preprocess.input(&picture, 0..1, &self.compute);
        Ok(Decoded::Picture(Box::new(input)))
    }

    fn run(&self, inputs: Vec<Tensor<4>>) -> Vec<Ranking> {
        if inputs.is_empty() {
            return Vec::new();
        }
        rank(self.network.forward(Tensor::cat(inputs, 0)), self.ranked)
    }
}

/// Stages by the key of their batches.
#[derive(Clone, Default)]
pub(crate) struct Shelf(Arc<Mutex<BTreeMap<BatchKey, SharedStage>>>);

impl Shelf {
    pub(crate) fn put(&self, key: BatchKey, stage: SharedStage) {
        let mut stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stages.insert(key, stage);
    }

    pub(crate) fn take_away(&self, key: &BatchKey) {
        let mut stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stages.remove(key);
    }

    fn find(&self, key: &BatchKey) -> Option<SharedStage> {
        let stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stages.get(key).cloned()
    }
}

impl EdgeModel for Shelf {
    type Input = Decoded;

    fn decode(&mut self, job: &Job) -> Result<Decoded, JobError> {
        let decoded = self.decode_all(&[job]);
        decoded.into_iter().next().unwrap_or(Err(JobError::Failed))
    }

    fn decode_all(&mut self, jobs: &[&Job]) -> Vec<Result<Decoded, JobError>> {
        // Those of a batch are all of one key.
        let stage = jobs.first().and_then(|job| self.find(&job.key));
        let Some(stage) = stage else {
            return jobs.iter().map(|_| Err(JobError::Failed)).collect();
        };
        let frames: Vec<(u16, &[u8])> = jobs.iter().map(|job| (job.rung, &job.body[..])).collect();
        let stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
        stage.decode_all(&frames)
    }

    fn run(&mut self, key: &BatchKey, inputs: Vec<Decoded>) -> Vec<Result<Vec<u8>, JobError>> {
        let Some(stage) = self.find(key) else {
            return inputs.iter().map(|_| Err(JobError::Failed)).collect();
        };
        let stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
        let rankings = stage.run(inputs);
        rankings.iter().map(|one| Ok(one.to_bytes())).collect()
    }
}
