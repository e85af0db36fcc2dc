use burn::tensor::{Device, Tensor};

use split_tensor::{FrameRef, Symbols};

use crate::bank::{CodingError, RungCodec};
use crate::cache::{ActivationCache, argmax, floats};
use crate::split::Tail;
use crate::state::usize_to_f32;

/// Pictures in work at once.
const CHUNK: usize = 64;

/// What real frames of a rung cost and what the tail made of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Length of each picture's frame, header included.
    pub frame_bytes: Vec<usize>,
    /// Length of each picture's payload.
    pub payload_bytes: Vec<usize>,
    /// Cross-entropy of each picture's symbols under the integer tables, in bits.
    pub estimated_bits: Vec<f64>,
    /// Bits that ending the coder costs a picture on average, as the coder states them.
    pub flush_bits: f64,
    /// Class given to each picture after decoding its frame.
    pub predictions: Vec<i32>,
    /// Logits of each picture, one row a picture.
    pub logits: Vec<Vec<f32>>,
    /// Pictures whose class was right.
    pub correct: usize,
}

impl Evaluation {
    /// Mean bytes of a whole frame.
    #[must_use]
    pub fn mean_bytes(&self) -> f64 {
        mean(&self.frame_bytes)
    }

    /// Bytes that 95 of 100 whole frames stay within: the shortest length of which that is true; 0 of none.
    #[must_use]
    pub fn p95_bytes(&self) -> f64 {
        let mut all = self.frame_bytes.clone();
        all.sort_unstable();
        let within = (all.len() * 95).div_ceil(100);
        let found = within.checked_sub(1).map_or(0, |place| all[place]);
        f64::from(usize_to_f32(found))
    }

    /// Mean bytes of a payload.
    #[must_use]
    pub fn mean_payload_bytes(&self) -> f64 {
        mean(&self.payload_bytes)
    }

    /// Mean estimated bytes of a payload, without flush.
    #[must_use]
    pub fn mean_estimated_bytes(&self) -> f64 {
        let count = f64::from(usize_to_f32(self.estimated_bits.len().max(1)));
        self.estimated_bits.iter().sum::<f64>() / 8.0 / count
    }

    /// Top-1 in per cent.
    #[must_use]
    pub fn top1(&self) -> f64 {
        let count = f64::from(usize_to_f32(self.predictions.len().max(1)));
        100.0 * f64::from(usize_to_f32(self.correct)) / count
    }
}

/// The closed loop over all cached pictures: unit encoder, quantizer, coder, frame; then from
/// those bytes alone decoder, unit decoder, tail.
///
/// # Errors
///
/// When a picture cannot be coded or its frame not decoded.
pub fn evaluate(
    rung: &RungCodec,
    tail: &impl Tail<Output = Tensor<2>>,
    cache: &ActivationCache,
    device: &Device,
) -> Result<Evaluation, CodingError> {
    let symbols = |chunk: &[usize]| rung.symbols(rung.input(cache.batch(chunk, device)));
    evaluate_symbols(rung, symbols, tail, cache)
}

/// The same with symbols that another encoder gives for the pictures of these indices, such as
/// [`IntegerEncoder`](crate::IntegerEncoder).
///
/// # Errors
///
/// As [`evaluate`], and where `symbols` fails.
pub fn evaluate_symbols(
    rung: &RungCodec,
    mut symbols: impl FnMut(&[usize]) -> Result<Vec<Symbols>, CodingError>,
    tail: &impl Tail<Output = Tensor<2>>,
    cache: &ActivationCache,
) -> Result<Evaluation, CodingError> {
    let codec = rung.codec();
    let mut tally = Tally::new(cache, codec.tables().flush_bits(codec.shape()));
    let indices: Vec<usize> = (0..cache.len()).collect();
    for chunk in indices.chunks(CHUNK) {
        let symbols = symbols(chunk)?;
        let mut frames = Vec::with_capacity(symbols.len());
        for one in &symbols {
            let frame = rung.encode_symbols(one)?;
            let bits = rung.code_length_bits(one)?;
            let (parsed, _) = FrameRef::parse(&frame)?;
            tally.add_frame(frame.len(), parsed.payload_bytes(), bits);
            frames.push(frame);
        }
        tally.add_logits(tail.forward(rung.decode(&frames)?), chunk);
    }
    Ok(tally.finish())
}

/// An evaluation in the making.
pub(crate) struct Tally<'a> {
    evaluation: Evaluation,
    labels: &'a [i32],
}

impl<'a> Tally<'a> {
    pub(crate) fn new(cache: &'a ActivationCache, flush_bits: f64) -> Self {
        let count = cache.len();
        Self {
            evaluation: Evaluation {
                frame_bytes: Vec::with_capacity(count),
                payload_bytes: Vec::with_capacity(count),
                estimated_bits: Vec::with_capacity(count),
                flush_bits,
                predictions: Vec::with_capacity(count),
                logits: Vec::with_capacity(count),
                correct: 0,
            },
            labels: cache.labels(),
        }
    }

    pub(crate) fn add_frame(&mut self, frame: usize, payload: usize, estimated_bits: f64) {
        self.evaluation.frame_bytes.push(frame);
        self.evaluation.payload_bytes.push(payload);
        self.evaluation.estimated_bits.push(estimated_bits);
    }

    /// What the tail made of the frames of `pictures`.
    pub(crate) fn add_logits(&mut self, logits: Tensor<2>, pictures: &[usize]) {
        let classes = logits.dims()[1];
        for (row, index) in floats(logits).chunks_exact(classes.max(1)).zip(pictures) {
            let class = argmax(row);
            self.evaluation.correct += usize::from(class == self.labels[*index]);
            self.evaluation.predictions.push(class);
            self.evaluation.logits.push(row.to_vec());
        }
    }

    pub(crate) fn finish(self) -> Evaluation {
        self.evaluation
    }
}

fn mean(counts: &[usize]) -> f64 {
    let sum: f64 = counts
        .iter()
        .map(|count| f64::from(usize_to_f32(*count)))
        .sum();
    sum / f64::from(usize_to_f32(counts.len().max(1)))
}
