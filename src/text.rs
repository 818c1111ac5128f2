//! Text from outside (servers, files, other programs), made fit to be shown: one line of bounded length, without
//! characters that control a terminal or reverse text. Pure; knows no other module.

use std::borrow::Cow;

/// Longest name, version or label that is kept, in characters.
pub const NAME_MAX: usize = 120;
/// Longest message that is kept, in characters.
pub const MESSAGE_MAX: usize = 500;

/// Replaces a character that nobody should see.
const HIDDEN: char = '\u{FFFD}';

/// A name, version or label: [`line()`] of at most [`NAME_MAX`] characters.
pub fn name(text: &str) -> String {
    line(text, NAME_MAX)
}

/// An error's words: [`line()`] of at most [`MESSAGE_MAX`] characters.
pub fn message(text: &str) -> String {
    line(text, MESSAGE_MAX)
}

/// Bytes that should be text, or their number if they are not, as in a compressed page.
pub fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    let (all, hidden) = (text.chars().count(), text.chars().filter(|c| *c == HIDDEN || is_hidden(*c)).count());
    match bytes {
        // gzip
        [0x1f, 0x8b, ..] => Cow::Owned(format!("{} bytes that are compressed", bytes.len())),
        // a few may come from another encoding
        _ if hidden > all / 4 => Cow::Owned(format!("{} bytes that are no text", bytes.len())),
        _ => text,
    }
}

/// The text as one line of at most `most` characters: white space becomes single spaces; a control, bidirectional or
/// zero-width character becomes U+FFFD; an ellipsis and the original number of characters mark a cut. A text that is
/// fit already stays as it is.
pub fn line(text: &str, most: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let space = (length > 0).then_some(' ');
        for character in space.into_iter().chain(word.chars()) {
            length += 1;
            // the rest is counted, not kept
            if length <= most {
                out.push(if is_hidden(character) { HIDDEN } else { character });
            }
        }
    }
    if length <= most {
        return out;
    }
    let note = format!("… ({length} characters)");
    let kept = most.saturating_sub(note.chars().count());
    let kept = out.chars().take(kept).collect::<String>();
    let cut: String = format!("{}{note}", kept.trim_end()).chars().take(most).collect();
    cut.trim_end().to_owned()
}

/// The text with its lines and tabs, but without characters that control a terminal.
pub fn lines(text: &str) -> String {
    let shown = |character| {
        if is_hidden(character) && !matches!(character, '\n' | '\t') {
            HIDDEN
        } else {
            character
        }
    };
    text.chars().map(shown).collect()
}

/// Control characters (C0, C1) and Unicode's format characters: bidirectional, zero-width, tags, separators of lines. Soft
/// hyphens and the joiners of scripts are among them: in a table they only hide.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{AD}'
                | '\u{600}'..='\u{605}'
                | '\u{61C}'
                | '\u{6DD}'
                | '\u{70F}'
                | '\u{890}'..='\u{891}'
                | '\u{8E2}'
                | '\u{180E}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{FEFF}'
                | '\u{FFF9}'..='\u{FFFB}'
                | '\u{110BD}'
                | '\u{110CD}'
                | '\u{13430}'..='\u{1343F}'
                | '\u{1BCA0}'..='\u{1BCA3}'
                | '\u{1D173}'..='\u{1D17A}'
                | '\u{E0000}'..='\u{E0FFF}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_steers_a_terminal_is_seen_and_lines_are_joined() {
        for (text, expected) in [
            ("triton", "triton"),
            (" a \t b\r\n\u{2028}c\u{85}d ", "a b c d"),
            ("\u{1b}[2J\u{1b}[31mgone\u{7}", "\u{FFFD}[2J\u{FFFD}[31mgone\u{FFFD}"),
            ("a\u{9b}31m\u{202e}b\u{2066}\u{200b}\u{feff}", "a\u{FFFD}31m\u{FFFD}b\u{FFFD}\u{FFFD}\u{FFFD}"),
            ("naïve 模型 🚀", "naïve 模型 🚀"),
            ("", ""),
        ] {
            assert_eq!(line(text, 100), expected);
        }
        assert_eq!(lines("a\u{1b}[0m\r\nb\tc\n"), "a\u{FFFD}[0m\u{FFFD}\nb\tc\n");
    }

    #[test]
    fn bytes_that_are_no_text_are_counted() {
        assert_eq!(decoded("modèle".as_bytes()), "modèle");
        assert_eq!(decoded(b"mod\xe8le non charg\xe9"), "mod\u{FFFD}le non charg\u{FFFD}");
        assert_eq!(decoded(&[0x1f, 0x8b, 8, 0]), "4 bytes that are compressed");
        assert_eq!(decoded(&[1, 0xff, b'a', b'b']), "4 bytes that are no text");
        assert_eq!(decoded(b""), "");
    }

    #[test]
    fn what_is_cut_off_is_said() {
        assert_eq!(line(&"x".repeat(60_000), 30), format!("{}… (60000 characters)", "x".repeat(10)));
        assert_eq!(line(&"x".repeat(30), 30), "x".repeat(30));
        assert_eq!(line("xxxxxx", 3), "… (");
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_bounded_clean_line(text in any::<String>(), most in 0..200_usize) {
            let made = line(&text, most);
            prop_assert!(made.chars().count() <= most);
            prop_assert!(!made.chars().any(is_hidden) && made.lines().count() <= 1);
            prop_assert!(!made.contains("  ") && made.trim() == made);
            if text.split_whitespace().map(|word| word.chars().count() + 1).sum::<usize>() > most + 1 && most > 40 {
                prop_assert!(made.ends_with(" characters)"));
            }
        }

        #[test]
        fn what_is_clean_stays(text in any::<String>(), most in 40..200_usize) {
            let made = line(&text, most);
            prop_assert_eq!(line(&made, most), made);
        }
    }
}
