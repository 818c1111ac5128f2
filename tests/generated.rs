//! The code of the messages in `proto/generated` is what its compiler generates from `proto`, in pure Rust (no protoc
//! to install). UPDATE_GOLDEN=1 rewrites it.

use std::fs;
use std::path::Path;

fn generate(into: &Path) {
    let mut compiler = protox::Compiler::new(["proto"]).unwrap();
    compiler.include_imports(true).open_files(["inference.proto", "onnx.proto"]).unwrap();
    // the names of all fields, for what is read and written as text or JSON
    fs::write(into.join("descriptors.bin"), compiler.encode_file_descriptor_set()).unwrap();
    let mut names = prost_build::Config::new();
    names.enable_type_names();
    // tensors are handed on without copying
    names.bytes([
        ".inference.ModelInferRequest.raw_input_contents",
        ".inference.ModelInferResponse.raw_output_contents",
        ".onnx.TensorProto.raw_data",
    ]);
    let services = tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .out_dir(into);
    services.compile_fds_with_config(compiler.file_descriptor_set(), names).unwrap();
}

#[test]
fn the_committed_code_is_that_of_the_messages() {
    let committed = Path::new("proto/generated");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        generate(committed);
    }
    let made = tempfile::tempdir().unwrap();
    generate(made.path());
    for file in ["inference.rs", "onnx.rs", "descriptors.bin"] {
        let [committed, made] = [committed, made.path()].map(|folder| fs::read(folder.join(file)).unwrap());
        assert!(
            committed == made,
            "proto/generated/{file}: write it with UPDATE_GOLDEN=1 cargo nextest run --test generated"
        );
    }
}
