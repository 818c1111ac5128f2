//! The HTTP endpoints of the protocol and of Triton's extensions.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::buffers::Buffer;
use super::error::{Code, Error};
use super::json;
use super::repository::{Model, Repository};
use super::{REQUEST_BYTES_MAX, server_metadata};
use crate::proto;

/// Length of the JSON in a body with raw tensors behind it.
const JSON_LENGTH: &str = "inference-header-content-length";

type Shared = State<Arc<Repository>>;
type Named = Path<String>;
type Versioned = Path<(String, String)>;

/// All endpoints.
pub fn router(repository: Arc<Repository>) -> Router {
    let mut router = Router::new()
        .route("/v2", get(async || answered(proto::to_json(&server_metadata()))))
        .route("/v2/health/live", get(async || StatusCode::OK))
        .route("/v2/health/ready", get(async || StatusCode::OK))
        .route("/v2/models/stats", get(async |State(models): Shared| statistics(&models, "", "")))
        .route("/v2/repository/index", post(index))
        .route("/v2/repository/models/{model}/load", post(load))
        .route("/v2/repository/models/{model}/unload", post(unload))
        .route("/v2/models/{model}", get(async |State(models): Shared, Path(name): Named| metadata(&models, &name, "")))
        .route(
            "/v2/models/{model}/versions/{version}",
            get(async |State(models): Shared, Path((name, version)): Versioned| metadata(&models, &name, &version)),
        )
        .route("/v2/models/{model}/config", get(async |State(models): Shared, Path(name): Named| config(&models, &name, "")))
        .route(
            "/v2/models/{model}/versions/{version}/config",
            get(async |State(models): Shared, Path((name, version)): Versioned| config(&models, &name, &version)),
        )
        .route("/v2/models/{model}/stats", get(async |State(models): Shared, Path(name): Named| statistics(&models, &name, "")))
        .route(
            "/v2/models/{model}/versions/{version}/stats",
            get(async |State(models): Shared, Path((name, version)): Versioned| statistics(&models, &name, &version)),
        )
        .route("/v2/models/{model}/ready", get(async |State(models): Shared, Path(name): Named| ready(&models, &name, "")))
        .route(
            "/v2/models/{model}/versions/{version}/ready",
            get(async |State(models): Shared, Path((name, version)): Versioned| ready(&models, &name, &version)),
        )
        .route(
            "/v2/models/{model}/infer",
            post(async |State(models): Shared, Path(name): Named, request: Request| {
                infer(&models, &name, "", request).await
            }),
        )
        .route(
            "/v2/models/{model}/versions/{version}/infer",
            post(async |State(models): Shared, Path((name, version)): Versioned, request: Request| {
                infer(&models, &name, &version, request).await
            }),
        );
    // Triton's further extensions are known, and answered, as not offered
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

/// A version in a path; Triton's paths take digits only.
fn find(models: &Repository, name: &str, version: &str) -> Result<Arc<Model>, Error> {
    if !version.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::new(Code::NotFound, "Not Found"));
    }
    models.find(name, version)
}

fn metadata(models: &Repository, name: &str, version: &str) -> Result<Response, Error> {
    Ok(answered(proto::to_json(&find(models, name, version)?.metadata())))
}

fn config(models: &Repository, name: &str, version: &str) -> Result<Response, Error> {
    Ok(answered(proto::to_json(&find(models, name, version)?.config.answer)))
}

fn statistics(models: &Repository, name: &str, version: &str) -> Result<Response, Error> {
    let model_stats = models.statistics(name, version)?;
    Ok(answered(proto::to_json(&proto::ModelStatisticsResponse { model_stats })))
}

fn ready(models: &Repository, name: &str, version: &str) -> Response {
    match find(models, name, version) {
        Ok(_) => StatusCode::OK.into_response(),
        Err(_) => error(StatusCode::BAD_REQUEST, "Model version not ready"),
    }
}

async fn index(State(models): Shared, request: Request) -> Result<Response, Error> {
    let body = json_body(request).await?;
    let only_ready = body.get("ready").and_then(Value::as_bool).unwrap_or(false);
    let rows = models.index(only_ready)?.into_iter().map(|model| {
        // what is not known is left out, as Triton does
        let fields = [("name", model.name), ("version", model.version), ("state", model.state), ("reason", model.reason)];
        let known = fields.into_iter().filter(|(_, value)| !value.is_empty());
        Value::Object(known.map(|(key, value)| (key.to_owned(), value.into())).collect())
    });
    Ok(json_of(&rows.collect()).into_response())
}

async fn load(State(models): Shared, Path(name): Named, request: Request) -> Result<Response, Error> {
    let body = json_body(request).await?;
    let mut config = None;
    for (key, value) in body.get("parameters").and_then(Value::as_object).into_iter().flatten() {
        config = match (key.as_str(), value) {
            ("config", Value::String(text)) => Some(text.clone()),
            _ => return Err(load_parameter(key)),
        };
    }
    super::load(models, name, config).await?;
    Ok(StatusCode::OK.into_response())
}

/// The answer to a parameter of a load that is not its configuration.
pub fn load_parameter(key: &str) -> Error {
    Error::unsupported(format!("parameter '{key}' of a load is not supported by this server: only 'config' is"))
}

async fn unload(State(models): Shared, Path(name): Named) -> Result<Response, Error> {
    models.unload(&name)?;
    Ok(StatusCode::OK.into_response())
}

async fn infer(models: &Repository, name: &str, version: &str, request: Request) -> Result<Response, Error> {
    let model = find(models, name, version)?;
    let (head, body) = request.into_parts();
    let json_length = json_length(&head.headers)?;
    let body = whole(&head.headers, body).await?;
    let (request, binary) = json::request(&body, json_length)?;
    drop(body);
    let id = request.id.clone();
    let answer = model.infer(request).await?;
    let delivery = answer.delivery;
    let body = json::answer(&model, &id, answer, &binary)?;
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
    let words = "Inference-Header-Content-Length is not a number of bytes";
    length.map(Some).ok_or_else(|| Error::invalid(words))
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
        return Err(Error::unsupported("compressed requests are not supported by this server: send no Content-Encoding"));
    }
    let told = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let too_large = || Error::invalid(format!("a request may have at most {REQUEST_BYTES_MAX} bytes"));
    if told.is_some_and(|length| length > REQUEST_BYTES_MAX) {
        return Err(too_large());
    }
    let mut buffer = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::invalid(format!("the request's body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if buffer.is_none() && told == Some(data.len()) {
            return Ok(data);
        }
        let buffer = buffer.get_or_insert_with(|| Buffer::for_bytes(told.unwrap_or(0)));
        if buffer.len() + data.len() > REQUEST_BYTES_MAX {
            return Err(too_large());
        }
        buffer.extend(&data);
    }
    Ok(buffer.map_or_else(Bytes::new, Buffer::freeze))
}
