//! Compiles `proto/` in pure Rust (no protoc to install) and records the git revision of the build.

use std::process::Command;

/// The messages that `protocol::control` turns into the JSON the HTTP endpoints give, so that one reader serves both.
const READ_AS_JSON: &[&str] = &[
    "ServerMetadataResponse",
    "ModelMetadataResponse",
    "ModelMetadataResponse.TensorMetadata",
    "ModelConfig",
    "ModelInput",
    "ModelOutput",
    "ModelInstanceGroup",
    "ModelDynamicBatching",
    "ModelTransactionPolicy",
    "ModelParameter",
    "ModelResponseCache",
    "ModelStatisticsResponse",
    "ModelStatistics",
    "InferStatistics",
    "InferBatchStatistics",
    "StatisticDuration",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = protox::compile(["inference.proto", "onnx.proto"], ["proto"])?;
    let mut config = tonic_prost_build::configure().build_server(false).build_transport(false);
    // tensors are handed on without copying
    config = config.bytes(".inference.ModelInferRequest.raw_input_contents");
    config = config.bytes(".inference.ModelInferResponse.raw_output_contents");
    for message in READ_AS_JSON {
        config = config.message_attribute(format!("inference.{message}"), "#[derive(serde::Serialize)]");
    }
    for (field, reader) in [
        ("ModelInput.data_type", "data_type_name"),
        ("ModelOutput.data_type", "data_type_name"),
        ("ModelInstanceGroup.kind", "instance_kind_name"),
    ] {
        config = config.field_attribute(
            format!("inference.{field}"),
            format!("#[serde(serialize_with = \"crate::proto::{reader}\")]"),
        );
    }
    config.compile_fds(files)?;
    println!("cargo:rerun-if-changed=proto");

    // A build without .git, as in the container image, is told its revision.
    let told = std::env::var("RUNNER_GIT_REVISION").ok().filter(|revision| !revision.is_empty());
    let revision = told.or_else(|| git(&["rev-parse", "--short=12", "HEAD"])).unwrap_or_else(|| "unknown".to_owned());
    let dirty = git(&["status", "--porcelain", "--", "src", "proto", "build.rs", "Cargo.toml", "Cargo.lock"])
        .is_some_and(|changes| !changes.is_empty());
    println!("cargo:rustc-env=RUNNER_GIT_REVISION={revision}{}", if dirty { "+changes" } else { "" });
    println!("cargo:rerun-if-env-changed=RUNNER_GIT_REVISION");
    for changed in [".git/HEAD", ".git/index", "src"] {
        println!("cargo:rerun-if-changed={changed}");
    }
    Ok(())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
