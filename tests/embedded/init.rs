//! `runner init`: the scenarios it writes run unedited, and it asks for what the server cannot tell.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use runner::record::{Record, Status, read};

use crate::repository::product;
use crate::server::Server;

fn runner(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// Runs a scenario as it is, for a short time, and returns its rows.
fn measured(folder: &Path, file: &str) -> Vec<Record> {
    let (code, _, errors) = runner(folder, &[file, "--duration", "0.05", "--warmup", "1", "--quiet"]);
    // a fifth of this model's answers are errors, and the row says so
    let expected = if file == "faulty.toml" { 1 } else { 0 };
    assert_eq!(code, Some(expected), "{file}: {errors}");
    let runs = fs::read_dir(folder.join("results").join(file.trim_end_matches(".toml"))).unwrap();
    let newest = runs.map(|entry| entry.unwrap().path()).max().unwrap();
    read(&newest.join("records.csv")).unwrap()
}

#[test]
fn scenarios_of_every_model_run_as_they_are() {
    let (server, folder) = (Server::of_tests(), tempfile::tempdir().unwrap());
    let at = ["--http", &server.http, "--grpc", &server.grpc];
    for (model, shape, cases) in [
        ("null", "input.1=3,8,8", 6),
        ("sleepy", "8", 6),
        ("cached", "8", 6),
        ("faulty", "8", 6),
        ("mixed", "pixels=8", 6),
        ("unbatched", "2x3", 2),
    ] {
        let file = format!("{model}.toml");
        let (code, printed, errors) =
            runner(folder.path(), &[&["init", model, "--shape", shape, "-o", &file][..], &at].concat());
        assert_eq!((code, printed.as_str()), (Some(0), ""), "{errors}");
        assert!(errors.contains(&format!("{file} is written; measure it by: runner {file}")), "{errors}");
        let rows = measured(folder.path(), &file);
        let answered = |row: &Record| row.requests > 0 && (row.status == Status::Ok || model == "faulty");
        assert!(rows.len() == cases && rows.iter().all(answered), "{model}: {rows:?}");
        assert!(rows.iter().all(|row| row.model == model));
    }
}

#[test]
fn what_cannot_be_known_is_asked_for() {
    let (server, folder) = (Server::of_tests(), tempfile::tempdir().unwrap());
    let at = ["--http", &server.http, "--grpc", &server.grpc];
    let ask = |arguments: &[&str]| runner(folder.path(), &[&["init"], arguments, &at].concat());
    for (arguments, words) in [
        (
            &["unbatched"][..],
            "input \"matrix\": its shape [2, -1] has free dimensions: give it without the batch dimension, such as --shape matrix=2,640",
        ),
        (
            &["mixed", "--shape", "8"],
            "--shape: the model has the inputs \"counts\", \"halves\", \"words\", \"flags\", \"pixels\": say which",
        ),
        (&["null", "--shape", "x=8"], "--shape x=..: the model has no such input, it has \"input.1\""),
        (&["null", "--shape", "input.1=4,8,8"], "shape is [4, 8, 8] after the batch dimension"),
        (&["nothing"], "the server does not tell of a model \"nothing\""),
    ] {
        let (code, printed, errors) = ask(arguments);
        assert_eq!((code, printed.as_str()), (Some(2), ""), "{arguments:?}: {errors}");
        assert!(errors.contains(words), "{arguments:?}: {errors}");
    }
    // a file that exists stays
    fs::write(folder.path().join("mine.toml"), "mine").unwrap();
    let (code, _, errors) = ask(&["sleepy", "--shape", "8", "-o", "mine.toml"]);
    assert!(code == Some(2) && errors.contains("mine.toml exists: name another file"), "{errors}");
    assert_eq!(fs::read_to_string(folder.path().join("mine.toml")).unwrap(), "mine");
    // one protocol is enough
    let (code, printed, errors) =
        runner(folder.path(), &["init", "sleepy", "--shape", "8", "--grpc", &server.grpc, "--http", "127.0.0.1:1"]);
    assert!(
        code == Some(0) && printed.contains("protocols = [\"grpc\"]        # no answer over http"),
        "{printed}{errors}"
    );
    let (code, _, errors) =
        runner(folder.path(), &["init", "sleepy", "--http", "127.0.0.1:1", "--grpc", "127.0.0.1:1"]);
    assert!(code == Some(2) && errors.contains("the server at 127.0.0.1:1 (http) cannot be used"), "{errors}");
}

#[test]
fn an_onnx_file_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("product.onnx"), product(&[0.5; 12])).unwrap();
    let (code, _, errors) = runner(folder.path(), &["init", "product.onnx", "-o", "product.toml"]);
    assert!(
        code == Some(0) && errors.contains("model_repository/product/1/model.onnx: a copy of product.onnx"),
        "{errors}"
    );
    assert_eq!(measured(folder.path(), "product.toml")[0].server.split(' ').next(), Some("embedded"));
    // its folder in the repository is as good
    let (code, printed, errors) = runner(folder.path(), &["init", "model_repository/product"]);
    assert!(code == Some(0) && printed.contains("shape = [4]"), "{printed}{errors}");
    // the built-in scenarios are there without a server
    let (code, printed, _) = runner(folder.path(), &["init", "arcface"]);
    assert_eq!((code, printed), (Some(0), fs::read_to_string("scenarios/arcface.toml").unwrap()));
}
