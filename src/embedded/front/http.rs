//! The HTTP endpoints of the protocol and of Triton's extensions.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::embedded::error::{Code, Error};
use crate::embedded::front::buffers::{Buffer, counted};
use crate::embedded::front::json;
use crate::embedded::front::json_answer;
use crate::embedded::front::memory::Grant;
use crate::embedded::model::repository::{Model, Repository};
use crate::embedded::observe::request_log::RequestTrace;
use crate::embedded::{REQUEST_BYTES_MAX, server_metadata};
use crate::proto;

/// Length of the JSON in a body that continues with raw tensors.
const JSON_LENGTH: &str = "inference-header-content-length";
/// Memory of parsed JSON, in bytes per byte of it: a digit and its comma become a value, in a list that grows.
const JSON_GROWTH: usize = 64;

type Shared = State<Arc<Repository>>;

/// The model that a path names: the newest version if it names none, and every model if it has no name.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Target {
    model: String,
    version: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        // axum's own refusal is not JSON
        let path = Path::from_request_parts(parts, state).await;
        let Path(target): Path<Target> = path.map_err(|refusal| Error::invalid(refusal.body_text()))?;
        // Triton's paths take digits only
        if !target.version.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Error::new(Code::NotFound, "Not Found"));
        }
        Ok(target)
    }
}

impl Target {
    fn find(&self, models: &Repository) -> Result<Arc<Model>, Error> {
        models.find(&self.model, &self.version)
    }
}

/// All endpoints.
pub fn router(repository: Arc<Repository>) -> Router {
    let mut router = Router::new()
        .route("/v2", get(async || answered(proto::to_json(&server_metadata()))))
        .route("/v2/health/live", get(async || StatusCode::OK))
        .route("/v2/health/ready", get(async || StatusCode::OK))
        .route("/v2/models/stats", get(statistics))
        .route("/v2/repository/index", post(index))
        .route("/v2/repository/models/{model}/load", post(load))
        .route("/v2/repository/models/{model}/unload", post(unload));
    for model in ["/v2/models/{model}", "/v2/models/{model}/versions/{version}"] {
        router = router
            .route(model, get(metadata))
            .route(&format!("{model}/config"), get(config))
            .route(&format!("{model}/stats"), get(statistics))
            .route(&format!("{model}/ready"), get(ready))
            .route(&format!("{model}/infer"), post(infer));
    }
    // Triton's other extensions are answered as not supported
    for path in [
        "/v2/systemsharedmemory/{*rest}",
        "/v2/cudasharedmemory/{*rest}",
        "/v2/trace/setting",
        "/v2/models/{model}/trace/setting",
        "/v2/logging",
        "/v2/models/{model}/generate",
        "/v2/models/{model}/generate_stream",
    ] {
        router = router.route(path, any(async || Error::unsupported("this extension is not supported by this server")));
    }
    router
        .fallback(async || error(StatusCode::NOT_FOUND, "Not Found"))
        .method_not_allowed_fallback(async || error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"))
        .with_state(repository)
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        error(self.http_status(), &self.message)
    }
}

fn error(status: StatusCode, words: &str) -> Response {
    (status, json_of(&json!({"error": words}))).into_response()
}

fn json_of(value: &Value) -> impl IntoResponse {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], value.to_string())
}

fn answered(value: anyhow::Result<Value>) -> Response {
    match value {
        Ok(value) => json_of(&value).into_response(),
        Err(error) => Error::internal(format!("{error:#}")).into_response(),
    }
}

async fn metadata(State(models): Shared, target: Target) -> Result<Response, Error> {
    Ok(answered(proto::to_json(&target.find(&models)?.metadata())))
}

async fn config(State(models): Shared, target: Target) -> Result<Response, Error> {
    Ok(answered(proto::to_json(&target.find(&models)?.config.answer)))
}

async fn statistics(State(models): Shared, target: Target) -> Result<Response, Error> {
    let model_stats = models.statistics(&target.model, &target.version)?;
    Ok(answered(proto::to_json(&proto::ModelStatisticsResponse { model_stats })))
}

async fn ready(State(models): Shared, target: Target) -> Response {
    match target.find(&models) {
        Ok(_) => StatusCode::OK.into_response(),
        Err(_) => error(StatusCode::BAD_REQUEST, "Model version not ready"),
    }
}

async fn index(State(models): Shared, request: Request) -> Result<Response, Error> {
    let body = json_body(request).await?;
    let only_ready = match body.get("ready") {
        None => false,
        Some(ready) => ready
            .as_bool()
            .ok_or_else(|| Error::internal("attempt to access JSON non-boolean as boolean"))?,
    };
    let rows = models.index(only_ready)?.into_iter().map(|model| {
        // unknown fields are left out, as in Triton
        let fields =
            [("name", model.name), ("version", model.version), ("state", model.state), ("reason", model.reason)];
        let known = fields.into_iter().filter(|(_, value)| !value.is_empty());
        Value::Object(known.map(|(key, value)| (key.to_owned(), value.into())).collect())
    });
    Ok(json_of(&rows.collect()).into_response())
}

async fn load(State(models): Shared, target: Target, request: Request) -> Result<Response, Error> {
    let body = json_body(request).await?;
    let mut config = None;
    for (key, value) in body.get("parameters").and_then(Value::as_object).into_iter().flatten() {
        config = match (key.as_str(), value) {
            ("config", Value::String(text)) => Some(text.clone()),
            ("config", _) => return Err(Error::internal("attempt to access JSON non-string as string")),
            _ => return Err(Error::internal(crate::embedded::load_parameter(key))),
        };
    }
    crate::embedded::load(models, target.model, config).await?;
    Ok(StatusCode::OK.into_response())
}

async fn unload(State(models): Shared, target: Target) -> StatusCode {
    models.unload(&target.model);
    StatusCode::OK
}

async fn infer(State(models): Shared, target: Target, request: Request) -> Result<Response, Error> {
    let model = target.find(&models)?;
    let (head, body) = request.into_parts();
    let json_length = json_length(&head.headers)?;
    let body = whole(&head.headers, body).await?;
    let values = Grant::of(json_length.unwrap_or(body.len()).saturating_mul(JSON_GROWTH))?;
    let (request, binary) = json::request(&body, json_length, &model.config)?;
    drop(values);
    drop(body);
    let id = request.id.clone();
    let answer = model.infer(request, &RequestTrace::of(&head.extensions)).await?;
    let delivery = answer.delivery;
    let body = json_answer::body(&model.config.name, model.version, &id, answer, &binary)?;
    let mut response = Response::new(Body::from(body.bytes));
    let headers = response.headers_mut();
    let kind = if body.json_length.is_some() { "application/octet-stream" } else { "application/json" };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(length) = body.json_length {
        headers.insert(JSON_LENGTH, HeaderValue::from(length));
    }
    response.extensions_mut().insert(delivery);
    Ok(response)
}

fn json_length(headers: &HeaderMap) -> Result<Option<usize>, Error> {
    let Some(value) = headers.get(JSON_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    length
        .map(Some)
        .ok_or_else(|| Error::invalid(format!("Inference-Header-Content-Length is not a number of bytes: {value:?}")))
}

async fn json_body(request: Request) -> Result<Value, Error> {
    let (head, body) = request.into_parts();
    let body = whole(&head.headers, body).await?;
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body)
        .map_err(|error| Error::internal(format!("failed to parse the request JSON buffer: {error}")))
}

/// A request's body in one piece.
async fn whole(headers: &HeaderMap, mut body: Body) -> Result<Bytes, Error> {
    if let Some(encoding) = headers.get(CONTENT_ENCODING)
        && encoding != "identity"
    {
        return Err(Error::unsupported(
            "compressed requests are not supported by this server: send no Content-Encoding",
        ));
    }
    let told = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let too_large = || Error::invalid(format!("a request may have at most {REQUEST_BYTES_MAX} bytes"));
    if told.is_some_and(|length| length > REQUEST_BYTES_MAX) {
        return Err(too_large());
    }
    let mut buffer = Buffer::for_bytes(told.unwrap_or(0));
    let mut received = 0;
    let mut refused = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::invalid(format!("the request's body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        received += data.len();
        if received > REQUEST_BYTES_MAX {
            return Err(too_large());
        }
        if told == Some(data.len()) {
            return counted(data);
        }
        // a client that is refused in the middle of its body may not read the answer
        if refused.is_none()
            && let Err(error) = buffer.extend(&data)
        {
            refused = Some(error);
            buffer = Buffer::default();
        }
    }
    match refused {
        Some(error) => Err(error),
        None => Ok(buffer.freeze()),
    }
}
