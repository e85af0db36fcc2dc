//! What is said about a picture.

use std::path::PathBuf;

use serde_json::{Value, json};
use split_runtime::Ranking;

/// How a picture was answered.
#[derive(Clone, Debug)]
pub(crate) enum How {
    /// By the edge.
    Edge(Ranking),
    /// By the whole network here, and why.
    Device(Ranking, String),
    /// Not at all, and why.
    Unanswered(String),
}

/// Where the time went, in microseconds; nothing for parts that didn't happen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    /// Reading and scaling the file; it isn't part of the total.
    pub(crate) read_us: Option<u64>,
    pub(crate) head_us: Option<u64>,
    /// Unit encoder, quantizer and coder.
    pub(crate) code_us: Option<u64>,
    /// Round trip without the edge's own times.
    pub(crate) network_us: Option<u64>,
    pub(crate) queue_us: Option<u64>,
    /// The edge's batch.
    pub(crate) edge_us: Option<u64>,
    /// The tail here.
    pub(crate) local_us: Option<u64>,
    /// From the picture in memory to its answer.
    pub(crate) total_us: u64,
}

/// What a frame was.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) split: String,
    pub(crate) rung: String,
    pub(crate) bytes: usize,
    /// Whether the device has other cuts too, so that a line for people names this one.
    pub(crate) is_one_of_several: bool,
}

/// One picture's outcome.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) path: PathBuf,
    pub(crate) how: How,
    /// The frame, where one was made.
    pub(crate) sent: Option<Sent>,
    pub(crate) parts: Parts,
    /// Whether the answer came after the deadline.
    pub(crate) late: bool,
}

impl Outcome {
    /// One of which nothing is known yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            how: How::Unanswered(String::new()),
            sent: None,
            parts: Parts::default(),
            late: false,
        }
    }

    pub(crate) fn is_answered(&self) -> bool {
        !matches!(self.how, How::Unanswered(_))
    }

    /// A line for people.
    pub(crate) fn text(&self, classes: &[String]) -> String {
        let answer = match &self.how {
            How::Edge(ranking) => format!("{}  by edge", best(ranking, classes)),
            How::Device(ranking, why) => {
                format!("{}  by device ({why})", best(ranking, classes))
            }
            How::Unanswered(why) => format!("unanswered ({why})"),
        };
        let sent = self.sent.as_ref().map_or_else(String::new, |sent| {
            let split = match sent.is_one_of_several {
                true => format!("{} ", sent.split),
                false => String::new(),
            };
            format!("  {split}{} {} bytes", sent.rung, sent.bytes)
        });
        let parts: String = self
            .named_parts()
            .into_iter()
            .filter_map(|(name, us)| Some((name, us?)))
            .map(|(name, us)| format!("  {name} {}", millis(us)))
            .collect();
        let total = millis(self.parts.total_us);
        let late = if self.late { "  late" } else { "" };
        format!(
            "{}  {answer}{late}{sent}{parts}  total {total} ms",
            self.path.display()
        )
    }

    /// One JSON object; `null` where there is nothing to say.
    pub(crate) fn json(&self, classes: &[String]) -> Value {
        let (by, ranking, why) = match &self.how {
            How::Edge(ranking) => (Some("edge"), Some(ranking), None),
            How::Device(ranking, why) => (Some("device"), Some(ranking), Some(why)),
            How::Unanswered(why) => (None, None, Some(why)),
        };
        let best = ranking.and_then(Ranking::best);
        let ranked: Vec<Value> = ranking
            .map_or(&[][..], Ranking::classes)
            .iter()
            .map(|one| json!({"class": one.class, "name": name(one.class, classes), "score": one.score}))
            .collect();
        let mut parts = serde_json::Map::new();
        for (name, us) in self.named_parts() {
            parts.insert(name.to_owned(), json!(us));
        }
        parts.insert("total".to_owned(), json!(self.parts.total_us));
        json!({
            "picture": self.path.to_string_lossy(),
            "by": by,
            "why": why,
            "late": self.late,
            "class": best.map(|best| best.class),
            "name": best.and_then(|best| name(best.class, classes)),
            "ranking": ranked,
            "split": self.sent.as_ref().map(|sent| &sent.split),
            "rung": self.sent.as_ref().map(|sent| &sent.rung),
            "bytes": self.sent.as_ref().map(|sent| sent.bytes),
            "us": parts,
        })
    }

    fn named_parts(&self) -> [(&'static str, Option<u64>); 7] {
        let parts = &self.parts;
        [
            ("read", parts.read_us),
            ("head", parts.head_us),
            ("code", parts.code_us),
            ("network", parts.network_us),
            ("queue", parts.queue_us),
            ("edge", parts.edge_us),
            ("local", parts.local_us),
        ]
    }
}

fn best(ranking: &Ranking, classes: &[String]) -> String {
    let Some(best) = ranking.best() else {
        return "no class".to_owned();
    };
    let name = name(best.class, classes).map_or_else(String::new, |name| format!(" {name}"));
    format!("class {}{name} ({:.0} %)", best.class, best.score * 100.0)
}

fn name(class: u16, classes: &[String]) -> Option<&str> {
    classes.get(usize::from(class)).map(String::as_str)
}

fn millis(us: u64) -> String {
    format!("{}.{:01}", us / 1000, us % 1000 / 100)
}
