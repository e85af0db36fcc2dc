//! Plans over figures that can be worked out by hand.

use serde_json::json;

use super::*;

/// A network of 100 M MACs cut at `split`: the head has `head` M MACs, its unit 10 more.
fn document(split: &str, head: f64, rungs: &[(f64, f64)]) -> RaDocument {
    let mut rows = vec![
        row("device only", "device-only", 2.0, 90.0, 100.0),
        row("webp q50", "webp", 2000.0, 88.0, 0.0),
        row("webp q90", "webp", 6000.0, 90.5, 0.0),
        row("unsplit", "unsplit", 8000.0, 90.0, 0.0),
        row("raw", "raw", 30_000.0, 90.0, head),
    ];
    for (i, (bytes, value)) in rungs.iter().enumerate() {
        rows.push(row(
            &format!("unit-{i}"),
            "unit",
            *bytes,
            *value,
            head + 10.0,
        ));
    }
    let document = json!({
        "schema": "split-ra/1", "command": "c", "git": "g", "date": "2026-11-25",
        "machine": {"cpu": "c", "cores": 2, "os": "linux"},
        "versions": {"burn": "0", "backend": "flex"}, "seed": 1,
        "data": {"name": "d", "train": 1, "test": 1, "sha256": "0"},
        "backbone": {"name": "net", "split": split, "weights_sha256": "0", "macs": 100e6,
            "params": 1, "metric": "top1", "value": 90.0},
        "rows": rows,
    });
    RaDocument::parse(&document.to_string()).unwrap()
}

fn row(name: &str, kind: &str, bytes: f64, value: f64, mmacs: f64) -> serde_json::Value {
    json!({"name": name, "kind": kind, "bytes": bytes, "bpp": bytes / 1000.0, "value": value,
        "n": 1, "device_macs": 1e6 * mmacs})
}

fn early() -> RaDocument {
    document("layer1", 20.0, &[(960.0, 89.0), (460.0, 86.0)])
}

fn late() -> RaDocument {
    document("layer2", 60.0, &[(160.0, 89.5), (60.0, 87.0)])
}

/// 1 M MACs a millisecond on the device, 100 on the edge, no round trip.
fn request(kbit_s: f64, deadline_ms: Option<f64>, value_min: Option<f64>) -> Request {
    Request {
        device: Compute::entered(1000.0, 0.0).unwrap(),
        edge: Compute::entered(100_000.0, 0.0).unwrap(),
        link: Link::new(kbit_s, 0.0, 0.0).unwrap(),
        goal: Goal {
            deadline_ms,
            value_min,
        },
        picture_ms: 0.0,
    }
}

fn chosen(plan: &Plan) -> (Mode, &str, &str) {
    let choice = plan.choice.as_ref().unwrap();
    (
        choice.mode,
        choice.split.as_deref().unwrap_or("-"),
        &choice.name,
    )
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
}

#[test]
fn time_is_head_unit_link_and_tail() {
    let plan = plan(&[early()], &request(100.0, Some(1e6), None)).unwrap();
    let one = plan
        .candidates
        .iter()
        .find(|one| one.name == "unit-0")
        .unwrap();
    close(one.head_ms, 20.0);
    close(one.unit_ms, 10.0);
    // 960 bytes and 40 of header at 100 kbit/s.
    close(one.link_ms, 80.0);
    close(one.tail_ms, 0.8);
    close(one.total_ms, 110.8);
    close(one.loss_points, 1.0);
}

#[test]
fn slow_links_want_the_later_cut_and_fast_ones_the_picture() {
    let both = [early(), late()];
    let at = |kbit_s: f64| plan(&both, &request(kbit_s, None, Some(87.5))).unwrap();
    // At 20 kbit/s: layer2 70.4 + 80 ms, layer1 30.8 + 400, the picture 1 + 832.
    assert_eq!(chosen(&at(20.0)), (Mode::DeviceOnly, "-", "device only"));
    // At 50 kbit/s: layer2 70.4 + 32 ms is still beaten by the device alone with 100.
    assert_eq!(chosen(&at(60.0)), (Mode::Split, "layer2", "unit-0"));
    assert_eq!(chosen(&at(200.0)), (Mode::Split, "layer1", "unit-0"));
    assert_eq!(chosen(&at(10_000.0)), (Mode::Picture, "-", "webp q50"));
}

#[test]
fn deadline_takes_the_most_accurate_way_in_time() {
    let both = [early(), late()];
    let within = |ms: f64| plan(&both, &request(100.0, Some(ms), None)).unwrap();
    // layer2 unit-1: 70 + 8 + 0.4; layer2 unit-0: 70 + 16 + 0.4; the device alone: 100.
    assert_eq!(chosen(&within(80.0)), (Mode::Split, "layer2", "unit-1"));
    assert_eq!(chosen(&within(90.0)), (Mode::Split, "layer2", "unit-0"));
    // Above the unsplit accuracy there is only chance: q90 is no reason to wait longer.
    assert_eq!(chosen(&within(1e6)), (Mode::DeviceOnly, "-", "device only"));
}

#[test]
fn goals_out_of_reach_have_no_choice_but_a_nearest() {
    let both = [early(), late()];
    let none = plan(&both, &request(100.0, Some(5.0), Some(89.2))).unwrap();
    assert_eq!(none.choice, None);
    assert_eq!(none.nearest.as_ref().unwrap().name, "unit-0");
    let text = none.explain(&request(100.0, Some(5.0), Some(89.2)));
    assert!(
        text.starts_with("Nothing meets an answer within 5.00 ms and at least 89.2"),
        "{text}"
    );
    let above = plan(&both, &request(100.0, None, Some(99.0))).unwrap();
    assert_eq!(above.choice, None);
    close(above.nearest.unwrap().value, 90.5);
}

#[test]
fn crossover_is_where_both_take_equally_long() {
    let plan_at = |kbit_s: f64| plan(&[early()], &request(kbit_s, None, Some(87.5))).unwrap();
    let first = plan_at(250.0);
    assert_eq!(chosen(&first).0, Mode::Split);
    let rate = first.picture_crossover_kbit_s.unwrap();
    let there = plan_at(rate);
    let ms = |name: &str| {
        let one = there.candidates.iter().find(|one| one.name == name);
        one.unwrap().total_ms
    };
    // The picture that equals the choice's 89 % is q90.
    close(ms("unit-0"), ms("webp q90"));
    assert!(first.device_crossover_kbit_s.unwrap() < 250.0);
}

#[test]
fn frontier_rises_in_time_and_accuracy_and_holds_the_choice() {
    let plan = plan(&[early(), late()], &request(100.0, None, Some(80.0))).unwrap();
    assert!(plan.frontier.len() > 1);
    for pair in plan.frontier.windows(2) {
        assert!(pair[0].total_ms < pair[1].total_ms && pair[0].value < pair[1].value);
    }
    assert!(plan.frontier.contains(plan.choice.as_ref().unwrap()));
    let pictures = plan.candidates.iter().filter(|one| one.name == "webp q50");
    assert_eq!(pictures.count(), 1, "pictures of two documents count once");
    assert!(plan.candidates.iter().all(|one| one.kind != "raw"));
}

#[test]
fn explanation_names_each_part_in_numbers() {
    let request = request(100.0, Some(90.0), None);
    let plan = plan(&[early(), late()], &request).unwrap();
    let text = plan.explain(&request);
    for part in [
        "Split net at layer2 and send rung unit-0 (160 bytes): 89.50 top-1 %, 0.50 points",
        "It takes 86.4 ms: 60.0 ms head 60.0 M MACs + 10.0 ms unit encoder 10.0 M MACs + 16.0 ms link 160 bytes + 0.400 ms tail 40.0 M MACs",
        "The device alone would take 100 ms",
        "it is faster below",
        "> layer2 unit-0",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
}

#[test]
fn records_that_do_not_belong_together_are_refused() {
    let request = request(100.0, Some(90.0), None);
    assert_eq!(plan(&[], &request).unwrap_err(), PlanError::NoRecord);
    let mut other = late();
    other.backbone.name = "other".to_owned();
    let error = plan(&[early(), other], &request).unwrap_err();
    assert!(error.to_string().contains("differ in backbone"), "{error}");
    let mut other = late();
    other.data.sha256 = "1".to_owned();
    assert!(plan(&[early(), other], &request).is_err());
    let twice = plan(&[early(), early()], &request).unwrap_err();
    assert!(matches!(twice, PlanError::SameSplit { .. }), "{twice}");
}

#[test]
fn degenerate_goals_and_rows_are_errors_or_left_out() {
    let check = |deadline, value, expected: &str| {
        let error = plan(&[early()], &request(100.0, deadline, value)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(None, None, "no goal");
    check(Some(0.0), None, "deadline");
    check(Some(f64::NAN), None, "deadline");
    check(None, Some(101.0), "accuracy");
    check(None, Some(f64::NAN), "accuracy");
    let mut negative = request(100.0, Some(1.0), None);
    negative.picture_ms = -1.0;
    assert!(plan(&[early()], &negative).is_err());
    let mut bare = early();
    bare.rows
        .retain(|row| row.kind == "raw" || row.kind == "unit");
    for row in &mut bare.rows {
        row.device_macs = None;
    }
    let error = plan(&[bare], &request(100.0, Some(1.0), None)).unwrap_err();
    assert_eq!(error, PlanError::NoCandidate);
    // Without a row of the raw activation, head and unit encoder are one part.
    let mut one_part = early();
    one_part.rows.retain(|row| row.kind != "raw");
    let found = plan(&[one_part], &request(100.0, Some(1e6), None)).unwrap();
    let unit = found
        .candidates
        .iter()
        .find(|one| one.name == "unit-0")
        .unwrap();
    close(unit.head_ms, 30.0);
    close(unit.unit_ms, 0.0);
}
