//! Bytes against accuracy of picture codecs for the embedded network:
//! `cargo run -p split-backbone --features flex,rivals --example rival_curves -- [COUNT]`

use std::error::Error;

use burn::tensor::Device;
use split_backbone::embedded::{self, EmbeddedSplit};
use split_backbone::rivals::{self, PictureCodec};

/// Twelve qualities, closer together where the curve bends.
const QUALITIES: [u8; 12] = [0, 5, 10, 20, 30, 40, 50, 60, 75, 85, 95, 100];

#[expect(clippy::print_stdout, reason = "this program prints a table")]
fn main() -> Result<(), Box<dyn Error>> {
    let count = std::env::args().nth(1).map_or(Ok(500), |n| n.parse())?;
    let device = Device::flex();
    let network = embedded::backbone(&device)?;
    let test = embedded::pictures(EmbeddedSplit::Test, count)?;
    let predict = |set: &split_backbone::Pictures| {
        embedded::predictions(&network, &embedded::PREPROCESS, set, (100, &device))
    };
    println!("codec          quality  file bytes  payload  top-1 %");
    for codec in [
        PictureCodec::Jpeg420,
        PictureCodec::Jpeg444,
        PictureCodec::WebP,
        PictureCodec::WebPLossless,
        PictureCodec::Png,
    ] {
        let qualities = if codec.has_quality() {
            &QUALITIES[..]
        } else {
            &[100]
        };
        for point in rivals::evaluate(&test, codec, qualities, predict)? {
            println!(
                "{:14} {:7} {:11.1} {:8.1} {:8.2}",
                codec.name(),
                point.quality,
                point.file_bytes,
                point.payload_bytes,
                100.0 * point.top1()
            );
        }
    }
    Ok(())
}
