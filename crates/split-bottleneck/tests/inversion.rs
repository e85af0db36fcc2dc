//! The attacker on toy latents whose content is known.

#[cfg(test)]
mod inversion {
    use burn::tensor::{Device, Tensor, TensorData};
    use rand_core::{Rng, SeedableRng};
    use rand_pcg::Pcg64;
    use split_bottleneck::{Inversion, InversionConfig, InversionError, Leak, LeakedPictures};

    const SIDE: usize = 16;
    const CELL: usize = 4;

    fn config(steps: usize) -> InversionConfig {
        InversionConfig {
            hidden: 16,
            blocks: 1,
            steps,
            batch_size: 16,
            learning_rate: 1e-2,
            seed: 3,
        }
    }

    /// A grey level drawn for every 4x4 cell, as `[n, 1, 16, 16]`.
    fn pictures(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = Pcg64::seed_from_u64(seed);
        let mut values = Vec::new();
        for _ in 0..n {
            let levels: Vec<f32> = (0..(SIDE / CELL).pow(2))
                .map(|_| f32::from(u8::try_from(rng.next_u32() >> 24).unwrap()) / 255.0)
                .collect();
            for place in 0..SIDE * SIDE {
                let cell = (place / SIDE / CELL) * (SIDE / CELL) + place % SIDE / CELL;
                values.push(levels[cell]);
            }
        }
        values
    }

    /// A unit encoder of one line: the level of each cell, rounded to a multiple of `step`.
    fn leaked(n: usize, seed: u64, step: f32, device: &Device) -> LeakedPictures {
        let pictures = pictures(n, seed);
        let side = SIDE / CELL;
        let mut latents = Vec::new();
        for picture in pictures.chunks_exact(SIDE * SIDE) {
            for cell in 0..side * side {
                let value = picture[cell / side * CELL * SIDE + cell % side * CELL];
                latents.push((value / step).round() * step);
            }
        }
        let mut set = LeakedPictures::default();
        let latents = Tensor::from_data(TensorData::new(latents, [n, 1, side, side]), device);
        let pictures = Tensor::from_data(TensorData::new(pictures, [n, 1, SIDE, SIDE]), device);
        set.push(latents, pictures).unwrap();
        set
    }

    fn leak(step: f32, steps: usize) -> Leak {
        let device = Device::flex();
        let training = leaked(128, 1, step, &device);
        let test = leaked(32, 2, step, &device);
        let tracked = device.autodiff();
        let attacker = Inversion::train(&config(steps), &training, &tracked, |_, _| {}).unwrap();
        attacker.leak(&test).unwrap()
    }

    #[test]
    fn a_finer_quantizer_leaks_more() {
        let device = Device::flex();
        let [coarse, fine] = [1.0, 0.05].map(|step| leak(step, 800));
        let test = leaked(32, 2, 1.0, &device);
        let nothing = test.leak_of_mean(&leaked(128, 1, 1.0, &device)).unwrap();
        // Uniform levels have a deviation of 0.289, 10.8 dB; one bit halves it, 16.8 dB; 20 levels end
        // at 36.8 dB, which the attacker comes near.
        assert!((10.0..11.5).contains(&nothing.psnr_db), "{nothing:?}");
        assert!(coarse.psnr_db > nothing.psnr_db + 2.0, "{coarse:?}");
        assert!(
            coarse.psnr_db < 17.5,
            "more than one bit can say: {coarse:?}"
        );
        assert!(fine.psnr_db > coarse.psnr_db + 3.0, "{fine:?} {coarse:?}");
        assert!(
            fine.ssim.unwrap() > coarse.ssim.unwrap() + 0.05,
            "{fine:?} {coarse:?}"
        );
    }

    #[test]
    fn the_same_seed_trains_the_same_attacker() {
        let [one, again] = [1.0, 1.0].map(|step| leak(step, 5));
        assert_eq!(one, again);
    }

    #[test]
    fn sets_that_do_not_fit_are_refused() {
        let device = Device::flex();
        let tensor = |shape: [usize; 4]| Tensor::<4>::zeros(shape, &device);
        let mut set = LeakedPictures::default();
        let refused = set.push(tensor([2, 1, 4, 4]), tensor([3, 1, 16, 16]));
        assert!(matches!(refused, Err(InversionError::Count { .. })));
        set.push(tensor([2, 1, 4, 4]), tensor([2, 1, 16, 16]))
            .unwrap();
        let refused = set.push(tensor([2, 1, 4, 4]), tensor([2, 3, 16, 16]));
        assert!(matches!(
            refused,
            Err(InversionError::Shape {
                what: "picture",
                ..
            })
        ));
        let tracked = device.clone().autodiff();
        let few = Inversion::train(&config(1), &set, &tracked, |_, _| {}).unwrap_err();
        assert_eq!(
            few,
            InversionError::TooFewPictures {
                found: 2,
                needed: 16
            }
        );
        let mut small = LeakedPictures::default();
        small
            .push(tensor([16, 1, 8, 8]), tensor([16, 1, 4, 4]))
            .unwrap();
        let refused = Inversion::train(&config(1), &small, &tracked, |_, _| {}).unwrap_err();
        assert!(matches!(refused, InversionError::Size { .. }));
    }
}
