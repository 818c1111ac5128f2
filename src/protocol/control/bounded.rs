//! Answers of the control plane, read within limits of size and time. Must not know their meaning.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::CONTENT_ENCODING;

use crate::protocol::infer::http::compressed;
use crate::protocol::{Fault, FaultKind};

/// Largest answer of the control plane that is read, whatever size it announces.
pub const TOLD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The whole body of an answer, if it is not too large.
pub(in crate::protocol) async fn whole(mut response: Response, question: &str) -> Result<Vec<u8>, Fault> {
    if let Some(encoding) = response.headers().get(CONTENT_ENCODING) {
        return Err(compressed(encoding.to_str().unwrap_or("?")));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Fault::of_transport(&error))? {
        if body.len() + chunk.len() > TOLD_BYTES_MAX {
            return Err(too_large(question, TOLD_BYTES_MAX));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The error of an answer that did not come in time.
pub(in crate::protocol) fn too_late(limit: Duration) -> Fault {
    Fault::new(FaultKind::Timeout, format!("no answer within {} s", limit.as_secs_f64()))
}

/// The error of an answer that is too large to read.
pub(in crate::protocol) fn too_large(question: &str, most: usize) -> Fault {
    let most = most / 1024;
    Fault::new(FaultKind::Answer, format!("the answer to {question} is larger than {most} KiB, which is not read"))
}
