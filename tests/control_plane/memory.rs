//! Answers that take far more memory than bytes: the program stays within a bound of the system's.

use bytes::{BufMut, BytesMut};

use super::grpc::{Says, Server as GrpcServer};
use super::server::{Does, Run, Server};

/// Bytes of address space of the program and of each of its workers, in the shell's KiB.
const MOST: &str = "1048576";

/// The same program, within the bound.
fn bounded(run: &mut Run) -> (Option<i32>, String) {
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "ulimit -v \"$0\" && exec \"$@\"", MOST])
        .arg(run.command.get_program());
    shell.args(run.command.get_args()).current_dir(run.command.get_current_dir().unwrap());
    super::server::words(&shell.output().unwrap())
}

#[test]
fn json_of_many_small_parts_is_read_within_a_bound() {
    let many = |part: &str| part.repeat(4_000_000 / part.len()).trim_end_matches(',').to_owned();
    for (path, body) in [
        ("/v2", format!("{{\"extensions\": [{}]}}", many("\"\","))),
        ("/v2/models/m", format!("{{\"inputs\": [{}], \"outputs\": null}}", many("{},"))),
        ("/v2/models/m/config", format!("{{\"input\": [{}]}}", many("[],"))),
        ("/v2/models/m/config", format!("{{\"input\": [{}]}}", many("{\"a\":{}},"))),
    ] {
        let does = move |asked: &str| {
            (asked == path).then(|| Does::Answer("200 OK", "application/json", body.clone().into_bytes()))
        };
        let (code, words) = bounded(&mut Run::new(&Server::start(does).address, "", &["--verify"]));
        // tensors without a name fit no scenario
        let fits = path != "/v2/models/m";
        assert_eq!(code, Some(i32::from(!fits)), "{path}: {words}");
        assert!(!words.contains("memory allocation"), "{path}: {words}");
    }
}

#[test]
fn messages_of_many_small_parts_are_read_within_a_bound() {
    // a field's number of an empty message or list, again and again
    let many = |field: u8| [field << 3 | 2, 0].repeat(2_000_000);
    let within = |parts: Vec<u8>| {
        let mut message = BytesMut::from(&[10][..]);
        prost::encode_length_delimiter(parts.len(), &mut message).unwrap();
        message.put_slice(&parts);
        message.to_vec()
    };
    for (method, message, fits) in [
        ("ServerMetadata", many(3), true),
        ("ModelMetadata", many(4), false),
        ("ModelConfig", within(many(5)), true),
        ("ModelStatistics", many(1), true),
    ] {
        let server = GrpcServer::start(move |asked| (asked == method).then(|| Says::Message(message.clone())));
        let options: &[&str] = if method == "ModelStatistics" { &[] } else { &["--verify"] };
        let (code, words) = bounded(&mut server.run(options));
        assert_eq!(code, Some(i32::from(!fits)), "{method}: {words}");
        assert!(!words.contains("memory allocation"), "{method}: {words}");
    }
}
