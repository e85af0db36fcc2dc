//! Markdown of the records of whole systems: networks, transport, policies, faults, links. Each bar stands with what
//! was measured.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use thiserror::Error;

use crate::chart::figure;
use crate::links;
use crate::networks;
use crate::page::record_table;
use crate::speed::{SpeedError, SpeedLine};
use crate::steps;
use crate::table::Table;

/// Why a record of a system has no table.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SystemError {
    /// A line isn't JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A line times no step.
    #[error(transparent)]
    Speed(#[from] SpeedError),
    /// There is no table for this schema.
    #[error("no table for schema {found:?}")]
    Schema {
        /// What the first line says.
        found: String,
    },
}

/// The table of a record with one line a figure.
///
/// # Errors
/// [`SystemError`] where it has no lines of a system.
pub fn system_table(text: &str) -> Result<String, SystemError> {
    let lines = text.lines().map(serde_json::from_str);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>()?;
    let schema = lines.first().map_or("", |line| word(line, "schema"));
    let body = match schema {
        "split-runtime/1" => transport(&lines),
        "split-policy/1" => policies(&lines),
        "split-faults/1" => faults(&lines),
        "split-link/1" => links::links(&lines),
        "split-speed/1" if networks::are_all(&lines) => networks::networks(&lines),
        "split-speed/1" => steps::steps(&SpeedLine::parse_all(text)?),
        "split-accuracy/1" | "split-privacy/1" => as_they_are(schema, &lines),
        other => {
            let found = other.to_owned();
            return Err(SystemError::Schema { found });
        }
    };
    if schema == "split-speed/1" && !networks::are_all(&lines) {
        // Each of its tables says which commit and machine it is of; what was timed anew is left out.
        return Ok(body);
    }
    let commands = lines.iter().map(|line| word(line, "command"));
    Ok(of_last(&lines) + &commands_block(commands) + &body)
}

/// Lines that need no arranging.
fn as_they_are(schema: &str, lines: &[Value]) -> String {
    let lines: Vec<&Value> = lines.iter().collect();
    record_table(schema, &lines).map_or_else(String::new, |table| table.markdown())
}

/// Commands of lines, each run once.
pub(crate) fn commands_block<'a>(commands: impl Iterator<Item = &'a str>) -> String {
    let mut commands: Vec<&str> = commands.collect();
    commands.dedup();
    format!("```\n{}\n```\n\n", commands.join("\n"))
}

/// Where the last of the lines comes from.
fn of_last(lines: &[Value]) -> String {
    let last = &lines[lines.len() - 1];
    format!(
        "Commit {}, {} with {} cores, {}.\n\n",
        word(last, "git"),
        last["machine"]["cpu"].as_str().unwrap_or("unknown"),
        last["machine"]["cores"],
        word(last, "date"),
    )
}

fn transport(lines: &[Value]) -> String {
    let mut rows = Vec::new();
    let mut bars = Vec::new();
    for line in lines {
        let (name, tls) = (word(line, "transport"), tls(line));
        let at = |field: &str| number(line, field);
        if word(line, "what") == "memory" {
            let mib = |field: &str| at(field) / f64::from(1 << 20);
            let (before, after) = (mib("rss_before"), mib("rss_after"));
            bars.push((
                format!(
                    "memory over {} frames: {before:.1} MiB before, {after:.1} MiB after; grows by at most 4 MiB",
                    at("frames")
                ),
                after - before <= 4.0,
            ));
            continue;
        }
        if name == "stream" && at("in_flight") <= 1.0 {
            bars.push(match tls {
                "plain" => {
                    let ratio = at("ratio_raw_tcp");
                    (
                        format!("stream p50: {ratio:.2} x raw TCP; at most 1.5 x"),
                        ratio <= 1.5,
                    )
                }
                _ => {
                    let ratio = at("ratio_plain");
                    (
                        format!("stream p50 with {tls}: {ratio:.2} x plain; at most 1.3 x"),
                        ratio <= 1.3,
                    )
                }
            });
        } else if name == "stream" && tls == "plain" {
            let (per_s, share) = (at("per_s"), at("ratio_tonic_echo"));
            bars.push((
                format!(
                    "stream at {} in flight: {per_s:.0} frames/s, {share:.2} x a gRPC stream without a protocol; at least \
                     200000 or 0.7 x",
                    at("in_flight")
                ),
                per_s >= 200_000.0 || share >= 0.7,
            ));
        }
        rows.push(vec![
            name.to_owned(),
            tls.to_owned(),
            at("in_flight").to_string(),
            format!("{:.1}", at("p50_us")),
            format!("{:.1}", at("p99_us")),
            format!("{:.0}", at("per_s")),
            format!("{:.2}", at("ratio_raw_tcp")),
            format!("{:.2}", at("ratio_tonic_echo")),
            format!("{:.2}", at("ratio_plain")),
        ]);
    }
    let heads = [
        "transport",
        "protection",
        "in flight",
        "p50 us",
        "p99 us",
        "per s",
        "p50 / raw TCP",
        "per s / gRPC stream",
        "p50 / plain",
    ];
    markdown(&heads, 2, rows) + "\n" + &verdicts(&bars)
}

/// Family, scale and deadline of a line, as they are compared.
type Place = (String, String, String);

fn policies(lines: &[Value]) -> String {
    let mut order: Vec<Place> = Vec::new();
    let mut places: BTreeMap<Place, Vec<&Value>> = BTreeMap::new();
    for line in lines {
        let shown = |field: &str| line[field].to_string().trim_matches('"').to_owned();
        let place = (shown("family"), shown("scale"), shown("deadline_ms"));
        if !order.contains(&place) {
            order.push(place.clone());
        }
        places.entry(place).or_default().push(line);
    }
    let compared = order
        .iter()
        .filter_map(|place| Compared::new(place, &places[place]));
    let compared: Vec<Compared<'_>> = compared.collect();
    let heads = [
        "traces",
        "deadline ms",
        "own in time %",
        "oracle %",
        "of oracle",
        "points to oracle",
        "best fixed",
        "own ahead of it",
        "switches",
        "regret",
        "requests",
    ];
    let rows = compared.iter().map(Compared::row).collect();
    let missed: Vec<String> = compared.iter().flat_map(Compared::missed).collect();
    let end = if missed.is_empty() { "." } else { ":" };
    let mut out = markdown(&heads, 1, rows);
    let _ = writeln!(
        out,
        "\n- Bars of the own policy: at least 0.9 of the oracle that pays for switching, at most 0.5 points of accuracy below \
         it, at most 1 % of requests behind the best fixed choice. {} of {} missed{end}",
        missed.len(),
        3 * compared.len(),
    );
    for one in missed {
        let _ = writeln!(out, "- missed: {one}.");
    }
    out
}

/// Our own policy at one place, with what it is compared with.
struct Compared<'a> {
    place: &'a Place,
    own: &'a Value,
    oracle: &'a Value,
    /// The fixed choice with the most answers in time.
    fixed: &'a Value,
}

impl<'a> Compared<'a> {
    fn new(place: &'a Place, lines: &[&'a Value]) -> Option<Self> {
        let named = |name: &str| lines.iter().find(|line| word(line, "policy") == name);
        let fixed = lines
            .iter()
            .filter(|line| word(line, "policy").starts_with("fixed-"));
        Some(Self {
            place,
            own: named("own")?,
            oracle: named("oracle-switching")?,
            fixed: fixed.max_by(|a, b| percent(a).total_cmp(&percent(b)))?,
        })
    }

    /// What each bar is about, as it was measured, and whether it holds.
    fn bars(&self) -> [(&'static str, String, bool); 3] {
        let share = percent(self.own) / percent(self.oracle).max(1e-9);
        let points = number(self.own, "value") - number(self.oracle, "value");
        let ahead = percent(self.own) - percent(self.fixed);
        [
            ("share of the oracle", format!("{share:.3}"), share >= 0.9),
            (
                "points to the oracle",
                format!("{points:+.2}"),
                points >= -0.5,
            ),
            (
                "ahead of the best fixed choice",
                format!("{ahead:+.2}"),
                ahead >= -1.0,
            ),
        ]
    }

    fn missed(&self) -> Vec<String> {
        let (family, scale, deadline) = self.place;
        let missed = self.bars().into_iter().filter(|(_, _, holds)| !holds);
        let named = missed
            .map(|(what, text, _)| format!("{family} x{scale}, {deadline} ms: {what} {text}"));
        named.collect()
    }

    fn row(&self) -> Vec<String> {
        let own = self.own;
        let (family, scale, deadline) = self.place;
        let [share, points, ahead] = self.bars().map(|(_, text, holds)| match holds {
            true => text,
            false => format!("**{text}**"),
        });
        let points = format!("{points} ± {:.2}", number(self.oracle, "ci95_own_value"));
        let ahead = format!(
            "{ahead} ± {:.2}",
            100.0 * number(self.fixed, "ci95_own_in_time")
        );
        vec![
            format!("{family} x{scale}"),
            deadline.clone(),
            format!(
                "{:.2} ± {:.2}",
                percent(own),
                100.0 * number(own, "ci95_in_time")
            ),
            format!("{:.2}", percent(self.oracle)),
            share,
            points,
            word(self.fixed, "policy")
                .trim_start_matches("fixed-")
                .to_owned(),
            ahead,
            format!("{:.2}", number(own, "switches")),
            format!("{:.2}", number(own, "regret")),
            figure(number(own, "requests")),
        ]
    }
}

/// Requests in time of a hundred.
fn percent(line: &Value) -> f64 {
    100.0 * number(line, "in_time")
}

fn faults(lines: &[Value]) -> String {
    // The newest line of each kind counts.
    let mut newest: BTreeMap<&str, &Value> = BTreeMap::new();
    for line in lines {
        newest.insert(word(line, "what"), line);
    }
    let mut rows = Vec::new();
    let mut bars = Vec::new();
    for (what, line) in newest {
        let at = |field: &str| number(line, field);
        let outcome = |name: &str| line["outcomes"][name].to_string();
        rows.push(vec![
            what.to_owned(),
            at("seeds").to_string(),
            at("requests").to_string(),
            outcome("result"),
            outcome("fallback"),
            outcome("error"),
            line["value_at_deadline"]
                .as_f64()
                .map_or_else(|| "-".to_owned(), |points| format!("{points:.2}")),
            at("double").to_string(),
            at("lost").to_string(),
            at("bound_broken").to_string(),
        ]);
        let broken = at("double") + at("lost") + at("bound_broken");
        let text = format!(
            "{what}: {broken} requests that ended twice or never, or bounds broken; none allowed"
        );
        bars.push((text, broken <= 0.0));
        if line.get("share_of_achievable").is_some() {
            let share = at("share_of_achievable");
            let text = format!(
                "{what}: {share:.3} of the answers that are achievable came in time; at least 0.9"
            );
            bars.push((text, share >= 0.9));
        }
    }
    let heads = [
        "what",
        "seeds",
        "requests",
        "by the edge",
        "by the device",
        "errors",
        "points, late as 0",
        "ended twice",
        "lost",
        "bounds broken",
    ];
    markdown(&heads, 1, rows) + "\n" + &verdicts(&bars)
}

pub(crate) fn verdicts(bars: &[(String, bool)]) -> String {
    let mut out = String::new();
    for (text, holds) in bars {
        let verdict = if *holds { "holds" } else { "**missed**" };
        let _ = writeln!(out, "- {verdict}: {text}.");
    }
    out
}

pub(crate) fn markdown(heads: &[&str], words: usize, rows: Vec<Vec<String>>) -> String {
    let heads = heads.iter().map(|head| (*head).to_owned()).collect();
    let table = Table {
        caption: String::new(),
        heads,
        words,
        rows,
    };
    table.markdown()
}

fn tls(line: &Value) -> &'static str {
    match &line["tls"] {
        Value::Bool(false) => "plain",
        Value::Bool(true) => "TLS",
        _ => "mutual TLS",
    }
}

pub(crate) fn word<'a>(line: &'a Value, field: &str) -> &'a str {
    line[field].as_str().unwrap_or_default()
}

/// Not a number where the field is missing, which no bar holds for.
pub(crate) fn number(line: &Value, field: &str) -> f64 {
    line[field].as_f64().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(lines: &[Value], expected: &[&str]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let table = system_table(&text).unwrap();
        for part in expected {
            assert!(table.contains(part), "{part} is not in\n{table}");
        }
    }

    fn line(schema: &str, more: Value) -> Value {
        let mut line = json!({"schema": schema, "command": "c", "git": "g", "date": "d",
            "machine": {"cpu": "x", "cores": 2}});
        line.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        line
    }

    #[test]
    fn bars_of_the_transport_hold_or_are_missed_by_their_figures() {
        let stream = |tls: Value, in_flight: u64, ratio: f64| {
            line(
                "split-runtime/1",
                json!({"what": "echo", "transport": "stream", "tls": tls, "in_flight": in_flight,
                    "p50_us": 20.0, "p99_us": 30.0, "per_s": 150_000, "ratio_raw_tcp": ratio,
                    "ratio_tonic_echo": 0.8, "ratio_plain": ratio}),
            )
        };
        let memory = json!({"what": "memory", "transport": "stream", "tls": false, "in_flight": 64,
            "frames": 1000, "rss_before": 1_048_576, "rss_after": 10_485_760});
        let lines = [
            stream(json!(false), 1, 1.6),
            stream(json!(true), 1, 1.2),
            stream(json!(false), 64, 9.0),
            line("split-runtime/1", memory),
        ];
        let expected = [
            "**missed**: stream p50: 1.60 x raw TCP",
            "holds: stream p50 with TLS: 1.20 x plain",
            "holds: stream at 64 in flight: 150000 frames/s, 0.80 x",
            "**missed**: memory over 1000 frames: 1.0 MiB before, 10.0 MiB after",
        ];
        check(&lines, &expected);
    }

    #[test]
    fn policies_stand_beside_oracle_and_best_fixed_choice() {
        let one = |policy: &str, in_time: f64, value: f64| {
            line(
                "split-policy/1",
                json!({"policy": policy, "family": "fcc", "scale": 0.25, "deadline_ms": 150,
                    "in_time": in_time, "value": value, "switches": 1.0, "regret": 0.1,
                    "requests": 100, "ci95_in_time": 0.01, "ci95_own_in_time": 0.002,
                    "ci95_own_value": 0.05}),
            )
        };
        let lines = [
            one("own", 0.9, 90.0),
            one("oracle-switching", 0.95, 90.6),
            one("fixed-a", 0.2, 80.0),
            one("fixed-b", 0.905, 80.0),
        ];
        let expected = [
            "| fcc x0.25 | 150 | 90.00 ± 1.00 | 95.00 | 0.947 | **-0.60** ± 0.05 | b | -0.50 ± 0.20 |",
            "1 of 3 missed:",
            "missed: fcc x0.25, 150 ms: points to the oracle -0.60",
        ];
        check(&lines, &expected);
    }

    #[test]
    fn the_newest_line_of_each_fault_is_judged() {
        let one = |lost: u64| {
            line(
                "split-faults/1",
                json!({"what": "faults", "seeds": 1, "requests": 3, "double": 0, "lost": lost,
                    "bound_broken": 0, "outcomes": {"result": 1, "fallback": 1, "error": 1}}),
            )
        };
        check(
            &[one(1), one(0)],
            &["| 1 | - | 0 | 0 | 0 |", "holds: faults: 0 requests"],
        );
        let mut policy = one(0);
        policy["value_at_deadline"] = json!(50.304);
        check(&[policy], &["| 1 | 50.30 | 0 | 0 | 0 |"]);
        check(&[one(0), one(1)], &["**missed**: faults: 1 requests"]);
    }

    #[test]
    fn other_records_have_no_table() {
        assert!(system_table("").is_err());
        assert!(system_table("{\"schema\": \"split-codec/1\"}").is_err());
    }
}
