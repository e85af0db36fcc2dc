//! Our residual networks are torchvision's: the same tensor names and the same answers.
//!
//! `torchvision/make_reference.py` made the files that are compared with. Weights and inputs
//! come from an integer formula, here and there.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use split_backbone::{ResNet, ResNetConfig};

/// Numbers in 0..1 by a hash of their index, exact in 32-bit floats.
fn unit(count: usize, seed: u32) -> Vec<f32> {
    let value = |index: u32| {
        let mut u = index.wrapping_mul(2_654_435_761).wrapping_add(seed);
        u ^= u >> 16;
        u = u.wrapping_mul(2_246_822_519);
        u ^= u >> 13;
        u = u.wrapping_mul(3_266_489_917);
        u ^= u >> 16;
        (u >> 8) as f32 / 16_777_216.0
    };
    (0..u32::try_from(count).unwrap()).map(value).collect()
}

/// FNV-1a, 32 bits.
fn seed_of(name: &str) -> u32 {
    name.bytes().fold(2_166_136_261, |value, byte| {
        (value ^ u32::from(byte)).wrapping_mul(16_777_619)
    })
}

/// The made-up values of one tensor.
fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    let draw = unit(shape.iter().product(), seed_of(name));
    let vector = shape.len() == 1;
    if name.ends_with("running_var") || (vector && name.ends_with("weight")) {
        return draw.into_iter().map(|value| value + 0.5).collect();
    }
    let bound = if vector {
        0.25
    } else {
        let fan_in: usize = shape[1..].iter().product();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounded once, as in the script"
        )]
        let bound = (12.0 / fan_in as f64).sqrt() as f32;
        bound
    };
    draw.into_iter()
        .map(|value| (value - 0.5) * bound)
        .collect()
}

/// A safetensors file: header length, header, values.
fn write_weights(path: &Path, tensors: &BTreeMap<String, Vec<usize>>) {
    let mut header = BTreeMap::new();
    let mut bytes = Vec::new();
    for (name, shape) in tensors {
        let begin = bytes.len();
        bytes.extend(values(name, shape).into_iter().flat_map(f32::to_le_bytes));
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, bytes.len()]});
        header.insert(name, entry);
    }
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = u64::try_from(header.len()).unwrap().to_le_bytes().to_vec();
    file.extend(header);
    file.extend(bytes);
    fs::write(path, file).unwrap();
}

fn picture(height: usize, width: usize) -> Tensor<4> {
    let seed = u32::try_from(height * 1000 + width).unwrap();
    let values = unit(3 * height * width, seed);
    let values: Vec<f32> = values.into_iter().map(|value| value * 4.0 - 2.0).collect();
    Tensor::from_data(
        TensorData::new(values, [1, 3, height, width]),
        &Device::flex(),
    )
}

fn check_answers(name: &str) {
    let reference: Value = serde_json::from_str(include_str!("torchvision/outputs.json")).unwrap();
    let config = ResNetConfig::named(name).unwrap();
    let names = config.init(&Device::flex()).tensor_names();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made.safetensors");
    write_weights(&path, &names);
    let (network, report) = ResNet::load(&config, &path, &Device::flex()).unwrap();
    assert_eq!(report.applied, names.len());
    let answers = reference[name].as_array().unwrap();
    assert_eq!(answers.len(), 2);
    for (form, network) in [("plain", &network), ("folded", &network.fold_batch_norm())] {
        for answer in answers {
            let side = |name: &str| usize::try_from(answer[name].as_u64().unwrap()).unwrap();
            let (height, width) = (side("height"), side("width"));
            let logits = network.forward(picture(height, width)).into_data();
            let found = logits.try_to_vec::<f32>().unwrap();
            let expected = answer["logits"].as_array().unwrap();
            assert_eq!(found.len(), expected.len());
            for (class, (found, expected)) in found.iter().zip(expected).enumerate() {
                let (found, expected) = (f64::from(*found), expected.as_f64().unwrap());
                let error = (found - expected).abs() / expected.abs().max(1.0);
                assert!(
                    error <= 1e-4,
                    "{name} {form} {height}x{width}, class {class}: {found}, not {expected}"
                );
            }
        }
    }
}

#[test]
fn resnet18_answers_like_torchvisions() {
    check_answers("resnet18");
}

#[test]
fn resnet50_answers_like_torchvisions() {
    check_answers("resnet50");
}

/// Lines "NAME SHAPE" in order of the names, as the script writes them.
fn lines(config: &ResNetConfig) -> Vec<String> {
    let names = config.init(&Device::flex()).tensor_names();
    let line = |(name, shape): (String, Vec<usize>)| {
        let sides: Vec<String> = shape.iter().map(ToString::to_string).collect();
        format!("{name} {}\n", sides.join("x"))
    };
    names.into_iter().map(line).collect()
}

#[test]
fn every_name_and_shape_of_every_torchvision_network_is_ours() {
    let mut checked = 0;
    for reference in include_str!("torchvision/names.txt").lines() {
        let mut words = reference.split(' ');
        let [name, count, digest] = [(); 3].map(|()| words.next().unwrap());
        let lines = lines(&ResNetConfig::named(name).unwrap());
        assert_eq!(lines.len().to_string(), count, "{name}");
        let found = Sha256::digest(lines.concat());
        let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, digest, "{name}");
        checked += 1;
    }
    assert_eq!(checked, 10);
}

#[test]
fn the_full_lists_of_names_are_ours_line_by_line() {
    for (name, list) in [
        ("resnet18", include_str!("torchvision/resnet18.txt")),
        ("resnet50", include_str!("torchvision/resnet50.txt")),
    ] {
        let found = lines(&ResNetConfig::named(name).unwrap());
        let expected: Vec<&str> = list.split_inclusive('\n').collect();
        assert_eq!(found, expected, "{name}");
    }
}
