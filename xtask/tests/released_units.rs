//! The authors' units on every compiled backend: `cargo test -p xtask --test released_units`.
//!
//! Needs the folder `bottleneck-units` of the assets (`SPLIT_ASSETS`, else `../shared/assets`
//! beside the checkout).

#[cfg(test)]
mod released {
    use std::io::Write as _;
    use std::path::{Path, PathBuf};

    use burn::module::Module;
    use burn::tensor::{Device, Tensor, TensorData};
    use serde_json::Value;
    use split_bottleneck::{ReleasedError, ReleasedUnit, Unit, parameter_count};
    use split_tensor::{Codec, FreqTable, Latent, Quantizer, TableSet};

    const TOLERANCE: f32 = 1e-4;
    const UNITS: usize = 10;

    /// Straight to the stream: the test runner keeps what is printed.
    fn skip(why: &str) {
        let _ = writeln!(std::io::stderr(), "skipped: {why}");
    }

    fn folder() -> Option<PathBuf> {
        let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/assets");
        let folder = std::env::var_os("SPLIT_ASSETS").map_or(beside, PathBuf::from);
        let units = folder.join("bottleneck-units");
        if units.is_dir() {
            return Some(units);
        }
        skip("no assets (SPLIT_ASSETS or ../shared/assets)");
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

    fn descriptions(folder: &Path) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .collect();
        files.sort();
        files
    }

    /// The reference input: a hash of the flat index, exact in `f32` (32-bit wrapping integers).
    fn input(seed: u32, count: usize) -> Vec<f32> {
        (0..u32::try_from(count).unwrap())
            .map(|index| {
                let mut u = index.wrapping_mul(2_654_435_761).wrapping_add(seed);
                u ^= u >> 16;
                u = u.wrapping_mul(2_246_822_519);
                u ^= u >> 13;
                u = u.wrapping_mul(3_266_489_917);
                u ^= u >> 16;
                let v = (u >> 8) as f32 / 16_777_216.0;
                if v < 0.5 { 0.0 } else { (v - 0.5) * 4.0 }
            })
            .collect()
    }

    struct Reference {
        latent: Vec<f32>,
        symbols: Vec<i32>,
        y_sample: Vec<f32>,
    }

    fn reference(path: &Path) -> Reference {
        let bytes = std::fs::read(path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let floats = |name: &str| -> Vec<f32> {
            let (chunks, rest) = file.tensor(name).unwrap().data().as_chunks::<4>();
            assert!(rest.is_empty());
            chunks
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect()
        };
        let symbols = file.tensor("symbols").unwrap();
        let (symbols, _) = symbols.data().as_chunks::<2>();
        Reference {
            latent: floats("latent"),
            symbols: symbols
                .iter()
                .map(|bytes| i32::from(i16::from_le_bytes(*bytes)))
                .collect(),
            y_sample: floats("y_sample"),
        }
    }

    fn integer(json: &Value, path: &str) -> usize {
        let value = json.pointer(path).and_then(Value::as_u64);
        usize::try_from(value.unwrap_or_else(|| panic!("{path}"))).unwrap()
    }

    fn values(tensor: Tensor<4>) -> Vec<f32> {
        tensor.into_data().try_to_vec::<f32>().unwrap()
    }

    fn furthest(found: &[f32], expected: &[f32]) -> f32 {
        assert_eq!(found.len(), expected.len());
        let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
        differences.fold(0.0, f32::max)
    }

    fn check_cost(unit: &ReleasedUnit, module: &Unit, json: &Value) {
        let batch_norms = integer(json, "/parameters/device_bn_values") / 2;
        let device_weights = integer(json, "/parameters/device_conv_weights");
        assert_eq!(
            parameter_count(&module.encoder),
            device_weights + batch_norms
        );
        assert_eq!(
            unit.config.encoder_macs(),
            integer(json, "/macs/device_unit")
        );
        assert_eq!(unit.config.decoder_macs(), integer(json, "/macs/edge_unit"));
    }

    fn check(description: &Path, json: &Value, device: &Device, backend: &str) {
        let name = json["name"].as_str().unwrap();
        let unit = ReleasedUnit::parse(&json.to_string()).unwrap();
        let path = description.with_file_name(format!("{name}.pth.tar"));
        let module = unit.load(&path, device).unwrap().valid();
        check_cost(&unit, &module, json);
        let shape = unit.config.activation;
        let seed = u32::try_from(integer(json, "/reference/input_seed")).unwrap();
        let input = input(seed, shape.len());
        let sum: f64 = input.iter().map(|value| f64::from(*value)).sum();
        let expected_sum = json["reference"]["input_sum"].as_f64().unwrap();
        assert!((sum - expected_sum).abs() < 1e-3 * expected_sum.abs());
        let sides = [1, shape.channels, shape.height, shape.width];
        let input = Tensor::from_data(TensorData::new(input, sides), device);

        let reference = reference(&description.with_extension("safetensors"));
        let latent = values(module.encoder.forward(input));
        let off = furthest(&latent, &reference.latent);
        assert!(off < TOLERANCE, "{name} on {backend}: latent off by {off}");

        let latent_shape = unit.config.latent_shape().unwrap();
        let quantizer = Quantizer::uniform(unit.config.step).unwrap();
        let latent = Latent::new(latent_shape, latent).unwrap();
        let symbols = quantizer.quantize(&latent).unwrap();
        let ties: Vec<u64> = json["reference"]["near_ties"]["flat_indices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|index| index.as_u64().unwrap())
            .collect();
        for (index, (found, expected)) in
            symbols.values().iter().zip(&reference.symbols).enumerate()
        {
            let tie = ties.contains(&u64::try_from(index).unwrap());
            let apart = i32::from(tie);
            assert!(
                (found - expected).abs() <= apart,
                "{name} on {backend}: symbol {index} is {found}, expected {expected}"
            );
        }

        // The edge gets the reference's symbols, through a real frame under the unit's own table.
        let table = FreqTable::from_counts(0, &unit.counts).unwrap();
        let codec = Codec::new(quantizer, TableSet::shared(table), latent_shape, 0, 7).unwrap();
        let sent = split_tensor::Symbols::new(latent_shape, reference.symbols.clone()).unwrap();
        let frame = codec.encode_symbols(&sent).unwrap();
        let received = codec.decode(&frame).unwrap();
        let sides = [
            1,
            latent_shape.channels(),
            latent_shape.height(),
            latent_shape.width(),
        ];
        let received = TensorData::new(received.into_values(), sides);
        let output = module.decoder.forward(Tensor::from_data(received, device));
        let expected: Vec<usize> = json["shapes"]["output"]
            .as_array()
            .unwrap()
            .iter()
            .map(|side| usize::try_from(side.as_u64().unwrap()).unwrap())
            .collect();
        assert_eq!(output.dims()[1..], expected, "{name} on {backend}");
        let step = integer(json, "/reference/y_sample_step");
        let sample: Vec<f32> = values(output).into_iter().step_by(step).collect();
        let off = furthest(&sample, &reference.y_sample);
        assert!(off < TOLERANCE, "{name} on {backend}: output off by {off}");
        eprintln!("{name} on {backend}: output within {off:.2e}");
    }

    #[test]
    fn all_shared_units_match_their_references_on_every_backend() {
        let Some(folder) = folder() else { return };
        let files = descriptions(&folder);
        assert_eq!(files.len(), UNITS, "ten units are shared");
        for (backend, device) in devices() {
            for file in &files {
                let json = std::fs::read_to_string(file).unwrap();
                let json: Value = serde_json::from_str(&json).unwrap();
                check(file, &json, &device, backend);
            }
        }
    }

    #[test]
    fn a_checkpoint_of_another_unit_is_refused_with_names_and_shapes() {
        let Some(folder) = folder() else { return };
        let device = Device::flex();
        let text = std::fs::read_to_string(folder.join("cls-sup-s1-m3.json")).unwrap();
        let unit = ReleasedUnit::parse(&text).unwrap();
        let other = folder.join("cls-sup-s3-m1.pth.tar");
        let error = unit.load(&other, &device).unwrap_err();
        assert!(matches!(error, ReleasedError::WrongUnit { .. }));
        let text = error.to_string();
        for part in ["conv2_2.weight", "[2048, 1, 3, 3]", "[1024, 1, 3, 3]"] {
            assert!(text.contains(part), "{text}");
        }
        let none = folder.join("no-such-unit.pth.tar");
        let error = unit.load(&none, &device).unwrap_err();
        assert!(matches!(error, ReleasedError::Io { .. }), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let cut = dir.path().join("cut.pth.tar");
        let whole = std::fs::read(&other).unwrap();
        std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
        let error = unit.load(&cut, &device).unwrap_err();
        assert!(matches!(error, ReleasedError::Unreadable { .. }), "{error}");
    }
}
