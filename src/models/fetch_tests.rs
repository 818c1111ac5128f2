//! All of `models::fetch` against a loopback server that sends the replies of a test.

use std::fs;
use std::io::{Cursor, Write};
use std::path::PathBuf;

use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::miniature::{artifact, det};
use super::super::{Artifact, Installed, Structure, weights_label};
use super::*;

const MEMBER: &str = "models/miniature.onnx";

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn ok(body: &[u8]) -> Vec<u8> {
    reply("200 OK", &format!("Content-Length: {}\r\n", body.len()), body)
}

/// One test's repository (inside `outer`, so that an escape is seen), and its artifact.
struct Case {
    outer: tempfile::TempDir,
    artifact: Artifact,
    accept: bool,
    progress: Vec<(u64, Option<u64>)>,
}

impl Case {
    /// The artifact that describes `archive` and `member` truthfully.
    fn new(archive: &[u8], name: &str, member: &[u8]) -> Case {
        let artifact = Artifact {
            sha256: hex(archive).to_uppercase(),
            member: name.to_owned(),
            member_sha256: hex(member),
            ..artifact(Structure::Scrfd)
        };
        Case { outer: tempfile::tempdir().unwrap(), artifact, accept: true, progress: Vec::new() }
    }

    /// Fetches from a server that gives one of `replies` to each connection in turn.
    fn fetch(&mut self, replies: Vec<Vec<u8>>) -> Result<Installed> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            self.artifact.url = format!("http://{}/models.zip", listener.local_addr().unwrap());
            tokio::spawn(async move {
                for reply in replies {
                    let (mut connection, _) = listener.accept().await.unwrap();
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        request.push(connection.read_u8().await.unwrap());
                    }
                    // The client may hang up early; that is not this side's failure.
                    let _ = connection.write_all(&reply).await;
                    let _ = connection.shutdown().await;
                }
            });
            let confirm = |licence: &str| {
                assert_eq!(licence, "non-commercial research only");
                Ok(self.accept)
            };
            let repository = self.outer.path().join("repository");
            let progress = |done, total| self.progress.push((done, total));
            super::super::fetch(&self.artifact, &repository, "scrfd", confirm, progress).await
        })
    }

    /// The error of a fetch that must leave no file.
    fn error(&mut self, replies: Vec<Vec<u8>>) -> String {
        let error = format!("{:#}", self.fetch(replies).unwrap_err());
        assert!(self.files().is_empty(), "{:?}", self.files());
        assert!(!self.outer.path().join("repository/scrfd").exists());
        error
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.outer.path().to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        files
    }
}

#[test]
fn success() {
    let model = det().encode_to_vec();
    let body = archive(&[("readme.txt", b"hello"), (MEMBER, &model)]);
    let mut case = Case::new(&body, MEMBER, &model);
    let folder = case.outer.path().join("repository/scrfd");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.pbtxt"), "name: \"scrfd\"\n").unwrap();
    let installed = case.fetch(vec![ok(&body)]).unwrap();
    let expected = ["1/model.onnx", "config.pbtxt", "configs/labelled.pbtxt"].map(|name| folder.join(name));
    assert_eq!(case.files(), expected);
    assert_eq!(installed.path, expected[0]);
    assert_eq!(installed.configurations, expected[2..]);
    assert_eq!(installed.label, format!("{MEMBER} sha256 {} from {}", hex(&model), case.artifact.url));
    assert_eq!(weights_label(&installed.path).unwrap(), Some(installed.label.clone()));
    assert!(fs::read_to_string(&expected[2]).unwrap().contains(&installed.label));
    let total = body.len() as u64;
    assert_eq!(case.progress.first(), Some(&(0, Some(total))));
    assert_eq!(case.progress.last(), Some(&(total, Some(total))));
}

#[test]
fn redirects_are_followed_and_an_old_model_is_replaced() {
    let model = det().encode_to_vec();
    let body = archive(&[(MEMBER, &model)]);
    let mut case = Case::new(&body, MEMBER, &model);
    let version = case.outer.path().join("repository/scrfd/1");
    fs::create_dir_all(&version).unwrap();
    fs::write(version.join("model.onnx"), "old").unwrap();
    let redirect = reply("302 Found", "Location: /elsewhere.zip\r\nContent-Length: 0\r\n", b"");
    let installed = case.fetch(vec![redirect, ok(&body)]).unwrap();
    assert_eq!(fs::metadata(installed.path).unwrap().len(), installed.bytes);
}

#[test]
fn a_failure_leaves_the_old_model() {
    let model = det().encode_to_vec();
    let body = archive(&[(MEMBER, &model)]);
    let mut case = Case::new(b"another archive", MEMBER, &model);
    let version = case.outer.path().join("repository/scrfd/1");
    fs::create_dir_all(&version).unwrap();
    fs::write(version.join("model.onnx"), "old").unwrap();
    case.fetch(vec![ok(&body)]).unwrap_err();
    assert_eq!(case.files(), [version.join("model.onnx")]);
    assert_eq!(fs::read(version.join("model.onnx")).unwrap(), b"old");
}

#[test]
fn wrong_archive_hash() {
    let model = det().encode_to_vec();
    let body = archive(&[(MEMBER, &model)]);
    let mut case = Case::new(b"another archive", MEMBER, &model);
    let error = case.error(vec![ok(&body)]);
    assert!(error.contains(&format!("has sha256 {}", hex(&body))), "{error}");
    assert!(error.contains("[artifact] sha256"), "{error}");
}

#[test]
fn wrong_member_hash() {
    let model = det().encode_to_vec();
    let body = archive(&[(MEMBER, &model)]);
    let error = Case::new(&body, MEMBER, b"another model").error(vec![ok(&body)]);
    assert!(error.contains("member \"models/miniature.onnx\" has sha256"), "{error}");
    assert!(error.contains("[artifact] member_sha256"), "{error}");
}

#[test]
fn missing_member() {
    let body = archive(&[("a.onnx", b"a"), ("b.onnx", b"b")]);
    let error = Case::new(&body, MEMBER, b"a").error(vec![ok(&body)]);
    assert!(error.contains("no member \"models/miniature.onnx\"; it has \"a.onnx\", \"b.onnx\""), "{error}");
}

#[test]
fn licence_refused() {
    let mut case = Case::new(b"", MEMBER, b"");
    case.accept = false;
    let error = case.error(vec![]);
    assert!(error.contains("licence of the weights was not accepted, so nothing was downloaded"), "{error}");
    assert!(error.contains("runner models synth scrfd"), "{error}");
    assert!(case.progress.is_empty());
    assert!(!case.outer.path().join("repository").exists());
}

#[test]
fn truncated_body() {
    let model = det().encode_to_vec();
    let body = archive(&[(MEMBER, &model)]);
    let mut short = ok(&body);
    short.truncate(short.len() - 100);
    let error = Case::new(&body, MEMBER, &model).error(vec![short]);
    assert!(error.contains("broke off after"), "{error}");
}

#[test]
fn not_found() {
    let error = Case::new(b"", MEMBER, b"").error(vec![reply("404 Not Found", "Content-Length: 4\r\n", b"gone")]);
    assert!(error.contains("answered 404 Not Found, expected the archive; correct [artifact] url"), "{error}");
}

#[test]
fn nobody_listens() {
    // The listener is dropped without accepting: the connection is closed without an answer.
    let error = Case::new(b"", MEMBER, b"").error(vec![]);
    assert!(error.contains("cannot download http://127.0.0.1"), "{error}");
}

#[test]
fn no_url() {
    let mut case = Case::new(b"", MEMBER, b"");
    case.artifact.url = "not a url".to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fetched = member(&case.artifact, case.outer.path(), |_, _| ());
    let error = format!("{:#}", runtime.block_on(fetched).unwrap_err());
    assert!(error.contains("[artifact] url \"not a url\" is no URL"), "{error}");
    assert!(case.files().is_empty());
}

#[test]
fn no_zip() {
    let body = b"<html>please log in</html>";
    let error = Case::new(body, MEMBER, b"").error(vec![ok(body)]);
    assert!(error.contains("it is not a zip archive"), "{error}");
}

#[test]
fn no_model() {
    let body = archive(&[(MEMBER, b"\xff\xff\xff")]);
    let error = Case::new(&body, MEMBER, b"\xff\xff\xff").error(vec![ok(&body)]);
    assert!(error.contains("is not an ONNX model"), "{error}");
}

#[test]
fn another_model() {
    let model = super::super::miniature::recognition().encode_to_vec();
    let body = archive(&[(MEMBER, &model)]);
    let error = Case::new(&body, MEMBER, &model).error(vec![ok(&body)]);
    assert!(error.contains("cannot make models/miniature.onnx from http"), "{error}");
    assert!(error.contains("found BatchNormalization"), "{error}");
}

#[test]
fn a_name_that_leads_outside_is_only_compared() {
    let model = det().encode_to_vec();
    let body = archive(&[("../../evil", &model), ("/tmp/runner-evil", b"evil"), ("../evil.txt", b"evil")]);
    let mut case = Case::new(&body, "../../evil", &model);
    let installed = case.fetch(vec![ok(&body)]).unwrap();
    let inside = case.outer.path().join("repository/scrfd");
    let files = case.files();
    assert!(files.contains(&installed.path) && files.iter().all(|file| file.starts_with(&inside)), "{files:?}");
    assert!(!Path::new("/tmp/runner-evil").exists());
}

#[test]
fn a_member_over_the_limit_is_not_unpacked() {
    let zeros = vec![0; 10_000];
    let body = archive(&[(MEMBER, &zeros)]);
    let case = Case::new(&body, MEMBER, &zeros);
    let mut part = Part::create(case.outer.path()).unwrap();
    part.write(&body).unwrap();
    let error = format!("{:#}", unpack(&case.artifact, &mut part, 9_999).unwrap_err());
    assert!(error.contains("is 10000 bytes, over the limit of 9999"), "{error}");
    assert_eq!(unpack(&case.artifact, &mut part, 10_000).unwrap(), zeros);
}

#[test]
fn a_member_that_lies_about_its_size_is_not_unpacked() {
    let zeros = vec![0; 10_000];
    let mut body = archive(&[(MEMBER, &zeros)]);
    // The size in the central directory, which readers trust.
    let directory = body.windows(4).rposition(|four| four == b"PK\x01\x02").unwrap();
    body[directory + 24..directory + 28].copy_from_slice(&5u32.to_le_bytes());
    let error = Case::new(&body, MEMBER, &zeros).error(vec![ok(&body)]);
    assert!(error.contains("miniature.onnx"), "{error}");
}
