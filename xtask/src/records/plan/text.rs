//! A plan in words.

use std::fmt::Write as _;

use super::{Candidate, Mode, Plan, Request};
use crate::chart::figure;

impl Plan {
    /// What to do and why, with the frontier, for a terminal.
    #[must_use]
    pub fn explain(&self, request: &Request) -> String {
        let mut out = String::new();
        match (&self.choice, &self.nearest) {
            (Some(choice), _) => self.choose(&mut out, choice, request),
            (None, Some(nearest)) => {
                let _ = writeln!(
                    out,
                    "Nothing meets {}. Nearest: {}, {} ms, {}.",
                    goal(request, self.unit()),
                    self.deed(nearest),
                    figure(nearest.total_ms),
                    self.accuracy(nearest),
                );
            }
            (None, None) => {}
        }
        self.profiles(&mut out, request);
        self.table(&mut out);
        out
    }

    fn choose(&self, out: &mut String, choice: &Candidate, request: &Request) {
        let _ = writeln!(out, "{}: {}.\n", self.deed(choice), self.accuracy(choice));
        let _ = writeln!(
            out,
            "It takes {} ms: {}; asked for was {}.",
            figure(choice.total_ms),
            parts(choice).join(" + "),
            goal(request, self.unit())
        );
        let others = [
            (&self.picture, self.picture_crossover_kbit_s),
            (&self.device_only, self.device_crossover_kbit_s),
        ];
        for (other, crossover) in others {
            let Some(other) = other else { continue };
            if other == choice {
                continue;
            }
            let who = match other.mode {
                Mode::DeviceOnly => "The device alone".to_owned(),
                _ => format!("The picture as {} ({:.0} bytes)", other.name, other.bytes),
            };
            let _ = write!(
                out,
                "{who} would take {} ms ({})",
                figure(other.total_ms),
                parts(other).join(" + ")
            );
            let side = if other.bytes > choice.bytes {
                "above"
            } else {
                "below"
            };
            let _ = match crossover {
                Some(rate) => writeln!(out, "; it is faster {side} {} kbit/s.", figure(rate)),
                None => writeln!(out, "; it is slower at every rate of the link."),
            };
        }
        if self.picture.is_none() {
            let _ = writeln!(out, "No recorded picture is as accurate.");
        }
    }

    fn profiles(&self, out: &mut String, request: &Request) {
        let link = request.link;
        for (end, compute) in [("Device", &request.device), ("Edge", &request.edge)] {
            let _ = writeln!(
                out,
                "{end}: {} MMAC/s and {} ms a picture besides ({}).",
                figure(compute.mmacs_s()),
                figure(compute.extra_ms()),
                compute.source()
            );
        }
        let _ = writeln!(
            out,
            "Link: {} kbit/s up, round trip {} ms, {} % of packets lost. Times are means; queues are not counted.",
            figure(link.kbit_s()),
            figure(link.rtt_ms()),
            figure(100.0 * link.loss())
        );
        if request.edge.extra_ms() == 0.0 {
            let _ = writeln!(
                out,
                "Not counted: decoding and unit decoder on the edge; enter them as --edge-extra-ms."
            );
        }
        if request.picture_ms == 0.0 {
            let _ = writeln!(
                out,
                "Not counted: coding and decoding pictures; enter it as --picture-ms."
            );
        }
    }

    fn table(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "\nFrontier, fastest first (* meets the goal, > is chosen):\n  {:<28} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9}",
            "what",
            self.unit(),
            "bytes",
            "device ms",
            "link ms",
            "edge ms",
            "total ms"
        );
        for one in &self.frontier {
            let sign = match (self.choice.as_ref() == Some(one), one.meets) {
                (true, _) => '>',
                (_, true) => '*',
                _ => ' ',
            };
            let name = one
                .split
                .as_ref()
                .map_or_else(|| one.name.clone(), |split| format!("{split} {}", one.name));
            let _ = writeln!(
                out,
                "{sign} {name:<28} {:>8} {:>8.0} {:>9} {:>9} {:>9} {:>9}",
                self.value(one.value),
                one.bytes,
                figure(one.head_ms + one.unit_ms + one.code_ms),
                figure(one.link_ms),
                figure(one.tail_ms + one.decode_ms),
                figure(one.total_ms),
            );
        }
    }

    fn deed(&self, one: &Candidate) -> String {
        match (one.mode, &one.split) {
            (Mode::Split, Some(split)) => {
                format!(
                    "Split {} at {split} and send rung {} ({:.0} bytes)",
                    self.backbone, one.name, one.bytes
                )
            }
            (Mode::DeviceOnly, _) => format!("Device only: {} runs whole there", self.backbone),
            _ => format!(
                "Don't split: send the picture as {} ({:.0} bytes)",
                one.name, one.bytes
            ),
        }
    }

    fn accuracy(&self, one: &Candidate) -> String {
        let side = if one.loss_points < 0.0 {
            "above"
        } else {
            "below"
        };
        format!(
            "{} {}, {:.2} points {side} the unsplit network",
            self.value(one.value),
            self.unit(),
            one.loss_points.abs()
        )
    }

    fn value(&self, value: f64) -> String {
        if self.metric == "map" {
            format!("{value:.4}")
        } else {
            format!("{value:.2}")
        }
    }

    fn unit(&self) -> &'static str {
        if self.metric == "map" {
            "mAP"
        } else {
            "top-1 %"
        }
    }
}

/// What an answer's time is made of; parts that take none are left out.
fn parts(one: &Candidate) -> Vec<String> {
    let macs = |macs: f64| format!("{:.1} M MACs", macs / 1e6);
    let head = match one.mode {
        Mode::DeviceOnly => "whole network",
        _ if one.unit_ms > 0.0 => "head",
        _ => "head and unit encoder",
    };
    let tail = if one.mode == Mode::Picture {
        "whole network"
    } else {
        "tail"
    };
    let share = if one.head_ms + one.unit_ms > 0.0 {
        one.head_ms / (one.head_ms + one.unit_ms)
    } else {
        1.0
    };
    let head_macs = one.device_macs * share;
    let all = [
        (one.head_ms, format!("{head} {}", macs(head_macs))),
        (
            one.unit_ms,
            format!("unit encoder {}", macs(one.device_macs - head_macs)),
        ),
        (one.code_ms, "coding".to_owned()),
        (one.link_ms, format!("link {:.0} bytes", one.bytes)),
        (one.decode_ms, "decoding and unit decoder".to_owned()),
        (one.tail_ms, format!("{tail} {}", macs(one.edge_macs))),
    ];
    all.into_iter()
        .filter(|(ms, _)| *ms > 0.0)
        .map(|(ms, what)| format!("{} ms {what}", figure(ms)))
        .collect()
}

fn goal(request: &Request, unit: &str) -> String {
    let goal = request.goal;
    let deadline = goal
        .deadline_ms
        .map(|limit| format!("an answer within {} ms", figure(limit)));
    let value = goal
        .value_min
        // As it was entered, without the noise of a subtraction.
        .map(|least| format!("at least {} {unit}", (least * 1e4).round() / 1e4));
    [deadline, value]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" and ")
}
