//! A server of the protocol over HTTP whose answers a test chooses, a scenario for it, and the program run against it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

/// What a server does with a request.
pub enum Does {
    /// Answers with a status, such as `200 OK`, a content type and a body.
    Answer(&'static str, &'static str, Vec<u8>),
    /// Answers without an end.
    Endless,
    /// Says nothing and keeps the connection open.
    Silence,
}

/// A server of one model, `m`, with input `x` and output `y`, FP32 [-1, 4] both. Ends with the test's process.
pub struct Server {
    pub address: String,
    /// How often paths with each ending were requested.
    counts: Arc<[(&'static str, AtomicUsize); 3]>,
}

const COUNTED: [&str; 3] = ["/stats", "/config", "/infer"];

pub fn ok(body: Value) -> Option<Does> {
    Some(Does::Answer("200 OK", "application/json", body.to_string().into_bytes()))
}

pub fn page(status: &'static str) -> Option<Does> {
    Some(Does::Answer(status, "text/html", b"<html><title>no</title></html>".to_vec()))
}

pub fn error(status: &'static str, words: &str) -> Option<Does> {
    Some(Does::Answer(status, "application/json", json!({"error": words}).to_string().into_bytes()))
}

/// What a good server does.
fn usual(path: &str) -> Does {
    let tensor = |name: &str| json!({"name": name, "datatype": "FP32", "shape": [-1, 4]});
    let body = match path {
        "/v2" => json!({"name": "fake", "version": "1", "extensions": []}),
        "/v2/models/m" => json!({"name": "m", "inputs": [tensor("x")], "outputs": [tensor("y")]}),
        path if path.ends_with("/ready") => json!({}),
        _ => return error("404 Not Found", "unknown path").unwrap(),
    };
    ok(body).unwrap()
}

fn inferred() -> (Vec<u8>, usize) {
    let output = json!({"name": "y", "datatype": "FP32", "shape": [2, 4], "parameters": {"binary_data_size": 32}});
    let mut body = json!({"model_name": "m", "outputs": [output]}).to_string().into_bytes();
    let head = body.len();
    body.extend([0; 32]);
    (body, head)
}

impl Server {
    /// `does` decides on a path, or leaves it to a good server.
    pub fn start(does: impl Fn(&str) -> Option<Does> + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let counts = Arc::new(COUNTED.map(|path| (path, AtomicUsize::new(0))));
        let (does, counted) = (Arc::new(does), counts.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (does, counts) = (does.clone(), counted.clone());
                thread::spawn(move || serve(&stream, &*does, &*counts));
            }
        });
        Server { address, counts }
    }

    pub fn count(&self, path: &str) -> usize {
        self.counts.iter().find(|(known, _)| *known == path).unwrap().1.load(Ordering::Relaxed)
    }
}

fn serve(
    stream: &TcpStream,
    does: &dyn Fn(&str) -> Option<Does>,
    counts: &[(&'static str, AtomicUsize)],
) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let (mut path, mut length) = (String::new(), 0);
        for index in 0.. {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end().to_ascii_lowercase().as_str() {
                "" => break,
                request if index == 0 => request.split(' ').nth(1)?.clone_into(&mut path),
                field => {
                    if let Some(value) = field.strip_prefix("content-length:") {
                        length = value.trim().parse().ok()?;
                    }
                }
            }
        }
        reader.read_exact(&mut vec![0; length]).ok()?;
        for (_, count) in counts.iter().filter(|(end, _)| path.ends_with(end)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let (status, kind, body, more) = match does(&path) {
            None if path.ends_with("/infer") => {
                let (body, head) = inferred();
                ("200 OK", "application/octet-stream", body, format!("Inference-Header-Content-Length: {head}\r\n"))
            }
            other => match other.unwrap_or_else(|| usual(&path)) {
                Does::Answer(status, kind, body) => (status, kind, body, String::new()),
                Does::Endless => return endless(stream),
                Does::Silence => {
                    thread::park();
                    return None;
                }
            },
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}\r\n");
        (&*stream).write_all(&[head.as_bytes(), &body].concat()).ok()?;
    }
}

fn endless(mut stream: &TcpStream) -> Option<()> {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        .ok()?;
    let chunk = [b"10000\r\n", &[b'['; 0x10000][..], b"\r\n"].concat();
    loop {
        stream.write_all(&chunk).ok()?;
    }
}

/// A folder with a scenario, in which the program runs.
pub struct Run {
    folder: tempfile::TempDir,
    pub command: Command,
}

impl Run {
    /// Ten requests in two blocks, over HTTP, against a server; with more of `[load]`.
    pub fn new(address: &str, load: &str, options: &[&str]) -> Run {
        let scenario = format!(
            "title = \"A\"\n[model]\nname = \"m\"\n[[input]]\nname = \"x\"\ndatatype = \"FP32\"\nshape = [4]\n\
             [[output]]\nname = \"y\"\n[matrix]\nprotocols = [\"http\"]\nbatch_sizes = [2]\n\
             [load]\niterations = 10\nblocks = 2\nwarmup = 0\n{load}\n"
        );
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.toml"), scenario).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command
            .current_dir(folder.path())
            .args(["a.toml", "--results", "results", "--http", address])
            .args(options);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Run { folder, command }
    }

    /// Runs to the end: returns the exit code and all output.
    pub fn output(&mut self) -> (Option<i32>, String) {
        words(&self.command.output().unwrap())
    }

    /// The folder of the results.
    pub fn newest(&self) -> PathBuf {
        let runs = std::fs::read_dir(self.folder.path().join("results/a")).unwrap();
        runs.map(|run| run.unwrap().path()).max().unwrap()
    }
}

pub fn words(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// The same with `--verify`, for a server that answers as `does` decides.
pub fn verify(does: impl Fn(&str) -> Option<Does> + Send + Sync + 'static) -> (Option<i32>, String) {
    let server = Server::start(does);
    Run::new(&server.address, "", &["--verify"]).output()
}
