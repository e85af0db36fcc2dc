//! Devices, edges and the links between them, as a world holds them.

use std::collections::BTreeMap;

use super::deciding::{Decider, served};
use super::link::{LinkConfig, SimLink};
use super::random::EntityRandom;
use super::world::{Happening, World, first_clock, is_stream};
use crate::policy::Menu;
use crate::proto::{DeviceConfig, DeviceConnection, DeviceEvent, Request};
use crate::resilience::{AttemptId, Dispatcher, DispatcherConfig, RequestId};
use crate::serving::{Batch, EdgeHub, HubConfig};
use crate::time::Time;

/// A clock of one machine: off by some time, and sometimes set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    offset_us: i64,
    /// What it showed before it was set back: the core takes no earlier time.
    least: Time,
}

impl Clock {
    pub(crate) fn new(offset_us: u64) -> Self {
        Self {
            offset_us: i64::try_from(offset_us).unwrap_or(i64::MAX),
            least: Time::ZERO,
        }
    }

    pub(crate) fn jump(&mut self, now_ns: u64, forward_us: i64) {
        self.least = self.monotonic(now_ns);
        // Never to before the start: a clock doesn't show negative time.
        self.offset_us = (self.offset_us + forward_us).max(0);
    }

    pub(crate) fn local(self, global_ns: u64) -> Time {
        Time::from_us((global_ns / 1_000).saturating_add_signed(self.offset_us))
    }

    /// As a machine shows it that never goes back.
    pub(crate) fn monotonic(self, global_ns: u64) -> Time {
        self.local(global_ns).max(self.least)
    }

    /// The first point at which the clock shows `local` or later.
    fn global_ns(self, local: Time) -> u64 {
        let us = local.as_us().saturating_add_signed(-self.offset_us);
        us.saturating_mul(1_000)
    }
}

pub(crate) struct DeviceNode {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) random: EntityRandom,
    pub(crate) clock: Clock,
    pub(crate) timer: Option<u64>,
    /// When each request was made and how often it has ended.
    pub(crate) asked: BTreeMap<RequestId, (Time, u32)>,
    /// What chooses for it, where it chooses.
    pub(crate) decider: Option<Decider>,
}

impl DeviceNode {
    pub(crate) fn new(config: DispatcherConfig, mut random: EntityRandom) -> Self {
        let clock = first_clock(random.below(50));
        Self {
            dispatcher: Dispatcher::new(config).expect("a valid config"),
            random,
            clock,
            timer: None,
            asked: BTreeMap::new(),
            decider: None,
        }
    }

    /// Requests that have not ended.
    pub(crate) fn open(&self) -> u64 {
        self.dispatcher.counts().open + self.computing()
    }

    /// Requests that the dispatcher doesn't know yet.
    pub(crate) fn computing(&self) -> u64 {
        self.decider.as_ref().map_or(0, |decider| decider.open())
    }
}

pub(crate) struct EdgeNode {
    pub(crate) hub: EdgeHub,
    pub(crate) up: bool,
    /// Counts starts, so that what was under way for the last one is ignored.
    pub(crate) life: u64,
    pub(crate) clock: Clock,
    pub(crate) timer: Option<u64>,
    pub(crate) slowdown: u64,
    pub(crate) links: BTreeMap<u64, usize>,
    running: Option<(Batch, u64)>,
}

impl EdgeNode {
    pub(crate) fn new(config: HubConfig) -> Self {
        let clock = first_clock(60);
        Self {
            hub: EdgeHub::new(config, clock.local(0)).expect("a valid config"),
            up: true,
            life: 0,
            clock,
            timer: None,
            slowdown: 1,
            links: BTreeMap::new(),
            running: None,
        }
    }

    pub(crate) fn crash(&mut self) {
        self.up = false;
        self.life += 1;
        self.links.clear();
        self.running = None;
    }

    pub(crate) fn restart(&mut self, config: HubConfig, now_ns: u64) {
        self.crash();
        self.hub = EdgeHub::new(config, self.clock.local(now_ns)).expect("a valid config");
        self.up = true;
        self.slowdown = 1;
    }
}

/// A device's connection to an edge and both directions below it.
pub(crate) struct PairLink {
    pub(crate) up: SimLink,
    pub(crate) down: SimLink,
    pub(crate) connection: Option<DeviceConnection>,
    /// The edge's name for the connection and which start of the edge it belongs to.
    pub(crate) edge_id: Option<(u64, u64)>,
    /// Counts transports: bytes of an older one are lost.
    pub(crate) life: u64,
    attempts: BTreeMap<u32, AttemptId>,
}

impl PairLink {
    pub(crate) fn new(config: &LinkConfig, up: EntityRandom, down: EntityRandom) -> Self {
        Self {
            up: SimLink::new(config.clone(), up),
            down: SimLink::new(config.clone(), down),
            connection: None,
            edge_id: None,
            life: 0,
            attempts: BTreeMap::new(),
        }
    }

    pub(crate) fn open(&mut self, config: DeviceConfig, now: Time, edge_id: (u64, u64)) {
        self.life += 1;
        self.up.restart();
        self.down.restart();
        self.attempts.clear();
        self.edge_id = Some(edge_id);
        self.connection = Some(DeviceConnection::new(config, now).expect("a valid config"));
    }
}

impl World<'_> {
    pub(crate) fn send(
        &mut self,
        device: usize,
        endpoint: usize,
        (id, attempt): (RequestId, AttemptId),
        budget_us: u64,
    ) {
        let link = self.link_of(device, endpoint);
        let now = self.devices[device].clock.local(self.now_ns);
        let decider = self.devices[device].decider.as_ref().zip(self.menu);
        let (split, rung, bytes) = decider
            .and_then(|(decider, menu)| decider.frame(id, menu))
            .unwrap_or((0, 1, self.config.frame_bytes));
        let body = vec![0x5a; bytes];
        let request = Request {
            split,
            rung,
            budget_us: u32::try_from(budget_us).unwrap_or(u32::MAX),
            body: &body,
        };
        let pair = &mut self.links[link];
        let sent = pair
            .connection
            .as_mut()
            .map(|connection| connection.send(now, &request));
        match sent {
            Some(Ok(seq)) => {
                pair.attempts.insert(seq, attempt);
            }
            _ => self.devices[device]
                .dispatcher
                .attempt_refused(now, attempt),
        }
    }

    pub(crate) fn arrive_at_edge(&mut self, link: usize, life: u64, bytes: &[u8]) {
        let (_, edge) = self.ends_of(link);
        let pair = &self.links[link];
        let Some((id, edge_life)) = pair.edge_id.filter(|_| pair.life == life) else {
            return;
        };
        if self.edges[edge].up && self.edges[edge].life == edge_life {
            let now = self.edges[edge].clock.local(self.now_ns);
            self.edges[edge].hub.receive(now, id, bytes);
            self.settle_edge(edge);
        } else if is_stream(self.config) {
            // Nobody is there: the other machine says so.
            let at = self.now_ns + self.config.link.propagation_ns;
            self.plan(at, Happening::Reset { link, life });
        }
    }

    pub(crate) fn arrive_at_device(&mut self, link: usize, life: u64, bytes: &[u8]) {
        let (device, _) = self.ends_of(link);
        if self.links[link].life != life {
            return;
        }
        let now = self.devices[device].clock.local(self.now_ns);
        if let Some(connection) = &mut self.links[link].connection {
            // An error shows as the event that closes the connection.
            let _ = connection.receive(now, bytes);
        }
        self.settle_device(device);
    }

    pub(crate) fn device_due(&mut self, device: usize) {
        let now = self.devices[device].clock.local(self.now_ns);
        for edge in 0..self.edges.len() {
            let link = self.link_of(device, edge);
            if let Some(connection) = &mut self.links[link].connection {
                connection.handle_timeout(now);
            }
        }
        self.settle_device(device);
    }

    /// Moves events, actions and bytes of a device until nothing is left to do.
    pub(crate) fn settle_device(&mut self, device: usize) {
        let now = self.devices[device].clock.local(self.now_ns);
        loop {
            for edge in 0..self.edges.len() {
                let link = self.link_of(device, edge);
                while let Some(event) = self.links[link]
                    .connection
                    .as_mut()
                    .and_then(DeviceConnection::poll_event)
                {
                    self.device_event(device, edge, link, now, event);
                }
            }
            // Only after the events: an answer that came at the same moment counts.
            self.devices[device].dispatcher.handle_timeout(now);
            let Some(action) = self.devices[device].dispatcher.poll_action() else {
                break;
            };
            self.act(device, action);
        }
        for edge in 0..self.edges.len() {
            let link = self.link_of(device, edge);
            self.transmit_up(link);
        }
        self.set_device_timer(device);
    }

    fn device_event(
        &mut self,
        device: usize,
        edge: usize,
        link: usize,
        now: Time,
        event: DeviceEvent,
    ) {
        match event {
            DeviceEvent::Opened { .. } => {
                self.devices[device]
                    .dispatcher
                    .set_endpoint(now, edge, true);
            }
            DeviceEvent::Draining { .. } => {
                self.devices[device]
                    .dispatcher
                    .set_endpoint(now, edge, false);
            }
            DeviceEvent::Outcome { seq, outcome } => {
                if let Some(attempt) = self.links[link].attempts.remove(&seq) {
                    self.devices[device]
                        .dispatcher
                        .attempt_ended(now, attempt, outcome);
                } else {
                    self.tally.double += 1;
                }
            }
            DeviceEvent::LateAnswer { .. } => {
                self.devices[device].dispatcher.endpoint_alive(edge);
            }
            DeviceEvent::Closed(error) => {
                self.note(format_args!("device {device} lost edge {edge}: {error}"));
                self.devices[device]
                    .dispatcher
                    .set_endpoint(now, edge, false);
                self.links[link].connection = None;
                self.links[link].life += 1;
                self.reconnect(link);
            }
            _ => {}
        }
        if let Some(connection) = &self.links[link].connection {
            let bound = usize::from(connection.granted()).max(64);
            self.tally.check(connection.in_flight() <= bound);
        }
    }

    fn transmit_up(&mut self, link: usize) {
        let mut bytes = Vec::new();
        while self.links[link]
            .connection
            .as_mut()
            .is_some_and(|c| c.poll_transmit(&mut bytes))
        {
            let pair = &mut self.links[link];
            let life = pair.life;
            let length = bytes.len() as u64;
            for at in pair.up.send(self.now_ns, length) {
                let bytes = bytes.clone();
                self.plan(at, Happening::ToEdge { link, life, bytes });
            }
            bytes.clear();
        }
    }

    fn set_device_timer(&mut self, device: usize) {
        let node = &self.devices[device];
        let connections = (0..self.edges.len()).filter_map(|edge| {
            let link = device * self.edges.len() + edge;
            self.links[link]
                .connection
                .as_ref()
                .and_then(DeviceConnection::poll_timeout)
        });
        let Some(next) = connections.chain(node.dispatcher.poll_timeout()).min() else {
            return;
        };
        let at = node.clock.global_ns(next).max(self.now_ns + 1);
        if node.timer.is_none_or(|planned| at < planned) {
            self.devices[device].timer = Some(at);
            self.plan(at, Happening::DeviceTimer { device });
        }
    }

    /// Moves batches and bytes of an edge until nothing is left to do.
    pub(crate) fn settle_edge(&mut self, edge: usize) {
        if !self.edges[edge].up {
            return;
        }
        self.start_batch(edge);
        let mut bytes = Vec::new();
        while let Some(id) = self.edges[edge].hub.poll_transmit(&mut bytes) {
            if let Some(&link) = self.edges[edge].links.get(&id) {
                let life = self.links[link].life;
                let length = bytes.len() as u64;
                for at in self.links[link].down.send(self.now_ns, length) {
                    let bytes = bytes.clone();
                    self.plan(at, Happening::ToDevice { link, life, bytes });
                }
            }
            bytes.clear();
        }
        while let Some((id, error)) = self.edges[edge].hub.poll_closed() {
            self.note(format_args!("edge {edge} closed {id}: {error}"));
            let Some(link) = self.edges[edge].links.remove(&id) else {
                continue;
            };
            // What is under way, such as a last refusal, still arrives; then the stream ends.
            let life = self.links[link].life;
            let at = self.links[link].down.send(self.now_ns, 1);
            if is_stream(self.config) {
                self.plan(at[0], Happening::Reset { link, life });
            }
        }
        let node = &self.edges[edge];
        self.tally
            .check(node.hub.counts().waiting <= self.config.scheduler.waiting_max as u64);
        self.tally.check(node.hub.counts().is_conserved());
        if let Some(next) = node.hub.poll_timeout() {
            let at = node.clock.global_ns(next).max(self.now_ns + 1);
            if node.timer.is_none_or(|planned| at < planned) {
                self.edges[edge].timer = Some(at);
                self.plan(at, Happening::EdgeTimer { edge });
            }
        }
    }

    fn start_batch(&mut self, edge: usize) {
        let node = &mut self.edges[edge];
        if node.running.is_some() {
            return;
        }
        let now = node.clock.local(self.now_ns);
        let Some(batch) = node.hub.next_batch(now) else {
            return;
        };
        let (fixed_us, each_us) = match self.menu {
            None => self.config.batch_us,
            Some(menu) => batch_us(menu, batch.key.split),
        };
        let took_us = (fixed_us + each_us * batch.members.len() as u64) * node.slowdown;
        let life = node.life;
        node.running = Some((batch, took_us));
        let at = self.now_ns + took_us * 1_000;
        self.plan(at, Happening::WorkerDone { edge, life });
    }

    pub(crate) fn worker_done(&mut self, edge: usize, life: u64) {
        let node = &mut self.edges[edge];
        if node.life != life {
            return;
        }
        let now = node.clock.local(self.now_ns);
        if let Some((batch, took_us)) = node.running.take() {
            let results = batch.members.iter().map(|_| Ok(vec![1, 2, 3])).collect();
            node.hub.batch_done(now, &batch, took_us, results);
        }
        self.settle_edge(edge);
    }
}

/// Fixed and per-member time of a batch of a contract.
fn batch_us(menu: &Menu, contract: u16) -> (u64, u64) {
    let served = served(menu);
    let cost = served
        .get(usize::from(contract))
        .and_then(|(_, key)| key.cost);
    cost.map_or((0, 0), |cost| {
        (u64::from(cost.fixed_us), u64::from(cost.each_us))
    })
}
