//! Puts generated text between the markers of a document. Pure: text in, text out.
//!
//! A marker stands on its own line and carries the command that generated what follows:
//!
//! ```text
//! <!-- BEGIN: runner report scrfd -->
//! ...
//! <!-- END: runner report -->
//! ```

use anyhow::{Result, bail};

use super::blocks::{Blocks, Place};

const BEGIN: &str = "<!-- BEGIN: runner report";
const END: &str = "<!-- END: runner report -->";

/// A document, split at its markers.
#[derive(Debug)]
pub struct Document<'a> {
    /// Lines that look like the beginning of a section but are not, with their numbers and reasons.
    pub skipped: Vec<String>,
    sections: Vec<Section<'a>>,
    /// The text after the last section.
    rest: &'a str,
    /// The line ending of most lines between sections.
    newline: &'static str,
}

/// A section: everything between a pair of markers.
#[derive(Debug)]
pub struct Section<'a> {
    /// Line of the marker that begins it.
    pub line: usize,
    /// The marker's words after `runner report`.
    pub words: Vec<&'a str>,
    /// The current text.
    pub old: &'a str,
    /// The text from the previous section up to this one's first marker, inclusive.
    before: &'a str,
    /// The marker that ends it, with its line ending.
    end: &'a str,
}

impl<'a> Document<'a> {
    /// Splits a document at its markers.
    ///
    /// # Errors
    /// A marker lacks its partner, is damaged, or is in an unclosed code block (with its line); or there is none.
    pub fn parse(text: &'a str) -> Result<Self> {
        let mut document = Document { skipped: Vec::new(), sections: Vec::new(), rest: text, newline: "\n" };
        let (mut blocks, mut open) = (Blocks::default(), None::<Open<'a>>);
        let (mut at, mut from, mut windows, mut swallowed) = (0, 0, 0_isize, Vec::new());
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let number = index + 1;
            let start = at;
            at += line.len();
            // a byte order mark is not part of the first line
            let line = if index == 0 { line.trim_start_matches('\u{FEFF}') } else { line };
            // nothing between markers is markup: it is replaced
            let place = if open.is_some() { Place::Text } else { blocks.place(line, number) };
            let marker = match Marker::of(line, place) {
                Ok(marker) => marker,
                Err(words) => bail!("line {number}: {words}"),
            };
            if open.is_none() || marker == Some(Marker::End) {
                windows += match line.strip_suffix('\n') {
                    Some(line) if line.ends_with('\r') => 1,
                    Some(_) => -1,
                    // the last line may have no line ending
                    None => 0,
                };
            }
            match (marker, &mut open) {
                (Some(Marker::Begin(_)), Some(Open { line: earlier, .. })) => bail!(
                    "line {number}: a marker begins before the one of line {earlier} has ended: add `{END}` before it"
                ),
                (Some(Marker::Begin(words)), None) => {
                    open = Some(Open { line: number, words, before: &text[from..at], at });
                }
                (Some(Marker::End), _) => {
                    let Some(Open { line, words, before, at: begun }) = open.take() else {
                        bail!(
                            "line {number}: a marker ends that did not begin: add `{BEGIN} NAME -->` before it, or \
                             remove it"
                        )
                    };
                    let (old, end) = (&text[begun..start], &text[start..at]);
                    document.sections.push(Section { line, words, old, before, end });
                    from = at;
                }
                (Some(Marker::Skipped(why)), None) => {
                    document.skipped.push(format!("line {number}: {why}"));
                    if let Some(begun) = blocks.unclosed() {
                        swallowed.push((begun, number));
                    }
                }
                _ => {}
            }
        }
        if let Some(Open { line, .. }) = open {
            bail!("line {line}: the marker does not end: add `{END}` after it");
        }
        if let Some((begun, marker)) = swallowed.iter().find(|(begun, _)| blocks.unclosed() == Some(*begun)) {
            bail!(
                "line {begun}: the code block does not end, so the marker of line {marker} is in it: end it before that"
            );
        }
        if document.sections.is_empty() {
            let skipped: String = document.skipped.iter().map(|words| format!("; {words}")).collect();
            bail!("there is no marker: add `{BEGIN} NAME -->` and `{END}` where the tables should stand{skipped}");
        }
        document.rest = &text[from..];
        document.newline = if windows > 0 { "\r\n" } else { "\n" };
        Ok(document)
    }

    /// Its sections, in their order.
    pub fn sections(&self) -> &[Section<'a>] {
        &self.sections
    }

    /// The document with each section replaced by the result of `render`, in the document's own line endings. Text
    /// outside the markers is unchanged.
    ///
    /// # Errors
    /// The error of `render`, with the marker's line.
    pub fn rendered(&self, mut render: impl FnMut(&Section<'a>) -> Result<String>) -> Result<String> {
        let mut out = String::new();
        for section in &self.sections {
            let made = render(section).map_err(|error| error.context(format!("line {}", section.line)))?;
            out.push_str(section.before);
            let lines = [""].into_iter().chain(made.trim_end().lines()).chain([""]);
            lines.for_each(|line| out.extend([line, self.newline]));
            out.push_str(section.end);
        }
        out.push_str(self.rest);
        Ok(out)
    }
}

/// A section whose end is not found yet.
struct Open<'a> {
    line: usize,
    words: Vec<&'a str>,
    before: &'a str,
    at: usize,
}

/// What a line means for sections.
#[derive(Debug, PartialEq)]
enum Marker<'a> {
    Begin(Vec<&'a str>),
    End,
    /// Looks like a beginning but is not, for this reason.
    Skipped(&'static str),
}

impl<'a> Marker<'a> {
    /// The marker on a line, if any; the error describes the damage.
    fn of(line: &'a str, place: Place) -> Result<Option<Self>, String> {
        let text = line.trim();
        let begins = line.contains(BEGIN);
        let skipped = match place {
            Place::Fence => Some("a marker in a code block is text: nothing is put there"),
            Place::Comment => Some("a marker in a comment is text: nothing is put there"),
            Place::Indented => Some("a marker that is indented by four spaces is code: nothing is put there"),
            Place::Text if !text.starts_with("<!--") && !line.contains(&format!("`{BEGIN}")) => {
                Some("a marker must stand on its own line: nothing is put there")
            }
            Place::Text => None,
        };
        if skipped.is_some() || !text.starts_with("<!--") {
            return Ok(skipped.filter(|_| begins).map(Marker::Skipped));
        }
        if text == END {
            return Ok(Some(Marker::End));
        }
        let inside = text.trim_start_matches("<!--").trim_start().to_ascii_lowercase();
        if inside.starts_with("end: runner") || inside.starts_with("end:runner") {
            return Err(format!("the marker is damaged: expected `{END}`"));
        }
        if !inside.starts_with("begin: runner report") && !inside.starts_with("begin:runner report") {
            return Ok(None);
        }
        let words = text.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix("-->"));
        match words.filter(|words| words.starts_with(' ')) {
            Some(words) => Ok(Some(Marker::Begin(words.split_whitespace().collect()))),
            None => Err(format!("the marker is damaged: expected `{BEGIN} NAME.. -->`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn splice(document: &str) -> Result<String> {
        Document::parse(document)?.rendered(|section| Ok(format!("made by {}\n", section.words.join("+"))))
    }

    fn skipped(document: &str) -> Vec<String> {
        Document::parse(document).unwrap().skipped
    }

    const DOCUMENT: &str = "a\r\n<!-- BEGIN: runner report x y -->\nold\n<!-- END: runner report -->\n  b";

    #[test]
    fn only_what_lies_between_markers_changes_and_twice_is_once() {
        let once = splice(DOCUMENT).unwrap();
        let expected = "a\r\n<!-- BEGIN: runner report x y -->\n\nmade by x+y\n\n<!-- END: runner report -->\n  b";
        assert_eq!(once, expected);
        assert_eq!(splice(&once).unwrap(), once);
        assert_eq!(Document::parse(DOCUMENT).unwrap().sections()[0].old, "old\n");
    }

    #[test]
    fn the_line_ending_of_the_document_is_kept() {
        let windows = "\u{FEFF}<!-- BEGIN: runner report x -->\r\nold\nold\nold\n<!-- END: runner report -->\r\nb\r\n";
        let expected =
            "\u{FEFF}<!-- BEGIN: runner report x -->\r\n\r\nmade by x\r\n\r\n<!-- END: runner report -->\r\nb\r\n";
        assert_eq!(splice(windows).unwrap(), expected);
        assert_eq!(splice(expected).unwrap(), expected);
        let unix = windows.replace("\r\n", "\n");
        assert!(!splice(&unix).unwrap().contains('\r'));
    }

    #[test]
    fn markers_in_code_are_text_and_said() {
        let shown = "<!-- BEGIN: runner report z -->\nz\n<!-- END: runner report -->\n";
        for (begin, end, reason) in [
            ("```text\n", "```\n", "code block"),
            ("~~~\n```\n", "~~~~\n", "code block"),
            ("````\n```\n", "````\n", "code block"),
        ] {
            let document = format!("{begin}{shown}{end}{DOCUMENT}");
            let spliced = splice(&document).unwrap();
            assert!(
                spliced.starts_with(&format!("{begin}{shown}{end}")) && spliced.contains("made by x+y"),
                "{spliced}"
            );
            let skipped = skipped(&document);
            assert!(skipped.len() == 1 && skipped[0].contains(reason), "{skipped:?}");
        }
        let each = |prefix| shown.lines().map(|line| format!("{prefix}{line}\n")).collect::<String>();
        assert!(skipped(&format!("{}{DOCUMENT}", each("    ")))[0].contains("four spaces"));
        assert!(
            skipped(&format!("{}{DOCUMENT}", each("> ")))[0].starts_with("line 1: a marker must stand on its own line")
        );
        assert!(skipped(&format!("Write `{BEGIN} x -->`.\n{DOCUMENT}")).is_empty());
    }

    #[test]
    fn a_section_after_what_is_no_fence_is_made_again() {
        for before in [
            "``` is no fence ```\n",
            "    ```\n",
            "```sh\nls\n```sh\n```\n",
            "```\n~~~\n```\n",
            "~~~ a`b ```\n~~~\n",
            "- ```\n  code\n\nafter the list\n",
            "> ```\n> code\n\nafter the quotation\n",
            "<!--\n```\n-->\n",
            "<pre>\n```\n</pre>\n",
            "``\n",
        ] {
            assert!(splice(&format!("{before}{DOCUMENT}")).unwrap().contains("made by x+y"), "{before:?}");
        }
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
            ("<!--begin: runner report x-->\n", "line 1: the marker is damaged"),
            ("<!-- BEGIN: runner report x -->\n<!-- END: runner repot -->\n", "line 2: the marker is damaged"),
            (
                "a\n```\n<!-- BEGIN: runner report x -->\n",
                "line 2: the code block does not end, so the marker of line 3",
            ),
            ("```\n<!-- BEGIN: runner report x -->\n```\n", "there is no marker: add `<!-- BEGIN"),
            // a comment ends where the first marker does
            (
                "<!--\n<!-- BEGIN: runner report x -->\n<!-- END: runner report -->\n-->\n",
                "line 3: a marker ends that did not begin",
            ),
            ("nothing\n", "there is no marker"),
        ] {
            let error = splice(document).unwrap_err().to_string();
            assert!(error.contains(words), "{document:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_document_keeps_what_is_outside_and_is_the_same_made_again(
            lines in proptest::collection::vec(
                prop_oneof![
                    Just("<!-- BEGIN: runner report x -->"),
                    Just("<!-- END: runner report -->"),
                    Just("```"),
                    Just("~~~~ a"),
                    Just("- ```"),
                    Just("> ~~~"),
                    Just("    a"),
                    Just("<!--"),
                    Just("-->"),
                    Just("é"),
                    Just(""),
                ],
                0..12,
            ),
            newline in prop_oneof![Just("\n"), Just("\r\n")],
        ) {
            let pair = ["<!-- BEGIN: runner report x -->", "old", "<!-- END: runner report -->"];
            let text = [&lines[..], &pair].concat().join(newline);
            let Ok(document) = Document::parse(&text) else { return Ok(()) };
            let whole = |section: &Section| [section.before, section.old, section.end].concat();
            prop_assert_eq!(document.sections.iter().map(whole).collect::<String>() + document.rest, &text[..]);
            let made = splice(&text).unwrap();
            let ends = if newline == "\n" { 0 } else { made.matches('\n').count() };
            prop_assert_eq!(made.matches('\r').count(), ends);
            prop_assert_eq!(splice(&made).unwrap(), made);
        }
    }
}
