//! Sending tensors instead of frames, where it was asked for and built.

use anyhow::Result;

use super::BenchArgs;
use super::line::Line;
use super::steps::{Bench, Inputs};

/// Times and bytes of burn-remote at one batch size.
#[cfg(feature = "remote")]
pub(super) struct Tensors {
    remote: Option<super::remote::Remote>,
    calls: Vec<Vec<super::remote::Call>>,
}

#[cfg(feature = "remote")]
impl Tensors {
    /// Connects and compares class scores, where `--burn-remote` was given.
    pub(super) fn start(
        args: &BenchArgs,
        bench: &Bench,
        inputs: &Inputs,
        batch: usize,
    ) -> Result<Self> {
        let mut tensors = Self {
            remote: None,
            calls: super::remote::SENT.iter().map(|_| Vec::new()).collect(),
        };
        if args.burn_remote {
            let remote = super::remote::Remote::start(bench, inputs)?;
            remote.check(bench, inputs, batch)?;
            tensors.remote = Some(remote);
        }
        Ok(tensors)
    }

    /// One call of each kind; warm-up rounds are not kept.
    pub(super) fn round(&mut self, keep: bool) {
        let Some(remote) = &self.remote else {
            return;
        };
        for (sent, calls) in super::remote::SENT.iter().zip(&mut self.calls) {
            let call = remote.call(*sent);
            if keep {
                calls.push(call);
            }
        }
    }

    /// Our split beside each kind. `frame`: mean bytes of our frames.
    pub(super) fn beside(&self, line: &Line, frame: Option<f64>, batch: usize) -> Vec<Line> {
        use super::line::{Times, beside, on_the_wire};
        let kinds = super::remote::SENT.iter().zip(&self.calls);
        let lines = kinds.map(|(sent, calls)| {
            let times = Times::new(calls.iter().map(|call| call.ms).collect());
            let bytes: u64 = calls.iter().map(|call| call.bytes).sum();
            let bytes = bytes as f64 / (calls.len() * batch) as f64;
            on_the_wire(beside(line, &sent.name(), &times), frame, bytes)
        });
        lines.collect()
    }
}

/// This build cannot send tensors.
#[cfg(not(feature = "remote"))]
pub(super) struct Tensors;

#[cfg(not(feature = "remote"))]
impl Tensors {
    pub(super) fn start(args: &BenchArgs, _: &Bench, _: &Inputs, _: usize) -> Result<Self> {
        anyhow::ensure!(
            !args.burn_remote,
            "this build has no burn-remote; build with `--features remote` \
             (`cargo xtask bench --burn-remote` does it)"
        );
        Ok(Self)
    }

    pub(super) fn round(&mut self, _: bool) {}

    pub(super) fn beside(&self, line: &Line, _: Option<f64>, _: usize) -> Vec<Line> {
        vec![line.clone()]
    }
}
