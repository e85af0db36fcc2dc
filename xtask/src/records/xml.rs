//! Text inside HTML and SVG.

/// `text` with the characters replaced that would end an element or an attribute.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML knows no other control characters.
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A name for `id` attributes: letters, digits and `-`.
pub(crate) fn id(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_leave_its_element_or_attribute() {
        let hostile = "</title><script>\"'&\u{0}";
        let safe = escaped(hostile);
        assert_eq!(safe, "&lt;/title&gt;&lt;script&gt;&quot;&#39;&amp;\u{fffd}");
        assert_eq!(id("ra-x 1.json"), "ra-x-1-json");
    }
}
