//! Our coders: every lane count worth a look, on every path of this machine.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use split_tensor::{
    Codec, CoderPath, FitConfig, Frame, FreqTable, FrequencyCount, Lanes, Latent, LatentShape,
    Quantizer, Scratch, Symbols, TableSet,
};

use crate::data::{Source, SplitMix};
use crate::{Coder, Label};

pub(crate) fn coders(source: &Source) -> Result<Vec<Box<dyn Coder>>> {
    let table = FreqTable::from_weights(-source.limit, &source.probabilities, 1e-5)?;
    let set = TableSet::shared(table);
    let lanes: &[usize] = match source.symbols {
        0..512 => &[1, 2, 4],
        512..2048 => &[1, 4, 8],
        2048..8192 => &[1, 4, 8, 16],
        8192..65536 => &[2, 8, 32, 64],
        _ => &[8, 32, 64],
    };
    let mut coders: Vec<Box<dyn Coder>> = Vec::new();
    for &lanes in lanes {
        for path in CoderPath::all() {
            // Below a vector's width every path is the scalar one.
            let width = match path.name() {
                "avx512" => 16,
                "avx2" => 4,
                _ => 1,
            };
            if lanes >= width || (path.name() == "avx2" && lanes == 4) {
                coders.push(Box::new(Rans::new(
                    source,
                    set.clone().with_path(path),
                    lanes,
                )?));
            }
        }
    }
    Ok(coders)
}

struct Rans {
    set: TableSet,
    lanes: usize,
    shape: LatentShape,
    messages: Vec<Symbols>,
    payloads: Vec<Vec<u8>>,
    scratch: Scratch,
    decoded: Vec<i32>,
}

impl Rans {
    fn new(source: &Source, set: TableSet, lanes: usize) -> Result<Self> {
        let shape = LatentShape::new(1, 1, source.symbols)?;
        let messages = source
            .messages
            .iter()
            .map(|message| Symbols::new(shape, message.clone()));
        let messages = messages.collect::<Result<Vec<_>, _>>()?;
        let payloads = vec![Vec::new(); messages.len()];
        let scratch = Scratch::new();
        Ok(Self {
            set,
            lanes,
            shape,
            messages,
            payloads,
            scratch,
            decoded: Vec::new(),
        })
    }
}

impl Coder for Rans {
    fn label(&self) -> Label {
        Label {
            coder: if self.set.mixes() {
                "split-mix"
            } else if self.set.contexts() > 0 {
                "split-rans-ctx"
            } else {
                "split-rans"
            }
            .to_owned(),
            path: self.set.path().name(),
            lanes: self.lanes,
            contexts: if self.set.mixes() {
                0
            } else {
                self.set.contexts()
            },
        }
    }

    fn encode(&mut self, message: usize) -> Result<()> {
        let payload = &mut self.payloads[message];
        payload.clear();
        let lanes = Lanes::Exactly(self.lanes);
        self.set
            .encode_reusing(&self.messages[message], lanes, &mut self.scratch, payload)?;
        Ok(())
    }

    fn decode(&mut self, message: usize) -> Result<()> {
        self.set
            .decode_into(self.shape, &self.payloads[message], &mut self.decoded)?;
        Ok(())
    }

    fn bytes(&self, message: usize) -> usize {
        // The descriptor shares a byte with the frame's flags.
        self.payloads[message].len() - 1
    }

    fn is_right(&self, message: usize) -> bool {
        self.decoded == self.messages[message].values()
    }
}

/// Whole frames of 128x4x4: quantizer, tables for each channel, header and checksum.
pub(crate) fn small_latents(seed: u64) -> Result<(Source, Vec<Box<dyn Coder>>)> {
    let shape = LatentShape::new(128, 4, 4)?;
    let mut draws = SplitMix(seed);
    let mut latents = Vec::new();
    for _ in 0..64 {
        let mut value = || {
            let uniform = (draws.next() >> 40) as f32 / (1u64 << 24) as f32;
            -(1.0 - uniform).ln() * 0.7
        };
        latents.push(Latent::new(
            shape,
            (0..shape.len()).map(|_| value()).collect(),
        )?);
    }
    let quantizer = Quantizer::uniform(1.0)?;
    let mut count = FrequencyCount::new(shape.channels())?;
    let mut messages = Vec::new();
    for latent in &latents {
        let symbols = quantizer.quantize(latent)?;
        count.add(&symbols)?;
        messages.push(symbols.into_values());
    }
    let codec = Codec::new(quantizer, count.channel_tables(16.0)?, shape, 1, 2)?;
    let coders = [1, 4].map(|lanes| {
        Box::new(Frames {
            codec: codec.clone().with_lanes(Lanes::Exactly(lanes)),
            lanes,
            latents: latents.clone(),
            frames: vec![Vec::new(); latents.len()],
            scratch: Scratch::new(),
            values: Vec::new(),
        }) as Box<dyn Coder>
    });
    let source = Source::of(messages, "whole frames of 128x4x4, quantizer included")?;
    Ok((source, coders.into()))
}

struct Frames {
    codec: Codec,
    lanes: usize,
    latents: Vec<Latent>,
    frames: Vec<Vec<u8>>,
    scratch: Scratch,
    values: Vec<f32>,
}

impl Coder for Frames {
    fn label(&self) -> Label {
        Label {
            coder: "split-codec".to_owned(),
            path: self.codec.tables().path().name(),
            lanes: self.lanes,
            contexts: 0,
        }
    }

    fn encode(&mut self, message: usize) -> Result<()> {
        let frame = &mut self.frames[message];
        frame.clear();
        self.codec
            .encode_reusing(&self.latents[message], &mut self.scratch, frame)?;
        Ok(())
    }

    fn decode(&mut self, message: usize) -> Result<()> {
        self.codec
            .decode_reusing(&self.frames[message], &mut self.scratch, &mut self.values)?;
        Ok(())
    }

    fn bytes(&self, message: usize) -> usize {
        Frame::parse(&self.frames[message]).map_or(0, |(frame, _)| frame.payload_bytes())
    }

    fn is_right(&self, message: usize) -> bool {
        let latent = self.latents[message].values();
        self.values
            .iter()
            .zip(latent)
            .all(|(restored, value)| (restored - value).abs() <= 0.5001)
    }
}

/// Fields in which each symbol leans on its left and upper neighbour, with and without
/// tables that know it.
pub(crate) fn smooth_fields(seed: u64) -> Result<(Source, Vec<Box<dyn Coder>>)> {
    let shape = LatentShape::new(64, 16, 16)?;
    let mut draws = SplitMix(seed);
    let mut messages = Vec::new();
    for _ in 0..32 {
        let mut values: Vec<i32> = Vec::with_capacity(shape.len());
        for at in 0..shape.len() {
            let within = at % shape.plane();
            let left = if within % shape.width() > 0 {
                values[at - 1]
            } else {
                0
            };
            let above = if within >= shape.width() {
                values[at - shape.width()]
            } else {
                0
            };
            // A geometric step up or down.
            let drawn = draws.next();
            let step = (drawn.trailing_zeros() / 2) as i32 * if drawn >> 63 == 0 { 1 } else { -1 };
            values.push(((left + above) / 2 + step).clamp(0, 12));
        }
        messages.push(values);
    }
    let samples: Vec<Symbols> = messages
        .iter()
        .map(|message| Symbols::new(shape, message.clone()))
        .collect::<Result<_, _>>()?;
    let source = Source::of(messages, "smooth fields of 64x16x16")?;
    let coders = fitted(&source, &samples, &samples)?;
    Ok((source, coders))
}

/// One table, tables by channel and tables by neighbourhood, fitted to `train`, for `test`.
fn fitted(source: &Source, train: &[Symbols], test: &[Symbols]) -> Result<Vec<Box<dyn Coder>>> {
    let shape = test[0].shape();
    let mut count = FrequencyCount::new(shape.channels())?;
    train.iter().try_for_each(|symbols| count.add(symbols))?;
    let mut coders: Vec<Box<dyn Coder>> = Vec::new();
    let contexts = TableSet::fit(train, &FitConfig::default())?;
    let mixing = contexts.clone().with_mixing(train)?;
    for set in [
        TableSet::shared(count.shared_table()?),
        count.channel_tables(16.0)?,
        contexts,
        mixing.with_path(CoderPath::scalar()),
    ] {
        // Mixing has one lane and one path.
        let lanes: &[usize] = if set.mixes() {
            &[1]
        } else {
            &[1, 4, 16, 32, 64]
        };
        for &lanes in lanes {
            let scalar_only = |path: &CoderPath| !set.mixes() || *path == CoderPath::scalar();
            for path in CoderPath::all()
                .filter(|path| set.mixes() || *path == CoderPath::best() || lanes == 16)
                .filter(scalar_only)
            {
                let mut coder = Rans::new(source, set.clone().with_path(path), lanes)?;
                coder.messages = test.to_vec();
                coder.shape = shape;
                coders.push(Box::new(coder));
            }
        }
    }
    Ok(coders)
}

/// Symbols from a file, as `--file` describes it.
pub(crate) fn from_file(path: &Path) -> Result<(Source, Vec<Box<dyn Coder>>)> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let (head, symbols) = bytes.split_at_checked(16).context("no header")?;
    let number = |at: usize| -> Result<usize> {
        Ok(u32::from_le_bytes(head[4 * at..4 * at + 4].try_into()?) as usize)
    };
    let shape = LatentShape::new(number(1)?, number(2)?, number(3)?)?;
    if symbols.len() != 2 * shape.len() * number(0)? || number(0)? < 2 {
        bail!("{} is not as long as its header says", path.display());
    }
    let all: Vec<Symbols> = symbols
        .chunks_exact(2 * shape.len())
        .map(|message| {
            let values = message
                .as_chunks()
                .0
                .iter()
                .map(|s| i16::from_le_bytes(*s).into());
            Symbols::new(shape, values.collect())
        })
        .collect::<Result<_, _>>()?;
    let (train, test) = all.split_at(all.len() / 2);
    let messages = test.iter().map(|symbols| symbols.values().to_vec());
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let source = Source::of(messages.collect(), &format!("{name} {shape}"))?;
    let coders = fitted(&source, train, test)?;
    Ok((source, coders))
}
