//! YOLOX-nano on real pictures, against references computed with ONNX Runtime and pycocotools.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod support;

use std::path::Path;

use burn::store::{ModuleStore, SafetensorsStore, bridge};
use burn::tensor::{Device, Tensor, TensorData};
use split_backbone::{
    CocoSet, DetectOptions, Detection, Head, Letterbox, ResNetConfig, ScoredBox, Tail, Yolox,
    YoloxConfig, YoloxPoint, average_precision, cut_yolox, decode,
};

const PICTURES: [&str; 4] = [
    "000000000285",
    "000000001503",
    "000000005503",
    "000000008844",
];

fn nano(assets: &Path) -> Yolox {
    loaded(assets, "yolox_nano_fused.safetensors")
}

fn loaded(assets: &Path, file: &str) -> Yolox {
    let path = assets.join("detection/weights").join(file);
    let config = YoloxConfig::named("yolox_nano").unwrap();
    let (network, report) = Yolox::load(&config, &path, &Device::flex()).unwrap();
    assert_eq!(report.unused, Vec::<String>::new());
    assert_eq!(report.applied, 226);
    network
}

fn reference(assets: &Path, file: &str, name: &str) -> (Vec<usize>, Vec<f32>) {
    let mut store = SafetensorsStore::from_file(assets.join("detection/reference").join(file));
    let tensor = store
        .get_tensor(name)
        .unwrap()
        .expect("the reference is there");
    let data = bridge::to_data(tensor).unwrap();
    let shape = data.shape().to_vec();
    (shape, data.convert::<f32>().try_to_vec().unwrap())
}

fn reference_input(assets: &Path, picture: &str) -> Tensor<4> {
    let (shape, values) = reference(
        assets,
        "raw_outputs.safetensors",
        &format!("{picture}.input"),
    );
    assert_eq!(shape, [3, 416, 416]);
    Tensor::from_data(TensorData::new(values, [1, 3, 416, 416]), &Device::flex())
}

fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found
        .iter()
        .zip(expected)
        .fold(0.0, |worst, (f, e)| worst.max((f - e).abs()))
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn scored(set: &CocoSet, image_id: u64, found: &[Detection]) -> Vec<ScoredBox> {
    found
        .iter()
        .map(|detection| ScoredBox {
            image_id,
            category_id: set.categories[detection.class].id,
            bbox: detection.bbox.map(f64::from),
            score: f64::from(detection.score),
        })
        .collect()
}

#[test]
fn raw_outputs_equal_onnx_runtimes() {
    let Some(assets) = support::assets("raw_outputs_equal_onnx_runtimes") else {
        return;
    };
    let network = nano(&assets);
    for picture in PICTURES {
        let name = format!("{picture}.output");
        let (shape, expected) = reference(&assets, "raw_outputs.safetensors", &name);
        let output = network.forward(reference_input(&assets, picture));
        assert_eq!(output.dims()[1..], shape);
        let worst = worst(&values(output), &expected);
        assert!(worst < 1e-3, "{picture}: {worst}");
    }
}

#[test]
fn the_official_onnx_file_holds_the_same_weights() {
    let Some(assets) = support::assets("the_official_onnx_file_holds_the_same_weights") else {
        return;
    };
    let network = loaded(&assets, "yolox_nano.onnx");
    let input = reference_input(&assets, PICTURES[0]);
    let expected = values(nano(&assets).forward(input.clone()));
    assert_eq!(values(network.forward(input)), expected);
}

#[test]
fn activations_equal_the_references() {
    let Some(assets) = support::assets("activations_equal_the_references") else {
        return;
    };
    let network = nano(&assets);
    let input = reference_input(&assets, PICTURES[0]);
    let pyramid = network.pyramid(input.clone());
    let inputs = network.head_inputs(pyramid.clone());
    let (head, _) = cut_yolox(&network, YoloxPoint::Dark2);
    let names = [
        "dark3", "dark4", "dark5", "pan_out2", "pan_out1", "pan_out0", "dark2",
    ];
    let found = pyramid
        .into_iter()
        .chain(inputs)
        .chain([head.forward(input)]);
    for (name, tensor) in names.into_iter().zip(found) {
        let file = "activations_000000000285.safetensors";
        let (shape, expected) = reference(&assets, file, name);
        assert_eq!(tensor.dims()[1..], shape);
        let worst = worst(&values(tensor), &expected);
        assert!(worst < 1e-3, "{name}: {worst}");
    }
}

#[test]
fn reference_detections_score_as_pycocotools_says() {
    let Some(assets) = support::assets("reference_detections_score_as_pycocotools_says") else {
        return;
    };
    let folder = assets.join("detection");
    let set = CocoSet::read(&folder.join("instances_val.json")).unwrap();
    let found = ScoredBox::read_all(&folder.join("reference/detections_val.json")).unwrap();
    let score = average_precision(&set, &found).unwrap();
    assert_eq!(score.categories, 62);
    for (value, expected) in [
        (score.map, 0.3430),
        (score.map50, 0.5107),
        (score.map75, 0.3443),
        (score.recall, 0.4779),
    ] {
        assert!((value - expected).abs() < 1e-4, "{score:?}");
    }
}

#[test]
fn decoding_the_reference_outputs_gives_the_reference_detections() {
    let Some(assets) = support::assets("decoding_gives_the_reference_detections") else {
        return;
    };
    let folder = assets.join("detection");
    let set = CocoSet::read(&folder.join("instances_val.json")).unwrap();
    let all = ScoredBox::read_all(&folder.join("reference/detections_val.json")).unwrap();
    for name in PICTURES {
        let id: u64 = name.parse().unwrap();
        let picture = image::open(folder.join(format!("val2017/{name}.jpg"))).unwrap();
        let letterbox = Letterbox::new(&picture.into_rgb8(), 416).unwrap();
        let (shape, raw) = reference(
            &assets,
            "raw_outputs.safetensors",
            &format!("{name}.output"),
        );
        let raw = TensorData::new(raw, [1, shape[0], shape[1]]);
        let raw = Tensor::from_data(raw, &Device::flex());
        let found = decode(raw, &letterbox, &DetectOptions::default());
        let found = scored(&set, id, &found);
        let mut expected: Vec<_> = all.iter().filter(|d| d.image_id == id).collect();
        expected.sort_by(|a, b| b.score.total_cmp(&a.score));
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(expected) {
            assert!((found.score - expected.score).abs() < 2e-6, "{name}");
            if found.category_id == expected.category_id {
                let near = |(f, e): (&f64, &f64)| (f - e).abs() < 0.02;
                assert!(
                    found.bbox.iter().zip(&expected.bbox).all(near),
                    "{found:?} {expected:?}"
                );
            }
        }
    }
}

#[test]
fn letterboxed_pictures_equal_the_reference_inputs() {
    let Some(assets) = support::assets("letterboxed_pictures_equal_the_reference_inputs") else {
        return;
    };
    for name in PICTURES {
        let path = assets.join(format!("detection/val2017/{name}.jpg"));
        let picture = image::open(path).unwrap().into_rgb8();
        let letterbox = Letterbox::new(&picture, 416).unwrap();
        let found = values(letterbox.input(&Device::flex()));
        let expected = values(reference_input(&assets, name));
        let difference = |(f, e): (&f32, &f32)| f64::from((f - e).abs());
        let sum: f64 = found.iter().zip(&expected).map(difference).sum();
        let mean = sum / found.len() as f64;
        // The rest is the JPEG decoders' rounding.
        assert!(mean < 0.5, "{name}: {mean} of 255 on average");
    }
}

#[test]
fn all_pictures_score_as_the_reference() {
    let Some(assets) = support::assets("all_pictures_score_as_the_reference") else {
        return;
    };
    if !support::slow("all_pictures_score_as_the_reference") {
        return;
    }
    let folder = assets.join("detection");
    let set = CocoSet::read(&folder.join("instances_val.json")).unwrap();
    let (head, tail) = cut_yolox(&nano(&assets), YoloxPoint::Dark3);
    let mut found = Vec::new();
    for picture in &set.pictures {
        let pixels = image::open(folder.join("val2017").join(&picture.file_name)).unwrap();
        let letterbox = Letterbox::new(&pixels.into_rgb8(), 416).unwrap();
        let raw = tail.forward(head.forward(letterbox.input(&Device::flex())));
        let boxes = decode(raw, &letterbox, &DetectOptions::default());
        found.extend(scored(&set, picture.id, &boxes));
    }
    let score = average_precision(&set, &found).unwrap();
    eprintln!("{} pictures: {score:?}", set.pictures.len());
    assert!((score.map - 0.343).abs() <= 0.005, "{score:?}");
}

#[test]
fn folding_the_norms_changes_little() {
    let device = Device::flex();
    let pixels = (0..3 * 32 * 64)
        .map(|i| ((i * 7919) % 256) as f32)
        .collect();
    let pixels = TensorData::new::<f32, _>(pixels, [1, 3, 32, 64]);
    let input = Tensor::<4>::from_data(pixels, &device);
    for name in ["yolox_nano", "yolox_tiny"] {
        let config = YoloxConfig::named(name).unwrap().with_classes(3).unwrap();
        let network = config.init_seeded(1, &device);
        let whole = values(network.forward(input.clone()));
        let folded = values(network.fold_batch_norm().forward(input.clone()));
        let size = whole.iter().fold(1.0_f32, |size, v| size.max(v.abs()));
        assert!(worst(&whole, &folded) <= 1e-5 * size, "{name}");
    }
}

#[test]
fn unknown_names_and_points_list_the_known_ones() {
    let error = YoloxConfig::named("yolox_xxl").unwrap_err().to_string();
    assert!(error.contains("yolox_nano"), "{error}");
    let error = "dark4".parse::<YoloxPoint>().unwrap_err().to_string();
    assert!(error.contains("dark3"), "{error}");
    assert!(ResNetConfig::named("yolox_nano").is_err());
}
