//! A server process and the folder of models that it serves. Ends with the test, however that ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::client::{Answer, Connection, Grpc};

/// A server that is ready.
pub struct Server {
    child: Child,
    input: Option<ChildStdin>,
    stderr: Option<JoinHandle<String>>,
    /// `host:port` of HTTP.
    pub http: String,
    /// `host:port` of gRPC.
    pub grpc: String,
    /// Why models are unavailable.
    pub unavailable: Vec<String>,
}

/// `runner serve` on ports that the system picks; later options win.
fn command(repository: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command.arg("serve").arg("--model-repository").arg(repository).arg("--until-input-ends");
    for option in ["--http", "--grpc"] {
        if !options.contains(&option) {
            command.args([option, "127.0.0.1:0"]);
        }
    }
    command.args(options);
    command
}

/// The output of a server that does not start.
pub fn refused(repository: &Path, options: &[&str]) -> Output {
    command(repository, options).stdin(Stdio::null()).output().unwrap()
}

impl Server {
    /// Serves the folder `repository`.
    pub fn start(repository: &Path, options: &[&str]) -> Self {
        let mut command = command(repository, options);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut errors = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = errors.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let input = child.stdin.take();
        let output = child.stdout.take().unwrap();
        let (http, grpc) = (String::new(), String::new());
        let mut server = Server { child, input, stderr: Some(stderr), http, grpc, unavailable: Vec::new() };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        let Ok(ready) = serde_json::from_str::<Value>(&line) else {
            panic!("the server did not start: {line}{}", server.end().1);
        };
        server.http = ready["http"].as_str().unwrap().to_owned();
        server.grpc = ready["grpc"].as_str().unwrap().to_owned();
        let unavailable = ready["unavailable"].as_array().unwrap().iter();
        server.unavailable = unavailable.map(|words| words.as_str().unwrap().to_owned()).collect();
        server
    }

    /// Serves the tests' repository, with its models for this server.
    pub fn of_tests() -> Self {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/model_repository");
        let server = Server::start(&repository, &["--model-config-name", "loopback"]);
        assert!(server.unavailable.is_empty(), "{:?}", server.unavailable);
        server
    }

    /// Peak memory of the process in bytes; 0 if the system does not report it.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Whether the process exists.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it as a run does, by closing its standard input. Returns its exit status and standard error.
    pub fn end(&mut self) -> (ExitStatus, String) {
        drop(self.input.take());
        let status = self.child.wait().unwrap();
        (status, self.stderr.take().map(|stderr| stderr.join().unwrap()).unwrap_or_default())
    }

    /// Ends it and makes sure that nothing in it panicked.
    pub fn end_well(mut self) {
        assert!(self.lives(), "the server is gone: {}", self.end().1);
        let (status, errors) = self.end();
        assert!(status.success(), "{status}: {errors}");
        assert!(!errors.contains("panicked"), "{errors}");
    }

    /// Sends one request over a new connection.
    pub fn request(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut connection = Connection::open(&self.http);
        connection.request(method, path, headers, body).expect("an answer")
    }

    /// The JSON at a path.
    pub fn get(&self, path: &str) -> Value {
        let answer = self.request("GET", path, "", b"");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// Sends JSON; the status and the JSON of the answer, null if it has none.
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.request("POST", path, "", body.to_string().as_bytes());
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    /// Infers with one input of FP32.
    pub fn infer(&self, model: &str, shape: &[usize], data: &[f32]) -> (u16, Value) {
        let body = json!({"inputs": [{"name": "value", "datatype": "FP32", "shape": shape, "data": data}]});
        self.post(&format!("/v2/models/{model}/infer"), &body)
    }

    /// The statistics of the newest version of a model.
    pub fn statistics(&self, model: &str) -> Value {
        let mut rows = self.get(&format!("/v2/models/{model}/stats"));
        rows["model_stats"].as_array_mut().unwrap().pop().unwrap()
    }

    /// A client of gRPC.
    pub fn grpc(&self) -> Grpc {
        Grpc::new(&self.grpc)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder of models for one test.
pub struct Models {
    folder: tempfile::TempDir,
}

impl Models {
    /// Without models.
    pub fn new() -> Self {
        Models { folder: tempfile::tempdir().unwrap() }
    }

    /// With one loopback model, called `m`, that repeats `value` as `echo`; `rest` is more of its configuration.
    pub fn of_echo(rest: &str) -> Self {
        let models = Models::new();
        models.write("m", &echo("m", rest));
        models
    }

    /// Writes a configuration.
    pub fn write(&self, name: &str, config: &str) {
        fs::create_dir_all(self.path().join(name)).unwrap();
        fs::write(self.path().join(name).join("config.pbtxt"), config).unwrap();
    }

    /// The folder.
    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Serves them.
    pub fn serve(&self, options: &[&str]) -> Server {
        Server::start(&self.path(), options)
    }

    /// Serves them, and checks that all are ready.
    pub fn serve_all(&self) -> Server {
        let server = self.serve(&[]);
        assert!(server.unavailable.is_empty(), "{:?}", server.unavailable);
        server
    }
}

/// The configuration of a loopback model that repeats `value` as `echo`.
pub fn echo(name: &str, rest: &str) -> String {
    format!(
        "name: \"{name}\" backend: \"loopback\" max_batch_size: 8\n\
         input [ {{ name: \"value\" data_type: TYPE_FP32 dims: [ -1 ] }} ]\n\
         output [ {{ name: \"echo\" data_type: TYPE_FP32 dims: [ -1 ] }} ]\n\
         {}\n{rest}\n",
        parameter("copy.echo", "value")
    )
}

/// A parameter of a configuration.
pub fn parameter(key: &str, value: &str) -> String {
    format!("parameters {{ key: \"{key}\" value {{ string_value: \"{value}\" }} }}\n")
}
