//! The link between both ends, however it is made.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use crate::cells::Cell;
use crate::lane::Counts;
#[cfg(target_os = "linux")]
use crate::netns::Netns;
use crate::program::out;
use crate::proxy::Proxy;

/// How a link is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum How {
    /// Network namespaces, with the kernel's TCP on both sides of it; Linux, root
    Netns,
    /// A TCP proxy with rate and delay, without loss; anywhere
    Proxy,
}

impl How {
    /// As records say it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Netns => "netns",
            Self::Proxy => "proxy",
        }
    }
}

/// Which end of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Device,
    Edge,
}

#[cfg(target_os = "linux")]
impl End {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Edge => "edge",
        }
    }

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Device => Self::Edge,
            Self::Edge => Self::Device,
        }
    }
}

pub(crate) enum Link {
    #[cfg(target_os = "linux")]
    Netns(Netns),
    Proxy(Proxy),
}

impl Link {
    /// Namespaces where they can be had, a proxy where not; or what was asked for.
    ///
    /// # Errors
    /// Where namespaces were asked for and can't be had.
    pub(crate) fn open(asked: Option<How>, cell: Cell, seed: u64) -> Result<Self> {
        let proxy = || Ok(Self::Proxy(Proxy::new(cell)));
        if asked == Some(How::Proxy) {
            return proxy();
        }
        match namespaces(cell, seed) {
            Ok(link) => Ok(link),
            Err(error) if asked.is_none() => {
                out::log(&format!(
                    "no network namespaces here ({}): a TCP proxy makes the link, with rate and delay, \
                     without loss and without the kernel's own packets",
                    out::said(&error)
                ));
                proxy()
            }
            Err(error) => Err(error.context("--how netns; --how proxy works anywhere")),
        }
    }

    pub(crate) const fn how(&self) -> How {
        match self {
            #[cfg(target_os = "linux")]
            Self::Netns(_) => How::Netns,
            Self::Proxy(_) => How::Proxy,
        }
    }

    /// A program at one end.
    pub(crate) fn command(&self, end: End, program: &Path) -> Command {
        match self {
            #[cfg(target_os = "linux")]
            Self::Netns(netns) => netns.command(end, program),
            Self::Proxy(_) => {
                // Both ends are here.
                let _ = end;
                Command::new(program)
            }
        }
    }

    /// Where an edge has to listen.
    pub(crate) fn listen(&self) -> String {
        match self {
            #[cfg(target_os = "linux")]
            Self::Netns(netns) => netns.listen(),
            Self::Proxy(_) => "127.0.0.1:0".to_owned(),
        }
    }

    /// The address of an edge as devices see it.
    ///
    /// # Errors
    /// Where the proxy finds no port.
    pub(crate) fn route(&mut self, edge: &str) -> Result<String> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Netns(_) => Ok(edge.to_owned()),
            Self::Proxy(proxy) => proxy.route(edge),
        }
    }

    /// Becomes another link.
    pub(crate) fn set(&mut self, cell: Cell) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Netns(netns) => netns.set(cell),
            Self::Proxy(proxy) => proxy.set(cell),
        }
    }

    /// What went to the edge and to the device so far.
    pub(crate) fn counts(&self) -> [Counts; 2] {
        match self {
            #[cfg(target_os = "linux")]
            Self::Netns(netns) => netns.counts(),
            Self::Proxy(proxy) => proxy.counts(),
        }
    }
}

#[cfg(target_os = "linux")]
fn namespaces(cell: Cell, seed: u64) -> Result<Link> {
    Netns::open(cell, seed).map(Link::Netns)
}

#[cfg(not(target_os = "linux"))]
fn namespaces(_: Cell, _: u64) -> Result<Link> {
    anyhow::bail!("they are a matter of Linux")
}
