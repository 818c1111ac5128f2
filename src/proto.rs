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
    let dynamic = DynamicMessage::parse_text_format(descriptor::<M>(), text).context("not valid protobuf text")?;
    Ok(dynamic.transcode_to()?)
}
