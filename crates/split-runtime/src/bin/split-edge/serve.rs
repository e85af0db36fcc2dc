//! From start to drain.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use split_runtime::grpc::{Edge, EdgeLimits, EdgeOptions, Placement};
use split_runtime::{BatchKey, Contract, EdgeConfig, HubConfig, SchedulerConfig, ServedKey};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::EdgeSettings;
use crate::program::{backend, out};
use crate::repository::{Look, Repository, Served};
use crate::shelf::Shelf;

/// How much longer than their last stream models stay loaded.
const AFTER_STREAMS: Duration = Duration::from_secs(2);

/// Loads, serves until a signal, drains.
pub(crate) fn run(settings: &EdgeSettings) -> Result<ExitCode> {
    // What can be wrong in the settings is said before models are loaded.
    let (listen, admin) = (settings.listen()?, settings.admin()?);
    let (drain, poll) = (settings.drain()?, settings.poll()?);
    let tls = settings.tls()?;
    let compute = backend::open(settings.backend()?)?;
    let mut repository = Repository::new(settings.models()?, compute, settings.top()?);
    let look = repository.look(true)?;
    if !look.problems.is_empty() {
        bail!("{}", look.problems.join("; "));
    }
    let mut options = EdgeOptions::new(hub(settings, &repository)?);
    options.listen = listen;
    options.admin = admin;
    options.limits = EdgeLimits {
        connections_max: options.hub.connections_max,
        ..EdgeLimits::new()
    };
    options.tls = tls;
    options.placement = Placement::Thread;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the threads for connections")?;
    let result = runtime.block_on(serve(settings, options, repository, (drain, poll)));
    // A model that is being loaded must not hold up the end.
    runtime.shutdown_background();
    result
}

/// Signals, as far as the system has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Reload,
    Drain,
}

/// What is known of a reload that runs beside the edge.
type Loading = JoinHandle<(Repository, Result<Look>)>;

async fn serve(
    settings: &EdgeSettings,
    options: EdgeOptions,
    repository: Repository,
    (drain, poll): (Duration, Option<Duration>),
) -> Result<ExitCode> {
    let mut wishes = wishes()?;
    let shelf = Shelf::default();
    let on_shelf = put_new(&shelf, &repository, &[]);
    let edge = Edge::start(options, shelf.clone()).await?;
    out::line(&format!("listening on {}", edge.address()));
    if let Some(admin) = edge.admin_address() {
        out::line(&format!("admin on {admin}"));
    }
    let mut models = Models {
        repository: Some(repository),
        shelf,
        on_shelf,
        drain,
    };
    let mut loading: Option<Loading> = None;
    let mut asked = false;
    // A drain is never kept waiting by a reload: both are looked at side by side.
    loop {
        tokio::select! {
            wish = wishes.recv() => match wish {
                Some(Wish::Reload) => {
                    reload_tls(&edge, settings);
                    asked = true;
                }
                Some(Wish::Drain) | None => break,
            },
            (repository, look) = loaded(&mut loading) => {
                loading = None;
                models.swap(&edge, &repository, look)?;
                models.repository = Some(repository);
            }
            () = pause(poll), if poll.is_some() && loading.is_none() => {
                loading = models.look(false);
            }
        }
        if asked && loading.is_none() {
            loading = models.look(true);
            asked = false;
        }
    }
    out::log(&format!("draining, for at most {} s", drain.as_secs()));
    tokio::select! {
        drained = edge.drain(drain) => {
            if drained {
                out::log("drained: every frame is answered");
                return Ok(ExitCode::SUCCESS);
            }
            out::log("the drain's time is over; what was left got no answer");
        }
        () = second(&mut wishes) => out::log("ended by a second signal"),
    }
    Ok(ExitCode::FAILURE)
}

async fn second(wishes: &mut mpsc::Receiver<Wish>) {
    while wishes.recv().await == Some(Wish::Reload) {}
}

/// The end of a reload; never, where none runs or it broke off.
async fn loaded(loading: &mut Option<Loading>) -> (Repository, Result<Look>) {
    if let Some(handle) = loading
        && let Ok(done) = handle.await
    {
        return done;
    }
    std::future::pending().await
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
}

impl Models {
    /// Looks at the repository on a thread where that may take its time.
    fn look(&mut self, asked: bool) -> Option<Loading> {
        let mut repository = self.repository.take()?;
        Some(tokio::task::spawn_blocking(move || {
            let look = repository.look(asked);
            (repository, look)
        }))
    }

    /// Swaps in what a reload found.
    fn swap(&mut self, edge: &Edge, repository: &Repository, look: Result<Look>) -> Result<()> {
        let look = match look {
            Ok(look) => look,
            Err(error) => {
                let said = out::said(&error);
                out::log(&format!("reload: {said}; what was served before stays"));
                return Ok(());
            }
        };
        for problem in &look.problems {
            out::log(&format!("reload: {problem}"));
        }
        if look.changed {
            let keys = put_new(&self.shelf, repository, &self.on_shelf);
            let served: Vec<(Contract, ServedKey)> = repository
                .served()
                .map(|one| (one.contract.clone(), one.served_key()))
                .collect();
            edge.set_contracts(&served, self.drain)?;
            for gone in self.on_shelf.iter().filter(|key| !keys.contains(key)) {
                let (shelf, gone, drain) = (self.shelf.clone(), *gone, self.drain);
                tokio::spawn(async move {
                    tokio::time::sleep(drain + AFTER_STREAMS).await;
                    shelf.take_away(&gone);
                });
            }
            self.on_shelf = keys;
        }
        if look.asked || look.changed {
            let count = self.on_shelf.len();
            let what = if look.changed {
                "swapped in"
            } else {
                "nothing to swap"
            };
            out::log(&format!("reload: {what}, {count} models are served"));
        }
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

fn reload_tls(edge: &Edge, settings: &EdgeSettings) {
    match settings.tls() {
        Ok(Some(config)) => edge.reload_tls(config),
        Ok(None) => {}
        Err(error) => {
            let said = out::said(&error);
            out::log(&format!(
                "reload: {said}; the certificates loaded before stay"
            ));
        }
    }
}

fn hub(settings: &EdgeSettings, repository: &Repository) -> Result<HubConfig> {
    let (batch_max, waiting_max, connections_max) = settings.sizes()?;
    let contracts = repository.served().map(|one| one.contract.clone());
    let scheduler = SchedulerConfig {
        batch_max,
        waiting_max,
        // Each model brings its own guess.
        ..SchedulerConfig::new(0, 0)
    };
    Ok(HubConfig {
        connection: EdgeConfig::new(contracts.collect()),
        scheduler,
        keys: repository.served().map(Served::served_key).collect(),
        connections_max,
    })
}

/// SIGHUP, SIGINT and SIGTERM from now on; Ctrl-C alone where the others don't exist.
fn wishes() -> Result<mpsc::Receiver<Wish>> {
    let (sender, receiver) = mpsc::channel(8);
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [
            (SignalKind::hangup(), Wish::Reload),
            (SignalKind::interrupt(), Wish::Drain),
            (SignalKind::terminate(), Wish::Drain),
        ];
        for (kind, wish) in kinds {
            let mut signals = signal(kind).context("listening for signals")?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    // As many wishes as fit will do; one more of the same changes nothing.
                    let _ = sender.try_send(wish);
                }
            });
        }
    }
    #[cfg(not(unix))]
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            let _ = sender.try_send(Wish::Drain);
        }
    });
    Ok(receiver)
}
