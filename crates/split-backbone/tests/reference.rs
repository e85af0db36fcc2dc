//! Real CIFAR networks on real pictures, against references computed with PyTorch.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod support;

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use serde_json::Value;
use split_backbone::{
    DataSource, Head, LoadOptions, Part, Pictures, Preprocess, ResNet, ResNetConfig, cut, top1,
};

const NETS: [(&str, &str); 4] = [
    ("resnet20", "resnet20-12fca82f.th"),
    ("resnet32", "resnet32-d509ac18.th"),
    ("resnet44", "resnet44-014dd654.th"),
    ("resnet56", "resnet56-4bfd9763.th"),
];

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn network(assets: &Path, (name, file): (&str, &str)) -> (ResNetConfig, ResNet) {
    let config = ResNetConfig::named(name).unwrap();
    let path = assets.join("cifar-resnet").join(file);
    let (network, report) = ResNet::load(&config, &path, &Device::flex()).unwrap();
    assert_eq!(report.unused, Vec::<String>::new());
    assert!(report.sha256.starts_with(&file[9..17]), "{}", report.sha256);
    (config, network)
}

fn pictures(assets: &Path, part: Part, limit: Option<usize>) -> Pictures {
    pictures_of(&assets.join("cifar10"), part, limit)
}

fn pictures_of(dir: &Path, part: Part, limit: Option<usize>) -> Pictures {
    let source = DataSource::Cifar10(dir.to_owned());
    let options = LoadOptions {
        limit,
        framing: None,
    };
    source.load(part, &options).unwrap().pictures
}

fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().unwrap().iter();
    values.map(|v| v.as_f64().unwrap()).collect()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// Pictures on which the best class is the label.
fn correct(network: &ResNet, pictures: &Pictures) -> usize {
    let mut correct = 0;
    for start in (0..pictures.len()).step_by(50) {
        let end = pictures.len().min(start + 50);
        let input = Preprocess::IMAGENET.input(pictures, start..end, &Device::flex());
        let answers = top1(network.forward(input));
        let labels = pictures.labels()[start..end].iter();
        correct += answers
            .iter()
            .zip(labels)
            .filter(|(a, l)| **a == usize::from(**l))
            .count();
    }
    correct
}

#[test]
fn sheets_have_the_digest_of_the_standard_form() {
    let Some(assets) = support::assets("sheets_have_the_digest_of_the_standard_form") else {
        return;
    };
    let index = json(&assets.join("cifar10/index.json"));
    for (part, name) in [(Part::Train, "train"), (Part::Test, "test")] {
        let set = pictures(&assets, part, None);
        let splits = index["splits"].as_array().unwrap();
        let split = splits.iter().find(|s| s["split"] == name).unwrap();
        assert_eq!(set.len() as u64, count(&split["pictures"]));
        assert_eq!(
            set.sha256(),
            split["as_standard_bin"]["sha256"].as_str().unwrap()
        );
        assert_eq!(pictures(&assets, part, Some(1001)), set.range(0..1001));
    }
}

/// The standard form of pictures: a label, then the red, green and blue planes.
fn standard_batch(pictures: &Pictures) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, label) in pictures.labels().iter().enumerate() {
        bytes.push(u8::try_from(*label).unwrap());
        for channel in 0..3 {
            bytes.extend(pictures.rgb8(index).iter().skip(channel).step_by(3));
        }
    }
    bytes
}

#[test]
fn standard_batches_of_real_pictures_are_read_as_the_sheets_are() {
    let Some(assets) = support::assets("standard_batches_of_real_pictures") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("cifar-10-batches-bin");
    fs::create_dir(&inner).unwrap();
    let train = pictures(&assets, Part::Train, Some(2500));
    for (batch, range) in [(1, 0..1000), (2, 1000..2500)] {
        let bytes = standard_batch(&train.range(range));
        fs::write(inner.join(format!("data_batch_{batch}.bin")), bytes).unwrap();
    }
    let test = pictures(&assets, Part::Test, None);
    fs::write(inner.join("test_batch.bin"), standard_batch(&test)).unwrap();
    assert_eq!(
        pictures_of(dir.path(), Part::Train, None).sha256(),
        train.sha256()
    );
    assert_eq!(
        pictures_of(dir.path(), Part::Test, None).sha256(),
        test.sha256()
    );
}

#[test]
fn a_damaged_sheet_is_refused() {
    let Some(assets) = support::assets("a_damaged_sheet_is_refused") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        let bytes = fs::read(assets.join("cifar10").join(name)).unwrap();
        fs::write(dir.path().join(name), &bytes).unwrap();
        bytes
    };
    copy("index.json");
    copy("test-labels.bin");
    let mut sheet = copy("test-00.png");
    sheet[100_000] ^= 1;
    fs::write(dir.path().join("test-00.png"), sheet).unwrap();
    let source = DataSource::Cifar10(dir.path().to_owned());
    let error = source
        .load(Part::Test, &LoadOptions::default())
        .unwrap_err();
    assert!(
        error.to_string().contains("test-00.png is damaged"),
        "{error}"
    );
}

#[test]
fn logits_equal_pytorchs() {
    let Some(assets) = support::assets("logits_equal_pytorchs") else {
        return;
    };
    let reference = json(&assets.join("cifar-resnet/logits.json"));
    let set = pictures(&assets, Part::Test, Some(16));
    let input = Preprocess::IMAGENET.input(&set, 0..16, &Device::flex());
    for net in NETS {
        let (_, network) = network(&assets, net);
        let rows = reference["nets"][net.0]["logits"].as_array().unwrap();
        let expected: Vec<f64> = rows.iter().flat_map(numbers).collect();
        for (form, network) in [("plain", &network), ("folded", &network.fold_batch_norm())] {
            let logits = network.forward(input.clone()).into_data();
            let found = logits.try_to_vec::<f32>().unwrap();
            let worst = found
                .iter()
                .zip(&expected)
                .map(|(f, e)| (f64::from(*f) - e).abs());
            let worst = worst.fold(0.0, f64::max);
            assert!(worst < 1e-4, "{} {form}: {worst}", net.0);
        }
    }
}

#[test]
fn activations_and_costs_at_every_block_equal_the_references() {
    let Some(assets) = support::assets("activations_and_costs_at_every_block") else {
        return;
    };
    let reference = json(&assets.join("cifar-resnet/stages.json"));
    let set = pictures(&assets, Part::Test, Some(1));
    let input = Preprocess::IMAGENET.input(&set, 0..1, &Device::flex());
    for net in NETS {
        let (config, network) = network(&assets, net);
        let reference = &reference[net.0];
        let profile = config.profile(32, 32);
        assert_eq!(profile.parameters, count(&reference["parameters"]));
        assert_eq!(profile.macs, count(&reference["macs_total_with_linear"]));
        let stages = reference["stages"].as_array().unwrap();
        for stage in stages {
            let after = stage["after"].as_str().unwrap();
            let (name, point) = match after {
                "conv1+bn1+relu" => ("conv1", "stem"),
                block if block.starts_with("layer") => (block, block),
                "global average pool" => ("pool", "pool"),
                other => panic!("unknown place {other}"),
            };
            let point = point.parse().unwrap();
            if let Some(macs) = reference["cumulative_macs_conv"].get(name) {
                let index = config.locate(point).unwrap();
                assert_eq!(profile.cuts[index].head_macs, count(macs), "{after}");
            }
            let (head, _) = cut(&network, point).unwrap();
            check_stage(
                stage,
                head.forward(input.clone())
                    .into_data()
                    .try_to_vec()
                    .unwrap(),
            );
        }
        assert!(stages.len() > config.split_points().len() - 2);
    }
}

fn check_stage(stage: &Value, values: Vec<f32>) {
    let after = stage["after"].as_str().unwrap();
    let close = |found: f64, expected: f64, what: &str| {
        let allowed = 1e-4 * expected.abs().max(1.0);
        assert!(
            (found - expected).abs() <= allowed,
            "{after} {what}: {found} {expected}"
        );
    };
    let shape = numbers(&stage["shape"]);
    assert_eq!(shape.iter().product::<f64>(), values.len() as f64);
    let wide: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
    if let Some(expected) = stage.get("values") {
        for (found, expected) in wide.iter().zip(numbers(expected)) {
            close(*found, expected, "value");
        }
        return;
    }
    close(
        wide.iter().sum::<f64>() / wide.len() as f64,
        stage["mean"].as_f64().unwrap(),
        "mean",
    );
    let norm = wide.iter().map(|v| v * v).sum::<f64>().sqrt();
    close(norm, stage["l2"].as_f64().unwrap(), "norm");
    let zeros = values.iter().filter(|&&v| v == 0.0).count() as u64;
    assert!(
        zeros.abs_diff(count(&stage["zeros"])) <= 3,
        "{after}: {zeros} zeros"
    );
    for (found, expected) in wide.iter().zip(numbers(&stage["first8"])) {
        close(*found, expected, "value");
    }
}

#[test]
fn some_hundred_pictures_are_classified_as_well_as_published() {
    let Some(assets) = support::assets("some_hundred_pictures_are_classified") else {
        return;
    };
    let set = pictures(&assets, Part::Test, Some(300));
    let (_, network) = network(&assets, NETS[3]);
    let network = network.fold_batch_norm();
    let share = correct(&network, &set) as f64 / 300.0;
    // Three standard errors around the 93.0 % of all 4,000 pictures.
    assert!((share - 0.93).abs() < 0.045, "{share}");
}

#[test]
fn all_pictures_are_classified_as_published() {
    let Some(assets) = support::assets("all_pictures_are_classified_as_published") else {
        return;
    };
    if !support::slow("all_pictures_are_classified_as_published") {
        return;
    }
    let accuracy = json(&assets.join("cifar-resnet/accuracy.json"));
    let set = pictures(&assets, Part::Test, None);
    for net in NETS {
        let (_, network) = network(&assets, net);
        let rows = accuracy["rows"].as_array().unwrap();
        let row = rows
            .iter()
            .find(|r| r["net"] == net.0 && r["set"] == "test")
            .unwrap();
        assert_eq!(count(&row["total"]), set.len() as u64);
        let folded = network.fold_batch_norm();
        // With separate norms the networks are slower; the smallest one speaks for all.
        let plain = (net.0 == "resnet20").then_some(("plain", &network));
        for (form, network) in plain.into_iter().chain([("folded", &folded)]) {
            let found = correct(network, &set) as u64;
            let expected = count(&row["correct"]);
            eprintln!(
                "{} {form}: {found} of {} correct, reference {expected}",
                net.0,
                set.len()
            );
            assert!(found.abs_diff(expected) <= 1, "{} {form}: {found}", net.0);
        }
    }
}
