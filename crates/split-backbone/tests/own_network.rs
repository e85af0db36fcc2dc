//! The example that cuts a network of somebody else does what it says.

#[path = "../examples/own_network.rs"]
mod own_network;

use own_network::run;

#[test]
fn a_unit_for_a_foreign_network_learns_and_goes_over_the_wire() {
    let outcome = run(40).unwrap();
    assert!(outcome.after < 0.5 * outcome.before, "{outcome:?}");
    assert!(10 * outcome.frame_bytes < outcome.raw_bytes, "{outcome:?}");
    assert!(outcome.answer_error < 1.0, "{outcome:?}");
    // The same seed, the same result.
    assert!(run(40).unwrap().after.to_bits() == outcome.after.to_bits());
}

#[test]
fn the_part_that_a_user_writes_is_under_sixty_lines() {
    let source = include_str!("../examples/own_network.rs");
    let cut = source.split("// ---- The cut").nth(1).unwrap();
    let cut = cut.split("/// What came of it.").next().unwrap();
    let run = source.split("pub(crate) fn run").nth(1).unwrap();
    let run = run.split("// A bank holds").next().unwrap();
    let lines = cut.lines().chain(run.lines());
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    let lines = lines.filter(is_code).count();
    assert!(lines < 60, "{lines}");
}
