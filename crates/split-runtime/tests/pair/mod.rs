//! Both ends of a connection in memory, with an own clock, delay, loss and seed.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;

use rand_core::Rng;
use rand_pcg::Pcg32;
use split_runtime::*;
use split_tensor::{Frame, FrameHeader};

pub(crate) fn contract(split: &str) -> Contract {
    Contract {
        backbone: 0xb0b0,
        split: split.to_owned(),
        unit: 0x11,
        tables: 0x22,
        bank: 7,
        rungs: 8,
    }
}

/// A frame of that contract with a short payload.
pub(crate) fn frame(rung: u16, bank: u32) -> Vec<u8> {
    let header = FrameHeader {
        rung,
        bank,
        shape: None,
        checksum: true,
    };
    Frame::new(header, vec![0, 1, 2, 3])
        .expect("a short payload")
        .to_bytes()
}

/// How the link between the two ends behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkShape {
    pub(crate) delay_us: u64,
    pub(crate) jitter_us: u64,
    /// Of 1,000 datagrams, how many are lost.
    pub(crate) loss_permille: u32,
    /// Of 1,000 datagrams, how many come twice.
    pub(crate) double_permille: u32,
    /// Streams only: bytes a chunk, 0 for all at once.
    pub(crate) chunk: usize,
}

impl LinkShape {
    pub(crate) const QUIET: Self = Self {
        delay_us: 5_000,
        jitter_us: 0,
        loss_permille: 0,
        double_permille: 0,
        chunk: 0,
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum To {
    Device,
    Edge,
}

/// Two connections and what is under way between them.
pub(crate) struct Pair {
    pub(crate) now: Time,
    pub(crate) device: DeviceConnection,
    pub(crate) edge: EdgeConnection,
    pub(crate) device_events: Vec<DeviceEvent>,
    pub(crate) edge_events: Vec<EdgeEvent>,
    shape: LinkShape,
    transport: Transport,
    rng: Pcg32,
    under_way: BTreeMap<(Time, u64), (To, Vec<u8>)>,
    sequence: u64,
    last_arrival: [Time; 2],
}

impl Pair {
    pub(crate) fn new(device: DeviceConfig, edge: EdgeConfig, shape: LinkShape, seed: u64) -> Self {
        Self {
            now: Time::ZERO,
            transport: device.transport,
            device: DeviceConnection::new(device, Time::ZERO).expect("a valid config"),
            edge: EdgeConnection::new(edge, Time::ZERO).expect("a valid config"),
            device_events: Vec::new(),
            edge_events: Vec::new(),
            shape,
            rng: Pcg32::new(seed, 1),
            under_way: BTreeMap::new(),
            sequence: 0,
            last_arrival: [Time::ZERO; 2],
        }
    }

    /// A pair on a quiet stream that has shaken hands.
    pub(crate) fn opened() -> Self {
        let contracts = vec![contract("layer1"), contract("layer2")];
        let device = DeviceConfig::new(contracts.clone());
        let mut pair = Self::new(device, EdgeConfig::new(contracts), LinkShape::QUIET, 1);
        pair.run_for(20_000);
        assert!(pair.device.is_open());
        pair.device_events.clear();
        pair.edge_events.clear();
        pair
    }

    pub(crate) fn send(&mut self, rung: u16, budget_us: u32) -> Result<u32, SendError> {
        let request = Request {
            split: 0,
            rung,
            budget_us,
            body: &frame(rung, 7),
        };
        self.device.send(self.now, &request)
    }

    /// Lets time pass and moves whatever is due.
    pub(crate) fn run_for(&mut self, us: u64) {
        let end = self.now.after(us);
        loop {
            self.flush();
            let next = [
                self.under_way.keys().next().map(|&(at, _)| at),
                self.device.poll_timeout(),
                self.edge.poll_timeout(),
            ];
            let Some(next) = next.into_iter().flatten().min().filter(|&at| at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            self.deliver();
            self.device.handle_timeout(self.now);
            self.edge.handle_timeout(self.now);
        }
        self.now = end;
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.under_way.first_entry() {
            if entry.key().0 > self.now {
                return;
            }
            let (to, bytes) = entry.remove();
            let chunk = match self.shape.chunk {
                0 => bytes.len().max(1),
                chunk => chunk,
            };
            for part in bytes.chunks(chunk) {
                // Errors show as events.
                let _ = match to {
                    To::Device => self.device.receive(self.now, part),
                    To::Edge => self.edge.receive(self.now, part),
                };
            }
        }
    }

    pub(crate) fn flush(&mut self) {
        self.device_events
            .extend(std::iter::from_fn(|| self.device.poll_event()));
        self.edge_events
            .extend(std::iter::from_fn(|| self.edge.poll_event()));
        loop {
            let mut bytes = Vec::new();
            if self.device.poll_transmit(&mut bytes) {
                self.put_under_way(To::Edge, bytes);
                continue;
            }
            if !self.edge.poll_transmit(&mut bytes) {
                return;
            }
            self.put_under_way(To::Device, bytes);
        }
    }

    fn put_under_way(&mut self, to: To, bytes: Vec<u8>) {
        let datagram = self.transport == Transport::Datagram;
        let copies = match self.rng.next_u32() % 1000 {
            draw if !datagram || draw >= self.shape.loss_permille + self.shape.double_permille => 1,
            draw if draw < self.shape.loss_permille => 0,
            _ => 2,
        };
        for _ in 0..copies {
            let jitter = self.rng.next_u64() % (self.shape.jitter_us + 1);
            let mut at = self.now.after(self.shape.delay_us + jitter);
            let last = &mut self.last_arrival[to as usize];
            if !datagram {
                // A stream never overtakes itself.
                at = at.max(*last);
            }
            *last = at;
            self.sequence += 1;
            self.under_way
                .insert((at, self.sequence), (to, bytes.clone()));
        }
    }

    /// Answers every frame that came.
    pub(crate) fn answer_all(&mut self) {
        self.flush();
        for event in std::mem::take(&mut self.edge_events) {
            if let EdgeEvent::Frame { seq, body, .. } = event {
                let _ = self.edge.reply(self.now, seq, Answer::ok(10, 1, 20, body));
            }
        }
    }

    /// The outcomes so far, by number.
    pub(crate) fn outcomes(&self) -> BTreeMap<u32, Vec<&Outcome>> {
        let mut found: BTreeMap<u32, Vec<&Outcome>> = BTreeMap::new();
        for event in &self.device_events {
            if let DeviceEvent::Outcome { seq, outcome } = event {
                found.entry(*seq).or_default().push(outcome);
            }
        }
        found
    }
}
