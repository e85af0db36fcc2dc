//! Pictures of a pipe: binary PPM files of eight bits, one behind the other.

use std::io::{self, BufRead, ErrorKind};

use image::RgbImage;

/// Longest side and most pixels of a picture.
pub(crate) const MAX_SIDE: u32 = 1 << 14;
pub(crate) const MAX_PIXELS: u32 = 1 << 26;

/// Longest word of a header.
const MAX_WORD_BYTES: usize = 64;

/// Most bytes of a header, blanks included.
const MAX_HEADER_BYTES: usize = 1024;

/// The next picture; nothing at the end of the pipe.
///
/// # Errors
/// For what is no such file or larger than is allowed, before its pixels take memory, and for one that ends early.
pub(crate) fn read(pipe: &mut impl BufRead) -> io::Result<Option<RgbImage>> {
    if pipe.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let [magic, width, height, most] = header(pipe)?;
    if magic != "P6" || most != "255" {
        return Err(wrong("it is no PPM of 8 bits"));
    }
    let (width, height) = (side(&width)?, side(&height)?);
    if width * height > MAX_PIXELS {
        return Err(wrong(&format!(
            "{width}x{height} is more than {MAX_PIXELS} pixels"
        )));
    }
    let mut pixels = vec![0; 3 * (width * height) as usize];
    pipe.read_exact(&mut pixels)
        .map_err(|error| early(error, "it ends within a picture"))?;
    Ok(RgbImage::from_raw(width, height, pixels))
}

/// The four words before the pixels; one blank ends the last.
fn header(pipe: &mut impl BufRead) -> io::Result<[String; 4]> {
    let mut words: [String; 4] = Default::default();
    let mut at = 0;
    for _ in 0..MAX_HEADER_BYTES {
        let mut byte = [0];
        pipe.read_exact(&mut byte)
            .map_err(|error| early(error, "it ends within a header"))?;
        let character = char::from(byte[0]);
        let word = &mut words[at];
        if !character.is_ascii_whitespace() {
            word.push(character);
            if word.len() > MAX_WORD_BYTES {
                break;
            }
        } else if !word.is_empty() {
            at += 1;
            if at == words.len() {
                return Ok(words);
            }
        }
    }
    Err(wrong("it is no PPM"))
}

fn side(text: &str) -> io::Result<u32> {
    let side: u32 = text
        .parse()
        .map_err(|_| wrong("a side that is no number"))?;
    match side {
        1..=MAX_SIDE => Ok(side),
        _ => Err(wrong(&format!("a side of {side} pixels"))),
    }
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

/// Says where a file ended; other errors stay what they are.
fn early(error: io::Error, place: &str) -> io::Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => wrong(place),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_follow_each_other_until_the_end() {
        let mut stream =
            b"P6\n2 1\n255\n\x01\x02\x03\x04\x05\x06P6 1 1 255 \x07\x08\x09".as_slice();
        let first = read(&mut stream).unwrap().unwrap();
        assert_eq!((first.dimensions(), first.as_raw()[5]), ((2, 1), 6));
        let second = read(&mut stream).unwrap().unwrap();
        assert_eq!(second.as_raw(), &[7, 8, 9]);
        assert!(read(&mut stream).unwrap().is_none());
    }

    #[test]
    fn what_is_no_picture_is_refused_before_anything_is_allocated() {
        for (bytes, why) in [
            (b"P5\n1 1\n255\n\x00".as_slice(), "no PPM of 8 bits"),
            (b"P6\n1 1\n65535\n", "no PPM of 8 bits"),
            (b"P6\n99999 1\n255\n", "a side of 99999"),
            (b"P6\n16384 16384\n255\n", "more than"),
            (b"P6\n0 4\n255\n", "a side of 0"),
            (b"P6\n-1 4\n255\n", "no number"),
            (b"P6\n4", "within a header"),
            (b"P6\n4 4\n255\n\x00", "within a picture"),
            (&[b'x'; 500], "no PPM"),
            (&[b' '; 5_000], "no PPM"),
        ] {
            let error = read(&mut &*bytes).unwrap_err().to_string();
            assert!(error.contains(why), "{error} for {why}");
        }
    }
}
