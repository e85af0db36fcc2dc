//! `train --tail-norms`: what rungs are worth where the norms of the tail may change with them.

use anyhow::Result;
use split_backbone::{Opened, Part, ResNetTail};
use split_bottleneck::{Bank, NormsConfig, evaluate, fit_norms, norm_parameters};

use crate::baselines::spread;
use crate::record::{Document, Row};
use crate::report::{base_row, rung_row, test_cache};
use crate::rung::{Trained, bar, now};
use crate::setup::Setup;
use crate::train::TrainArgs;

/// Training pictures that the norms are fitted to.
const PICTURES: usize = 6000;

/// Both ways to help: the kind of the rows and the optimizer steps on scale and shift.
const WAYS: [(&str, usize); 2] = [("tail-statistics", 0), ("tail-affine", 300)];

/// Adds two rows for each trained rung of the bank.
pub(crate) fn add(
    setup: &Setup,
    args: &TrainArgs,
    bank: &Bank,
    trained: &[Trained],
    document: &mut Document,
) -> Result<()> {
    let device = &setup.device;
    let training = setup.cache(
        &spread(&setup.pictures(Part::Train)?, PICTURES),
        false,
        |_| {},
    )?;
    let pictures = setup.pictures(Part::Test)?;
    let cache = test_cache(setup, &pictures)?;
    let base = base_row(setup, args.seed, &pictures)?;
    let note = &setup.opened.note;
    let weights = setup.args.weights.as_deref();
    let tail = Opened::tail_with_norms(&note.name, weights, &note.split, device)?;
    let norms = u64::try_from(norm_parameters(&tail))?;
    let bar = bar(trained.len() * WAYS.len(), "norms of the tail");
    for (index, one) in trained.iter().enumerate() {
        let codec = bank.open(index, device)?;
        let restored = training.restored(&codec, device)?;
        for (kind, affine_steps) in WAYS {
            let started = now();
            let config = NormsConfig {
                affine_steps,
                batch_size: args.batch_size,
                seed: args.seed,
                ..NormsConfig::default()
            };
            let tracked = device.clone().autodiff();
            let tail: ResNetTail = fit_norms(tail.clone(), &restored, &config, &tracked)?;
            let seconds = started.elapsed().as_secs_f64();
            let result = evaluate(&codec, &tail.fold_batch_norm(), &cache, device)?;
            let row = rung_row(&base, setup, one, &codec, &result)?;
            document.rows.push(Row {
                name: format!("{kind} {}", one.rung.name),
                kind: kind.to_owned(),
                // What an edge holds for this rung beside what all of them share.
                edge_params: row.edge_params + norms,
                unit_params: row.unit_params + norms,
                train_s: row.train_s.map(|unit| unit + seconds.round()),
                ..row
            });
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(())
}
