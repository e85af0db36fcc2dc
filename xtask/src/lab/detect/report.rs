//! Measuring a detector's bank from real frames, and showing the result.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use split_backbone::{
    CoveredCodec, CoveredFrame, PairedBootstrap, Precision, ScoredBox, average_precision,
};
use split_bottleneck::Bank;

use super::plan::TrainArgs;
use super::rivals::add_rivals;
use super::train::TrainedOn;
use super::{Setup, TestPicture};
use crate::record::{Backbone, Data, Document, Row, command_line, git_state};
use crate::rung::{Trained, bar, count};

/// Bytes of one box in an answer: four coordinates of two, class and score of one.
const BOX_BYTES: usize = 10;

/// What real frames cost and what the tail found after decoding them.
pub(crate) struct Measured {
    pub(crate) bytes: f64,
    pub(crate) payload_bytes: f64,
    pub(crate) estimated_bytes: f64,
    pub(crate) boxes: Vec<ScoredBox>,
}

/// The unsplit network on the test pictures, and what comparing with it takes.
pub(crate) struct Reference<'a> {
    pub(crate) boxes: Vec<ScoredBox>,
    pub(crate) score: Precision,
    bootstrap: PairedBootstrap<'a>,
}

impl<'a> Reference<'a> {
    pub(crate) fn of(
        setup: &'a Setup,
        pictures: &[TestPicture],
        (draws, seed): (usize, u64),
    ) -> Result<Self> {
        let shown = pictures.iter().map(|one| (one.id, &one.letterbox));
        let boxes = setup.detect("unsplit", shown);
        let set = &setup.folder.set;
        let score = average_precision(set, &boxes).context("the test pictures have no boxes")?;
        let bootstrap = PairedBootstrap::new(set, &boxes, draws, seed)
            .context("the test pictures have no boxes")?;
        Ok(Self {
            boxes,
            score,
            bootstrap,
        })
    }

    /// A row with the score of `boxes` and its paired difference to the unsplit network.
    pub(crate) fn row(&self, setup: &Setup, base: Row, boxes: &[ScoredBox]) -> Result<Row> {
        let set = &setup.folder.set;
        let score = average_precision(set, boxes).context("the test pictures have no boxes")?;
        let interval = self.bootstrap.interval(boxes);
        Ok(Row {
            value: score.map,
            map50: Some(score.map50),
            difference: Some(score.map - self.score.map),
            difference_low: interval.map(|i| i.low),
            difference_high: interval.map(|i| i.high),
            ..base
        })
    }
}

/// Every rung on all test pictures, then the other ways to send a picture.
pub(crate) fn measure(
    setup: &Setup,
    args: &TrainArgs,
    bank: &Bank,
    trained: &[Trained],
    trained_on: &TrainedOn,
) -> Result<Document> {
    let pictures = setup.test_pictures()?;
    let reference = Reference::of(setup, &pictures, (args.draws, args.seed))?;
    let mut document = start_document(setup, args, &pictures, &reference, trained_on)?;
    let base = base_row(setup, args.seed, pictures.len())?;
    for (index, one) in trained.iter().enumerate() {
        let codec = bank.open(index, &setup.device)?;
        let codec = CoveredCodec::new(codec, &setup.head, setup.side, &setup.device)?;
        let measured = closed_loop(setup, &codec, &pictures)?;
        let row = rung_row(&base, one, &codec, &measured)?;
        let row = reference.row(setup, row, &measured.boxes)?;
        document.rows.push(row);
    }
    add_bounds(setup, &base, &reference, &mut document)?;
    if !args.no_rivals {
        let shown = (setup, pictures.as_slice(), args.qualities.as_slice());
        add_rivals(shown, &base, (&reference, trained_on), &mut document)?;
    }
    Ok(document)
}

/// Head, unit encoder, coder; then from those bytes alone decoder, unit decoder, tail, boxes.
pub(crate) fn closed_loop(
    setup: &Setup,
    codec: &CoveredCodec,
    pictures: &[TestPicture],
) -> Result<Measured> {
    let mut frames: Vec<CoveredFrame> = Vec::with_capacity(pictures.len());
    let mut boxes = Vec::new();
    let bar = bar(pictures.len(), "frames");
    for picture in pictures {
        let activation = setup.activation(picture);
        let frame = codec.encode(activation, picture.letterbox.content())?;
        let restored = codec.decode(&frame.bytes)?;
        let raw = setup.finish(restored);
        boxes.extend(setup.boxes(raw, picture.id, &picture.letterbox));
        frames.push(frame);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mean = |of: fn(&CoveredFrame) -> f64| {
        frames.iter().map(of).sum::<f64>() / float(frames.len().max(1))
    };
    Ok(Measured {
        bytes: mean(|frame| float(frame.bytes.len())),
        payload_bytes: mean(|frame| float(frame.payload_bytes)),
        estimated_bytes: mean(|frame| frame.estimated_bits / 8.0),
        boxes,
    })
}

fn start_document(
    setup: &Setup,
    args: &TrainArgs,
    pictures: &[TestPicture],
    reference: &Reference<'_>,
    trained_on: &TrainedOn,
) -> Result<Document> {
    let data = Data {
        name: "coco".to_owned(),
        train: trained_on.words.clone(),
        test: format!(
            "{} pictures of val2017 letterboxed to {}",
            pictures.len(),
            setup.side
        ),
        sha256: pixels_sha256(pictures),
    };
    let backbone = Backbone {
        name: setup.note.name.clone(),
        split: setup.note.split.clone(),
        weights_sha256: setup.note.weights_sha256.clone(),
        macs: setup.graph.macs(),
        params: setup.graph.parameters(),
        metric: "map".to_owned(),
        value: reference.score.map,
    };
    Ok(Document::new(args.seed, data, backbone, setup.backend))
}

/// Digest of the decoded test pictures in their order: size, then pixels.
fn pixels_sha256(pictures: &[TestPicture]) -> String {
    let mut hash = Sha256::new();
    for picture in pictures {
        hash.update(picture.original.width().to_le_bytes());
        hash.update(picture.original.height().to_le_bytes());
        hash.update(picture.original.as_raw());
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What all rows of this run share.
fn base_row(setup: &Setup, seed: u64, pictures: usize) -> Result<Row> {
    let cut = setup.cut()?;
    Ok(Row {
        n: pictures,
        device_macs: cut.head_macs,
        device_params: cut.head_parameters,
        edge_params: cut.tail_parameters,
        // Pixels of the canvas, to turn bytes into bits per pixel.
        bpp: f64::from(setup.side) * f64::from(setup.side),
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

fn rung_row(base: &Row, one: &Trained, codec: &CoveredCodec, measured: &Measured) -> Result<Row> {
    let encoder = count(codec.rung().encoder_parameters);
    let decoder = count(codec.rung().decoder_parameters);
    Ok(Row {
        name: one.rung.name.clone(),
        kind: one.rung.kind.clone(),
        device_macs: base.device_macs + count(one.rung.config.encoder_macs()),
        device_params: base.device_params + encoder,
        edge_params: base.edge_params + decoder,
        unit_params: encoder + decoder,
        lambda: Some(one.rung.lambda),
        step: Some(f64::from(one.rung.config.step)),
        epochs: Some(one.epochs),
        train_s: Some(one.seconds.round()),
        estimated_bytes: Some(measured.estimated_bytes),
        ..with_bytes(base, measured.bytes, measured.payload_bytes)
    })
}

/// The two ends of the scale: the raw activation, and the whole network on the device.
fn add_bounds(
    setup: &Setup,
    base: &Row,
    reference: &Reference<'_>,
    document: &mut Document,
) -> Result<()> {
    let raw = u32::try_from(setup.cut()?.bytes)?;
    document.rows.push(Row {
        name: "raw activation".to_owned(),
        kind: "raw".to_owned(),
        value: reference.score.map,
        ..with_bytes(base, f64::from(raw), f64::from(raw))
    });
    let answer = float(reference.boxes.len() * BOX_BYTES) / float(base.n.max(1));
    document.rows.push(Row {
        name: "device only".to_owned(),
        kind: "device-only".to_owned(),
        value: reference.score.map,
        device_macs: document.backbone.macs,
        device_params: document.backbone.params,
        edge_params: 0,
        ..with_bytes(base, answer, answer)
    });
    Ok(())
}

/// The table at the end of a run.
pub(crate) fn print_table(document: &Document) {
    let backbone = &document.backbone;
    say!(
        "\n{} cut at {}, unsplit mAP {:.4} on {}; whole network {:.1} M MACs",
        backbone.name,
        backbone.split,
        backbone.value,
        document.data.test,
        mega(backbone.macs)
    );
    say!(
        "{:<24} {:>9} {:>9} {:>7} {:>8} {:>22} {:>15} {:>9}",
        "what",
        "bytes",
        "payload",
        "mAP",
        "to whole",
        "95 % of draws",
        "device MMACs",
        "unit"
    );
    for row in &document.rows {
        let interval = match (row.difference_low, row.difference_high) {
            (Some(low), Some(high)) => format!("{low:+.4} to {high:+.4}"),
            _ => "-".to_owned(),
        };
        say!(
            "{:<24} {:>9.1} {:>9.1} {:>7.4} {:>+8.4} {:>22} {:>8.1} ({:>3.0}%) {:>9}",
            row.name,
            row.bytes,
            row.bytes_payload,
            row.value,
            row.value - backbone.value,
            interval,
            mega(row.device_macs),
            100.0 * mega(row.device_macs) / mega(backbone.macs).max(1e-9),
            if row.unit_params > 0 {
                row.unit_params.to_string()
            } else {
                "-".to_owned()
            }
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(crate) fn float(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "for show")]
fn mega(macs: u64) -> f64 {
    macs as f64 / 1e6
}
