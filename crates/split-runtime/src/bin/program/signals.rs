//! Signals that end a program, or have it load again.

use std::sync::Arc;

use anyhow::Result;
use tokio::sync::{Notify, watch};

/// Exit code of a program that a signal ended: that of shells.
const BY_SIGNAL: u8 = 128;

/// What was asked for since [`Signals::listen`]. Nothing is lost however many signals come: wishes to
/// load stand for each other, and wishes to end are counted apart from them.
#[derive(Clone)]
pub(crate) struct Signals {
    reload: Arc<Notify>,
    ends: watch::Receiver<Ends>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    count: u32,
    /// Number of the newest one.
    number: u8,
}

impl Signals {
    /// SIGINT and SIGTERM from now on, with `reloads` SIGHUP too; Ctrl-C alone where the others don't
    /// exist. Needs a tokio runtime.
    ///
    /// # Errors
    /// Where the system doesn't allow it.
    pub(crate) fn listen(reloads: bool) -> Result<Self> {
        let (sender, ends) = watch::channel(Ends::default());
        let reload = Arc::new(Notify::new());
        listen_to(Arc::new(sender), reloads.then(|| Arc::clone(&reload)))?;
        Ok(Self { reload, ends })
    }

    /// Waits for a wish to load again.
    #[allow(dead_code, reason = "the device loads once")]
    pub(crate) async fn reload(&self) {
        self.reload.notified().await;
    }

    /// Waits until there were `count` wishes to end; gives the exit code that stands for the last.
    pub(crate) async fn end(&mut self, count: u32) -> u8 {
        // The sender lives in tasks that never end.
        let ends = self.ends.wait_for(|ends| ends.count >= count).await;
        BY_SIGNAL | ends.map_or(0, |ends| ends.number)
    }
}

#[cfg(unix)]
fn listen_to(ends: Arc<watch::Sender<Ends>>, reload: Option<Arc<Notify>>) -> Result<()> {
    use anyhow::Context as _;
    use tokio::signal::unix::{SignalKind, signal};

    for (kind, number) in [(SignalKind::interrupt(), 2), (SignalKind::terminate(), 15)] {
        let mut signals = signal(kind).context("listening for signals")?;
        let ends = Arc::clone(&ends);
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                ends.send_modify(|ends| {
                    ends.count += 1;
                    ends.number = number;
                });
            }
        });
    }
    if let Some(reload) = reload {
        let mut signals = signal(SignalKind::hangup()).context("listening for signals")?;
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                reload.notify_one();
            }
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn listen_to(ends: Arc<watch::Sender<Ends>>, _: Option<Arc<Notify>>) -> Result<()> {
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            ends.send_modify(|ends| {
                ends.count += 1;
                ends.number = 2;
            });
        }
    });
    Ok(())
}
