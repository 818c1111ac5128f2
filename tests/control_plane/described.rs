//! Metadata that servers leave out, refuse or describe otherwise.

use serde_json::json;

use super::server::{Does, Server, error, ok, page, verify};

/// One answer for a path; all others as from a good server.
fn but(path: &'static str, does: fn() -> Option<Does>) -> impl Fn(&str) -> Option<Does> + Send + Sync {
    move |asked| (asked == path).then(does).flatten()
}

const MODEL: &str = "/v2/models/m";

#[test]
fn metadata_with_nulls_or_without_tensors_is_measured_with_a_notice() {
    for (does, notice) in [
        (but("/v2", || ok(json!({"name": "fake", "version": null, "extensions": null}))), "configuration"),
        (but(MODEL, || ok(json!({"name": "m", "inputs": null}))), "type and shape of \"x\", \"y\""),
        (but(MODEL, || ok(json!({"name": "m", "inputs": [], "outputs": []}))), "type and shape of \"x\", \"y\""),
        (
            but(MODEL, || {
                let invalid = |name: &str| json!({"name": name, "datatype": "INVALID", "shape": []});
                ok(json!({"name": "m", "inputs": [invalid("x")], "outputs": [invalid("y")]}))
            }),
            "type and shape of \"x\", \"y\"",
        ),
    ] {
        let (code, words) = verify(does);
        assert_eq!(code, Some(0), "{words}");
        assert!(words.contains("does not tell") && words.contains(notice), "{notice}: {words}");
        assert_eq!(words.lines().filter(|line| line.contains("does not tell")).count(), 1, "{words}");
    }
}

#[test]
fn a_server_that_knows_infer_alone_is_measured() {
    for path in ["/v2/health/ready", "/v2/models/m/ready", MODEL, "/v2", "/v2/models/m/config"] {
        for does in [|| page("404 Not Found"), || error("400 Bad Request", "no such path"), || ok(json!("no object"))] {
            let (code, words) = verify(but(path, does));
            assert_eq!(code, Some(0), "{path}: {words}");
            assert!(!words.contains("not ready"), "{path}: {words}");
        }
    }
    let (code, words) = verify(|path| if path.ends_with("/infer") { None } else { page("404 Not Found") });
    assert!(code == Some(0) && words.contains("an HTML page"), "{words}");
}

#[test]
fn where_nothing_is_there_one_error_says_so() {
    let (code, words) = verify(|_| page("404 Not Found"));
    assert_eq!(code, Some(1), "{words}");
    assert_eq!(words.matches("error: ").count(), 1, "{words}");
    assert!(words.contains("HTTP 404") && words.contains("Host header") && !words.contains("  batch"), "{words}");
}

#[test]
fn an_unknown_model_is_said_in_the_server_s_words() {
    for status in ["400 Bad Request", "404 Not Found"] {
        let (code, words) = verify(move |path| {
            path.contains("/models/")
                .then(|| error(status, "Request for unknown model: 'm' is not found"))
                .flatten()
        });
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains("unknown model: 'm'") && !words.contains("its port"), "{words}");
        assert!(!words.contains("not ready") && !words.contains("  batch"), "{words}");
        assert!(!words.contains("Host header"), "{words}");
    }
}

#[test]
fn decoupled_models_and_sequences_are_refused_before_anything_is_sent() {
    for policy in ["model_transaction_policy", "sequence_batching"] {
        let server = Server::start(move |path| {
            path.ends_with("/config")
                .then(|| ok(json!({"max_batch_size": 8, policy: {"decoupled": true}})))
                .flatten()
        });
        let (code, words) = super::server::Run::new(&server.address, "", &["--verify"]).output();
        assert_eq!((code, server.count("/infer")), (Some(1), 0), "{words}");
        assert!(words.contains(policy) && words.contains("choose a model"), "{words}");
    }
}

#[test]
fn an_answer_without_an_end_is_not_read_to_it() {
    for path in ["/v2", MODEL, "/v2/models/m/config", "/v2/models/m/ready"] {
        let (code, words) = verify(move |asked| (asked == path).then_some(Does::Endless));
        assert_eq!(code, Some(0), "{path}: {words}");
        assert!(words.contains(&format!("the answer to GET {path} is larger than 4096 KiB")), "{path}: {words}");
    }
}

#[test]
fn deep_json_is_said_and_no_crash() {
    let deep = || Some(Does::Answer("200 OK", "application/json", r#"{"a":"#.repeat(1 << 18).into_bytes()));
    for path in ["/v2", MODEL, "/v2/models/m/config"] {
        let (code, words) = verify(but(path, deep));
        assert!(code == Some(0) && words.contains("cannot be read"), "{path}: {words}");
    }
}
