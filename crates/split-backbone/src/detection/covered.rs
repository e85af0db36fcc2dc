//! Frames that carry only what the picture covers of a canvas.
//!
//! A letterbox pads most pictures with grey. What the network makes of grey is known on both
//! sides, so the padding's symbols stay at home: the frame names the shape of what it carries, and
//! the edge puts the rest back, in the latent and behind the unit decoder.

use burn::tensor::{Device, Tensor, TensorData, s};
use split_bottleneck::{CodingError, Head, RungCodec};
use split_tensor::{
    BundleCodec, BundleRef, DecodeError, EncodeError, Frame, FrameHeader, FrameRef, LatentShape,
    QuantizeError, ShapeError, Symbols,
};
use thiserror::Error;

use super::{Letterbox, LetterboxError, canvas_input};

/// A canvas cannot be coded or decoded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CoveredError {
    /// The unit or its symbols fail.
    #[error(transparent)]
    Coding(#[from] CodingError),
    /// The symbols cannot be coded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The bytes are no frame, or a damaged one.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Symbols cannot be turned into values.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// The part of the latent cannot be held.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The canvas is unusable.
    #[error(transparent)]
    Canvas(#[from] LetterboxError),
    /// The latent's cells do not tile the canvas or the activation.
    #[error("a latent of {height}x{width} does not tile {what} of {side}")]
    Cells {
        /// Height of the latent.
        height: usize,
        /// Width of the latent.
        width: usize,
        /// What is tiled.
        what: &'static str,
        /// Its side.
        side: usize,
    },
    /// One activation at a time is coded.
    #[error("{found} activations; one is coded at a time")]
    Batch {
        /// Activations given.
        found: usize,
    },
    /// The frame was made with another bank or rung.
    #[error(
        "the frame belongs to rung {found_rung} of bank {found_bank:08x}, this is rung {rung} of \
         bank {bank:08x}"
    )]
    OtherRung {
        /// Rung in the frame.
        found_rung: u16,
        /// Bank in the frame.
        found_bank: u32,
        /// Our rung.
        rung: u16,
        /// Our bank.
        bank: u32,
    },
    /// The frame's part is no part of the latent.
    #[error("the frame carries {found:?} (channels, rows, columns) of a latent of {whole:?}")]
    Part {
        /// Shape in the frame.
        found: [usize; 3],
        /// Shape of the latent.
        whole: [usize; 3],
    },
    /// Bytes follow the frame.
    #[error("{found} bytes follow the frame")]
    Trailing {
        /// Number of bytes.
        found: usize,
    },
}

/// A frame and what it costs.
#[derive(Clone, Debug, PartialEq)]
pub struct CoveredFrame {
    /// The whole frame.
    pub bytes: Vec<u8>,
    /// Bytes of its coded symbols.
    pub payload_bytes: usize,
    /// Cross-entropy of the symbols under the integer tables, in bits.
    pub estimated_bits: f64,
}

/// A rung for letterboxed pictures that leaves the padding out of its frames.
#[derive(Debug)]
pub struct CoveredCodec {
    rung: RungCodec,
    /// What the canvas without a picture becomes.
    padding_symbols: Vec<i32>,
    padding_activation: Tensor<4>,
    shape: LatentShape,
    /// Canvas pixels per latent cell.
    pixels: usize,
    /// Activation cells per latent cell.
    cells: usize,
    device: Device,
}

impl CoveredCodec {
    /// Binds a rung to canvases of `side` pixels; `head` and `device` are those of the rung.
    ///
    /// # Errors
    ///
    /// [`CoveredError`] where the rung does not fit head and canvas.
    pub fn new(
        rung: RungCodec,
        head: &impl Head,
        side: u32,
        device: &Device,
    ) -> Result<Self, CoveredError> {
        let empty = Letterbox::empty_canvas(side)?;
        let padding_activation = head.forward(canvas_input(&[empty], device));
        let symbols = only(rung.symbols(padding_activation.clone())?)?;
        let shape = rung.codec().shape();
        let side = usize::try_from(side).unwrap_or(usize::MAX);
        let [_, _, height, width] = padding_activation.dims();
        let tiles = |what, whole: [usize; 2]| {
            let [rows, columns] = whole;
            let step = rows / shape.height();
            if step * shape.height() == rows && step * shape.width() == columns {
                return Ok(step);
            }
            Err(CoveredError::Cells {
                height: shape.height(),
                width: shape.width(),
                what,
                side: rows,
            })
        };
        Ok(Self {
            pixels: tiles("a canvas", [side, side])?,
            cells: tiles("an activation", [height, width])?,
            padding_symbols: symbols.into_values(),
            padding_activation,
            shape,
            rung,
            device: device.clone(),
        })
    }

    /// The rung.
    #[must_use]
    pub fn rung(&self) -> &RungCodec {
        &self.rung
    }

    /// Device side: the activation of one letterboxed picture whose `content` has this width and
    /// height in pixels.
    ///
    /// # Shapes
    ///
    /// - `activation`: `[1, channels, height, width]`
    ///
    /// # Errors
    ///
    /// [`CoveredError`] for another shape, or values that cannot be coded.
    pub fn encode(
        &self,
        activation: Tensor<4>,
        content: (u32, u32),
    ) -> Result<CoveredFrame, CoveredError> {
        let symbols = only(self.rung.symbols(activation)?)?;
        let [rows, columns] = self.covered(content);
        let part = LatentShape::new(self.shape.channels(), rows, columns)?;
        let symbols = Symbols::new(part, self.cut(symbols.values(), rows, columns))?;
        let codec = self.rung.codec();
        if let Some(bundle) = self.rung.bundle() {
            let bundle = self.part_of(bundle, [rows, columns])?;
            let symbols = [symbols];
            let bytes = bundle.encode_symbols(&symbols)?;
            return Ok(CoveredFrame {
                payload_bytes: FrameRef::parse(&bytes)?.0.payload_bytes(),
                bytes,
                estimated_bits: bundle.code_length_bits(&symbols)?,
            });
        }
        let mut payload = Vec::new();
        codec.tables().encode_into(&symbols, &mut payload)?;
        let header = FrameHeader {
            rung: codec.rung(),
            bank: codec.bank(),
            shape: (part != self.shape).then_some(part),
            checksum: true,
        };
        let frame = Frame::new(header, payload)?;
        Ok(CoveredFrame {
            payload_bytes: frame.payload_bytes(),
            bytes: frame.to_bytes(),
            estimated_bits: codec.tables().code_length_bits(&symbols),
        })
    }

    /// Edge side: the restored activation of one frame, with the activation of an empty canvas
    /// where no picture is, `[1, channels, height, width]`.
    ///
    /// # Errors
    ///
    /// [`CoveredError`] for bytes that are no frame of this rung.
    pub fn decode(&self, bytes: &[u8]) -> Result<Tensor<4>, CoveredError> {
        let symbols = match self.rung.bundle() {
            Some(bundle) => self.symbols_of_bundle(bundle, bytes)?,
            None => self.symbols_of_frame(bytes)?,
        };
        let (whole, part) = (self.shape, symbols.shape());
        let symbols = Symbols::new(whole, self.padded(symbols.values(), part))?;
        let codec = self.rung.codec();
        let latent = codec.quantizer().dequantize(&symbols)?;
        let sizes = [1, whole.channels(), whole.height(), whole.width()];
        let latent = TensorData::new(latent.into_values(), sizes);
        let restored = self.rung.restore(Tensor::from_data(latent, &self.device));
        if part == whole {
            return Ok(restored);
        }
        let [_, channels, _, _] = restored.dims();
        let (rows, columns) = (part.height() * self.cells, part.width() * self.cells);
        let inside = s![0..1, 0..channels, 0..rows, 0..columns];
        let restored = restored.slice(inside);
        Ok(self
            .padding_activation
            .clone()
            .slice_assign(inside, restored))
    }

    fn symbols_of_frame(&self, bytes: &[u8]) -> Result<Symbols, CoveredError> {
        let (frame, rest) = Frame::parse(bytes)?;
        let (header, codec) = (frame.header(), self.rung.codec());
        self.check_origin((header.rung, header.bank), rest)?;
        let part = header.shape.unwrap_or(self.shape);
        let whole = self.shape;
        if part.channels() != whole.channels()
            || part.height() > whole.height()
            || part.width() > whole.width()
        {
            return Err(self.no_part([part.channels(), part.height(), part.width()]));
        }
        Ok(codec.tables().decode(part, frame.payload())?)
    }

    fn symbols_of_bundle(
        &self,
        bundle: &BundleCodec,
        bytes: &[u8],
    ) -> Result<Symbols, CoveredError> {
        let (frame, rest) = BundleRef::parse(bytes)?;
        self.check_origin((frame.rung(), frame.bank()), rest)?;
        let mut symbols = match frame.part() {
            None => bundle.decode_ref(&frame)?,
            Some(part) => self.part_of(bundle, part)?.decode_ref(&frame)?,
        };
        Ok(symbols.swap_remove(0))
    }

    fn part_of(
        &self,
        bundle: &BundleCodec,
        [rows, columns]: [usize; 2],
    ) -> Result<BundleCodec, CoveredError> {
        let part = bundle.for_part(rows, columns);
        part.map_err(|_| self.no_part([self.shape.channels(), rows, columns]))
    }

    fn no_part(&self, found: [usize; 3]) -> CoveredError {
        let whole = self.shape;
        CoveredError::Part {
            found,
            whole: [whole.channels(), whole.height(), whole.width()],
        }
    }

    fn check_origin(
        &self,
        (found_rung, found_bank): (u16, u32),
        rest: &[u8],
    ) -> Result<(), CoveredError> {
        if !rest.is_empty() {
            return Err(CoveredError::Trailing { found: rest.len() });
        }
        let codec = self.rung.codec();
        let (rung, bank) = (codec.rung(), codec.bank());
        if (found_rung, found_bank) == (rung, bank) {
            return Ok(());
        }
        Err(CoveredError::OtherRung {
            found_rung,
            found_bank,
            rung,
            bank,
        })
    }

    /// Rows and columns of latent cells that the picture touches.
    fn covered(&self, (width, height): (u32, u32)) -> [usize; 2] {
        let cells = |pixels: u32, most: usize| {
            let pixels = usize::try_from(pixels).unwrap_or(usize::MAX);
            pixels.div_ceil(self.pixels).clamp(1, most)
        };
        [
            cells(height, self.shape.height()),
            cells(width, self.shape.width()),
        ]
    }

    /// The first rows and columns of every channel.
    fn cut(&self, values: &[i32], rows: usize, columns: usize) -> Vec<i32> {
        let (height, width) = (self.shape.height(), self.shape.width());
        let planes = values.chunks_exact(height * width);
        let lines = planes.flat_map(|plane| plane.chunks_exact(width).take(rows));
        lines.flat_map(|line| &line[..columns]).copied().collect()
    }

    /// The whole latent: `part`, and the padding's symbols around it.
    fn padded(&self, values: &[i32], part: LatentShape) -> Vec<i32> {
        let (height, width) = (self.shape.height(), self.shape.width());
        let (rows, columns) = (part.height(), part.width());
        let mut whole = self.padding_symbols.clone();
        let planes = whole.chunks_exact_mut(height * width);
        for (plane, part) in planes.zip(values.chunks_exact(rows * columns)) {
            let lines = plane.chunks_exact_mut(width);
            for (line, part) in lines.zip(part.chunks_exact(columns)) {
                line[..columns].copy_from_slice(part);
            }
        }
        whole
    }
}

fn only(mut symbols: Vec<Symbols>) -> Result<Symbols, CoveredError> {
    let found = symbols.len();
    match (symbols.pop(), found) {
        (Some(one), 1) => Ok(one),
        _ => Err(CoveredError::Batch { found }),
    }
}
