use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::deciding::served;
use super::faults::{Fault, FaultPlan};
use super::nodes::{Clock, DeviceNode, EdgeNode, PairLink};
use super::random::EntityRandom;
use super::report::{Tally, WorldReport};
use crate::policy::Menu;
use crate::proto::{Contract, DeviceConfig, EdgeConfig, Transport};
use crate::resilience::{Action, DispatcherConfig, RequestId};
use crate::serving::{BatchKey, HubConfig, SchedulerConfig, ServedKey};
use crate::sim::LinkConfig;

/// A system of devices and edges in virtual time.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    /// Everything random follows from it.
    pub seed: u64,
    /// How many devices.
    pub devices: usize,
    /// How many edges; every device knows all of them.
    pub edges: usize,
    /// How each direction between a device and an edge behaves.
    pub link: LinkConfig,
    /// How long devices make requests.
    pub active_ns: u64,
    /// Mean time between two requests of a device; the actual times are drawn.
    pub period_ns: u64,
    /// Time within which a request has to be answered.
    pub budget_us: u64,
    /// Length of a frame.
    pub frame_bytes: usize,
    /// Fixed and per-member time of a batch.
    pub batch_us: (u64, u64),
    /// Settings of the edges' queue.
    pub scheduler: SchedulerConfig,
    /// Settings of the devices; endpoints and seed are set for each.
    pub dispatcher: DispatcherConfig,
    /// What goes wrong.
    pub faults: FaultPlan,
    /// Whether a log is kept.
    pub log: bool,
}

impl WorldConfig {
    /// Ten devices at ten frames a second on one edge, over 10 Mbit/s with 10 ms each way, for ten
    /// seconds and without faults.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            devices: 10,
            edges: 1,
            link: LinkConfig::constant(10_000_000, 10_000_000),
            active_ns: 10_000_000_000,
            period_ns: 100_000_000,
            budget_us: 150_000,
            frame_bytes: 300,
            batch_us: (4_000, 500),
            scheduler: SchedulerConfig::new(4_000, 500),
            dispatcher: DispatcherConfig::new(seed),
            faults: FaultPlan::default(),
            log: false,
        }
    }
}

/// What happens at a point in time.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    ToEdge {
        link: usize,
        life: u64,
        bytes: Vec<u8>,
    },
    ToDevice {
        link: usize,
        life: u64,
        bytes: Vec<u8>,
    },
    Request {
        device: usize,
    },
    /// A device that chooses what it sends is through with a head or the whole network.
    Computed {
        device: usize,
        ticket: u64,
    },
    DeviceTimer {
        device: usize,
    },
    EdgeTimer {
        edge: usize,
    },
    WorkerDone {
        edge: usize,
        life: u64,
    },
    FallbackDone {
        device: usize,
        request: RequestId,
    },
    Connect {
        link: usize,
    },
    Fault {
        index: usize,
    },
    Restart {
        edge: usize,
    },
    Recover {
        edge: usize,
    },
    /// The device learns that the other end is gone.
    Reset {
        link: usize,
        life: u64,
    },
}

/// Runs a world to its end and says what happened.
///
/// The same config gives the same report and the same log, byte for byte.
///
/// # Panics
/// If a bound of the protocol core is broken in a way that it checks itself.
#[must_use]
pub fn simulate(config: &WorldConfig) -> WorldReport {
    let mut world = World::new(config, None);
    world.run();
    world.finish()
}

pub(crate) struct World<'a> {
    pub(crate) config: &'a WorldConfig,
    /// What devices choose from, where they do.
    pub(crate) menu: Option<&'a Menu>,
    pub(crate) now_ns: u64,
    agenda: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    pub(crate) devices: Vec<DeviceNode>,
    pub(crate) edges: Vec<EdgeNode>,
    pub(crate) links: Vec<PairLink>,
    pub(crate) tally: Tally,
    log: String,
}

/// After the last request everything has this long to end: longer than any time-out in use.
const QUIET_NS: u64 = 120_000_000_000;

/// How long a device waits before it connects again, at most.
const RECONNECT_NS: u64 = 300_000_000;

impl<'a> World<'a> {
    pub(crate) fn new(config: &'a WorldConfig, menu: Option<&'a Menu>) -> Self {
        let seed = config.seed;
        let entity = |kind: u64, index: usize| EntityRandom::new(seed, (kind << 32) + index as u64);
        let devices = (0..config.devices)
            .map(|index| {
                let mut dispatcher = config.dispatcher.clone();
                dispatcher.endpoints = config.edges;
                dispatcher.seed = seed.wrapping_add(index as u64);
                DeviceNode::new(dispatcher, entity(1, index))
            })
            .collect();
        let edges = (0..config.edges)
            .map(|_| EdgeNode::new(hub_config(config, menu)))
            .collect();
        let links = (0..config.devices * config.edges)
            .map(|index| PairLink::new(&config.link, entity(2, index), entity(3, index)))
            .collect();
        let mut world = Self {
            config,
            menu,
            now_ns: 0,
            agenda: BTreeMap::new(),
            sequence: 0,
            devices,
            edges,
            links,
            tally: Tally::default(),
            log: String::new(),
        };
        for device in 0..config.devices {
            let start = world.devices[device].random.below(config.period_ns);
            world.plan(start, Happening::Request { device });
        }
        (0..world.links.len()).for_each(|link| world.plan(0, Happening::Connect { link }));
        for (index, (at, _)) in config.faults.list.iter().enumerate() {
            world.plan(*at, Happening::Fault { index });
        }
        world
    }

    pub(crate) fn run(&mut self) {
        let end = self.config.active_ns + QUIET_NS;
        while let Some(((at, _), happening)) = self.agenda.pop_first() {
            if at > end {
                return;
            }
            // Once all requests have ended only probes would go on.
            let over = at > self.config.active_ns + self.config.budget_us * 4_000;
            if over && self.devices.iter().all(|node| node.open() == 0) {
                return;
            }
            self.now_ns = at;
            self.tally.happenings += 1;
            self.happen(happening);
        }
    }

    pub(crate) fn finish(mut self) -> WorldReport {
        for node in &self.devices {
            self.tally.add_device(node);
        }
        for edge in &self.edges {
            self.tally.check_hub(&edge.hub, &self.config.scheduler);
        }
        self.tally.into_report(self.log)
    }

    pub(crate) fn plan(&mut self, at_ns: u64, happening: Happening) {
        self.sequence += 1;
        self.agenda
            .insert((at_ns.max(self.now_ns), self.sequence), happening);
    }

    pub(crate) fn note(&mut self, text: std::fmt::Arguments<'_>) {
        if self.config.log {
            let _ = writeln!(self.log, "{:>14} {text}", self.now_ns);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::ToEdge { link, life, bytes } => self.arrive_at_edge(link, life, &bytes),
            Happening::ToDevice { link, life, bytes } => self.arrive_at_device(link, life, &bytes),
            Happening::Request { device } => self.request(device),
            Happening::Computed { device, ticket } => self.computed(device, ticket),
            Happening::DeviceTimer { device } => {
                self.devices[device].timer = None;
                self.device_due(device);
            }
            Happening::EdgeTimer { edge } => {
                self.edges[edge].timer = None;
                let now = self.edges[edge].clock.local(self.now_ns);
                self.edges[edge].hub.handle_timeout(now);
                self.settle_edge(edge);
            }
            Happening::WorkerDone { edge, life } => self.worker_done(edge, life),
            Happening::FallbackDone { device, request } => {
                let now = self.devices[device].clock.local(self.now_ns);
                self.devices[device].dispatcher.fallback_done(now, request);
                self.settle_device(device);
            }
            Happening::Connect { link } => self.connect(link),
            Happening::Fault { index } => self.fault(index),
            Happening::Restart { edge } => {
                self.note(format_args!("edge {edge} is back"));
                self.edges[edge].restart(hub_config(self.config, self.menu), self.now_ns);
                self.settle_edge(edge);
            }
            Happening::Recover { edge } => self.edges[edge].slowdown = 1,
            Happening::Reset { link, life } => {
                if self.links[link].life == life {
                    self.cut(link);
                }
            }
        }
    }

    fn request(&mut self, device: usize) {
        let node = &mut self.devices[device];
        let pause = self.config.period_ns / 2 + node.random.below(self.config.period_ns);
        if self.now_ns + pause < self.config.active_ns {
            let at = self.now_ns + pause;
            self.plan(at, Happening::Request { device });
        }
        if self.menu.is_some() {
            self.decide(device);
            return;
        }
        let node = &mut self.devices[device];
        let now = node.clock.local(self.now_ns);
        match node.dispatcher.submit(now, self.config.budget_us) {
            Some(id) => {
                let asked = node.clock.monotonic(self.now_ns);
                node.asked.insert(id, (asked, 0));
                self.note(format_args!("device {device} asks {}", id.0));
            }
            None => self.tally.not_taken += 1,
        }
        self.settle_device(device);
    }

    fn fault(&mut self, index: usize) {
        let (_, fault) = self.config.faults.list[index];
        self.note(format_args!("{fault:?}"));
        match fault {
            Fault::Partition {
                device,
                edge,
                for_ns,
            } => {
                let link = self.link_of(device, edge);
                let until = self.now_ns + for_ns;
                self.links[link].up.block(until);
                self.links[link].down.block(until);
            }
            Fault::Reset { device, edge } => {
                let link = self.link_of(device, edge);
                self.cut(link);
            }
            Fault::Slow {
                edge,
                times,
                for_ns,
            } => {
                let edge = edge % self.edges.len();
                self.edges[edge].slowdown = times;
                let at = self.now_ns + for_ns;
                self.plan(at, Happening::Recover { edge });
            }
            Fault::Crash { edge, for_ns } => self.crash(edge % self.edges.len(), for_ns),
            Fault::Drain { edge, within_us } => {
                let edge = edge % self.edges.len();
                let now = self.edges[edge].clock.local(self.now_ns);
                self.edges[edge].hub.drain(now, within_us);
                self.settle_edge(edge);
                let at = self.now_ns + within_us * 1_000 + 50_000_000;
                self.plan(at, Happening::Restart { edge });
            }
            Fault::DeviceClock { device, forward_us } => {
                let device = device % self.devices.len();
                self.devices[device].clock.jump(self.now_ns, forward_us);
                self.device_due(device);
            }
            Fault::EdgeClock { edge, forward_us } => {
                let edge = edge % self.edges.len();
                self.edges[edge].clock.jump(self.now_ns, forward_us);
                self.edges[edge].timer = None;
                self.settle_edge(edge);
            }
        }
    }

    fn crash(&mut self, edge: usize, for_ns: u64) {
        if !self.edges[edge].up {
            return;
        }
        // What a hub counted before a crash is checked before it is forgotten.
        self.tally
            .check_hub(&self.edges[edge].hub, &self.config.scheduler);
        self.edges[edge].crash();
        for device in 0..self.devices.len() {
            let link = self.link_of(device, edge);
            // Some devices hear of it soon, others see nothing but silence.
            let life = self.links[link].life;
            let told = self.devices[device].random.happens(700);
            let delay = self.devices[device].random.below(50_000_000);
            if told {
                let at = self.now_ns + delay;
                self.plan(at, Happening::Reset { link, life });
            }
        }
        let at = self.now_ns + for_ns;
        self.plan(at, Happening::Restart { edge });
    }

    /// Ends the transport below a link, for both ends.
    pub(crate) fn cut(&mut self, link: usize) {
        let (device, edge) = self.ends_of(link);
        let pair = &mut self.links[link];
        pair.life += 1;
        if let Some((id, edge_life)) = pair.edge_id.take()
            && self.edges[edge].life == edge_life
        {
            let now = self.edges[edge].clock.local(self.now_ns);
            self.edges[edge].hub.transport_lost(now, id);
            self.edges[edge].links.remove(&id);
        }
        let now = self.devices[device].clock.local(self.now_ns);
        if let Some(connection) = &mut self.links[link].connection {
            connection.transport_lost(now);
        }
        self.settle_device(device);
        self.settle_edge(edge);
    }

    fn connect(&mut self, link: usize) {
        let (device, edge) = self.ends_of(link);
        let now = self.devices[device].clock.local(self.now_ns);
        let edge_now = self.edges[edge].clock.local(self.now_ns);
        let accepted = match self.edges[edge].up {
            true => self.edges[edge].hub.accept(edge_now, device as u64),
            false => None,
        };
        let Some(id) = accepted else {
            let at = self.now_ns + 1 + self.devices[device].random.below(RECONNECT_NS);
            self.plan(at, Happening::Connect { link });
            return;
        };
        let life = self.edges[edge].life;
        self.edges[edge].links.insert(id, link);
        let pair = &mut self.links[link];
        pair.open(device_config(self.config, self.menu), now, (id, life));
        self.settle_device(device);
        self.settle_edge(edge);
    }

    /// Plans to connect again after a connection ended.
    pub(crate) fn reconnect(&mut self, link: usize) {
        let (device, _) = self.ends_of(link);
        let at = self.now_ns + 1 + self.devices[device].random.below(RECONNECT_NS);
        self.plan(at, Happening::Connect { link });
    }

    pub(crate) fn act(&mut self, device: usize, action: Action) {
        match action {
            Action::Send {
                request,
                attempt,
                endpoint,
                budget_us,
            } => self.send(device, endpoint, (request, attempt), budget_us),
            Action::Fallback { request } => {
                let decider = self.devices[device].decider.as_ref();
                let needed_us = decider
                    .and_then(|decider| decider.fallback_us(request))
                    .or(self.config.dispatcher.fallback_us)
                    .unwrap_or(0);
                // A little less than it was said to need, as a good estimate is.
                let at = self.now_ns + needed_us * 950;
                self.plan(at, Happening::FallbackDone { device, request });
            }
            Action::Done { request, ending } => {
                self.note(format_args!(
                    "device {device} has {} {}",
                    request.0,
                    ending.name()
                ));
                let node = &mut self.devices[device];
                let now = node.clock.monotonic(self.now_ns);
                match node.asked.get_mut(&request) {
                    Some((asked, endings)) => {
                        *endings += 1;
                        let latency_us = now.since(*asked);
                        self.tally.ended(&ending, latency_us, self.config.budget_us);
                    }
                    None => self.tally.double += 1,
                }
                if let (Some(decider), Some(menu)) = (&mut node.decider, self.menu) {
                    decider.ended(now, request, &ending, menu);
                }
            }
        }
    }

    pub(crate) fn link_of(&self, device: usize, edge: usize) -> usize {
        let device = device % self.devices.len();
        device * self.edges.len() + edge % self.edges.len()
    }

    pub(crate) fn ends_of(&self, link: usize) -> (usize, usize) {
        (link / self.edges.len(), link % self.edges.len())
    }
}

fn contract() -> Contract {
    Contract {
        backbone: 1,
        split: "layer1".to_owned(),
        unit: 2,
        tables: 3,
        bank: 4,
        rungs: 8,
    }
}

/// What edges serve.
fn contracts(menu: Option<&Menu>) -> (Vec<Contract>, Vec<ServedKey>) {
    let key = BatchKey {
        backbone: 1,
        split: 0,
        shape: [4, 16, 16],
    };
    menu.map_or_else(
        || (vec![contract()], vec![key.into()]),
        |menu| served(menu).into_iter().unzip(),
    )
}

fn device_config(config: &WorldConfig, menu: Option<&Menu>) -> DeviceConfig {
    let mut device = DeviceConfig::new(contracts(menu).0);
    device.transport = config.link.transport;
    device.probe_after_us = 2_000_000;
    device.silence_us_max = 5_000_000;
    device
}

fn hub_config(config: &WorldConfig, menu: Option<&Menu>) -> HubConfig {
    let (contracts, keys) = contracts(menu);
    let mut connection = EdgeConfig::new(contracts);
    connection.transport = config.link.transport;
    connection.check_frames = false;
    connection.idle_us_max = 10_000_000;
    HubConfig {
        connection,
        scheduler: config.scheduler.clone(),
        keys,
        connections_max: 4096,
    }
}

/// Clocks of a world start apart: nothing may compare those of two machines.
pub(crate) fn first_clock(index: u64) -> Clock {
    Clock::new(1_000_000_000 + index * 77_777_777)
}

/// Whether a transport forgets nothing.
pub(crate) fn is_stream(config: &WorldConfig) -> bool {
    config.link.transport == Transport::Stream
}
