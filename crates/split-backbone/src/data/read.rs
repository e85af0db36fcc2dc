//! One picture file, bounded in size.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use image::{ImageFormat, ImageReader, Limits, RgbImage};
use thiserror::Error;

use super::{Framing, Pictures};

/// Largest picture file that is read, in bytes.
pub const MAX_PICTURE_FILE_BYTES: u64 = 256 << 20;
/// Longest side of a picture file, in pixels.
const MAX_SIDE: u32 = 1 << 15;
/// Most bytes that one picture's decoder may allocate.
const MAX_DECODER_BYTES: usize = 512 << 20;
/// Most times that a picture may be as long as wide.
const MAX_ASPECT: u32 = 64;

/// A picture file cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PictureError {
    /// The file cannot be opened or read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The file is larger than [`MAX_PICTURE_FILE_BYTES`].
    #[error("more than {MAX_PICTURE_FILE_BYTES} bytes")]
    TooLarge,
    /// No decoder knows the file, or it is damaged.
    #[error("{reason}")]
    Damaged {
        /// What the decoder said.
        reason: String,
    },
    /// A JPEG with a number of channels or bits that is not read.
    #[error("JPEG pixels of the form {found}; grey and RGB of 8 bits are read")]
    Pixels {
        /// The form.
        found: String,
    },
    /// A picture without pixels.
    #[error("the picture has no pixels")]
    Empty,
    /// Extreme shapes would be blown up without bound when the shorter side is scaled.
    #[error("{long}x{short} is more than {MAX_ASPECT} times as long as wide")]
    Narrow {
        /// Longer side in pixels.
        long: u32,
        /// Shorter side in pixels.
        short: u32,
    },
}

/// Reads a JPEG, PNG or WebP file as 8-bit RGB.
///
/// # Errors
///
/// [`PictureError`]; no file makes it panic or allocate without bound.
pub fn read_picture(path: &Path) -> Result<RgbImage, PictureError> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_PICTURE_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_PICTURE_FILE_BYTES {
        return Err(PictureError::TooLarge);
    }
    decode_picture(&bytes)
}

impl Pictures {
    /// One picture file as a set of its own, without a class.
    ///
    /// # Errors
    ///
    /// As [`read_picture`].
    pub fn of_file(path: &Path, framing: Framing) -> Result<Self, PictureError> {
        Self::of_image(&read_picture(path)?, framing)
    }

    /// One decoded picture as a set of its own, without a class.
    ///
    /// # Errors
    ///
    /// [`PictureError::Empty`] and [`PictureError::Narrow`].
    pub fn of_image(picture: &RgbImage, framing: Framing) -> Result<Self, PictureError> {
        check_shape(picture)?;
        let pixels = framing.apply(picture).into_raw();
        let size = (framing.side(), framing.side());
        // A framed picture has its square's pixels, so nothing else can be wrong.
        Self::new(size, pixels, vec![0], vec![String::new()]).map_err(|_| PictureError::Empty)
    }
}

/// Decodes a JPEG, PNG or WebP file as 8-bit RGB.
///
/// # Errors
///
/// As [`read_picture`].
pub fn decode_picture(bytes: &[u8]) -> Result<RgbImage, PictureError> {
    if is_cut_jpeg(bytes) {
        return Err(damaged("the file ends within the picture"));
    }
    let picture = if has_scan_per_component(bytes) {
        decode_jpeg(bytes)?
    } else {
        decode_any(bytes)?
    };
    check_shape(&picture)?;
    Ok(picture)
}

fn check_shape(picture: &RgbImage) -> Result<(), PictureError> {
    let (short, long) = (
        picture.width().min(picture.height()),
        picture.width().max(picture.height()),
    );
    if short == 0 {
        return Err(PictureError::Empty);
    }
    if long / short > MAX_ASPECT {
        return Err(PictureError::Narrow { long, short });
    }
    Ok(())
}

/// Whether a JPEG ends before its picture does: decoders fill what is missing with grey. Coded
/// data never holds these markers; a thumbnail's stand before the picture's own.
fn is_cut_jpeg(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|two| two == [0xff, marker]);
    bytes.starts_with(&[0xff, 0xd8]) && last(0xda).is_some_and(|scan| last(0xd9) < Some(scan))
}

fn decode_any(bytes: &[u8]) -> Result<RgbImage, PictureError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = u64::try_from(MAX_DECODER_BYTES).ok();
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    reader.limits(limits);
    let picture = reader.decode().map_err(damaged)?;
    Ok(picture.into_rgb8())
}

/// The decoder behind `image` (zune-jpeg 0.5.15) reads sequential JPEGs with one scan for each
/// component and halved chroma in wrong colours; this one agrees with libjpeg. It is slower, so
/// it reads only these.
fn decode_jpeg(bytes: &[u8]) -> Result<RgbImage, PictureError> {
    let mut decoder = jpeg_decoder::Decoder::new(bytes);
    decoder.set_max_decoding_buffer_size(MAX_DECODER_BYTES);
    decoder.read_info().map_err(damaged)?;
    let info = decoder.info().ok_or(PictureError::Empty)?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    // Coefficients of two bytes and samples of one, for up to three components.
    let needed = u64::from(width) * u64::from(height) * 9;
    if width.max(height) > MAX_SIDE || usize::try_from(needed).is_ok_and(|n| n > MAX_DECODER_BYTES)
    {
        return Err(PictureError::Damaged {
            reason: format!(
                "{width}x{height} is above {MAX_SIDE} pixels a side or takes more than \
                 {MAX_DECODER_BYTES} bytes to decode"
            ),
        });
    }
    let pixels = decoder.decode().map_err(damaged)?;
    let pixels = match info.pixel_format {
        jpeg_decoder::PixelFormat::RGB24 => pixels,
        jpeg_decoder::PixelFormat::L8 => pixels.into_iter().flat_map(|grey| [grey; 3]).collect(),
        other => {
            return Err(PictureError::Pixels {
                found: format!("{other:?}"),
            });
        }
    };
    RgbImage::from_raw(width, height, pixels).ok_or_else(|| PictureError::Damaged {
        reason: format!("the pixels are no {width}x{height} picture"),
    })
}

fn damaged(error: impl std::fmt::Display) -> PictureError {
    PictureError::Damaged {
        reason: error.to_string(),
    }
}

/// Whether the bytes are a sequential JPEG whose first scan lacks some of its components.
fn has_scan_per_component(bytes: &[u8]) -> bool {
    if !matches!(image::guess_format(bytes), Ok(ImageFormat::Jpeg)) {
        return false;
    }
    let mut components = None;
    let mut rest = &bytes[2..];
    while let [0xff, marker, after @ ..] = rest {
        // Fill bytes and markers without a length.
        if *marker == 0xff {
            rest = &rest[1..];
            continue;
        }
        if matches!(marker, 0x01 | 0xd0..=0xd8) {
            rest = after;
            continue;
        }
        let [high, low, ..] = after else {
            return false;
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(segment) = after.get(2..length) else {
            return false;
        };
        match marker {
            // Baseline and extended sequential; progressive ones are read well everywhere.
            0xc0 | 0xc1 => components = segment.get(5).copied(),
            0xda => {
                let scanned = segment.first().copied();
                return components.is_some_and(|all| scanned.is_some_and(|some| some < all));
            }
            _ => {}
        }
        rest = &after[length..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

    /// A colourful picture without sharp edges, so that a decoder's fault shows as a large error.
    fn picture() -> RgbImage {
        RgbImage::from_fn(83, 61, |x, y| {
            let wave = |step: u32| u8::try_from((x * step + y * 2) % 256).unwrap();
            Rgb([wave(1), 255 - wave(2), 128])
        })
    }

    /// With optimised tables the encoder writes one scan for each component.
    fn jpeg(picture: &RgbImage, sampling: SamplingFactor, optimised: bool) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, 95);
        encoder.set_sampling_factor(sampling);
        encoder.set_optimized_huffman_tables(optimised);
        let [width, height] =
            [picture.width(), picture.height()].map(|side| u16::try_from(side).unwrap());
        encoder
            .encode(picture.as_raw(), width, height, ColorType::Rgb)
            .unwrap();
        file
    }

    fn mean_error(found: &RgbImage, expected: &RgbImage) -> f64 {
        let pairs = found.as_raw().iter().zip(expected.as_raw());
        let sum: f64 = pairs.map(|(f, e)| f64::from(f.abs_diff(*e))).sum();
        sum / expected.as_raw().len() as f64
    }

    #[test]
    fn jpegs_with_one_scan_per_component_are_read_in_their_colours() {
        let picture = picture();
        for sampling in [SamplingFactor::F_2_2, SamplingFactor::F_1_1] {
            let file = jpeg(&picture, sampling, true);
            assert!(has_scan_per_component(&file));
            let usual = jpeg(&picture, sampling, false);
            assert!(!has_scan_per_component(&usual));
            // The same coefficients in another order give the same picture.
            let usual = decode_picture(&usual).unwrap();
            let error = mean_error(&decode_picture(&file).unwrap(), &usual);
            assert!(error < 1.0, "{error} of 255");
        }
    }

    #[test]
    fn damaged_jpegs_are_errors_and_never_panic() {
        let file = jpeg(&picture(), SamplingFactor::F_2_2, true);
        for length in 0..file.len() {
            let cut = decode_picture(&file[..length]);
            // The last two bytes only say that the picture ends.
            assert!(cut.is_err(), "{length} of {} bytes", file.len());
        }
        for index in 0..file.len().min(700) {
            let mut damaged = file.clone();
            damaged[index] ^= 0x5a;
            let _ = decode_picture(&damaged);
        }
        assert!(decode_picture(b"\xff\xd8\xff\xda").is_err());
        assert!(decode_picture(b"").is_err());
    }

    #[test]
    fn extreme_shapes_are_refused() {
        let mut file = Cursor::new(Vec::new());
        RgbImage::new(130, 2)
            .write_to(&mut file, ImageFormat::Png)
            .unwrap();
        let error = decode_picture(file.get_ref()).unwrap_err();
        assert!(matches!(
            error,
            PictureError::Narrow {
                long: 130,
                short: 2
            }
        ));
    }
}
