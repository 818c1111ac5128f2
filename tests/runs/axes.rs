//! Runs of several models, servers and shapes, and of tensors that the scenario leaves out.

use std::fs;
use std::process::{Command, Stdio};

use runner::matrix::Describer;
use runner::record::{Status, read_manifest};

use crate::case::{CONFIG, Case, SCENARIO, text};

/// The tags of a run's cases, and the model and version that each asked.
fn asked(case: &Case) -> Vec<(String, String)> {
    let records = case.records();
    assert!(records.iter().all(|record| record.status == Status::Ok && record.errors == 0), "{records:?}");
    records.into_iter().map(|record| (record.case.tag(), record.model)).collect()
}

#[test]
fn models_are_compared_and_each_is_counted_by_itself() {
    let case = Case::new("", SCENARIO);
    for twin in ["twin", "third"] {
        fs::create_dir_all(case.path("models").join(twin)).unwrap();
        fs::copy(case.path("models/echo/config.pbtxt"), case.path("models").join(twin).join("config.pbtxt")).unwrap();
    }
    let options = ["--set", "models=echo,twin,third", "--batch-sizes", "4", "--processes", "1"];
    let output = case.command(&options).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let run = case.newest().unwrap();
    let expected = ["echo-http", "twin-http", "third-http", "echo-grpc", "twin-grpc", "third-grpc"];
    let expected = expected.map(|tag| (format!("{tag}-b4-p1-c1"), tag.split('-').next().unwrap().to_owned()));
    assert_eq!(asked(&case), expected);
    let manifest = read_manifest(&run).unwrap();
    assert_eq!(manifest.compare.as_deref(), Some("model_key"));
    // three models, each over two protocols: 50 requests and 4 to prepare, of 4 items
    let counts = manifest.counts.unwrap();
    assert!(counts.agrees() && counts.measured == 3 * 2 * 50 * 4, "{counts:?}");
    assert!(run.join("model_config-third.json").is_file());
    let compared = fs::read_to_string(run.join("comparisons.csv")).unwrap();
    assert_eq!(compared.lines().filter(|line| line.contains(",mean_ms,")).count(), 6, "{compared}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("| Batch Size | Protocol | Model |"), "{printed}");
    assert!(printed.contains("Compared: models; the baseline is echo."), "{printed}");
    let described = case.section("model");
    for name in ["echo", "twin", "third"] {
        assert!(described.contains(&format!("### Model Configuration: {name}\n")), "{described}");
    }
    assert_eq!(described.matches("| Largest Batch | 4 |").count(), 3, "{described}");
}

#[test]
fn servers_are_compared_and_the_program_s_own_may_be_one() {
    let scenario = SCENARIO.replace("[load]", "servers = [\"embedded\", \"other\"]\n[load]");
    let case = Case::new("", &scenario);
    let (mut other, http, grpc) = case.other_server();
    let table = format!("[server.other]\nhttp = {http:?}\ngrpc = {grpc:?}\n");
    fs::write(case.path("echo.toml"), scenario.replace("[model]", &format!("{table}[model]"))).unwrap();

    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command.arg(case.path("echo.toml")).arg("--model-repository").arg(case.path("models"));
    command
        .arg("--results")
        .arg(case.path("results"))
        .args(["--batch-sizes", "1", "--processes", "1"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success() && output.status.success(), "{}", text(&output));
    let tags: Vec<String> = asked(&case).into_iter().map(|(tag, _)| tag).collect();
    let expected = ["embedded-http", "other-http", "embedded-grpc", "other-grpc"];
    assert_eq!(tags, expected.map(|tag| format!("{tag}-b1-p1-c1")));
    let manifest = read_manifest(&case.newest().unwrap()).unwrap();
    assert_eq!(
        (manifest.compare.as_deref(), manifest.counts.map(|counts| counts.agrees())),
        (Some("server_key"), Some(true))
    );
    let addresses = format!("| HTTP | embedded: {}; other: {http} |", manifest.http);
    assert!(case.section("docker").contains(&addresses), "{}", case.section("docker"));
    for words in [
        "### Model Configuration: echo of the server embedded\n",
        "### Model Configuration: echo of the server other\n",
    ] {
        assert!(case.section("model").contains(words), "{}", case.section("model"));
    }
    assert!(case.section("environment").contains("The server \"other\", embedded"), "{}", case.section("environment"));
    // what a run asks instead must be one of them
    let refused = case.command(&[]).output().unwrap();
    assert!(text(&refused).contains("names its servers: choose some of them by --set servers"), "{}", text(&refused));
}

#[test]
fn a_model_with_free_dimensions_is_asked_with_every_shape() {
    let scenario = SCENARIO
        .replace("shape = [3]\n", "")
        .replace("[load]", "shapes = [[2], [2, 3, 4]]\n[load]");
    let case = Case::new("", &scenario);
    let config = CONFIG.replace("dims: [ 3 ]", "dims: [ -1 ]");
    fs::write(case.path("models/echo/config.pbtxt"), config).unwrap();
    let options = ["--batch-sizes", "4", "--processes", "1", "--set", "shapes=2,9"];
    let output = case.command(&options).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let tags: Vec<String> = asked(&case).into_iter().map(|(tag, _)| tag).collect();
    assert_eq!(tags, ["http-b4-s2-p1-c1", "grpc-b4-s2-p1-c1", "http-b4-s9-p1-c1", "grpc-b4-s9-p1-c1"]);
    let records = case.records();
    // 7 floats more an item, 50 requests of 4
    assert!(records[2].bytes_sent >= records[0].bytes_sent + 50 * 4 * 4 * 7, "{records:?}");
    assert!(text(&output).contains("| Batch Size | Shape | Protocol |"), "{}", text(&output));
    // its rank is the model's
    let wrong = case.command(&["--batch-sizes", "4", "--processes", "1"]).output().unwrap();
    let words = "input \"x\": shape is [2, 3, 4] after the batch dimension, the model takes [-1, -1] with it";
    assert!(wrong.status.code() == Some(1) && text(&wrong).contains(words), "{}", text(&wrong));
}

#[test]
fn a_scenario_may_leave_to_the_server_what_there_is_to_send() {
    let case = Case::new(
        "",
        "title = \"Mine\"\n[model]\nname = \"echo\"\n[matrix]\nbatch_sizes = [4]\n[load]\niterations = 20\n",
    );
    let output = case.command(&[]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let records = case.records();
    assert!(
        records
            .iter()
            .all(|record| record.described_by == Describer::Server && record.requests == 20),
        "{records:?}"
    );
    assert!(text(&output).contains("are those of the server's metadata; inputs are zeros"), "{}", text(&output));
}
