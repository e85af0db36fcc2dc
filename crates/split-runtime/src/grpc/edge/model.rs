use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::serving::{Batch, BatchKey, Job, JobError, JobId};

/// What an edge computes: decoding a frame, and the tail for a batch of them.
///
/// It lives on one thread and is called for one batch at a time. A panic fails the frames it
/// happened with, not the edge: the model is called again afterwards.
pub trait EdgeModel: Send + 'static {
    /// A decoded frame.
    type Input: Send;

    /// Decodes one frame. The text of an error goes to the device.
    ///
    /// # Errors
    /// [`JobError`] where the frame can't be decoded.
    fn decode(&mut self, job: &Job) -> Result<Self::Input, JobError>;

    /// Decodes the frames of a batch, one result for each and in their order: one after the other, unless a
    /// model does it side by side.
    fn decode_all(&mut self, jobs: &[&Job]) -> Vec<Result<Self::Input, JobError>> {
        jobs.iter().map(|job| self.decode(job)).collect()
    }

    /// Computes the answers of a batch, one for each input and in their order.
    fn run(&mut self, key: &BatchKey, inputs: Vec<Self::Input>) -> Vec<Result<Vec<u8>, JobError>>;

    /// Called once before the edge is ready; a first run through all code and memory fits here.
    fn warm_up(&mut self) {}
}

/// A model from a function over the bodies of a batch, for tails that decode by themselves.
pub fn model_fn<F>(run: F) -> impl EdgeModel
where
    F: FnMut(Vec<Vec<u8>>) -> Vec<Result<Vec<u8>, JobError>> + Send + 'static,
{
    FnModel(run)
}

struct FnModel<F>(F);

impl<F> EdgeModel for FnModel<F>
where
    F: FnMut(Vec<Vec<u8>>) -> Vec<Result<Vec<u8>, JobError>> + Send + 'static,
{
    type Input = Vec<u8>;

    fn decode(&mut self, job: &Job) -> Result<Vec<u8>, JobError> {
        Ok(job.body.clone())
    }

    fn run(&mut self, _: &BatchKey, inputs: Vec<Vec<u8>>) -> Vec<Result<Vec<u8>, JobError>> {
        (self.0)(inputs)
    }
}

/// A model whose type of input is hidden, and what it decoded of the running batch.
pub(crate) trait Runner: Send {
    fn warm_up(&mut self);
    fn decode(&mut self, batch: &Batch);
    /// One result for each member; members that were dropped since `decode` are forgotten.
    fn run(&mut self, batch: &Batch) -> Vec<Result<Vec<u8>, JobError>>;
    /// Panics of the model so far.
    fn panics(&self) -> u64;
}

pub(crate) struct Staged<M: EdgeModel> {
    model: M,
    decoded: BTreeMap<JobId, Result<M::Input, JobError>>,
    panics: u64,
}

impl<M: EdgeModel> Staged<M> {
    pub(crate) const fn new(model: M) -> Self {
        Self {
            model,
            decoded: BTreeMap::new(),
            panics: 0,
        }
    }

    fn decode_one(&mut self, job: &Job) -> Result<M::Input, JobError> {
        let model = &mut self.model;
        let decoded = catch_unwind(AssertUnwindSafe(|| model.decode(job)));
        decoded.unwrap_or_else(|_| {
            self.panics += 1;
            Err(JobError::Failed)
        })
    }

    /// `None` if the model panicked or gave another number of answers.
    fn run_all(
        &mut self,
        key: &BatchKey,
        inputs: Vec<M::Input>,
    ) -> Option<Vec<Result<Vec<u8>, JobError>>> {
        let count = inputs.len();
        let model = &mut self.model;
        let answers = catch_unwind(AssertUnwindSafe(|| model.run(key, inputs)));
        let answers = answers.ok().filter(|answers| answers.len() == count);
        if answers.is_none() {
            self.panics += 1;
        }
        answers
    }

    /// After a panic each member runs alone: a frame that breaks the tail takes no other with it.
    fn run_one_by_one(&mut self, batch: &Batch, runs: &[bool]) -> Vec<Result<Vec<u8>, JobError>> {
        let members = batch.members.iter().zip(runs).filter(|(_, runs)| **runs);
        let jobs: Vec<&Job> = members.map(|(member, _)| &member.job).collect();
        jobs.into_iter()
            .map(|job| {
                let input = self.decode_one(job)?;
                let answers = self.run_all(&batch.key, vec![input]);
                answers
                    .and_then(|mut answers| answers.pop())
                    .unwrap_or(Err(JobError::Failed))
            })
            .collect()
    }
}

impl<M: EdgeModel> Runner for Staged<M> {
    fn warm_up(&mut self) {
        self.model.warm_up();
    }

    fn decode(&mut self, batch: &Batch) {
        let jobs: Vec<&Job> = batch.members.iter().map(|member| &member.job).collect();
        let model = &mut self.model;
        let all = catch_unwind(AssertUnwindSafe(|| model.decode_all(&jobs)));
        let all = match all {
            Ok(all) if all.len() == jobs.len() => all,
            // A frame that breaks the decoder takes no other with it.
            _ => jobs.iter().map(|job| self.decode_one(job)).collect(),
        };
        self.decoded = jobs.iter().map(|job| job.id).zip(all).collect();
    }

    fn run(&mut self, batch: &Batch) -> Vec<Result<Vec<u8>, JobError>> {
        let mut inputs = Vec::with_capacity(batch.members.len());
        let mut errors = Vec::with_capacity(batch.members.len());
        for member in &batch.members {
            match self.decoded.remove(&member.job.id) {
                Some(Ok(input)) => {
                    inputs.push(input);
                    errors.push(None);
                }
                Some(Err(error)) => errors.push(Some(error)),
                None => errors.push(Some(JobError::Failed)),
            }
        }
        let runs: Vec<bool> = errors.iter().map(Option::is_none).collect();
        let answers = if inputs.is_empty() {
            Vec::new()
        } else if inputs.len() == 1 {
            self.run_all(&batch.key, inputs)
                .unwrap_or_else(|| vec![Err(JobError::Failed)])
        } else {
            match self.run_all(&batch.key, inputs) {
                Some(answers) => answers,
                None => self.run_one_by_one(batch, &runs),
            }
        };
        let mut answers = answers.into_iter();
        errors
            .into_iter()
            .map(|error| match error {
                Some(error) => Err(error),
                None => answers.next().unwrap_or(Err(JobError::Failed)),
            })
            .collect()
    }

    fn panics(&self) -> u64 {
        self.panics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::BatchMember;
    use crate::time::Time;

    fn batch(bodies: &[&[u8]]) -> Batch {
        let key = BatchKey {
            backbone: 1,
            split: 0,
            shape: [1, 1, 1],
        };
        let members = (0..).zip(bodies).map(|(seq, body)| BatchMember {
            job: Job {
                id: JobId { connection: 0, seq },
                client: 0,
                key,
                rung: 0,
                deadline: Time::MAX,
                body: body.to_vec(),
            },
            queue_us: 0,
        });
        Batch {
            key,
            members: members.collect(),
            formed: Time::ZERO,
        }
    }

    fn run(model: impl EdgeModel, bodies: &[&[u8]]) -> Vec<Result<Vec<u8>, JobError>> {
        let mut staged = Staged::new(model);
        let batch = batch(bodies);
        staged.decode(&batch);
        staged.run(&batch)
    }

    #[test]
    fn a_frame_that_breaks_the_tail_takes_no_other_with_it() {
        let model = model_fn(|bodies| {
            assert!(!bodies.contains(&vec![13]), "thirteen breaks it");
            bodies.into_iter().map(Ok).collect()
        });
        let answers = run(model, &[&[1], &[13], &[2]]);
        assert_eq!(answers, [Ok(vec![1]), Err(JobError::Failed), Ok(vec![2])]);
    }

    #[test]
    fn a_frame_that_breaks_the_decoder_takes_no_other_with_it() {
        struct Breaks {
            too_few: bool,
        }
        impl EdgeModel for Breaks {
            type Input = u8;
            fn decode(&mut self, job: &Job) -> Result<u8, JobError> {
                assert!(job.body[0] != 13, "thirteen breaks it");
                Ok(job.body[0])
            }
            fn decode_all(&mut self, jobs: &[&Job]) -> Vec<Result<u8, JobError>> {
                let jobs = if self.too_few { &jobs[1..] } else { jobs };
                jobs.iter().map(|job| self.decode(job)).collect()
            }
            fn run(&mut self, _: &BatchKey, inputs: Vec<u8>) -> Vec<Result<Vec<u8>, JobError>> {
                inputs.into_iter().map(|one| Ok(vec![one])).collect()
            }
        }
        for too_few in [false, true] {
            let answers = run(Breaks { too_few }, &[&[1], &[13], &[2]]);
            assert_eq!(answers, [Ok(vec![1]), Err(JobError::Failed), Ok(vec![2])]);
        }
    }

    #[test]
    fn a_model_that_gives_too_few_answers_fails_its_batch() {
        let answers = run(model_fn(|_| Vec::new()), &[&[1], &[2]]);
        assert_eq!(answers, [Err(JobError::Failed), Err(JobError::Failed)]);
    }

    #[test]
    fn a_frame_that_cannot_be_decoded_leaves_the_others_in_order() {
        struct Odd;
        impl EdgeModel for Odd {
            type Input = u8;
            fn decode(&mut self, job: &Job) -> Result<u8, JobError> {
                match job.body[0] {
                    odd if odd % 2 == 1 => Ok(odd),
                    even => Err(JobError::BadFrame(format!("{even} is even"))),
                }
            }
            fn run(&mut self, _: &BatchKey, inputs: Vec<u8>) -> Vec<Result<Vec<u8>, JobError>> {
                inputs.into_iter().map(|odd| Ok(vec![odd])).collect()
            }
        }
        let answers = run(Odd, &[&[1], &[4], &[3]]);
        let error = Err(JobError::BadFrame("4 is even".to_owned()));
        assert_eq!(answers, [Ok(vec![1]), error, Ok(vec![3])]);
    }
}
