use burn::tensor::{Device, Tensor, TensorData};
use split_tensor::{
    Codec, EncodeError, Frame, FrameHeader, Huffman, HuffmanError, Latent, LatentShape, ShapeError,
    Symbols,
};
use thiserror::Error;

use crate::bank::{CodingError, RungCodec};
use crate::cache::ActivationCache;
use crate::evaluate::{Evaluation, Tally};
use crate::split::Tail;

/// Pictures in work at once.
const CHUNK: usize = 64;

/// Why a rival cannot be measured.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RivalError {
    /// The activation or a frame cannot be coded.
    #[error(transparent)]
    Coding(#[from] CodingError),
    /// The Huffman code cannot be built or used.
    #[error(transparent)]
    Huffman(#[from] HuffmanError),
}

/// The paper's coder on the symbols of a trained unit: one canonical Huffman code for all
/// channels, counted on training pictures, with an end mark.
#[derive(Debug, Clone)]
pub struct HuffmanRival {
    huffman: Huffman,
    min: i32,
    max: i32,
}

impl HuffmanRival {
    /// Counts the symbols of up to `limit` cached training pictures.
    ///
    /// Every symbol between the smallest and the largest seen counts at least once: the
    /// published tables have holes there, and a symbol in a hole could not be sent at all.
    ///
    /// # Errors
    ///
    /// When the symbols cannot be had or their alphabet is too large.
    #[expect(clippy::missing_panics_doc, reason = "no symbol is below the smallest")]
    pub fn fit(
        rung: &RungCodec,
        cache: &ActivationCache,
        limit: usize,
        device: &Device,
    ) -> Result<Self, RivalError> {
        let indices = cache.spread(limit);
        let mut all = Vec::new();
        for chunk in indices.chunks(CHUNK) {
            for symbols in rung.symbols(rung.input(cache.batch(chunk, device)))? {
                all.extend_from_slice(symbols.values());
            }
        }
        let min = all.iter().copied().min().unwrap_or(0);
        let max = all.iter().copied().max().unwrap_or(0);
        let index = |symbol: i32| usize::try_from(symbol - min).expect("min is the smallest");
        // A code takes 4,095 symbols; the table of a wider alphabet is refused below.
        let mut counts = vec![1_u64; index(max) + 1];
        for symbol in all {
            counts[index(symbol)] += 1;
        }
        let huffman = Huffman::from_counts(min, &counts)?;
        Ok(Self { huffman, min, max })
    }

    /// The closed loop with this coder: the frame around the code words is our own, with header
    /// and checksum. Symbols beyond the code saturate, and the edge sees them so.
    ///
    /// # Errors
    ///
    /// When a picture cannot be coded or its frame not decoded.
    pub fn evaluate(
        &self,
        rung: &RungCodec,
        tail: &impl Tail<Output = Tensor<2>>,
        cache: &ActivationCache,
        device: &Device,
    ) -> Result<Evaluation, RivalError> {
        let codec = rung.codec();
        let header = FrameHeader {
            rung: codec.rung(),
            bank: codec.bank(),
            shape: None,
            checksum: true,
        };
        let shape = codec.shape();
        let indices: Vec<usize> = (0..cache.len()).collect();
        // Code words end in a whole byte: half a byte is lost on average.
        let mut tally = Tally::new(cache, 3.5);
        for chunk in indices.chunks(CHUNK) {
            let symbols = rung.symbols(rung.input(cache.batch(chunk, device)))?;
            let mut values = Vec::with_capacity(chunk.len() * shape.len());
            for one in &symbols {
                let frame = self.frame(one, header)?;
                let (parsed, _) = Frame::parse(&frame).map_err(CodingError::from)?;
                let received = self.huffman.decode(&parsed.payload()[1..], shape.len())?;
                let received = Symbols::new(shape, received).map_err(CodingError::from)?;
                let latent = codec.quantizer().dequantize(&received);
                values.extend(latent.map_err(refused)?.into_values());
                tally.add_frame(frame.len(), parsed.payload_bytes(), self.bits(&received));
            }
            let restored = rung.restore(batch(values, shape, chunk.len(), device));
            tally.add_logits(tail.forward(restored), chunk);
        }
        Ok(tally.finish())
    }

    fn frame(&self, symbols: &Symbols, header: FrameHeader) -> Result<Vec<u8>, RivalError> {
        let known: Vec<i32> = symbols
            .values()
            .iter()
            .map(|symbol| *symbol.clamp(&self.min, &self.max))
            .collect();
        // A payload begins with a descriptor, which a frame keeps in its first byte.
        let mut payload = vec![0];
        payload.extend(self.huffman.encode(&known)?);
        let frame = Frame::new(header, payload).map_err(CodingError::from)?;
        Ok(frame.to_bytes())
    }

    fn bits(&self, symbols: &Symbols) -> f64 {
        let words = symbols.values().iter();
        let bits: u32 = words.filter_map(|s| self.huffman.length_of(*s)).sum();
        f64::from(bits + self.huffman.end_mark_length())
    }
}

/// The closed loop without a unit: the activation itself is quantized, coded and sent.
///
/// # Errors
///
/// When the codec is for another shape than the activations, or a picture cannot be coded.
pub fn evaluate_without_unit(
    codec: &Codec,
    tail: &impl Tail<Output = Tensor<2>>,
    cache: &ActivationCache,
    device: &Device,
) -> Result<Evaluation, CodingError> {
    let shape = codec.shape();
    let mut tally = Tally::new(cache, codec.tables().flush_bits(shape));
    let indices: Vec<usize> = (0..cache.len()).collect();
    for chunk in indices.chunks(CHUNK) {
        let mut values = Vec::with_capacity(chunk.len() * shape.len());
        for index in chunk {
            let latent = Latent::new(shape, cache.activation(*index).to_vec())?;
            let symbols = codec.quantizer().quantize(&latent).map_err(refused)?;
            let frame = codec.encode_symbols(&symbols)?;
            let (parsed, _) = Frame::parse(&frame)?;
            let bits = codec.tables().code_length_bits(&symbols);
            tally.add_frame(frame.len(), parsed.payload_bytes(), bits);
            values.extend(codec.decode(&frame)?.into_values());
        }
        let restored = batch(values, shape, chunk.len(), device);
        tally.add_logits(tail.forward(restored), chunk);
    }
    Ok(tally.finish())
}

/// The shape of a cache's activations, where the activation itself is sent.
///
/// # Errors
///
/// When an activation is larger than a frame may hold.
pub fn activation_latent_shape(cache: &ActivationCache) -> Result<LatentShape, ShapeError> {
    let shape = cache.shape();
    LatentShape::new(shape.channels, shape.height, shape.width)
}

fn refused(fault: split_tensor::QuantizeError) -> CodingError {
    CodingError::Encode(EncodeError::from(fault))
}

fn batch(values: Vec<f32>, shape: LatentShape, count: usize, device: &Device) -> Tensor<4> {
    let sides = [count, shape.channels(), shape.height(), shape.width()];
    Tensor::from_data(TensorData::new(values, sides), device)
}
