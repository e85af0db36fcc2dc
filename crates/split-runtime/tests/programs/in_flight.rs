//! A device with several pictures under way.

use std::path::Path;

use super::bank::{PICTURES, Rig};
use super::processes::{Edge, Piped as _, Watched, device, eventually, failure_of, lines_of};

#[test]
fn many_pictures_under_way_are_answered_as_one_after_the_other_and_in_their_order() {
    let rig = Rig::new();
    let edge = Edge::start(&rig.models, &[]);
    for more in [&["--in-flight", "1"][..], &["--in-flight", "5"]] {
        let mut command = device(&rig.model, &edge.address);
        command.args(["--json", "--rung", "fine"]).args(more);
        // Twice, so that there are more of them than may be under way.
        let lines = lines_of(command.arg(&rig.pictures).arg(&rig.pictures));
        assert_eq!(lines.len(), 2 * PICTURES);
        let expected = rig.predictions(1);
        for (place, line) in lines.iter().enumerate() {
            let place = place % PICTURES;
            assert_eq!(line["picture"], rig.files[place].to_str().unwrap());
            assert_eq!(line["class"], expected[place], "{line}");
            assert_eq!(line["by"], "edge", "{line}");
        }
    }
    edge.drain();
}

/// A device that waits for an edge as long as it takes.
fn watched(rig: &Rig, edge: &Edge, more: &[&str]) -> Watched {
    let mut command = device(&rig.model, &edge.address);
    command.args(["--json", "--in-flight", "3", "--deadline-ms", "60000"]);
    command.args(["--fallback", "none"]).args(more);
    let mut device = command.arg("-").piped();
    eventually(|| (device.ask(&rig.files[0])["by"] == "edge").then_some(()));
    device
}

#[test]
fn an_answer_waits_for_those_before_it_unless_they_may_be_printed_as_they_come() {
    let rig = Rig::new();
    let missing = Path::new("no-such-picture.png");
    for (more, first) in [(&[][..], 0), (&["--as-they-come"], 1)] {
        let edge = Edge::start(&rig.models, &[]);
        let mut device = watched(&rig, &edge, more);
        edge.stall(true);
        let asked = [rig.files[1].as_path(), missing];
        device.tell(asked[0]);
        device.tell(asked[1]);
        if first == 0 {
            // Nothing may be printed before the edge goes on.
            std::thread::sleep(std::time::Duration::from_millis(300));
            assert_eq!(device.heard(), None);
            edge.stall(false);
        }
        let line = device.hear();
        assert_eq!(line["picture"], asked[first].to_str().unwrap(), "{line}");
        edge.stall(false);
        let line = device.hear();
        let second = asked[1 - first];
        assert_eq!(line["picture"], second.to_str().unwrap(), "{line}");
        drop(device);
        edge.drain();
    }
}

#[test]
fn a_signal_finishes_all_that_is_under_way() {
    let rig = Rig::new();
    let edge = Edge::start(&rig.models, &[]);
    let mut device = watched(&rig, &edge, &["--as-they-come"]);
    edge.stall(true);
    device.tell(&rig.files[1]);
    device.tell(&rig.files[2]);
    device.tell(Path::new("no-such-picture.png"));
    // Those before it have begun.
    assert!(device.hear()["by"].is_null());
    device.signal("-TERM");
    edge.stall(false);
    let mut found = [(); 2].map(|()| device.hear()["class"].as_u64());
    let mut expected = [1, 2].map(|place| u64::try_from(rig.predictions(0)[place]).ok());
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    let (code, said) = device.ended();
    assert_eq!(code, Some(143), "{said}");
    assert!(
        said.contains("pictures were answered, 1 were not"),
        "{said}"
    );
    edge.drain();
}

#[test]
fn how_many_may_be_under_way_has_bounds() {
    let rig = Rig::new();
    for count in ["0", "65"] {
        let mut command = device(&rig.model, "edge:1");
        command.args(["--in-flight", count]);
        let said = failure_of(command.arg(&rig.pictures));
        assert!(said.contains("in-flight") && said.contains("64"), "{said}");
    }
}
