//! Runs over TLS: a proxy in front of the embedded server takes it off, as proxies in front of real ones do.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use runner::record::{Manifest, RECORDS, Record, Status, read, read_manifest};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const CONFIG: &str = r#"
    backend: "loopback"
    max_batch_size: 4
    input [ { name: "x" data_type: TYPE_FP32 dims: [ 30000 ] } ]
    output [ { name: "y" data_type: TYPE_FP32 dims: [ 30000 ] } ]
    parameters { key: "copy.y" value { string_value: "x" } }
"#;

/// An authority, a server's certificate for a name and a client's, all as PEM files of a folder.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        for (file, of) in [("server", name), ("client", "client")] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![of.to_owned()]).unwrap();
            fs::write(folder.path().join(format!("{file}.pem")), params.signed_by(&key, &ca).unwrap().pem()).unwrap();
            fs::write(folder.path().join(format!("{file}.key")), key.serialize_pem()).unwrap();
        }
        Certificates(folder)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn read(&self, file: &str) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(self.path(file))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }

    /// The port of a proxy that speaks TLS and passes all on to `to`, until the test ends.
    fn proxy(&self, to: SocketAddr, spoken: &[u8], asks_for_client: bool) -> u16 {
        let mut trusted = RootCertStore::empty();
        self.read("ca.pem").into_iter().for_each(|ca| trusted.add(ca).unwrap());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match asks_for_client {
            true => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(trusted), provider)
                    .build()
                    .unwrap(),
            ),
            false => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::from_pem_file(self.path("server.key")).unwrap();
        let mut config = builder.with_single_cert(self.read("server.pem"), key).unwrap();
        config.alpn_protocols = vec![spoken.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(async {
                    let listener = TcpListener::from_std(listener).unwrap();
                    while let Ok((client, _)) = listener.accept().await {
                        let acceptor = acceptor.clone();
                        tokio::spawn(async move {
                            let mut client = acceptor.accept(client).await.ok()?;
                            let mut server = TcpStream::connect(to).await.ok()?;
                            server.set_nodelay(true).ok()?;
                            copy_bidirectional(&mut client, &mut server).await.ok()
                        });
                    }
                });
        });
        port
    }
}

/// The embedded server, with its addresses for HTTP and gRPC. It ends when its input does.
struct Server(Child, SocketAddr, SocketAddr);

impl Server {
    fn start(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("models/echo")).unwrap();
        fs::write(folder.join("models/echo/config.pbtxt"), CONFIG).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command.args([
            "serve",
            "--until-input-ends",
            "--http",
            "127.0.0.1:0",
            "--grpc",
            "127.0.0.1:0",
            "--model-repository",
        ]);
        let mut server = command
            .arg(folder.join("models"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = |protocol: &str| ready[protocol].as_str().unwrap().parse().unwrap();
        let (http, grpc) = (address("http"), address("grpc"));
        Server(server, http, grpc)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Runs a scenario with these lines for its server.
fn run(folder: &Path, server: &str) -> Output {
    run_with(folder, server, "[matrix]")
}

/// The same with these lines for its matrix.
fn run_with(folder: &Path, server: &str, matrix: &str) -> Output {
    let scenario = format!(
        "title = \"TLS\"\n[server]\n{server}\n[model]\nname = \"echo\"\n[[input]]\nname = \"x\"\ndatatype = \"FP32\"\nshape = [30000]\n\
         [[output]]\nname = \"y\"\n{matrix}\nprocesses = [1, 2]\n[load]\niterations = 30\nwarmup = 3\nblocks = 3\n"
    );
    fs::write(folder.join("tls.toml"), scenario).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command.current_dir(folder).args(["tls.toml", "--quiet"]).output().unwrap()
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn newest(folder: &Path) -> PathBuf {
    fs::read_dir(folder.join("results/tls"))
        .unwrap()
        .map(|run| run.unwrap().path())
        .max()
        .unwrap()
}

#[test]
fn a_run_over_tls_is_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let certificates = Certificates::new("localhost");
    let (http, grpc) = (certificates.proxy(server.1, b"http/1.1", true), certificates.proxy(server.2, b"h2", true));
    let [ca, certificate, key] = ["ca.pem", "client.pem", "client.key"].map(|file| certificates.path(file));
    let addresses = format!("http = \"https://localhost:{http}\"\ngrpc = \"grpcs://localhost:{grpc}\"\n");
    let identity = format!("tls_certificate = {certificate:?}\ntls_key = {key:?}\n");
    let output = run(folder.path(), &format!("{addresses}tls_ca = {ca:?}\n{identity}"));
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let run_folder = newest(folder.path());
    let records: Vec<Record> = read(&run_folder.join(RECORDS)).unwrap();
    assert_eq!(records.len(), 4);
    for row in &records {
        assert_eq!(
            (row.status, row.errors, row.requests),
            (Status::Ok, 0, 30 * u64::from(row.case.processes)),
            "{row:?}"
        );
        assert!(row.queue_ms.is_some() && row.reconnects == Some(0), "the control plane speaks TLS too: {row:?}");
        // 120,000 bytes and what TLS adds to them
        let sent = row.bytes_sent / row.requests;
        assert!((120_200..123_000).contains(&sent), "{sent}");
    }
    let manifest = fs::read_to_string(run_folder.join("run.json")).unwrap();
    assert!(manifest.contains(&format!("\"https://localhost:{http}\"")), "{manifest}");
    assert!(!manifest.contains("client.key"), "the key's place is nobody's business");

    // without the client's certificate
    let output = run(folder.path(), &format!("{addresses}tls_ca = {ca:?}\n"));
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(words(&output).contains("tls_certificate and tls_key"), "{}", words(&output));
}

#[test]
fn what_tls_costs_is_an_axis_whose_requests_one_server_counts() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let certificates = Certificates::new("localhost");
    let (http, grpc) = (certificates.proxy(server.1, b"http/1.1", false), certificates.proxy(server.2, b"h2", false));
    let plain = format!("http = \"{}\"\ngrpc = \"{}\"\n", server.1, server.2);
    let over_tls = format!("http_tls = \"https://localhost:{http}\"\ngrpc_tls = \"grpcs://localhost:{grpc}\"\n");
    let ca = certificates.path("ca.pem");
    let axis = "[matrix]\ntls = [\"off\", \"on\"]\ncompare = \"tls\"";
    let output = run_with(folder.path(), &format!("{plain}{over_tls}tls_ca = {ca:?}\n"), axis);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let run_folder = newest(folder.path());
    let records: Vec<Record> = read(&run_folder.join(RECORDS)).unwrap();
    let tags: Vec<String> = records.iter().map(|row| row.case.tag()).collect();
    assert_eq!(tags.len(), 8, "{tags:?}");
    for tag in ["http-tlsoff-b1-p1-c1", "http-tlson-b1-p1-c1", "grpc-tlsoff-b1-p2-c1", "grpc-tlson-b1-p2-c1"] {
        assert!(tags.iter().any(|found| found == tag), "{tags:?}");
    }
    for pair in records.chunks(2) {
        let [off, on] = pair else { panic!("{tags:?}") };
        assert!(off.bytes_sent < on.bytes_sent && off.requests == on.requests, "{off:?} {on:?}");
    }
    let manifest: Manifest = read_manifest(&run_folder).unwrap();
    assert!(manifest.counts.unwrap().agrees() && manifest.targets.len() == 1, "{manifest:?}");
    assert!(words(&output).contains("over TLS"), "{}", words(&output));

    // never what is not there under that name
    let embedded = |folder: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command
            .current_dir(folder)
            .args(["tls.toml", "--server", "embedded", "--model-repository", "models"])
            .output()
            .unwrap()
    };
    let output = embedded(folder.path());
    assert!(words(&output).contains("the embedded server has no TLS"), "{}", words(&output));
    let over_both =
        format!("http = \"https://localhost:{http}\"\ngrpc = \"{}\"\n{over_tls}tls_ca = {ca:?}\n", server.2);
    let output = run_with(folder.path(), &over_both, axis);
    assert!(words(&output).contains("the address of http is over TLS already"), "{}", words(&output));
}

#[test]
fn whom_the_client_trusts_is_its_own_choice() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let certificates = Certificates::new("triton.example");
    let (http, grpc) = (certificates.proxy(server.1, b"http/1.1", false), certificates.proxy(server.2, b"h2", false));
    let ca = certificates.path("ca.pem");
    let addresses = format!("http = \"https://localhost:{http}\"\ngrpc = \"grpcs://localhost:{grpc}\"\n");
    for (keys, code, told) in [
        (format!("tls_ca = {ca:?}\ntls_name = \"triton.example\"\n"), 0, "echo"),
        ("tls_insecure = true\n".to_owned(), 0, "echo"),
        (format!("tls_ca = {ca:?}\n"), 1, "give that with tls_name"),
        ("tls_name = \"triton.example\"\n".to_owned(), 1, "localhost"),
        ("tls_ca = \"none.pem\"\n".to_owned(), 2, "expected a file that exists"),
        (format!("tls_key = {ca:?}\n"), 2, "add tls_certificate"),
        ("tls_ca = \"tls.toml\"\n".to_owned(), 1, "has no certificates in PEM"),
    ] {
        let output = run(folder.path(), &format!("{addresses}{keys}"));
        assert_eq!(output.status.code(), Some(code), "{keys}: {}", words(&output));
        assert!(words(&output).contains(told), "{keys}: {}", words(&output));
    }
    // the port of another protocol, and of none at all
    let swapped =
        format!("http = \"https://localhost:{grpc}\"\ngrpc = \"grpcs://localhost:{http}\"\ntls_insecure = true\n");
    let plain = format!("http = \"https://{}\"\ngrpc = \"grpcs://{}\"\ntls_insecure = true\n", server.1, server.2);
    for (server, told) in [(swapped, "the port of another protocol?"), (plain, "is this the port of TLS?")] {
        let output = run(folder.path(), &server);
        assert_eq!(output.status.code(), Some(1), "{}", words(&output));
        assert!(words(&output).contains(told), "{told}: {}", words(&output));
    }
    let unused = format!("http = \"{}\"\ngrpc = \"{}\"\ntls_insecure = true\n", server.1, server.2);
    let output = run(folder.path(), &unused);
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
    assert!(words(&output).contains("no address of this server asks for TLS"), "{}", words(&output));
}

/// A proxy that passes all on to `to`, and what clients sent through it.
fn listening(to: SocketAddr) -> (u16, Arc<std::sync::Mutex<Vec<u8>>>) {
    use std::io::{Read, Write};

    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let all = heard.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = std::net::TcpStream::connect(to).unwrap();
            let (mut from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let heard = all.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = from.read(&mut buffer) {
                    heard.lock().unwrap().extend(&buffer[..read]);
                    if into.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
                let _ = into.shutdown(std::net::Shutdown::Write);
            });
            std::thread::spawn(move || std::io::copy(&mut { server }, &mut { client }));
        }
    });
    (port, heard)
}

#[test]
fn headers_go_with_every_request_and_secrets_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (http, heard) = listening(server.1);
    fs::write(folder.path().join("key"), "f1le-s3cret\n").unwrap();
    let lines = format!(
        "http = \"127.0.0.1:{http}\"\ngrpc = \"{}\"\nhost = \"echo.models.example\"\n\
         headers = {{x-team = \"vision\", authorization = {{env = \"TLS_TEST_TOKEN\", prefix = \"Bearer \"}}, x-key = {{file = \"key\"}}}}\n",
        server.2
    );
    let output = run(folder.path(), &lines);
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    let missing = "the header authorization: the environment variable TLS_TEST_TOKEN is not set";
    assert!(words(&output).contains(missing), "{}", words(&output));

    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command
        .current_dir(folder.path())
        .args(["tls.toml"])
        .env("TLS_TEST_TOKEN", "env-s3cret");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let heard = String::from_utf8_lossy(&heard.lock().unwrap()).to_lowercase();
    let requests = heard.matches("/infer http/1.1\r\n").count();
    assert!(requests >= 90, "{requests}");
    // and those of the control plane
    for line in [
        "host: echo.models.example\r\n",
        "x-team: vision\r\n",
        "authorization: bearer env-s3cret\r\n",
        "x-key: f1le-s3cret\r\n",
    ] {
        assert!(heard.matches(line).count() > requests, "{line}: {}", heard.matches(line).count());
    }
    let mut kept = words(&output).into_bytes();
    for file in fs::read_dir(newest(folder.path())).unwrap() {
        kept.extend(fs::read(file.unwrap().path()).unwrap());
    }
    let kept = String::from_utf8_lossy(&kept);
    assert!(kept.contains("TLS_TEST_TOKEN") && !kept.contains("s3cret"), "a secret is in the results");
}

/// A core dump would have the tokens, and the environment that they come from.
#[cfg(target_os = "linux")]
#[test]
fn no_process_of_the_program_leaves_a_core_dump() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.0.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(line.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{limits}");
}
