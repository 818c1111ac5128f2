//! Malformed HTTP requests: each is answered with an error or its connection is closed, and the server lives on.

use std::io::ErrorKind;

use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::client::{Answer, Connection, ended};
use crate::mutate::{self, Drawn, one};
use crate::server::Server;

const SEED: u64 = 20_250_601;

/// A request, and what may be expected of its answer.
#[derive(Default)]
struct Case {
    bytes: Vec<u8>,
    /// The head is right and the body as long as it says: there must be an answer, errors are JSON, and the connection
    /// serves the next request.
    framed: bool,
    head_only: bool,
}

/// A valid infer request.
struct Valid {
    model: &'static str,
    json: Value,
    /// The bytes after the JSON.
    raw: Vec<u8>,
}

impl Valid {
    fn body(&self) -> Vec<u8> {
        [self.json.to_string().as_bytes(), &self.raw].concat()
    }

    fn path(&self) -> String {
        format!("/v2/models/{}/infer", self.model)
    }

    fn json_length(&self) -> String {
        if self.raw.is_empty() {
            return String::new();
        }
        format!("Inference-Header-Content-Length: {}\r\n", self.json.to_string().len())
    }
}

fn valid(drawn: &mut Drawn) -> Valid {
    let binary = json!({"binary_data_output": true});
    match drawn.random_range(0..5) {
        0 => {
            let json = json!({"inputs": [{"name": "input.1", "datatype": "FP32", "shape": [1, 3, 2, 2],
                "parameters": {"binary_data_size": 48}}], "outputs": [{"name": "nothing"}], "parameters": binary});
            Valid { model: "null", json, raw: vec![1; 48] }
        }
        1 => {
            let json = json!({"id": "7", "inputs": [{"name": "input.1", "datatype": "FP32", "shape": [1, 3, 1, 1],
                "data": [1.5, 2, 3]}]});
            Valid { model: "null", json, raw: Vec::new() }
        }
        2 => {
            let input = |name: &str, datatype: &str, shape: &[u64], size: usize| json!({"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}});
            let json = json!({"inputs": [input("counts", "INT64", &[1, 3], 24), input("halves", "FP16", &[1, 2, 2], 8),
                input("words", "BYTES", &[1, 2], 11), input("flags", "BOOL", &[1, 4], 4),
                input("pixels", "UINT8", &[1, 3], 3)], "parameters": binary});
            let words = b"\x01\0\0\0a\x02\0\0\0bc";
            Valid { model: "mixed", json, raw: [&[0; 32][..], words, &[1; 7]].concat() }
        }
        3 => {
            let json = json!({"inputs": [
                {"name": "counts", "datatype": "INT64", "shape": [1, 3], "data": [1, -2, 3]},
                {"name": "halves", "datatype": "FP16", "shape": [1, 2, 2], "parameters": {"binary_data_size": 8}},
                {"name": "words", "datatype": "BYTES", "shape": [1, 2], "data": [["a", "\u{fc}"]]},
                {"name": "flags", "datatype": "BOOL", "shape": [1, 4], "data": [true, false, true, false]},
                {"name": "pixels", "datatype": "UINT8", "shape": [1, 2], "data": [0, 255]}],
                "outputs": [{"name": "words_out"}, {"name": "counts_out", "parameters": {"binary_data": true}}]});
            Valid { model: "mixed", json, raw: vec![0; 8] }
        }
        _ => {
            let json = json!({"inputs": [{"name": "matrix", "datatype": "INT32", "shape": [2, 3],
                "data": [[1, 2, 3], [4, 5, 6]]}]});
            Valid { model: "unbatched", json, raw: Vec::new() }
        }
    }
}

fn request(method: &str, path: &str, headers: &str, length: impl ToString, body: &[u8]) -> Vec<u8> {
    let length = length.to_string();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

/// A request with a valid head and this body.
fn framed(path: &str, headers: &str, body: &[u8]) -> Case {
    Case { bytes: request("POST", path, headers, body.len(), body), framed: true, ..Case::default() }
}

fn case(drawn: &mut Drawn) -> Case {
    let mut valid = valid(drawn);
    let (path, body, json_length) = (valid.path(), valid.body(), valid.json_length());
    match drawn.random_range(0..20) {
        0..4 => {
            let mut damaged = body;
            mutate::bytes(drawn, &mut damaged);
            framed(&path, &json_length, &damaged)
        }
        4..8 => {
            for _ in 0..drawn.random_range(1..4) {
                if valid.json.as_object().is_some_and(|members| !members.is_empty()) {
                    mutate::json(drawn, &mut valid.json);
                }
            }
            framed(&path, &valid.json_length(), &valid.body())
        }
        8 => {
            let json = mutate::text(drawn, &valid.json.to_string());
            let length = format!("Inference-Header-Content-Length: {}\r\n", json.len());
            framed(&path, &length, &[json.as_bytes(), &valid.raw].concat())
        }
        9 => {
            let wrong = drawn.random_range(0..body.len() * 2).to_string();
            let values = ["-1", "", "x", "1.5", "0x10", "99999999999999999999999", "18446744073709551615", &wrong];
            let value = one(drawn, &values);
            let twice = if drawn.random() { "Inference-Header-Content-Length: 1\r\n" } else { "" };
            framed(&path, &format!("Inference-Header-Content-Length: {value}\r\n{twice}"), &body)
        }
        10 => {
            let short = drawn.random_range(0..body.len()).to_string();
            let long = (body.len() + drawn.random_range(1..1000)).to_string();
            let values = [&short, &long, "2147483647", "2147483648", "9223372036854775807", "-1", "x", "1, 2", ""];
            let length = *one(drawn, &values);
            Case { bytes: request("POST", &path, &json_length, length, &body), ..Case::default() }
        }
        11 => Case { bytes: chunked(drawn, &path, &json_length, &body), ..Case::default() },
        12 => Case { bytes: heads(drawn, &path, &body), ..Case::default() },
        13 => methods(drawn, &path, &body),
        14 | 15 => {
            let path = paths(drawn, valid.model);
            let method = *one(drawn, &["GET", "POST"]);
            Case { bytes: request(method, &path, "", 0, b""), ..Case::default() }
        }
        16 => loads(drawn),
        17 => {
            let mut damaged = request("POST", &path, &json_length, body.len(), &body);
            mutate::bytes(drawn, &mut damaged);
            Case { bytes: damaged, ..Case::default() }
        }
        18 => {
            // what is not for this path, and its content type
            let kinds =
                ["Content-Encoding: gzip", "Content-Encoding: deflate", "Content-Type: text/html", "Expect: 100"];
            let kind = *one(drawn, &kinds);
            let others =
                ["/v2/repository/index", "/v2/models/null/generate", "/v2/systemsharedmemory/region/x/register"];
            let path = if drawn.random() { path.as_str() } else { one(drawn, &others) };
            framed(path, &format!("{kind}\r\n"), &body)
        }
        _ => Case { bytes: mutate::garbage(drawn, 300), ..Case::default() },
    }
}

fn chunked(drawn: &mut Drawn, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{headers}\r\n").into_bytes();
    for piece in body.chunks(drawn.random_range(1..=body.len())) {
        let right = format!("{:x}", piece.len());
        let wrong = [&right, &right, "-1", "ffffffffffffffff", "fffffffffffffffff", "7fffffff", "zz", "", "1;x=\"y"];
        bytes.extend_from_slice(format!("{}\r\n", one(drawn, &wrong)).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(one(drawn, &["\r\n", "\r\n", "\n", ""]).as_bytes());
    }
    bytes.extend_from_slice(one(drawn, &["0\r\n\r\n", "0\r\n", "", "0\r\nx: y\r\n\r\n"]).as_bytes());
    bytes
}

fn heads(drawn: &mut Drawn, path: &str, body: &[u8]) -> Vec<u8> {
    let headers = match drawn.random_range(0..8) {
        0 => format!("X: {}\r\n", "x".repeat(100_000)),
        1 => format!("X: {}\r\n", "x".repeat(1_000_000)),
        2 => (0..500).map(|index| format!("X-{index}: y\r\n")).collect(),
        3 => "Content-Length: 5\r\n".to_owned(),
        4 => "Transfer-Encoding: chunked\r\n".to_owned(),
        5 => " folded\r\n: no name\r\n".to_owned(),
        6 => "X\u{0}Y: \u{7f}\r\n".to_owned(),
        _ => "no colon\r\n".to_owned(),
    };
    request("POST", path, &headers, body.len(), body)
}

fn methods(drawn: &mut Drawn, path: &str, body: &[u8]) -> Case {
    let any = "X".repeat(drawn.random_range(1..5000));
    let known = ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"];
    let unknown = ["BREW", "post", "", "PO ST", "PRI", "\u{1}", "CONNECT", &any];
    let own = drawn.random();
    let method = *one(drawn, if own { &known[..] } else { &unknown[..] });
    let bytes = request(method, path, "", body.len(), body);
    Case { bytes, framed: own, head_only: method == "HEAD" }
}

fn paths(drawn: &mut Drawn, model: &str) -> String {
    let long = "x".repeat(drawn.random_range(1000..100_000));
    let tricks = [
        "..",
        "../..",
        "%2e%2e%2f",
        "%2e%2e%2f%2e%2e%2fetc",
        "%00",
        "a%00b",
        "%ff%fe",
        "%c0%ae%c0%ae",
        "%",
        "%zz",
        "//",
        "",
        "{model}",
        "*",
        "C%3a",
        "\\..\\",
        "\u{fc}",
        "?",
        "#",
        "%0d%0aX:%20y",
        " ",
        "null/../mixed",
        "%2fnull",
        &long,
    ];
    let (trick, other) = (*one(drawn, &tricks), *one(drawn, &tricks));
    let ends =
        ["/infer", "/versions/1/infer", "/config", "/stats", "/ready", "", "/versions//infer", "/load", "/nothing"];
    let end = *one(drawn, &ends);
    match drawn.random_range(0..6) {
        0 => format!("/v2/models/{trick}{end}"),
        1 => format!("/v2/models/{model}/versions/{trick}{end}"),
        2 => format!("/v2/repository/models/{trick}/{}", one(drawn, &["load", "unload"])),
        3 => format!("/{trick}/v2/models/{model}{end}"),
        4 => format!("/v2/{trick}/{other}{end}"),
        _ => format!("{trick}{other}"),
    }
}

/// Loads of models that do not exist, and of one with a configuration that is invalid or barely valid.
fn loads(drawn: &mut Drawn) -> Case {
    let tricks = ["..", "%2e%2e", "%2e%2e%2fsrc", ".", "%00", "sleepy%2f..", "%2fetc", "nothing", "sleepy%00"];
    let path = format!("/v2/repository/models/{}/load", one(drawn, &tricks));
    if drawn.random_range(0..4) == 0 {
        return framed(&path, "", b"{}");
    }
    let tensor = |dims: Value| json!([{"name": "x", "data_type": "TYPE_FP64", "dims": dims}]);
    let mut config = json!({"name": "sleepy", "backend": "loopback", "max_batch_size": 8, "input": tensor(json!([-1])),
        "output": tensor(json!([1])), "instance_group": [{"count": 1}], "dynamic_batching": {"preferred_batch_size": [4]},
        "version_policy": {"latest": {"num_versions": 1}}, "parameters": {"seed": {"string_value": "1"}}});
    let (key, values) = match drawn.random_range(0..9) {
        0 => ("output", vec![tensor(json!([1_u64 << 40])), tensor(json!([i64::MAX, i64::MAX])), tensor(json!([0]))]),
        1 => ("input", vec![json!([]), tensor(json!([])), tensor(json!([-2])), tensor(json!([i64::MIN]))]),
        2 => ("max_batch_size", vec![json!(i32::MAX), json!(-1), json!(1_u64 << 40), json!(0)]),
        3 => (
            "instance_group",
            vec![json!([{"count": i32::MAX}]), json!([{"count": -1}]), json!(vec![json!({"count": i32::MAX}); 9])],
        ),
        4 => (
            "dynamic_batching",
            vec![json!({"max_queue_delay_microseconds": u64::MAX}), json!({"preferred_batch_size": [-1, 9]})],
        ),
        5 => (
            "version_policy",
            vec![json!({"specific": {"versions": [-1]}}), json!({"latest": {"num_versions": u32::MAX}})],
        ),
        6 => ("default_model_filename", vec![json!("../../x"), json!("/etc/x"), json!("a\u{0}b")]),
        7 => ("backend", vec![json!("python"), json!("onnxruntime"), json!("../loopback"), json!("")]),
        _ => {
            let pairs = [
                ("service_time", "constant 1e9s"),
                ("stalls", "0us every 0us"),
                ("seed", "-1"),
                ("error_share", "NaN"),
                ("slow_answer", "-1s"),
                ("copy.x", ""),
                ("copy.", "x"),
                ("stalls", "1us every 1.0001us"),
            ];
            let (key, value) = *one(drawn, &pairs);
            ("parameters", vec![json!({key: {"string_value": value}})])
        }
    };
    config[key] = one(drawn, &values).clone();
    if drawn.random() {
        mutate::json(drawn, &mut config);
    }
    let config = match drawn.random_range(0..8) {
        0 => mutate::text(drawn, &config.to_string()),
        _ => config.to_string(),
    };
    let (path, body) = ("/v2/repository/models/sleepy/load", json!({"parameters": {"config": config}}));
    framed(path, "", body.to_string().as_bytes())
}

/// Checks that an answer is one that a server may give.
fn check(case: &Case, answer: &Answer) -> Result<(), String> {
    let errors = answer.status >= 400;
    let words = serde_json::from_slice::<Value>(&answer.body).ok();
    let words = words.as_ref().and_then(|body| body.get("error")?.as_str());
    let without = answer.body.is_empty() && (case.head_only || !case.framed);
    match () {
        () if answer.status != 200 && !errors => Err(format!("status {}", answer.status)),
        () if errors && words.is_none_or(str::is_empty) && !without => Err("no words of error".to_owned()),
        () if words.is_some_and(|words| words.contains("unexpected way") || words.contains("did not expect")) => {
            Err("a panic".to_owned())
        }
        () => Ok(()),
    }
}

fn send(connection: &mut Connection, case: &Case) -> std::io::Result<Answer> {
    connection.send(&case.bytes)?;
    if !case.framed {
        connection.finish();
    }
    connection.answer(case.head_only)
}

#[test]
fn malformed_requests_over_http_are_refused_and_the_server_lives_on() {
    let (mut server, cases) = (Server::of_tests(), mutate::cases());
    let mut kept: Option<Connection> = None;
    let (mut answered, mut refused, mut closed) = (0, 0, 0);
    for number in 0..cases {
        let case = case(&mut Drawn::seed_from_u64(SEED + number));
        let shown = || String::from_utf8_lossy(&case.bytes[..case.bytes.len().min(2000)]).into_owned();
        let mut answer = Err(ErrorKind::NotConnected.into());
        let mut connection = None;
        if let Some(mut known) = kept.take_if(|_| case.framed) {
            answer = send(&mut known, &case);
            connection = Some(known);
        }
        // one that was kept may have been closed since
        if answer.as_ref().is_err_and(ended) {
            let mut new = Connection::open(&server.http);
            answer = send(&mut new, &case);
            connection = Some(new);
        }
        match answer {
            Ok(answer) => {
                if let Err(words) = check(&case, &answer) {
                    panic!("seed {SEED}, case {number}: {words}: {answer:?}, for {}", shown());
                }
                *(if answer.status == 200 { &mut answered } else { &mut refused }) += 1;
                if case.framed && answer.header("connection") != Some("close") {
                    kept = connection;
                }
            }
            Err(error) if ended(&error) && !case.framed => closed += 1,
            Err(error) => panic!("seed {SEED}, case {number}: {error}, for {}", shown()),
        }
        assert!(server.lives(), "seed {SEED}, case {number} ended the server: {}", shown());
    }
    println!("{answered} answered, {refused} refused, {closed} connections closed");
    assert!(answered > cases / 100 && refused > cases / 2, "{answered} answered, {refused} refused, {closed} closed");
    crate::malformed_grpc::still_answers(&server);
    server.end_well();
}
