//! `cargo xtask bench codec`: our coders beside their peers, in one process.
//!
//! Every round runs every coder once, so that a busy moment of the machine hits all of them;
//! time is the thread's own CPU time. Ratios are medians of the per-round ratios to
//! constriction, rates come from the lower quartile of the times. Every coder's output is
//! decoded and compared before the clock starts.
#![allow(clippy::print_stdout, reason = "the table goes to the terminal")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "counts and symbols of a bench are small"
)]

mod data;
#[path = "../../../../crates/split-runtime/src/bin/program/options.rs"]
mod options;
mod ours;
mod peers;
mod record;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{CommandFactory as _, Parser, ValueEnum};
use rustix::time::{ClockId, clock_gettime};

use data::Source;
use record::Row;

/// Measures entropy coders beside their peers.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench codec", bin_name = "cargo xtask bench codec")]
struct Options {
    /// Append the lines to this record
    #[arg(long, alias = "out", value_name = "FILE")]
    record: Option<PathBuf>,
    /// Symbols per message
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "256,1024,4096,16384,1048576"
    )]
    symbols: Vec<usize>,
    /// Entropies of the source in bits per symbol
    #[arg(long, value_delimiter = ',', default_value = "0.3,1,2.5,4")]
    entropy: Vec<f64>,
    /// What is coded: independent symbols, whole frames of small latents, smooth fields
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Iid, Kind::Latents, Kind::Fields])]
    data: Vec<Kind>,
    /// Files of symbols: latents, channels, height, width as 32-bit numbers, then the symbols of
    /// each latent (channel, row, column) as 16-bit numbers, all lowest byte first. Tables are
    /// fitted to the first half of the latents, the second half is measured
    #[arg(long, value_delimiter = ',')]
    file: Vec<PathBuf>,
    /// Rounds; each runs every coder once
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Leave the peers out, but for constriction
    #[arg(long)]
    own: bool,
    /// Folder in which the messages are kept for coders outside of this process, as
    /// benches/peers/README.md describes
    #[arg(long)]
    save: Option<PathBuf>,
    /// Seed of the messages
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Iid,
    Latents,
    Fields,
    None,
}

/// Encodes and decodes messages that it was made with.
trait Coder {
    fn label(&self) -> Label;
    /// Encodes a message and keeps the result.
    fn encode(&mut self, message: usize) -> Result<()>;
    /// Decodes what was encoded last for this message.
    fn decode(&mut self, message: usize) -> Result<()>;
    /// Bytes of the encoded message.
    fn bytes(&self, message: usize) -> usize;
    /// Whether the decoded message equals the original one.
    fn is_right(&self, message: usize) -> bool;
    /// What has to be done outside of the clock before all messages are decoded.
    fn before_decoding(&mut self) {}
}

#[derive(Debug, Clone)]
struct Label {
    coder: String,
    path: &'static str,
    lanes: usize,
    contexts: usize,
}

impl Label {
    fn peer(coder: &str) -> Self {
        Self {
            coder: coder.to_owned(),
            path: "scalar",
            lanes: 1,
            contexts: 0,
        }
    }
}

fn main() -> Result<()> {
    if options::were_asked_for(&Options::command()) {
        return Ok(());
    }
    let options = Options::parse();
    if options.rounds == 0 || options.symbols.contains(&0) {
        bail!("rounds and symbols are at least 1");
    }
    let mut rows = Vec::new();
    let mut run = |source: &Source, own: Vec<Box<dyn Coder>>, peers: bool| -> Result<()> {
        if let Some(folder) = options.save.as_ref().filter(|_| peers) {
            source.save(folder)?;
        }
        let mut coders = peers::base(source)?;
        coders.extend(own);
        if peers && !options.own {
            coders.extend(peers::others(source)?);
        }
        let measured = measure(source, coders, options.rounds)?;
        record::print(&measured);
        rows.extend(measured);
        Ok(())
    };
    for kind in &options.data {
        match kind {
            Kind::Iid => {
                for &entropy in &options.entropy {
                    for &symbols in &options.symbols {
                        let source = Source::new(entropy, symbols, options.seed)?;
                        run(&source, ours::coders(&source)?, true)?;
                    }
                }
            }
            Kind::Latents => {
                let (source, coders) = ours::small_latents(options.seed)?;
                run(&source, coders, false)?;
            }
            Kind::None => {}
            Kind::Fields => {
                let (source, coders) = ours::smooth_fields(options.seed)?;
                run(&source, coders, false)?;
            }
        }
    }
    for path in &options.file {
        let (source, coders) = ours::from_file(path)?;
        run(&source, coders, true)?;
    }
    if let Some(path) = &options.record {
        record::append(path, &rows, options.seed)
            .with_context(|| format!("appending to {}", path.display()))?;
    }
    Ok(())
}

/// Nanoseconds of CPU time that this thread has used.
fn thread_time_ns() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = thread_time_ns();
    work()?;
    Ok(thread_time_ns() - begin)
}

/// The first coder is the base of the ratios.
fn measure(source: &Source, mut coders: Vec<Box<dyn Coder>>, rounds: usize) -> Result<Vec<Row>> {
    let messages = source.messages.len();
    for coder in &mut coders {
        coder.before_decoding();
        for message in 0..messages {
            coder.encode(message)?;
            coder.decode(message)?;
            if !coder.is_right(message) {
                bail!(
                    "{} does not give message {message} back",
                    coder.label().coder
                );
            }
        }
    }
    let mut times = vec![[Vec::new(), Vec::new()]; coders.len()];
    for _ in 0..rounds {
        for (coder, [encode, decode]) in coders.iter_mut().zip(&mut times) {
            encode.push(timed(|| {
                (0..messages).try_for_each(|message| coder.encode(message))
            })?);
            coder.before_decoding();
            decode.push(timed(|| {
                (0..messages).try_for_each(|message| coder.decode(message))
            })?);
        }
    }
    let symbols = (source.symbols * messages) as f64;
    let mut rows = Vec::new();
    for (coder, times_of) in coders.iter().zip(&times) {
        let bytes: usize = (0..messages).map(|message| coder.bytes(message)).sum();
        for (op, (own, base)) in ["encode", "decode"]
            .into_iter()
            .zip(times_of.iter().zip(&times[0]))
        {
            let ratios = own.iter().zip(base).map(|(own, base)| base / own).collect();
            let label = coder.label();
            rows.push(Row {
                coder: label.coder,
                path: label.path,
                lanes: label.lanes,
                contexts: label.contexts,
                entropy: source.entropy,
                symbols: source.symbols,
                op,
                msym_s: symbols / quantile(own.clone(), 0.25) * 1e3,
                ratio_constriction: quantile(ratios, 0.5),
                bytes: bytes as f64 / messages as f64,
                ideal_bytes: source.ideal_bits / 8.0 / messages as f64,
                data: source.data.clone(),
            });
        }
    }
    Ok(rows)
}

fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() - 1) as f64 * share;
    values[at.round() as usize]
}
