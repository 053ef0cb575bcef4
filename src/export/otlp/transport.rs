//! Sends one message, once, over gRPC or HTTP, and says what the collector answered.

use std::time::Duration;

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;

use super::answer::{Answer, with_causes};
use super::codec::Encoded;
use super::connection::{HttpClient, client};
use crate::config::{Compression, Endpoint, Protocol, Signal};

/// The answer of a collector is small; whatever answers more is no collector.
const ANSWER_BYTES: usize = 64 * 1024;

const AGENT: &str = concat!("jitspan/", env!("CARGO_PKG_VERSION"));

/// A connection to one endpoint, for one signal.
pub struct Transport {
    endpoint: Endpoint,
    signal: Signal,
    /// Longest time of one attempt.
    timeout: Duration,
    client: Option<Wire>,
}

enum Wire {
    Grpc(HttpClient<tonic::body::Body>),
    Http(HttpClient<Full<Bytes>>),
}

impl Transport {
    /// To this endpoint. Nothing is opened yet.
    pub fn new(endpoint: Endpoint, signal: Signal, timeout: Duration) -> Self {
        let timeout = endpoint.timeout.min(timeout);
        Transport { endpoint, signal, timeout, client: None }
    }

    /// Sends an encoded message. Takes no longer than the time-out.
    pub async fn send(&mut self, message: &Bytes) -> Answer {
        let timeout = self.timeout;
        let answer = match tokio::time::timeout(timeout, self.attempt(message)).await {
            Ok(answer) => answer,
            Err(_) => Answer::Later { after: None, message: format!("no answer within {timeout:?}") },
        };
        // A new client reads the files for TLS again, so that certificates that were rotated are used.
        if matches!(answer, Answer::Later { .. }) {
            self.client = None;
        }
        answer.without(&self.endpoint.headers)
    }

    async fn attempt(&mut self, message: &Bytes) -> Answer {
        let wire = match self.client.take() {
            Some(wire) => Ok(wire),
            None => match self.endpoint.protocol {
                Protocol::Grpc => client(&self.endpoint).map(Wire::Grpc),
                Protocol::HttpProtobuf => client(&self.endpoint).map(Wire::Http),
            },
        };
        match wire {
            // Certificates that are being replaced may be back in a moment.
            Err(error) => Answer::Later { after: None, message: error.to_string() },
            Ok(Wire::Grpc(client)) => {
                let answer = self.grpc(client.clone(), message).await;
                self.client = Some(Wire::Grpc(client));
                answer
            }
            Ok(Wire::Http(client)) => {
                let answer = self.http(&client, message).await;
                self.client = Some(Wire::Http(client));
                answer
            }
        }
    }

    /// The user's headers in addition to these; each name once, the last one counts.
    fn headers(&self, mut to: HeaderMap) -> HeaderMap {
        to.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value) in &self.endpoint.headers {
            to.insert(name, value.clone());
        }
        to
    }

    async fn grpc(&self, client: HttpClient<tonic::body::Body>, message: &Bytes) -> Answer {
        let mut grpc =
            tonic::client::Grpc::with_origin(client, self.endpoint.uri.clone()).max_decoding_message_size(ANSWER_BYTES);
        let packed = self.endpoint.compression.map(|compression| match compression {
            Compression::Gzip => CompressionEncoding::Gzip,
            Compression::Zstd => CompressionEncoding::Zstd,
        });
        if let Some(packed) = packed {
            // The Collector packs its answer as the message was, asked or not.
            grpc = grpc.send_compressed(packed).accept_compressed(packed);
        }
        let mut request = tonic::Request::new(message.clone());
        *request.metadata_mut() = MetadataMap::from_headers(self.headers(HeaderMap::new()));
        if let Err(error) = grpc.ready().await {
            return Answer::Later { after: None, message: with_causes(&error) };
        }
        let path = PathAndQuery::from_static(self.signal.grpc_path());
        match grpc.unary(request, path, Encoded).await {
            Ok(answer) => taken(answer.into_inner()),
            Err(status) => Answer::from_grpc(&status),
        }
    }

    async fn http(&self, client: &HttpClient<Full<Bytes>>, message: &Bytes) -> Answer {
        let request = match self.request(message) {
            Ok(request) => request,
            Err(error) => return Answer::Refused { message: error.to_string() },
        };
        let response = match client.request(request).await {
            Ok(response) => response,
            Err(error) => return Answer::Later { after: None, message: with_causes(&error) },
        };
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        // The body is read even where it says nothing to us: only then can the connection be used again.
        let body = body(response).await;
        if !status.is_success() {
            return Answer::from_http(status, retry_after.as_deref(), &reason(body.unwrap_or_default()));
        }
        // What cannot be read was taken all the same: sending it again would double it.
        taken(body.unwrap_or_default())
    }

    fn request(&self, message: &Bytes) -> Result<Request<Full<Bytes>>, Box<dyn std::error::Error>> {
        let mut request = Request::post(self.endpoint.uri.clone()).header(CONTENT_TYPE, "application/x-protobuf");
        if let Some(headers) = request.headers_mut() {
            *headers = self.headers(std::mem::take(headers));
        }
        let mut bytes = message.clone();
        if self.endpoint.compression == Some(Compression::Gzip) {
            let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
            std::io::Write::write_all(&mut encoder, &bytes)?;
            bytes = encoder.finish()?.into();
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        Ok(request.body(Full::new(bytes))?)
    }
}

async fn body(response: Response<hyper::body::Incoming>) -> Option<Bytes> {
    Limited::new(response.into_body(), ANSWER_BYTES).collect().await.ok().map(|body| body.to_bytes())
}

/// A refusal is a `google.rpc.Status` with a text (2). What is none, a proxy's page, says nothing.
fn reason(refusal: Bytes) -> String {
    tonic_types::pb::Status::decode(refusal).map(|status| status.message).unwrap_or_default()
}

/// The three signals' answers are one message on the wire: `partial_success` (1) of a count (1) and a text (2).
fn taken(answer: Bytes) -> Answer {
    let partial = ExportTraceServiceResponse::decode(answer).unwrap_or_default().partial_success.unwrap_or_default();
    Answer::taken(partial.rejected_spans, partial.error_message)
}
