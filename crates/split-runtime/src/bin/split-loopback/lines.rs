//! Medians and records. `cargo xtask report` sets their bars beside them.

use serde_json::{Value, json};

use crate::clients::{Client, IN_FLIGHT, REQUEST_BYTES, Tls};
use crate::record;
use crate::tally::{Cell, Memory, Rounds, median};

pub(crate) struct Summary {
    rows: Vec<Row>,
    memory: Memory,
}

struct Row {
    transport: &'static str,
    tls: Tls,
    in_flight: usize,
    cell: Cell,
    rounds: usize,
    /// Time of the median request over that of raw TCP.
    raw_tcp: f64,
    /// Requests a second over those of the gRPC stream with the same protection.
    tonic_echo: f64,
    /// Time of the median request over that of the same transport in the clear.
    plain: f64,
}

impl Summary {
    pub(crate) fn new(clients: &[Client], rounds: &Rounds, memory: Memory) -> Self {
        let mut rows = Vec::new();
        for (cells, &in_flight) in rounds.iter().zip(&IN_FLIGHT) {
            let of = |transport: &str, tls: Tls| {
                let named = |client: &Client| client.transport == transport && client.tls == tls;
                let index = clients.iter().position(named);
                index.map_or(&[][..], |index| &cells[index][..])
            };
            for client in clients {
                let ours = of(client.transport, client.tls);
                let ratio = |others: &[Cell], value: fn(&Cell) -> f64| {
                    median(ours.iter().zip(others).map(|(a, b)| value(a) / value(b)))
                };
                let middle = |value: fn(&Cell) -> f64| median(ours.iter().map(value));
                rows.push(Row {
                    transport: client.transport,
                    tls: client.tls,
                    in_flight,
                    cell: Cell {
                        p50_us: middle(|cell| cell.p50_us),
                        p99_us: middle(|cell| cell.p99_us),
                        per_s: middle(|cell| cell.per_s),
                    },
                    rounds: ours.len(),
                    raw_tcp: ratio(of("raw-tcp", Tls::Plain), |cell| cell.p50_us),
                    tonic_echo: ratio(of("tonic-echo", client.tls), |cell| cell.per_s),
                    plain: ratio(of(client.transport, Tls::Plain), |cell| cell.p50_us),
                });
            }
        }
        Self { rows, memory }
    }

    pub(crate) fn print(&self) {
        println!(
            "{:<11} {:<7} {:>9} {:>9} {:>9} {:>10} {:>10} {:>10} {:>8}",
            "transport",
            "TLS",
            "in flight",
            "p50 us",
            "p99 us",
            "per s",
            "p50/raw",
            "per s/echo",
            "p50/plain"
        );
        for row in &self.rows {
            println!(
                "{:<11} {:<7} {:>9} {:>9.1} {:>9.1} {:>10.0} {:>10.2} {:>10.2} {:>8.2}",
                row.transport,
                tls(row.tls).to_string().trim_matches('"'),
                row.in_flight,
                row.cell.p50_us,
                row.cell.p99_us,
                row.cell.per_s,
                row.raw_tcp,
                row.tonic_echo,
                row.plain,
            );
        }
        let memory = &self.memory;
        println!(
            "{} frames at {} in flight: {:.1} MiB resident before, {:.1} MiB after",
            memory.frames,
            IN_FLIGHT[1],
            mib(memory.before),
            mib(memory.after)
        );
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        let round = record::rounded;
        let common = record::common("split-runtime/1", &record::command("bench loopback"), 0);
        let mut lines = Vec::new();
        for row in &self.rows {
            let mut line = common.clone();
            let more = json!({
                "what": "echo",
                "transport": row.transport,
                "tls": tls(row.tls),
                "in_flight": row.in_flight,
                "bytes": REQUEST_BYTES,
                "p50_us": round(row.cell.p50_us),
                "p99_us": round(row.cell.p99_us),
                "per_s": row.cell.per_s.round(),
                "ratio_raw_tcp": round(row.raw_tcp),
                "ratio_tonic_echo": round(row.tonic_echo),
                "ratio_plain": round(row.plain),
                "n": row.rounds,
            });
            record::add(&mut line, more);
            lines.push(line);
        }
        let memory = &self.memory;
        let full = self.rows.iter().find(|row| {
            row.transport == "stream" && row.tls == Tls::Plain && row.in_flight == IN_FLIGHT[1]
        });
        if let Some(full) = full {
            let mut line = common;
            let more = json!({
                "what": "memory",
                "transport": "stream",
                "tls": false,
                "in_flight": IN_FLIGHT[1],
                "bytes": REQUEST_BYTES,
                "p50_us": round(memory.cell.p50_us),
                "p99_us": round(memory.cell.p99_us),
                "per_s": memory.cell.per_s.round(),
                "ratio_raw_tcp": round(full.raw_tcp),
                "ratio_tonic_echo": round(full.tonic_echo),
                "frames": memory.frames,
                "rss_before": memory.before,
                "rss_after": memory.after,
            });
            record::add(&mut line, more);
            lines.push(line);
        }
        lines
    }
}

/// As records say it.
fn tls(tls: Tls) -> Value {
    match tls {
        Tls::Plain => json!(false),
        Tls::Edge => json!(true),
        Tls::Mutual => json!("mutual"),
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
