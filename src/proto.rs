//! The generated messages of `proto/inference.proto`, and how they read and write in text and JSON.
#![allow(missing_docs)]

use std::sync::LazyLock;

use anyhow::{Context, Result};
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

tonic::include_proto!("inference");

static DESCRIPTORS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    DescriptorPool::decode(&bytes[..]).expect("the descriptors were written by the build")
});

fn descriptor<M: Name>() -> MessageDescriptor {
    DESCRIPTORS.get_message_by_name(&M::full_name()).expect("every generated message is described")
}

/// A message as Triton's HTTP endpoints write it: the fields' own names, defaults included, numbers as numbers.
///
/// # Errors
/// A float that JSON cannot hold.
pub fn to_json<M: Message + Name>(message: &M) -> Result<Value> {
    let mut dynamic = DynamicMessage::new(descriptor::<M>());
    dynamic.transcode_from(message)?;
    let options = SerializeOptions::new()
        .stringify_64_bit_integers(false)
        .use_proto_field_name(true)
        .skip_default_fields(false);
    Ok(dynamic.serialize_with_options(serde_json::value::Serializer, &options)?)
}

/// The message of its JSON. Unknown fields are refused.
///
/// # Errors
/// The JSON is not that of the message.
pub fn from_json<M: Message + Name + Default>(json: &str) -> Result<M> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let dynamic = DynamicMessage::deserialize_with_options(descriptor::<M>(), &mut reader, &DeserializeOptions::new())?;
    reader.end()?;
    Ok(dynamic.transcode_to()?)
}

/// The message of its protobuf text, such as `config.pbtxt`. Unknown fields are refused.
///
/// # Errors
/// The text is not that of the message; with line and column.
pub fn from_text<M: Message + Name + Default>(text: &str) -> Result<M> {
    let dynamic = DynamicMessage::parse_text_format(descriptor::<M>(), &with_colons(text));
    Ok(dynamic.context("not valid protobuf text")?.transcode_to()?)
}

/// `input [ {..} ]` as `input: [ {..} ]`: the text format lets lists of messages go without the colon, and files for
/// Triton are mostly written so, but prost-reflect's reader asks for it.
fn with_colons(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut quote = None;
    let mut comment = false;
    let mut escaped = false;
    // whether a field's name was the last thing, comments and spaces aside
    let mut after_name = false;
    for character in text.chars() {
        match (quote, character) {
            _ if comment => comment = character != '\n',
            (Some(open), _) => {
                if !escaped && character == open {
                    quote = None;
                }
                escaped = !escaped && character == '\\';
            }
            (None, '#') => comment = true,
            (None, '"' | '\'') => (quote, after_name) = (Some(character), false),
            (None, '[') => {
                if after_name {
                    out.push(':');
                }
                after_name = false;
            }
            (None, _) if character.is_whitespace() => {}
            (None, _) => after_name = character.is_ascii_alphanumeric() || character == '_',
        }
        out.push(character);
    }
    out
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
        let config: ModelConfig = from_text(text).unwrap();
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

        let error = format!("{:#}", from_text::<ModelConfig>("nmae: \"x\"").unwrap_err());
        assert!(error.contains("nmae"), "{error}");
    }
}
