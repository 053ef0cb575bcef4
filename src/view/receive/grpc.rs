//! OTLP over gRPC. A call has one message each way, so the protocol is a few headers and five bytes before a message
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>); by hand, so that what is unpacked and decoded
//! is bounded as it is over HTTP.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::Message;
use tonic::Code;

use super::measure::{self, Part};
use super::{Answer, MAX_MESSAGE_BYTES, Refusal, Shared, Signal, body};
use crate::config;

/// A flag, and the length in four bytes.
const PREFIX_BYTES: usize = 5;

/// What `grpc-message` keeps as it is.
const PLAIN: &AsciiSet = &CONTROLS.add(b'%');

/// Whether a request says that it is gRPC.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    said.is_some_and(|said| said == "application/grpc" || said.starts_with("application/grpc+"))
}

/// What is sent by a call of this method.
pub fn signal(uri: &Uri) -> Option<Signal> {
    let signals = [
        (config::Signal::Traces, Signal::Traces),
        (config::Signal::Logs, Signal::Logs),
        (config::Signal::Metrics, Signal::Metrics),
    ];
    signals.into_iter().find(|(signal, _)| signal.grpc_path() == uri.path()).map(|(_, signal)| signal)
}

/// Answers a call.
pub async fn answer(shared: &Shared, signal: Signal, request: Request<Incoming>) -> Answer {
    match take(shared, signal, request).await {
        Ok(message) => success(message),
        Err(refusal) => failure(code(&refusal), &refusal.to_string()),
    }
}

/// The answer to a method that nobody has.
pub fn unimplemented() -> Answer {
    failure(Code::Unimplemented, "there is no such method here")
}

async fn take(shared: &Shared, signal: Signal, request: Request<Incoming>) -> Result<Vec<u8>, Refusal> {
    let encoding = request.headers().get("grpc-encoding").cloned();
    let held = body::read(request.into_body(), &shared.budget).await?;
    // Metrics are welcome and not even looked at: a sender with one address for everything must not retry them for ever.
    if signal == Signal::Metrics {
        return Ok(ExportMetricsServiceResponse { partial_success: None }.encode_to_vec());
    }
    let (is_packed, message) = unframed(&held.bytes)?;
    let unpacked = match (is_packed, encoding.as_ref().map(HeaderValue::as_bytes)) {
        (false, _) | (true, Some(b"identity")) => None,
        (true, Some(b"gzip")) => Some(body::unzip(message)?),
        (true, Some(b"zstd")) => Some(body::unzstd(message)?),
        (true, _) => return Err(Refusal::Unsupported("grpc-encoding must be gzip, zstd, identity or absent")),
    };
    let message = unpacked.as_deref().unwrap_or(message);
    if signal == Signal::Logs {
        shared.take_logs(decode(Part::Logs, message)?);
        return Ok(ExportLogsServiceResponse { partial_success: None }.encode_to_vec());
    }
    let partial_success = shared.take_spans(decode(Part::Traces, message)?);
    Ok(ExportTraceServiceResponse { partial_success }.encode_to_vec())
}

/// The one message of a call, and whether it is packed.
fn unframed(body: &[u8]) -> Result<(bool, &[u8]), Refusal> {
    let Some((&[flag, length @ ..], message)) = body.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(Refusal::Unreadable("it is no gRPC message".to_owned()));
    };
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE_BYTES {
        return Err(Refusal::TooLarge);
    }
    if length != message.len() || flag > 1 {
        return Err(Refusal::Unreadable(format!("a gRPC message of {length} bytes came with {}", message.len())));
    }
    Ok((flag == 1, message))
}

fn decode<M: Message + Default>(part: Part, message: &[u8]) -> Result<M, Refusal> {
    measure::protobuf(part, message)?;
    M::decode(message).map_err(|error| Refusal::Unreadable(error.to_string()))
}

fn success(message: Vec<u8>) -> Answer {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(Code::Ok as i32));
    let body = Full::<Bytes>::new(framed.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    grpc(Response::new(body.boxed_unsync()))
}

/// A status alone comes in the headers.
fn failure(code: Code, message: &str) -> Answer {
    let mut response = grpc(Response::new(Empty::new().boxed_unsync()));
    let message = utf8_percent_encode(message, PLAIN).to_string();
    response.headers_mut().insert("grpc-status", HeaderValue::from(code as i32));
    if let Ok(message) = HeaderValue::from_str(&message) {
        response.headers_mut().insert("grpc-message", message);
    }
    response
}

fn grpc(mut response: Answer) -> Answer {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn code(refusal: &Refusal) -> Code {
    match refusal {
        // What OTLP retries.
        Refusal::Busy => Code::Unavailable,
        Refusal::Late => Code::DeadlineExceeded,
        Refusal::TooLarge | Refusal::TooMuch => Code::ResourceExhausted,
        Refusal::Unreadable(_) => Code::InvalidArgument,
        Refusal::Unsupported(_) => Code::Unimplemented,
    }
}
