//! Other ways to send what a detector needs: coded pictures, and the activation clipped and
//! quantized without any training.

use anyhow::{Context, Result};
use burn::tensor::{Tensor, TensorData, s};
use image::RgbImage;
use split_backbone::rivals::{self, PictureCodec};
use split_backbone::{Letterbox, ScoredBox};
use split_tensor::{
    FitConfig, Frame, FrameHeader, Latent, LatentShape, Quantizer, Symbols, TableSet,
};

use super::report::{Reference, float, with_bytes};
use super::train::TrainedOn;
use super::{Setup, TestPicture};
use crate::record::{Document, Row};
use crate::rung::bar;

/// Levels of the clip-and-quantize baseline, in bits.
const BITS: [u8; 4] = [2, 3, 4, 6];
/// Canvases that tell the baseline its range and its tables.
const CALIBRATION: usize = 32;
/// Share of values that the range leaves out, at either end.
const CLIPPED: f64 = 0.0005;

/// What is coded of a picture.
#[derive(Clone, Copy)]
enum Shown {
    /// Scaled for the letterbox, without its padding.
    Letterboxed,
    /// As the camera has it; scaled after decoding.
    Original,
}

/// Adds a row for each codec and quality, and for each number of levels.
pub(crate) fn add_rivals(
    (setup, pictures, qualities): (&Setup, &[TestPicture], &[u8]),
    base: &Row,
    (reference, trained_on): (&Reference<'_>, &TrainedOn),
    document: &mut Document,
) -> Result<()> {
    let sent = Row {
        device_macs: 0,
        device_params: 0,
        edge_params: document.backbone.params,
        ..base.clone()
    };
    let lossless = picture_row(
        setup,
        pictures,
        (PictureCodec::WebPLossless, None, Shown::Letterboxed),
        (&sent, reference),
    )?;
    for shown in [Shown::Letterboxed, Shown::Original] {
        for codec in [PictureCodec::WebP, PictureCodec::Jpeg420] {
            for &quality in qualities {
                let how = (codec, Some(quality), shown);
                let row = picture_row(setup, pictures, how, (&sent, reference))?;
                document.rows.push(row);
            }
        }
    }
    document.rows.push(Row {
        name: "unsplit".to_owned(),
        kind: "unsplit".to_owned(),
        ..lossless.clone()
    });
    document.rows.push(lossless);
    for bits in BITS {
        let row = clip_and_quantize(setup, pictures, bits, base, (reference, trained_on))?;
        document.rows.push(row);
    }
    Ok(())
}

/// All pictures through one codec at one quality, then through the whole network.
fn picture_row(
    setup: &Setup,
    pictures: &[TestPicture],
    (codec, quality, shown): (PictureCodec, Option<u8>, Shown),
    (sent, reference): (&Row, &Reference<'_>),
) -> Result<Row> {
    let mut sums = (0, 0);
    let mut decoded = Vec::with_capacity(pictures.len());
    for one in pictures {
        let picture = match shown {
            Shown::Letterboxed => one.letterbox.content_picture(),
            Shown::Original => one.original.clone(),
        };
        let size = [picture.width(), picture.height()].map(usize::try_from);
        let [width, height] = [size[0]?, size[1]?];
        let quality = quality.unwrap_or(100);
        let coded = rivals::encode(codec, picture.as_raw(), (width, height), quality)?;
        sums.0 += coded.file.len();
        sums.1 += coded.payload_bytes;
        let picture = RgbImage::from_raw(picture.width(), picture.height(), coded.rgb8)
            .context("a codec gives back a picture of the same size")?;
        let letterbox = match shown {
            Shown::Letterboxed => one.letterbox.with_content(&picture),
            Shown::Original => Letterbox::new(&picture, setup.side)?,
        };
        decoded.push((one.id, letterbox));
    }
    let (suffix, kind) = match (shown, codec) {
        (Shown::Letterboxed, PictureCodec::Jpeg420) => ("", "jpeg".to_owned()),
        (Shown::Letterboxed, other) => ("", other.name().to_owned()),
        (Shown::Original, PictureCodec::Jpeg420) => ("-original", "jpeg-original".to_owned()),
        (Shown::Original, other) => ("-original", format!("{}-original", other.name())),
    };
    let name = match quality {
        Some(quality) => format!("{}{suffix} q{quality}", codec.name()),
        None => format!("{}{suffix}", codec.name()),
    };
    let boxes = setup.detect(
        &name,
        decoded.iter().map(|(id, letterbox)| (*id, letterbox)),
    );
    let total = float(pictures.len().max(1));
    let row = Row {
        name,
        kind,
        ..with_bytes(sent, float(sums.0) / total, float(sums.1) / total)
    };
    reference.row(setup, row, &boxes)
}

/// The activation with values cut to a range and rounded to `2^bits` levels, coded with tables
/// counted on training canvases; the padding is not sent, as with our units.
fn clip_and_quantize(
    setup: &Setup,
    pictures: &[TestPicture],
    bits: u8,
    base: &Row,
    (reference, trained_on): (&Reference<'_>, &TrainedOn),
) -> Result<Row> {
    let cache = &trained_on.cache;
    let seen: Vec<usize> = (0..cache.len().min(CALIBRATION)).collect();
    let samples = values(cache.batch(&seen, &setup.device).activation);
    let levels = Levels::of(&samples, bits)?;
    let shape = cache.shape();
    let whole = LatentShape::new(shape.channels, shape.height, shape.width)?;
    let symbols = samples
        .chunks_exact(shape.len())
        .map(|one| levels.symbols(one.to_vec(), whole))
        .collect::<Result<Vec<_>>>()?;
    let tables = TableSet::fit(&symbols, &FitConfig::default())?;
    let empty = Letterbox::empty_canvas(setup.side)?;
    let empty = split_backbone::canvas_input(&[empty], &setup.device);
    let padding = split_backbone::Head::forward(&setup.head, empty);
    let cell = f64::from(setup.side) / float(shape.height);
    let (mut bytes, mut payload_bytes) = (0, 0);
    let mut boxes: Vec<ScoredBox> = Vec::new();
    let name = format!("clip-quantize {bits} bit");
    let bar = bar(pictures.len(), &name);
    for picture in pictures {
        let (width, height) = picture.letterbox.content();
        let [rows, columns] = [height, width].map(|side| cells(side, cell, shape.height));
        let inside = s![0..1, 0..shape.channels, 0..rows, 0..columns];
        let part = LatentShape::new(shape.channels, rows, columns)?;
        let activation = setup.activation(picture).slice(inside);
        let symbols = levels.symbols(values(activation), part)?;
        let mut payload = Vec::new();
        tables.encode_into(&symbols, &mut payload)?;
        let header = FrameHeader {
            rung: u16::from(bits),
            bank: 0,
            shape: Some(part),
            checksum: true,
        };
        let frame = Frame::new(header, payload)?;
        let file = frame.to_bytes();
        (bytes, payload_bytes) = (bytes + file.len(), payload_bytes + frame.payload_bytes());
        let (received, _) = Frame::parse(&file)?;
        let restored = levels.values(&tables.decode(part, received.payload())?)?;
        let sizes = [1, shape.channels, rows, columns];
        let restored = Tensor::from_data(TensorData::new(restored, sizes), &setup.device);
        let raw = setup.finish(padding.clone().slice_assign(inside, restored));
        boxes.extend(setup.boxes(raw, picture.id, &picture.letterbox));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let total = float(pictures.len().max(1));
    let row = Row {
        name,
        kind: "clip-quantize".to_owned(),
        step: Some(f64::from(levels.step)),
        ..with_bytes(base, float(bytes) / total, float(payload_bytes) / total)
    };
    reference.row(setup, row, &boxes)
}

/// Activation cells that `side` pixels touch.
fn cells(side: u32, cell: f64, most: usize) -> usize {
    (1..=most)
        .find(|cells| float(*cells) * cell >= f64::from(side))
        .unwrap_or(most)
}

/// Equal steps over a range.
struct Levels {
    low: f32,
    high: f32,
    step: f32,
    quantizer: Quantizer,
}

impl Levels {
    /// The range of all but the outermost values.
    fn of(samples: &[f32], bits: u8) -> Result<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f32::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a length"
        )]
        let cut = (float(sorted.len()) * CLIPPED) as usize;
        let low = *sorted.get(cut).context("there are values to look at")?;
        let high = sorted[sorted.len() - 1 - cut];
        let steps = f32::from((1_u16 << bits) - 1);
        let step = ((high - low) / steps).max(f32::MIN_POSITIVE);
        Ok(Self {
            low,
            high,
            step,
            quantizer: Quantizer::uniform(step)?,
        })
    }

    fn symbols(&self, values: Vec<f32>, shape: LatentShape) -> Result<Symbols> {
        let cut = values
            .into_iter()
            .map(|value| value.clamp(self.low, self.high) - self.low);
        Ok(self
            .quantizer
            .quantize(&Latent::new(shape, cut.collect())?)?)
    }

    fn values(&self, symbols: &Symbols) -> Result<Vec<f32>> {
        let values = self.quantizer.dequantize(symbols)?.into_values();
        Ok(values.into_iter().map(|value| value + self.low).collect())
    }
}

fn values(tensor: Tensor<4>) -> Vec<f32> {
    let data = tensor.into_data().convert::<f32>();
    data.try_to_vec().expect("converted to f32 above")
}
