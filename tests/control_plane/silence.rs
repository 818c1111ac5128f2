//! Servers that do not answer, or answer late.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runner::record::{Flag, RECORDS, Record, read, read_manifest};
use serde_json::json;

use super::server::{Does, Run, Server, ok};

#[test]
fn statistics_that_do_not_come_are_asked_for_once() {
    let server = Server::start(|path| path.ends_with("/stats").then_some(Does::Silence));
    let mut run = Run::new(&server.address, "", &[]);
    let (code, words) = run.output();
    assert_eq!(code, Some(0), "{words}");
    assert_eq!(server.count("/stats"), 1, "{words}");
    assert!(words.contains("no statistics of the server's own (http: no answer within 2 s)"), "{words}");
    let manifest = read_manifest(&run.newest()).unwrap();
    assert_eq!((manifest.statistics.as_str(), manifest.counts), ("http: no answer within 2 s", None));
    let records: Vec<Record> = read(&run.newest().join(RECORDS)).unwrap();
    assert!(
        records
            .iter()
            .all(|record| record.server_requests.is_none() && !record.flags.has(Flag::NoStatistics))
    );
}

#[test]
fn statistics_that_are_lost_on_the_way_are_a_flag() {
    let told = AtomicBool::new(false);
    let server = Server::start(move |path| match path.ends_with("/stats") {
        true if told.swap(true, Ordering::Relaxed) => Some(Does::Silence),
        true => ok(json!({"model_stats": [{"inference_count": 0}]})),
        false => None,
    });
    let mut run = Run::new(&server.address, "", &[]);
    let (code, words) = run.output();
    assert_eq!((code, server.count("/stats")), (Some(0), 2), "{words}");
    let records: Vec<Record> = read(&run.newest().join(RECORDS)).unwrap();
    assert!(records.iter().all(|record| record.flags.has(Flag::NoStatistics)), "{records:?}");
    assert!(words.contains("not over all blocks"), "{words}");
}

#[test]
fn a_configuration_that_does_not_come_is_done_without() {
    let server = Server::start(|path| path.ends_with("/config").then_some(Does::Silence));
    let (code, words) = Run::new(&server.address, "", &["--verify"]).output();
    assert_eq!((code, server.count("/config")), (Some(0), 1), "{words}");
    assert!(words.contains("the model's configuration (http: no answer within 2 s)"), "{words}");
}

#[test]
fn a_model_that_is_loaded_by_the_first_question_is_waited_for() {
    let server = Server::start(|path| {
        if path.ends_with("/m/ready") {
            std::thread::sleep(Duration::from_secs(11));
        }
        None
    });
    let (code, words) = Run::new(&server.address, "timeout_s = 60", &["--verify"]).output();
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("waiting for the server at") && words.contains("up to 60 s"), "{words}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_every_wait_for_the_control_plane() {
    for silent in ["/health/ready", "/models/m", "/stats"] {
        let asked = std::sync::Arc::new(AtomicBool::new(false));
        let seen = asked.clone();
        let server = Server::start(move |path| {
            let silent = path.ends_with(silent);
            seen.fetch_or(silent, Ordering::Relaxed);
            silent.then_some(Does::Silence)
        });
        let mut run = Run::new(&server.address, "timeout_s = 300", &[]);
        let child = run.command.spawn().unwrap();
        while !asked.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let pid = child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{silent}: {:?}", super::server::words(&output));
    }
}
