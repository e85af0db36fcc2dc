//! A table that is shown as Markdown in pages and as HTML in the report.

use crate::xml::escaped;

/// Cells of more characters may be broken into lines.
const LONG: usize = 40;

/// Rows of words and figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    /// What the table shows; only HTML says it.
    pub(crate) caption: String,
    /// One per column.
    pub(crate) heads: Vec<String>,
    /// Columns from the left that hold words; the others hold figures.
    pub(crate) words: usize,
    /// Cells, as many as heads.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// The table for Markdown pages; nothing where there are no rows.
    pub(crate) fn markdown(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let rule = "---|".repeat(self.words) + &"--:|".repeat(self.heads.len() - self.words);
        let mut out = format!("{}|{rule}\n", markdown_line(&self.heads));
        for row in &self.rows {
            out.push_str(&markdown_line(row));
        }
        out
    }

    /// The table for HTML; nothing where there are no rows. The first cell of a row is its head.
    pub(crate) fn html(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let cells = |tag: &str, scope: &str, row: &[String]| -> String {
            let one = |(i, cell): (usize, &String)| {
                let class = match (i < self.words, cell.chars().count() > LONG) {
                    (true, true) => " class=\"long\"",
                    (true, false) => "",
                    (false, _) => " class=\"n\"",
                };
                let (tag, scope) = match (tag, i) {
                    ("td", 0) => ("th", " scope=\"row\""),
                    _ => (tag, scope),
                };
                format!("<{tag}{scope}{class}>{}</{tag}>", escaped(cell))
            };
            let cells: String = row.iter().enumerate().map(one).collect();
            format!("<tr>{cells}</tr>\n")
        };
        let head = cells("th", " scope=\"col\"", &self.heads);
        let body: String = self.rows.iter().map(|row| cells("td", "", row)).collect();
        // Wide tables scroll in a box of their own; a box that scrolls must be reachable by keys.
        format!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\">\
             <table>\n<caption><span>{caption}</span></caption>\n\
             <thead>{head}</thead>\n<tbody>\n{body}</tbody></table></div>\n",
            caption = escaped(&self.caption),
        )
    }
}

fn markdown_line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            caption: "a < b".to_owned(),
            heads: vec!["name".to_owned(), "bytes".to_owned()],
            words: 1,
            rows: vec![vec!["x & y".to_owned(), "1".to_owned()]],
        }
    }

    #[test]
    fn markdown_aligns_figures_to_the_right() {
        let expected = "| name | bytes |\n|---|--:|\n| x & y | 1 |\n";
        assert_eq!(table().markdown(), expected);
    }

    #[test]
    fn html_escapes_what_records_say_and_names_heads() {
        let html = table().html();
        assert!(
            html.contains("<caption><span>a &lt; b</span></caption>"),
            "{html}"
        );
        assert!(html.contains("<th scope=\"row\">x &amp; y</th><td class=\"n\">1</td>"));
        assert!(
            html.contains("<th scope=\"col\" class=\"n\">bytes</th>"),
            "{html}"
        );
    }

    #[test]
    fn table_without_rows_is_nothing() {
        let empty = Table {
            rows: Vec::new(),
            ..table()
        };
        assert_eq!(empty.markdown() + &empty.html(), "");
    }
}
