//! Frames of a batch that an edge decodes side by side.

use std::fs;

use burn::tensor::Device;
use split_backbone::Opened;
use split_bottleneck::Bank;
use split_runtime::JobError;
use split_runtime::stage::EdgeStage;

use super::bank::{Rig, SPLIT};

#[test]
fn a_batch_of_mixed_rungs_is_answered_as_its_frames_alone() {
    let rig = Rig::new();
    let compute = Device::flex();
    let bank = fs::read(rig.model.join("bank.safetensors")).unwrap();
    let bank = Bank::from_bytes(&bank).unwrap();
    let opened = Opened::load("embedded", None, SPLIT, &compute).unwrap();
    let stage = EdgeStage::open(&bank, opened.tail, 3, &compute).unwrap();
    let rungs = [0_u16, 1].map(|rung| (rung, rig.frames(usize::from(rung))));
    let mixed = |place: usize| {
        rungs
            .iter()
            .map(move |(rung, all)| (*rung, all[place].as_slice()))
    };
    let mut frames: Vec<(u16, &[u8])> = (0..rungs[0].1.len()).flat_map(mixed).collect();
    // One that is cut short, and one of a rung that isn't there, in the midst of the others.
    let short = frames[0].1.split_last().unwrap().1;
    frames.insert(3, (0, short));
    frames.insert(7, (2, frames[0].1));
    let decoded = stage.decode_all(&frames);
    assert_eq!(decoded.len(), frames.len());
    let mut sound = Vec::new();
    let mut expected = Vec::new();
    for (place, (found, (rung, frame))) in decoded.into_iter().zip(&frames).enumerate() {
        match (found, stage.decode(*rung, frame)) {
            (Ok(found), Ok(alone)) => {
                sound.push(found);
                expected.extend(stage.run(vec![alone]));
            }
            (Err(found), Err(alone)) => {
                assert!([3, 7].contains(&place), "{place}: {found:?}");
                assert_eq!(found, alone);
                assert!(matches!(found, JobError::BadFrame(_)));
            }
            (found, alone) => panic!("{place}: {found:?} together, {alone:?} alone"),
        }
    }
    let classes = |rankings: Vec<split_runtime::Ranking>| -> Vec<_> {
        let best = |one: &split_runtime::Ranking| one.best().map(|best| best.class);
        rankings.iter().map(best).collect()
    };
    assert_eq!(classes(stage.run(sound)), classes(expected));
}
