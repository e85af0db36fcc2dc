use std::fs;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use proptest::prelude::*;

use super::*;
use crate::resnet::{ResNet, ResNetConfig, StemConfig};
use crate::weights::{RESNET, Rule, WeightsError, YOLOX, wanted};
use crate::yolox::{Yolox, YoloxConfig};

/// A message made of fields.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    fn number(mut self, field: u64, number: u64) -> Self {
        self.varint(field << 3);
        self.varint(number);
        self
    }

    fn bytes(mut self, field: u64, bytes: impl AsRef<[u8]>) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.as_ref().len() as u64);
        self.0.extend(bytes.as_ref());
        self
    }
}

fn node(operator: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let mut node = Message::default();
    for input in inputs {
        node = node.bytes(1, input);
    }
    node.bytes(2, output).bytes(4, operator).0
}

fn single(name: &str, shape: &[usize], values: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let mut tensor = Message::default();
    for &dim in shape {
        tensor = tensor.number(1, dim as u64);
    }
    tensor.number(2, 1).bytes(8, name).bytes(9, raw).0
}

fn model(nodes: &[Vec<u8>], initialisers: &[Vec<u8>]) -> Vec<u8> {
    let mut graph = Message::default();
    for node in nodes {
        graph = graph.bytes(1, node);
    }
    for initialiser in initialisers {
        graph = graph.bytes(5, initialiser);
    }
    let producer = Message::default().number(1, 8).bytes(2, "tests");
    producer.bytes(7, graph.0).0
}

/// Names, shapes and values of all tensors of a module.
fn tensors<M: Module>(module: &M, names: &[Rule]) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    wanted(module, names)
        .into_iter()
        .map(|(name, tensor)| {
            let data = bridge::into_data(tensor).unwrap();
            let shape = data.shape().to_vec();
            (name, (shape, data.try_to_vec().unwrap()))
        })
        .collect()
}

fn tiny(name: &str) -> YoloxConfig {
    let config = YoloxConfig::named(name).unwrap();
    config
        .with_base_channels(4)
        .unwrap()
        .with_classes(3)
        .unwrap()
}

/// What a Resize takes, beside the parameters.
fn constant() -> Vec<u8> {
    single("1489", &[4], &[1.0, 1.0, 2.0, 2.0])
}

/// A detector as exporters write it: numbers for names outside of the predictions, and between the convolutions
/// what else a graph has.
struct Exported {
    nodes: Vec<Vec<u8>>,
    initialisers: Vec<Vec<u8>>,
}

impl Exported {
    fn of(network: &Yolox) -> Self {
        let steps = crate::yolox::steps(network.config());
        let tensors = tensors(&network.fold_batch_norm(), YOLOX);
        let mut exported = Self {
            nodes: Vec::new(),
            initialisers: vec![
                constant(),
                // The sizes of a Resize: no floating-point numbers.
                Message::default()
                    .number(1, 2)
                    .number(2, 7)
                    .bytes(8, "sizes")
                    .bytes(9, [0; 16])
                    .0,
            ],
        };
        for (place, step) in steps.iter().enumerate() {
            // The input comes through a node that joins all that the convolution reads.
            let from: Vec<String> = (0..place)
                .filter(|&other| Places::only(other) | step.after == step.after)
                .map(|other| format!("out{other}"))
                .collect();
            let mut from: Vec<&str> = from.iter().map(String::as_str).collect();
            from.push("sizes");
            let input = format!("in{place}");
            exported.nodes.push(node("Concat", &from, &input));
            let named = step.name.contains("preds");
            let stored = ["weight", "bias"].map(|part| {
                if named {
                    format!("{}.{part}", step.name)
                } else {
                    format!("{place}{part}")
                }
            });
            for (stored, part) in stored.iter().zip(["weight", "bias"]) {
                let (shape, values) = &tensors[&format!("{}.{part}", step.name)];
                exported.initialisers.push(single(stored, shape, values));
            }
            let [weight, bias] = &stored;
            exported.nodes.push(node(
                "Conv",
                &[&input, weight, bias],
                &format!("out{place}"),
            ));
        }
        exported
    }

    fn bytes(&self) -> Vec<u8> {
        model(&self.nodes, &self.initialisers)
    }
}

fn load(config: &YoloxConfig, bytes: &[u8]) -> Result<Yolox, WeightsError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("net.onnx");
    fs::write(&path, bytes).unwrap();
    let (network, report) = Yolox::load(config, &path, &Device::flex())?;
    assert_eq!(report.unused, Vec::<String>::new());
    Ok(network)
}

fn said(config: &YoloxConfig, bytes: &[u8]) -> String {
    let error = load(config, bytes).unwrap_err().to_string();
    assert!(error.contains("net.onnx"), "{error}");
    error
}

#[test]
fn convolutions_with_numbers_for_names_find_their_places() {
    for name in ["yolox_nano", "yolox_tiny", "yolox_m"] {
        let config = tiny(name);
        let network = config.init_seeded(5, &Device::flex());
        let loaded = load(&config, &Exported::of(&network).bytes()).unwrap();
        let expected = tensors(&network.fold_batch_norm(), YOLOX);
        assert!(tensors(&loaded, YOLOX) == expected, "{name}");
        let input = Tensor::<1, Int>::arange(0..3 * 32 * 64, &Device::flex());
        let input = input.float().reshape([1, 3, 32, 64]);
        let [a, b] = [network.fold_batch_norm(), loaded].map(|n| n.forward(input.clone()));
        assert_eq!(a.into_data(), b.into_data(), "{name}");
    }
}

#[test]
fn initialisers_with_names_need_no_graph() {
    let config = tiny("yolox_nano");
    let network = config.init_seeded(5, &Device::flex());
    let named =
        |(name, (shape, values)): (&String, &(Vec<usize>, Vec<f32>))| single(name, shape, values);
    let expected = tensors(&network, YOLOX);
    let mut initialisers: Vec<_> = expected.iter().map(named).collect();
    initialisers.push(constant());
    let file = model(&[], &initialisers);
    let loaded = load(&config, &file).unwrap();
    assert!(tensors(&loaded, YOLOX) == tensors(&network.fold_batch_norm(), YOLOX));

    let stem = StemConfig {
        kernel: 3,
        stride: 2,
        width: 4,
        max_pool: false,
    };
    let config = ResNetConfig::small(stem, &[4], &[1], 4).unwrap();
    let expected = tensors(&config.init_seeded(1, &Device::flex()), RESNET);
    let dir = tempfile::tempdir().unwrap();
    // The first byte tells as much as the name's ending.
    let path = dir.path().join("resnet");
    fs::write(
        &path,
        model(&[], &expected.iter().map(named).collect::<Vec<_>>()),
    )
    .unwrap();
    let (loaded, report) = ResNet::load(&config, &path, &Device::flex()).unwrap();
    assert!(tensors(&loaded, RESNET) == expected);
    assert_eq!(report.sha256, crate::weights::file_sha256(&path).unwrap());
}

#[test]
fn a_graph_that_runs_otherwise_is_refused_with_the_place() {
    let config = tiny("yolox_nano");
    let network = config.init_seeded(5, &Device::flex());
    let whole = Exported::of(&network);

    let error = said(&tiny("yolox_s"), &whole.bytes());
    assert!(
        error.contains("runs 113 convolutions where the network runs"),
        "{error}"
    );

    // conv1 and conv2 of a partial layer have one shape; only what reads them tells them apart.
    let mut swapped = Exported::of(&network);
    swapped.nodes.swap(2 * 3, 2 * 4);
    swapped.nodes.swap(2 * 3 + 1, 2 * 4 + 1);
    let error = said(&config, &swapped.bytes());
    assert!(
        error.contains("convolution 5 reads other tensors than"),
        "{error}"
    );
    assert!(error.contains("dark2.1.m.0.conv1"), "{error}");

    let mut renamed = Exported::of(&network);
    let place = renamed.nodes.len() - 1;
    renamed.nodes[place] = node(
        "Conv",
        &["in112", "head.reg_preds.2.weight", "head.reg_preds.2.bias"],
        "out",
    );
    let error = said(&config, &renamed.bytes());
    assert!(
        error.contains("is head.reg_preds.2, the network runs head.obj_preds.2"),
        "{error}"
    );

    let mut computed = Exported::of(&network);
    computed.nodes[1] = node("Conv", &["in0", "dequantized", "0bias"], "out0");
    let error = said(&config, &computed.bytes());
    assert!(error.contains("the weight of its convolution 0"), "{error}");
    assert!(error.contains("is no initialiser"), "{error}");

    let mut apart = Exported::of(&network);
    apart
        .nodes
        .push(node("BatchNormalization", &["out112"], "y"));
    let error = said(&config, &apart.bytes());
    assert!(error.contains("batch norms are apart"), "{error}");

    // Another class count shows in the shapes.
    let error = said(&config.with_classes(4).unwrap(), &whole.bytes());
    assert!(
        error.contains("head.cls_preds.0.weight is [4, 16, 1, 1] in the network"),
        "{error}"
    );
}

#[test]
fn shared_initialisers_are_found_under_both_names() {
    let config = tiny("yolox_nano");
    let network = config.init_seeded(5, &Device::flex());
    let mut shared = Exported::of(&network);
    // Exporters keep equal initialisers once and give the second convolution a copy.
    shared.nodes[3] = node("Conv", &["in1", "1weight", "copy"], "out1");
    shared.nodes.insert(0, node("Identity", &["0bias"], "copy"));
    let loaded = load(&config, &shared.bytes()).unwrap();
    let found = tensors(&loaded, YOLOX);
    let stem = &found["backbone.backbone.stem.conv.conv.bias"];
    assert_eq!(stem, &found["backbone.backbone.dark2.0.dconv.conv.bias"]);
    let expected = tensors(&network.fold_batch_norm(), YOLOX);
    assert_eq!(stem, &expected["backbone.backbone.stem.conv.conv.bias"]);
}

fn only(initialiser: Vec<u8>) -> Result<Vec<f32>, String> {
    let file = OnnxFile::read(&model(&[], &[initialiser])).map_err(|error| error.to_string())?;
    let (_, tensor) = file.tensors.into_iter().next().unwrap();
    Ok(bridge::into_data(tensor).unwrap().try_to_vec().unwrap())
}

#[test]
fn every_way_to_keep_numbers_is_read() {
    let tensor = |kind| {
        Message::default()
            .bytes(1, [2])
            .number(2, kind)
            .bytes(8, "t")
    };
    let expected = Ok(vec![1.5, -2.0]);
    let single = [1.5f32, -2.0].map(f32::to_le_bytes).concat();
    assert_eq!(only(tensor(1).bytes(9, &single).0), expected);
    assert_eq!(only(tensor(1).bytes(4, &single).0), expected);
    let mut one_by_one = tensor(1).0;
    for value in single.chunks(4) {
        one_by_one.push(4 << 3 | 5);
        one_by_one.extend(value);
    }
    assert_eq!(only(one_by_one), expected);
    let half = [f16::from_f32(1.5), f16::from_f32(-2.0)].map(f16::to_le_bytes);
    assert_eq!(only(tensor(10).bytes(9, half.concat()).0), expected);
    let brain = [bf16::from_f32(1.5), bf16::from_f32(-2.0)].map(bf16::to_le_bytes);
    assert_eq!(only(tensor(16).bytes(9, brain.concat()).0), expected);
    let double = [1.5f64, -2.0].map(f64::to_le_bytes).concat();
    assert_eq!(only(tensor(11).bytes(9, double).0), expected);
}

#[test]
fn hostile_initialisers_are_refused_by_name() {
    let tensor = |kind| Message::default().number(2, kind).bytes(8, "t");
    for (initialiser, part) in [
        (
            tensor(1).number(1, 3).bytes(9, [0; 8]),
            "initialiser t holds 8 bytes of values, its shape asks for 12",
        ),
        (
            tensor(1).number(1, u64::MAX).bytes(9, [0; 8]),
            "initialiser t has no valid shape",
        ),
        (
            tensor(1).number(1, 1 << 40).number(1, 1 << 40),
            "initialiser t has no valid shape",
        ),
        (tensor(1).bytes(1, [1; 9]), "more than 8 dimensions"),
        (
            tensor(1).number(1, 2).number(14, 1),
            "initialiser t is kept in another file",
        ),
        (tensor(7).number(1, 1), "no floating-point initialisers"),
        (Message::default().number(2, 1).bytes(8, [0xff]), "no UTF-8"),
    ] {
        let error = only(initialiser.0).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    let twice = single("t", &[1], &[0.0]);
    let error = OnnxFile::read(&model(&[], &[twice.clone(), twice])).unwrap_err();
    assert_eq!(error.to_string(), "initialiser t is there twice");
    let error = OnnxFile::read(&Message::default().number(1, 8).0).unwrap_err();
    assert_eq!(error.to_string(), "an ONNX model without a graph");
}

#[test]
fn graphs_past_the_bounds_are_refused() {
    let weight = [single("t", &[1], &[0.0])];
    let convolutions = vec![node("Conv", &["x", "t"], "y"); MAX_CONVOLUTIONS + 1];
    let nodes = vec![Vec::new(); MAX_NODES + 1];
    let edges = vec![Message(b"\x0a\x00".repeat(MAX_EDGES + 1)).0];
    for (nodes, what) in [
        (convolutions, "convolutions"),
        (nodes, "nodes"),
        (edges, "inputs"),
    ] {
        let error = OnnxFile::read(&model(&nodes, &weight)).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
    let initialisers = vec![Vec::new(); MAX_INITIALISERS + 1];
    let error = OnnxFile::read(&model(&[], &initialisers)).unwrap_err();
    assert!(error.to_string().contains("initialisers"), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = OnnxFile::read(&bytes);
        let _ = OnnxFile::read(&Message::default().bytes(7, bytes).0);
    }

    #[test]
    fn no_damage_panics(place in any::<proptest::sample::Index>(), value in any::<u8>(), cut in any::<bool>()) {
        let nodes = [node("Identity", &["w"], "v"), node("Conv", &["x", "v", "b"], "y")];
        let weights = [single("w", &[2, 1], &[1.0, 2.0]), single("b", &[1], &[3.0])];
        let mut bytes = model(&nodes, &weights);
        let place = place.index(bytes.len());
        if cut { bytes.truncate(place) } else { bytes[place] = value }
        if let Ok(mut file) = OnnxFile::read(&bytes) {
            let steps = [Step { name: "c".to_owned(), after: Places::default() }];
            if file.graph.name_convolutions(&steps, &mut file.tensors).is_ok() {
                prop_assert!(file.tensors.contains_key("c.weight"));
            }
        }
    }
}
