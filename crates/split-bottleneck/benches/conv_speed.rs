//! Times this crate's convolutions against Burn's own on the flex backend.
//!
//! ```text
//! RAYON_NUM_THREADS=1 cargo bench -p split-bottleneck --features flex --bench conv_speed
//! ```
//!
//! One line a shape and batch: the best times in milliseconds of the forward pass and of forward and
//! backward together with a frozen weight (`frozen`) and a trained one (`trained`), ours and
//! Burn's in turn. Arguments are batches; the default is 1, 32 and 64.
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

use std::time::{Duration, Instant};

use burn::tensor::module::{conv_transpose2d, conv2d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{Device, Tensor, TensorData};
use split_bottleneck::ops::{self, ConvTransposeSpec};

/// A square convolution.
struct Shape {
    name: &'static str,
    channels: [usize; 2],
    size: usize,
    kernel: usize,
    stride: usize,
    depthwise: bool,
    transposed: bool,
}

fn shapes() -> Vec<Shape> {
    let mut shapes = Vec::new();
    let mut add = |name, channels, size, kernel, stride| {
        shapes.push(Shape {
            name,
            channels,
            size,
            kernel,
            stride,
            depthwise: name.starts_with("depthwise"),
            transposed: name.ends_with("transposed"),
        });
    };
    add("3x3", [16, 16], 32, 3, 1);
    add("3x3", [32, 32], 16, 3, 1);
    add("3x3", [64, 64], 8, 3, 1);
    add("3x3", [128, 128], 4, 3, 1);
    add("3x3 stride 2", [16, 32], 32, 3, 2);
    add("3x3 stride 2", [32, 64], 16, 3, 2);
    add("1x1", [32, 32], 16, 1, 1);
    add("1x1", [64, 16], 8, 1, 1);
    add("1x1 stride 2", [32, 64], 16, 1, 2);
    add("depthwise", [32, 32], 16, 3, 1);
    add("depthwise stride 2", [32, 32], 16, 3, 2);
    add("depthwise stride 2", [64, 64], 8, 3, 2);
    add("depthwise transposed", [32, 32], 8, 3, 2);
    add("depthwise transposed", [64, 64], 4, 3, 2);
    shapes
}

/// Values that vary without a random number generator.
fn fill<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let value = |index: u16| f32::from(index.wrapping_mul(40_503) >> 4) / 2048.0 - 1.0;
    let values: Vec<f32> = (0..=u16::MAX).cycle().take(count).map(value).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

impl Shape {
    fn run(&self, ours: bool, x: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
        let groups = if self.depthwise { self.channels[0] } else { 1 };
        let (stride, padding) = (self.stride, self.kernel / 2);
        match (self.transposed, ours) {
            (false, true) => ops::conv2d(x, weight, None, stride, padding, groups),
            (false, false) => {
                let options = ConvOptions::new([stride; 2], [padding; 2], [1, 1], groups);
                conv2d(x, weight, None, options)
            }
            (true, true) => {
                let spec = ConvTransposeSpec {
                    stride,
                    padding,
                    padding_out: stride - 1,
                    groups,
                };
                ops::conv_transpose2d(x, weight, None, spec)
            }
            (true, false) => {
                let out = [stride - 1; 2];
                let options =
                    ConvTransposeOptions::new([stride; 2], [padding; 2], out, [1, 1], groups);
                conv_transpose2d(x, weight, None, options)
            }
        }
    }

    /// Best milliseconds of `[forward, frozen, trained]`, for ours and Burn's.
    fn measure(&self, batch: usize) -> [[f64; 3]; 2] {
        let [channels_in, channels_out] = self.channels;
        let x = fill([batch, channels_in, self.size, self.size]);
        let group_in = if self.depthwise { 1 } else { channels_in };
        let weight = fill([channels_out, group_in, self.kernel, self.kernel]);
        let pull = Tensor::from_inner(self.run(false, x.clone(), weight.clone()));
        let mut times: [[Vec<Duration>; 3]; 2] = Default::default();
        let mut total = Duration::ZERO;
        while times[0][0].len() < 5 || total < Duration::from_millis(300) {
            for (ours, times) in [true, false].into_iter().zip(&mut times) {
                for (mode, times) in times.iter_mut().enumerate() {
                    let (x, weight) = (x.clone(), weight.clone());
                    let start = now();
                    if mode == 0 {
                        drop(self.run(ours, x, weight));
                    } else {
                        let x = Tensor::from_inner(x).require_grad();
                        let weight = Tensor::from_inner(weight);
                        let weight = if mode == 2 {
                            weight.require_grad()
                        } else {
                            weight
                        };
                        let output = self.run(ours, x, weight);
                        drop((output * pull.clone()).sum().backward());
                    }
                    let time = start.elapsed();
                    times.push(time);
                    total += time;
                }
            }
        }
        times.map(|modes| modes.map(best))
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark takes the time")]
fn now() -> Instant {
    Instant::now()
}

/// The shortest time: other programs only ever add to it.
fn best(times: Vec<Duration>) -> f64 {
    let shortest = times.into_iter().min().expect("each mode ran");
    shortest.as_secs_f64() * 1e3
}

fn main() {
    let mut batches: Vec<usize> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    if batches.is_empty() {
        batches = vec![1, 32, 64];
    }
    println!("ms: ours / burn (ratio)");
    for shape in shapes() {
        for batch in &batches {
            let [ours, burns] = shape.measure(*batch);
            let [channels_in, channels_out] = shape.channels;
            print!(
                "{:<21} {channels_in:>3}->{channels_out:<3} @{:<2} batch {batch:<2}",
                shape.name, shape.size
            );
            for (mode, name) in ["forward", "frozen", "trained"].into_iter().enumerate() {
                let ratio = burns[mode] / ours[mode];
                print!(
                    "  {name} {:7.3} /{:8.3} ({ratio:4.1}x)",
                    ours[mode], burns[mode]
                );
            }
            println!();
        }
    }
}
