//! OTLP over HTTP, protobuf and JSON, answered in the encoding of the request as the specification asks:
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.

use std::io::Read;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use flate2::read::MultiGzDecoder;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

use super::{MAX_MESSAGE_BYTES, Shared};

/// Serves until the task is dropped.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(listener: TcpListener, store: Shared) -> std::io::Result<()> {
    let router = Router::new()
        .route("/v1/traces", post(traces))
        .route("/v1/logs", post(logs))
        .route("/v1/metrics", post(metrics))
        .with_state(store);
    axum::serve(listener, router).await
}

async fn traces(State(store): State<Shared>, request: Request) -> Result<Response, Refusal> {
    let (encoding, body) = read(request).await?;
    let partial_success = store.take_spans(encoding.decode::<ExportTraceServiceRequest>(&body)?);
    Ok(encoding.answer(StatusCode::OK, &ExportTraceServiceResponse { partial_success }))
}

async fn logs(State(store): State<Shared>, request: Request) -> Result<Response, Refusal> {
    let (encoding, body) = read(request).await?;
    store.take_logs(encoding.decode::<ExportLogsServiceRequest>(&body)?);
    Ok(encoding.answer(StatusCode::OK, &ExportLogsServiceResponse { partial_success: None }))
}

/// Metrics are welcome and not even looked at.
async fn metrics(request: Request) -> Result<Response, Refusal> {
    let (encoding, _body) = read(request).await?;
    Ok(encoding.answer(StatusCode::OK, &ExportMetricsServiceResponse { partial_success: None }))
}

#[derive(Clone, Copy, Debug)]
enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let media_type = headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim();
        match media_type.to_ascii_lowercase().as_str() {
            "application/x-protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }

    fn decode<M: Message + Default + DeserializeOwned>(self, body: &[u8]) -> Result<M, Refusal> {
        let decoded = match self {
            Self::Protobuf => M::decode(body).map_err(|error| error.to_string()),
            Self::Json => serde_json::from_slice(body).map_err(|error| error.to_string()),
        };
        decoded.map_err(|error| Refusal::unreadable(self, format!("the body is not what OTLP expects: {error}")))
    }

    fn answer(self, status: StatusCode, message: &(impl Message + Serialize)) -> Response {
        let (media_type, body) = match self {
            Self::Protobuf => ("application/x-protobuf", message.encode_to_vec()),
            Self::Json => ("application/json", without_nulls(message)),
        };
        (status, [(CONTENT_TYPE, media_type)], body).into_response()
    }
}

/// The generated types write `{"partialSuccess":null}` for success; a sender that looks into it would rather find `{}`.
fn without_nulls(message: &impl Serialize) -> Vec<u8> {
    let mut value = serde_json::to_value(message).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
    }
    value.to_string().into_bytes()
}

/// Why a request is not taken.
struct Refusal {
    encoding: Encoding,
    status: StatusCode,
    message: String,
}

/// `google.rpc.Status` without its details, which OTLP sends back for every error.
#[derive(Clone, PartialEq, Message, Serialize)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

impl Refusal {
    fn unreadable(encoding: Encoding, message: String) -> Self {
        Self { encoding, status: StatusCode::BAD_REQUEST, message }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = tonic::Code::InvalidArgument as i32;
        self.encoding.answer(self.status, &RpcStatus { code, message: self.message })
    }
}

async fn read(request: Request<Body>) -> Result<(Encoding, Bytes), Refusal> {
    let Some(encoding) = Encoding::of(request.headers()) else {
        return Err(Refusal {
            encoding: Encoding::Json,
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            message: "Content-Type must be application/x-protobuf or application/json".to_owned(),
        });
    };
    let compression = request.headers().get(CONTENT_ENCODING).cloned();
    let body = to_bytes(request.into_body(), MAX_MESSAGE_BYTES).await.map_err(|_| too_large(encoding))?;
    match compression.as_ref().map(|compression| compression.as_bytes().to_ascii_lowercase()).as_deref() {
        None | Some(b"" | b"identity") => Ok((encoding, body)),
        Some(b"gzip") => Ok((encoding, unzip(&body, encoding)?)),
        Some(_) => Err(Refusal {
            encoding,
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            message: "Content-Encoding must be gzip or absent".to_owned(),
        }),
    }
}

fn unzip(body: &[u8], encoding: Encoding) -> Result<Bytes, Refusal> {
    let mut unzipped = Vec::new();
    // One byte over the limit tells that there is more, without unpacking all of it.
    let mut reader = MultiGzDecoder::new(body).take(MAX_MESSAGE_BYTES as u64 + 1);
    let read = reader.read_to_end(&mut unzipped);
    read.map_err(|error| Refusal::unreadable(encoding, format!("the body is not valid gzip: {error}")))?;
    if unzipped.len() > MAX_MESSAGE_BYTES { Err(too_large(encoding)) } else { Ok(unzipped.into()) }
}

fn too_large(encoding: Encoding) -> Refusal {
    Refusal {
        encoding,
        status: StatusCode::PAYLOAD_TOO_LARGE,
        message: format!("the body could not be read whole, or is larger than {MAX_MESSAGE_BYTES} bytes"),
    }
}
