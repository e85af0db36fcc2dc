//! Weight files: round trips, and what is said when they do not fit.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod support;

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use split_backbone::{ResNet, ResNetConfig, StemConfig, WeightsError};

fn small(widths: &[usize]) -> ResNetConfig {
    let stem = StemConfig {
        kernel: 3,
        stride: 2,
        width: widths[0],
        max_pool: false,
    };
    ResNetConfig::small(stem, widths, &vec![1; widths.len()], 4).unwrap()
}

fn load(config: &ResNetConfig, path: &Path) -> Result<ResNet, WeightsError> {
    ResNet::load(config, path, &Device::flex()).map(|(network, _)| network)
}

fn weights_of(network: &ResNet) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("net.safetensors");
    network.save(&path).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn saved_weights_load_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("net.safetensors");
    let network = small(&[4, 8]).init_seeded(3, &Device::flex());
    network.save(&path).unwrap();
    let (loaded, report) = ResNet::load(&small(&[4, 8]), &path, &Device::flex()).unwrap();
    assert!(weights_of(&loaded) == weights_of(&network));
    assert_eq!(report.unused, Vec::<String>::new());
    assert_eq!(report.applied, network.tensor_names().len());
    assert_eq!(report.sha256, split_backbone::file_sha256(&path).unwrap());
}

#[test]
fn the_file_says_how_many_classes_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("net.safetensors");
    let config = small(&[4, 8]);
    let seven = config.clone().with_classes(7).unwrap();
    let network = seven.init_seeded(3, &Device::flex());
    network.save(&path).unwrap();
    let (loaded, _) = ResNet::load_with_its_classes(&config, &path, &Device::flex()).unwrap();
    assert_eq!(loaded.config().classes(), 7);
    assert!(weights_of(&loaded) == weights_of(&network));
    // Who asks for his own number gets it or an error.
    let error = load(&config, &path).unwrap_err().to_string();
    assert!(error.contains("fc.weight"), "{error}");
}

#[test]
fn saved_names_are_torchvisions() {
    let names = ResNetConfig::named("resnet18")
        .unwrap()
        .init(&Device::flex())
        .tensor_names();
    for (name, shape) in [
        ("conv1.weight", vec![64, 3, 7, 7]),
        ("bn1.running_var", vec![64]),
        ("layer2.0.downsample.0.weight", vec![128, 64, 1, 1]),
        ("layer2.0.downsample.1.bias", vec![128]),
        ("layer4.1.bn2.weight", vec![512]),
        ("fc.weight", vec![1000, 512]),
        ("fc.bias", vec![1000]),
    ] {
        assert_eq!(names.get(name), Some(&shape), "{name}");
    }
    // 20 convolutions, as many norms of four vectors, and the classifier.
    assert_eq!(names.len(), 20 + 20 * 4 + 2);
}

#[test]
fn a_missing_file_is_named() {
    let error = load(&small(&[4]), Path::new("no/such.pth")).unwrap_err();
    assert!(matches!(error, WeightsError::Io { .. }));
    assert!(error.to_string().contains("no/such.pth"));
}

#[test]
fn weights_of_another_network_are_refused_with_both_shapes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("narrow.safetensors");
    small(&[4, 8])
        .init_seeded(1, &Device::flex())
        .save(&path)
        .unwrap();
    let error = load(&small(&[4, 16]), &path).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("narrow.safetensors"), "{text}");
    assert!(
        text.contains("layer2.0.conv1.weight is [16, 4, 3, 3] in the network"),
        "{text}"
    );
    assert!(text.contains("[8, 4, 3, 3] in the file"), "{text}");
    let error = load(&small(&[4, 8, 8]), &path).unwrap_err();
    let WeightsError::WrongNetwork {
        missing, shapes, ..
    } = error
    else {
        panic!("{error}");
    };
    assert!(missing.contains(&"layer3.0.conv1.weight".to_owned()));
    assert_eq!(shapes, []);
}

#[test]
fn damaged_files_are_refused_and_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let whole = weights_of(&small(&[4]).init_seeded(1, &Device::flex()));
    for (name, bytes) in [
        ("empty.pth", Vec::new()),
        ("text.pth", b"not weights at all".to_vec()),
        ("zeros.safetensors", vec![0; 64]),
        ("cut.safetensors", whole[..whole.len() / 2].to_vec()),
        ("long.safetensors", [vec![255; 8], whole.clone()].concat()),
        ("legacy.th", vec![0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c]),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = load(&small(&[4]), &path).unwrap_err();
        assert!(
            matches!(error, WeightsError::Unreadable { .. }),
            "{name}: {error:?}"
        );
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn values_that_are_no_numbers_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nan.safetensors");
    let mut bytes = weights_of(&small(&[4]).init_seeded(1, &Device::flex()));
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let error = load(&small(&[4]), &path).unwrap_err();
    assert!(matches!(error, WeightsError::NotFinite { .. }), "{error}");
}

#[test]
fn saving_into_a_missing_folder_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let network = small(&[4]).init(&Device::flex());
    let error = network
        .save(&dir.path().join("no/net.safetensors"))
        .unwrap_err();
    assert!(matches!(error, WeightsError::Unwritable { .. }), "{error}");
}

#[test]
fn a_cut_off_checkpoint_is_refused() {
    let Some(assets) = support::assets("a_cut_off_checkpoint_is_refused") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let bytes = fs::read(assets.join("cifar-resnet/resnet20-12fca82f.th")).unwrap();
    let config = ResNetConfig::named("resnet20").unwrap();
    for length in [bytes.len() - 1, bytes.len() / 2, 4096, 100] {
        let path = dir.path().join("resnet20.th");
        fs::write(&path, &bytes[..length]).unwrap();
        let error = load(&config, &path).unwrap_err();
        assert!(
            matches!(error, WeightsError::Unreadable { .. }),
            "{length}: {error}"
        );
    }
    let error = load(
        &ResNetConfig::named("resnet32").unwrap(),
        &assets.join("cifar-resnet/resnet20-12fca82f.th"),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("layer1.3.conv1.weight"),
        "{error}"
    );
}
