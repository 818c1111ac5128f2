//! Runs against the embedded server, from its start to its end: what is written, and that nothing is left behind.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use runner::matrix::{Describer, Encode};
use runner::record::{Flag, Manifest, RECORDS, Record, State, Status, read, read_manifest};

const CONFIG: &str = r#"
    backend: "loopback"
    max_batch_size: 4
    input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
    output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] } ]
    parameters { key: "copy.y" value { string_value: "x" } }
"#;

const SCENARIO: &str = r#"title = "Echo"
    [model]
    name = "echo"
    [[input]]
    name = "x"
    datatype = "FP32"
    shape = [3]
    [[output]]
    name = "y"
    [matrix]
    batch_sizes = [1, 4]
    processes = [1, 2]
    [load]
    iterations = 50
    warmup = 3
"#;

/// A folder with a repository, a scenario and results.
struct Case(tempfile::TempDir);

impl Case {
    fn new(parameters: &str, scenario: &str) -> Self {
        let case = Case(tempfile::tempdir().unwrap());
        fs::create_dir_all(case.path("models/echo")).unwrap();
        fs::write(case.path("models/echo/config.pbtxt"), format!("{CONFIG}{parameters}")).unwrap();
        fs::write(case.path("echo.toml"), scenario).unwrap();
        case
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command.arg(self.path("echo.toml")).args(["--server", "embedded", "--model-repository"]);
        command.arg(self.path("models")).arg("--results").arg(self.path("results")).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A server of the same models, with its HTTP and gRPC addresses; it ends when its input does.
    fn other_server(&self) -> (Child, String, String) {
        let mut server = Command::new(env!("CARGO_BIN_EXE_runner"))
            .args([
                "serve",
                "--until-input-ends",
                "--http",
                "127.0.0.1:0",
                "--grpc",
                "127.0.0.1:0",
                "--model-repository",
            ])
            .arg(self.path("models"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = |protocol: &str| ready[protocol].as_str().unwrap().to_owned();
        (server, address("http"), address("grpc"))
    }

    fn newest(&self) -> Option<PathBuf> {
        let runs = fs::read_dir(self.path("results/echo")).ok()?;
        runs.map(|run| run.unwrap().path()).max()
    }

    /// Waits until the run has written a manifest.
    fn manifest_of_running(&self) -> Manifest {
        let found = (0..1200).find_map(|_| {
            sleep(Duration::from_millis(50));
            read_manifest(&self.newest()?).ok()
        });
        found.expect("no manifest within a minute")
    }
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whether nothing listens there any more, soon.
fn is_gone(address: &str) -> bool {
    (0..200).any(|_| {
        sleep(Duration::from_millis(50));
        TcpStream::connect(address).is_err()
    })
}

#[test]
fn a_run_needs_no_other_server_and_says_what_it_measured() {
    let case = Case::new("", SCENARIO);
    let output = case.command(&[]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let run = case.newest().unwrap();
    let records: Vec<Record> = read(&run.join(RECORDS)).unwrap();
    assert_eq!(records.len(), 8);
    for record in &records {
        assert_eq!((record.status, record.errors), (Status::Ok, 0), "{record:?}");
        assert_eq!(record.requests, 50 * u64::from(record.case.processes), "{record:?}");
    }
    let manifest = read_manifest(&run).unwrap();
    assert_eq!(manifest.state, State::Complete);
    assert!(manifest.counts.unwrap().agrees(), "{:?}", manifest.counts);
    let tables = String::from_utf8_lossy(&output.stdout);
    assert!(tables.contains("embedded (rten "), "{tables}");
    assert!(!tables.to_lowercase().contains("triton"), "{tables}");
    assert!(tables.contains("--server embedded"), "{tables}");
    assert!(is_gone(&manifest.http) && is_gone(&manifest.grpc), "the server is still there");
}

#[test]
fn the_plan_starts_no_server() {
    let case = Case::new("", SCENARIO);
    fs::remove_dir_all(case.path("models")).unwrap();
    let output = case.command(&["--list"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("requests to the embedded server"), "{}", text(&output));
}

#[test]
fn a_missing_model_is_synthesised_with_a_notice() {
    let case = Case::new("", SCENARIO);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(case.path("models/arcface")).unwrap();
    fs::copy(root.join("model_repository/arcface/config.pbtxt"), case.path("models/arcface/config.pbtxt")).unwrap();
    fs::copy(root.join("scenarios/arcface.toml"), case.path("echo.toml")).unwrap();
    let options = ["--verify", "--batch-sizes", "1", "--processes", "1"];
    let output = case.command(&options).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("arcface: no model is there; writing a stand-in"), "{}", text(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).matches(": ok").count(), 2, "{}", text(&output));
    let again = case.command(&options).output().unwrap();
    assert!(again.status.success() && !text(&again).contains("stand-in"), "{}", text(&again));
}

#[test]
fn what_cannot_be_served_is_told_before_anything_is_measured() {
    for (parameters, scenario, words) in [
        ("nonsense: 1", SCENARIO, "nonsense"),
        ("parameters { key: \"service_time\" value { string_value: \"2\" } }", SCENARIO, "\"service_time\" is \"2\""),
        ("", &SCENARIO.replace("name = \"echo\"", "name = \"other\""), "has no model \"other\""),
        ("", &SCENARIO.replace("shape = [3]", "shape = [4]"), "the scenario does not fit the model"),
    ] {
        let case = Case::new(parameters, scenario);
        let output = case.command(&[]).output().unwrap();
        assert!(matches!(output.status.code(), Some(1 | 2)), "{}", text(&output));
        assert!(text(&output).contains(words), "{words}: {}", text(&output));
        assert!(case.newest().is_none());
    }
    let case = Case::new("", SCENARIO);
    let output = case.command(&["--http", "localhost:8000"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("--http has no place beside --server embedded"), "{}", text(&output));
}

#[test]
fn faults_become_rows() {
    for (fault, words) in [("error_share", "asked to fail"), ("reset_share", "connection"), ("truncated_share", "")] {
        let parameters = format!("parameters {{ key: \"{fault}\" value {{ string_value: \"0.2\" }} }}");
        let case = Case::new(&parameters, &SCENARIO.replace("processes = [1, 2]", "processes = [1]"));
        // the request that is verified first may be one that fails: another seed, another fate
        let output = case.command(&[]).output().unwrap();
        let records: Vec<Record> = read(&case.newest().unwrap().join(RECORDS)).unwrap();
        assert_eq!(records.len(), 4, "{fault}: {}", text(&output));
        assert_eq!(output.status.code(), Some(1), "{fault}: {}", text(&output));
        for record in records.iter().filter(|record| record.status != Status::Ok) {
            assert!(record.reason.to_lowercase().contains(words), "{fault}: {record:?}");
        }
        let some = records.iter().map(|record| record.errors).sum::<u64>();
        let failed = records.iter().filter(|record| record.status != Status::Ok).count();
        assert!(some > 0 || failed > 0, "{fault}: {records:?}");
    }
}

#[cfg(unix)]
#[test]
fn the_server_ends_with_the_run_however_that_ends() {
    for signal in ["-INT", "-KILL"] {
        let slow = "parameters { key: \"service_time\" value { string_value: \"constant 20ms\" } }";
        let case = Case::new(slow, &SCENARIO.replace("iterations = 50", "iterations = 100000"));
        let mut child = case.command(&[]).spawn().unwrap();
        let manifest = case.manifest_of_running();
        assert!(TcpStream::connect(&manifest.http).is_ok());
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let status = child.wait().unwrap();
        assert_eq!(status.code(), (signal == "-INT").then_some(130), "{signal}");
        assert!(is_gone(&manifest.http) && is_gone(&manifest.grpc), "{signal}: the server is still there");
    }
}

/// The rows of a run of one process and batch size 1 with this `[load]`, and with more of the matrix; and what it printed.
fn rows(parameters: &str, matrix: &str, load: &str, options: &[&str]) -> (Vec<Record>, String) {
    let scenario = SCENARIO.replace("batch_sizes = [1, 4]\n    processes = [1, 2]", matrix);
    let scenario = scenario.replace("iterations = 50", load);
    let case = Case::new(parameters, &scenario);
    let output = case.command(options).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let run = case.newest().unwrap();
    let counts = read_manifest(&run).unwrap().counts.unwrap();
    assert!(counts.agrees(), "{counts:?}");
    (read(&run.join(RECORDS)).unwrap(), text(&output))
}

#[test]
fn an_open_loop_tells_response_and_service_time() {
    let slow = "parameters { key: \"service_time\" value { string_value: \"constant 1ms\" } }";
    let load = "iterations = 40\nrate = [200, 400]\narrival = \"poisson\"\nblocks = 2";
    let (records, printed) = rows(slow, "processes = [2]", load, &[]);
    assert_eq!(records.len(), 4);
    for record in &records {
        assert_eq!((record.requests, record.requests_planned), (80, Some(80)), "{record:?}");
        assert!(record.requests_per_s <= record.case.rate, "{record:?}");
        assert_eq!((record.case.concurrency, record.case.connections), (64, 64), "{record:?}");
        assert!(
            record.case.rate.is_some() && record.held_back.is_some() && record.lateness_max_ms.is_some(),
            "{record:?}"
        );
        assert!(record.service_mean_ms <= record.mean_ms && record.service_mean_ms >= Some(1.0), "{record:?}");
    }
    assert!(printed.contains("200 requests/s, at most 64 in flight in each process:"), "{printed}");
    assert!(printed.contains("| Response Mean (ms) |") && printed.contains("Poisson arrivals"), "{printed}");
}

#[test]
fn what_exceeds_the_bound_waits_and_its_waiting_counts() {
    let slow = "parameters { key: \"service_time\" value { string_value: \"constant 5ms\" } }";
    let (records, printed) = rows(slow, "concurrency = [1]", "iterations = 30\nrate = [10000]\nblocks = 1", &[]);
    for record in &records {
        assert_eq!(record.requests, 30, "{record:?}");
        assert!(record.held_back > Some(20), "{record:?}");
        // the last one waits for all before it
        assert!(record.max_ms > Some(100.0) && record.lateness_max_ms > Some(100.0), "{record:?}");
        assert!(printed.contains("requests were sent late because 1 were in flight"), "{printed}");
    }
}

#[test]
fn requests_may_share_connections_as_streams() {
    let (records, printed) =
        rows("", "protocols = [\"grpc\"]\nconcurrency = [8]\nconnections = [2]", "iterations = 200", &[]);
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!((record.requests, record.case.connections, record.send_mean_ms), (200, 2, None), "{record:?}");
    assert!(record.bytes_sent > 0 && printed.contains("8 in flight over 2 connections"), "{printed}");
}

#[test]
fn requests_may_be_encoded_one_by_one() {
    let (records, printed) = rows("", "", "iterations = 50\nencode = \"each-request\"", &[]);
    assert!(
        records.iter().all(|record| record.case.encode == Encode::EachRequest && record.requests == 50),
        "{records:?}"
    );
    assert!(printed.contains("encoded one by one"), "{printed}");
}

#[test]
fn time_ends_a_case_when_it_is_asked_to() {
    let (records, _) = rows("", "", "duration_s = 0.3\nblocks = 3", &[]);
    for record in &records {
        assert!(
            record.requests > 0 && record.requests_planned.is_none() && !record.flags.has(Flag::Capped),
            "{record:?}"
        );
    }
    // a number of requests in the file does not end a quick case, and so is not what it lacks
    let (records, printed) = rows("", "", "iterations = 5", &["--quick", "--max-seconds", "0.4"]);
    for record in &records {
        assert!(record.quick && record.requests_planned.is_none() && !record.flags.has(Flag::Capped), "{record:?}");
    }
    assert_eq!(records[0].blocks, records[1].blocks);
    assert!(printed.contains(&format!("interleaved in {} blocks", records[0].blocks)), "{printed}");
    let slow = "parameters { key: \"service_time\" value { string_value: \"constant 10ms\" } }";
    for load in [
        "iterations = 100000\nmax_seconds_per_case = 0.3\nblocks = 3",
        "iterations = 100000\nrate = [50]\nmax_seconds_per_case = 0.3\nblocks = 3",
        // the second request would be due after an hour
        "iterations = 2\nrate = [0.001]\nmax_seconds_per_case = 0.3\nblocks = 1",
    ] {
        let (records, printed) = rows(slow, "", load, &[]);
        for record in &records {
            assert!(record.status == Status::Ok && record.flags.has(Flag::Capped), "{record:?}");
            assert!(record.requests > 0 && record.requests < 100, "{record:?}");
        }
        assert!(printed.contains("ended by its longest time"), "{printed}");
    }
}

#[test]
fn the_client_s_ceiling_is_measured_with_the_same_requests() {
    let slow = "parameters { key: \"service_time\" value { string_value: \"constant 50ms\" } }";
    let (records, printed) = rows(slow, "batch_sizes = [1, 4]", "iterations = 4", &["--calibrate"]);
    assert_eq!(printed.matches("client ceiling ").count(), 4, "{printed}");
    for record in &records {
        assert!(record.client_ceiling_per_s > record.requests_per_s, "{record:?}");
        assert!(!record.flags.has(Flag::ClientCeiling), "{record:?}");
    }
}

const TEN_MS: &str = "parameters { key: \"service_time\" value { string_value: \"constant 10ms\" } }";

#[test]
fn the_latency_is_split_by_the_server_s_own_statistics() {
    let (records, printed) = rows(TEN_MS, "batch_sizes = [1, 4]", "iterations = 20", &[]);
    for record in &records {
        let parts = [
            record.client_ms,
            record.network_ms,
            record.queue_ms,
            record.compute_input_ms,
            record.compute_infer_ms,
            record.compute_output_ms,
        ];
        let [sum, mean] = [parts.iter().copied().sum::<Option<f64>>(), record.mean_ms].map(Option::unwrap);
        assert!((sum / mean - 1.0).abs() < 1e-6, "{record:?}");
        // on a busy machine the server may begin before the client has seen that its last byte is gone
        assert!(record.compute_infer_ms > Some(9.9) && record.network_ms > Some(-5.0), "{record:?}");
        assert_eq!(record.server_requests, Some(record.requests), "{record:?}");
        assert_eq!(record.avg_batch, Some(f64::from(record.case.batch_size)), "{record:?}");
        assert!(!record.flags.has(Flag::ServerCounts) && !record.flags.has(Flag::OtherTraffic), "{record:?}");
    }
    assert!(printed.contains("| gRPC / HTTP Mean |"), "{printed}");
}

#[test]
fn a_case_may_be_compared_with_itself() {
    let (records, printed) = rows(TEN_MS, "protocols = [\"grpc\"]", "iterations = 20", &["--aa"]);
    assert_eq!(records.len(), 2);
    assert!(records[0].case.arm.is_some() && records[0].case.arm != records[1].case.arm, "{records:?}");
    assert!(printed.contains("| gRPC A |") && printed.contains("A and B are the same"), "{printed}");
    assert!(!printed.contains("**"), "{printed}");
}

#[test]
fn others_that_ask_the_model_are_seen_and_may_be_a_failure() {
    let case = Case::new(TEN_MS, &SCENARIO.replace("iterations = 50", "iterations = 100"));
    let mut running = case.command(&["--strict", "--protocols", "grpc"]).spawn().unwrap();
    let address = case.manifest_of_running().http;
    let body = r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}"#;
    while running.try_wait().unwrap().is_none() {
        let Ok(mut stream) = TcpStream::connect(&address) else { continue };
        let length = body.len();
        let head =
            format!("POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}");
        let _ = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let records: Vec<Record> = read(&case.newest().unwrap().join(RECORDS)).unwrap();
    for record in &records {
        assert!(record.status == Status::Ok && record.flags.has(Flag::OtherTraffic), "{record:?}");
        assert!(record.server_requests > Some(record.requests), "{record:?}");
    }
    assert!(text(&output).contains("others asked the model meanwhile"), "{}", text(&output));
}

/// The tags of a run's cases, and the model and version that each asked.
fn asked(run: &Path) -> Vec<(String, String)> {
    let records: Vec<Record> = read(&run.join(RECORDS)).unwrap();
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
    assert_eq!(asked(&run), expected);
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
    command.arg("--results").arg(case.path("results")).args(["--batch-sizes", "1", "--processes", "1"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success() && output.status.success(), "{}", text(&output));
    let tags: Vec<String> = asked(&case.newest().unwrap()).into_iter().map(|(tag, _)| tag).collect();
    let expected = ["embedded-http", "other-http", "embedded-grpc", "other-grpc"];
    assert_eq!(tags, expected.map(|tag| format!("{tag}-b1-p1-c1")));
    let manifest = read_manifest(&case.newest().unwrap()).unwrap();
    assert_eq!(
        (manifest.compare.as_deref(), manifest.counts.map(|counts| counts.agrees())),
        (Some("server_key"), Some(true))
    );
    // what a run asks instead must be one of them
    let refused = case.command(&[]).output().unwrap();
    assert!(text(&refused).contains("names its servers: choose some of them by --set servers"), "{}", text(&refused));
}

#[test]
fn ports_that_are_mixed_up_are_named() {
    let case = Case::new("", SCENARIO);
    let (mut server, http, grpc) = case.other_server();
    for (options, words) in [
        (
            ["--http", &grpc, "--protocols", "http"],
            "--http takes the HTTP port, 8000 by default, --grpc the gRPC port, 8001",
        ),
        (
            ["--grpc", &http, "--protocols", "grpc"],
            "--http takes the HTTP port, 8000 by default, --grpc the gRPC port, 8001",
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command.arg(case.path("echo.toml")).arg("--results").arg(case.path("results")).args(options);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.code() == Some(1) && text(&output).contains(words), "{}", text(&output));
    }
    drop(server.stdin.take());
    assert!(server.wait().unwrap().success());
}

#[test]
fn a_model_with_free_dimensions_is_asked_with_every_shape() {
    let scenario = SCENARIO.replace("shape = [3]\n", "").replace("[load]", "shapes = [[2], [2, 3, 4]]\n[load]");
    let case = Case::new("", &scenario);
    let config = CONFIG.replace("dims: [ 3 ]", "dims: [ -1 ]");
    fs::write(case.path("models/echo/config.pbtxt"), config).unwrap();
    let options = ["--batch-sizes", "4", "--processes", "1", "--set", "shapes=2,9"];
    let output = case.command(&options).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let tags: Vec<String> = asked(&case.newest().unwrap()).into_iter().map(|(tag, _)| tag).collect();
    assert_eq!(tags, ["http-b4-s2-p1-c1", "grpc-b4-s2-p1-c1", "http-b4-s9-p1-c1", "grpc-b4-s9-p1-c1"]);
    let records: Vec<Record> = read(&case.newest().unwrap().join(RECORDS)).unwrap();
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
    let records: Vec<Record> = read(&case.newest().unwrap().join(RECORDS)).unwrap();
    assert!(
        records.iter().all(|record| record.described_by == Describer::Server && record.requests == 20),
        "{records:?}"
    );
    assert!(text(&output).contains("are those of the server's metadata; inputs are zeros"), "{}", text(&output));
}
