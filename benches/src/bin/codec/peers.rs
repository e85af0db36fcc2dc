//! What others offer for the same messages.

use anyhow::{Result, anyhow};
use constriction::UnwrapInfallible as _;
use constriction::stream::Decode as _;
use constriction::stream::model::{
    ContiguousCategoricalEntropyModel, SmallContiguousLookupDecoderModel,
};
use constriction::stream::stack::DefaultAnsCoder;
use huffman_coding::{HuffmanReader, HuffmanTree, HuffmanWriter};
use std::io::{Read as _, Write as _};

use crate::data::Source;
use crate::{Coder, Label};

/// constriction's ANS coder with 12-bit lookup: the base of all ratios.
pub(crate) fn base(source: &Source) -> Result<Vec<Box<dyn Coder>>> {
    Ok(vec![Box::new(Constriction::new(source)?)])
}

pub(crate) fn others(source: &Source) -> Result<Vec<Box<dyn Coder>>> {
    let mut coders: Vec<Box<dyn Coder>> = vec![
        Box::new(Zstd::new(source, 1)?),
        Box::new(Zstd::new(source, 3)?),
        Box::new(Memcpy::new(source)),
    ];
    // It walks a tree bit by bit; a million symbols a round would outlast all others.
    if source.symbols <= 16_384 {
        coders.push(Box::new(HuffmanCrate::new(source)));
    }
    Ok(coders)
}

type EncoderModel = ContiguousCategoricalEntropyModel<u16, Vec<u16>, 12>;

struct Constriction {
    encoder_model: EncoderModel,
    decoder_model: SmallContiguousLookupDecoderModel,
    messages: Vec<Vec<usize>>,
    coder: DefaultAnsCoder,
    payloads: Vec<Vec<u32>>,
    decoded: Vec<usize>,
}

impl Constriction {
    fn new(source: &Source) -> Result<Self> {
        let encoder_model =
            EncoderModel::from_floating_point_probabilities_perfect(&source.probabilities)
                .map_err(|()| anyhow!("constriction refuses the probabilities"))?;
        let decoder_model = encoder_model.to_lookup_decoder_model();
        let index = |&symbol: &i32| (symbol + source.limit) as usize;
        let messages: Vec<Vec<usize>> = source
            .messages
            .iter()
            .map(|message| message.iter().map(index).collect())
            .collect();
        let payloads = vec![Vec::new(); messages.len()];
        let coder = DefaultAnsCoder::new();
        Ok(Self {
            encoder_model,
            decoder_model,
            messages,
            coder,
            payloads,
            decoded: Vec::new(),
        })
    }
}

impl Coder for Constriction {
    fn label(&self) -> Label {
        Label::peer("constriction-0.5-ans")
    }

    fn encode(&mut self, message: usize) -> Result<()> {
        self.coder.clear();
        self.coder
            .encode_iid_symbols_reverse(&self.messages[message], &self.encoder_model)
            .map_err(|fault| anyhow!("{fault:?}"))?;
        let payload = &mut self.payloads[message];
        payload.clear();
        payload.extend_from_slice(&self.coder.get_compressed().unwrap_infallible());
        Ok(())
    }

    fn decode(&mut self, message: usize) -> Result<()> {
        let mut coder =
            constriction::stream::stack::AnsCoder::<u32, u64, _>::from_compressed_slice(
                &self.payloads[message],
            )
            .map_err(|fault| anyhow!("{fault:?}"))?;
        self.decoded.clear();
        let count = self.messages[message].len();
        for symbol in coder.decode_iid_symbols(count, &self.decoder_model) {
            self.decoded
                .push(symbol.map_err(|fault| anyhow!("{fault:?}"))?);
        }
        Ok(())
    }

    fn bytes(&self, message: usize) -> usize {
        4 * self.payloads[message].len()
    }

    fn is_right(&self, message: usize) -> bool {
        self.decoded == self.messages[message]
    }
}

struct Zstd {
    level: i32,
    compressor: zstd::bulk::Compressor<'static>,
    decompressor: zstd::bulk::Decompressor<'static>,
    messages: Vec<Vec<u8>>,
    payloads: Vec<Vec<u8>>,
    decoded: Vec<u8>,
}

impl Zstd {
    fn new(source: &Source, level: i32) -> Result<Self> {
        let messages = source.zigzag();
        let room = zstd::zstd_safe::compress_bound(source.symbols);
        Ok(Self {
            level,
            compressor: zstd::bulk::Compressor::new(level)?,
            decompressor: zstd::bulk::Decompressor::new()?,
            payloads: messages.iter().map(|_| Vec::with_capacity(room)).collect(),
            decoded: Vec::with_capacity(source.symbols),
            messages,
        })
    }
}

impl Coder for Zstd {
    fn label(&self) -> Label {
        Label::peer(&format!(
            "zstd-{}-level-{}",
            zstd::zstd_safe::version_string(),
            self.level
        ))
    }

    fn encode(&mut self, message: usize) -> Result<()> {
        let payload = &mut self.payloads[message];
        payload.clear();
        self.compressor
            .compress_to_buffer(&self.messages[message], payload)?;
        Ok(())
    }

    fn decode(&mut self, message: usize) -> Result<()> {
        self.decoded.clear();
        self.decompressor
            .decompress_to_buffer(&self.payloads[message], &mut self.decoded)?;
        Ok(())
    }

    fn bytes(&self, message: usize) -> usize {
        self.payloads[message].len()
    }

    fn is_right(&self, message: usize) -> bool {
        self.decoded == self.messages[message]
    }
}

/// The ceiling: symbols as bytes, copied.
struct Memcpy {
    messages: Vec<Vec<u8>>,
    payloads: Vec<Vec<u8>>,
    decoded: Vec<u8>,
}

impl Memcpy {
    fn new(source: &Source) -> Self {
        let messages = source.zigzag();
        Self {
            payloads: messages.clone(),
            decoded: Vec::new(),
            messages,
        }
    }
}

impl Coder for Memcpy {
    fn label(&self) -> Label {
        Label::peer("memcpy")
    }

    fn encode(&mut self, message: usize) -> Result<()> {
        self.payloads[message].copy_from_slice(&self.messages[message]);
        Ok(())
    }

    fn decode(&mut self, message: usize) -> Result<()> {
        self.decoded.clear();
        self.decoded.extend_from_slice(&self.payloads[message]);
        Ok(())
    }

    fn bytes(&self, message: usize) -> usize {
        self.payloads[message].len()
    }

    fn is_right(&self, message: usize) -> bool {
        self.decoded == self.messages[message]
    }
}

struct HuffmanCrate {
    table: [u8; 256],
    tree: HuffmanTree,
    /// A reader takes its tree with it, so there is one for each message.
    trees: Vec<HuffmanTree>,
    messages: Vec<Vec<u8>>,
    payloads: Vec<Vec<u8>>,
    decoded: Vec<u8>,
}

impl HuffmanCrate {
    fn new(source: &Source) -> Self {
        let messages = source.zigzag();
        // Weights of one byte: 1 for the rarest.
        let most = source.probabilities.iter().copied().fold(0.0, f64::max);
        let mut table = [0; 256];
        for (index, probability) in source.probabilities.iter().enumerate() {
            let symbol = index as i32 - source.limit;
            let byte = ((symbol << 1) ^ (symbol >> 31)) as usize;
            table[byte] = (probability / most * 255.0).round().clamp(1.0, 255.0) as u8;
        }
        Self {
            table,
            tree: HuffmanTree::from_table(&table),
            trees: Vec::new(),
            payloads: vec![Vec::new(); messages.len()],
            decoded: vec![0; source.symbols],
            messages,
        }
    }
}

impl Coder for HuffmanCrate {
    fn label(&self) -> Label {
        Label::peer("huffman-coding-0.1")
    }

    fn encode(&mut self, message: usize) -> Result<()> {
        let payload = &mut self.payloads[message];
        payload.clear();
        // Dropping the writer writes the last byte.
        HuffmanWriter::new(payload, &self.tree).write_all(&self.messages[message])?;
        Ok(())
    }

    fn before_decoding(&mut self) {
        self.trees = self
            .messages
            .iter()
            .map(|_| HuffmanTree::from_table(&self.table))
            .collect();
    }

    fn decode(&mut self, message: usize) -> Result<()> {
        let tree = self
            .trees
            .pop()
            .ok_or_else(|| anyhow!("a tree for each message"))?;
        let mut reader = HuffmanReader::new(self.payloads[message].as_slice(), tree);
        reader.read_exact(&mut self.decoded)?;
        Ok(())
    }

    fn bytes(&self, message: usize) -> usize {
        self.payloads[message].len()
    }

    fn is_right(&self, message: usize) -> bool {
        self.decoded == self.messages[message]
    }
}
