//! What can go wrong, sorted by operation; every variant carries what was found and what is allowed.

use thiserror::Error;

use crate::latent::LatentShape;

/// A shape, or a value list that does not fit its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// A side of the shape is zero.
    #[error("shape {channels}x{height}x{width} has an empty side; every side is at least 1")]
    Empty {
        /// Channels found.
        channels: usize,
        /// Height found.
        height: usize,
        /// Width found.
        width: usize,
    },
    /// The shape holds more symbols than the format allows.
    #[error("shape {channels}x{height}x{width} holds more than {allowed} symbols")]
    TooManySymbols {
        /// Channels found.
        channels: usize,
        /// Height found.
        height: usize,
        /// Width found.
        width: usize,
        /// The limit, [`crate::MAX_SYMBOLS`].
        allowed: usize,
    },
    /// The number of values differs from the shape's product.
    #[error("{found} values for shape {shape}, which holds {allowed}")]
    WrongLength {
        /// Values found.
        found: usize,
        /// Values the shape holds.
        allowed: usize,
        /// The shape.
        shape: LatentShape,
    },
    /// A symbol lies outside what a codec carries.
    #[error("symbol {found} at position {index} is outside -{allowed}..={allowed}")]
    SymbolTooLarge {
        /// The symbol found.
        found: i32,
        /// Its position.
        index: usize,
        /// The largest magnitude, [`crate::MAX_SYMBOL`].
        allowed: i32,
    },
}

/// A quantizer that cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[non_exhaustive]
pub enum QuantizerError {
    /// A step is not a positive normal number.
    #[error("step {found} of channel {channel} is not a positive, finite, normal number")]
    BadStep {
        /// The step found.
        found: f32,
        /// Its channel (0 for a uniform quantizer).
        channel: usize,
    },
    /// A per-channel quantizer without channels, or with too many.
    #[error("{found} steps; a per-channel quantizer has 1 to {allowed}")]
    BadChannelCount {
        /// Steps found.
        found: usize,
        /// The limit, [`crate::MAX_CHANNELS`].
        allowed: usize,
    },
    /// A parameter of a scheme lies outside its range.
    #[error("{what} is {found}, outside {min}..={max}")]
    BadParameter {
        /// Which parameter.
        what: &'static str,
        /// The value found.
        found: f32,
        /// The smallest value allowed.
        min: f32,
        /// The largest value allowed.
        max: f32,
    },
    /// An affine quantizer with too few or too many bits.
    #[error("{found} bits; affine symbols have 2 to 8")]
    BadBits {
        /// Bits found.
        found: u32,
    },
    /// Too few or too many levels, or levels and thresholds that do not rise.
    #[error("{found} levels do not rise, or are not 2 to {allowed}")]
    BadLevels {
        /// Levels found.
        found: usize,
        /// The limit, [`crate::MAX_LEVELS`].
        allowed: usize,
    },
    /// A range whose ends are not finite or not in order.
    #[error("a range from {min} to {max}; its ends are finite and in order")]
    BadRange {
        /// Smaller end found.
        min: f32,
        /// Larger end found.
        max: f32,
    },
    /// There is nothing to fit a quantizer to.
    #[error("no values to fit a quantizer to")]
    NoValues,
    /// A value to fit a quantizer to is not finite.
    #[error("value {found} among those to fit a quantizer to")]
    BadValue {
        /// The value found.
        found: f32,
    },
    /// A quantizer of another scheme than the operation needs.
    #[error("the quantizer has another scheme than {wanted}")]
    WrongScheme {
        /// The schemes that would do.
        wanted: &'static str,
    },
    /// The serial form names a scheme that this version does not know.
    #[error("quantizer scheme {found} is unknown")]
    UnknownScheme {
        /// The scheme found.
        found: u8,
    },
}

/// A latent that cannot be quantized, or symbols that cannot be restored.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// A value is NaN.
    #[error("value at position {index} is NaN")]
    NotANumber {
        /// Its position.
        index: usize,
    },
    /// A value is infinite.
    #[error("value at position {index} is infinite")]
    Infinite {
        /// Its position.
        index: usize,
    },
    /// The value divided by its step is too large for a symbol.
    #[error(
        "value {value} at position {index} over step {step} exceeds the largest symbol {allowed}"
    )]
    Overflow {
        /// Its position.
        index: usize,
        /// The value.
        value: f32,
        /// The step of its channel.
        step: f32,
        /// The limit, [`crate::MAX_SYMBOL`].
        allowed: i32,
    },
    /// A per-channel quantizer met another number of channels.
    #[error("{found} channels, but the quantizer has steps for {allowed}")]
    ChannelMismatch {
        /// Channels of the latent or symbols.
        found: usize,
        /// Channels of the quantizer.
        allowed: usize,
    },
    /// A symbol that a clipping quantizer never gives.
    #[error("symbol {found} at position {index} is outside {min}..={max}")]
    SymbolOutOfRange {
        /// Its position.
        index: usize,
        /// The symbol.
        found: i32,
        /// The smallest symbol of the quantizer.
        min: i32,
        /// The largest symbol of the quantizer.
        max: i32,
    },
}

/// A frequency table or table set that cannot be built or read.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[non_exhaustive]
pub enum TableError {
    /// The alphabet is empty or too large.
    #[error("an alphabet of {found} symbols; a table lists 1 to {allowed}")]
    BadAlphabet {
        /// Symbols found.
        found: usize,
        /// The limit, [`crate::MAX_ALPHABET`].
        allowed: usize,
    },
    /// The alphabet reaches outside the range of symbols.
    #[error("an alphabet from {min} over {count} symbols leaves -{allowed}..={allowed}")]
    AlphabetOutOfRange {
        /// Its smallest symbol.
        min: i32,
        /// Its length.
        count: usize,
        /// The limit, [`crate::MAX_SYMBOL`].
        allowed: i32,
    },
    /// A weight is negative, NaN or infinite.
    #[error("weight {found} of entry {index} is not a finite number of at least 0")]
    BadWeight {
        /// The weight found.
        found: f64,
        /// Its entry; the alphabet's length stands for the escape.
        index: usize,
    },
    /// Every weight is zero.
    #[error("all weights are zero")]
    NoWeight,
    /// The frequencies leave no slot for the escape or lie outside 0..=4095.
    #[error(
        "listed frequencies sum to {found}; they and the escape need a slot each, so 1 to {allowed}"
    )]
    BadTotal {
        /// The sum found.
        found: u32,
        /// The limit.
        allowed: u32,
    },
    /// A set without tables, or with too many.
    #[error("{found} tables; a set has 1 to {allowed}")]
    BadTableCount {
        /// Tables found.
        found: usize,
        /// The limit.
        allowed: usize,
    },
    /// A set for no channels, or for too many.
    #[error("{found} channels; a set has 1 to {allowed}")]
    BadChannelCount {
        /// Channels found.
        found: usize,
        /// The limit, [`crate::MAX_CHANNELS`].
        allowed: usize,
    },
    /// An index names a table that the set does not have.
    #[error("table index {found}, but the set has {allowed} tables")]
    BadTableIndex {
        /// The index found.
        found: usize,
        /// The number of tables.
        allowed: usize,
    },
    /// The serial form is cut short or has bytes left over.
    #[error("the serial form is malformed at byte {offset}")]
    Malformed {
        /// Where reading stopped.
        offset: usize,
    },
    /// The serial form has another version.
    #[error("table set version {found}; this library reads {allowed}")]
    UnknownVersion {
        /// The version found.
        found: u8,
        /// The version read here.
        allowed: u8,
    },
    /// The serial form names a layout that this version does not know.
    #[error("table layout {found} is unknown")]
    UnknownLayout {
        /// The layout found.
        found: u8,
    },
    /// Symbols to learn from differ in their channels, or there are none.
    #[error("training symbols with {found} channels beside {allowed}")]
    ChannelMismatch {
        /// Channels found.
        found: usize,
        /// Channels expected.
        allowed: usize,
    },
    /// There is nothing to learn from.
    #[error("no training symbols")]
    NoSymbols,
}

/// Symbols or a latent that cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The tables are for another number of channels.
    #[error("symbols with {found} channels, but the tables are for {allowed}")]
    ChannelMismatch {
        /// Channels of the symbols.
        found: usize,
        /// Channels of the tables.
        allowed: usize,
    },
    /// The codec is for another shape.
    #[error("shape {found}, but the codec is for {allowed}")]
    ShapeMismatch {
        /// Shape found.
        found: LatentShape,
        /// Shape of the codec.
        allowed: LatentShape,
    },
    /// The payload would exceed the format's limit.
    #[error("a payload of {found} bytes; a frame carries at most {allowed}")]
    PayloadTooLong {
        /// Bytes found.
        found: usize,
        /// The limit, [`crate::MAX_PAYLOAD_BYTES`].
        allowed: usize,
    },
    /// Latents or symbols for another number of tensors.
    #[error("{found} tensors, but the codec is for {allowed}")]
    TensorMismatch {
        /// Tensors found.
        found: usize,
        /// Tensors of the codec.
        allowed: usize,
    },
    /// A frame or file was asked to hold more parts than the format allows.
    #[error("{found} {what}; at most {allowed}")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// How many were found.
        found: usize,
        /// The limit.
        allowed: usize,
    },
    /// Something that carries whole tensors only was asked of the codec of a part.
    #[error("{what} cannot carry a part of the tensors; send it in a frame")]
    Part {
        /// What was asked for.
        what: &'static str,
    },
    /// The latent cannot be quantized.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
}

/// Bytes that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("{found} bytes, at least {needed} are needed")]
    Truncated {
        /// Bytes found.
        found: usize,
        /// Bytes needed at least.
        needed: usize,
    },
    /// Bytes are left over after the end.
    #[error("{found} bytes after the end")]
    TrailingBytes {
        /// Bytes left over.
        found: usize,
    },
    /// The first byte names another version or kind of frame.
    #[error("frame kind {found}; this reader expects {allowed}")]
    UnknownKind {
        /// The kind found.
        found: u8,
        /// The kind expected.
        allowed: u8,
    },
    /// The file does not begin with the magic bytes, or has another version.
    #[error("not a latent file of version {allowed} (found {found})")]
    NotALatentFile {
        /// Version found; 0 where the magic bytes are wrong.
        found: u8,
        /// Version read here.
        allowed: u8,
    },
    /// Bits that this version keeps at zero, or a combination without a meaning.
    #[error("first byte {found:#04x} has reserved bits set")]
    ReservedBits {
        /// The first byte.
        found: u8,
    },
    /// A frame or packet has another number of segments than the codec.
    #[error("segment count or number {found}, but the codec has {allowed} segments")]
    SegmentMismatch {
        /// Count or number found.
        found: usize,
        /// Segments of the codec.
        allowed: usize,
    },
    /// A packet belongs to other latents.
    #[error("a packet of group {found} among those of group {allowed}")]
    GroupMismatch {
        /// Group of the packet.
        found: u16,
        /// Group that is gathered.
        allowed: u16,
    },
    /// Of several segments none arrived whole.
    #[error("none of {segments} segments is there whole and undamaged")]
    NothingArrived {
        /// Segments of the frame.
        segments: usize,
    },
    /// A segment of a frame does not match its own checksum.
    #[error("segment {index} does not match its checksum")]
    DamagedSegment {
        /// Its place, from 0.
        index: usize,
    },
    /// A number is written longer than needed or beyond its range.
    #[error("the {what} is not a minimal number up to {allowed}")]
    BadNumber {
        /// Which number.
        what: &'static str,
        /// The largest value allowed.
        allowed: u32,
    },
    /// The payload is longer than the format allows.
    #[error("a payload of {found} bytes; at most {allowed} are allowed")]
    PayloadTooLong {
        /// Bytes announced.
        found: usize,
        /// The limit, [`crate::MAX_PAYLOAD_BYTES`].
        allowed: usize,
    },
    /// The checksum does not match.
    #[error("checksum {found:#010x}, but the bytes give {computed:#010x}")]
    ChecksumMismatch {
        /// Checksum found.
        found: u32,
        /// Checksum of the bytes.
        computed: u32,
    },
    /// The frame is for another bank.
    #[error("the frame is for bank {found:#010x}, this codec has {allowed:#010x}")]
    BankMismatch {
        /// Bank of the frame.
        found: u32,
        /// Bank of the codec.
        allowed: u32,
    },
    /// The frame is for another rung.
    #[error("the frame is for rung {found}, this codec has {allowed}")]
    RungMismatch {
        /// Rung of the frame.
        found: u16,
        /// Rung of the codec.
        allowed: u16,
    },
    /// The frame carries another part of its tensors.
    #[error(
        "the frame carries {0}x{1} cells of its tensors, this codec is for {2}x{3} (0x0: all)",
        found[0], found[1], allowed[0], allowed[1]
    )]
    PartMismatch {
        /// Rows and columns in the frame, in cells of the smallest tensor; zeros for all.
        found: [usize; 2],
        /// Those of the codec.
        allowed: [usize; 2],
    },
    /// The frame is for another shape.
    #[error("the frame holds shape {found}, this codec has {allowed}")]
    ShapeMismatch {
        /// Shape of the frame.
        found: LatentShape,
        /// Shape of the codec.
        allowed: LatentShape,
    },
    /// The tables are for another number of channels.
    #[error("a shape with {found} channels, but the tables are for {allowed}")]
    ChannelMismatch {
        /// Channels of the shape.
        found: usize,
        /// Channels of the tables.
        allowed: usize,
    },
    /// The payload names a coding that this version does not know.
    #[error("payload descriptor {found} is unknown")]
    UnknownDescriptor {
        /// The descriptor found.
        found: u8,
    },
    /// The coder's words do not fit the symbols: damaged, or made with other tables.
    #[error("the payload does not fit the tables: {what}")]
    CorruptPayload {
        /// Which check failed.
        what: &'static str,
    },
    /// The shape in the frame is not allowed.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A table in the bytes is not allowed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A quantizer in the bytes is not allowed.
    #[error(transparent)]
    Quantizer(#[from] QuantizerError),
    /// A plan of segments in the bytes is not allowed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The symbols cannot be turned into a latent.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
}

/// Segments of a frame that cannot be planned.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Quantizer, tables, fill or samples are for another number of channels than the shape.
    #[error("{what} for {found} channels, but the shape has {allowed}")]
    ChannelMismatch {
        /// What disagrees.
        what: &'static str,
        /// Its channels.
        found: usize,
        /// Channels of the shape.
        allowed: usize,
    },
    /// Samples to rank channels by have another shape, or there are none.
    #[error("samples to rank channels by are missing or not of shape {allowed}")]
    BadSamples {
        /// The shape of the plan.
        allowed: LatentShape,
    },
    /// The order does not name every channel once.
    #[error("channel {channel} stands twice in the order, or does not exist")]
    BadOrder {
        /// The first channel that does not fit.
        channel: u16,
    },
    /// Segments are empty or do not share out the channels.
    #[error("segments of {found} channels together, some empty; the shape has {allowed}")]
    BadSegments {
        /// Channels of all segments.
        found: usize,
        /// Channels of the shape.
        allowed: usize,
    },
    /// A part has no rows or columns, or more than there are, or cuts cells of a larger tensor.
    #[error(
        "a part of {0}x{1} cells of tensors whose smallest has {2}x{3}; there must be one at least, no more, \
         and whole cells of all tensors",
        found[0], found[1], allowed[0], allowed[1]
    )]
    BadPart {
        /// Rows and columns asked for.
        found: [usize; 2],
        /// Rows and columns of the smallest tensor.
        allowed: [usize; 2],
    },
    /// A fill is no symbol of the quantizer.
    #[error("fill {found} of channel {channel} is no symbol of the quantizer")]
    BadFill {
        /// The fill.
        found: i32,
        /// Its channel.
        channel: usize,
    },
    /// More tensors, segments, symbols or tables than the format allows, or none.
    #[error("{found} {what}; there are 1 to {allowed}")]
    BadCount {
        /// What was counted.
        what: &'static str,
        /// How many were found.
        found: usize,
        /// The limit.
        allowed: usize,
    },
}

/// Takes `count` bytes off the front of `bytes`.
pub(crate) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], DecodeError> {
    let Some((head, rest)) = bytes.split_at_checked(count) else {
        return Err(DecodeError::Truncated {
            found: bytes.len(),
            needed: count,
        });
    };
    *bytes = rest;
    Ok(head)
}
