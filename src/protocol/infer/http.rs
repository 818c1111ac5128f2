//! Inference over HTTP/1.1 with the binary tensor extension: a JSON header and the raw tensors in one body.
//! Must not know how requests are timed or counted.

use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use serde_json::json;
use tokio::io::AsyncRead;

use crate::protocol::headers::Destination;
use crate::protocol::infer::http1::{self, Connection, Keep, Memory};
use crate::protocol::stream::IoObserver;
use crate::protocol::web::{base_of, url};
use crate::protocol::{
    Answer, Elements, Fault, FaultKind, InferClient, InputTensor, OutputTensor, Payload, Reply, Request, json, words,
};
use crate::tensor::Tensors;
use crate::text;

/// Sends one request at a time, over its own connection.
pub struct Http {
    connection: Rc<Connection>,
    head: Bytes,
    body: Bytes,
    observer: Rc<dyn IoObserver>,
    memory: Memory,
    pattern: Option<Rc<Pattern>>,
}

/// The kept part of an answer: at least its JSON.
#[derive(Debug, PartialEq, Eq)]
pub struct Unread {
    /// Length of the JSON before the binary tensors, if any.
    json_length: Option<u64>,
    body_bytes: u64,
    /// The body or its start.
    kept: Vec<u8>,
}

/// An answer's JSON, which describes its tensors, and its size. If the tensors are in the JSON, the whole answer.
pub struct Pattern {
    json_length: Option<u64>,
    body_bytes: u64,
    json: Vec<u8>,
}

/// A request ready to be sent.
#[derive(Clone)]
pub struct Encoded {
    head: Bytes,
    body: Bytes,
}

impl InferClient for Http {
    type Encoded = Encoded;
    type Connection = Rc<Connection>;
    type Unread = Unread;
    type Pattern = Pattern;

    fn encode(to: &Destination, request: &Request) -> Result<Encoded, Fault> {
        let mut segments = vec!["models", request.model.as_str()];
        if let Some(version) = &request.version {
            segments.extend(["versions", version.as_str()]);
        }
        segments.push("infer");
        // of which the path is sent
        let url = url(&base_of(&to.address), &segments)?;
        let json = json_of(request)?;
        if request.tensors == Tensors::Json {
            return Ok(Encoded { head: head(to, url.path(), None, json.len()), body: Bytes::from(json) });
        }
        let tensors: usize = request.inputs.iter().map(|input| input.bytes.len()).sum();
        let mut body = BytesMut::with_capacity(json.len() + tensors);
        body.put_slice(&json);
        for input in &request.inputs {
            body.put_slice(&input.bytes);
        }
        Ok(Encoded { head: head(to, url.path(), Some(json.len()), body.len()), body: body.freeze() })
    }

    fn encoded_bytes(encoded: &Encoded) -> u64 {
        (encoded.head.len() + encoded.body.len()) as u64
    }

    fn connection(to: &Destination, observer: Rc<dyn IoObserver>) -> Rc<Connection> {
        Rc::new(Connection::new(&to.address, observer))
    }

    fn new(connection: Rc<Connection>, encoded: Encoded, observer: Rc<dyn IoObserver>) -> Self {
        let Encoded { head, body } = encoded;
        Http { connection, head, body, observer, memory: Memory::default(), pattern: None }
    }

    fn replace(&mut self, encoded: Encoded) {
        (self.head, self.body) = (encoded.head, encoded.body);
    }

    fn body_bytes(&self) -> u64 {
        self.body.len() as u64
    }

    async fn connect(&mut self) -> Result<(), Fault> {
        self.connection.connect().await
    }

    async fn infer(&mut self) -> Result<Reply<Unread>, Fault> {
        let Http { connection, head, body, observer, memory, pattern } = self;
        let keep = keep(pattern.as_deref());
        let response = connection.exchange(head, body, memory, &**observer, keep).await?;
        reply(&response, memory, pattern.as_deref())
    }

    fn follow(&mut self, pattern: Option<Rc<Pattern>>) {
        self.pattern = pattern;
    }

    /// The connection was dropped with the request.
    fn timed_out(&mut self) {}

    fn pattern(unread: &Unread) -> Option<Pattern> {
        let Unread { json_length, body_bytes, kept } = unread;
        let length = json_length.map_or(Some(kept.len()), |length| usize::try_from(length).ok())?;
        Some(Pattern { json_length: *json_length, body_bytes: *body_bytes, json: kept.get(..length)?.to_vec() })
    }

    fn read(unread: Unread) -> Result<Answer, Fault> {
        read(unread)
    }
}

/// Everything before a body of `length` bytes, of which the first `json_length` are JSON before binary tensors. Neither a
/// path from `Url` nor a scenario's address can contain a line break.
fn head(
    Destination { address, headers }: &Destination,
    path: &str,
    json_length: Option<usize>,
    length: usize,
) -> Bytes {
    let host = address.host_header.as_ref().unwrap_or(&address.authority);
    let kind = match json_length {
        Some(json) => format!("application/octet-stream\r\nInference-Header-Content-Length: {json}"),
        None => "application/json".to_owned(),
    };
    let mut head =
        format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n")
            .into_bytes();
    for (name, value) in headers {
        head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    Bytes::from(head)
}

impl Http {
    /// Reads an answer from anything that gives bytes, as [`InferClient::infer`] does from a connection.
    ///
    /// # Errors
    /// It is no answer of HTTP, or not a good one.
    pub async fn answer(
        stream: &mut (impl AsyncRead + Unpin),
        memory: &mut Memory,
        pattern: Option<&Pattern>,
    ) -> Result<Reply<Unread>, Fault> {
        let response = http1::receive(stream, memory, keep(pattern)).await?;
        reply(&response, memory, pattern)
    }
}

fn keep(pattern: Option<&Pattern>) -> Keep {
    if pattern.is_some() { Keep::Json } else { Keep::Whole }
}

/// The reply that an answer is.
fn reply(response: &http1::Response, memory: &mut Memory, pattern: Option<&Pattern>) -> Result<Reply<Unread>, Fault> {
    let http1::Response { status, json_length, body_bytes, .. } = *response;
    let kept = &mut memory.kept;
    let status = StatusCode::from_u16(status)
        .map_err(|_| Fault::new(FaultKind::Transport, format!("the answer's status is {status}")))?;
    match response.compressed {
        _ if !status.is_success() => return Err(refusal(status, kept)),
        Some(encoding) => return Err(compressed(encoding.name())),
        None => {}
    }
    match pattern {
        Some(pattern)
            if (pattern.body_bytes, pattern.json_length) == (body_bytes, json_length) && pattern.json == *kept =>
        {
            Ok(Reply::Same)
        }
        _ => Ok(Reply::Unread(Unread { json_length, body_bytes, kept: std::mem::take(kept) })),
    }
}

/// The error for a compressed body; the control plane requests no compression either.
pub(in crate::protocol) fn compressed(encoding: &str) -> Fault {
    let message = format!(
        "the answer is compressed (Content-Encoding: {encoding}), which was not asked for: is this a setting of a proxy?"
    );
    Fault::new(FaultKind::Answer, message)
}

/// The JSON of a request; includes the tensors unless they follow it in binary.
fn json_of(request: &Request) -> Result<Vec<u8>, Fault> {
    let binary = request.tensors == Tensors::Binary;
    let input = |input: &InputTensor| {
        let mut described = json!({"name": input.name, "shape": input.shape, "datatype": input.datatype.name()});
        if binary {
            described["parameters"] = json!({"binary_data_size": input.bytes.len()});
        } else {
            described["data"] = json::array(input)?;
        }
        Ok(described)
    };
    let output = |name: &String| match binary {
        true => json!({"name": name, "parameters": {"binary_data": true}}),
        false => json!({"name": name}),
    };
    let inputs = request.inputs.iter().map(input).collect::<Result<Vec<_>, Fault>>()?;
    let outputs: Vec<_> = request.outputs.iter().map(output).collect();
    let mut described = json!({"inputs": inputs, "outputs": outputs});
    if let Some(id) = &request.id {
        described["id"] = json!(id);
    }
    if !request.parameters.is_empty() {
        described["parameters"] = json!(request.parameters);
    }
    Ok(described.to_string().into_bytes())
}

/// The error for an answer that is not a success, with the server's message.
fn refusal(status: StatusCode, body: &[u8]) -> Fault {
    if let Some(words) = words::of_tls_page(status, body) {
        return Fault::new(FaultKind::Connect, words);
    }
    let kind = FaultKind::of_status(status.as_u16());
    Fault::new(kind, format!("HTTP {}: {}", status.as_u16(), words_of(status, body)))
}

/// The server's message in a body; also for the control plane.
pub(in crate::protocol) fn words_of(status: StatusCode, body: &[u8]) -> String {
    // the protocol's key, TorchServe's and FastAPI's
    let said = serde_json::from_slice::<serde_json::Value>(body).ok().and_then(|body| {
        let value = ["error", "message", "detail"].into_iter().find_map(|key| body.get(key).cloned())?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    });
    let body = body.trim_ascii();
    let reason = status.canonical_reason().unwrap_or("no reason given");
    match said {
        Some(words) if !words.is_empty() => words,
        _ if body.is_empty() => reason.to_owned(),
        _ if body.starts_with(b"<") => format!("an HTML page, perhaps a proxy's ({reason})"),
        _ => text::decoded(body).chars().take(200).collect(),
    }
}

/// Decodes an answer: the JSON, then each binary output in turn, as far as kept.
fn read(unread: Unread) -> Result<Answer, Fault> {
    let bad = |message: String| Fault::new(FaultKind::Answer, message);
    let Unread { json_length, body_bytes, kept } = unread;
    let kept = Bytes::from(kept);
    let total = usize::try_from(body_bytes).map_err(|_| crate::protocol::too_long())?;
    let json_length = json_length.map_or(total, |length| usize::try_from(length).unwrap_or(usize::MAX));
    let json = kept
        .get(..json_length)
        .map(|json| kept.slice_ref(json))
        .ok_or_else(|| bad(format!("the answer's JSON should hold {json_length} bytes, the answer holds {total}")))?;
    let mut at = json_length;
    let mut outputs = Vec::new();
    let answer = json::read(&json)?;
    for output in answer.outputs {
        let payload = match output.parameters.and_then(|parameters| parameters.binary_data_size) {
            Some(size) => {
                let end = at.checked_add(size).filter(|end| *end <= total);
                let end = end.ok_or_else(|| bad(format!("the output \"{}\" is cut short", output.name)))?;
                let payload = if end <= kept.len() { Payload::Raw(kept.slice(at..end)) } else { Payload::Size(size) };
                at = end;
                payload
            }
            None => Payload::Elements(
                output.data.map_or(Elements::default(), |(count, text)| Elements::Json { count, text }),
            ),
        };
        outputs.push(OutputTensor { name: output.name, datatype: output.datatype, shape: output.shape, payload });
    }
    if at != total {
        return Err(bad(format!("{} bytes follow the last output", total - at)));
    }
    Ok(Answer { id: answer.id.unwrap_or_default(), outputs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::tensor::{Datatype, Parameter, Parameters};

    fn request() -> Request {
        Request {
            model: "a/../b c".to_owned(),
            version: Some("3".to_owned()),
            id: None,
            inputs: vec![InputTensor {
                name: "x".to_owned(),
                datatype: Datatype::Uint8,
                shape: vec![1, 2],
                bytes: Bytes::from_static(&[7, 9]),
            }],
            outputs: vec!["y".to_owned()],
            tensors: Tensors::Binary,
            parameters: Parameters::new(),
        }
    }

    fn destination(text: &str) -> Destination {
        Destination::new(&Address::parse(text).unwrap()).unwrap()
    }

    /// The head of an encoded request, the JSON of its body and what follows it.
    fn parts(to: &Destination, request: &Request) -> (String, serde_json::Value, Bytes) {
        let Encoded { head, body } = Http::encode(to, request).unwrap();
        let head = String::from_utf8(head.to_vec()).unwrap();
        let length = head
            .split("Inference-Header-Content-Length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next());
        let length = length.map_or(body.len(), |length| length.parse().unwrap());
        (head, serde_json::from_slice(&body[..length]).unwrap(), body.slice(length..))
    }

    #[test]
    fn a_request_is_json_then_tensors_and_names_cannot_leave_their_segment() {
        let (head, header, tensors) = parts(&destination("localhost:8000"), &request());
        assert!(head.starts_with("POST /v2/models/a%2F..%2Fb%20c/versions/3/infer HTTP/1.1\r\n"), "{head}");
        let behind = parts(&destination("https://localhost:8000/triton"), &request()).0;
        assert!(
            behind.starts_with("POST /triton/v2/models/") && behind.contains("Host: localhost:8000\r\n"),
            "{behind}"
        );
        assert_eq!(header["inputs"][0]["parameters"]["binary_data_size"], 2);
        assert_eq!(header["outputs"][0]["parameters"]["binary_data"], true);
        assert_eq!(tensors, &[7, 9][..]);
    }

    #[test]
    fn parameters_are_those_of_the_whole_request() {
        let header = |request: &Request| parts(&destination("localhost:8000"), request).1;
        assert_eq!(header(&request()).get("parameters"), None);
        let parameters = Parameters::from([
            ("flag".to_owned(), Parameter::Flag(true)),
            ("priority".to_owned(), Parameter::Whole(2)),
            ("share".to_owned(), Parameter::Number(0.5)),
            ("user".to_owned(), Parameter::Text("a \"b\"".to_owned())),
        ]);
        let described = header(&Request { parameters, id: Some("7".to_owned()), ..request() });
        assert_eq!((&described["id"], header(&request()).get("id")), (&json!("7"), None));
        assert_eq!(described["parameters"], json!({"flag": true, "priority": 2, "share": 0.5, "user": "a \"b\""}));
    }

    #[test]
    fn a_request_may_be_all_json() {
        let all_json = Request { tensors: Tensors::Json, ..request() };
        let (head, json, _) = parts(&destination("a:1"), &all_json);
        assert_eq!(json["inputs"][0]["data"], json!([7, 9]));
        assert_eq!((&json["inputs"][0]["parameters"], &json["outputs"]), (&json!(null), &json!([{"name": "y"}])));
        assert!(head.contains("\r\nHost: a:1\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(head.contains("application/json") && !head.contains("Inference-Header"), "{head}");
        let mut address = Address::parse("a:1").unwrap();
        address.host_header = Some("m.example".to_owned());
        address.headers = vec![("x-team".to_owned(), crate::address::HeaderSource::Text("vision".to_owned()))];
        let told = parts(&Destination::new(&address).unwrap(), &all_json).0;
        assert!(told.contains("\r\nHost: m.example\r\n") && told.ends_with("\r\nx-team: vision\r\n\r\n"), "{told}");
    }

    const JSON: &str = r#"{"outputs":[{"name":"y","datatype":"FP32","shape":[1,1],"parameters":{"binary_data_size":4}},
        {"name":"z","datatype":"INT64","shape":[2,2],"data":[[1,2],[3,4]]}]}"#;

    fn unread(kept: &[u8], json_length: usize, body_bytes: usize) -> Unread {
        Unread {
            json_length: Some(json_length as u64),
            body_bytes: body_bytes as u64,
            kept: kept.to_vec(),
        }
    }

    #[test]
    fn an_answer_is_taken_apart_and_damage_is_said() {
        let body = [JSON.as_bytes(), &[0; 4]].concat();
        let answer = read(unread(&body, JSON.len(), body.len())).unwrap();
        assert!(matches!(&answer.outputs[0].payload, Payload::Raw(raw) if raw.len() == 4));
        assert!(matches!(answer.outputs[1].payload, Payload::Elements(Elements::Json { count: 4, .. })));
        // the tensors themselves need not be kept
        let answer = read(unread(JSON.as_bytes(), JSON.len(), body.len())).unwrap();
        assert!(matches!(answer.outputs[0].payload, Payload::Size(4)));
        for (body, length, words) in [
            (&body[..body.len() - 1], JSON.len(), "cut short"),
            (&body[..], JSON.len() + 9, "should hold"),
            (&[&body[..], &[1]].concat()[..], JSON.len(), "follow the last output"),
            (&b"{}"[..], 2, "cannot be read"),
        ] {
            let fault = read(unread(body, length, body.len())).unwrap_err();
            assert_eq!(fault.kind, FaultKind::Answer);
            assert!(fault.message.contains(words), "{}", fault.message);
        }
    }

    #[test]
    fn a_refusal_is_in_the_server_s_words() {
        for (body, words) in [
            (r#"{"error":"no such model"}"#, "HTTP 422: no such model"),
            (r#"{"detail":[{"msg":"JSON decode error"}]}"#, r#"HTTP 422: [{"msg":"JSON decode error"}]"#),
            (r#"{"code":503,"message":"Prediction failed"}"#, "HTTP 422: Prediction failed"),
            ("<html><h1>502</h1>", "HTTP 422: an HTML page, perhaps a proxy's (Unprocessable Entity)"),
            ("Internal Server Error\n", "HTTP 422: Internal Server Error"),
            ("", "HTTP 422: Unprocessable Entity"),
        ] {
            assert_eq!(refusal(StatusCode::UNPROCESSABLE_ENTITY, body.as_bytes()).message, words);
        }
    }
}
