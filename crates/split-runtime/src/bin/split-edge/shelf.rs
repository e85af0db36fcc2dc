//! The models in service, shared by who loads them and who runs them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use split_backbone::ResNetTail;
use split_runtime::grpc::EdgeModel;
use split_runtime::stage::{DecodedFrame, EdgeStage};
use split_runtime::{BatchKey, Job, JobError};

pub(crate) type Stage = EdgeStage<ResNetTail>;

/// A stage that threads pass on; only one of them runs it at a time.
pub(crate) type SharedStage = Arc<Mutex<Stage>>;

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
    type Input = DecodedFrame;

    fn decode(&mut self, job: &Job) -> Result<DecodedFrame, JobError> {
        let stage = self.find(&job.key).ok_or(JobError::Failed)?;
        let stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
        stage.decode(job.rung, &job.body)
    }

    fn decode_all(&mut self, jobs: &[&Job]) -> Vec<Result<DecodedFrame, JobError>> {
        // Those of a batch are all of one key.
        let stage = jobs.first().and_then(|job| self.find(&job.key));
        let Some(stage) = stage else {
            return jobs.iter().map(|_| Err(JobError::Failed)).collect();
        };
        let frames: Vec<(u16, &[u8])> = jobs.iter().map(|job| (job.rung, &job.body[..])).collect();
        let stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
        stage.decode_all(&frames)
    }

    fn run(&mut self, key: &BatchKey, inputs: Vec<DecodedFrame>) -> Vec<Result<Vec<u8>, JobError>> {
        let Some(stage) = self.find(key) else {
            return inputs.iter().map(|_| Err(JobError::Failed)).collect();
        };
        let stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
        let rankings = stage.run(inputs);
        rankings.iter().map(|one| Ok(one.to_bytes())).collect()
    }
}
