//! The program alone, as it is installed: in an empty folder, and with words that are not quite right.

use std::path::Path;
use std::process::{Command, Output};

fn runner(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
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
    let other = std::fs::read_to_string("scenarios/scrfd.toml")
        .unwrap()
        .replace("name = \"scrfd\"", "name = \"faces\"");
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

/// The files below the package's root that the program's sources include.
fn included(folder: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            included(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next());
            files.extend(names.filter_map(|name| name.strip_prefix("../../")).map(str::to_owned));
        }
    }
}

/// No engine builds the image here, so the test compares what its build reads with what it is given.
#[test]
fn the_image_is_built_from_all_that_the_sources_include() {
    let mut files = Vec::new();
    included(Path::new("src"), &mut files);
    assert!(files.len() >= 6, "{files:?}");
    let ignored = std::fs::read_to_string(".dockerignore").unwrap();
    let dockerfile = std::fs::read_to_string("Dockerfile").unwrap();
    for file in files {
        assert!(Path::new(&file).is_file(), "{file}");
        let sent = ignored.lines().filter_map(|line| line.strip_prefix('!')).any(|pattern| {
            let (wanted, given): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), file.split('/').collect());
            let fits = |(wanted, given): (&&str, &&str)| match wanted.split_once('*') {
                Some((begin, end)) => given.starts_with(begin) && given.ends_with(end),
                None => wanted == given,
            };
            wanted.len() <= given.len() && wanted.iter().zip(&given).all(fits)
        });
        assert!(sent, ".dockerignore leaves {file} out");
        let folder = file.split('/').next().unwrap();
        assert!(dockerfile.contains(&format!("COPY {folder} {folder}\n")), "Dockerfile copies no {folder}");
    }
}

#[test]
fn what_other_programs_take_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let json = |arguments: &[&str]| -> serde_json::Value {
        let output = runner(folder.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let plans = json(&["scrfd", "arcface", "--list", "--json"]);
    assert_eq!(plans["plans"][1]["scenario"], "arcface");
    assert_eq!(plans["plans"][0]["cases"].as_array().unwrap().len(), 12);
    assert_eq!(plans["plans"][0]["cases"][0]["case"], "http-b1-p1-c1");
    assert_eq!(json(&["schema", "scenario"])["properties"]["title"]["type"], "string");
    assert!(json(&["schema", "report"])["properties"]["runs"].is_object());
    for (arguments, words) in [
        (&["completions", "bash"][..], "complete -F _runner"),
        (&["completions", "zsh"], "#compdef runner"),
        (&["completions", "fish"], "complete -c runner"),
        (&["man"], ".TH runner 1"),
    ] {
        let output = runner(folder.path(), arguments);
        assert!(output.status.success() && text(&output).contains(words), "{arguments:?}: {}", text(&output));
    }
}
