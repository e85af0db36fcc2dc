use burn::tensor::{Device, Tensor, TensorData};
use split_tensor::{
    BundleCodec, Codec, DecodeError, EncodeError, Latent, PlanError, Symbols, TensorPlan,
};

use super::CodingError;
use crate::cache::floats;
use crate::split::Batch;
use crate::unit::{ActivationShape, UnitDecoder, UnitEncoder};

/// A rung on a compute device: activations to frames on the device side, frames to
/// activations on the edge side.
#[derive(Debug)]
pub struct RungCodec {
    pub(super) encoder: UnitEncoder,
    pub(super) decoder: UnitDecoder,
    pub(super) codec: Codec,
    /// In the place of the codec's frames where the latents of several tensors share one.
    pub(super) bundle: Option<BundleCodec>,
    /// What the unit encoder gets, and whether that is the picture.
    pub(super) input: ActivationShape,
    pub(super) takes_pictures: bool,
    pub(super) device: Device,
    /// Parameters of the unit encoder.
    pub encoder_parameters: usize,
    /// Parameters of the unit decoder.
    pub decoder_parameters: usize,
}

impl RungCodec {
    /// The integer part: quantizer, tables, frame.
    #[must_use]
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// Where several tensors cross the cut together: what writes and reads the frames, one tensor with a segment
    /// for the latent of each. `None` where a frame is that of [`codec`](Self::codec).
    #[must_use]
    pub fn bundle(&self) -> Option<&BundleCodec> {
        self.bundle.as_ref()
    }

    /// One whole frame of symbols that [`symbols`](Self::symbols) gave.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] for another shape.
    pub fn encode_symbols(&self, symbols: &Symbols) -> Result<Vec<u8>, EncodeError> {
        match &self.bundle {
            Some(bundle) => bundle.encode_symbols(std::slice::from_ref(symbols)),
            None => self.codec.encode_symbols(symbols),
        }
    }

    /// Bits that symbols take under the tables: the cross-entropy, without header and the ends of payloads.
    ///
    /// # Errors
    ///
    /// As [`encode_symbols`](Self::encode_symbols).
    pub fn code_length_bits(&self, symbols: &Symbols) -> Result<f64, EncodeError> {
        match &self.bundle {
            Some(bundle) => bundle.code_length_bits(std::slice::from_ref(symbols)),
            None => Ok(self.codec.tables().code_length_bits(symbols)),
        }
    }

    /// The symbols of one whole frame.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] for a frame that is damaged or belongs to another bank or rung.
    pub fn decode_symbols(&self, frame: &[u8]) -> Result<Symbols, DecodeError> {
        match &self.bundle {
            Some(bundle) => Ok(bundle.decode_symbols(frame)?.swap_remove(0)),
            None => self.codec.decode_symbols(frame),
        }
    }

    /// What the unit encoder gets of a batch: its activations, or its pictures
    /// ([`UnitConfig::takes_pictures`](crate::UnitConfig::takes_pictures)) where it has them.
    #[must_use]
    pub fn input(&self, batch: Batch) -> Tensor<4> {
        let pictures = batch.pictures.filter(|_| self.takes_pictures);
        pictures.unwrap_or(batch.activation)
    }

    /// What the unit encoder makes of an activation, before rounding; it stays on the device.
    ///
    /// # Shapes
    ///
    /// - `activation`: `[n, channels, height, width]`, of [`UnitConfig::encoder_input`](crate::UnitConfig::encoder_input)
    /// - output: `[n, latent channels, height', width']`
    ///
    /// # Errors
    ///
    /// When the activation has another shape.
    pub fn unit_latent(&self, activation: Tensor<4>) -> Result<Tensor<4>, CodingError> {
        let [_, channels, height, width] = activation.dims();
        let found = ActivationShape {
            channels,
            height,
            width,
        };
        if found != self.input {
            let ActivationShape {
                channels: c,
                height: h,
                width: w,
            } = self.input;
            return Err(CodingError::Activation {
                expected: [c, h, w],
                found: [channels, height, width],
            });
        }
        Ok(self.encoder.forward(activation))
    }

    /// The symbols of each picture, as the frames will carry them.
    ///
    /// # Shapes
    ///
    /// - `activation`: `[n, channels, height, width]`
    ///
    /// # Errors
    ///
    /// When the activation has another shape, or a latent is not finite.
    pub fn symbols(&self, activation: Tensor<4>) -> Result<Vec<Symbols>, CodingError> {
        let shape = self.codec.shape();
        let latent = floats(self.unit_latent(activation)?);
        latent
            .chunks_exact(shape.len())
            .map(|values| {
                let latent = Latent::new(shape, values.to_vec())?;
                Ok(self
                    .codec
                    .quantizer()
                    .quantize(&latent)
                    .map_err(EncodeError::from)?)
            })
            .collect()
    }

    /// One whole frame for each picture.
    ///
    /// # Shapes
    ///
    /// - `activation`: `[n, channels, height, width]`
    ///
    /// # Errors
    ///
    /// As [`symbols`](Self::symbols).
    pub fn encode(&self, activation: Tensor<4>) -> Result<Vec<Vec<u8>>, CodingError> {
        self.symbols(activation)?
            .iter()
            .map(|symbols| Ok(self.encode_symbols(symbols)?))
            .collect()
    }

    /// The restored activations of the pictures that the frames carry,
    /// `[n, channels, height, width]`.
    ///
    /// # Errors
    ///
    /// When a frame is damaged or belongs to another bank or rung (the message names both).
    pub fn decode<F: AsRef<[u8]>>(&self, frames: &[F]) -> Result<Tensor<4>, CodingError> {
        Ok(self.restore(self.latent(frames)?))
    }

    /// The dequantized latents that the frames carry, `[n, latent channels, height, width]`:
    /// the integer half of [`decode`](Self::decode).
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    pub fn latent<F: AsRef<[u8]>>(&self, frames: &[F]) -> Result<Tensor<4>, CodingError> {
        let shape = self.codec.shape();
        let mut values = Vec::with_capacity(frames.len() * shape.len());
        for frame in frames {
            let symbols = self.decode_symbols(frame.as_ref())?;
            let latent = self.codec.quantizer().dequantize(&symbols);
            values.extend_from_slice(latent.map_err(DecodeError::from)?.values());
        }
        let sizes = [
            frames.len(),
            shape.channels(),
            shape.height(),
            shape.width(),
        ];
        Ok(Tensor::from_data(
            TensorData::new(values, sizes),
            &self.device,
        ))
    }

    /// Latents to restored activations: the other half of [`decode`](Self::decode).
    ///
    /// # Shapes
    ///
    /// - `latent`: `[n, latent channels, height', width']`
    /// - output: `[n, channels, height, width]`
    #[must_use]
    pub fn restore(&self, latent: Tensor<4>) -> Tensor<4> {
        self.decoder.forward(latent)
    }
}

/// The frames of a codec with a segment for so many channels each.
pub(super) fn in_segments(codec: &Codec, channels: &[usize]) -> Result<BundleCodec, PlanError> {
    let plan = TensorPlan::new(
        codec.quantizer().clone(),
        codec.tables().clone(),
        codec.shape(),
    )?;
    BundleCodec::new(
        vec![plan.with_segments(channels)?],
        codec.rung(),
        codec.bank(),
    )
}
