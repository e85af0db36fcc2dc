//! The tables of one rung: one for all channels, one for each, or one for each neighbourhood.

mod length;

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::FreqTable;
use super::context::ContextModel;
use super::mixing::MixModel;
use super::own;
use super::serial;
use crate::coder::contexts::ContextRows;
use crate::coder::payload::{self, Scratch};
use crate::coder::slots::CoderTables;
use crate::error::{DecodeError, EncodeError, TableError, take};
use crate::latent::LatentShape;
use crate::limits::{MAX_CHANNELS, MAX_TABLES, small_u16};
use crate::simd::CoderPath;
use crate::symbols::Symbols;

/// How many rANS lanes an encoder uses; a decoder takes what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Lanes {
    /// A lane for every 800 bytes that the tables expect: ending them costs about 0.2 %.
    #[default]
    Small,
    /// A quarter of the square root of the number of symbols: 4 lanes from 256 symbols on, 16 from 4096,
    /// 64 from 65,536. A lane more costs 1.6 bytes; vectors want at least eight.
    Fast,
    /// This many, rounded down to a power of two from 1 to 64.
    Exactly(usize),
}

/// Which table codes which symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One table for any number of channels.
    Shared,
    /// The table of each channel.
    Channels(Vec<u16>),
    /// By channel and neighbours.
    Contexts(ContextModel),
}

impl Layout {
    /// The number of channels that it is made for.
    pub(crate) fn channels(&self) -> Option<usize> {
        match self {
            Self::Shared => None,
            Self::Channels(tables) => Some(tables.len()),
            Self::Contexts(model) => Some(model.channels.len()),
        }
    }

    /// The table of a channel; with contexts, that of its first symbol.
    pub(crate) fn table_of(&self, channel: usize) -> u16 {
        match self {
            Self::Shared => 0,
            Self::Channels(tables) => tables[channel],
            Self::Contexts(model) => model.channels[channel].first,
        }
    }
}

/// Integer tables of one rung, with what the coder needs built once; clones share both.
#[derive(Debug, Clone)]
pub struct TableSet {
    tables: Arc<Vec<FreqTable>>,
    layout: Layout,
    coder: Arc<CoderTables>,
    /// For sets with contexts that vectors can decode.
    rows: Option<Arc<ContextRows>>,
    /// For sets whose payloads mix predictions.
    mix: Option<Arc<MixModel>>,
    path: CoderPath,
}

impl PartialEq for TableSet {
    fn eq(&self, other: &Self) -> bool {
        self.tables == other.tables && self.layout == other.layout && self.mix == other.mix
    }
}

impl Eq for TableSet {}

impl TableSet {
    /// One table for all channels, however many there are.
    #[must_use]
    pub fn shared(table: FreqTable) -> Self {
        Self::build(alloc::vec![table], Layout::Shared)
    }

    /// One table for each channel; equal tables are stored once.
    ///
    /// # Errors
    /// [`TableError::BadChannelCount`] for no tables or more than [`MAX_CHANNELS`],
    /// [`TableError::BadTableCount`] for more than [`MAX_TABLES`] different ones.
    pub fn per_channel(tables: Vec<FreqTable>) -> Result<Self, TableError> {
        let found = tables.len();
        if found == 0 || found > MAX_CHANNELS {
            return Err(TableError::BadChannelCount {
                found,
                allowed: MAX_CHANNELS,
            });
        }
        let mut distinct = Vec::new();
        let mut assignment = Vec::with_capacity(found);
        for table in tables {
            assignment.push(intern(&mut distinct, table)?);
        }
        Ok(Self::build(distinct, Layout::Channels(assignment)))
    }

    /// Number of channels that this set is made for; `None` where any number fits.
    #[must_use]
    pub fn channels(&self) -> Option<usize> {
        let of_mix = || self.mix.as_ref().map(|model| model.channels.len());
        self.layout.channels().or_else(of_mix)
    }

    /// Classes of neighbourhoods in all channels together; 0 where neighbours do not matter.
    #[must_use]
    pub fn contexts(&self) -> usize {
        match &self.layout {
            Layout::Contexts(model) => model
                .channels
                .iter()
                .map(|channel| channel.tables.len() + 1)
                .sum(),
            _ => 0,
        }
    }

    /// The distinct tables.
    #[must_use]
    pub fn tables(&self) -> &[FreqTable] {
        &self.tables
    }

    /// The table of a channel; with contexts, the one of its first symbol.
    ///
    /// # Panics
    /// For a channel that the set does not have.
    #[must_use]
    pub fn table_of(&self, channel: usize) -> &FreqTable {
        &self.tables[usize::from(self.layout.table_of(channel))]
    }

    /// The serial form, byte for byte the same for equal sets.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serial::write(&self.tables, &self.layout, self.mix())
    }

    /// Reads the serial form.
    ///
    /// # Errors
    /// [`TableError`] for every byte string that [`Self::to_bytes`] does not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TableError> {
        Self::from_bytes_within(bytes, MAX_TABLES)
    }

    /// As [`Self::from_bytes`], with at most `allowed` tables; they are counted before the
    /// coder's much larger tables are built.
    pub(crate) fn from_bytes_within(bytes: &[u8], allowed: usize) -> Result<Self, TableError> {
        let (tables, layout, mix) = serial::read(bytes)?;
        if tables.len() > allowed {
            return Err(TableError::BadTableCount {
                found: tables.len(),
                allowed,
            });
        }
        Ok(Self {
            mix: mix.map(Arc::new),
            ..Self::build(tables, layout)
        })
    }

    /// XXH3 of [`Self::to_bytes`]: equal digests mean equal tables.
    #[must_use]
    pub fn digest(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.to_bytes())
    }

    /// Appends the payload of `symbols`, with lanes as [`Lanes::Small`] says.
    ///
    /// The first byte is the descriptor; in a frame it shares a byte with the flags.
    ///
    /// # Errors
    /// [`EncodeError::ChannelMismatch`] for symbols with another number of channels.
    pub fn encode_into(&self, symbols: &Symbols, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.encode_with(symbols, Lanes::Small, out)
    }

    /// As [`Self::encode_into`], with a choice of lanes.
    ///
    /// # Errors
    /// As [`Self::encode_into`].
    pub fn encode_with(
        &self,
        symbols: &Symbols,
        lanes: Lanes,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        self.encode_reusing(symbols, lanes, &mut Scratch::new(), out)
    }

    /// As [`Self::encode_with`], with buffers that the caller keeps.
    ///
    /// # Errors
    /// As [`Self::encode_into`].
    pub fn encode_reusing(
        &self,
        symbols: &Symbols,
        lanes: Lanes,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        self.encode_slice(symbols.shape(), symbols.values(), lanes, scratch, out)
    }

    /// As [`Self::encode_with`], or with tables counted on these very symbols and carried in
    /// the payload, where that is shorter by its exact length. It takes three times as long.
    ///
    /// # Errors
    /// As [`Self::encode_into`].
    pub fn encode_adapting(
        &self,
        symbols: &Symbols,
        lanes: Lanes,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let begin = out.len();
        let scratch = &mut Scratch::new();
        self.encode_slice(symbols.shape(), symbols.values(), lanes, scratch, out)?;
        own::replace_if_shorter(symbols.shape(), symbols.values(), lanes, begin, out);
        Ok(())
    }

    /// For symbols whose number and range the caller has checked.
    pub(crate) fn encode_slice(
        &self,
        shape: LatentShape,
        symbols: &[i32],
        lanes: Lanes,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        if let Some(allowed) = self.channels_unlike(shape) {
            return Err(EncodeError::ChannelMismatch {
                found: shape.channels(),
                allowed,
            });
        }
        let code = self.lane_code(shape, lanes);
        payload::encode(self, shape, symbols, code, scratch, out);
        Ok(())
    }

    /// Decodes a payload of [`Self::encode_into`].
    ///
    /// # Errors
    /// [`DecodeError`] for bytes that are cut, damaged or made with tables that disagree.
    pub fn decode(&self, shape: LatentShape, payload: &[u8]) -> Result<Symbols, DecodeError> {
        let mut values = Vec::new();
        self.decode_into(shape, payload, &mut values)?;
        Ok(Symbols::from_checked(shape, values))
    }

    /// As [`Self::decode`], into a buffer that the caller keeps.
    ///
    /// # Errors
    /// As [`Self::decode`]; the buffer then holds nothing of use.
    pub fn decode_into(
        &self,
        shape: LatentShape,
        payload: &[u8],
        values: &mut Vec<i32>,
    ) -> Result<(), DecodeError> {
        let mut body = payload;
        let descriptor = take(&mut body, 1)?[0];
        self.decode_body(shape, descriptor, body, values)
    }

    /// Decodes a payload whose descriptor was taken off.
    pub(crate) fn decode_body(
        &self,
        shape: LatentShape,
        descriptor: u8,
        body: &[u8],
        values: &mut Vec<i32>,
    ) -> Result<(), DecodeError> {
        if let Some(allowed) = self.channels_unlike(shape) {
            return Err(DecodeError::ChannelMismatch {
                found: shape.channels(),
                allowed,
            });
        }
        if descriptor == own::EXTENDED {
            return own::decode(shape, body, values);
        }
        payload::decode(self, shape, descriptor, body, values)
    }

    /// The same set with another path for its inner loops. It codes the same bytes.
    #[must_use]
    pub fn with_path(self, path: CoderPath) -> Self {
        Self { path, ..self }
    }

    /// The path of the inner loops; the best one of this machine unless chosen otherwise.
    #[must_use]
    pub fn path(&self) -> CoderPath {
        self.path
    }

    /// For tables and a layout that fit together.
    pub(crate) fn build(tables: Vec<FreqTable>, layout: Layout) -> Self {
        let coder = CoderTables::new(&tables);
        let rows = rows_of(&tables, &layout);
        Self {
            tables: Arc::new(tables),
            layout,
            coder: Arc::new(coder),
            rows,
            mix: None,
            path: CoderPath::best(),
        }
    }

    pub(crate) fn into_parts(self) -> (Vec<FreqTable>, Layout) {
        (Arc::unwrap_or_clone(self.tables), self.layout)
    }

    /// The same tables for some of the channels, in the order given. Its serial form is not
    /// canonical, since some tables may be left without a channel.
    pub(crate) fn for_channels(&self, channels: &[u16]) -> Self {
        let layout = match &self.layout {
            Layout::Shared => Layout::Shared,
            Layout::Channels(tables) => {
                let of = |&channel: &u16| tables[usize::from(channel)];
                Layout::Channels(channels.iter().map(of).collect())
            }
            Layout::Contexts(model) => {
                let of = |&channel: &u16| model.channels[usize::from(channel)].clone();
                Layout::Contexts(ContextModel {
                    channels: channels.iter().map(of).collect(),
                    ..model.clone()
                })
            }
        };
        let rows = rows_of(&self.tables, &layout);
        let mix = self
            .mix()
            .map(|model| Arc::new(model.for_channels(channels)));
        Self {
            layout,
            rows,
            mix,
            ..self.clone()
        }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn coder(&self) -> &CoderTables {
        &self.coder
    }

    pub(super) fn with_model(self, mix: Option<Arc<MixModel>>) -> Self {
        Self { mix, ..self }
    }

    pub(crate) fn mix(&self) -> Option<&MixModel> {
        self.mix.as_deref()
    }

    pub(crate) fn rows(&self) -> Option<&ContextRows> {
        self.rows.as_deref()
    }

    /// The set's number of channels where it differs from the shape's.
    fn channels_unlike(&self, shape: LatentShape) -> Option<usize> {
        self.channels()
            .filter(|&channels| channels != shape.channels())
    }
}

/// The index of an equal table, which is added where there is none.
pub(crate) fn intern(tables: &mut Vec<FreqTable>, table: FreqTable) -> Result<u16, TableError> {
    if let Some(index) = tables.iter().position(|known| *known == table) {
        return Ok(small_u16(index));
    }
    tables.push(table);
    if tables.len() > MAX_TABLES {
        return Err(TableError::BadTableCount {
            found: tables.len(),
            allowed: MAX_TABLES,
        });
    }
    Ok(small_u16(tables.len() - 1))
}

/// What vectors need to decode a layout with contexts; it follows the channels of the layout.
fn rows_of(tables: &[FreqTable], layout: &Layout) -> Option<Arc<ContextRows>> {
    match layout {
        Layout::Contexts(model) => ContextRows::new(tables, model).map(Arc::new),
        Layout::Shared | Layout::Channels(_) => None,
    }
}
