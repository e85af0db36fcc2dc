//! Units whose encoder takes the picture, in the place of the network's first layers.
#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod common;

use burn::module::Module as _;
use burn::tensor::{Device, Tensor, TensorData};
use common::{CHANNELS, CLASSES, ToyTail, config, distortion, run};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use split_bottleneck::{
    ActivationCache, ActivationShape, BackboneNote, Bank, ConfigError, DecoderKind, EncoderKind,
    Head, Objective, Rung, StudentLayers, Training, UnitConfig, evaluate, parameter_count,
};

const PICTURES: usize = 48;
const SIDE: usize = 16;

/// Halves the picture and gives it with its negative, which makes six channels of three.
struct Halves;

impl Head for Halves {
    fn forward(&self, picture: Tensor<4>) -> Tensor<4> {
        let [n, channels, height, width] = picture.dims();
        let halves = [n, channels, height / 2, 2, width / 2, 2];
        let small = picture.reshape(halves).mean_dim(5).mean_dim(3);
        let small = small.reshape([n, channels, height / 2, width / 2]);
        Tensor::cat(vec![small.clone(), small.neg().add_scalar(1.0)], 1)
    }
}

/// Smooth pictures whose colours tell the class.
fn inputs(device: &Device) -> (Tensor<4>, Vec<i32>) {
    let mut rng = Pcg64::seed_from_u64(3);
    let mut draw = || f32::from(u16::try_from(rng.next_u32() >> 16).unwrap()) / 65_536.0;
    let mut values = Vec::new();
    let mut labels = Vec::new();
    for picture in 0..PICTURES {
        let class = picture % CLASSES;
        labels.push(i32::try_from(class).unwrap());
        for channel in 0..3 {
            let level = if channel == class { 0.8 } else { 0.2 };
            let tilt = 0.1 * draw();
            for place in 0..SIDE * SIDE {
                let slope = tilt * ((place / SIDE) as f32 - (place % SIDE) as f32) / SIDE as f32;
                values.push((level + slope + 0.1 * draw()).clamp(0.0, 1.0));
            }
        }
    }
    let data = TensorData::new(values, [PICTURES, 3, SIDE, SIDE]);
    (Tensor::from_data(data, device), labels)
}

fn cache(keeps_pictures: bool, device: &Device) -> ActivationCache {
    let tail = ToyTail::new(device);
    let build = match keeps_pictures {
        true => ActivationCache::build_with_pictures,
        false => ActivationCache::build,
    };
    build(&Halves, &tail, [inputs(device)], 1 << 26).unwrap()
}

fn note() -> BackboneNote {
    BackboneNote {
        name: "toy".to_owned(),
        split: "halves".to_owned(),
        weights_sha256: "00".to_owned(),
    }
}

fn picture(side: usize) -> ActivationShape {
    ActivationShape {
        channels: 3,
        height: side,
        width: side,
    }
}

#[test]
fn what_a_student_gives_has_the_shape_of_the_activation_and_costs_what_it_says() {
    let device = Device::flex();
    for stride in [1, 2, 3, 4, 8] {
        let activation = ActivationShape {
            channels: 5,
            height: 6,
            width: 6,
        };
        let picture = picture(6 * stride);
        let unit = UnitConfig::student(activation, picture, 2, 0.5);
        let module = unit.init(&device, &mut Pcg64::seed_from_u64(1)).unwrap();
        let module = module.valid();
        let input = Tensor::<4>::ones([2, 3, 6 * stride, 6 * stride], &device);
        let latent = module.encoder.forward(input);
        assert_eq!(latent.dims(), [2, 2, 5, 5], "{stride}");
        assert_eq!(unit.latent_shape().unwrap().len(), 50);
        assert_eq!(module.decoder.forward(latent).dims(), [2, 5, 6, 6]);
        // Eight and four channels on the device, ten and five on the edge; a normalisation has a beta beside gamma.
        let (first, second) = (3 * 25 * 8 + 64, 8 * 25 * 4 + 16);
        let encoder = first + second + 4 * 4 * 2;
        let decoder = (2 * 4 * 10 + 100) + (10 * 4 * 5 + 25) + 5 * 4 * 5;
        assert_eq!(parameter_count(&module.encoder), encoder + 8 + 4);
        assert_eq!(parameter_count(&module.decoder), decoder + 10 + 5);
        let outer = match stride {
            4 => 12,
            8 => 12,
            _ => 6,
        };
        let macs = first * outer * outer + second * 36 + 4 * 4 * 2 * 25;
        assert_eq!(unit.encoder_macs(), macs, "{stride}");
        let macs = (2 * 4 * 10 + 100) * 36 + (10 * 4 * 5 + 25) * 25 + 5 * 4 * 5 * 36;
        assert_eq!(unit.decoder_macs(), macs, "{stride}");
    }
}

#[test]
fn a_student_learns_the_activation_from_the_picture_and_others_share_its_cache() {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let cache = cache(true, &plain);
    let student = UnitConfig::student(cache.shape(), picture(SIDE), 3, 0.25);
    let conv = UnitConfig::conv(cache.shape(), 3, 2, 0.25);
    let tail = distortion(&plain).tail;
    for unit in [student, conv] {
        let mut settings = config(800, Objective::Lambda(0.001));
        settings.learning_rate = 4e-3;
        let mut training = Training::start(&unit, &settings, None, &cache, &device).unwrap();
        let first = run(&mut training, &cache, 1, &plain);
        let restored = run(&mut training, &cache, 198, &plain);
        assert!(restored < 0.3 * first, "{restored} after {first}");
        let last = run(&mut training, &cache, 601, &plain);
        let rung =
            Rung::from_training("one", "kind", &unit, &training, &cache, PICTURES, &plain).unwrap();
        let bank = Bank::new(note(), vec![rung]).unwrap();
        let bank = Bank::from_bytes(&bank.to_bytes().unwrap()).unwrap();
        let codec = bank.open(0, &plain).unwrap();
        let result = evaluate(&codec, &tail, &cache, &plain).unwrap();
        let pairs = result.predictions.iter().zip(cache.predictions());
        let same = pairs.filter(|(found, sure)| **found == *sure).count();
        assert!(
            same >= PICTURES * 9 / 10,
            "{same} after {last}: {:?}",
            unit.encoder
        );
        // What it gets is refused where it has another shape, with both shapes.
        let other = Tensor::<4>::zeros([1, CHANNELS + 1, 4, 4], &plain);
        let error = codec.symbols(other).unwrap_err().to_string();
        let input = unit.encoder_input();
        assert!(error.contains(&input.channels.to_string()), "{error}");
    }
}

#[test]
fn pictures_that_are_missing_or_do_not_fit_are_refused() {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let student = |side| UnitConfig::student(cache(false, &plain).shape(), picture(side), 3, 0.25);
    let settings = config(4, Objective::Lambda(0.01));
    for (cache, side) in [
        (cache(false, &plain), SIDE),
        (cache(true, &plain), 2 * SIDE),
    ] {
        let start = Training::start(&student(side), &settings, None, &cache, &device);
        let error = start.unwrap_err().to_string();
        assert!(error.contains("takes pictures of"), "{error}");
    }
    // Eight rows of activation out of twenty rows of picture.
    let error = student(20).latent_shape().unwrap_err();
    assert!(matches!(error, ConfigError::Picture { .. }), "{error}");
    let sound = student(SIDE);
    let changed = |change: &dyn Fn(&mut UnitConfig)| {
        let mut unit = sound.clone();
        change(&mut unit);
        unit.latent_shape().unwrap_err()
    };
    let conv = UnitConfig::conv(sound.activation, 3, 2, 0.25);
    assert_eq!(
        changed(&|unit| unit.encoder = conv.encoder),
        ConfigError::Student
    );
    assert_eq!(
        changed(&|unit| unit.decoder = conv.decoder),
        ConfigError::Student
    );
    changed(&|unit| unit.stride = 1);
    changed(&|unit| unit.decoder = DecoderKind::Student { hidden: [0, 3] });
    let layers = |picture, hidden, strides| EncoderKind::Student {
        layers: StudentLayers {
            picture,
            hidden,
            strides,
        },
    };
    changed(&|unit| unit.encoder = layers(picture(SIDE), [0, 6], [2, 1]));
    changed(&|unit| unit.encoder = layers(picture(SIDE), [12, 6], [2, 0]));
    changed(&|unit| unit.encoder = layers(picture(SIDE), [usize::MAX, 6], [2, 1]));
    changed(&|unit| unit.encoder = layers(picture(usize::MAX), [12, 6], [2, 1]));
    changed(&|unit| unit.encoder = layers(picture(SIDE), [12, 6], [usize::MAX, 2]));
}
