//! The generated messages of `proto/inference.proto`, and how their enumerations read in JSON.
#![allow(missing_docs)]

use serde::Serializer;

tonic::include_proto!("inference");

pub(crate) fn data_type_name<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(DataType::try_from(*value).unwrap_or(DataType::TypeInvalid).as_str_name())
}

pub(crate) fn instance_kind_name<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    use model_instance_group::Kind;
    serializer.serialize_str(Kind::try_from(*value).unwrap_or(Kind::Auto).as_str_name())
}
