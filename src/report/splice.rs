//! Puts generated text between the markers of a document. Pure: text in, text out.
//!
//! A marker is a line of its own and carries the command that made what follows:
//!
//! ```text
//! <!-- BEGIN: runner report scrfd -->
//! ...
//! <!-- END: runner report -->
//! ```

use anyhow::{Result, bail};

const BEGIN: &str = "<!-- BEGIN: runner report";
const END: &str = "<!-- END: runner report -->";

/// The document with everything between markers made anew by `render`, which gets the words after `runner report`.
/// Text outside the markers is not touched.
///
/// # Errors
/// A marker without its partner, with its line; no marker at all; or what `render` says.
pub fn splice(document: &str, mut render: impl FnMut(&[&str]) -> Result<String>) -> Result<String> {
    let mut out = String::with_capacity(document.len());
    let mut open: Option<usize> = None;
    let mut fence: Option<&str> = None;
    let mut sections = 0;
    for (index, line) in document.split_inclusive('\n').enumerate() {
        let number = index + 1;
        let text = line.trim();
        if open.is_none() {
            fence = match (fence, ["```", "~~~"].into_iter().find(|fence| text.starts_with(fence))) {
                (None, begun) => begun,
                (Some(inside), Some(found)) if inside == found => None,
                (inside, _) => inside,
            };
        }
        let marker = fence.is_none();
        if marker && text.starts_with(BEGIN) {
            if let Some(earlier) = open {
                bail!(
                    "line {number}: a marker begins before the one of line {earlier} has ended: add `{END}` before it"
                );
            }
            let words = text.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix("-->"));
            let Some(words) = words.filter(|words| words.starts_with(' ')) else {
                bail!("line {number}: the marker is damaged: expected `{BEGIN} NAME.. -->`");
            };
            let words: Vec<&str> = words.split_whitespace().collect();
            out.push_str(line);
            if !line.ends_with('\n') {
                out.push('\n');
            }
            out.push('\n');
            out.push_str(render(&words).map_err(|error| error.context(format!("line {number}")))?.trim_end());
            out.push_str("\n\n");
            open = Some(number);
            sections += 1;
        } else if marker && text == END {
            if open.take().is_none() {
                bail!(
                    "line {number}: a marker ends that did not begin: add `{BEGIN} NAME -->` before it, or remove it"
                );
            }
            out.push_str(line);
        } else if marker && text.starts_with("<!-- END: runner") {
            bail!("line {number}: the marker is damaged: expected `{END}`");
        } else if open.is_none() {
            out.push_str(line);
        }
    }
    if let Some(number) = open {
        bail!("line {number}: the marker does not end: add `{END}` after it");
    }
    if sections == 0 {
        bail!("there is no marker: add `{BEGIN} NAME -->` and `{END}` where the tables should stand");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(words: &[&str]) -> Result<String> {
        Ok(format!("made by {}\n", words.join("+")))
    }

    const DOCUMENT: &str = "a\r\n<!-- BEGIN: runner report x y -->\nold\n<!-- END: runner report -->\n  b";

    #[test]
    fn only_what_lies_between_markers_changes_and_twice_is_once() {
        let once = splice(DOCUMENT, render).unwrap();
        let expected = "a\r\n<!-- BEGIN: runner report x y -->\n\nmade by x+y\n\n<!-- END: runner report -->\n  b";
        assert_eq!(once, expected);
        assert_eq!(splice(&once, render).unwrap(), once);
    }

    #[test]
    fn markers_in_code_are_text() {
        let document = format!("```text\n<!-- END: runner report -->\n```\n{DOCUMENT}");
        let spliced = splice(&document, render).unwrap();
        assert!(spliced.starts_with("```text\n<!-- END: runner report -->\n```\n"));
        assert!(spliced.contains("made by x+y"));
    }

    #[test]
    fn broken_markers_are_errors_with_their_line() {
        for (document, words) in [
            ("a\n<!-- BEGIN: runner report x -->\n", "line 2: the marker does not end"),
            ("<!-- END: runner report -->\n", "line 1: a marker ends that did not begin"),
            (
                "<!-- BEGIN: runner report x -->\n<!-- BEGIN: runner report y -->\n<!-- END: runner report -->\n",
                "line 2: a marker begins before the one of line 1",
            ),
            ("<!-- BEGIN: runner report x ->\n", "line 1: the marker is damaged"),
            ("<!-- BEGIN: runner reportx -->\n", "line 1: the marker is damaged"),
            ("<!-- BEGIN: runner report x -->\n<!-- END: runner repot -->\n", "line 2: the marker is damaged"),
            ("nothing\n", "there is no marker"),
        ] {
            let error = splice(document, render).unwrap_err().to_string();
            assert!(error.contains(words), "{document:?}: {error}");
        }
    }
}
