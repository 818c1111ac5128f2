//! The words that may stand behind some keys, what is said of others, and what those of other formats mean here.

use super::error::{Document, ScenarioError, nearest};
use super::{Arrival, Encode, Protocol};
use crate::tensor::Datatype;
use toml::Spanned;

/// The words of one key.
pub struct Words {
    /// In the spelling of scenario files.
    names: &'static [&'static str],
    /// What they are, together.
    expected: &'static str,
    /// What is said before their list, where none is near.
    otherwise: &'static str,
    /// What a word of another format means here.
    other_format: fn(&str) -> Option<&'static str>,
}

/// Data types.
pub const DATATYPES: Words = Words {
    names: &{
        let mut names = [""; Datatype::ALL.len()];
        let mut index = 0;
        while index < names.len() {
            names[index] = Datatype::ALL[index].0;
            index += 1;
        }
        names
    },
    expected: "a KServe v2 data type",
    otherwise: "the types are",
    other_format: datatype_elsewhere,
};

/// Protocols.
pub const PROTOCOLS: Words = Words {
    names: &[Protocol::ALL[0].0, Protocol::ALL[1].0],
    expected: "\"http\" or \"grpc\"",
    otherwise: "these two protocols are spoken:",
    other_format: none,
};

/// How requests arrive.
pub const ARRIVALS: Words = Words {
    names: &[Arrival::ALL[0].0, Arrival::ALL[1].0],
    expected: "\"constant\" or \"poisson\"",
    otherwise: "requests arrive in one of these ways:",
    other_format: none,
};

/// When requests are encoded.
pub const ENCODES: Words = Words {
    names: &[Encode::ALL[0].0, Encode::ALL[1].0],
    expected: "\"once\" or \"each-request\"",
    otherwise: "a request is encoded at one of these times:",
    other_format: none,
};

/// Structures of models.
pub const STRUCTURES: Words = Words {
    names: &["scrfd", "arcface"],
    expected: "\"scrfd\" or \"arcface\"",
    otherwise: "these are built in:",
    other_format: none,
};

impl Words {
    /// What was expected instead of a word, and the remedy; `None` for one of the words.
    pub fn refuse(&self, word: &str) -> Option<(&'static str, String)> {
        if self.names.contains(&word) {
            return None;
        }
        let near = (self.other_format)(word).or_else(|| nearest(word, self.names));
        let list = self.names.join(", ");
        let help = match near {
            Some(near) if self.names.len() > 2 => format!("did you mean \"{near}\"? The types are {list}"),
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("{} {list}", self.otherwise),
        };
        Some((self.expected, help))
    }
}

/// The value of a word that the format was checked to know.
pub fn known<T>(
    document: &Document<'_>,
    word: &Spanned<String>,
    find: impl Fn(&str) -> Option<T>,
) -> Result<T, ScenarioError> {
    find(word.get_ref())
        .ok_or_else(|| document.unexpected(word, "a word of the format", "scenarios/README.md has them"))
}

fn none(_: &str) -> Option<&'static str> {
    None
}

/// The data types of config.pbtxt, NumPy, PyTorch and ONNX.
fn datatype_elsewhere(word: &str) -> Option<&'static str> {
    let word = word.to_lowercase();
    let word = word.rsplit('.').next()?;
    let word = word.strip_prefix("type_").unwrap_or(word);
    let name = match word {
        "float" | "float32" | "f32" | "single" => "FP32",
        "double" | "float64" | "f64" => "FP64",
        "half" | "float16" | "f16" => "FP16",
        "bfloat16" => "BF16",
        "string" | "str" | "object" | "text" => "BYTES",
        "boolean" => "BOOL",
        "long" => "INT64",
        "byte" => "UINT8",
        other => return Datatype::ALL.iter().map(|(name, _)| *name).find(|name| name.eq_ignore_ascii_case(other)),
    };
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Structure;

    #[test]
    fn types_of_other_formats_are_known_by_ours() {
        for (word, name) in [
            ("TYPE_FP32", "FP32"),
            ("TYPE_STRING", "BYTES"),
            ("float32", "FP32"),
            ("np.uint8", "UINT8"),
            ("torch.bfloat16", "BF16"),
            ("fp32", "FP32"),
            ("int64", "INT64"),
            ("bool", "BOOL"),
        ] {
            let (_, help) = DATATYPES.refuse(word).unwrap();
            assert!(help.starts_with(&format!("did you mean \"{name}\"?")), "{word}: {help}");
        }
        assert_eq!(DATATYPES.refuse("FP32"), None);
        assert!(DATATYPES.refuse("quaternion").unwrap().1.starts_with("the types are BOOL, "));
        assert_eq!(STRUCTURES.names, Structure::ALL.map(Structure::name));
    }
}
