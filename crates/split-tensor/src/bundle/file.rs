//! Files: magic bytes, plans of all tensors, frames. `docs/format.md` has the layout.

use alloc::vec::Vec;

use super::{BundleCodec, TensorPlan, refuse_rest};
use crate::error::{DecodeError, EncodeError, PlanError};
use crate::frame::FrameRef;
use crate::frame::cursor::{Cursor, checksum};
use crate::latent::LatentShape;
use crate::limits::{
    MAX_CHANNELS, MAX_FILE_FRAMES, MAX_FILE_HEAD_BYTES, MAX_SEGMENTS, MAX_TABLES, MAX_TENSORS,
    small_u32,
};
use crate::quantize::Quantizer;
use crate::reader::FrameReader;
use crate::symbols::Symbols;
use crate::table::TableSet;
use crate::varint;

/// Not text, and damaged by what turns line ends around.
const MAGIC: [u8; 7] = *b"\x93SPLT\r\n";
const VERSION: u8 = 1;

/// Reads a file that arrives in chunks of any size.
///
/// ```
/// # use split_tensor::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shape = LatentShape::new(2, 1, 3)?;
/// let tables = TableSet::shared(FreqTable::from_counts(0, &[70, 20, 8, 2])?);
/// let plan = TensorPlan::new(Quantizer::uniform(0.5)?, tables, shape)?;
/// let codec = BundleCodec::new(vec![plan], 3, 0xfeed_beef)?;
/// let latent = Latent::new(shape, vec![0.0, 0.5, 1.0, 0.0, 9.0, 0.5])?;
/// let file = codec.encode_file(&[vec![latent.clone()]])?;
///
/// let mut reader = FileReader::new();
/// reader.push(&file);
/// let symbols = reader.next_frame()?.ok_or("a frame")?;
/// let codec = reader.codec().ok_or("plans")?;
/// assert_eq!(codec.restore(&symbols)?, [latent]);
/// reader.finish()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct FileReader {
    /// Bytes until the head is whole.
    head: Vec<u8>,
    codec: Option<BundleCodec>,
    /// Frames that are still to come.
    frames_left: usize,
    frames: FrameReader,
}

impl FileReader {
    /// A reader at the beginning of a file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next bytes. Take all frames out before the next call.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.codec.is_some() {
            self.frames.push(bytes);
        } else {
            self.head.extend_from_slice(bytes);
        }
    }

    /// The codec of this file, once its head is read by [`Self::next_frame`].
    #[must_use]
    pub fn codec(&self) -> Option<&BundleCodec> {
        self.codec.as_ref()
    }

    /// Symbols of the next frame, a set for each tensor, or `None` where more bytes are needed
    /// or all frames were read.
    ///
    /// # Errors
    /// [`DecodeError`] where the bytes cannot be such a file.
    pub fn next_frame(&mut self) -> Result<Option<Vec<Symbols>>, DecodeError> {
        if self.codec.is_none() && !self.read_head()? {
            return Ok(None);
        }
        let Some(codec) = &self.codec else {
            return Ok(None);
        };
        if self.frames_left == 0 {
            refuse_rest(self.frames.unfinished())?;
            return Ok(None);
        }
        match self.frames.next_ref()? {
            None => Ok(None),
            Some(FrameRef::Bundle(frame)) => {
                let symbols = codec.decode_ref(&frame)?;
                self.frames_left -= 1;
                Ok(Some(symbols))
            }
            Some(FrameRef::Single(_)) => Err(unexpected_kind(crate::frame::KIND)),
            Some(FrameRef::Packet(_)) => Err(unexpected_kind(crate::frame::packet::KIND)),
        }
    }

    /// Bytes of the frame that is not whole yet, for [`BundleCodec::decode_partial`].
    #[must_use]
    pub fn unfinished(&self) -> &[u8] {
        self.frames.unfinished()
    }

    /// Confirms that the file was read to its very end.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] where frames are missing, [`DecodeError::TrailingBytes`]
    /// where bytes follow the last one.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.codec.is_none() || self.frames_left > 0 {
            let found = self.head.len() + self.frames.pending_bytes();
            return Err(DecodeError::Truncated {
                found,
                needed: found + 1,
            });
        }
        refuse_rest(self.frames.unfinished())
    }

    /// Reads the head where it is whole.
    fn read_head(&mut self) -> Result<bool, DecodeError> {
        match parse_head(&self.head) {
            Ok((codec, frames, rest)) => {
                self.codec = Some(codec);
                self.frames_left = frames;
                self.frames.push(rest);
                self.head = Vec::new();
                Ok(true)
            }
            Err(DecodeError::Truncated { .. }) => Ok(false),
            Err(fault) => Err(fault),
        }
    }
}

fn unexpected_kind(found: u8) -> DecodeError {
    DecodeError::UnknownKind {
        found,
        allowed: crate::frame::bundle::KIND,
    }
}

pub(super) fn write_head(codec: &BundleCodec, frames: usize) -> Result<Vec<u8>, EncodeError> {
    if frames > MAX_FILE_FRAMES {
        return Err(EncodeError::TooMany {
            what: "frames",
            found: frames,
            allowed: MAX_FILE_FRAMES,
        });
    }
    let mut plans = Vec::new();
    plans.extend_from_slice(&codec.bank().to_le_bytes());
    varint::write(&mut plans, u32::from(codec.rung()));
    varint::write(&mut plans, small_u32(frames));
    varint::write(&mut plans, small_u32(codec.tensors().len()));
    for plan in codec.tensors() {
        write_plan(plan, &mut plans)?;
    }
    check_head(plans.len())?;
    let mut out = Vec::from(MAGIC);
    out.push(VERSION);
    varint::write(&mut out, small_u32(plans.len()));
    out.extend_from_slice(&plans);
    let sum = checksum(&[&out]);
    out.extend_from_slice(&sum.to_le_bytes());
    Ok(out)
}

fn check_head(found: usize) -> Result<(), EncodeError> {
    if found <= MAX_FILE_HEAD_BYTES {
        return Ok(());
    }
    Err(EncodeError::TooMany {
        what: "bytes of plans",
        found,
        allowed: MAX_FILE_HEAD_BYTES,
    })
}

fn write_plan(plan: &TensorPlan, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    for side in plan.shape().sides() {
        varint::write(out, side);
    }
    for bytes in [plan.quantizer().to_bytes(), plan.tables().to_bytes()] {
        check_head(bytes.len())?;
        varint::write(out, small_u32(bytes.len()));
        out.extend_from_slice(&bytes);
    }
    varint::write(out, small_u32(plan.segments().len()));
    for &count in plan.segments() {
        varint::write(out, u32::from(count));
    }
    let listed_order = !plan.order().is_sorted();
    out.push(u8::from(listed_order));
    if listed_order {
        for &channel in plan.order() {
            varint::write(out, u32::from(channel));
        }
    }
    let listed_fill = plan.fill().iter().any(|&fill| fill != 0);
    out.push(u8::from(listed_fill));
    if listed_fill {
        for &fill in plan.fill() {
            varint::write(out, varint::zigzag(fill));
        }
    }
    Ok(())
}

/// Codec, number of frames, and what follows the head.
fn parse_head(bytes: &[u8]) -> Result<(BundleCodec, usize, &[u8]), DecodeError> {
    let mut cursor = Cursor::new(bytes);
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Err(not_a_file(0));
    }
    cursor.take(MAGIC.len())?;
    let version = cursor.take(1)?[0];
    if version != VERSION {
        return Err(not_a_file(version));
    }
    let length = cursor.number("length of the head", MAX_FILE_HEAD_BYTES)?;
    let plans = cursor.take(length)?;
    cursor.take_checksum(&[cursor.before()])?;
    let (codec, frames) = match parse_plans(plans) {
        // The head itself is whole, so waiting for more would be in vain.
        Err(DecodeError::Truncated { .. }) => Err(DecodeError::BadNumber {
            what: "length of the head",
            allowed: small_u32(MAX_FILE_HEAD_BYTES),
        }),
        other => other,
    }?;
    Ok((codec, frames, cursor.rest))
}

fn not_a_file(found: u8) -> DecodeError {
    DecodeError::NotALatentFile {
        found,
        allowed: VERSION,
    }
}

fn parse_plans(bytes: &[u8]) -> Result<(BundleCodec, usize), DecodeError> {
    let mut cursor = Cursor::new(bytes);
    let (bank, rung) = cursor.take_bank_and_rung()?;
    let frames = cursor.number("frame count", MAX_FILE_FRAMES)?;
    let count = cursor.number("tensor count", MAX_TENSORS)?;
    let mut tables_left = MAX_TABLES;
    let mut plans = Vec::new();
    for _ in 0..count {
        let plan = parse_plan(&mut cursor, tables_left)?;
        tables_left -= plan.tables().tables().len();
        plans.push(plan);
    }
    refuse_rest(cursor.rest)?;
    Ok((BundleCodec::new(plans, rung, bank)?, frames))
}

fn parse_plan(cursor: &mut Cursor<'_>, tables_left: usize) -> Result<TensorPlan, DecodeError> {
    let shape = cursor.take_shape()?;
    let length = cursor.number("quantizer length", MAX_FILE_HEAD_BYTES)?;
    let quantizer = Quantizer::from_bytes(cursor.take(length)?)?;
    let length = cursor.number("table length", MAX_FILE_HEAD_BYTES)?;
    let tables = TableSet::from_bytes_within(cursor.take(length)?, tables_left)?;
    let segments = cursor.number("segment count", MAX_SEGMENTS)?;
    let mut channels = Vec::new();
    for _ in 0..segments {
        channels.push(cursor.number("channels of a segment", MAX_CHANNELS)?);
    }
    let order = parse_order(cursor, shape)?;
    let fill = parse_fill(cursor, shape)?;
    let mut plan = TensorPlan::new(quantizer, tables, shape)?.with_fill(fill)?;
    if let Some(order) = order {
        plan = plan.with_order(order)?;
    }
    Ok(plan.with_segments(&channels)?)
}

fn parse_order(
    cursor: &mut Cursor<'_>,
    shape: LatentShape,
) -> Result<Option<Vec<u16>>, DecodeError> {
    if cursor.number("order flag", 1)? == 0 {
        return Ok(None);
    }
    let mut order = Vec::new();
    for _ in 0..shape.channels() {
        order.push(cursor.take_u16("channel")?);
    }
    // Channels in their own order are not listed.
    if order.is_sorted() {
        return Err(PlanError::BadOrder { channel: order[0] }.into());
    }
    Ok(Some(order))
}

fn parse_fill(cursor: &mut Cursor<'_>, shape: LatentShape) -> Result<Vec<i32>, DecodeError> {
    if cursor.number("fill flag", 1)? == 0 {
        return Ok(alloc::vec![0; shape.channels()]);
    }
    let largest = varint::zigzag(crate::limits::MAX_SYMBOL) as usize;
    let mut fill = Vec::new();
    for _ in 0..shape.channels() {
        fill.push(varint::unzigzag(small_u32(cursor.number("fill", largest)?)));
    }
    // Zeros alone are not listed.
    if fill.iter().all(|&symbol| symbol == 0) {
        return Err(PlanError::BadFill {
            found: 0,
            channel: 0,
        }
        .into());
    }
    Ok(fill)
}
