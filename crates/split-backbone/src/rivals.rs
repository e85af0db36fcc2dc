//! Picture codecs as rivals: what a device would send if it sent the picture.
//!
//! JPEG comes from `jpeg-encoder` with Huffman tables optimised for each picture, WebP from
//! libwebp at method 6, its slowest. Each coded picture is counted twice: the whole file, and
//! its payload alone, without headers and tables that a closed system could agree on
//! beforehand. What the network then sees is decoded from those very bytes.

mod container;

use std::io::Cursor;

use image::{ImageFormat, RgbImage};
use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, SamplingFactor};
use rayon::prelude::*;
use thiserror::Error;

use crate::data::{Pictures, PicturesError};

/// Largest side of a picture in pixels that every codec here can hold.
pub const MAX_RIVAL_SIDE: usize = 16383;

/// A picture codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PictureCodec {
    /// JPEG, baseline, chroma halved in both directions.
    Jpeg420,
    /// JPEG, baseline, chroma at full size.
    Jpeg444,
    /// WebP, lossy, method 6.
    WebP,
    /// WebP, lossless, method 6. Has no quality.
    WebPLossless,
    /// PNG. Has no quality.
    Png,
}

impl PictureCodec {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Jpeg420,
        Self::Jpeg444,
        Self::WebP,
        Self::WebPLossless,
        Self::Png,
    ];

    /// Name in tables and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg420 => "jpeg-420",
            Self::Jpeg444 => "jpeg-444",
            Self::WebP => "webp",
            Self::WebPLossless => "webp-lossless",
            Self::Png => "png",
        }
    }

    /// Whether the codec loses detail and takes a quality.
    #[must_use]
    pub fn has_quality(self) -> bool {
        !matches!(self, Self::WebPLossless | Self::Png)
    }
}

/// Why a picture was not coded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RivalError {
    /// The pixels do not fit the size, or a side is 0 or too long.
    #[error(
        "{bytes} bytes are no {width}x{height} picture of three bytes a pixel with sides of 1 to \
         {MAX_RIVAL_SIDE}"
    )]
    Size {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// Number of bytes given.
        bytes: usize,
    },
    /// Quality goes from 0 to 100.
    #[error("quality {found} is above 100")]
    Quality {
        /// The quality asked for.
        found: u8,
    },
    /// An encoder gave up.
    #[error("{codec} could not encode: {reason}", codec = codec.name())]
    Encode {
        /// The codec.
        codec: PictureCodec,
        /// What its encoder said.
        reason: String,
    },
    /// The coded bytes could not be decoded to a picture of the same size.
    #[error("{codec} could not be decoded: {reason}", codec = codec.name())]
    Decode {
        /// The codec.
        codec: PictureCodec,
        /// What the decoder said.
        reason: String,
    },
    /// The coded bytes are not laid out as their format says.
    #[error("{codec} file breaks off or has no picture at byte {offset}", codec = codec.name())]
    Layout {
        /// The codec.
        codec: PictureCodec,
        /// Where the walk over the file ended.
        offset: usize,
    },
    /// The network gave another number of predictions than there are pictures.
    #[error("{found} predictions for {expected} pictures")]
    Predictions {
        /// Predictions given.
        found: usize,
        /// Pictures shown.
        expected: usize,
    },
    /// The decoded pictures make no set.
    #[error(transparent)]
    Pictures(#[from] PicturesError),
}

/// A picture as a codec leaves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodedPicture {
    /// The whole file.
    pub file: Vec<u8>,
    /// Bytes of the file without its headers and tables: for JPEG the entropy-coded data, for
    /// WebP the content of its one chunk (20 bytes less than the file), for PNG the content of
    /// the IDAT chunks.
    pub payload_bytes: usize,
    /// The picture decoded from `file`, three bytes a pixel.
    pub rgb8: Vec<u8>,
}

/// Codes a picture of `width` times `height` pixels and decodes it again. `quality` (0 to 100)
/// means what it means in libjpeg and libwebp; codecs without loss ignore it.
///
/// # Errors
///
/// [`RivalError`] if the size or quality is out of range or a codec fails.
pub fn encode(
    codec: PictureCodec,
    rgb8: &[u8],
    (width, height): (usize, usize),
    quality: u8,
) -> Result<CodedPicture, RivalError> {
    let file = file_of(codec, rgb8, (width, height), quality)?;
    let payload = match codec {
        PictureCodec::Jpeg420 | PictureCodec::Jpeg444 => container::jpeg_payload(&file),
        PictureCodec::WebP | PictureCodec::WebPLossless => container::webp_payload(&file),
        PictureCodec::Png => container::png_payload(&file),
    };
    let payload_bytes = payload.map_err(|offset| RivalError::Layout { codec, offset })?;
    let decoded = decode(codec, &file).map_err(|reason| RivalError::Decode { codec, reason })?;
    if decoded.len() != rgb8.len() {
        let reason = format!("{} bytes of pixels, not {}", decoded.len(), rgb8.len());
        return Err(RivalError::Decode { codec, reason });
    }
    Ok(CodedPicture {
        file,
        payload_bytes,
        rgb8: decoded,
    })
}

/// Codes a picture as [`encode`] does, and leaves it at that.
///
/// # Errors
///
/// [`RivalError`] if the size or quality is out of range or the encoder fails.
pub fn file_of(
    codec: PictureCodec,
    rgb8: &[u8],
    (width, height): (usize, usize),
    quality: u8,
) -> Result<Vec<u8>, RivalError> {
    let size = checked_size(rgb8, width, height)?;
    if quality > 100 {
        return Err(RivalError::Quality { found: quality });
    }
    match codec {
        PictureCodec::Jpeg420 | PictureCodec::Jpeg444 => jpeg_file(codec, rgb8, size, quality),
        PictureCodec::WebP | PictureCodec::WebPLossless => webp_file(codec, rgb8, size, quality),
        PictureCodec::Png => png_file(rgb8, size),
    }
}

/// Pixels of a file that [`encode`] wrote.
fn decode(codec: PictureCodec, file: &[u8]) -> Result<Vec<u8>, String> {
    match codec {
        // Optimised tables make the encoder write one scan for each component. The decoder
        // behind `image` (zune-jpeg 0.5.15) reads these with wrong colours where chroma is
        // halved; libjpeg and this one agree.
        PictureCodec::Jpeg420 | PictureCodec::Jpeg444 => jpeg_decoder::Decoder::new(file)
            .decode()
            .map_err(|e| e.to_string()),
        PictureCodec::WebP | PictureCodec::WebPLossless => webp::Decoder::new(file)
            .decode()
            .map(|picture| picture.to_vec())
            .ok_or_else(|| "libwebp refused the file".to_owned()),
        PictureCodec::Png => image::load_from_memory_with_format(file, ImageFormat::Png)
            .map(|picture| picture.into_rgb8().into_raw())
            .map_err(|e| e.to_string()),
    }
}

fn checked_size(rgb8: &[u8], width: usize, height: usize) -> Result<(u16, u16), RivalError> {
    let wrong = RivalError::Size {
        width,
        height,
        bytes: rgb8.len(),
    };
    let side = |n: usize| {
        u16::try_from(n)
            .ok()
            .filter(|_| (1..=MAX_RIVAL_SIDE).contains(&n))
    };
    let (Some(w), Some(h)) = (side(width), side(height)) else {
        return Err(wrong);
    };
    if width * height * 3 != rgb8.len() {
        return Err(wrong);
    }
    Ok((w, h))
}

fn jpeg_file(
    codec: PictureCodec,
    rgb8: &[u8],
    (width, height): (u16, u16),
    quality: u8,
) -> Result<Vec<u8>, RivalError> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, quality);
    encoder.set_sampling_factor(match codec {
        PictureCodec::Jpeg420 => SamplingFactor::F_2_2,
        _ => SamplingFactor::F_1_1,
    });
    // The mean of four pixels, as libjpeg takes it: the default here takes one of the four.
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    encoder.set_optimized_huffman_tables(true);
    encoder
        .encode(rgb8, width, height, ColorType::Rgb)
        .map_err(|e| RivalError::Encode {
            codec,
            reason: e.to_string(),
        })?;
    Ok(file)
}

fn webp_file(
    codec: PictureCodec,
    rgb8: &[u8],
    (width, height): (u16, u16),
    quality: u8,
) -> Result<Vec<u8>, RivalError> {
    let failed = |reason: String| RivalError::Encode { codec, reason };
    let mut config = webp::WebPConfig::new()
        .map_err(|()| failed("libwebp of another version than its headers".to_owned()))?;
    config.method = 6;
    config.quality = f32::from(quality);
    if codec == PictureCodec::WebPLossless {
        config.lossless = 1;
        // Here this is effort. At 100 libwebp tries every way there is: several times as long, for
        // files that hardly differ.
        config.quality = 90.0;
    }
    let encoder = webp::Encoder::from_rgb(rgb8, u32::from(width), u32::from(height));
    let file = encoder
        .encode_advanced(&config)
        .map_err(|e| failed(format!("{e:?}")))?;
    Ok(file.to_vec())
}

fn png_file(rgb8: &[u8], (width, height): (u16, u16)) -> Result<Vec<u8>, RivalError> {
    let codec = PictureCodec::Png;
    let picture = RgbImage::from_raw(u32::from(width), u32::from(height), rgb8.to_vec())
        .expect("the size was checked");
    let mut file = Cursor::new(Vec::new());
    let encoder = image::codecs::png::PngEncoder::new_with_quality(
        &mut file,
        image::codecs::png::CompressionType::Best,
        image::codecs::png::FilterType::Adaptive,
    );
    picture
        .write_with_encoder(encoder)
        .map_err(|e| RivalError::Encode {
            codec,
            reason: e.to_string(),
        })?;
    Ok(file.into_inner())
}

/// A rival at one quality, over a set of pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct RivalPoint {
    /// The codec.
    pub codec: PictureCodec,
    /// Its quality, 0 to 100.
    pub quality: u8,
    /// Mean size of a file in bytes.
    pub file_bytes: f64,
    /// Mean bytes of a file without its headers and tables.
    pub payload_bytes: f64,
    /// Pictures that the network got right after decoding.
    pub correct: usize,
    /// Pictures in the set.
    pub total: usize,
}

impl RivalPoint {
    /// Share of pictures that the network got right, 0 to 1.
    #[must_use]
    pub fn top1(&self) -> f64 {
        count(self.correct) / count(self.total)
    }
}

/// Codes all pictures at each quality, shows what is left of them to `predict` and counts.
///
/// `predict` gives the class of each picture, in order; it is called once for each quality.
///
/// # Errors
///
/// [`RivalError`] if a picture cannot be coded or `predict` gives too few or too many classes.
pub fn evaluate(
    pictures: &Pictures,
    codec: PictureCodec,
    qualities: &[u8],
    mut predict: impl FnMut(&Pictures) -> Vec<usize>,
) -> Result<Vec<RivalPoint>, RivalError> {
    qualities
        .iter()
        .map(|&quality| {
            let (decoded, file_bytes, payload_bytes) = code_all(pictures, codec, quality)?;
            let found = predict(&decoded);
            let (expected, total) = (decoded.labels(), decoded.len());
            if found.len() != total {
                return Err(RivalError::Predictions {
                    found: found.len(),
                    expected: total,
                });
            }
            let hits = found
                .iter()
                .zip(expected)
                .filter(|(f, e)| **f == usize::from(**e));
            let correct = hits.count();
            Ok(RivalPoint {
                codec,
                quality,
                file_bytes,
                payload_bytes,
                correct,
                total,
            })
        })
        .collect()
}

/// All pictures after the codec, with the mean bytes of file and payload.
fn code_all(
    pictures: &Pictures,
    codec: PictureCodec,
    quality: u8,
) -> Result<(Pictures, f64, f64), RivalError> {
    let size = (pictures.width(), pictures.height());
    let coded = (0..pictures.len())
        .into_par_iter()
        .map(|i| encode(codec, pictures.rgb8(i), size, quality))
        .collect::<Result<Vec<_>, _>>()?;
    let file_bytes: usize = coded.iter().map(|c| c.file.len()).sum();
    let payload_bytes: usize = coded.iter().map(|c| c.payload_bytes).sum();
    let rgb8: Vec<u8> = coded.iter().flat_map(|c| c.rgb8.iter().copied()).collect();
    let labels = pictures.labels().to_vec();
    let decoded = Pictures::new(size, rgb8, labels, pictures.classes().to_vec())?;
    let mean = |bytes: usize| count(bytes) / count(pictures.len().max(1));
    Ok((decoded, mean(file_bytes), mean(payload_bytes)))
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests;
