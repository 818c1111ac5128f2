//! The program alone, as it is installed: in a folder that holds nothing, and with words that are not quite right.

use std::path::Path;
use std::process::{Command, Output};

fn runner(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runner")).args(arguments).current_dir(folder).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn an_installed_program_measures_in_an_empty_folder() {
    let folder = tempfile::tempdir().unwrap();
    let listed = runner(folder.path(), &["scrfd", "arcface", "--list"]);
    assert!(listed.status.success(), "{}", text(&listed));
    let one = ["--protocols", "http", "--batch-sizes", "1", "--processes", "1"];
    let verified = runner(folder.path(), &[&["scrfd", "--server", "embedded", "--verify"][..], &one].concat());
    assert!(verified.status.success(), "{}", text(&verified));
    // what it needed is there, and says whose weights they are
    let model = folder.path().join("model_repository/scrfd");
    for file in
        ["1/model.onnx", "config.pbtxt", "configs/cpu.pbtxt", "configs/labelled.pbtxt", "configs/cpu-labelled.pbtxt"]
    {
        assert!(model.join(file).is_file(), "{file}: {}", text(&verified));
    }
    // a name that is not the structure's
    let other =
        std::fs::read_to_string("scenarios/scrfd.toml").unwrap().replace("name = \"scrfd\"", "name = \"faces\"");
    std::fs::write(folder.path().join("faces.toml"), other).unwrap();
    let verified = runner(folder.path(), &[&["faces.toml", "--server", "embedded", "--verify"][..], &one].concat());
    assert!(verified.status.success(), "{}", text(&verified));
}

#[test]
fn what_is_missing_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, words) in [
        (
            &["serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"][..],
            "is not a folder: name one with --model-repository, or write one with runner models synth scrfd",
        ),
        (&["scenarios/scrfd.toml"], "the scenario file does not exist\n  help: give the path of a scenario file"),
        (
            &["models", "synth", "scenarios/arcface.toml"],
            "error: scenarios/arcface.toml: the scenario file does not exist",
        ),
        (
            &["reprot", "--splice", "README.md"],
            "error: \"reprot\" is neither a command nor a scenario file: did you mean `runner report`?",
        ),
        (&["serv"], "did you mean `runner serve`?"),
    ] {
        let output = runner(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(words), "{arguments:?}: {}", text(&output));
    }
}
