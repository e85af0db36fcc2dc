//! `train --baselines`: rivals at the same split point, closed loop on the whole test set.

use anyhow::{Context, Result};
use rayon::prelude::*;
use split_backbone::Part;
use split_bottleneck::{
    ActivationCache, Bank, Evaluation, HuffmanRival, IntegerEncoder, IntegerError, Klt, Rung,
    TablePictures, activation_latent_shape, evaluate, evaluate_symbols, evaluate_without_unit,
};
use split_tensor::{
    Codec, FitConfig, FreqTable, Latent, LatentShape, Quantizer, Symbols, TableSet, ValueRange,
};

use crate::record::{Document, Row};
use crate::report::{base_row, rung_row, test_cache, with_bytes};
use crate::rung::{Trained, bar, now};
use crate::setup::Setup;
use crate::train::TrainArgs;

/// Training pictures from which ranges, components and tables are taken.
const FIT_PICTURES: usize = 2000;
/// Activation values for the search of a clipping range.
const RANGE_VALUES: usize = 1 << 20;
/// Steps of the KLT, in standard deviations of its first component: an octave in two, from
/// nearly lossless to a few symbols a picture.
const KLT_STEPS: [f32; 10] = [
    0.125, 0.177, 0.25, 0.354, 0.5, 0.707, 1.0, 1.414, 2.0, 2.828,
];
/// Levels of clip-and-quantize: 1, 1.6, 2 and 3 bits before entropy coding.
const CLIP_LEVELS: [usize; 4] = [2, 3, 4, 8];

/// Adds a row for each baseline; `bank` holds the trained rungs that Huffman codes again.
pub(crate) fn add(
    setup: &Setup,
    args: &TrainArgs,
    bank: &Bank,
    trained: &[Trained],
    document: &mut Document,
) -> Result<()> {
    let training = setup.cache(
        &spread(&setup.pictures(Part::Train)?, FIT_PICTURES),
        false,
        |_| {},
    )?;
    let pictures = setup.pictures(Part::Test)?;
    let cache = test_cache(setup, &pictures)?;
    let base = base_row(setup, args.seed, &pictures)?;
    let ground = Ground {
        setup,
        training: &training,
        cache: &cache,
        base: &base,
        mixing: args.mixing,
    };
    let bar = bar(
        KLT_STEPS.len() + CLIP_LEVELS.len() + 4 + trained.len(),
        "baselines",
    );
    let mut rows = Vec::new();
    rows.extend(ground.klt(args.stride, || bar.inc(1))?);
    for levels in CLIP_LEVELS {
        rows.push(ground.clip_quantize(levels)?);
        bar.inc(1);
    }
    for bits in [8, 4] {
        rows.extend(ground.integers(bits)?);
        bar.inc(2);
    }
    for (index, one) in trained.iter().enumerate() {
        rows.push(ground.huffman(bank, index, one)?);
        rows.extend(ground.integer_encoder(bank, index, one)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    document.rows.extend(rows);
    Ok(())
}

/// What all baselines are fitted to and measured on.
struct Ground<'a> {
    setup: &'a Setup,
    training: &'a ActivationCache,
    cache: &'a ActivationCache,
    base: &'a Row,
    /// As the trained rungs are coded.
    mixing: bool,
}

impl Ground<'_> {
    /// Principal components of patches, all of them, at several steps.
    fn klt(&self, stride: usize, mut done: impl FnMut()) -> Result<Vec<Row>> {
        let started = now();
        let device = &self.setup.device;
        let klt = Klt::fit(self.training, stride, FIT_PICTURES)?;
        let latent_channels = klt.variances().len();
        let widest = deviation(klt.variances()[0]);
        let seconds = started.elapsed().as_secs_f64();
        let pictures = TablePictures {
            cache: self.training,
            limit: FIT_PICTURES,
            mixing: self.mixing,
            device,
        };
        let first = klt.unit(latent_channels, widest);
        let weights = klt.weights(&first, 0, device)?;
        let mut rungs = Vec::new();
        for (index, factor) in KLT_STEPS.iter().enumerate() {
            let unit = klt.unit(latent_channels, widest * factor);
            let name = format!("pca-{}", index + 1);
            rungs.push(Rung::fitted(&name, "pca", &unit, &weights, pictures)?);
        }
        let bank = Bank::new(self.setup.opened.note.clone(), rungs)?;
        let mut rows = Vec::new();
        for (index, rung) in bank.rungs().iter().enumerate() {
            let codec = bank.open(index, device)?;
            let result = evaluate(&codec, &self.setup.opened.tail, self.cache, device)?;
            let one = Trained {
                rung: rung.clone(),
                epochs: 0.0,
                seconds,
            };
            rows.push(rung_row(self.base, self.setup, &one, &codec, &result)?);
            done();
        }
        Ok(rows)
    }

    /// The raw activation on few levels (Cohen, Choi and Bajic 2020), entropy coded.
    fn clip_quantize(&self, levels: usize) -> Result<Row> {
        let sample = self.sample();
        let fit = Quantizer::fit_clipped(&sample, levels)
            .with_context(|| format!("fitting {levels} levels"))?;
        let tables = self.fitted_tables(&fit.quantizer)?;
        let result = self.measure(fit.quantizer, tables)?;
        Ok(self.row(
            format!("clip-quantize {levels} levels"),
            "clip-quantize",
            &result,
        ))
    }

    /// The raw activation as integers with a range for each channel: with a fixed length, as they
    /// are usually sent, and entropy coded.
    fn integers(&self, bits: u32) -> Result<Vec<Row>> {
        let latents = self.latents()?;
        let ranges = ValueRange::per_channel(&latents, ValueRange::min_max)?;
        let quantizer = Quantizer::affine_per_channel(&ranges, bits)?;
        let (min, max) = quantizer
            .symbol_range()
            .context("affine integers have a range")?;
        let alphabet = usize::try_from(max - min + 1)?;
        let flat = TableSet::shared(FreqTable::from_counts(min, &vec![1; alphabet])?);
        let kind = format!("int{bits}");
        let coded = self.fitted_tables(&quantizer)?;
        let fixed = self.measure(quantizer.clone(), flat)?;
        let coded = self.measure(quantizer, coded)?;
        Ok(vec![
            self.row(kind.clone(), &kind, &fixed),
            self.row(format!("{kind} coded"), &kind, &coded),
        ])
    }

    /// The paper's coder on the symbols of a trained rung.
    fn huffman(&self, bank: &Bank, index: usize, one: &Trained) -> Result<Row> {
        let device = &self.setup.device;
        let codec = bank.open(index, device)?;
        let rival = HuffmanRival::fit(&codec, self.training, FIT_PICTURES, device)?;
        let result = rival.evaluate(&codec, &self.setup.opened.tail, self.cache, device)?;
        let row = rung_row(self.base, self.setup, one, &codec, &result)?;
        Ok(Row {
            name: format!("huffman {}", one.rung.name),
            kind: "huffman".to_owned(),
            ..row
        })
    }

    /// A trained rung whose unit encoder computes with integers of eight bits.
    /// Nothing for one that has no form in integers.
    fn integer_encoder(&self, bank: &Bank, index: usize, one: &Trained) -> Result<Option<Row>> {
        let codec = bank.open(index, &self.setup.device)?;
        let encoder = match IntegerEncoder::fit(&one.rung, self.training, FIT_PICTURES) {
            Ok(encoder) => encoder,
            Err(why @ (IntegerError::Unsupported { .. } | IntegerError::TooWide { .. })) => {
                eprintln!("no encoder in integers for {}: {why}", one.rung.name);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let symbols = |pictures: &[usize]| {
            let all = pictures.par_iter();
            all.map(|index| encoder.symbols(self.cache.activation(*index)))
                .collect()
        };
        let result = evaluate_symbols(&codec, symbols, &self.setup.opened.tail, self.cache)?;
        let row = rung_row(self.base, self.setup, one, &codec, &result)?;
        Ok(Some(Row {
            name: format!("int8-encoder {}", one.rung.name),
            kind: "int8-encoder".to_owned(),
            ..row
        }))
    }

    fn measure(&self, quantizer: Quantizer, tables: TableSet) -> Result<Evaluation> {
        let codec = Codec::new(quantizer, tables, self.shape()?, 0, 0)?;
        let (tail, device) = (&self.setup.opened.tail, &self.setup.device);
        Ok(evaluate_without_unit(&codec, tail, self.cache, device)?)
    }

    fn row(&self, name: String, kind: &str, result: &Evaluation) -> Row {
        Row {
            name,
            kind: kind.to_owned(),
            value: result.top1(),
            estimated_bytes: Some(result.mean_estimated_bytes()),
            ..with_bytes(self.base, result.mean_bytes(), result.mean_payload_bytes())
        }
    }

    fn fitted_tables(&self, quantizer: &Quantizer) -> Result<TableSet> {
        let symbols = self
            .latents()?
            .iter()
            .map(|latent| Ok(quantizer.quantize(latent)?))
            .collect::<Result<Vec<Symbols>>>()?;
        Ok(TableSet::fit(&symbols, &FitConfig::default())?)
    }

    /// Training activations as latents of their own.
    fn latents(&self) -> Result<Vec<Latent>> {
        let shape = self.shape()?;
        (0..self.training.len())
            .map(|index| {
                Ok(Latent::new(
                    shape,
                    self.training.activation(index).to_vec(),
                )?)
            })
            .collect()
    }

    /// Values of training activations, thinned out evenly.
    fn sample(&self) -> Vec<f32> {
        let size = self.training.shape().len();
        let every = (self.training.len() * size).div_ceil(RANGE_VALUES).max(1);
        (0..self.training.len())
            .flat_map(|index| self.training.activation(index))
            .step_by(every)
            .copied()
            .collect()
    }

    fn shape(&self) -> Result<LatentShape> {
        Ok(activation_latent_shape(self.training)?)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a step is single precision"
)]
fn deviation(variance: f64) -> f32 {
    variance.sqrt() as f32
}

/// Up to `limit` of the training pictures, spread evenly.
pub(crate) fn spread(
    pictures: &split_backbone::Pictures,
    limit: usize,
) -> split_backbone::Pictures {
    let every = pictures.len().div_ceil(limit).max(1);
    let indices: Vec<usize> = (0..pictures.len()).step_by(every).collect();
    pictures.select(&indices)
}
