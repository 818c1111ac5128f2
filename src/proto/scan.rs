//! The words, numbers, quotes and signs of protobuf's text format, with positions. Takes bytes: comments hold any.
//! Knows no message.

use crate::{lookalike, text};

/// Most characters of the text that an error shows, on either side.
const SHOWN: usize = 40;

/// The next token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found<'a> {
    /// A field's name or another word.
    Name(&'a str),
    /// A number without its sign.
    Number(&'a str),
    /// The opening quote of a string.
    Quote(char),
    /// One of `{ } < > [ ] : , ; -`.
    Sign(char),
    /// Anything else.
    Stray,
    /// The end of the text.
    End,
}

/// A text and the position of the scan.
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner at the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        let at = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        Scanner { bytes, at }
    }

    /// The next token, past spaces and comments.
    pub fn peek(&mut self) -> Found<'a> {
        self.skip();
        self.next().0
    }

    /// Skips the next token.
    pub fn bump(&mut self) {
        self.skip();
        self.at += self.next().1;
    }

    /// The current position.
    pub fn start(&self) -> usize {
        self.at
    }

    /// The position where the next token begins.
    pub fn start_of_next(&mut self) -> usize {
        self.skip();
        self.at
    }

    /// Returns to an earlier position.
    pub fn back_to(&mut self, start: usize) {
        self.at = start;
    }

    /// The text from a position to the end of the next token, cut to a length that a message can carry.
    pub fn between(&mut self, start: usize) -> String {
        self.skip();
        let end = self.at + self.next().1;
        printable(&self.bytes[start..end.min(start + 4 * SHOWN)]).chars().take(SHOWN).collect()
    }

    fn skip(&mut self) {
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c => self.at += 1,
                b'#' => {
                    let rest = &self.bytes[self.at..];
                    self.at += rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
                }
                _ => return,
            }
        }
    }

    /// The token at the current position, and its length in bytes.
    fn next(&self) -> (Found<'a>, usize) {
        let rest = &self.bytes[self.at..];
        let Some(first) = rest.first() else { return (Found::End, 0) };
        let run = |belongs: fn(&u8) -> bool| rest.iter().position(|byte| !belongs(byte)).unwrap_or(rest.len());
        let text = |length: usize| std::str::from_utf8(&rest[..length]).unwrap_or_default();
        match first {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let length = run(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
                (Found::Name(text(length)), length)
            }
            b'0'..=b'9' | b'.' => {
                let mut length = run(|byte| byte.is_ascii_alphanumeric() || *byte == b'.');
                let hexadecimal = matches!(rest, [b'0', b'x' | b'X', ..]);
                if !hexadecimal
                    && matches!(rest[length - 1], b'e' | b'E')
                    && matches!(rest.get(length), Some(b'+' | b'-'))
                {
                    length += 1 + rest[length + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                }
                (Found::Number(text(length)), length)
            }
            b'"' | b'\'' => (Found::Quote(char::from(*first)), 1),
            b'{' | b'}' | b'<' | b'>' | b'[' | b']' | b':' | b',' | b';' | b'-' => (Found::Sign(char::from(*first)), 1),
            _ => (Found::Stray, 1),
        }
    }

    /// Appends the next quoted string to `out`, its escapes resolved.
    ///
    /// # Errors
    /// The problem and the remedy; the scanner stays at the fault.
    pub fn quoted(&mut self, out: &mut Vec<u8>) -> Result<(), (&'static str, &'static str)> {
        self.skip();
        let start = self.at;
        let quote = self.bytes[start];
        self.at += 1;
        loop {
            match self.bytes.get(self.at) {
                Some(byte) if *byte == quote => {
                    self.at += 1;
                    return Ok(());
                }
                None | Some(b'\n' | b'\r') => {
                    self.at = start;
                    return Err((
                        "the text has no closing quote",
                        "end it on its line with the quote that it begins with",
                    ));
                }
                Some(b'\\') => self.escape(out)?,
                Some(byte) => {
                    out.push(*byte);
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), (&'static str, &'static str)> {
        let wrong = Err(("found a backslash that begins no escape", "write two of them"));
        let rest = &self.bytes[self.at + 1..];
        let digits = |from: usize, most: usize, radix: u32| {
            let digits = rest[from.min(rest.len())..]
                .iter()
                .take(most)
                .take_while(|byte| char::from(**byte).is_digit(radix));
            let digits: String = digits.map(|byte| char::from(*byte)).collect();
            (u32::from_str_radix(&digits, radix).ok(), digits.len())
        };
        let Some(first) = rest.first() else { return wrong };
        let (value, length) = match first {
            b'0'..=b'7' => digits(0, 3, 8),
            b'x' | b'X' => digits(1, 2, 16),
            b'u' => digits(1, 4, 16),
            b'U' => digits(1, 8, 16),
            _ => (None, 0),
        };
        let simple = match first {
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'\\' | b'\'' | b'"' | b'?' => *first,
            b'u' | b'U' => {
                let whole = length == if *first == b'u' { 4 } else { 8 };
                let Some(character) = value.filter(|_| whole).and_then(char::from_u32) else {
                    return wrong;
                };
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                self.at += 2 + length;
                return Ok(());
            }
            _ => {
                let Some(byte) = value.and_then(|value| u8::try_from(value).ok()) else { return wrong };
                out.push(byte);
                self.at += 1 + length + usize::from(matches!(first, b'x' | b'X'));
                return Ok(());
            }
        };
        out.push(simple);
        self.at += 2;
        Ok(())
    }

    /// Describes the next token, with a remedy if the token alone implies one.
    pub fn describe(&mut self) -> (String, Option<String>) {
        match self.peek() {
            Found::End => ("the end of the file".to_owned(), None),
            Found::Quote(_) => {
                let mut bytes = Vec::new();
                let start = self.at;
                let whole = self.quoted(&mut bytes).is_ok();
                let end = if whole { self.at } else { self.bytes.len() };
                self.at = start;
                let shown: String =
                    printable(&self.bytes[start..end.min(start + 4 * SHOWN)]).chars().take(SHOWN).collect();
                (shown.lines().next().unwrap_or_default().to_owned(), None)
            }
            Found::Name(text) | Found::Number(text) => (text.chars().take(SHOWN).collect(), None),
            Found::Sign(sign) => (sign.to_string(), None),
            Found::Stray => self.describe_stray(),
        }
    }

    fn describe_stray(&self) -> (String, Option<String>) {
        let rest = &self.bytes[self.at..];
        let window = &rest[..rest.len().min(4)];
        let text = match std::str::from_utf8(window) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&window[..error.valid_up_to()]).unwrap_or_default(),
        };
        let Some(character) = text.chars().next() else {
            let remedy = "outside of comments the file has to be UTF-8: save it so";
            return (format!("the byte 0x{:02X}", rest[0]), Some(remedy.to_owned()));
        };
        let remedy = match character {
            '$' => Some("a template's placeholder was not filled in".to_owned()),
            '=' => Some("write : between a field and its value".to_owned()),
            '/' => Some("comments begin with #".to_owned()),
            _ => lookalike::remedy(character),
        };
        if character.is_ascii_graphic() {
            return (character.to_string(), remedy);
        }
        (lookalike::shown(character), remedy)
    }

    /// Line and column of a position, from 1.
    pub fn place(&self, at: usize) -> (usize, usize) {
        let before = &self.bytes[..at.min(self.bytes.len())];
        let mut lines = 1;
        let mut start = 0;
        for (index, byte) in before.iter().enumerate() {
            // a carriage return also ends a line, unless a line feed follows it
            if *byte == b'\n' || *byte == b'\r' && self.bytes.get(index + 1) != Some(&b'\n') {
                lines += 1;
                start = index + 1;
            }
        }
        let line = before[start..].strip_prefix(b"\xef\xbb\xbf").unwrap_or(&before[start..]);
        (lines, String::from_utf8_lossy(line).chars().count() + 1)
    }

    /// The line around a position, cut to a length that a message can carry.
    pub fn excerpt(&self, at: usize) -> String {
        let at = at.min(self.bytes.len());
        let ends = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let start = self.bytes[..at].iter().rposition(ends).map_or(0, |end| end + 1);
        let end = self.bytes[at..].iter().position(ends).map_or(self.bytes.len(), |end| at + end);
        let before = printable(&self.bytes[start.max(at.saturating_sub(4 * SHOWN))..at]);
        let after = printable(&self.bytes[at..end.min(at + 4 * SHOWN)]);
        let left: Vec<char> = before.trim_start().chars().collect();
        let left = &left[left.len().saturating_sub(SHOWN)..];
        left.iter()
            .copied()
            .chain(after.chars().take(SHOWN))
            .collect::<String>()
            .trim_end()
            .to_owned()
    }
}

/// The text without characters that could control a terminal or reverse the text's direction.
fn printable(bytes: &[u8]) -> String {
    text::lines(&String::from_utf8_lossy(bytes)).replace(['\n', '\t'], " ")
}
