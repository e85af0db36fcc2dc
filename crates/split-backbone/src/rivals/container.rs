//! How much of a coded file is payload: walks over the parts of JPEG, WebP and PNG files.
//!
//! Each function gives the payload bytes, or the offset where the file broke its format.

/// Entropy-coded bytes of all scans: everything between the header of a scan and the marker
/// that ends it, restart markers included.
pub(super) fn jpeg_payload(file: &[u8]) -> Result<usize, usize> {
    if file.get(..2) != Some(&[0xff, 0xd8]) {
        return Err(0);
    }
    let (mut at, mut payload) = (2, 0);
    loop {
        let Some(&[0xff, marker]) = file.get(at..at + 2) else {
            return Err(at);
        };
        if marker == 0xd9 {
            return Ok(payload);
        }
        at += 2;
        let length = file.get(at..at + 2).ok_or(at)?;
        at += usize::from(u16::from_be_bytes([length[0], length[1]]));
        if marker == 0xda {
            let scan = scan_bytes(file.get(at..).ok_or(at)?).ok_or(file.len())?;
            payload += scan;
            at += scan;
        }
    }
}

/// Bytes up to the next marker that is neither a stuffed zero nor a restart.
fn scan_bytes(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(2)
        .position(|pair| pair[0] == 0xff && pair[1] != 0 && !(0xd0..=0xd7).contains(&pair[1]))
}

/// Content of the one picture chunk of a simple WebP file.
pub(super) fn webp_payload(file: &[u8]) -> Result<usize, usize> {
    let chunk = |at: usize, len: usize| file.get(at..at + len).ok_or(at);
    if chunk(0, 4)? != b"RIFF" || chunk(8, 4)? != b"WEBP" {
        return Err(0);
    }
    if !matches!(chunk(12, 4)?, b"VP8 " | b"VP8L") {
        return Err(12);
    }
    let size = chunk(16, 4)?;
    let size = u32::from_le_bytes([size[0], size[1], size[2], size[3]]);
    let size = usize::try_from(size).map_err(|_| 16usize)?;
    chunk(20, size).map(<[u8]>::len)
}

/// Content of all IDAT chunks.
pub(super) fn png_payload(file: &[u8]) -> Result<usize, usize> {
    if file.get(..8) != Some(b"\x89PNG\r\n\x1a\n") {
        return Err(0);
    }
    let (mut at, mut payload) = (8, 0usize);
    loop {
        let head = file.get(at..at + 8).ok_or(at)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let length = usize::try_from(length).map_err(|_| at)?;
        match &head[4..] {
            b"IEND" => return Ok(payload),
            b"IDAT" => payload += length,
            _ => {}
        }
        at = at
            .checked_add(length)
            .and_then(|a| a.checked_add(12))
            .ok_or(at)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jpeg_payload_counts_scan_bytes_only() {
        let file = [
            0xff, 0xd8, // start
            0xff, 0xdb, 0, 4, 9, 9, // a table
            0xff, 0xda, 0, 3, 7, // scan header
            1, 0xff, 0, 2, 0xff, 0xd0, 3, // stuffed byte, restart
            0xff, 0xd9,
        ];
        assert_eq!(jpeg_payload(&file), Ok(7));
    }

    #[test]
    fn webp_payload_is_the_chunk_without_padding() {
        let mut file = b"RIFF\x10\0\0\0WEBPVP8 \x03\0\0\0abc\0".to_vec();
        assert_eq!(webp_payload(&file), Ok(3));
        file[16] = 9;
        assert_eq!(webp_payload(&file), Err(20));
    }

    #[test]
    fn png_payload_sums_data_chunks() {
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        for (kind, length) in [(b"IHDR", 13u8), (b"IDAT", 5), (b"IDAT", 2), (b"IEND", 0)] {
            file.extend([0, 0, 0, length]);
            file.extend(kind);
            file.extend(vec![0; usize::from(length) + 4]);
        }
        assert_eq!(png_payload(&file), Ok(7));
    }

    #[test]
    fn cut_off_files_are_refused() {
        let jpeg = [0xff, 0xd8, 0xff, 0xda, 0, 3, 7, 1, 2, 3];
        for len in 0..=jpeg.len() {
            assert!(jpeg_payload(&jpeg[..len]).is_err());
        }
        let webp = b"RIFF\x10\0\0\0WEBPVP8 \x03\0\0\0abc";
        for len in 0..webp.len() {
            assert!(webp_payload(&webp[..len]).is_err());
        }
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x01IDATx\0\0\0\0";
        for len in 0..=png.len() {
            assert!(png_payload(&png[..len]).is_err());
        }
    }
}
