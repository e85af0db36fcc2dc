//! A device with two edges, of which one stands still.

use super::bank::Rig;
use super::processes::{Edge, Piped as _, Watched, device_alone, eventually, failure_of};

/// Answers after which a device knows how long one takes.
const KNOWN_AFTER: usize = 20;

fn watched(rig: &Rig, edges: [&Edge; 2], more: &[&str]) -> Watched {
    let mut command = device_alone(&rig.model);
    command.arg("--edge");
    command.arg(format!("{},{}", edges[0].address, edges[1].address));
    command.args(["--json", "--fallback", "none"]).args(more);
    command.arg("-").piped()
}

/// Frames that an edge has answered.
fn done(edge: &Edge) -> usize {
    edge.metric("split_edge_jobs_total{outcome=\"done\"}")
}

/// Asks until both edges have answered this device: it begins with whichever is connected first.
fn ask_both(device: &mut Watched, rig: &Rig, edges: [&Edge; 2]) {
    let before = edges.map(done);
    eventually(|| {
        assert_eq!(device.ask(&rig.files[0])["by"], "edge");
        let both = edges
            .map(done)
            .iter()
            .zip(before)
            .all(|(now, before)| *now > before);
        both.then_some(())
    });
}

/// Frames go to both edges in turn, so that one of two pictures meets the one that stands still.
#[test]
fn a_frame_that_a_stalled_edge_keeps_is_answered_by_the_other_in_time() {
    let rig = Rig::new();
    let edges = [(); 2].map(|()| Edge::start(&rig.models, &[]));
    let [stalled, other] = &edges;
    let mut hedging = watched(&rig, [stalled, other], &["--hedge"]);
    // Soon, so that the test needn't wait long for what never comes.
    let deadline = ["--deadline-ms", "3000"];
    let mut waiting = watched(&rig, [stalled, other], &deadline);
    ask_both(&mut waiting, &rig, [stalled, other]);
    ask_both(&mut hedging, &rig, [stalled, other]);
    for round in 0..KNOWN_AFTER {
        let line = hedging.ask(&rig.files[0]);
        assert_eq!(line["by"], "edge", "round {round}: {line}");
    }
    stalled.stall(true);
    for round in 0..4 {
        let line = hedging.ask(&rig.files[1]);
        assert_eq!(line["by"], "edge", "round {round}: {line}");
        assert_eq!(line["late"], false, "round {round}: {line}");
    }
    let unanswered = (0..2).filter(|_| waiting.ask(&rig.files[1])["by"].is_null());
    assert_eq!(
        unanswered.count(),
        1,
        "without --hedge one of both waits in vain"
    );
    stalled.stall(false);
    edges.into_iter().for_each(Edge::drain);
}

#[test]
fn one_edge_alone_leaves_nowhere_to_hedge() {
    let rig = Rig::new();
    let mut command = device_alone(&rig.models.join("none"));
    command.args(["--edge", "edge:1", "--hedge"]);
    let said = failure_of(command.arg(&rig.pictures));
    assert!(
        said.contains("hedge = true and 1 edges") && said.contains("--edge HOST:PORT,HOST:PORT"),
        "{said}"
    );
}
