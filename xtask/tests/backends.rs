//! Every backend of the build computes the same: `cargo test -p xtask --features ndarray,wgpu`.

#[cfg(test)]
mod backends {
    use std::fs;
    use std::io::Write as _;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use burn::module::Module;
    use burn::tensor::{Device, Tensor};
    use split_backbone::embedded::{self, EmbeddedSplit};
    use split_backbone::{
        DataSource, LoadOptions, Part, Pictures, Preprocess, ResNet, ResNetConfig, ResNetHead,
        ResNetTail, cut,
    };
    use split_bottleneck::{
        ActivationCache, ActivationShape, BackboneNote, Bank, ClassifierDistortion, Head,
        Objective, Rung, Tail, TrainConfig, Training, UnitConfig,
    };

    const PICTURES: usize = 16;
    const TOLERANCE: f32 = 1e-3;
    const STEPS: usize = 4;
    /// Pictures of a step of training.
    const TRAINED_ON: usize = 4;

    /// Straight to the stream: the test runner keeps what is printed.
    fn skip(why: &str) {
        let _ = writeln!(std::io::stderr(), "skipped: {why}");
    }

    /// `SPLIT_ASSETS`, else `../shared/assets` beside the checkout.
    fn assets() -> Option<PathBuf> {
        let named = std::env::var_os("SPLIT_ASSETS").map(PathBuf::from);
        let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/assets");
        let path = named.unwrap_or_else(beside);
        if path.is_dir() {
            return Some(path);
        }
        skip(&format!("no folder {}; set SPLIT_ASSETS", path.display()));
        None
    }

    /// The backends of this build that answer here; the others are named.
    fn devices() -> Vec<(&'static str, Device)> {
        #[cfg_attr(
            not(any(feature = "ndarray", feature = "wgpu")),
            expect(unused_mut, reason = "only other backends are added")
        )]
        let mut devices = vec![("flex", Device::flex())];
        #[cfg(feature = "ndarray")]
        #[expect(deprecated, reason = "kept as a second opinion on flex")]
        devices.push(("ndarray", Device::new(burn_ndarray::NdArrayDevice::Cpu)));
        #[cfg(not(feature = "ndarray"))]
        skip("ndarray is not in this build (feature ndarray)");
        #[cfg(feature = "wgpu")]
        {
            let answers = || {
                let device = Device::wgpu(Default::default());
                let one: f32 = Tensor::<1>::ones([1], &device).into_scalar();
                (one == 1.0).then_some(device)
            };
            match std::panic::catch_unwind(answers) {
                Ok(Some(device)) => devices.push(("wgpu", device)),
                _ => skip("no Vulkan driver answers wgpu"),
            }
        }
        #[cfg(not(feature = "wgpu"))]
        skip("wgpu is not in this build (feature wgpu)");
        devices
    }

    fn parts(device: &Device) -> (ResNetHead, ResNetTail) {
        parts_at("layer2", device)
    }

    fn parts_at(split: &str, device: &Device) -> (ResNetHead, ResNetTail) {
        let network = embedded::backbone(device)
            .unwrap()
            .fold_batch_norm()
            .valid();
        cut(&network, split.parse().unwrap()).unwrap()
    }

    fn input(device: &Device) -> Tensor<4> {
        let pictures = embedded::pictures(EmbeddedSplit::Test, PICTURES).unwrap();
        embedded::PREPROCESS.input(&pictures, 0..PICTURES, device)
    }

    /// Activations of the first test pictures at a split point, with the tail behind it.
    fn cached(split: &str, pictures: usize, plain: &Device) -> (ActivationCache, ResNetTail) {
        let (head, tail) = parts_at(split, plain);
        let batch = (input(plain).narrow(0, 0, pictures), vec![0; pictures]);
        let cache = ActivationCache::build(&head, &tail, [batch], 1 << 28).unwrap();
        (cache, tail)
    }

    fn settings(steps: usize, warmup_steps: usize, batch_size: usize) -> TrainConfig {
        TrainConfig {
            warmup_steps,
            batch_size,
            learning_rate: 1e-3,
            rate_learning_rate: 1e-2,
            seed: 3,
            ..TrainConfig::new(steps, Objective::Lambda(0.1))
        }
    }

    fn units(shape: ActivationShape) -> [UnitConfig; 2] {
        [
            UnitConfig::paper(shape, 8, 2, 0.25),
            UnitConfig::conv(shape, 8, 2, 0.25),
        ]
    }

    /// A bank of both layouts after a few steps on flex.
    fn bank() -> Bank {
        let plain = Device::flex();
        let device = plain.clone().autodiff();
        let (cache, tail) = cached("layer2", PICTURES, &plain);
        let settings = settings(4, 2, 8);
        let rungs = units(cache.shape()).map(|unit| {
            let mut training = Training::start(&unit, &settings, None, &cache, &device).unwrap();
            let loss = ClassifierDistortion::unsupervised(tail.clone().train());
            while !training.is_done() {
                training.advance(&cache, &loss).unwrap();
            }
            Rung::from_training("short", "unit", &unit, &training, &cache, PICTURES, &plain)
                .unwrap()
        });
        let note = BackboneNote {
            name: "embedded".to_owned(),
            split: "layer2".to_owned(),
            weights_sha256: embedded::BACKBONE_SHA256.to_owned(),
        };
        Bank::new(note, rungs.into()).unwrap()
    }

    fn rows(logits: Tensor<2>) -> Vec<f32> {
        logits.into_data().try_to_vec::<f32>().unwrap()
    }

    #[test]
    fn written_on_one_backend_finish_the_same_on_every_other() {
        let (bank, devices) = (bank(), devices());
        for rung in 0..bank.rungs().len() {
            for (writer, written_on) in &devices {
                let frames = bank
                    .open(rung, written_on)
                    .unwrap()
                    .encode(parts(written_on).0.forward(input(written_on)))
                    .unwrap();
                let mut reference: Option<Vec<f32>> = None;
                for (reader, read_on) in &devices {
                    let restored = bank.open(rung, read_on).unwrap().decode(&frames).unwrap();
                    let logits = parts(read_on).1.forward(restored);
                    let classes = split_backbone::top1(logits.clone());
                    let logits = rows(logits);
                    let reference = reference.get_or_insert_with(|| logits.clone());
                    let furthest = logits
                        .iter()
                        .zip(reference.iter())
                        .map(|(a, b)| (a - b).abs())
                        .fold(0.0, f32::max);
                    assert!(
                        furthest < TOLERANCE,
                        "rung {rung}, written on {writer}, read on {reader}: {furthest}"
                    );
                    let width = reference.len() / PICTURES;
                    let expected: Vec<usize> = reference
                        .chunks(width)
                        .map(|row| {
                            let best = row.iter().copied().fold(f32::MIN, f32::max);
                            row.iter().position(|value| *value == best).unwrap()
                        })
                        .collect();
                    assert_eq!(classes, expected, "written on {writer}, read on {reader}");
                }
            }
        }
    }

    /// Weights of a unit in the order of their names, without running statistics, which move by themselves.
    fn values(training: &Training) -> Vec<f32> {
        let state = training.weights().unit;
        let weights = state
            .into_iter()
            .filter(|(path, _)| !path.contains("running_"));
        weights.flat_map(|(_, tensor)| tensor.values).collect()
    }

    fn distance(one: &[f32], other: &[f32]) -> f32 {
        let squares = one.iter().zip(other).map(|(a, b)| (a - b) * (a - b));
        squares.sum::<f32>().sqrt()
    }

    /// What some steps of training did.
    #[derive(Clone)]
    struct Course {
        distortions: Vec<f64>,
        drawn: Vec<f32>,
        trained: Vec<f32>,
    }

    fn course(plain: &Device) -> Course {
        let device = plain.clone().autodiff();
        let (cache, tail) = cached("layer4.1", TRAINED_ON, plain);
        let unit = UnitConfig::paper(cache.shape(), 8, 2, 0.25);
        let settings = settings(STEPS, 0, TRAINED_ON);
        let mut training = Training::start(&unit, &settings, None, &cache, &device).unwrap();
        let loss = ClassifierDistortion::unsupervised(tail.train());
        let drawn = values(&training);
        let mut distortions = Vec::new();
        while !training.is_done() {
            distortions.push(training.advance(&cache, &loss).unwrap().distortion);
        }
        Course {
            distortions,
            drawn,
            trained: values(&training),
        }
    }

    /// Forward and backward passes and Adam, in each backend's own kernels, with batch norms and grouped
    /// convolutions in them. Beside flex, distortions on ndarray and wgpu were off by 4e-7 of themselves and
    /// weights by 4e-5 of their way. Both bounds leave a factor of 250 to other kernels and drivers; with a
    /// wrong gradient weights end up about as far apart as they went.
    #[test]
    fn training_takes_the_same_course_on_every_backend() {
        let mut reference: Option<Course> = None;
        for (name, plain) in devices() {
            let found = course(&plain);
            let way = distance(&found.drawn, &found.trained);
            assert!(way > 0.0, "{name}: no weight moved");
            let falls = found.distortions.last() < found.distortions.first();
            assert!(falls, "{name}: {:?}", found.distortions);
            let reference = reference.get_or_insert_with(|| found.clone());
            let apart = distance(&found.trained, &reference.trained);
            assert!(
                apart < 1e-2 * way,
                "{name}: weights went {way} and are {apart} from flex's"
            );
            assert_eq!(found.distortions.len(), STEPS, "{name}");
            for (own, flex) in found.distortions.iter().zip(&reference.distortions) {
                assert!(
                    (own - flex).abs() < 1e-4 * flex,
                    "{name}: {own}, on flex {flex}"
                );
            }
        }
    }

    /// What `lab` says with a backend for a folder that isn't there: it is missed once the device is open.
    fn refusal(backend: &str, hides_adapters: bool) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.args(["units", "no-such-folder", "--backend", backend]);
        if hides_adapters {
            hide_adapters(&mut command);
        }
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{command:?} went well");
        String::from_utf8(output.stderr).unwrap()
    }

    fn list(hides_adapters: bool) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.args(["bench", "--list-devices", "--backend", "wgpu"]);
        if hides_adapters {
            hide_adapters(&mut command);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Neither Vulkan's loader nor that of EGL, through which OpenGL would answer, finds a driver.
    fn hide_adapters(command: &mut Command) {
        for variable in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
            command.env(variable, "/dev/null");
        }
        command.env("__EGL_VENDOR_LIBRARY_FILENAMES", "/dev/null");
    }

    /// Elsewhere than on Linux nothing hides adapters.
    #[test]
    #[cfg(target_os = "linux")]
    fn without_an_adapter_one_error_names_the_way_out() {
        for backend in ["wgpu", "wgpu:0"] {
            let said = refusal(backend, true);
            let expected = if cfg!(feature = "wgpu") {
                [
                    "no graphics adapter answers",
                    "VK_DRIVER_FILES",
                    "--backend flex",
                ]
            } else {
                skip("wgpu is not in this build (feature wgpu)");
                [
                    "this build has no backend wgpu",
                    "--features wgpu",
                    "--backend wgpu",
                ]
            };
            for words in expected {
                assert!(said.contains(words), "{words:?} is not in {said}");
            }
            assert_eq!(said.lines().count(), 1, "{said}");
        }
        if cfg!(feature = "wgpu") {
            let listed = list(true);
            assert!(
                listed.starts_with("wgpu     no adapter: install a Vulkan driver"),
                "{listed}"
            );
            assert_eq!(listed.lines().count(), 1, "{listed}");
        }
    }

    #[test]
    fn what_is_listed_can_be_picked_and_nothing_else() {
        if !devices().iter().any(|(name, _)| *name == "wgpu") {
            return;
        }
        let listed = list(false);
        let names: Vec<&str> = listed
            .lines()
            .map(|line| line.split_whitespace().next().unwrap())
            .collect();
        for (number, name) in names.iter().enumerate() {
            assert_eq!(*name, format!("wgpu:{number}"), "{listed}");
            let said = refusal(name, false);
            assert!(said.contains("no-such-folder"), "{name}: {said}");
        }
        let beyond = format!("wgpu:{}", names.len());
        let said = refusal(&beyond, false);
        assert!(
            said.contains(&format!("there is no {beyond}; choose from:")),
            "{said}"
        );
        for name in names {
            assert!(said.contains(&format!("\n  {name}, ")), "{said}");
        }
    }

    const NETS: [(&str, &str); 4] = [
        ("resnet20", "resnet20-12fca82f.th"),
        ("resnet32", "resnet32-d509ac18.th"),
        ("resnet44", "resnet44-014dd654.th"),
        ("resnet56", "resnet56-4bfd9763.th"),
    ];

    fn cifar(assets: &Path, count: usize) -> Pictures {
        let source = DataSource::Cifar10(assets.join("cifar10"));
        let options = LoadOptions {
            limit: Some(count),
            framing: None,
        };
        source.load(Part::Test, &options).unwrap().pictures
    }

    #[test]
    fn logits_of_real_networks_equal_the_references_on_every_backend() {
        let Some(assets) = assets() else {
            return;
        };
        let text = fs::read(assets.join("cifar-resnet/logits.json")).unwrap();
        let reference: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let pictures = cifar(&assets, PICTURES);
        for (name, device) in devices() {
            let input = Preprocess::IMAGENET.input(&pictures, 0..PICTURES, &device);
            for (net, file) in NETS {
                let config = ResNetConfig::named(net).unwrap();
                let path = assets.join("cifar-resnet").join(file);
                let (network, _) = ResNet::load(&config, &path, &device).unwrap();
                let logits = rows(network.fold_batch_norm().forward(input.clone()));
                let expected = reference["nets"][net]["logits"].as_array().unwrap();
                let expected = expected.iter().flat_map(|row| row.as_array().unwrap());
                let furthest = logits
                    .iter()
                    .zip(expected)
                    .map(|(found, expected)| (f64::from(*found) - expected.as_f64().unwrap()).abs())
                    .fold(0.0, f64::max);
                assert_eq!(logits.len(), 10 * PICTURES);
                assert!(furthest < 1e-4, "{net} on {name}: {furthest}");
            }
        }
    }

    #[test]
    fn some_hundred_real_pictures_get_the_same_classes_on_every_backend() {
        const COUNT: usize = 300;
        let Some(assets) = assets() else {
            return;
        };
        let pictures = cifar(&assets, COUNT);
        let (net, file) = NETS[0];
        let config = ResNetConfig::named(net).unwrap();
        let path = assets.join("cifar-resnet").join(file);
        let mut first: Option<Vec<usize>> = None;
        for (name, device) in devices() {
            let (network, _) = ResNet::load(&config, &path, &device).unwrap();
            let network = network.fold_batch_norm();
            let mut classes = Vec::new();
            for start in (0..COUNT).step_by(50) {
                let input = Preprocess::IMAGENET.input(&pictures, start..start + 50, &device);
                classes.extend(split_backbone::top1(network.forward(input)));
            }
            let first = first.get_or_insert_with(|| classes.clone());
            let other = classes.iter().zip(first.iter()).filter(|(a, b)| a != b);
            // A picture whose two best classes are equal to five digits may go either way.
            assert!(other.count() <= 1, "{name}");
        }
    }
}
