//! Pictures that are sent as files instead of activations as frames: the whole network runs on the edge.
//! Both ends agree on it by a contract of its own (docs/messages.md).

use std::io::Cursor;

use anyhow::{Context as _, Result, bail, ensure};
use image::ImageReader;
use split_backbone::rivals::{PictureCodec, file_of};
use split_backbone::{Framing, Pictures, decode_picture};
use split_bottleneck::Bank;
use split_runtime::Contract;
use split_tensor::{Frame, FrameHeader};

/// The contract's split point: before the first layer.
pub(crate) const SPLIT: &str = "picture";

/// Descriptor of a payload that is a picture file.
const FILE: u8 = 0;

/// What both ends have to agree on to send pictures to the network of a bank: the network, and the side of
/// its pictures where others have units.
pub(crate) fn contract(bank: &Bank, framing: Framing) -> Contract {
    let backbone = bank.digests().backbone;
    let [low @ .., _, _, _, _] = backbone.to_le_bytes();
    Contract {
        backbone,
        split: SPLIT.to_owned(),
        unit: framing.side() as u64,
        tables: 0,
        bank: u32::from_le_bytes(low),
        rungs: 1,
    }
}

/// A picture file as the protocol carries it: the payload of a frame, behind a descriptor.
///
/// # Errors
/// For a file that is longer than a frame's payload may be.
pub(crate) fn framed(contract: &Contract, file: &[u8]) -> Result<Vec<u8>> {
    let header = FrameHeader {
        rung: 0,
        bank: contract.bank,
        shape: None,
        checksum: true,
    };
    let payload = [&[FILE], file].concat();
    Ok(Frame::new(header, payload)?.to_bytes())
}

/// The picture in a frame, which has to be a square of the model's own side already: decoders allocate by
/// what a file says of itself.
///
/// # Errors
/// For what is no frame, no picture file (JPEG, PNG or WebP) or no such square.
pub(crate) fn unframed(body: &[u8], framing: Framing) -> Result<Pictures> {
    let (frame, _) = Frame::parse(body)?;
    let [FILE, file @ ..] = frame.payload() else {
        bail!("the payload is no picture file");
    };
    let reader = ImageReader::new(Cursor::new(file)).with_guessed_format()?;
    let (width, height) = reader
        .into_dimensions()
        .context("the payload is no JPEG, PNG or WebP file")?;
    let side = framing.side();
    ensure!(
        [width, height].map(usize::try_from) == [Ok(side), Ok(side)],
        "a picture of {width}x{height} pixels, this model takes {side}x{side}"
    );
    Ok(Pictures::of_image(&decode_picture(file)?, framing)?)
}

/// How a picture is coded before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    codec: PictureCodec,
    /// 0 to 100; nothing for codecs without loss.
    quality: Option<u8>,
}

impl Form {
    /// The form of this name, as tables and menus write them: `webp-q30`, `jpeg-420-q75`, `webp-lossless`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        PictureCodec::ALL.iter().find_map(|&codec| {
            let rest = name.strip_prefix(codec.name())?;
            let quality = match rest.strip_prefix("-q") {
                Some(digits) if codec.has_quality() => {
                    Some(digits.parse().ok().filter(|quality| *quality <= 100)?)
                }
                None if !codec.has_quality() && rest.is_empty() => None,
                _ => return None,
            };
            Some(Self { codec, quality })
        })
    }

    /// The file of a picture that is framed already.
    ///
    /// # Errors
    /// Where the codec gives up.
    pub(crate) fn file(self, picture: &Pictures) -> Result<Vec<u8>> {
        let quality = self.quality.unwrap_or_default();
        let size = (picture.width(), picture.height());
        Ok(file_of(self.codec, picture.rgb8(0), size, quality)?)
    }
}

impl std::fmt::Display for Form {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.codec.name())?;
        match self.quality {
            Some(quality) => write!(out, "-q{quality}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(side: usize) -> Pictures {
        let pixels = (0..side * side * 3).map(|at| u8::try_from(at * 37 % 251).unwrap());
        Pictures::new((side, side), pixels.collect(), vec![0], vec![String::new()]).unwrap()
    }

    fn some_contract() -> Contract {
        Contract {
            backbone: 1,
            split: SPLIT.to_owned(),
            unit: 16,
            tables: 0,
            bank: 1,
            rungs: 1,
        }
    }

    #[test]
    fn forms_are_named_as_in_tables_and_nothing_else_is_one() {
        for name in [
            "webp-q30",
            "jpeg-420-q0",
            "jpeg-444-q100",
            "webp-lossless",
            "png",
        ] {
            assert_eq!(Form::named(name).unwrap().to_string(), name);
        }
        for name in [
            "webp",
            "webp-q",
            "webp-q101",
            "webp-q-1",
            "png-q3",
            "webp-lossless-q3",
            "jpeg-q30",
            "unit-1",
            "",
        ] {
            assert_eq!(Form::named(name), None, "{name}");
        }
    }

    #[test]
    fn pictures_go_through_a_frame_and_those_of_other_sides_are_refused() {
        let (picture, framing) = (noise(16), Framing::square(16).unwrap());
        for name in ["webp-lossless", "png"] {
            let file = Form::named(name).unwrap().file(&picture).unwrap();
            let body = framed(&some_contract(), &file).unwrap();
            let back = unframed(&body, framing).unwrap();
            assert_eq!(back.rgb8(0), picture.rgb8(0), "{name}");
            let error = unframed(&body, Framing::square(8).unwrap()).unwrap_err();
            let expected = "a picture of 16x16 pixels, this model takes 8x8";
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn damaged_files_are_refused_and_never_panic() {
        let framing = Framing::square(16).unwrap();
        for name in ["webp-q40", "jpeg-420-q40", "png"] {
            let file = Form::named(name).unwrap().file(&noise(16)).unwrap();
            for cut in 0..file.len() / 2 {
                let body = framed(&some_contract(), &file[..cut]).unwrap();
                assert!(unframed(&body, framing).is_err(), "{name} cut at {cut}");
            }
            for at in 0..file.len() {
                let mut file = file.clone();
                file[at] ^= 0x55;
                // What still decodes is a picture of this side.
                if let Ok(read) = unframed(&framed(&some_contract(), &file).unwrap(), framing) {
                    assert_eq!((read.width(), read.height()), (16, 16));
                }
            }
        }
    }
}
