//! The exact output of commands before anything is measured. `UPDATE_GOLDEN=1` writes the golden files again; read
//! them before committing.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn check(name: &str, arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(arguments)
        .env_remove("COLUMNS")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|stream| String::from_utf8(stream).unwrap()).concat();
    let golden = PathBuf::from(format!("tests/commands/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &text).unwrap();
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    assert!(text == expected, "{name}: expected\n{expected}\nfound\n{text}");
}

#[test]
fn help_says_what_there_is() {
    check("help", &["--help"]);
    check("help_report", &["report", "--help"]);
    check("help_serve", &["serve", "--help"]);
    check("help_models", &["models", "--help"]);
}

#[test]
fn the_plan_of_the_two_benchmarks_and_of_the_transport() {
    check("list_scrfd", &["scenarios/scrfd.toml", "--list"]);
    check("list_transport", &["scenarios/transport.toml", "--list"]);
    check("list_aa", &["scenarios/arcface.toml", "--list", "--aa", "--batch-sizes", "1", "--processes", "1"]);
    let three = ["scenarios/arcface.toml", "--list", "--set", "models=a,b,c", "--batch-sizes", "1", "--processes", "1"];
    check("list_three_models", &three);
    let compared = ["scenarios/arcface.toml", "--list", "--compare", "batch_sizes", "--processes", "1"];
    check("list_compared_batch_sizes", &compared);
}

#[test]
fn wrong_settings_are_told_with_their_remedy() {
    check("set_no_axis", &["scenarios/scrfd.toml", "--list", "--set", "batch=1"]);
    check("set_no_value", &["scenarios/scrfd.toml", "--list", "--set", "models"]);
    check("set_wrong_word", &["scenarios/scrfd.toml", "--list", "--set", "encode=sometimes"]);
    check("compare_no_axis", &["scenarios/scrfd.toml", "--list", "--compare", "colour"]);
    check("compare_one_value", &["scenarios/scrfd.toml", "--list", "--compare", "encode"]);
    check("shapes_no_sizes", &["scenarios/transport.toml", "--list", "--set", "shapes=3y4"]);
}
