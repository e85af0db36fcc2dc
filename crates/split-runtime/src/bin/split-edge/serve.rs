//! From start to drain.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use split_runtime::grpc::{Edge, EdgeLimits, EdgeOptions, Placement};
use split_runtime::{
    BatchKey, ClientLimits, Contract, EdgeConfig, HubConfig, SchedulerConfig, ServedKey,
};
use tokio::task::{JoinError, JoinHandle};

use crate::config::{EdgeSettings, PROGRAM};
use crate::program::signals::Signals;
use crate::program::{backend, out};
use crate::repository::{Look, Offer, Repository, guarded};
use crate::shelf::Shelf;
use crate::spans::Spans;
use crate::stamp::{Stamp, stamp};

/// How much longer than their last stream models stay loaded.
const AFTER_STREAMS: Duration = Duration::from_secs(2);

/// Loads, serves until a signal, drains.
pub(crate) fn run(settings: &EdgeSettings) -> Result<ExitCode> {
    // What can be wrong in the settings is said before models are loaded.
    let (listen, admin) = (settings.listen()?, settings.admin()?);
    let (notice, drain, poll) = (settings.notice()?, settings.drain()?, settings.poll()?);
    let (sizes, client) = (settings.sizes()?, settings.client()?);
    let certificates = Certificates::read(settings)?;
    let compute = backend::open(settings.backend()?)?;
    let repository = Repository::new(
        settings.models()?,
        compute,
        settings.top()?,
        settings.pictures()?,
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the threads for connections")?;
    let result = runtime.block_on(async {
        let spans = Spans::start(settings.otlp_endpoint.as_deref(), PROGRAM)?;
        // Before models are loaded: that may take longer than a supervisor waits.
        let mut signals = Signals::listen(true)?;
        let Some(repository) = first(repository, &mut signals).await? else {
            return Ok(ExitCode::SUCCESS);
        };
        let mut options = EdgeOptions::new(hub(sizes, client, &repository));
        options.listen = listen;
        options.admin = admin;
        options.limits = EdgeLimits {
            connections_max: options.hub.connections_max,
            ..EdgeLimits::new()
        };
        options.tls = certificates.config();
        options.placement = Placement::Thread;
        let shelf = Shelf::default();
        let on_shelf = put_new(&shelf, &repository, &[]);
        let edge = spans.edge(options, shelf.clone()).await?;
        let models = Models {
            repository: Some(repository),
            shelf,
            on_shelf,
            drain,
            notice,
            said: Vec::new(),
        };
        let result = serve(edge, models, certificates, poll, signals).await;
        spans.close().await;
        result
    });
    // A model that is being loaded must not hold up the end.
    runtime.shutdown_background();
    result
}

/// Loads what the edge begins with; nothing where a signal comes first.
async fn first(mut repository: Repository, signals: &mut Signals) -> Result<Option<Repository>> {
    let loading = tokio::task::spawn_blocking(move || {
        let look = guarded("looking", || repository.look(true));
        (repository, look)
    });
    let (repository, look) = tokio::select! {
        loaded = loading => loaded.context("loading models")?,
        _ = signals.end(1) => {
            out::log("ended before anything was served");
            return Ok(None);
        }
    };
    // What a running edge goes on with, it also starts with.
    for problem in look?.problems {
        out::log(&format!("warning: {problem}"));
    }
    Ok(Some(repository))
}

/// What is known of a reload that runs beside the edge.
type Loading = JoinHandle<(Repository, Result<Look>)>;

async fn serve(
    edge: Edge,
    mut models: Models,
    mut certificates: Certificates<'_>,
    poll: Option<Duration>,
    mut signals: Signals,
) -> Result<ExitCode> {
    // An edge serves on though nobody reads what it prints.
    let _ = out::line(&format!("listening on {}", edge.address()));
    if let Some(admin) = edge.admin_address() {
        let _ = out::line(&format!("admin on {admin}"));
    }
    let mut loading: Option<Loading> = None;
    let mut asked = false;
    let mut ends = signals.clone();
    // A drain is never kept waiting by a reload: both are looked at side by side.
    loop {
        tokio::select! {
            biased;
            _ = ends.end(1) => break,
            () = signals.reload() => {
                certificates.reload(&edge);
                asked = true;
            }
            done = loaded(&mut loading) => {
                loading = None;
                models.settle(&edge, done);
            }
            () = pause(poll), if poll.is_some() && loading.is_none() => {
                if certificates.changed() {
                    certificates.reload(&edge);
                }
                loading = models.look(false);
            }
        }
        if asked && loading.is_none() {
            loading = models.look(true);
            asked = false;
        }
    }
    if !models.notice.is_zero() {
        let seconds = models.notice.as_secs();
        edge.give_notice().await;
        out::log(&format!("not ready any more, draining in {seconds} s"));
        tokio::select! {
            () = tokio::time::sleep(models.notice) => {}
            _ = signals.end(2) => {
                out::log("ended by a second signal");
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    let drain = models.drain;
    out::log(&format!("draining, for at most {} s", drain.as_secs()));
    tokio::select! {
        drained = edge.drain(drain) => {
            if drained {
                out::log("drained: every frame is answered");
                return Ok(ExitCode::SUCCESS);
            }
            out::log("the drain's time is over; what was left got no answer");
        }
        _ = signals.end(2) => out::log("ended by a second signal"),
    }
    Ok(ExitCode::FAILURE)
}

/// The end of a reload; never, where none runs.
async fn loaded(loading: &mut Option<Loading>) -> Result<(Repository, Result<Look>), JoinError> {
    match loading {
        Some(handle) => handle.await,
        None => std::future::pending().await,
    }
}

async fn pause(poll: Option<Duration>) {
    match poll {
        Some(every) => tokio::time::sleep(every).await,
        None => std::future::pending().await,
    }
}

/// The models in service and where new ones come from.
struct Models {
    /// Away while a reload has it.
    repository: Option<Repository>,
    shelf: Shelf,
    on_shelf: Vec<BatchKey>,
    drain: Duration,
    /// Between the wish to end and the drain.
    notice: Duration,
    /// What the last look found wrong.
    said: Vec<String>,
}

impl Models {
    /// Looks at the repository on a thread where that may take its time.
    fn look(&mut self, asked: bool) -> Option<Loading> {
        let mut repository = self.repository.take()?;
        Some(tokio::task::spawn_blocking(move || {
            let look = guarded("looking", || repository.look(asked));
            (repository, look)
        }))
    }

    /// Takes the repository back, and into service what a reload found.
    fn settle(&mut self, edge: &Edge, done: Result<(Repository, Result<Look>), JoinError>) {
        match done {
            Ok((repository, look)) => {
                self.take(edge, &repository, look);
                self.repository = Some(repository);
            }
            Err(error) => out::log(&format!(
                "reload: {error}; what is served stays, and is never loaded again"
            )),
        }
    }

    fn take(&mut self, edge: &Edge, repository: &Repository, look: Result<Look>) {
        let look = match look {
            Ok(look) => look,
            Err(error) => {
                let said = out::said(&error);
                self.say(vec![format!("{said}; what was served before stays")], false);
                return;
            }
        };
        self.say(look.problems, look.asked);
        let count = repository.count();
        match look.changed.then(|| self.swap(edge, repository)) {
            Some(Ok(())) => out::log(&format!("reload: swapped in, {count} models are served")),
            Some(Err(error)) => {
                let said = out::said(&error);
                out::log(&format!("reload: {said}; what was served before stays"));
            }
            None if look.asked => out::log(&format!(
                "reload: nothing to swap, {count} models are served"
            )),
            None => {}
        }
    }

    /// Says what is wrong; polling doesn't say again what it said the last time.
    fn say(&mut self, problems: Vec<String>, asked: bool) {
        for problem in &problems {
            if asked || !self.said.contains(problem) {
                out::log(&format!("reload: {problem}"));
            }
        }
        self.said = problems;
    }

    fn swap(&mut self, edge: &Edge, repository: &Repository) -> Result<()> {
        let keys = put_new(&self.shelf, repository, &self.on_shelf);
        let served: Vec<(Contract, ServedKey)> = repository
            .served()
            .map(|one| (one.contract.clone(), one.served_key()))
            .collect();
        if let Err(error) = edge.set_contracts(&served, self.drain) {
            for new in keys.iter().filter(|key| !self.on_shelf.contains(key)) {
                self.shelf.take_away(new);
            }
            return Err(error.into());
        }
        for gone in self.on_shelf.iter().filter(|key| !keys.contains(key)) {
            let (shelf, gone, drain) = (self.shelf.clone(), *gone, self.drain);
            tokio::spawn(async move {
                tokio::time::sleep(drain + AFTER_STREAMS).await;
                shelf.take_away(&gone);
            });
        }
        self.on_shelf = keys;
        Ok(())
    }
}

/// Puts models that aren't there yet on the shelf, before any device can name them.
fn put_new(shelf: &Shelf, repository: &Repository, there: &[BatchKey]) -> Vec<BatchKey> {
    let mut keys = Vec::new();
    for one in repository.served() {
        if !there.contains(&one.key) {
            shelf.put(one.key, one.stage.clone());
        }
        keys.push(one.key);
    }
    keys
}

/// Certificates as files that may be renewed.
struct Certificates<'a> {
    settings: &'a EdgeSettings,
    stamp: Stamp,
    first: Option<Arc<rustls::ServerConfig>>,
}

impl<'a> Certificates<'a> {
    fn read(settings: &'a EdgeSettings) -> Result<Self> {
        // Before they are read: a change in between is found by the next look.
        let stamp = stamp(&settings.tls_files());
        let first = settings.tls()?;
        Ok(Self {
            settings,
            stamp,
            first,
        })
    }

    /// TLS as it was at the start.
    fn config(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.first.clone()
    }

    fn changed(&self) -> bool {
        stamp(&self.settings.tls_files()) != self.stamp
    }

    fn reload(&mut self, edge: &Edge) {
        self.stamp = stamp(&self.settings.tls_files());
        match self.settings.tls() {
            Ok(Some(config)) => {
                edge.reload_tls(config);
                out::log("reload: certificates are read again");
            }
            Ok(None) => {}
            Err(error) => {
                let said = out::said(&error);
                out::log(&format!(
                    "reload: {said}; the certificates loaded before stay"
                ));
            }
        }
    }
}

fn hub(
    (batch_max, waiting_max, connections_max): (usize, usize, usize),
    client: ClientLimits,
    repository: &Repository,
) -> HubConfig {
    let contracts = repository.served().map(|one| one.contract.clone());
    let scheduler = SchedulerConfig {
        batch_max,
        waiting_max,
        client,
        // Each model brings its own guess.
        ..SchedulerConfig::new(0, 0)
    };
    HubConfig {
        connection: EdgeConfig::new(contracts.collect()),
        scheduler,
        keys: repository.served().map(Offer::served_key).collect(),
        connections_max,
    }
}
