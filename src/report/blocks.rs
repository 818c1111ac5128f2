//! Classifies the lines of a Markdown document: code block, comment or text. Follows CommonMark as far as it decides
//! whether a line is markup. Pure; must not know what the caller looks for.

/// Columns of indentation from which on a line is code.
const CODE_INDENT: usize = 4;
/// HTML whose content is not Markdown, and how it ends.
const RAW: [(&str, &str); 5] = [
    ("<!--", "-->"),
    ("<pre", "</pre>"),
    ("<script", "</script>"),
    ("<style", "</style>"),
    ("<textarea", "</textarea>"),
];

/// Where a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the text.
    Text,
    /// In a fenced code block, including its first and last line.
    Fence,
    /// In an HTML comment of several lines.
    Comment,
    /// Indented so far that it is code, or belongs to a list.
    Indented,
}

/// Goes through the lines of a document.
#[derive(Debug, Default)]
pub struct Blocks {
    fence: Option<Fence>,
    /// The end of the HTML that is open.
    raw: Option<&'static str>,
}

/// A fenced code block.
#[derive(Debug)]
struct Fence {
    mark: u8,
    length: usize,
    line: usize,
    /// Block quotations and list columns around it, if they begin on its line.
    quotes: usize,
    indent: usize,
}

impl Blocks {
    /// Where the next line stands.
    pub fn place(&mut self, line: &str, number: usize) -> Place {
        let line = line.trim_end_matches(['\n', '\r']);
        if let Some(end) = self.raw {
            if contains(line, end) {
                self.raw = None;
            }
            return if end == "-->" { Place::Comment } else { Place::Text };
        }
        if let Some(fence) = &self.fence {
            match fence.after(line) {
                After::Inside => return Place::Fence,
                After::Closed => {
                    self.fence = None;
                    return Place::Fence;
                }
                // the container has ended, and the fence with it
                After::Left => self.fence = None,
            }
        }
        let (indent, text) = unindented(line);
        if indent >= CODE_INDENT {
            return Place::Indented;
        }
        self.fence = Fence::begins(line, number);
        if self.fence.is_some() {
            return Place::Fence;
        }
        self.raw = RAW.iter().find(|(begin, end)| opens(text, begin, end)).map(|(_, end)| *end);
        Place::Text
    }

    /// The line of a fence that has not ended.
    pub fn unclosed(&self) -> Option<usize> {
        self.fence.as_ref().map(|fence| fence.line)
    }
}

/// How a line relates to the fence before it.
enum After {
    Inside,
    Closed,
    Left,
}

impl Fence {
    /// The fence that begins on a line, also inside block quotations and lists that begin there.
    fn begins(line: &str, number: usize) -> Option<Fence> {
        let (mut text, mut quotes, mut column) = (line, 0, 0);
        let mut indent = 0;
        loop {
            let (spaces, rest) = unindented(text);
            if spaces >= CODE_INDENT {
                return None;
            }
            column += spaces;
            if let Some(quoted) = rest.strip_prefix('>') {
                (quotes, indent, column) = (quotes + 1, 0, 0);
                text = quoted.strip_prefix(' ').unwrap_or(quoted);
            } else if let Some(width) = list_marker(rest) {
                // one space is the marker's; others are the item's indent
                let (spaces, _) = unindented(&rest[width..]);
                column += width + spaces.min(CODE_INDENT);
                indent = column;
                text = rest[width..].trim_start_matches([' ', '\t']);
                if spaces > CODE_INDENT {
                    return None;
                }
            } else {
                let mark = rest.bytes().next().filter(|mark| matches!(mark, b'`' | b'~'))?;
                let length = rest.bytes().take_while(|byte| *byte == mark).count();
                // ticks after it make it inline code
                let inline = mark == b'`' && rest[length..].contains('`');
                return (length >= 3 && !inline).then_some(Fence { mark, length, line: number, quotes, indent });
            }
        }
    }

    fn after(&self, line: &str) -> After {
        let mut text = line;
        for _ in 0..self.quotes {
            let (spaces, rest) = unindented(text);
            let Some(quoted) = rest.strip_prefix('>').filter(|_| spaces < CODE_INDENT) else {
                return After::Left;
            };
            text = quoted.strip_prefix(' ').unwrap_or(quoted);
        }
        let (spaces, rest) = unindented(text);
        if !rest.is_empty() && spaces < self.indent {
            return After::Left;
        }
        let length = rest.bytes().take_while(|byte| *byte == self.mark).count();
        let closes = spaces - self.indent.min(spaces) < CODE_INDENT && length >= self.length;
        if closes && rest[length..].trim().is_empty() { After::Closed } else { After::Inside }
    }
}

/// The width of a list item's marker, without the spaces after it.
fn list_marker(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let width = match text.as_bytes().get(digits)? {
        b'-' | b'+' | b'*' if digits == 0 => 1,
        b'.' | b')' if (1..=9).contains(&digits) => digits + 1,
        _ => return None,
    };
    text[width..].starts_with([' ', '\t']).then_some(width)
}

/// Columns of white space before a line's text, and the text.
fn unindented(line: &str) -> (usize, &str) {
    let text = line.trim_start_matches([' ', '\t']);
    let spaces = &line[..line.len() - text.len()];
    let columns = spaces
        .bytes()
        .fold(0, |column, byte| if byte == b'\t' { (column / 4 + 1) * 4 } else { column + 1 });
    (columns, text)
}

/// Whether a line begins HTML that does not end on it.
fn opens(text: &str, begin: &str, end: &str) -> bool {
    let Some(head) = text.get(..begin.len()) else { return false };
    let rest = &text[begin.len()..];
    let whole = begin == "<!--" || rest.is_empty() || rest.starts_with([' ', '\t', '>']);
    head.eq_ignore_ascii_case(begin) && whole && !contains(rest, end)
}

fn contains(line: &str, end: &str) -> bool {
    line.to_ascii_lowercase().contains(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn places(document: &str) -> String {
        let mut blocks = Blocks::default();
        let place = |(index, line)| match blocks.place(line, index + 1) {
            Place::Text => 't',
            Place::Fence => 'f',
            Place::Comment => 'c',
            Place::Indented => 'i',
        };
        document.split_inclusive('\n').enumerate().map(place).collect()
    }

    #[test]
    fn fences_are_commonmarks() {
        for (document, expected) in [
            ("```\na\n```\nb\n", "ffft"),
            ("   ```\na\n  ```\t\nb\n", "ffft"),
            ("```\n    ```\n```\nb\n", "ffft"),
            ("````\n```\n````\nb\n", "ffft"),
            ("```\n````\nb\n", "fft"),
            ("```\n~~~\n``` x\n```\nb\n", "fffft"),
            ("~~~ a`b\n~~~\nb\n", "fft"),
            ("``` a`b\nb\n", "tt"),
            ("\t```\nb\n", "it"),
            ("- ```\n  a\n  ```\nb\n", "ffft"),
            ("10. ```\n    a\n    ```\nb\n", "ffft"),
            ("- ```\n  a\n\nb\n", "ffft"),
            ("> ```\n> a\nb\n", "fft"),
            ("> - ```\n>   a\n>   ```\n> b\n", "ffft"),
            ("<!-- a\n```\n-->\nb\n", "tcct"),
            ("<!-- a -->\n```\n", "tf"),
            ("<PRE>\n```\n</pre>\nb\n", "tttt"),
            ("<prefix>\n```\n", "tf"),
        ] {
            assert_eq!(places(document), expected, "{document:?}");
        }
    }

    proptest! {
        #[test]
        fn any_document_has_a_place_for_each_line(document in "[ \t>`~a<!\\-\n0-9.é]{0,80}") {
            prop_assert_eq!(places(&document).len(), document.split_inclusive('\n').count());
        }
    }
}
