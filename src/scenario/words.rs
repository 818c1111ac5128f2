//! The allowed words of some keys, their descriptions, and the equivalents of other formats' words.

use toml::Spanned;

use super::error::{Document, ScenarioError};
use super::{OnError, Over, Spread, Structure};
use crate::matrix::Arrival;
use crate::mlperf::TestScenario;
use crate::spelling::{Spelled, Words};
use crate::tensor::Datatype;

/// Data types.
pub static DATATYPES: Words = Words {
    names: Datatype::WORDS,
    expected: "a KServe v2 data type",
    otherwise: "the types are",
    other_format: datatype_elsewhere,
};

/// How requests arrive, where a word says it.
pub static ARRIVALS: Words = Words::new(
    &[Arrival::Constant.name(), Arrival::Poisson.name()],
    "\"constant\" or \"poisson\"",
    "requests arrive in one of these ways:",
);

/// What a search for the capacity is over.
pub static OVER: Words = Words::new(Over::WORDS, "\"rate\" or \"concurrency\"", "a search is over one of these:");

/// What a case does once a request fails.
pub static ON_ERROR: Words = Words::new(OnError::WORDS, "\"continue\" or \"stop\"", "a case does one of these:");

/// MLPerf's scenarios.
pub static TEST_SCENARIOS: Words = Words::new(
    TestScenario::WORDS,
    "\"single-stream\", \"multi-stream\", \"server\" or \"offline\"",
    "MLPerf has these scenarios:",
);

/// How processes are spread over hosts.
pub static SPREADS: Words =
    Words::new(Spread::WORDS, "\"even\" or \"fill\"", "processes are spread in one of these ways:");

/// Structures of models.
pub static STRUCTURES: Words = Words::new(Structure::WORDS, "\"scrfd\" or \"arcface\"", "these are built in:");

/// The value of a word; the format check already ensured that it is known.
pub fn known<T: Spelled>(document: &Document<'_>, word: &Spanned<String>) -> Result<T, ScenarioError> {
    T::spelled(word.get_ref())
        .ok_or_else(|| document.unexpected(word, "a word of the format", "scenarios/README.md has them"))
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
        other => {
            return Datatype::ALL
                .iter()
                .map(|(name, _)| *name)
                .find(|name| name.eq_ignore_ascii_case(other));
        }
    };
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let (_, help) = DATATYPES.read(word).unwrap_err();
            assert!(help.starts_with(&format!("did you mean \"{name}\"?")), "{word}: {help}");
        }
        assert_eq!(DATATYPES.read("FP32"), Ok("FP32"));
        assert!(DATATYPES.read("quaternion").unwrap_err().1.starts_with("the types are BOOL, "));
    }
}
