use super::*;
use crate::embedded::{self, EmbeddedSplit};

fn some_pictures() -> Pictures {
    embedded::pictures(EmbeddedSplit::Test, 12).unwrap()
}

fn mean_square_error(a: &[u8], b: &[u8]) -> f64 {
    let sum: f64 = a
        .iter()
        .zip(b)
        .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
        .sum();
    sum / count(a.len())
}

/// Mean file bytes, mean payload bytes, mean square error.
fn check(codec: PictureCodec, quality: u8) -> (f64, f64, f64) {
    let pictures = some_pictures();
    let (decoded, file, payload) = code_all(&pictures, codec, quality).unwrap();
    let error: f64 = (0..pictures.len())
        .map(|i| mean_square_error(pictures.rgb8(i), decoded.rgb8(i)))
        .sum();
    (file, payload, error / count(pictures.len()))
}

#[test]
fn lossless_codecs_give_back_every_pixel() {
    for codec in [PictureCodec::WebPLossless, PictureCodec::Png] {
        let (_, _, error) = check(codec, 0);
        assert_eq!(error, 0.0, "{codec:?}");
    }
}

#[test]
fn more_quality_costs_bytes_and_lowers_the_error() {
    for codec in [
        PictureCodec::Jpeg420,
        PictureCodec::Jpeg444,
        PictureCodec::WebP,
    ] {
        let points: Vec<_> = [0, 20, 50, 80, 95].map(|q| check(codec, q)).to_vec();
        for pair in points.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{codec:?}: file bytes {points:?}");
            assert!(pair[0].1 < pair[1].1, "{codec:?}: payload bytes {points:?}");
            assert!(pair[0].2 > pair[1].2, "{codec:?}: error {points:?}");
        }
        assert!(points[4].2 < 150.0, "{codec:?}: {points:?}");
    }
}

#[test]
fn jpeg_without_chroma_subsampling_is_nearer_to_the_picture() {
    assert!(check(PictureCodec::Jpeg444, 90).2 < check(PictureCodec::Jpeg420, 90).2);
}

#[test]
fn payload_is_the_file_less_its_headers() {
    let pictures = some_pictures();
    for &codec in PictureCodec::ALL {
        let coded = encode(codec, pictures.rgb8(3), (64, 64), 60).unwrap();
        let overhead = coded.file.len() - coded.payload_bytes;
        let allowed = match codec {
            PictureCodec::Jpeg420 | PictureCodec::Jpeg444 => 200..=700,
            // A chunk of odd length is padded by one byte.
            PictureCodec::WebP | PictureCodec::WebPLossless => 20..=21,
            PictureCodec::Png => 57..=57,
        };
        assert!(allowed.contains(&overhead), "{codec:?}: {overhead}");
        assert_eq!(coded.rgb8.len(), pictures.rgb8(3).len(), "{codec:?}");
    }
}

#[test]
fn odd_sizes_and_single_pixels_are_coded() {
    for (width, height) in [(1, 1), (7, 3), (17, 33)] {
        let rgb8: Vec<u8> = (0..width * height * 3)
            .map(|i| u8::try_from(i * 37 % 256).unwrap())
            .collect();
        for &codec in PictureCodec::ALL {
            let coded = encode(codec, &rgb8, (width, height), 75).unwrap();
            assert_eq!(coded.rgb8.len(), rgb8.len(), "{codec:?} {width}x{height}");
        }
    }
}

#[test]
fn wrong_sizes_and_qualities_are_named() {
    let wrong = |size, quality| encode(PictureCodec::WebP, &[0; 12], size, quality);
    assert!(matches!(
        wrong((3, 2), 50),
        Err(RivalError::Size { bytes: 12, .. })
    ));
    assert!(matches!(wrong((0, 0), 50), Err(RivalError::Size { .. })));
    assert!(matches!(
        wrong((2, 2), 101),
        Err(RivalError::Quality { found: 101 })
    ));
    assert!(matches!(
        wrong((usize::MAX, 2), 50),
        Err(RivalError::Size { .. })
    ));
}

#[test]
fn evaluation_counts_correct_predictions_and_bytes() {
    let pictures = some_pictures();
    let mut shown = 0;
    let points = evaluate(&pictures, PictureCodec::WebP, &[10, 90], |decoded| {
        shown += 1;
        assert_eq!(decoded.labels(), pictures.labels());
        decoded
            .labels()
            .iter()
            .enumerate()
            .map(|(i, l)| if i < 3 { 99 } else { usize::from(*l) })
            .collect()
    })
    .unwrap();
    assert_eq!(shown, 2);
    assert_eq!((points[0].correct, points[0].total), (9, 12));
    assert!((points[0].top1() - 0.75).abs() < 1e-12);
    let overhead = points[1].file_bytes - points[1].payload_bytes;
    assert!((20.0..=21.0).contains(&overhead));
}

#[test]
fn evaluation_refuses_a_wrong_number_of_predictions() {
    let result = evaluate(&some_pictures(), PictureCodec::Png, &[0], |_| vec![1; 5]);
    assert!(matches!(
        result,
        Err(RivalError::Predictions {
            found: 5,
            expected: 12
        })
    ));
}
