//! Our coders: every lane count worth a look, on every path of this machine.

use anyhow::Result;
use split_tensor::{
    Codec, CoderPath, FreqTable, FrequencyCount, Lanes, Latent, LatentShape, Quantizer, Scratch,
    Symbols, TableSet,
};

use crate::data::{Source, SplitMix};
use crate::record::Row;
use crate::{Coder, Label, thread_time_ns};

pub(crate) fn coders(source: &Source) -> Result<Vec<Box<dyn Coder>>> {
    let table = FreqTable::from_weights(-source.limit, &source.probabilities, 1e-5)?;
    let set = TableSet::shared(table);
    let lanes: &[usize] = match source.symbols {
        ..512 => &[1, 2, 4],
        ..2048 => &[1, 4, 8],
        ..8192 => &[1, 4, 8, 16],
        ..65536 => &[2, 8, 32, 64],
        _ => &[8, 32, 64],
    };
    let mut coders: Vec<Box<dyn Coder>> = Vec::new();
    for &lanes in lanes {
        for path in CoderPath::all() {
            // Below a vector's width every path is the scalar one.
            let width = match path.name() {
                "avx512" => 16,
                "avx2" => 8,
                _ => 1,
            };
            if lanes >= width {
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
            coder: "split-rans".to_owned(),
            path: self.set.path().name(),
            lanes: self.lanes,
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

/// Quantizing and encoding a latent of 128x4x4 into a whole frame, and back.
pub(crate) fn small_latent(rounds: usize, seed: u64) -> Result<Vec<Row>> {
    const FRAMES: usize = 64;
    let shape = LatentShape::new(128, 4, 4)?;
    let mut draws = SplitMix(seed);
    let mut latents = Vec::new();
    for _ in 0..FRAMES {
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
    let mut count = FrequencyCount::new(128)?;
    for latent in &latents {
        count.add(&quantizer.quantize(latent)?)?;
    }
    let codec = Codec::new(quantizer, count.channel_tables(16.0)?, shape, 1, 2)?;
    let ideal: f64 = latents
        .iter()
        .map(|latent| {
            Ok(codec
                .tables()
                .code_length_bits(&codec.quantizer().quantize(latent)?))
        })
        .sum::<Result<f64>>()?;
    let mut rows = Vec::new();
    for lanes in [1, 4] {
        let codec = codec.clone().with_lanes(Lanes::Exactly(lanes));
        let mut scratch = Scratch::new();
        let mut frames = vec![Vec::new(); FRAMES];
        let mut values = Vec::new();
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            let begin = thread_time_ns();
            for (latent, frame) in latents.iter().zip(&mut frames) {
                frame.clear();
                codec.encode_reusing(latent, &mut scratch, frame)?;
            }
            let middle = thread_time_ns();
            for frame in &frames {
                codec.decode_reusing(frame, &mut scratch, &mut values)?;
            }
            times[0].push(middle - begin);
            times[1].push(thread_time_ns() - middle);
        }
        let bytes: usize = frames.iter().map(|frame| frame.len()).sum();
        for (op, times) in ["encode", "decode"].into_iter().zip(times) {
            let ns = crate::quantile(times, 0.25) / FRAMES as f64;
            println!("frame of 128x4x4, {lanes} lanes, {op}: {:.2} us", ns / 1e3);
            rows.push(Row {
                coder: "split-codec".to_owned(),
                path: codec.tables().path().name(),
                lanes,
                contexts: 0,
                entropy: ideal / (FRAMES * shape.len()) as f64,
                symbols: shape.len(),
                op,
                msym_s: shape.len() as f64 / ns * 1e3,
                ratio_constriction: f64::NAN,
                bytes: bytes as f64 / FRAMES as f64,
                ideal_bytes: ideal / 8.0 / FRAMES as f64,
                data: "whole frames of 128x4x4, quantizer included".to_owned(),
            });
        }
    }
    Ok(rows)
}
