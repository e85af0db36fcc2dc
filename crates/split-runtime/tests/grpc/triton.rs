//! The client of Triton, as it comes from PyPI, against our edge.

use std::path::Path;
use std::process::Stdio;

use crate::rig::*;

/// A Python that has `tritonclient[grpc]`.
const PYTHON: &str = "SPLIT_TRITON_PYTHON";

#[test]
fn tritonclient_infers_through_the_edge() {
    let Some(python) = std::env::var_os(PYTHON) else {
        eprintln!("skipped: {PYTHON} names no Python that has tritonclient[grpc]");
        return;
    };
    run(async {
        let edge = start(options()).await;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grpc/triton_client.py");
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        let mut command = std::process::Command::new(python);
        command.arg(script).arg(edge.address().to_string());
        command.arg(hex(&frame(1))).arg(hex(&answer_to(&frame(1))));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = tokio::task::spawn_blocking(move || command.output());
        let output = ended.await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.ends_with("all checks passed\n"), "{printed}{said}");
        assert_eq!(metric(&edge, "split_edge_jobs_total{outcome=\"done\"}"), 4);
    });
}
