//! What becomes of timed lines: shown, recorded, compared with earlier ones.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use records::{Change, SpeedLine, comparable, compare, noise_remarks};

use super::line::{Line, cache_savings, first_use, heads, parsed, show};
use crate::files::{append_line, read};
use crate::values::at_least_one;

/// Options that every bench of networks has.
#[derive(Args, Debug)]
pub(super) struct Reporting {
    /// Timed repetitions of each step, after two to warm up.
    #[arg(long, value_parser = at_least_one, default_value_t = 15)]
    pub(super) repeats: usize,
    /// Append the lines to this record.
    #[arg(long)]
    record: Option<PathBuf>,
    /// Python that has PyTorch, ONNX Runtime with onnx, CompressAI, or some of them: they run the whole
    /// network and code the symbols on the CPU in turn with us, with our weights, on as many threads
    /// (benches/peers/README.md).
    #[arg(long, value_name = "PYTHON")]
    pub(super) peers: Option<PathBuf>,
    /// Compare with the newest lines of this record; fails when a step became slower beyond the noise.
    #[arg(long, value_name = "RECORD")]
    compare: Option<PathBuf>,
    /// Print the lines as they go into a record, one JSON object a line; remarks go to standard error.
    #[arg(long)]
    json: bool,
}

/// Lines of one run, as they come.
pub(super) struct Report<'a> {
    args: &'a Reporting,
    old: Option<Vec<SpeedLine>>,
    lines: Vec<Line>,
}

impl Reporting {
    /// Reads the record to compare with.
    pub(super) fn start(&self) -> Result<Report<'_>> {
        Ok(Report {
            args: self,
            old: self.compare.as_deref().map(earlier).transpose()?,
            lines: Vec::new(),
        })
    }

    /// Then lines are kept back until nothing in them is slower: else the same command would find a
    /// regression once and take it for its base the next time.
    fn is_compared_with_itself(&self) -> bool {
        self.record.is_some() && self.record == self.compare
    }

    fn record(&self, lines: &[Line]) -> Result<()> {
        let Some(path) = &self.record else {
            return Ok(());
        };
        lines.iter().try_for_each(|line| append_line(path, line))
    }

    /// What the lines below it are of.
    pub(super) fn heading(&self, text: &str) {
        if !self.json {
            say!("{text}");
        }
    }

    /// Beside the lines.
    fn remark(&self, text: &str) {
        if self.json {
            eprintln!("{text}");
        } else {
            say!("{text}");
        }
    }
}

impl Report<'_> {
    pub(super) fn heads(&self) {
        if !self.args.json {
            heads(self.args.repeats);
        }
    }

    /// Shows lines and appends them to the record.
    pub(super) fn add(&mut self, lines: Vec<Line>) -> Result<()> {
        for (place, line) in lines.iter().enumerate() {
            // A step that was compared with two peers stands there twice.
            let again = place > 0
                && lines[place - 1].what == line.what
                && lines[place - 1].backend == line.backend;
            show(self.args.json, line, again)?;
        }
        if let (true, Some(old), Some(path)) =
            (self.lines.is_empty(), &self.old, &self.args.compare)
        {
            comparable(old, &parsed(&lines)?)
                .with_context(|| format!("--compare {}", path.display()))?;
        }
        if !self.args.is_compared_with_itself() {
            self.args.record(&lines)?;
        }
        self.lines.extend(lines);
        Ok(())
    }

    /// Remarks on noise and first calls, and the comparison that was asked for.
    pub(super) fn conclude(self) -> Result<()> {
        let of_model = |a: &Line, b: &Line| a.model == b.model;
        let several = self.lines.chunk_by(of_model).count() > 1;
        for lines in self.lines.chunk_by(of_model) {
            let texts = cache_savings(lines)
                .into_iter()
                .chain(first_use(lines))
                .chain(noise_remarks(&parsed(lines)?));
            for text in texts {
                if several {
                    self.args.remark(&format!("{}: {text}", lines[0].model));
                } else {
                    self.args.remark(&text);
                }
            }
        }
        self.compare()?;
        if self.args.is_compared_with_itself() {
            self.args.record(&self.lines)?;
        }
        Ok(())
    }

    fn compare(&self) -> Result<()> {
        let (Some(old), Some(path)) = (&self.old, &self.args.compare) else {
            return Ok(());
        };
        let comparison = compare(old, &parsed(&self.lines)?)
            .with_context(|| format!("--compare {}", path.display()))?;
        for step in &comparison.steps {
            let word = match step.change {
                Change::Slower => "SLOWER",
                Change::Faster => "faster",
                Change::Noise => "inside the noise",
            };
            self.args.remark(&format!(
                "{:<34} {:>10.3} ms, was {:>10.3} ms ({:+.0} %): {word}",
                step.step,
                step.new_ms,
                step.old_ms,
                100.0 * (step.new_ms / step.old_ms - 1.0)
            ));
        }
        for step in &comparison.only_new {
            self.args
                .remark(&format!("{step:<34} not timed before in this setting"));
        }
        let slower: Vec<&str> = comparison
            .regressions()
            .map(|one| one.step.as_str())
            .collect();
        if !slower.is_empty() {
            bail!(
                "{} of {} steps became slower than in {} beyond the noise: {}{}",
                slower.len(),
                comparison.steps.len(),
                path.display(),
                slower.join(", "),
                if self.args.is_compared_with_itself() {
                    "; nothing was appended to it"
                } else {
                    ""
                }
            );
        }
        Ok(())
    }
}

fn earlier(path: &Path) -> Result<Vec<SpeedLine>> {
    let text =
        String::from_utf8(read(path)?).with_context(|| format!("--compare {}", path.display()))?;
    SpeedLine::parse_all(&text).with_context(|| format!("--compare {}", path.display()))
}
