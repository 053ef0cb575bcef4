//! OTLP over HTTP, protobuf and JSON, answered in the encoding of the request as the specification asks:
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::Code;

use super::measure::{self, Part};
use super::{Answer, Refusal, Shared, Signal, body};

/// What is sent to this address.
pub fn signal(uri: &Uri) -> Option<Signal> {
    match uri.path() {
        "/v1/traces" => Some(Signal::Traces),
        "/v1/logs" => Some(Signal::Logs),
        "/v1/metrics" => Some(Signal::Metrics),
        _ => None,
    }
}

/// Answers a request.
pub async fn answer(shared: &Shared, signal: Signal, request: Request<Incoming>) -> Answer {
    let Some(encoding) = Encoding::of(request.headers()) else {
        const ACCEPTED: &str = "Content-Type must be application/x-protobuf or application/json";
        return Encoding::Json.refuse(&Refusal::Unsupported(ACCEPTED));
    };
    take(shared, signal, encoding, request).await.unwrap_or_else(|refusal| encoding.refuse(&refusal))
}

/// A status and nothing else.
pub fn status(status: StatusCode) -> Answer {
    let mut response = Response::new(Full::<Bytes>::default().boxed_unsync());
    *response.status_mut() = status;
    response
}

async fn take(
    shared: &Shared,
    signal: Signal,
    encoding: Encoding,
    request: Request<Incoming>,
) -> Result<Answer, Refusal> {
    let compression = request.headers().get(CONTENT_ENCODING).cloned();
    let held = body::read(request.into_body(), &shared.budget).await?;
    // Metrics are welcome and not even looked at.
    if signal == Signal::Metrics {
        return Ok(encoding.answer(StatusCode::OK, &ExportMetricsServiceResponse { partial_success: None }));
    }
    let compression = compression.as_ref().map(|compression| compression.as_bytes().to_ascii_lowercase());
    let unpacked = match compression.as_deref() {
        None | Some(b"" | b"identity") => None,
        Some(b"gzip") => Some(body::unzip(&held.bytes)?),
        Some(_) => return Err(Refusal::Unsupported("Content-Encoding must be gzip or absent")),
    };
    let message = unpacked.as_deref().unwrap_or(&held.bytes);
    if signal == Signal::Logs {
        shared.take_logs(encoding.decode(Part::Logs, message)?);
        return Ok(encoding.answer(StatusCode::OK, &ExportLogsServiceResponse { partial_success: None }));
    }
    let partial_success = shared.take_spans(encoding.decode(Part::Traces, message)?);
    Ok(encoding.answer(StatusCode::OK, &ExportTraceServiceResponse { partial_success }))
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

    fn decode<M: Message + Default + DeserializeOwned>(self, part: Part, message: &[u8]) -> Result<M, Refusal> {
        let decoded = match self {
            Self::Protobuf => {
                measure::protobuf(part, message)?;
                M::decode(message).map_err(|error| error.to_string())
            }
            Self::Json => {
                measure::json(message)?;
                serde_json::from_slice(message).map_err(|error| error.to_string())
            }
        };
        decoded.map_err(Refusal::Unreadable)
    }

    fn answer(self, status: StatusCode, message: &(impl Message + Serialize)) -> Answer {
        let (media_type, body) = match self {
            Self::Protobuf => ("application/x-protobuf", message.encode_to_vec()),
            Self::Json => ("application/json", without_nulls(message)),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        response
    }

    fn refuse(self, refusal: &Refusal) -> Answer {
        let (status, code) = match refusal {
            // What OTLP retries.
            Refusal::Busy => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
            Refusal::Late => (StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded),
            Refusal::TooLarge | Refusal::TooMuch => (StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted),
            Refusal::Unreadable(_) => (StatusCode::BAD_REQUEST, Code::InvalidArgument),
            Refusal::Unsupported(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument),
        };
        let mut response = self.answer(status, &RpcStatus { code: code as i32, message: refusal.to_string() });
        if *refusal == Refusal::Busy {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
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

/// `google.rpc.Status` without its details, which OTLP sends back for every error.
#[derive(Clone, PartialEq, Message, Serialize)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}
