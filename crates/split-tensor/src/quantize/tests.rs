//! Every scheme against a twin that does one value at a time, in the words of its definition.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the twin's values are far below the limits of what they become"
)]

use alloc::vec::Vec;

use proptest::prelude::*;

use super::round::round_ties_even;
use super::{Quantizer, ValueRange};
use crate::error::{QuantizeError, QuantizerError};
use crate::latent::{Latent, LatentShape};
use crate::symbols::Symbols;

fn latent(values: &[f32]) -> Latent {
    let shape = LatentShape::new(1, 1, values.len()).unwrap();
    Latent::new(shape, values.to_vec()).unwrap()
}

fn symbols_of(quantizer: &Quantizer, values: &[f32]) -> Vec<i32> {
    quantizer.quantize(&latent(values)).unwrap().into_values()
}

fn restored(quantizer: &Quantizer, values: &[f32]) -> Vec<f32> {
    let symbols = quantizer.quantize(&latent(values)).unwrap();
    quantizer.dequantize(&symbols).unwrap().into_values()
}

fn mean_squared_error(quantizer: &Quantizer, values: &[f32]) -> f64 {
    let restored = restored(quantizer, values);
    let errors = restored.iter().zip(values);
    let sum: f64 = errors
        .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
        .sum();
    sum / values.len() as f64
}

fn entropy_bits(symbols: &[i32]) -> f64 {
    let mut counts = alloc::collections::BTreeMap::new();
    for symbol in symbols {
        *counts.entry(symbol).or_insert(0.0) += 1.0;
    }
    let all = symbols.len() as f64;
    counts
        .values()
        .map(|n: &f64| n / all * (all / n).log2())
        .sum()
}

/// After a rectifier: half zeros, half an exponential tail, from a seed.
fn rectified(count: usize, mut seed: u64) -> Vec<f32> {
    let mut uniform = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((seed >> 40) as f32 + 0.5) / (1u32 << 24) as f32
    };
    let values = (0..count).map(|_| {
        if uniform() < 0.5 {
            0.0
        } else {
            -uniform().ln() * 1.7
        }
    });
    values.collect()
}

#[test]
fn halves_round_to_even() {
    let halves = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5];
    let uniform = Quantizer::uniform(1.0).unwrap();
    assert_eq!(symbols_of(&uniform, &halves), [-2, -2, 0, 0, 2, 2, 4]);
    let zone = uniform.dead_zone(0.0, 0.0).unwrap();
    assert_eq!(symbols_of(&zone, &halves), [-2, -2, 0, 0, 2, 2, 4]);
    let affine = Quantizer::affine(ValueRange::new(-128.0, 127.0).unwrap(), 8).unwrap();
    assert_eq!(symbols_of(&affine, &halves), [-2, -2, 0, 0, 2, 2, 4]);
    let clipped = Quantizer::clipped(ValueRange::new(0.0, 3.0).unwrap(), 4).unwrap();
    assert_eq!(symbols_of(&clipped, &halves), [0, 0, 0, 0, 2, 2, 3]);
}

#[test]
fn nan_infinity_and_overflow_are_refused_by_name() {
    let range = ValueRange::new(-1.0, 2.0).unwrap();
    let steps = Quantizer::uniform(0.5).unwrap();
    let zone = steps.clone().dead_zone(0.3, 0.1).unwrap();
    for quantizer in [
        steps.clone(),
        zone.clone(),
        Quantizer::affine(range, 8).unwrap(),
        Quantizer::clipped(range, 4).unwrap(),
    ] {
        let refused = |value: f32| quantizer.quantize(&latent(&[0.0, value])).unwrap_err();
        assert_eq!(refused(f32::NAN), QuantizeError::NotANumber { index: 1 });
        assert_eq!(
            refused(f32::NEG_INFINITY),
            QuantizeError::Infinite { index: 1 }
        );
    }
    for quantizer in [steps, zone] {
        for value in [1e9, f32::MAX] {
            let fault = quantizer.quantize(&latent(&[0.0, value])).unwrap_err();
            assert!(matches!(fault, QuantizeError::Overflow { index: 1, .. }));
        }
    }
}

#[test]
fn bad_parameters_are_refused() {
    for step in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
        assert!(matches!(
            Quantizer::uniform(step),
            Err(QuantizerError::BadStep { .. })
        ));
    }
    assert!(Quantizer::per_channel(Vec::new()).is_err());
    let step = Quantizer::uniform(1.0).unwrap();
    for (shift, restore) in [(-0.1, 0.0), (0.6, 0.0), (f32::NAN, 0.0), (0.1, 1.5)] {
        assert!(matches!(
            step.clone().dead_zone(shift, restore),
            Err(QuantizerError::BadParameter { .. })
        ));
    }
    let range = ValueRange::new(0.0, 1.0).unwrap();
    for bits in [0, 1, 9] {
        assert_eq!(
            Quantizer::affine(range, bits),
            Err(QuantizerError::BadBits { found: bits })
        );
    }
    for levels in [0, 1, 257] {
        assert!(matches!(
            Quantizer::clipped(range, levels),
            Err(QuantizerError::BadLevels { .. })
        ));
    }
    let affine = Quantizer::affine(range, 8).unwrap();
    assert!(matches!(
        affine.dead_zone(0.1, 0.1),
        Err(QuantizerError::WrongScheme { .. })
    ));
    assert!(ValueRange::new(1.0, 0.0).is_err());
    assert_eq!(ValueRange::min_max(&[]), Err(QuantizerError::NoValues));
    assert!(matches!(
        ValueRange::min_max(&[1.0, f32::NAN]),
        Err(QuantizerError::BadValue { .. })
    ));
    assert!(ValueRange::percentile(&[1.0], 0.7).is_err());
    assert!(Quantizer::fit_entropy_constrained(&[1.0, 2.0], 4, -1.0).is_err());
}

#[test]
fn per_channel_parameters_reach_their_channels_only() {
    let shape = LatentShape::new(2, 1, 2).unwrap();
    let quantizer = Quantizer::per_channel(alloc::vec![1.0, 0.25]).unwrap();
    let sent = Latent::new(shape, alloc::vec![1.0, 2.0, 1.0, 2.0]).unwrap();
    let symbols = quantizer.quantize(&sent).unwrap();
    assert_eq!(symbols.values(), [1, 2, 4, 8]);
    assert_eq!(quantizer.dequantize(&symbols).unwrap(), sent);
    let other = LatentShape::new(3, 1, 1).unwrap();
    let other = Latent::new(other, alloc::vec![0.0; 3]).unwrap();
    assert!(matches!(
        quantizer.quantize(&other),
        Err(QuantizeError::ChannelMismatch {
            found: 3,
            allowed: 2
        })
    ));
    let ranges = ValueRange::per_channel(&[sent.clone(), sent.clone()], ValueRange::min_max);
    let ranges = ranges.unwrap();
    assert_eq!((ranges[1].min(), ranges[1].max()), (1.0, 2.0));
    let affine = Quantizer::affine_per_channel(&ranges, 8).unwrap();
    assert_eq!(affine.channels(), Some(2));
    assert!(affine.quantize(&other).is_err());
}

#[test]
fn percentiles_leave_out_the_stated_share_at_each_end() {
    let values: Vec<f32> = (0..1000u16).map(f32::from).collect();
    let range = ValueRange::percentile(&values, 0.01).unwrap();
    assert_eq!((range.min(), range.max()), (10.0, 989.0));
    let all = ValueRange::percentile(&values, 0.0).unwrap();
    assert_eq!((all.min(), all.max()), (0.0, 999.0));
    let middle = ValueRange::percentile(&values, 0.5).unwrap();
    assert_eq!((middle.min(), middle.max()), (499.0, 500.0));
}

#[test]
fn affine_integers_hold_zero_exactly_and_fill_their_bits() {
    for bits in [2, 4, 8] {
        for (low, high) in [(-1.0, 3.0), (0.5, 2.0), (-2.0, -0.5), (0.0, 0.0)] {
            let range = ValueRange::new(low, high).unwrap();
            let quantizer = Quantizer::affine(range, bits).unwrap();
            let (min, max) = quantizer.symbol_range().unwrap();
            assert_eq!((min, max), (-(1 << (bits - 1)), (1 << (bits - 1)) - 1));
            assert_eq!(restored(&quantizer, &[0.0]), [0.0]);
            if low < high {
                let ends = symbols_of(&quantizer, &[-1e30, 1e30]);
                assert_eq!(ends, [min, max]);
                let step = quantizer.step_of(0).unwrap();
                for (back, value) in restored(&quantizer, &[low, high]).iter().zip([low, high]) {
                    assert!((back - value).abs() <= step * 0.5001, "{value} as {back}");
                }
            }
        }
    }
}

#[test]
fn symbols_that_a_clipping_scheme_never_gives_are_refused() {
    let quantizer = Quantizer::clipped(ValueRange::new(0.0, 1.0).unwrap(), 4).unwrap();
    let shape = LatentShape::new(1, 1, 2).unwrap();
    for stray in [-1, 4] {
        let symbols = Symbols::new(shape, alloc::vec![3, stray]).unwrap();
        assert_eq!(
            quantizer.dequantize(&symbols),
            Err(QuantizeError::SymbolOutOfRange {
                index: 1,
                found: stray,
                min: 0,
                max: 3
            })
        );
    }
}

#[test]
fn a_dead_zone_saves_bits_and_its_centre_saves_error() {
    let values = rectified(20_000, 5);
    let plain = Quantizer::uniform(1.0).unwrap();
    let zone = plain.clone().dead_zone(0.3, 0.3).unwrap();
    let centred = zone.clone().centred(&[latent(&values)]).unwrap();
    let bits = |quantizer: &Quantizer| entropy_bits(&symbols_of(quantizer, &values));
    assert!(bits(&zone) < 0.9 * bits(&plain));
    assert_eq!(bits(&zone), bits(&centred));
    let error = |quantizer: &Quantizer| mean_squared_error(quantizer, &values);
    assert!(error(&centred) <= error(&zone));
    for restore in [0.0, 0.1, 0.5] {
        let other = plain.clone().dead_zone(0.3, restore).unwrap();
        assert!(error(&centred) <= error(&other), "{restore}");
    }
    let silent = [latent(&[0.1, 0.0])];
    assert_eq!(zone.centred(&silent), Err(QuantizerError::NoValues));
}

#[test]
fn the_clip_range_beats_the_full_range_and_every_range_of_a_grid() {
    let values = rectified(8000, 9);
    let full = ValueRange::min_max(&values).unwrap();
    for levels in [2, 4, 8] {
        let fit = Quantizer::fit_clipped(&values, levels).unwrap();
        let measured = mean_squared_error(&fit.quantizer, &values);
        assert!((measured - fit.mean_squared_error).abs() < 1e-4 * measured);
        let bits = entropy_bits(&symbols_of(&fit.quantizer, &values));
        assert!((bits - fit.entropy_bits).abs() < 1e-9);
        let whole = Quantizer::clipped(full, levels).unwrap();
        assert!(fit.mean_squared_error < 0.8 * mean_squared_error(&whole, &values));
        for part in 1..=100u16 {
            let end = full.max() * f32::from(part) / 100.0;
            let range = ValueRange::new(0.0, end).unwrap();
            let other = Quantizer::clipped(range, levels).unwrap();
            let error = mean_squared_error(&other, &values);
            assert!(fit.mean_squared_error <= 1.002 * error, "{levels}, {end}");
        }
    }
}

#[test]
fn entropy_constraint_lowers_error_and_rate_together_with_lambda_as_the_price() {
    let values = rectified(8000, 11);
    let even = Quantizer::fit_clipped(&values, 8).unwrap();
    let mut last_bits = f64::INFINITY;
    for lambda in [0.0, 0.01, 0.1, 0.4] {
        let fit = Quantizer::fit_entropy_constrained(&values, 8, lambda).unwrap();
        let cost = |error: f64, bits: f64| error + lambda * bits;
        assert!(
            cost(fit.mean_squared_error, fit.entropy_bits)
                < cost(even.mean_squared_error, even.entropy_bits)
        );
        assert!(fit.entropy_bits <= last_bits);
        last_bits = fit.entropy_bits;
        let measured = mean_squared_error(&fit.quantizer, &values);
        assert!((measured - fit.mean_squared_error).abs() < 1e-4 * measured);
    }
    // Eight such levels take fewer bits than four even ones and lose a quarter less.
    let four = Quantizer::fit_clipped(&values, 4).unwrap();
    let fit = Quantizer::fit_entropy_constrained(&values, 8, 0.4).unwrap();
    assert!(fit.entropy_bits < four.entropy_bits);
    assert!(fit.mean_squared_error < 0.75 * four.mean_squared_error);
}

#[test]
fn equal_values_are_fitted_too() {
    for value in [0.0, 3.5, -2.0] {
        let fit = Quantizer::fit_clipped(&[value; 5], 4).unwrap();
        assert_eq!(restored(&fit.quantizer, &[value]), [value]);
        assert_eq!(fit.entropy_bits, 0.0);
        assert!(Quantizer::fit_entropy_constrained(&[value; 5], 4, 0.1).is_ok());
    }
}

fn any_quantizer() -> impl Strategy<Value = Quantizer> {
    let range = (-9f32..9.0, 0.01f32..9.0)
        .prop_map(|(low, span)| ValueRange::new(low, low + span).unwrap());
    let steps = prop::collection::vec(1e-2f32..10.0, 3);
    prop_oneof![
        (1e-3f32..1e3).prop_map(|step| Quantizer::uniform(step).unwrap()),
        steps
            .clone()
            .prop_map(|steps| Quantizer::per_channel(steps).unwrap()),
        (steps, 0f32..=0.5, 0f32..=1.0).prop_map(|(steps, shift, restore)| {
            let steps = Quantizer::per_channel(steps).unwrap();
            steps.dead_zone(shift, restore).unwrap()
        }),
        (range.clone(), 2u32..=8).prop_map(|(r, bits)| Quantizer::affine(r, bits).unwrap()),
        (prop::collection::vec(range.clone(), 3), 2u32..=8)
            .prop_map(|(r, bits)| Quantizer::affine_per_channel(&r, bits).unwrap()),
        (range, 2usize..=16).prop_map(|(r, levels)| Quantizer::clipped(r, levels).unwrap()),
    ]
}

/// The definitions of docs/format.md, one value at a time.
fn naive_symbol(bytes: &[u8], channel: usize, value: f32) -> i32 {
    let float = |at: usize| f32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let counted = |at: usize| if bytes[at] == 0 { 0 } else { channel };
    match bytes[0] {
        0 => (value / float(2 + 4 * counted(1))).round_ties_even() as i32,
        1 => {
            let scaled = (value / float(10 + 4 * counted(9))).abs();
            let magnitude = (scaled - float(1)).round_ties_even().max(0.0) as i32;
            if value < 0.0 { -magnitude } else { magnitude }
        }
        2 => {
            let half = 1i64 << (bytes[1] - 1);
            let mut at = 3;
            let mut read = || {
                let scale = float(at);
                let first = i64::from(bytes[at + 4]);
                let mut coded = first & 127;
                at += 5;
                if first >= 128 {
                    coded |= i64::from(bytes[at]) << 7;
                    at += 1;
                }
                let zero = if coded % 2 == 0 {
                    coded / 2
                } else {
                    -(coded + 1) / 2
                };
                (scale, zero)
            };
            let (mut scale, mut zero) = read();
            for _ in 0..counted(2) {
                (scale, zero) = read();
            }
            let whole = i64::from((value / scale).round_ties_even() as i32);
            (whole + zero).clamp(-half, half - 1) as i32
        }
        _ => {
            // The nearest level, from thresholds: the first interval that holds the value.
            let count = usize::from(bytes[1]);
            let found = (0..count).find(|&level| {
                let threshold = float(2 + 4 * level);
                let even = level % 2 == 0;
                level + 1 == count || value < threshold || (even && value == threshold)
            });
            found.unwrap() as i32
        }
    }
}

proptest! {
    #[test]
    fn rounding_equals_the_standard_library(bits in any::<u32>(), step in 1e-3f32..1e3) {
        let value = f32::from_bits(bits);
        prop_assume!(!value.is_nan());
        let ratio = value / step;
        prop_assert_eq!(round_ties_even(ratio), ratio.round_ties_even());
    }

    #[test]
    fn every_scheme_equals_its_naive_twin(
        quantizer in any_quantizer(),
        mut values in prop::collection::vec(-20f32..20.0, 12),
        halves in prop::collection::vec(-9i8..9, 6),
    ) {
        // Values on the borders of symbols, among them exact halves of the first step.
        let step = quantizer.step_of(0).unwrap_or(1.0);
        values.extend(halves.iter().map(|&half| (f32::from(half) + 0.5) * step));
        let shape = LatentShape::new(3, 2, 3).unwrap();
        let sent = Latent::new(shape, values).unwrap();
        let symbols = quantizer.quantize(&sent).unwrap();
        let bytes = quantizer.to_bytes();
        for (at, (&symbol, &value)) in symbols.values().iter().zip(sent.values()).enumerate() {
            prop_assert_eq!(symbol, naive_symbol(&bytes, at / 6, value), "{}", value);
        }
        // What comes back is quantized to the same symbols again.
        let back = quantizer.dequantize(&symbols).unwrap();
        if quantizer.clone().dead_zone(0.0, 0.0).is_err() {
            prop_assert_eq!(quantizer.quantize(&back).unwrap(), symbols);
        }
    }

    #[test]
    fn quantizers_survive_their_serial_form_and_nothing_else_is_read(
        quantizer in any_quantizer(),
        at in any::<prop::sample::Index>(),
        bit in 0u32..8,
    ) {
        let mut bytes = quantizer.to_bytes();
        prop_assert_eq!(Quantizer::from_bytes(&bytes).unwrap(), quantizer);
        for end in 0..bytes.len() {
            prop_assert!(Quantizer::from_bytes(&bytes[..end]).is_err());
        }
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(other) = Quantizer::from_bytes(&bytes) {
            let _ = other.quantize(&latent(&[0.3, -7.0]));
        }
    }

    #[test]
    fn restoring_loses_at_most_half_a_step(value in -1e3f32..1e3, step in 1e-2f32..10.0) {
        let quantizer = Quantizer::uniform(step).unwrap();
        let error = (restored(&quantizer, &[value])[0] - value).abs();
        prop_assert!(error <= step * 0.5 + value.abs() * 1e-6);
    }
}
