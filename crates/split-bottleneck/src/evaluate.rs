use burn::tensor::{Device, Tensor};

use split_tensor::Frame;

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
    let mut evaluation = Evaluation {
        frame_bytes: Vec::with_capacity(cache.len()),
        payload_bytes: Vec::with_capacity(cache.len()),
        estimated_bits: Vec::with_capacity(cache.len()),
        flush_bits: rung.codec().tables().flush_bits(rung.codec().shape()),
        predictions: Vec::with_capacity(cache.len()),
        logits: Vec::with_capacity(cache.len()),
        correct: 0,
    };
    let indices: Vec<usize> = (0..cache.len()).collect();
    for chunk in indices.chunks(CHUNK) {
        let activation = cache.batch(chunk, device).activation;
        let symbols = rung.symbols(activation)?;
        let mut frames = Vec::with_capacity(symbols.len());
        for one in &symbols {
            let frame = rung.codec().encode_symbols(one)?;
            evaluation.frame_bytes.push(frame.len());
            let (parsed, _) = Frame::parse(&frame)?;
            evaluation.payload_bytes.push(parsed.payload_bytes());
            evaluation
                .estimated_bits
                .push(rung.codec().tables().code_length_bits(one));
            frames.push(frame);
        }
        let logits = tail.forward(rung.decode(&frames)?);
        let classes = logits.dims()[1];
        for (row, index) in floats(logits).chunks_exact(classes.max(1)).zip(chunk) {
            let class = argmax(row);
            evaluation.correct += usize::from(class == cache.labels()[*index]);
            evaluation.predictions.push(class);
            evaluation.logits.push(row.to_vec());
        }
    }
    Ok(evaluation)
}

fn mean(counts: &[usize]) -> f64 {
    let sum: f64 = counts
        .iter()
        .map(|count| f64::from(usize_to_f32(*count)))
        .sum();
    sum / f64::from(usize_to_f32(counts.len().max(1)))
}
