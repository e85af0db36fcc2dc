//! Records: the figures that count, as files in `benches/records`.
//!
//! Both binaries of this package use this library: `lab` writes records, `xtask` checks them and
//! makes the tables of the README. Nothing here touches files.
//!
//! - [`RaDocument`]: one rate-accuracy run, `split-ra/1`.
//! - [`check_line`]: one line of the other record files.
//! - [`Curve`]: rate as a function of accuracy, and [`bd_rate`] between two of them.
//! - [`pareto_ranks`]: which trade-offs of bytes, accuracy and device MACs are worth having.
//! - [`short_table`] and [`full_table`]: Markdown of a document.

mod curve;
mod front;
mod lines;
mod ra;
mod tables;

pub use curve::{BdRate, Curve, CurveError, Point, bd_rate};
pub use front::{TradeOff, better_half, pareto_ranks};
pub use lines::{LineError, check_line};
pub use ra::{Backbone, DataSet, Machine, RaDocument, RaError, Row};
pub use tables::{front_table, full_table, short_table};
