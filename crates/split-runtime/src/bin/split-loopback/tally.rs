//! Rounds over all clients, and memory over many frames.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::clients::{Client, IN_FLIGHT, Timed, Tls, Until};

/// One client in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) per_s: f64,
}

/// For each number in flight, for each client, a cell a round.
pub(crate) type Rounds = [Vec<Vec<Cell>>; IN_FLIGHT.len()];

/// Resident bytes before and after so many frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) frames: usize,
    pub(crate) before: u64,
    pub(crate) after: u64,
    pub(crate) cell: Cell,
}

pub(crate) fn measure(clients: &mut [Client], rounds: usize, millis: u64) -> Result<Rounds> {
    let until = Until::Time(Duration::from_millis(millis));
    let mut found: Rounds = IN_FLIGHT.map(|_| vec![Vec::new(); clients.len()]);
    // The first round finds memory and code, and isn't counted.
    for round in 0..=rounds {
        for (place, &in_flight) in IN_FLIGHT.iter().enumerate() {
            for (index, client) in clients.iter_mut().enumerate() {
                let named = client.transport;
                let timed = client.ask(in_flight, until).context(named)?;
                if round > 0 {
                    found[place][index].push(cell(timed));
                }
            }
        }
    }
    Ok(found)
}

/// Our plain stream, as full as it may be.
pub(crate) fn memory(clients: &mut [Client], frames: usize) -> Result<Memory> {
    let ours = |client: &&mut Client| client.transport == "stream" && client.tls == Tls::Plain;
    let client = clients.iter_mut().find(ours);
    let client = client.context("no plain stream")?;
    let most = IN_FLIGHT[IN_FLIGHT.len() - 1];
    // In parts, so that the times of requests take no memory to speak of.
    let part = (frames / 10).max(1);
    client.ask(most, Until::Count(part))?;
    let before = resident()?;
    let mut last = None;
    for _ in 0..10 {
        last = Some(client.ask(most, Until::Count(part))?);
    }
    Ok(Memory {
        frames: 10 * part,
        before,
        after: resident()?,
        cell: cell(last.context("no frames were sent")?),
    })
}

fn cell(mut timed: Timed) -> Cell {
    let times = &mut timed.each_ns;
    times.sort_unstable();
    let at = |permille: usize| {
        let index = (times.len() * permille / 1000).min(times.len().saturating_sub(1));
        times.get(index).map_or(0.0, |&ns| ns as f64 / 1e3)
    };
    Cell {
        p50_us: at(500),
        p99_us: at(990),
        per_s: times.len() as f64 / timed.all.as_secs_f64(),
    }
}

/// Resident bytes of this process, both ends in it.
fn resident() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next());
    let kib: u64 = kib.context("no VmRSS")?.parse()?;
    Ok(kib * 1024)
}

/// The middle of some values.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}
