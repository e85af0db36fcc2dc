//! Frames that carry only the covered part of a canvas.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use image::{Rgb, RgbImage};
use split_backbone::{
    CoveredCodec, CoveredError, DetectorDistortion, Head, Letterbox, YoloxConfig, YoloxHead,
    YoloxPoint, YoloxTail, canvas_input, cut_yolox,
};
use split_bottleneck::{
    ActivationCache, BackboneNote, Bank, Klt, Objective, Rung, Scale, ScaleList, TablePictures,
    Tail, TrainConfig, Training, UnitConfig,
};
use split_tensor::{BundleRef, Symbols};

const SIDE: u32 = 64;

/// A detector so small that a test can train a unit for it.
fn detector() -> (YoloxHead, YoloxTail) {
    detector_cut_at(YoloxPoint::Dark3)
}

fn detector_cut_at(point: YoloxPoint) -> (YoloxHead, YoloxTail) {
    let config = YoloxConfig::named("yolox_nano").unwrap();
    let config = config
        .with_base_channels(4)
        .unwrap()
        .with_classes(2)
        .unwrap();
    let network = config.init_seeded(3, &Device::flex());
    let (head, tail) = cut_yolox(&network.fold_batch_norm(), point);
    (head.lifted(), tail.lifted())
}

/// Stands in where a cache wants answers that the distortion does not read.
struct Silent;

impl Tail for Silent {
    type Output = Tensor<2>;

    fn forward(&self, activation: Tensor<4>) -> Tensor<2> {
        Tensor::zeros([activation.dims()[0], 1], &activation.device())
    }
}

fn canvas(seed: u32) -> RgbImage {
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let value = |step: u32| u8::try_from((x * step + y * seed + seed) % 256).unwrap();
        Rgb([value(3), value(5), value(7)])
    })
}

fn cache(head: &YoloxHead) -> ActivationCache {
    let canvases: Vec<RgbImage> = (1..9).map(canvas).collect();
    let input = canvas_input(&canvases, &Device::flex());
    ActivationCache::build(head, &Silent, [(input, vec![0; 8])], 1 << 24).unwrap()
}

/// A bank with two rungs of the same unit after some steps of distillation; the loss at the
/// beginning and at the end.
fn bank(head: &YoloxHead, tail: &YoloxTail) -> (Bank, f64, f64) {
    let cache = cache(head);
    let unit = UnitConfig::conv(cache.shape(), 8, 2, 0.5);
    let train = TrainConfig {
        warmup_steps: 20,
        batch_size: 8,
        learning_rate: 1e-2,
        ..TrainConfig::new(60, Objective::Lambda(1e-3))
    };
    let device = Device::flex().autodiff();
    let mut training = Training::start(&unit, &train, None, &cache, &device).unwrap();
    let distortion = DetectorDistortion::pyramid(tail.clone().train()).with_head(0.02);
    let mut losses = Vec::new();
    while !training.is_done() {
        losses.push(training.advance(&cache, &distortion).unwrap().distortion);
    }
    let rung = |name: &str| {
        Rung::from_training(name, "unit", &unit, &training, &cache, 8, &Device::flex()).unwrap()
    };
    let note = BackboneNote {
        name: "tiny".into(),
        split: "dark3".into(),
        weights_sha256: "0".into(),
    };
    let bank = Bank::new(note, vec![rung("a"), rung("b")]).unwrap();
    // The first steps behind the warm-up, and the last ones.
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    (bank, mean(&losses[20..24]), mean(&losses[56..]))
}

fn codec(bank: &Bank, rung: usize, head: &YoloxHead) -> CoveredCodec {
    let device = Device::flex();
    CoveredCodec::new(bank.open(rung, &device).unwrap(), head, SIDE, &device).unwrap()
}

fn values(tensor: Tensor<4>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

#[test]
fn padding_is_not_sent_and_comes_back_as_the_network_sees_it() {
    let (head, tail) = detector();
    let (bank, before, after) = bank(&head, &tail);
    assert!(
        after < before,
        "training on predictions: {before} to {after}"
    );
    let codec = codec(&bank, 0, &head);
    let device = Device::flex();

    // A canvas that is full: the same activation as the rung alone restores.
    let full = Letterbox::new(&canvas(11), SIDE).unwrap();
    let activation = head.forward(full.input(&device));
    let frame = codec.encode(activation.clone(), full.content()).unwrap();
    let plain = codec.rung().encode(activation).unwrap();
    assert_eq!(frame.bytes, plain[0]);
    let restored = codec.rung().decode(&plain).unwrap();
    assert!(values(codec.decode(&frame.bytes).unwrap()) == values(restored));

    // A picture of half the height: smaller frames, padding restored without loss.
    let wide = image::imageops::crop_imm(&canvas(11), 0, 0, SIDE, SIDE / 2).to_image();
    let half = Letterbox::new(&wide, SIDE).unwrap();
    let activation = head.forward(half.input(&device));
    let part = codec.encode(activation.clone(), half.content()).unwrap();
    assert!(part.payload_bytes < frame.payload_bytes);
    assert!(part.estimated_bits < frame.estimated_bits);
    let restored = codec.decode(&part.bytes).unwrap();
    assert_eq!(restored.dims(), [1, 16, 8, 8]);
    let empty = Letterbox::empty_canvas(SIDE).unwrap();
    let padding = head.forward(canvas_input(&[empty], &device));
    let below = |tensor: Tensor<4>| values(tensor.slice([0..1, 0..16, 4..8, 0..8]));
    assert!(below(restored) == below(padding));
}

#[test]
fn frames_of_others_and_damaged_frames_are_refused() {
    let (head, tail) = detector();
    let (bank, ..) = bank(&head, &tail);
    let [first, second] = [0, 1].map(|rung| codec(&bank, rung, &head));
    let device = Device::flex();
    let letterbox = Letterbox::new(&canvas(5), SIDE).unwrap();
    let activation = head.forward(letterbox.input(&device));
    let frame = first.encode(activation.clone(), (33, 64)).unwrap().bytes;
    assert!(matches!(
        second.decode(&frame),
        Err(CoveredError::OtherRung { rung: 1, .. })
    ));
    for length in 0..frame.len() {
        assert!(first.decode(&frame[..length]).is_err(), "{length}");
    }
    for index in 0..frame.len() {
        let mut damaged = frame.clone();
        damaged[index] ^= 0x11;
        assert!(first.decode(&damaged).is_err(), "byte {index}");
    }
    let mut longer = frame;
    longer.push(0);
    assert!(matches!(
        first.decode(&longer),
        Err(CoveredError::Trailing { found: 1 })
    ));
    let two = Tensor::cat(vec![activation.clone(), activation], 0);
    assert!(matches!(
        first.encode(two, (64, 64)),
        Err(CoveredError::Batch { found: 2 })
    ));
}

/// A head behind which three tensors cross, and a bank of two rungs with an untrained unit for them.
fn three_scales() -> (YoloxHead, Bank) {
    let (head, _) = detector_cut_at(YoloxPoint::Dark5);
    let device = Device::flex();
    let cache = cache(&head);
    let config = YoloxConfig::named("yolox_nano").unwrap();
    let config = config.with_base_channels(4).unwrap();
    let channels = YoloxPoint::pyramid_channels(&config);
    assert_eq!(channels.iter().sum::<usize>(), cache.shape().channels);
    assert_eq!([cache.shape().height, cache.shape().width], [2, 2]);
    let scales: Vec<Scale> = channels
        .into_iter()
        .zip([12, 8, 6])
        .map(|(channels, latent)| Scale { channels, latent })
        .collect();
    let unit = UnitConfig::scales(ScaleList::new(&scales).unwrap(), [2, 2], 0.05, 1);
    let klt = Klt::for_unit(&cache, &unit, 8).unwrap();
    let weights = klt.weights(&unit, 3, &device).unwrap();
    let pictures = TablePictures {
        cache: &cache,
        limit: 8,
        mixing: false,
        device: &device,
    };
    let rung = |name: &str| Rung::fitted(name, "pca", &unit, &weights, pictures).unwrap();
    let note = BackboneNote {
        name: "tiny".into(),
        split: "dark5".into(),
        weights_sha256: "0".into(),
    };
    let bank = Bank::new(note, vec![rung("a"), rung("b")]).unwrap();
    (head, bank)
}

/// A letterbox of which the picture covers the upper half.
fn half_covered() -> Letterbox {
    let wide = image::imageops::crop_imm(&canvas(11), 0, 0, SIDE, SIDE / 2).to_image();
    Letterbox::new(&wide, SIDE).unwrap()
}

#[test]
fn three_scales_cross_in_one_frame_without_their_padding() {
    let (head, bank) = three_scales();
    let codec = codec(&bank, 0, &head);
    let device = Device::flex();
    let full = Letterbox::new(&canvas(11), SIDE).unwrap();
    let activation = head.forward(full.input(&device));
    let frame = codec.encode(activation.clone(), full.content()).unwrap();
    assert_eq!(frame.bytes, codec.rung().encode(activation).unwrap()[0]);
    assert!(frame.payload_bytes < frame.bytes.len());
    // Half of the canvas: one row of two, padding restored without loss.
    let half = half_covered();
    let activation = head.forward(half.input(&device));
    let part = codec.encode(activation.clone(), half.content()).unwrap();
    let parsed = BundleRef::parse(&part.bytes).unwrap().0;
    assert_eq!((parsed.part(), parsed.segment_count()), (Some([1, 2]), 3));
    assert!(part.bytes.len() < frame.bytes.len());
    assert!(part.estimated_bits < frame.estimated_bits);
    let restored = codec.decode(&part.bytes).unwrap();
    let empty = Letterbox::empty_canvas(SIDE).unwrap();
    let padding = head.forward(canvas_input(&[empty], &device));
    let row = |tensor: &Tensor<4>, row: usize| {
        values(tensor.clone().slice(burn::tensor::s![.., .., row..row + 1]))
    };
    assert!(row(&restored, 1) == row(&padding, 1));
    let apart = |a: &Tensor<4>, b: &Tensor<4>| {
        let both = row(a, 0).into_iter().zip(row(b, 0));
        both.map(|(a, b)| f64::from((a - b).abs())).sum::<f64>()
    };
    assert!(apart(&restored, &activation) < apart(&padding, &activation));
}

#[test]
fn damaged_and_foreign_frames_of_three_scales_are_refused() {
    let (head, bank) = three_scales();
    let [codec, other] = [0, 1].map(|rung| codec(&bank, rung, &head));
    let half = half_covered();
    let activation = head.forward(half.input(&Device::flex()));
    let part = codec.encode(activation, half.content()).unwrap();
    assert!(matches!(
        other.decode(&part.bytes),
        Err(CoveredError::OtherRung { rung: 1, .. })
    ));
    for length in 0..part.bytes.len() {
        assert!(codec.decode(&part.bytes[..length]).is_err(), "{length}");
    }
    for index in 0..part.bytes.len() {
        let mut damaged = part.bytes.clone();
        damaged[index] ^= 0x11;
        assert!(codec.decode(&damaged).is_err(), "byte {index}");
    }
    let longer = [part.bytes.as_slice(), &[0]].concat();
    assert!(matches!(
        codec.decode(&longer),
        Err(CoveredError::Trailing { found: 1 })
    ));
    // Parts that the latent does not have, under a checksum that holds.
    let bundle = codec.rung().bundle().unwrap().clone();
    let bundle = bundle.with_checksums(split_tensor::Checksums::None);
    let sent = bundle.for_part(1, 2).unwrap();
    let symbols = Symbols::new(sent.tensors()[0].shape(), vec![0; 26 * 2]).unwrap();
    let mut frame = sent.encode_symbols(&[symbols]).unwrap();
    assert!(codec.decode(&frame).is_ok());
    // First byte, bank, rung 0, rows, columns.
    for (at, side) in [(6, 3), (7, 3)] {
        let before = std::mem::replace(&mut frame[at], side);
        assert!(matches!(
            codec.decode(&frame),
            Err(CoveredError::Part {
                whole: [26, 2, 2],
                ..
            })
        ));
        frame[at] = before;
    }
}
