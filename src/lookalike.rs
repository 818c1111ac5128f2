//! Characters that look like a format's own but differ: editors, word processors and web pages insert them.
//! Knows no format.

/// Names a lookalike and gives the character that a format would understand; `None` if it should be removed.
///
/// Returns `None` for a character that resembles no other.
pub fn of(character: char) -> Option<(&'static str, Option<char>)> {
    Some(match character {
        '“' | '”' | '„' | '‟' | '«' | '»' | '″' | '〝' | '〞' | '＂' => {
            ("a typographic quote", Some('"'))
        }
        '‘' | '’' | '‚' | '‛' | '′' | '´' | '＇' => ("a typographic quote", Some('\'')),
        '，' | '、' => ("a wide comma", Some(',')),
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => ("a special space", Some(' ')),
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
            ("an invisible character", None)
        }
        '‐' | '‑' | '‒' | '–' | '—' | '−' => ("a dash", Some('-')),
        // the whole of ASCII exists in a wide form
        '\u{ff01}'..='\u{ff5e}' => ("a wide character", char::from_u32(character as u32 - 0xfee0)),
        _ => return None,
    })
}

/// The character for a message: itself if visible, and its code point.
pub fn shown(character: char) -> String {
    let number = character as u32;
    let invisible = matches!(of(character), Some((_, None | Some(' '))));
    if invisible || character.is_control() {
        format!("U+{number:04X}")
    } else {
        format!("{character} (U+{number:04X})")
    }
}

/// The remedy for a character that resembles another: what it is, and what to write.
pub fn remedy(character: char) -> Option<String> {
    let (what, meant) = of(character)?;
    Some(match meant {
        Some(' ') => format!("it is {what}: write a plain one"),
        Some(meant) => format!("it is {what}: write {meant}"),
        None => format!("it is {what}: remove it"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_with_what_was_meant() {
        for (character, words) in [
            ('“', "it is a typographic quote: write \""),
            ('，', "it is a wide comma: write ,"),
            ('：', "it is a wide character: write :"),
            ('\u{a0}', "it is a special space: write a plain one"),
            ('\u{200b}', "it is an invisible character: remove it"),
        ] {
            assert_eq!(remedy(character).as_deref(), Some(words));
        }
        assert_eq!(remedy('ä'), None);
        assert_eq!((shown('“').as_str(), shown('\u{a0}').as_str()), ("“ (U+201C)", "U+00A0"));
    }
}
