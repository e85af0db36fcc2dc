//! The page as text; a browser looks at it in `tests/report_page.rs`.

use serde_json::json;

use super::*;
use crate::speed::tests::line;
use crate::tables::tests::document;

fn assumed() -> Assumed {
    Assumed {
        device: Compute::entered(1000.0, 0.0).unwrap(),
        edge: Compute::entered(100_000.0, 0.0).unwrap(),
        link: Link::new(1000.0, 20.0, 0.0).unwrap(),
    }
}

fn rate_document() -> RecordFile {
    let mut document = document();
    for row in &mut document.rows {
        row.device_macs = Some(match row.kind.as_str() {
            "unit" => 40e6,
            "device-only" => 125.5e6,
            _ => 0.0,
        });
    }
    RecordFile::Document("ra-x".to_owned(), Box::new(document))
}

/// The part of the page from one id to the next section.
fn part<'a>(page: &'a str, id: &str) -> &'a str {
    let start = page.find(&format!("<section id=\"{id}\"")).expect(id);
    let end = page[start..].find("</section>").unwrap();
    &page[start..start + end]
}

#[test]
fn document_has_curves_front_differences_and_latency() {
    let page = report_page(&[rate_document()], &assumed());
    let own = part(&page, "ra-x");
    assert_eq!(own.matches("<figure>").count(), 2, "{own}");
    for words in [
        "Pareto front",
        "BD-rate",
        "-50.0 %",
        "split is fastest, kbit/s",
        "Computed from record rows.",
        "cargo xtask train",
    ] {
        assert!(own.contains(words), "{words} is missing");
    }
    assert!(part(&page, "where-to-cut").contains("layer1 u11"));
    assert!(part(&page, "speed").contains("nothing was timed"));
}

#[test]
fn timed_networks_replace_assumed_devices() {
    let lines = [line("forward", "flex", 50.0), line("code", "flex", 0.5)]
        .map(|line| serde_json::from_str(&line).unwrap());
    let files = [
        rate_document(),
        RecordFile::Lines("speed".to_owned(), lines.to_vec()),
    ];
    let page = report_page(&files, &assumed());
    let own = part(&page, "ra-x");
    assert!(own.contains("record rows and timed lines"), "{own}");
    assert!(
        own.contains("2510</th>") && own.contains("measured 2026-11-25: resnet56 on flex"),
        "{own}"
    );
    assert!(!page.contains("nothing was timed"));
}

#[test]
fn every_schema_of_lines_is_shown() {
    let common = json!({"command": "c", "git": "g", "date": "d", "machine": {"cpu": "m"}, "versions": {}, "seed": 1});
    let make = |schema: &str, fields: Value| {
        let mut line = common.clone();
        line["schema"] = schema.into();
        for (name, value) in fields.as_object().unwrap() {
            line[name] = value.clone();
        }
        line
    };
    let lines = vec![
        make(
            "split-runtime/1",
            json!({"what": "echo", "transport": "stream", "tls": false, "in_flight": 1, "bytes": 300,
            "p50_us": 80.5, "p99_us": 200, "per_s": 9000, "ratio_raw_tcp": 1.2, "ratio_tonic_echo": 0.9}),
        ),
        make(
            "split-link/1",
            json!({"mode": "split", "kbit_s": 100, "rtt_ms": 20, "loss": 0, "p50_ms": 50, "p95_ms": 60,
            "p99_ms": 70, "value": 90.0, "bytes": 180, "how": "netns"}),
        ),
        make(
            "split-policy/1",
            json!({"policy": "own", "family": "walk", "in_time": 0.97}),
        ),
        make(
            "split-faults/1",
            json!({"what": "all", "outcomes": {"result": 5, "fallback": 1, "error": 0}}),
        ),
    ];
    let page = report_page(
        &[RecordFile::Lines("runtime".to_owned(), lines)],
        &assumed(),
    );
    let own = part(&page, "runtime");
    assert_eq!(own.matches("<figure>").count(), 4, "{own}");
    assert!(
        own.contains("stream, 1 in flight, TLS false: p50 80.5 us"),
        "{own}"
    );
    assert!(own.contains("split at 100 kbit/s: p50 50.0 ms"), "{own}");
    assert!(own.contains("result 5") && own.contains("0.970"), "{own}");
}

#[test]
fn page_needs_no_other_file_and_hostile_records_stay_text() {
    let mut document = document();
    document.data.name = "<script>alert(1)</script>".to_owned();
    document.rows[0].name = "\"><img src=x>".to_owned();
    let file = RecordFile::Document("ra-<b>".to_owned(), Box::new(document));
    let page = report_page(&[file], &assumed());
    assert!(
        !page.contains("alert(1)</script>") && !page.contains("<img"),
        "{page}"
    );
    assert!(page.contains("id=\"ra--b-\""));
    // The one address is the name of SVG's language, which nobody fetches.
    let rest = page.replace("http://www.w3.org/2000/svg", "");
    assert!(
        !rest.contains("http://") && !rest.contains("https://"),
        "{rest}"
    );
    assert_eq!(page.matches("<script>").count(), 1);
    assert!(page.contains("Content-Security-Policy"));
}

#[test]
fn page_without_records_is_still_a_page() {
    let page = report_page(&[], &assumed());
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
}
