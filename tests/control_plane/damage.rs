//! Mutations of servers' metadata: no reader may panic, and readers return only what the protocol knows.

use prost::Message;
use rand::{RngExt, SeedableRng};
use runner::proto;
use runner::protocol::control::description::{ModelConfig, ModelMetadata, ServerMetadata, read};
use runner::protocol::control::statistics::{AllStatistics, Statistics};
use serde_json::{Value, json};

use super::mutate::{self, Drawn};

/// Gives bytes to each reader of the control plane.
fn read_all(bytes: &[u8]) {
    let _ = read::<ServerMetadata>(bytes);
    let described =
        [read::<ModelMetadata>(bytes).ok(), proto::ModelMetadataResponse::decode(bytes).ok().map(ModelMetadata::from)];
    for tensor in described.into_iter().flatten().flat_map(|model| [model.inputs, model.outputs].concat()) {
        assert!(tensor.shape.is_none_or(|shape| !shape.is_empty()));
        assert!(tensor.datatype.is_none_or(|name| name.parse::<runner::tensor::Datatype>().is_ok()));
    }
    let _ = read::<AllStatistics>(bytes).map(|all| all.sum());
    let _ = read::<Value>(bytes).and_then(ModelConfig::of);
    let _ = proto::ServerMetadataResponse::decode(bytes).map(ServerMetadata::from);
    let _ = proto::ModelStatisticsResponse::decode(bytes).map(|message| Statistics::from(&message));
    let _ = proto::ModelConfigResponse::decode(bytes)
        .map(|message| proto::to_json(&message.config.unwrap_or_default()).map(ModelConfig::of));
}

fn answers() -> [Value; 4] {
    [
        json!({"name": "triton", "version": "2.59", "extensions": ["binary_tensor_data", "statistics"]}),
        json!({"name": "m", "versions": ["1"], "platform": "p",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}, {"name": "z", "datatype": "BYTES"}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": ["-1", 7]}]}),
        json!({"name": "m", "max_batch_size": 8, "input": [{"name": "x", "dims": [4], "optional": true}],
            "model_transaction_policy": {"decoupled": false}, "parameters": {"weights": {"string_value": "w"}}}),
        json!({"model_stats": [{"name": "m", "inference_count": 7, "execution_count": "3", "inference_stats":
            {"success": {"count": 7, "ns": 123}, "queue": {"count": 7, "ns": 5}, "cache_hit": null}}]}),
    ]
}

fn messages() -> [Vec<u8>; 3] {
    let config = |answer: &Value| proto::from_json::<proto::ModelConfig>(&answer.to_string()).unwrap();
    let input = proto::model_metadata_response::TensorMetadata {
        name: "x".to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![-1, 4],
    };
    let counted = proto::ModelStatistics { inference_count: 7, execution_count: 3, ..Default::default() };
    [
        proto::ModelMetadataResponse { name: "m".to_owned(), inputs: vec![input], ..Default::default() }
            .encode_to_vec(),
        proto::ModelConfigResponse { config: Some(config(&answers()[2])) }.encode_to_vec(),
        proto::ModelStatisticsResponse { model_stats: vec![counted] }.encode_to_vec(),
    ]
}

/// An answer with some damage, or none.
fn damaged(drawn: &mut Drawn, answers: &[Value], messages: &[Vec<u8>]) -> Vec<u8> {
    let mut answer = mutate::one(drawn, answers).clone();
    let mut bytes = match drawn.random_range(0..100) {
        0 => return mutate::text(drawn, &answer.to_string()).into_bytes(),
        1 => return mutate::garbage(drawn, 2000),
        2..36 => mutate::one(drawn, messages).clone(),
        36..70 => {
            mutate::json(drawn, &mut answer);
            answer.to_string().into_bytes()
        }
        _ => answer.to_string().into_bytes(),
    };
    if drawn.random() {
        mutate::bytes(drawn, &mut bytes);
    }
    bytes
}

#[test]
fn no_answer_of_a_server_makes_a_reader_panic() {
    let (answers, messages) = (answers(), messages());
    answers.iter().for_each(|answer| read_all(answer.to_string().as_bytes()));
    messages.iter().for_each(|message| read_all(message));
    for case in 0..mutate::cases() {
        let bytes = damaged(&mut Drawn::seed_from_u64(case), &answers, &messages);
        let read = std::panic::catch_unwind(|| read_all(&bytes));
        assert!(read.is_ok(), "case {case}: {:?}", String::from_utf8_lossy(&bytes));
    }
}
