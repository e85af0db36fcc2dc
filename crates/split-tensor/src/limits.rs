//! The named limits of the format; every length from outside is held against one of them.

/// Most symbols in one latent: 16 Mi.
pub const MAX_SYMBOLS: usize = 1 << 24;

/// Most channels in one latent.
pub const MAX_CHANNELS: usize = 1 << 14;

/// Largest magnitude of a symbol; up to here an `f32` holds every integer exactly.
pub const MAX_SYMBOL: i32 = 1 << 24;

/// Most symbols that one table lists, the escape not counted.
pub const MAX_ALPHABET: usize = 4095;

/// Most levels of a quantizer that lists them.
pub const MAX_LEVELS: usize = 256;

/// Most tables in one set.
pub const MAX_TABLES: usize = 1 << 12;

/// Most tables that a payload may carry for itself.
pub const MAX_OWN_TABLES: usize = 16;

/// Most tensors in one frame or file.
pub const MAX_TENSORS: usize = 64;

/// Most segments in one frame.
pub const MAX_SEGMENTS: usize = 1 << 10;

/// Most bytes in the payload of one frame, that of all its segments together.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 26;

/// Most bytes in one frame: header, payload and checksums.
pub const MAX_FRAME_BYTES: usize = MAX_PAYLOAD_BYTES + 64 + 16 * MAX_SEGMENTS;

/// Most bytes in the head of a file: shapes, quantizers and tables.
pub const MAX_FILE_HEAD_BYTES: usize = 1 << 24;

/// Most frames in one file.
pub const MAX_FILE_FRAMES: usize = 1 << 28;

/// A count or index below a named limit, as the format writes it.
pub(crate) fn small_u32(count: usize) -> u32 {
    u32::try_from(count).expect("below its named limit")
}

/// An index into an alphabet, as an offset of symbols.
pub(crate) fn small_i32(index: usize) -> i32 {
    i32::try_from(index).expect("below its named limit")
}

/// A channel or table index as a set stores it.
pub(crate) fn small_u16(index: usize) -> u16 {
    u16::try_from(index).expect("below its named limit")
}
