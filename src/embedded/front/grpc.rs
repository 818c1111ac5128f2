//! The gRPC service of the protocol and of Triton's extensions; everything else is answered with UNIMPLEMENTED.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};
use tonic::{Request, Response, Status, Streaming};

use crate::embedded::error::{Code, Error};
use crate::embedded::execute::infer::{self, Delivery, Tensor, no_sequences, offered};
use crate::embedded::front::memory::Grant;
use crate::embedded::front::message::Message;
use crate::embedded::model::repository::Repository;
use crate::embedded::observe::request_log::RequestTrace;
use crate::embedded::{REQUEST_BYTES_MAX, server_metadata};
use crate::proto::grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer};
use crate::proto::infer_parameter::ParameterChoice;
use crate::proto::model_infer_request::InferInputTensor;
use crate::proto::model_infer_response::InferOutputTensor;
use crate::proto::{self, InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse};
use crate::tensor::{Datatype, element_count};

/// Concurrent requests of one stream.
const STREAM_AHEAD: usize = 64;
/// Memory of a parsed message, in bytes per byte of it without raw tensors, which stay in place: two bytes may become
/// an empty string.
const TYPED_GROWTH: usize = 24;
/// Field of ModelInferRequest.
const RAW_INPUT_CONTENTS: u32 = 7;

/// The service.
pub struct Service {
    models: Arc<Repository>,
}

/// The service as a tower service.
pub fn service(models: Arc<Repository>) -> GrpcInferenceServiceServer<Service> {
    GrpcInferenceServiceServer::new(Service { models }).max_decoding_message_size(REQUEST_BYTES_MAX)
}

type Answered<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl GrpcInferenceService for Service {
    type ModelStreamInferStream = Pin<Box<dyn Stream<Item = Result<proto::ModelStreamInferResponse, Status>> + Send>>;

    async fn server_live(&self, _: Request<proto::ServerLiveRequest>) -> Answered<proto::ServerLiveResponse> {
        Ok(Response::new(proto::ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<proto::ServerReadyRequest>) -> Answered<proto::ServerReadyResponse> {
        Ok(Response::new(proto::ServerReadyResponse { ready: true }))
    }

    async fn model_ready(&self, request: Request<proto::ModelReadyRequest>) -> Answered<proto::ModelReadyResponse> {
        let proto::ModelReadyRequest { name, version } = request.into_inner();
        match self.models.find(&name, &version) {
            // a version that is not a number is an error, not a model that is not ready
            Err(error) if error.code == Code::InvalidArgument => Err(error.into()),
            found => Ok(Response::new(proto::ModelReadyResponse { ready: found.is_ok() })),
        }
    }

    async fn server_metadata(
        &self,
        _: Request<proto::ServerMetadataRequest>,
    ) -> Answered<proto::ServerMetadataResponse> {
        Ok(Response::new(server_metadata()))
    }

    async fn model_metadata(
        &self,
        request: Request<proto::ModelMetadataRequest>,
    ) -> Answered<proto::ModelMetadataResponse> {
        let proto::ModelMetadataRequest { name, version } = request.into_inner();
        Ok(Response::new(self.models.find(&name, &version)?.metadata()))
    }

    async fn model_config(&self, request: Request<proto::ModelConfigRequest>) -> Answered<proto::ModelConfigResponse> {
        let proto::ModelConfigRequest { name, version } = request.into_inner();
        let config = self.models.find(&name, &version)?.config.answer.clone();
        Ok(Response::new(proto::ModelConfigResponse { config: Some(config) }))
    }

    async fn model_statistics(
        &self,
        request: Request<proto::ModelStatisticsRequest>,
    ) -> Answered<proto::ModelStatisticsResponse> {
        let proto::ModelStatisticsRequest { name, version } = request.into_inner();
        let model_stats = self.models.statistics(&name, &version)?;
        Ok(Response::new(proto::ModelStatisticsResponse { model_stats }))
    }

    async fn repository_index(
        &self,
        request: Request<proto::RepositoryIndexRequest>,
    ) -> Answered<proto::RepositoryIndexResponse> {
        let proto::RepositoryIndexRequest { repository_name, ready } = request.into_inner();
        one_repository(&repository_name)?;
        let models = self.models.index(ready)?;
        Ok(Response::new(proto::RepositoryIndexResponse { models }))
    }

    async fn repository_model_load(
        &self,
        request: Request<proto::RepositoryModelLoadRequest>,
    ) -> Answered<proto::RepositoryModelLoadResponse> {
        use proto::model_repository_parameter::ParameterChoice;
        let request = request.into_inner();
        one_repository(&request.repository_name)?;
        let mut config = None;
        for (key, parameter) in request.parameters {
            config = match (key.as_str(), parameter.parameter_choice) {
                ("config", Some(ParameterChoice::StringParam(text))) => Some(text),
                _ if key == "config" => {
                    return Err(Error::invalid(
                        "invalid value type for load parameter 'config', expected string_param.",
                    )
                    .into());
                }
                _ => return Err(Error::invalid(crate::embedded::load_parameter(&key)).into()),
            };
        }
        crate::embedded::load(self.models.clone(), request.model_name, config).await?;
        Ok(Response::new(proto::RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<proto::RepositoryModelUnloadRequest>,
    ) -> Answered<proto::RepositoryModelUnloadResponse> {
        let request = request.into_inner();
        one_repository(&request.repository_name)?;
        self.models.unload(&request.model_name);
        Ok(Response::new(proto::RepositoryModelUnloadResponse {}))
    }

    async fn model_infer(&self, mut request: Request<ModelInferRequest>) -> Answered<ModelInferResponse> {
        let trace = RequestTrace::of(request.extensions());
        let mut held = Grant::default();
        let request = match request.extensions_mut().remove() {
            Some(Message(message)) => {
                held = Grant::of(beside_raw(&message).saturating_mul(TYPED_GROWTH))?;
                ModelInferRequest::decode(message).map_err(|error| Status::internal(error.to_string()))?
            }
            None => request.into_inner(),
        };
        let (message, delivery) = infer(&self.models, request, &trace).await?;
        drop(held);
        let mut response = Response::new(message);
        response.extensions_mut().insert(delivery);
        Ok(response)
    }

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Answered<Self::ModelStreamInferStream> {
        let models = self.models.clone();
        let trace = RequestTrace::of(request.extensions());
        let answers = request.into_inner().map(move |request| {
            let models = models.clone();
            let trace = RequestTrace { arrived: Instant::now(), ..trace.clone() };
            async move {
                let request = request?;
                let id = request.id.clone();
                // the message was counted as it arrived; its parsed form counts until it is answered
                let held = Grant::of(request.encoded_len());
                let answer = match &held {
                    Ok(_) => infer(&models, request, &trace).await,
                    Err(error) => Err(error.clone()),
                };
                Ok(match answer {
                    Ok((mut message, _)) => {
                        // clients of streams count answers by it; here every answer is its request's last
                        let last = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
                        message.parameters.insert("triton_final_response".to_owned(), last);
                        proto::ModelStreamInferResponse { infer_response: Some(message), ..Default::default() }
                    }
                    Err(error) => proto::ModelStreamInferResponse {
                        error_message: error.message,
                        infer_response: Some(ModelInferResponse { id, ..Default::default() }),
                    },
                })
            }
        });
        Ok(Response::new(Box::pin(answers.buffered(STREAM_AHEAD))))
    }
}

/// Bytes of a message without its raw tensors.
fn beside_raw(message: &[u8]) -> usize {
    let mut rest = message;
    let mut raw = 0;
    while let Ok((field, kind)) = decode_key(&mut rest) {
        let length = match kind {
            WireType::LengthDelimited => decode_varint(&mut rest),
            WireType::Varint => decode_varint(&mut rest).map(|_| 0),
            WireType::SixtyFourBit => Ok(8),
            WireType::ThirtyTwoBit => Ok(4),
            WireType::StartGroup | WireType::EndGroup => break,
        };
        let length = length.ok().and_then(|length| usize::try_from(length).ok());
        let Some((content, behind)) = length.and_then(|length| rest.split_at_checked(length)) else {
            break;
        };
        if field == RAW_INPUT_CONTENTS {
            raw += content.len();
        }
        rest = behind;
    }
    message.len() - raw
}

/// Refuses a request to one of several repositories, as Triton does.
fn one_repository(name: &str) -> Result<(), Error> {
    if name.is_empty() {
        Ok(())
    } else {
        Err(Error::unsupported("'repository_name' specification is not supported"))
    }
}

async fn infer(
    models: &Repository,
    message: ModelInferRequest,
    trace: &RequestTrace,
) -> Result<(ModelInferResponse, Delivery), Error> {
    let model = models.find(&message.model_name, &message.model_version)?;
    let id = message.id.clone();
    let answer = model.infer(request(message)?, trace).await?;
    let mut response = ModelInferResponse {
        model_name: model.config.name.clone(),
        model_version: model.version.to_string(),
        id,
        ..Default::default()
    };
    for tensor in answer.outputs {
        response.outputs.push(InferOutputTensor {
            name: tensor.name,
            datatype: tensor.datatype.name().to_owned(),
            shape: tensor.shape.iter().map(|side| *side as i64).collect(),
            ..Default::default()
        });
        response.raw_output_contents.push(tensor.data);
    }
    Ok((response, answer.delivery))
}

fn request(message: ModelInferRequest) -> Result<infer::Request, Error> {
    let model = &message.model_name;
    let in_sequence = message.parameters.get("sequence_id").and_then(|id| id.parameter_choice.as_ref());
    if in_sequence.is_some_and(|id| *id != ParameterChoice::Int64Param(0)) {
        return Err(no_sequences());
    }
    let raw = message.raw_input_contents;
    if !raw.is_empty() && raw.len() != message.inputs.len() {
        return Err(Error::invalid(format!(
            "expected {} raw inputs for model '{model}', one for each input, but got {}",
            message.inputs.len(),
            raw.len()
        )));
    }
    let mut raw = raw.into_iter();
    let mut inputs = Vec::with_capacity(message.inputs.len());
    for input in message.inputs {
        let InferInputTensor { name, datatype, shape, parameters, contents } = input;
        offered(|key| parameters.contains_key(key))?;
        let datatype: Datatype = datatype
            .parse()
            .map_err(|()| Error::invalid(format!("invalid datatype for input {name}")))?;
        let sides = shape.iter().map(|side| usize::try_from(*side)).collect::<Result<Vec<_>, _>>();
        let shape = sides.map_err(|_| {
            let (id, shape) = (infer::named(&message.id), infer::bracketed(&shape));
            let words =
                format!("All input dimensions should be specified for input '{name}' for model '{model}', got {shape}");
            Error::invalid(id + &words)
        })?;
        let data = match (raw.next(), contents) {
            (Some(data), None) => data,
            (Some(_), Some(_)) => {
                return Err(Error::invalid(format!(
                    "contents field must not be specified when using raw_input_contents for '{name}' for model '{model}'"
                )));
            }
            (None, None) if element_count(&shape) != Some(0) => {
                let words = format!("unable to find data for input tensor '{name}' for model '{model}' in request.");
                return Err(Error::invalid(words));
            }
            (None, contents) => typed(&name, datatype, &shape, contents.unwrap_or_default())?,
        };
        inputs.push(Tensor { name, datatype, shape, data });
    }
    let mut outputs = Vec::with_capacity(message.outputs.len());
    for output in message.outputs {
        offered(|key| output.parameters.contains_key(key))?;
        outputs.push(output.name);
    }
    Ok(infer::Request { id: message.id, inputs, outputs })
}

/// The bytes of typed contents, whose field depends on the data type.
fn typed(name: &str, datatype: Datatype, shape: &[usize], contents: InferTensorContents) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::new();
    let InferTensorContents {
        bool_contents,
        int_contents,
        int64_contents,
        uint_contents,
        uint64_contents,
        fp32_contents,
        fp64_contents,
        bytes_contents,
    } = contents;
    let narrow = |_| Error::invalid(format!("an element of input '{name}' is beyond {datatype}"));
    let count = match datatype {
        Datatype::Bool => {
            bool_contents.iter().for_each(|value| bytes.put_u8(u8::from(*value)));
            bool_contents.len()
        }
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => {
            for value in &int_contents {
                match datatype {
                    Datatype::Int8 => bytes.put_i8((*value).try_into().map_err(narrow)?),
                    Datatype::Int16 => bytes.put_i16_le((*value).try_into().map_err(narrow)?),
                    _ => bytes.put_i32_le(*value),
                }
            }
            int_contents.len()
        }
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => {
            for value in &uint_contents {
                match datatype {
                    Datatype::Uint8 => bytes.put_u8((*value).try_into().map_err(narrow)?),
                    Datatype::Uint16 => bytes.put_u16_le((*value).try_into().map_err(narrow)?),
                    _ => bytes.put_u32_le(*value),
                }
            }
            uint_contents.len()
        }
        Datatype::Int64 => {
            int64_contents.iter().for_each(|value| bytes.put_i64_le(*value));
            int64_contents.len()
        }
        Datatype::Uint64 => {
            uint64_contents.iter().for_each(|value| bytes.put_u64_le(*value));
            uint64_contents.len()
        }
        Datatype::Fp32 => {
            fp32_contents.iter().for_each(|value| bytes.put_f32_le(*value));
            fp32_contents.len()
        }
        Datatype::Fp64 => {
            fp64_contents.iter().for_each(|value| bytes.put_f64_le(*value));
            fp64_contents.len()
        }
        Datatype::Bytes => {
            for value in &bytes_contents {
                bytes.put_u32_le(value.len() as u32);
                bytes.put_slice(value);
            }
            bytes_contents.len()
        }
        Datatype::Fp16 | Datatype::Bf16 => {
            return Err(Error::invalid(format!(
                "input '{name}': {datatype} has no typed contents; send it in raw_input_contents"
            )));
        }
    };
    if element_count(shape) != Some(count) {
        return Err(Error::invalid(format!(
            "unable to parse 'InferTensorContents': input '{name}' has {count} elements of {datatype}, but its shape \
             is {shape:?}"
        )));
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_tensors_do_not_count_as_what_is_read() {
        let mut message = ModelInferRequest { model_name: "m".to_owned(), ..Default::default() };
        let without = message.encoded_len();
        message.raw_input_contents = vec![Bytes::from(vec![1; 1000]), Bytes::from(vec![2; 50])];
        // two prefixes of three and two bytes
        assert_eq!(beside_raw(&message.encode_to_vec()), without + 5);
        assert_eq!(beside_raw(&[0xff; 40]), 40);
        assert_eq!(beside_raw(b"\x3a\xff\x01x"), 4);
    }
}
