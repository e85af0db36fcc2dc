//! Measuring a bank and showing the result.

use anyhow::{Context, Result};
use split_backbone::rivals::PictureCodec;
use split_backbone::{CutProfile, Pictures, Profile, rivals};
use split_bottleneck::{Bank, Evaluation, Measured, RungCodec, evaluate};

use crate::record::{Backbone, Data, Document, Row, command_line, git_state};
use crate::rung::{Trained, bar, count};
use crate::setup::Setup;
use crate::train::TrainArgs;

/// Qualities of the picture codecs.
const QUALITIES: [u8; 9] = [0, 10, 20, 30, 45, 60, 75, 90, 100];

/// Measures every rung closed loop on the whole test set, then the picture codecs.
pub(crate) fn measure(
    setup: &Setup,
    args: &TrainArgs,
    (pictures, train_name): (&Pictures, String),
    bank: &mut Bank,
    trained: &[Trained],
) -> Result<Document> {
    let mut document = start_document(setup, pictures, args.seed, train_name)?;
    let cache = test_cache(setup, pictures)?;
    let base = base_row(setup, args.seed, pictures)?;
    for (index, one) in trained.iter().enumerate() {
        let codec = bank.open(index, &setup.device)?;
        let evaluation = evaluate(&codec, &setup.opened.tail, &cache, &setup.device)?;
        bank.set_measured(index, measured(&evaluation))?;
        document
            .rows
            .push(rung_row(&base, setup, one, &codec, &evaluation)?);
    }
    let unsplit = document.backbone.value;
    let raw_bytes = u32::try_from(cache.shape().len() * size_of::<f32>())?;
    document.rows.push(Row {
        name: "raw activation".to_owned(),
        kind: "raw".to_owned(),
        value: unsplit,
        ..with_bytes(&base, f64::from(raw_bytes), f64::from(raw_bytes))
    });
    document.rows.push(Row {
        name: "device only".to_owned(),
        kind: "device-only".to_owned(),
        value: unsplit,
        device_macs: document.backbone.macs,
        device_params: document.backbone.params,
        edge_params: 0,
        // The answer: one class number.
        ..with_bytes(&base, 2.0, 2.0)
    });
    if !args.no_rivals {
        add_rivals(setup, pictures, &base, &mut document)?;
    }
    Ok(document)
}

fn start_document(
    setup: &Setup,
    pictures: &Pictures,
    seed: u64,
    train_name: String,
) -> Result<Document> {
    let whole = profile(setup, pictures);
    let bar = bar(pictures.len(), "unsplit");
    let right = setup.correct(pictures);
    bar.finish_and_clear();
    let data = Data {
        name: data_name(setup),
        train: train_name,
        test: format!("{} pictures", pictures.len()),
        sha256: pictures.sha256(),
    };
    let backbone = Backbone {
        name: setup.opened.note.name.clone(),
        split: setup.opened.note.split.clone(),
        weights_sha256: setup.opened.note.weights_sha256.clone(),
        macs: whole.macs,
        params: whole.parameters,
        metric: "top1".to_owned(),
        value: percent(right, pictures.len()),
    };
    Ok(Document::new(seed, data, backbone, setup.backend))
}

/// The set's kind without its path on this machine.
pub(crate) fn data_name(setup: &Setup) -> String {
    let data = &setup.args.data;
    data.split_once(':')
        .map_or(data.as_str(), |(kind, _)| kind)
        .to_owned()
}

pub(crate) fn test_cache(
    setup: &Setup,
    pictures: &Pictures,
) -> Result<split_bottleneck::ActivationCache> {
    test_cache_keeping(false, setup, pictures)
}

/// The same; with `keeps_pictures` the pictures are in it too.
pub(crate) fn test_cache_keeping(
    keeps_pictures: bool,
    setup: &Setup,
    pictures: &Pictures,
) -> Result<split_bottleneck::ActivationCache> {
    let bar = bar(pictures.len(), "head on test");
    let cache = setup.cache_keeping(keeps_pictures, pictures, false, |n| bar.inc(count(n)))?;
    bar.finish_and_clear();
    Ok(cache)
}

pub(crate) fn measured(evaluation: &Evaluation) -> Measured {
    Measured {
        bytes: evaluation.mean_bytes(),
        bytes_p95: Some(evaluation.p95_bytes()),
        bytes_payload: evaluation.mean_payload_bytes(),
        top1: evaluation.top1(),
        pictures: evaluation.predictions.len(),
    }
}

fn profile(setup: &Setup, pictures: &Pictures) -> Profile {
    setup
        .opened
        .network
        .config()
        .profile(pictures.height(), pictures.width())
}

/// What the cut costs; a stage's end and its last block are one place.
fn cut_profile(setup: &Setup, pictures: &Pictures) -> Result<CutProfile> {
    let place = |point| setup.opened.network.config().locate(point);
    let wanted = place(setup.opened.point)?;
    profile(setup, pictures)
        .cuts
        .into_iter()
        .find(|cut| place(cut.point) == Ok(wanted))
        .with_context(|| format!("the profile lacks {}", setup.opened.point))
}

/// What all rows of this run share.
pub(crate) fn base_row(setup: &Setup, seed: u64, pictures: &Pictures) -> Result<Row> {
    let split = cut_profile(setup, pictures)?;
    Ok(Row {
        n: pictures.len(),
        device_macs: split.head_macs,
        device_params: split.head_parameters,
        edge_params: split.tail_parameters,
        // Input pixels, to turn bytes into bits per pixel.
        bpp: f64::from(u32::try_from(pictures.width() * pictures.height())?),
        seed,
        command: command_line(),
        git: git_state(),
        ..Row::default()
    })
}

pub(crate) fn with_bytes(base: &Row, bytes: f64, bytes_payload: f64) -> Row {
    Row {
        bytes,
        bytes_payload,
        bpp: 8.0 * bytes / base.bpp,
        ..base.clone()
    }
}

pub(crate) fn rung_row(
    base: &Row,
    setup: &Setup,
    one: &Trained,
    codec: &RungCodec,
    evaluation: &Evaluation,
) -> Result<Row> {
    debug_assert_eq!(setup.opened.note.split, setup.opened.point.to_string());
    let encoder = count(codec.encoder_parameters);
    let decoder = count(codec.decoder_parameters);
    let (head_macs, head_params) = match one.rung.config.takes_pictures() {
        true => (0, 0),
        false => (base.device_macs, base.device_params),
    };
    Ok(Row {
        name: one.rung.name.clone(),
        kind: one.rung.kind.clone(),
        value: evaluation.top1(),
        device_macs: head_macs + count(one.rung.config.encoder_macs()),
        device_params: head_params + encoder,
        edge_params: base.edge_params + decoder,
        unit_params: encoder + decoder,
        lambda: Some(one.rung.lambda),
        step: Some(f64::from(one.rung.config.step)),
        epochs: Some(one.epochs),
        train_s: Some(one.seconds.round()),
        estimated_bytes: Some(evaluation.mean_estimated_bytes()),
        flush_bytes: Some(evaluation.flush_bits / 8.0),
        bytes_p95: Some(evaluation.p95_bytes()),
        ..with_bytes(
            base,
            evaluation.mean_bytes(),
            evaluation.mean_payload_bytes(),
        )
    })
}

/// Pictures sent to the whole network in the place of frames.
fn add_rivals(
    setup: &Setup,
    pictures: &Pictures,
    base: &Row,
    document: &mut Document,
) -> Result<()> {
    let sent = Row {
        device_macs: 0,
        device_params: 0,
        edge_params: document.backbone.params,
        ..base.clone()
    };
    let lossy = [
        PictureCodec::WebP,
        PictureCodec::Jpeg420,
        PictureCodec::Jpeg444,
    ];
    let lossless = [PictureCodec::WebPLossless, PictureCodec::Png];
    let bar = bar(
        lossy.len() * QUALITIES.len() + lossless.len(),
        "picture codecs",
    );
    for (codec, quality) in lossy
        .iter()
        .flat_map(|codec| QUALITIES.map(|quality| (*codec, Some(quality))))
        .chain(lossless.map(|codec| (codec, None)))
    {
        let points = rivals::evaluate(pictures, codec, &[quality.unwrap_or(100)], |decoded| {
            setup.predict(decoded)
        })?;
        bar.inc(1);
        let name = match quality {
            Some(quality) => format!("{} q{quality}", codec.name()),
            None => codec.name().to_owned(),
        };
        if bar.is_hidden() {
            eprintln!("measured {name}");
        }
        for point in points {
            document.rows.push(Row {
                name: name.clone(),
                kind: kind(codec).to_owned(),
                value: 100.0 * point.top1(),
                ..with_bytes(&sent, point.file_bytes, point.payload_bytes)
            });
        }
    }
    bar.finish_and_clear();
    let lossless = document
        .rows
        .iter()
        .filter(|row| row.kind == "png" || row.kind == "webp-lossless")
        .min_by(|a, b| a.bytes.total_cmp(&b.bytes))
        .map(|row| (row.bytes, row.bytes_payload));
    if let Some((bytes, payload)) = lossless {
        document.rows.push(Row {
            name: "unsplit".to_owned(),
            kind: "unsplit".to_owned(),
            value: document.backbone.value,
            ..with_bytes(&sent, bytes, payload)
        });
    }
    Ok(())
}

/// The record's word for a codec: both chroma samplings of JPEG are one rival.
fn kind(codec: PictureCodec) -> &'static str {
    match codec {
        PictureCodec::Jpeg420 | PictureCodec::Jpeg444 => "jpeg",
        other => other.name(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of pictures")]
pub(crate) fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// The table at the end of a run.
pub(crate) fn print_table(document: &Document) {
    let Backbone {
        name,
        split,
        macs,
        value,
        ..
    } = &document.backbone;
    say!(
        "\n{} cut at {split}, unsplit top-1 {value:.2} % on {}; whole network {:.1} M MACs",
        name,
        document.data.test,
        mega(*macs)
    );
    say!(
        "{:<24} {:>9} {:>9} {:>7} {:>7} {:>7} {:>16} {:>10}",
        "what",
        "bytes",
        "payload",
        "bpp",
        "top-1",
        "loss",
        "device MMACs",
        "unit"
    );
    for row in &document.rows {
        say!(
            "{:<24} {:>9.1} {:>9.1} {:>7.3} {:>7.2} {:>7.2} {:>9.2} ({:>3.0}%) {:>10}",
            row.name,
            row.bytes,
            row.bytes_payload,
            row.bpp,
            row.value,
            value - row.value,
            mega(row.device_macs),
            100.0 * mega(row.device_macs) / mega(*macs).max(1e-9),
            if row.unit_params > 0 {
                row.unit_params.to_string()
            } else {
                "-".to_owned()
            }
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "for show")]
fn mega(macs: u64) -> f64 {
    macs as f64 / 1e6
}
