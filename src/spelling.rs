//! Words of files and the command line: each defined once, for reading, writing and messages. Knows nothing else.

/// An enumeration whose values have one spelling each.
pub trait Spelled: Copy + PartialEq + 'static {
    /// All values with their spelling.
    const ALL: &'static [(&'static str, Self)];

    /// Parses a word.
    fn spelled(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == word).map(|(_, value)| *value)
    }

    /// The spelling.
    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| word)
    }
}

/// Declares an enumeration with its spelling, which `Display`, `FromStr` and serde use too.
macro_rules! spelled {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $($(#[$of_variant:meta])* $variant:ident = $word:literal),+ $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$of_variant])* $variant),+ }

        impl $name {
            /// All values with the spelling of files and options.
            pub const ALL: &'static [(&'static str, $name)] = &[$(($word, $name::$variant)),+];
            /// The spellings, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The spelling of files and options.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl $crate::spelling::Spelled for $name {
            const ALL: &'static [(&'static str, $name)] = $name::ALL;
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(self.name())
            }
        }

        impl std::str::FromStr for $name {
            type Err = ();

            fn from_str(word: &str) -> Result<Self, ()> {
                $crate::spelling::Spelled::spelled(word).ok_or(())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "enum": $name::WORDS})
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = <String as serde::Deserialize>::deserialize(deserializer)?;
                $crate::spelling::Spelled::spelled(&word)
                    .ok_or_else(|| serde::de::Error::unknown_variant(&word, $name::WORDS))
            }
        }
    };
}

pub(crate) use spelled;

/// The allowed words of a key.
pub struct Words {
    /// In the spelling of scenario files.
    pub names: &'static [&'static str],
    /// A description of all of them, such as `"http" or "grpc"`.
    pub expected: &'static str,
    /// The text before their list, if no word is similar.
    pub otherwise: &'static str,
    /// The meaning here of another format's word.
    pub other_format: fn(&str) -> Option<&'static str>,
}

impl Words {
    /// Words that other formats spell the same.
    pub const fn new(names: &'static [&'static str], expected: &'static str, otherwise: &'static str) -> Self {
        Words { names, expected, otherwise, other_format: |_| None }
    }

    /// Finds the word in the list.
    ///
    /// # Errors
    /// It is not in the list: what was expected, and the remedy.
    pub fn read(&self, word: &str) -> Result<&'static str, (String, String)> {
        if let Some(known) = self.names.iter().find(|known| **known == word) {
            return Ok(known);
        }
        let near = (self.other_format)(word).or_else(|| nearest(word, self.names));
        let list = self.names.join(", ");
        let help = match near {
            Some(near) if self.names.len() > 2 => {
                let (first, rest) = self.otherwise.split_at(1);
                format!("did you mean \"{near}\"? {}{rest} {list}", first.to_uppercase())
            }
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("{} {list}", self.otherwise),
        };
        Err((self.expected.to_owned(), help))
    }
}

/// The known name that a typo most likely stands for.
pub fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let similarity = |name: &str| strsim::jaro_winkler(&found.to_lowercase(), &name.to_lowercase());
    let best = known.iter().copied().max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(best) > 0.8).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    spelled! {
        /// Two ways.
        pub enum Way {
            /// One.
            TheFirst = "the-first",
            /// Another.
            Second = "second",
        }
    }

    #[test]
    fn a_word_is_the_same_everywhere() {
        for (word, way) in Way::ALL {
            assert_eq!((word.parse(), way.to_string().as_str(), way.name()), (Ok(*way), *word, *word));
            assert_eq!(serde_json::from_value::<Way>(serde_json::to_value(way).unwrap()).unwrap(), *way);
        }
        let wrong = serde_json::from_str::<Way>("\"third\"").unwrap_err().to_string();
        assert!(wrong.contains("`the-first` or `second`"), "{wrong}");
        assert_eq!(
            Words::new(Way::WORDS, "a way", "there are").read("sekond").unwrap_err().1,
            "did you mean \"second\"?"
        );
    }
}
