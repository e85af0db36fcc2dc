//! Cuts a residual network at every place where one tensor flows, and shows what each cut costs.
//!
//! ```text
//! cargo run -p split-backbone --features flex --example cut_resnet -- resnet56 32
//! ```

use std::error::Error;
use std::io::Write;

use burn::tensor::{Device, Tensor};
use split_backbone::{Head, ResNetConfig, Tail, cut};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "resnet20".to_owned());
    let side: usize = arguments.next().map_or(Ok(32), |text| text.parse())?;

    let config = ResNetConfig::named(&name)?;
    let device = Device::flex();
    let network = config.init_seeded(1, &device);
    let picture = Tensor::ones([1, 3, side, side], &device);
    let whole = network.forward(picture.clone()).into_data();

    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "cut          crosses         bytes    device    params  equal"
    )?;
    for costs in config.profile(side, side).cuts {
        let (head, tail) = cut(&network, costs.point)?;
        let parts = tail.forward(head.forward(picture.clone())).into_data();
        let shape = costs.shape;
        let total = costs.head_macs + costs.tail_macs;
        writeln!(
            out,
            "{:<12} {:<13} {:>7}  {:>6.1} %  {:>8}  {}",
            costs.point.to_string(),
            format!("{}x{}x{}", shape.channels, shape.height, shape.width),
            costs.bytes,
            100.0 * costs.head_macs as f64 / total as f64,
            costs.head_parameters,
            parts == whole,
        )?;
    }
    Ok(())
}
