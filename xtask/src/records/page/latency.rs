//! How long an answer takes over the rate of the link: split, picture, device only.

use super::{Assumed, figure, paragraph};
use crate::chart::{Axis, Chart, Dot, Series, figure as digits};
use crate::link::Way;
use crate::plan::candidate;
use crate::rate_chart::counted_points;
use crate::table::Table;
use crate::tables::bytes;
use crate::{Candidate, Compute, End, Goal, Mode, RaDocument, Request, SpeedLine};

/// Losses at which ways are compared, points; the figure takes the first that a rung reaches.
const LOSSES: [f64; 3] = [1.0, 3.0, 5.0];

/// Rates of the link that are drawn, kbit/s.
const RATES: (f64, f64) = (10.0, 100_000.0);

/// Points of a drawn line.
const STEPS: u32 = 96;

/// Speeds that are computed besides the assumed and measured ones, as multiples of the assumed.
const SLOWER_FASTER: [f64; 2] = [0.1, 10.0];

/// The cheapest way of each mode that keeps a loss.
struct Choice {
    loss: f64,
    split: Candidate,
    others: Vec<Candidate>,
}

/// Figure and table; nothing where the document has no rung with its work on the device.
pub(super) fn part(document: &RaDocument, speed: &[SpeedLine], assumed: &Assumed) -> String {
    let devices = devices(document, speed, assumed);
    let Some(first) = devices.first() else {
        return String::new();
    };
    let drawn = choices(document, first, assumed);
    let Some(choice) = drawn.first() else {
        return paragraph(
            "No rung comes within 5 points of the unsplit network: no latency is computed.",
        );
    };
    let request = request(first, assumed);
    let link = &request.link;
    let caption = format!(
        "Mean time to an answer over the rate of the link; of each way the cheapest recorded row that loses at most {}. Device {} MMAC/s ({}), edge {} \
         MMAC/s ({}), round trip {} ms, {} % of packets lost. Picture coding, decoding and the unit decoder are \
         not counted unless timed.",
        counted_points(choice.loss),
        digits(first.mmacs_s()),
        first.source(),
        digits(assumed.edge.mmacs_s()),
        assumed.edge.source(),
        digits(link.rtt_ms()),
        digits(100.0 * link.loss()),
    );
    let how = format!(
        "Computed from {}",
        if first.is_measured() {
            "record rows and timed lines"
        } else {
            "record rows"
        }
    );
    figure(&how, &caption, &chart(document, choice, &request).svg())
        + &crossovers(document, &devices, assumed).html()
}

/// Measured ones first, then the assumed one and its slower and faster kin.
fn devices(document: &RaDocument, speed: &[SpeedLine], assumed: &Assumed) -> Vec<Compute> {
    let backbone = &document.backbone;
    let mut backends: Vec<&str> = speed.iter().map(|line| line.backend.as_str()).collect();
    backends.sort_unstable();
    backends.dedup();
    let mut found: Vec<Compute> = backends
        .into_iter()
        .filter_map(|backend| {
            let (name, macs) = (&backbone.name, backbone.macs);
            Compute::from_lines(speed, name, Some(backend), macs, End::Device).ok()
        })
        .collect();
    found.push(assumed.device.clone());
    let (speed, extra) = (assumed.device.mmacs_s(), assumed.device.extra_ms());
    found.extend(SLOWER_FASTER.iter().filter_map(|part| {
        Some(
            Compute::entered(part * speed, extra)
                .ok()?
                .with_source("assumed"),
        )
    }));
    found
}

fn request(device: &Compute, assumed: &Assumed) -> Request {
    Request {
        device: device.clone(),
        edge: assumed.edge.clone(),
        link: assumed.link,
        goal: Goal::default(),
        picture_ms: 0.0,
    }
}

fn choices(document: &RaDocument, device: &Compute, assumed: &Assumed) -> Vec<Choice> {
    let request = request(device, assumed);
    let means = document.means();
    let all: Vec<Candidate> = means
        .iter()
        .filter_map(|row| candidate(document, row, &request))
        .collect();
    let choice = |loss: f64| {
        let cheapest = |mode: Mode| {
            all.iter()
                .filter(|one| one.mode == mode && one.loss_points <= loss + 1e-9)
                .min_by(|a, b| a.bytes.total_cmp(&b.bytes))
                .cloned()
        };
        let others = [Mode::Picture, Mode::DeviceOnly];
        Some(Choice {
            loss,
            split: cheapest(Mode::Split)?,
            others: others.into_iter().filter_map(cheapest).collect(),
        })
    };
    LOSSES.into_iter().filter_map(choice).collect()
}

fn chart(document: &RaDocument, choice: &Choice, request: &Request) -> Chart {
    let rate = |i: u32| RATES.0 * (RATES.1 / RATES.0).powf(f64::from(i) / f64::from(STEPS));
    let series: Vec<Series> = std::iter::once(&choice.split)
        .chain(&choice.others)
        .enumerate()
        .map(|(look, one)| {
            let way = one.way(&request.link);
            let points = |step: u32| {
                let all = (0..=STEPS).filter(move |i| i % step == 0).map(rate);
                all.map(|rate| (rate, way.ms(rate))).collect::<Vec<_>>()
            };
            let name = shown(one);
            let dots = points(12)
                .into_iter()
                .map(|(x, y)| Dot {
                    x,
                    y,
                    title: format!("{name}: {} ms at {} kbit/s", digits(y), digits(x)),
                    ..Dot::default()
                })
                .collect();
            Series {
                name,
                look: [0, 2, 5][look.min(2)],
                dots,
                line: points(1),
            }
        })
        .collect();
    let times = series
        .iter()
        .flat_map(|one| one.line.iter().map(|(_, y)| *y));
    Chart {
        label: format!(
            "Milliseconds to an answer against kbit/s for {} cut at {}; the crossovers stand in the table below",
            document.backbone.name, document.backbone.split
        ),
        heading: None,
        x: Axis::log(
            "rate of the link, kbit/s (logarithmic)",
            [RATES.0, RATES.1].into_iter(),
        ),
        y: Axis::log("ms to an answer (logarithmic)", times),
        series,
        levels: Vec::new(),
    }
}

/// Between which rates the split is the fastest way.
fn crossovers(document: &RaDocument, devices: &[Compute], assumed: &Assumed) -> Table {
    let mut rows = Vec::new();
    let mut devices: Vec<&Compute> = devices.iter().collect();
    devices.sort_by(|a, b| a.mmacs_s().total_cmp(&b.mmacs_s()));
    for device in devices {
        let request = request(device, assumed);
        for choice in choices(document, device, assumed) {
            let ours = choice.split.way(&request.link);
            let others: Vec<Way> = choice
                .others
                .iter()
                .map(|one| one.way(&request.link))
                .collect();
            let of = |mode: Mode| {
                let one = choice.others.iter().find(|one| one.mode == mode);
                one.map_or_else(|| "-".to_owned(), shown)
            };
            rows.push(vec![
                digits(device.mmacs_s()),
                shown(&choice.split),
                of(Mode::Picture),
                device.source().to_owned(),
                format!("{}", choice.loss),
                span(fastest(&ours, &others)),
            ]);
        }
    }
    Table {
        caption: "Computed: rates of the link at which the split answers sooner than the picture and the device alone"
            .to_owned(),
        heads: super::heads(&["device MMAC/s", "split", "picture", "device speed is", "loss, points", "split is fastest, kbit/s"]),
        words: 4,
        rows,
    }
}

fn shown(one: &Candidate) -> String {
    match one.mode {
        Mode::Split => format!("split, {} ({} bytes)", one.name, bytes(one.bytes)),
        Mode::Picture => format!("picture, {} ({} bytes)", one.name, bytes(one.bytes)),
        Mode::DeviceOnly => "device only".to_owned(),
    }
}

/// Rates at which `ours` is faster than every other way, from, to; nothing where there is none.
fn fastest(ours: &Way, others: &[Way]) -> Option<(f64, f64)> {
    let mut span = (0.0_f64, f64::INFINITY);
    for other in others {
        match ours.crossover(other) {
            Some(rate) if ours.kbits < other.kbits => span.1 = span.1.min(rate),
            Some(rate) => span.0 = span.0.max(rate),
            None if ours.ms(1.0) < other.ms(1.0) => {}
            None => return None,
        }
    }
    (span.0 < span.1).then_some(span)
}

fn span(rates: Option<(f64, f64)>) -> String {
    let Some((from, to)) = rates else {
        return "never".to_owned();
    };
    match (from > 0.0, to.is_finite()) {
        (false, false) => "always".to_owned(),
        (true, false) => format!("above {}", digits(from)),
        (false, true) => format!("below {}", digits(to)),
        (true, true) => format!("{} to {}", digits(from), digits(to)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(fixed_ms: f64, kbits: f64) -> Way {
        Way { fixed_ms, kbits }
    }

    #[test]
    fn split_is_fastest_between_the_two_crossovers() {
        let split = way(40.0, 2.0);
        let picture = way(1.0, 10.0);
        let device = way(100.0, 0.0);
        let (from, to) = fastest(&split, &[picture, device]).unwrap();
        assert!((from - 2000.0 / 60.0).abs() < 1e-9, "{from}");
        assert!((to - 8000.0 / 39.0).abs() < 1e-9, "{to}");
        assert_eq!(span(Some((from, to))), "33.3 to 205");
    }

    #[test]
    fn split_that_is_never_or_always_fastest_says_so() {
        let split = way(40.0, 2.0);
        assert_eq!(fastest(&split, &[way(30.0, 1.0)]), None);
        assert_eq!(span(None), "never");
        // A device so fast that nothing is left between the crossovers.
        assert_eq!(fastest(&split, &[way(1.0, 3.0), way(41.0, 0.0)]), None);
        assert_eq!(span(fastest(&split, &[way(50.0, 9.0)])), "always");
        assert_eq!(span(fastest(&split, &[])), "always");
    }
}
