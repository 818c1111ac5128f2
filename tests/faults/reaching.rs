//! Servers that cannot be reached from the start: nothing is measured, no folder is made, and it is said why.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use runner::record::{BLOCKS, BlockRecord, read};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::run::{BLOCK, REQUESTS, SCENARIO, run_at, server_of};
use super::server::{Act, Server, good};
use super::table::{Line, quoted, tell, words};

/// An address that nobody listens on: its port was free a moment ago.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn well() -> Server {
    Server::start(&[-1, 3], true, |_| Act::Answer(good()))
}

/// What is said of a server that cannot be used, for each protocol alone.
fn told(key: &'static str, fault: &str, by: &str, test: &str, http: &str, grpc: &str, words: [&str; 2]) {
    told_of(SCENARIO, key, fault, by, test, http, grpc, words);
}

#[allow(clippy::too_many_arguments)]
fn told_of(
    scenario: &str,
    key: &'static str,
    fault: &str,
    by: &str,
    test: &str,
    http: &str,
    grpc: &str,
    words: [&str; 2],
) {
    let mut told = Vec::new();
    for (protocol, words) in ["http", "grpc"].into_iter().zip(words) {
        let done = run_at(scenario, http, grpc, &["--protocols", protocol]);
        let text = done.text();
        assert_eq!(done.output.status.code(), Some(1), "{text}");
        assert!(text.contains(words), "{protocol}: {text}");
        assert!(done.run().is_none(), "{protocol}: a run without anything measured");
        let error = text.lines().find_map(|line| line.strip_prefix("error: ")).unwrap();
        let (_, error) = error.split_once("faults.toml: ").unwrap();
        // the rest depends on what the other side does first
        let (before, _) = error.split_once("cannot be used").unwrap();
        told.push(quoted(&format!("{before}cannot be used .. {words}")));
    }
    tell(&Line { key: ("reaching", key), fault, by, told, test });
}

#[test]
fn a_port_that_nobody_listens_on_is_told() {
    told(
        "nobody listens",
        "nobody listens on the port",
        "nobody",
        "a_port_that_nobody_listens_on_is_told",
        &nobody(),
        &nobody(),
        ["Connection refused"; 2],
    );
}

#[test]
fn a_name_that_cannot_be_resolved_is_told() {
    // a domain that never exists (RFC 2606); what the system says of it depends on the machine's network
    for (protocol, port) in [("http", 8000), ("grpc", 8001)] {
        let [http, grpc] = [8000, 8001].map(|port| format!("no-such-host.invalid:{port}"));
        let done = run_at(SCENARIO, &http, &grpc, &["--protocols", protocol]);
        let text = done.text();
        assert_eq!(done.output.status.code(), Some(1), "{text}");
        assert!(
            text.contains(&format!("no-such-host.invalid:{port}")) && text.contains("can the name be resolved?"),
            "{text}"
        );
        assert!(done.run().is_none());
    }
    let words = "“the server at no-such-host.invalid:PORT cannot be used .. can the name be resolved?”";
    tell(&Line {
        key: ("reaching", "no such name"),
        fault: "the name of the server cannot be resolved",
        by: "a name of `.invalid`",
        told: vec![words.to_owned(); 2],
        test: "a_name_that_cannot_be_resolved_is_told",
    });
}

#[test]
fn the_port_of_another_protocol_is_told() {
    let server = well();
    told(
        "other port",
        "HTTP and gRPC are mixed up",
        "raw server",
        "the_port_of_another_protocol_is_told",
        &server.grpc,
        &server.http,
        ["the HTTP port, 8000", "the gRPC port, 8001"],
    );
}

/// The scenario with a server over TLS whose certificate nobody checks.
fn insecure() -> String {
    SCENARIO.replacen("    [model]", "    [server]\n    tls_insecure = true\n    [model]", 1)
}

const SLOW: Duration = Duration::from_secs(3);

/// The address of a proxy that speaks TLS and passes all on to `to`, until the test ends. Each time that `slow` is set, the next
/// connection waits this long before it agrees on TLS.
fn tls(to: &str, spoken: &[u8], slow: &Arc<AtomicBool>) -> String {
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut config = builder.with_single_cert(vec![own.der().clone()], key.into()).unwrap();
    config.alpn_protocols = vec![spoken.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let (address, to, slow) = (listener.local_addr().unwrap().to_string(), to.to_owned(), slow.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, to, is_slow) = (acceptor.clone(), to.clone(), slow.swap(false, Ordering::Relaxed));
                tokio::spawn(async move {
                    if is_slow {
                        tokio::time::sleep(SLOW).await;
                    }
                    let mut client = acceptor.accept(client).await.ok()?;
                    let mut server = TcpStream::connect(to).await.ok()?;
                    copy_bidirectional(&mut client, &mut server).await.ok()
                });
            }
        });
    });
    address
}

#[test]
fn tls_to_a_port_without_it_is_told() {
    let server = well();
    let [http, grpc] = [&server.http, &server.grpc].map(|address| format!("https://{address}"));
    told_of(
        &insecure(),
        "TLS to a plain port",
        "`https://` to a port without TLS",
        "raw server",
        "tls_to_a_port_without_it_is_told",
        &http,
        &grpc.replace("https", "grpcs"),
        ["TLS: ", "is this the port of TLS?"],
    );
}

#[test]
fn a_port_of_tls_that_is_asked_without_it_is_told() {
    let server = well();
    told(
        "plain to a TLS port",
        "`http://` to a port of TLS",
        "proxy with TLS",
        "a_port_of_tls_that_is_asked_without_it_is_told",
        &tls(&server.http, b"http/1.1", &Arc::default()),
        &tls(&server.grpc, b"h2", &Arc::default()),
        ["https://", "grpcs://"],
    );
}

#[test]
fn a_connection_that_breaks_behind_tls_is_an_error_of_its_request_alone() {
    let server = server_of(&[25, 28, 31], Act::Half);
    let http = format!("https://{}", tls(&server.http, b"http/1.1", &Arc::default()));
    let grpc = format!("grpcs://{}", tls(&server.grpc, b"h2", &Arc::default()));
    let done = run_at(&insecure(), &http, &grpc, &[]);
    let rows = done.rows();
    for row in &rows {
        assert_eq!((row.requests, row.errors), (REQUESTS - 3, 3), "{row:?}");
        assert_eq!(row.error_kinds.to_string(), "transport=3", "{row:?}");
        assert_eq!(done.blocks(row), [(BLOCK, 0), (BLOCK - 3, 3), (BLOCK, 0)], "{row:?}");
    }
    tell(&Line {
        key: ("connections", "through TLS"),
        fault: "the connection is closed within an answer, behind a proxy with TLS",
        by: "raw server, proxy with TLS",
        told: rows.iter().map(words).collect(),
        test: "a_connection_that_breaks_behind_tls_is_an_error_of_its_request_alone",
    });
}

#[test]
fn a_connection_that_is_made_again_is_in_no_latency() {
    let slow = [Arc::<AtomicBool>::default(), Arc::default()];
    let mut told = Vec::new();
    for (protocol, slow) in ["http", "grpc"].into_iter().zip(slow) {
        let next = slow.clone();
        let server = Server::start(&[-1, 3], true, move |n| {
            next.fetch_or(n == 28, Ordering::Relaxed);
            if n == 28 { Act::Half } else { Act::Answer(good()) }
        });
        let http = format!("https://{}", tls(&server.http, b"http/1.1", &slow));
        let grpc = format!("grpcs://{}", tls(&server.grpc, b"h2", &slow));
        let done = run_at(&insecure(), &http, &grpc, &["--protocols", protocol]);
        let row = done.rows().remove(0);
        assert_eq!((row.requests, row.errors, row.reconnects), (REQUESTS - 1, 1, Some(1)), "{row:?}");
        assert!(!slow.load(Ordering::Relaxed), "{protocol}: no connection was made again");
        assert!(row.max_ms < Some(SLOW.as_millis() as f64), "{row:?}");
        // the block took that time
        let blocks: Vec<BlockRecord> = read(&done.run().unwrap().join(BLOCKS)).unwrap();
        assert!(blocks[1].duration_s >= SLOW.as_secs_f64(), "{:?}", blocks[1]);
        told.push(words(&row));
    }
    tell(&Line {
        key: ("connections", "made again"),
        fault: "making the connection again takes 3 s: no latency is as long",
        by: "raw server, proxy with TLS",
        told,
        test: "a_connection_that_is_made_again_is_in_no_latency",
    });
}
