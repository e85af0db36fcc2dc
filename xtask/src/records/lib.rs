//! Records: the figures that count, as files in `benches/records`.
//!
//! Both binaries of this package use this library: `lab` writes records, `xtask` checks them and
//! makes the tables of the README. Nothing here touches files.
//!
//! - [`RaDocument`]: one rate-accuracy run, `split-ra/1`.
//! - [`check_line`]: one line of the other record files.
//! - [`Curve`]: rate as a function of accuracy, and [`bd_rate`] between two of them.
//! - [`pareto_ranks`]: which trade-offs of bytes, accuracy and device MACs are worth having.
//! - [`brief_table`], [`full_table`]: Markdown of a document; [`rate_picture`]: its curves.
//! - [`report_page`]: everything as one HTML page.
//! - [`compare()`]: which steps of a run became slower than recorded, beyond the noise.
//! - [`BackendName`]: what `--backend` understands.
//! - [`KEPT_MEMORY`]: how one binary starts the other.
//! - [`plan`]: where to cut and which rung to send, from documents, two computers and a link.

mod backend_name;
mod chart;
mod compare;
mod curve;
mod front;
mod kept_memory;
mod lines;
mod link;
mod links;
mod networks;
mod page;
mod plan;
mod ra;
mod rate_chart;
mod speed;
mod steps;
mod systems;
mod table;
mod tables;
mod xml;

pub use backend_name::{BACKENDS, BackendName, BackendNameError};
pub use compare::{
    Change, CompareError, Compared, Comparison, NOISE_SHARE, comparable, compare, noise_remarks,
};
pub use curve::{BdRate, Curve, CurveError, Point, bd_rate};
pub use front::{TradeOff, better_half, pareto_ranks};
pub use kept_memory::KEPT_MEMORY;
pub use lines::{LineError, check_line};
pub use link::{LOSS_MAX, Link, PACKET_HEADER_BYTES, PACKET_PAYLOAD_BYTES, ProfileError};
pub use page::{Assumed, RecordFile, report_page};
pub use plan::{Candidate, Goal, Mode, Plan, PlanError, Request, plan};
pub use ra::{Backbone, DataSet, Machine, RaDocument, RaError, Row};
pub use rate_chart::rate_picture;
pub use speed::{Compute, End, SpeedError, SpeedLine};
pub use systems::{SystemError, system_table};
pub use tables::{brief_table, front_table, full_table};
