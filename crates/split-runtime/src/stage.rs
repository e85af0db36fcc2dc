//! Banks and backbones behind the protocol: what a device computes before a frame is sent, and an
//! edge after it came.
//!
//! ```text
//! input -> DeviceStage::activation -> DeviceStage::frame ==> EdgeStage::decode -> EdgeStage::run -> Ranking
//! ```

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use split_bottleneck::{Bank, BankError, CodingError, Head, RungCodec, Tail};
use split_tensor::{Codec, Latent};

use crate::proto::Contract;
use crate::ranking::Ranking;
use crate::serving::JobError;

/// What both ends of a bank have to agree on.
///
/// # Errors
/// [`StageError::Rungs`] for a bank without rungs or with more than a contract can name.
pub fn contract_of(bank: &Bank) -> Result<Contract, StageError> {
    let found = bank.rungs().len();
    let rungs = u16::try_from(found).ok().filter(|&rungs| rungs > 0);
    let digests = bank.digests();
    Ok(Contract {
        backbone: digests.backbone,
        split: bank.backbone().split.clone(),
        unit: digests.unit,
        tables: digests.tables,
        bank: bank.id(),
        rungs: rungs.ok_or(StageError::Rungs { found })?,
    })
}

/// Why a bank can't be put to work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// No rungs, or too many.
    #[error("the bank has {found} rungs, a contract names 1 to 65535")]
    Rungs {
        /// How many there are.
        found: usize,
    },
    /// A rung can't be opened.
    #[error(transparent)]
    Bank(#[from] BankError),
}

/// The device's side: a head and the unit encoders of a bank.
#[derive(Debug)]
pub struct DeviceStage<H> {
    head: H,
    codecs: Vec<RungCodec>,
}

impl<H: Head> DeviceStage<H> {
    /// Puts all rungs of a bank behind a head.
    ///
    /// # Errors
    /// [`StageError`] where a rung can't be opened.
    pub fn open(bank: &Bank, head: H, compute: &Device) -> Result<Self, StageError> {
        let codecs = open_all(bank, compute)?;
        Ok(Self { head, codecs })
    }

    /// The activation at the split point.
    ///
    /// # Shapes
    ///
    /// - `input`: `[n, 3, height, width]`
    /// - output: `[n, channels, height', width']`
    pub fn activation(&self, input: Tensor<4>) -> Tensor<4> {
        self.head.forward(input)
    }

    /// The frame of one picture's activation `[1, channels, height, width]`.
    ///
    /// # Errors
    /// [`CodingError`] where the activation has another shape than the unit or can't be coded.
    ///
    /// # Panics
    /// If the bank has no such rung; the contract says how many there are. If it is not one picture.
    pub fn frame(&self, rung: u16, activation: Tensor<4>) -> Result<Vec<u8>, CodingError> {
        assert_eq!(activation.dims()[0], 1, "a frame is of one picture");
        let frames = self.codecs[usize::from(rung)].encode(activation)?;
        Ok(frames.into_iter().next().unwrap_or_default())
    }
}

/// Frames that a thread decodes at least: handing work over takes as long as one or two of them.
const FRAMES_A_TASK: usize = 4;

/// The edge's side: the unit decoders of a bank and a tail.
#[derive(Debug)]
pub struct EdgeStage<T> {
    codecs: Vec<RungCodec>,
    tail: T,
    ranked: usize,
    compute: Device,
}

/// The latent of a frame and the rung that it is of.
#[derive(Debug)]
pub struct DecodedFrame {
    rung: usize,
    latent: Latent,
}

impl<T: Tail<Output = Tensor<2>>> EdgeStage<T> {
    /// Puts a tail behind all rungs of a bank; answers name the `ranked` best classes.
    ///
    /// # Errors
    /// [`StageError`] where a rung can't be opened.
    pub fn open(bank: &Bank, tail: T, ranked: usize, compute: &Device) -> Result<Self, StageError> {
        let codecs = open_all(bank, compute)?;
        Ok(Self {
            codecs,
            tail,
            ranked,
            compute: compute.clone(),
        })
    }

    /// Decodes a frame down to its latent: integers, no network.
    ///
    /// # Errors
    /// [`JobError::BadFrame`] for a rung that isn't there and for a frame of something else.
    pub fn decode(&self, rung: u16, frame: &[u8]) -> Result<DecodedFrame, JobError> {
        decoded(&self.coders(), rung, frame)
    }

    /// Decodes frames, each of its rung, on the threads of rayon's pool; results in their order.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), for each frame by itself.
    pub fn decode_all(&self, frames: &[(u16, &[u8])]) -> Vec<Result<DecodedFrame, JobError>> {
        let coders = self.coders();
        let one = |(rung, frame): &(u16, &[u8])| decoded(&coders, *rung, frame);
        let side_by_side = frames.par_iter().with_min_len(FRAMES_A_TASK);
        side_by_side.map(one).collect()
    }

    fn coders(&self) -> Vec<&Codec> {
        self.codecs.iter().map(RungCodec::codec).collect()
    }

    /// Unit decoders and tail for a batch, whose rungs may mix; one ranking each, in order.
    pub fn run(&self, batch: Vec<DecodedFrame>) -> Vec<Ranking> {
        if batch.is_empty() {
            return Vec::new();
        }
        let mut of_rungs: BTreeMap<usize, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
        for (place, frame) in batch.into_iter().enumerate() {
            let (places, values) = of_rungs.entry(frame.rung).or_default();
            places.push(place);
            values.extend_from_slice(frame.latent.values());
        }
        let mut order = Vec::new();
        let mut activations = Vec::with_capacity(of_rungs.len());
        for (rung, (places, values)) in of_rungs {
            let codec = &self.codecs[rung];
            let shape = codec.codec().shape();
            let sides = [
                places.len(),
                shape.channels(),
                shape.height(),
                shape.width(),
            ];
            let latents = Tensor::from_data(TensorData::new(values, sides), &self.compute);
            order.extend(places);
            activations.push(codec.restore(latents));
        }
        let scores = self.tail.forward(Tensor::cat(activations, 0));
        // The tail took them by rung; answers go back in the order of the frames.
        let mut answers: Vec<_> = order.into_iter().zip(rank(scores, self.ranked)).collect();
        answers.sort_by_key(|(place, _)| *place);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }
}

/// The latent of a frame of one of these rungs.
fn decoded(coders: &[&Codec], rung: u16, frame: &[u8]) -> Result<DecodedFrame, JobError> {
    let index = usize::from(rung);
    let coder = coders.get(index).ok_or_else(|| {
        let rungs = coders.len();
        JobError::BadFrame(format!("rung {rung}, the bank has {rungs}"))
    })?;
    let latent = coder.decode(frame);
    let latent = latent.map_err(|error| JobError::BadFrame(error.to_string()))?;
    Ok(DecodedFrame {
        rung: index,
        latent,
    })
}

/// The `count` best classes of each row of scores `[n, classes]`.
#[must_use]
pub fn rank(scores: Tensor<2>, count: usize) -> Vec<Ranking> {
    let [_, classes] = scores.dims();
    let values: Vec<f32> = scores.into_data().iter::<f32>().collect();
    let ranked = values
        .chunks_exact(classes.max(1))
        .map(|row| Ranking::of_scores(row, count));
    ranked.collect()
}

fn open_all(bank: &Bank, compute: &Device) -> Result<Vec<RungCodec>, StageError> {
    let rungs = 0..bank.rungs().len();
    let codecs = rungs.map(|rung| bank.open(rung, compute));
    Ok(codecs.collect::<Result<_, _>>()?)
}
