//! With buffers that are used again nothing is allocated.
#![expect(unsafe_code, reason = "an allocator cannot be written without")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail loudly")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{bundle, bundle_symbols, shape, symbols};
use split_tensor::{
    BundleScratch, Checksums, Codec, FitConfig, Lanes, Latent, Quantizer, Scratch, Symbols,
    TableSet, ValueRange,
};

/// The system's allocator with a count of its allocations.
struct Counting;

thread_local! {
    // Of this thread only: the test runner's own threads allocate whenever they like.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count_one() {
    // A thread that is going away has no counter any more, and none is needed.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: the caller's duties are the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's duties are the same here.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_one();
        // SAFETY: the caller's duties are the same here.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn coding_with_kept_buffers_allocates_nothing() {
    let shape = shape(16, 8, 8);
    let samples: Vec<Symbols> = (0..40).map(|seed| symbols(shape, seed, 600)).collect();
    let latents: Vec<Latent> = samples
        .iter()
        .map(|symbols| {
            let values = symbols
                .values()
                .iter()
                .map(|&value| value as f32 * 0.5)
                .collect();
            Latent::new(shape, values).unwrap()
        })
        .collect();
    for (contexts, mixing) in [(false, false), (true, false), (true, true)] {
        let set = if contexts {
            common::smooth_set(shape)
        } else {
            TableSet::fit(
                &samples,
                &FitConfig {
                    contexts,
                    ..FitConfig::default()
                },
            )
            .unwrap()
        };
        assert_eq!(set.contexts() > 0, contexts);
        let set = if mixing {
            set.with_mixing(&samples).unwrap()
        } else {
            set
        };
        let codec = Codec::new(Quantizer::uniform(0.5).unwrap(), set, shape, 1, 2).unwrap();
        for lanes in [1, 8, 64] {
            let codec = codec.clone().with_lanes(Lanes::Exactly(lanes));
            let (mut scratch, mut frame, mut values) = (Scratch::new(), Vec::new(), Vec::new());
            let mut pass = || {
                for latent in &latents {
                    frame.clear();
                    codec
                        .encode_reusing(latent, &mut scratch, &mut frame)
                        .unwrap();
                    codec
                        .decode_reusing(&frame, &mut scratch, &mut values)
                        .unwrap();
                    assert_eq!(values, latent.values());
                }
            };
            pass();
            let before = ALLOCATIONS.get();
            pass();
            assert_eq!(ALLOCATIONS.get(), before, "{lanes} lanes");
        }
    }
}

/// A second pass over the same latents, without allocations.
fn check_codec(codec: &Codec, latents: &[Latent], what: &str) {
    let (mut scratch, mut frame, mut values) = (Scratch::new(), Vec::new(), Vec::new());
    let mut pass = || {
        for latent in latents {
            frame.clear();
            codec
                .encode_reusing(latent, &mut scratch, &mut frame)
                .unwrap();
            codec
                .decode_reusing(&frame, &mut scratch, &mut values)
                .unwrap();
        }
    };
    pass();
    let before = ALLOCATIONS.get();
    pass();
    assert_eq!(ALLOCATIONS.get(), before, "{what}");
}

#[test]
fn quantizing_and_coding_128x4x4_allocates_nothing_whatever_the_quantizer() {
    let shape = shape(128, 4, 4);
    let samples: Vec<Symbols> = (0..8).map(|seed| symbols(shape, seed, 400)).collect();
    let latents: Vec<Latent> = samples
        .iter()
        .map(|symbols| {
            let values = symbols.values().iter().map(|&value| value as f32 * 0.7);
            Latent::new(shape, values.collect()).unwrap()
        })
        .collect();
    let range = ValueRange::new(-3.0, 5.0).unwrap();
    let step = Quantizer::uniform(0.5).unwrap();
    for (name, quantizer) in [
        ("step", step.clone()),
        ("steps", Quantizer::per_channel(vec![0.5; 128]).unwrap()),
        ("dead zone", step.dead_zone(0.2, 0.1).unwrap()),
        ("int8", Quantizer::affine(range, 8).unwrap()),
        (
            "int4",
            Quantizer::affine_per_channel(&[range; 128], 4).unwrap(),
        ),
        ("levels", Quantizer::clipped(range, 8).unwrap()),
    ] {
        let seen: Vec<Symbols> = latents
            .iter()
            .map(|latent| quantizer.quantize(latent).unwrap())
            .collect();
        let set = TableSet::fit(&seen, &FitConfig::default()).unwrap();
        let codec = Codec::new(quantizer, set, shape, 1, 2).unwrap();
        check_codec(&codec, &latents, name);
    }
}

#[test]
fn frames_with_segments_allocate_nothing_either() {
    for checksums in [Checksums::Frame, Checksums::Segment] {
        let codec = bundle(1).with_checksums(checksums);
        let groups: Vec<Vec<Latent>> = (0..5)
            .map(|seed| codec.restore(&bundle_symbols(&codec, seed)).unwrap())
            .collect();
        let (mut scratch, mut frame, mut values) = (BundleScratch::new(), Vec::new(), Vec::new());
        let mut pass = || {
            for latents in &groups {
                frame.clear();
                codec
                    .encode_reusing(latents, &mut scratch, &mut frame)
                    .unwrap();
                codec
                    .decode_reusing(&frame, &mut scratch, &mut values)
                    .unwrap();
                for (values, latent) in values.iter().zip(latents) {
                    assert_eq!(values, latent.values());
                }
            }
        };
        pass();
        let before = ALLOCATIONS.get();
        pass();
        assert_eq!(ALLOCATIONS.get(), before, "{checksums:?}");
    }
}
