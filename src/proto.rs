//! The messages of `proto/inference.proto`, with reading and writing as text and JSON, and the messages of ONNX
//! files. Their generated code is kept beside them to shorten the first build; `tests/generated.rs` writes and checks
//! it.
#![allow(missing_docs)]

mod scan;
mod text;

use std::sync::LazyLock;

use anyhow::Result;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

include!("../proto/generated/inference.rs");

/// The messages of `proto/onnx.proto`: their documentation is the ONNX specification.
#[allow(rustdoc::all, clippy::all)]
pub mod onnx {
    include!("../proto/generated/onnx.rs");
}

static DESCRIPTORS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes = include_bytes!("../proto/generated/descriptors.bin");
    DescriptorPool::decode(&bytes[..]).expect("a test keeps the descriptors equal to the messages")
});

fn descriptor<M: Name>() -> MessageDescriptor {
    DESCRIPTORS
        .get_message_by_name(&M::full_name())
        .expect("every generated message is described")
}

/// Converts a message to JSON as Triton's HTTP endpoints write it: original names, defaults included, numbers as
/// numbers.
///
/// # Errors
/// The message holds a float that JSON cannot express.
pub fn to_json<M: Message + Name>(message: &M) -> Result<Value> {
    let mut dynamic = DynamicMessage::new(descriptor::<M>());
    dynamic.transcode_from(message)?;
    let options = SerializeOptions::new()
        .stringify_64_bit_integers(false)
        .use_proto_field_name(true)
        .skip_default_fields(false);
    Ok(dynamic.serialize_with_options(serde_json::value::Serializer, &options)?)
}

/// Parses a message from JSON. Unknown fields are refused.
///
/// # Errors
/// The JSON does not match the message.
pub fn from_json<M: Message + Name + Default>(json: &str) -> Result<M> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let dynamic = DynamicMessage::deserialize_with_options(descriptor::<M>(), &mut reader, &DeserializeOptions::new())?;
    reader.end()?;
    Ok(dynamic.transcode_to()?)
}

/// Parses a message from protobuf text, such as `config.pbtxt`; comments may hold bytes that are not UTF-8. Unknown
/// fields are refused.
///
/// # Errors
/// The text does not match the message; the error gives the line, the column and what was expected there.
pub fn from_text<M: Message + Name + Default>(text: &[u8]) -> Result<M> {
    Ok(text::read(text, descriptor::<M>())?.transcode_to()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_reads_as_people_write_it() {
        let text = r##"
            # input [ in a comment
            name: "a \" [ b" platform: 'c # d ['
            input [ # why
              { name: "x" data_type: TYPE_FP32 dims: [ 3, -1 ] },
              { name: "y" data_type: TYPE_STRING dims [ 1 ] }
            ]
            output { name: "z" data_type: TYPE_INT64 dims: 2 dims: 3 }
            instance_group [{ count: 2 kind: KIND_GPU gpus: [0, 1] }]
            dynamic_batching { preferred_batch_size: [ 4, 8 ] }
            parameters: { key: "weights" value: { string_value: "w" } }
            optimization { cuda { graphs: true } }
            model_warmup [{ name: "w" inputs { key: "x" value { dims: 1 zero_data: true } } }]
        "##;
        let config: ModelConfig = from_text(text.as_bytes()).unwrap();
        assert_eq!(config.name, "a \" [ b");
        assert_eq!(config.platform, "c # d [");
        assert_eq!(config.input[0].dims, [3, -1]);
        assert_eq!(config.input[1].dims, [1]);
        assert_eq!(config.output[0].dims, [2, 3]);
        assert_eq!(config.instance_group[0].gpus, [0, 1]);
        assert_eq!(config.parameters["weights"].string_value, "w");

        let json = to_json(&config).unwrap();
        assert_eq!(json["input"][0]["data_type"], "TYPE_FP32");
        assert_eq!(json["max_batch_size"], 0);
        assert_eq!(from_json::<ModelConfig>(&json.to_string()).unwrap(), config);
    }

    #[test]
    fn errors_name_the_place_the_field_and_what_was_expected() {
        for (text, expected) in [
            ("nmae: \"x\"", "line 1, column 1: unknown field nmae, expected one of name, platform"),
            ("nmae: \"x\"", "did you mean name? (in `nmae: \"x\"`)"),
            (
                "\n input [ { name: “x” } ]",
                "line 2, column 18: input[0].name: found “ (U+201C), expected text in quotes: it is a typographic quote: write \"",
            ),
            (
                "input [ { dims: [ 4 ]， } ]",
                "line 1, column 22: input[0]: found ， (U+FF0C), expected a field's name or }: it is a wide comma: write ,",
            ),
            (
                "max_batch_size: ${size}",
                "column 17: max_batch_size: found $, expected a whole number from -2147483648 to 2147483647: a template's placeholder",
            ),
            (
                "max_batch_size: \"8\"",
                "found \"8\", expected a whole number from -2147483648 to 2147483647: write it without quotes",
            ),
            ("max_batch_size: 4294967296", "found 4294967296, expected a whole number from -2147483648 to 2147483647"),
            (
                "max_batch_size: 1\nmax_batch_size: 2",
                "line 2, column 1: max_batch_size: the field is given twice: remove one",
            ),
            ("max_batch_size = 8", "found =, expected :: write : between a field and its value"),
            ("name: m", "found m, expected text in quotes: write \"m\""),
            ("name: \"m", "the text has no closing quote"),
            (
                "input { name: \"x\"\n\n",
                "line 3, column 1: input[0]: found the end of the file, expected }: close the bracket of line 1",
            ),
            ("input { data_type: FP32 }", "input[0].data_type: found FP32, expected one of TYPE_INVALID, TYPE_BOOL"),
            ("input { data_type: FP32 }", "did you mean TYPE_FP32?"),
            ("input { data_type: \"TYPE_FP32\" }", "expected a word such as TYPE_BF16: write it without quotes"),
            ("input { dims: [ 1 2 ] }", "input[0].dims[0]: found 2, expected , or ]"),
            ("input { optional: yes }", "found yes, expected true or false"),
            (
                "sequence_batching { } dynamic_batching { }",
                "dynamic_batching: the field excludes sequence_batching, which is given too",
            ),
            ("name: \"a\\q\"", "found a backslash that begins no escape"),
            ("input { reshape { shape: [ ] }", "expected }"),
        ] {
            let error = format!("{:#}", from_text::<ModelConfig>(text.as_bytes()).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_may_stand_in_comments_alone() {
        let read = |text: &[u8]| from_text::<ModelConfig>(text);
        let config = read(b"\xef\xbb\xbf# \xc8\xcb\xc1\xb3\r\nmax_batch_size: 8 # \xff\r\n").unwrap();
        assert_eq!(config.max_batch_size, 8);
        for (text, expected) in [
            (&b"name: \"\xc8\xcb\""[..], "line 1, column 7: name: found bytes that are not UTF-8"),
            (b"\xc8 name: \"m\"", "line 1, column 1: found the byte 0xC8, expected a field's name"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
