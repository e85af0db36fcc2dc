//! All records as one HTML page that needs nothing else: no script to be read, no other file, no
//! network. Figures are inline SVG; a small script only shows their values under the pointer.

mod codec;
mod graphs;
mod latency;
mod lines;
mod rate;
mod speed;

use std::fmt::Write as _;

use serde_json::Value;

use crate::chart::STYLE;
use crate::xml::{escaped, id};
use crate::{Compute, Link, RaDocument, SpeedLine};

pub(crate) use lines::record_table;

/// A file of `benches/records`.
#[derive(Clone, Debug)]
pub enum RecordFile {
    /// A `.json` file: name without extension, and the document.
    Document(String, Box<RaDocument>),
    /// A `.jsonl` file: name without extension, and its lines, which passed
    /// [`check_line`](crate::check_line).
    Lines(String, Vec<Value>),
}

/// What latencies are computed with where nothing was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Assumed {
    /// The weak end.
    pub device: Compute,
    /// The strong end.
    pub edge: Compute,
    /// Round trip and loss; its rate is what the figures vary.
    pub link: Link,
}

/// One section of the page.
struct Section {
    id: String,
    title: String,
    body: String,
}

/// Without this the page could ask others for something; with it a browser refuses.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      img-src data:; base-uri 'none'; form-action 'none'";

/// Pixels at which a page is scaled on a phone.
const VIEWPORT: &str = "width=device-width, initial-scale=1";

/// The page for `files`: one section per file, each with its figures and tables.
#[must_use]
pub fn report_page(files: &[RecordFile], assumed: &Assumed) -> String {
    let speed = speed_lines(files);
    let mut sections: Vec<Section> = Vec::new();
    let documents: Vec<(&str, &RaDocument)> = files
        .iter()
        .filter_map(|file| match file {
            RecordFile::Document(name, document) => Some((name.as_str(), document.as_ref())),
            RecordFile::Lines(..) => None,
        })
        .collect();
    for (name, document) in &documents {
        sections.push(rate::section(name, document, &speed, assumed));
    }
    sections.extend(rate::split_section(&documents));
    for file in files {
        if let RecordFile::Lines(name, lines) = file {
            sections.push(lines::section(name, lines));
        }
    }
    if speed.is_empty() {
        sections.push(speed::absent());
    }
    whole(&sections)
}

/// Lines of speed wherever they stand.
fn speed_lines(files: &[RecordFile]) -> Vec<SpeedLine> {
    let lines = files.iter().flat_map(|file| match file {
        RecordFile::Lines(_, lines) => lines.as_slice(),
        RecordFile::Document(..) => &[],
    });
    of_schema(lines, "split-speed/1")
}

/// Lines of one schema; checked lines are of their type.
fn of_schema<'a, T: serde::de::DeserializeOwned>(
    lines: impl IntoIterator<Item = &'a Value>,
    schema: &str,
) -> Vec<T> {
    lines
        .into_iter()
        .filter(|line| line["schema"] == schema)
        .filter_map(|line| serde_json::from_value(line.clone()).ok())
        .collect()
}

fn whole(sections: &[Section]) -> String {
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"{VIEWPORT}\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Split computing: benchmark report</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <style>\n{}{STYLE}</style>\n</head>\n<body>\n{INTRODUCTION}",
        include_str!("page/page.css")
    );
    out.push_str("<nav aria-label=\"Records\">\n<ul>\n");
    for section in sections {
        let _ = writeln!(
            out,
            "<li><a href=\"#{}\">{}</a></li>",
            section.id,
            escaped(&section.title)
        );
    }
    out.push_str("</ul>\n</nav>\n<main>\n");
    for section in sections {
        let _ = writeln!(
            out,
            "<section id=\"{id}\" aria-labelledby=\"{id}-title\">\n<h2 id=\"{id}-title\">{}</h2>\n{}</section>",
            escaped(&section.title),
            section.body,
            id = section.id,
        );
    }
    let _ = write!(
        out,
        "</main>\n<div id=\"tip\" role=\"status\" hidden></div>\n<script>\n{}</script>\n</body>\n</html>\n",
        include_str!("page/page.js")
    );
    out
}

const INTRODUCTION: &str = "<header>\n<h1>Split computing: benchmark report</h1>\n\
    <p>Made by <code>cargo xtask report --out DIR</code> from the files in <code>benches/records</code>; \
    each section is one file, or says which it joins. \
    <strong>Measured</strong> is what a record holds. <strong>Computed</strong> is arithmetic over records, \
    and says so where it stands. Bytes are whole frames with header and checksum, or whole picture files; \
    accuracy comes from decoding those very bytes.</p>\n</header>\n";

impl Section {
    fn new(name: &str, title: &str, body: String) -> Self {
        Self {
            id: id(name),
            title: title.to_owned(),
            body,
        }
    }
}

/// A figure with its caption; `how` says whether it was measured or computed.
fn figure(how: &str, caption: &str, svg: &str) -> String {
    format!(
        "<figure>\n{svg}<figcaption><span class=\"how\">{how}.</span> {}</figcaption>\n</figure>\n",
        escaped(caption)
    )
}

/// Many rows behind one line.
fn folded(summary: &str, table: &str) -> String {
    if table.is_empty() {
        return String::new();
    }
    format!(
        "<details>\n<summary>{}</summary>\n{table}</details>\n",
        escaped(summary)
    )
}

fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", escaped(text))
}

/// Words of a table's head.
fn heads(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests;
