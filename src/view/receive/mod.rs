//! The two ways in: OTLP over gRPC and over HTTP. Both read a message, decode it, hand the spans to the store, and
//! answer. Each port takes both: which one it is, the request itself says.
//!
//! What strangers send is bounded before it takes memory: connections ([`connections`]), bytes on their way
//! ([`body`]), what they unpack and decode to ([`measure`]). All is decoded in one thread, one message at a time.

mod body;
mod connections;
mod grpc;
mod http;
mod measure;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest};

use super::decode;
use super::record::Span;
use super::store::Store;
use crate::semconv::SCOPE_NAME;
pub use body::Budget;
pub use connections::serve;

/// Four times what OTLP exporters keep to, so that other senders are heard, too.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More bytes than a message may have, packed or not.
    #[error("the message is larger than {MAX_MESSAGE_BYTES} bytes")]
    TooLarge,
    /// It would take more memory than a message may, or nests deeper.
    #[error("the message holds more spans, events and attributes than fit into memory at a time, or nests too deep")]
    TooMuch,
    /// So much is on its way that this message has no room. It may come again.
    #[error("too many messages are on their way; try again")]
    Busy,
    /// It did not come in time.
    #[error("the message did not come whole within {} s", body::DEADLINE.as_secs())]
    Late,
    /// It is not what it says it is.
    #[error("the body is not what OTLP expects: {0}")]
    Unreadable(String),
    /// It is packed or encoded in a way that we do not read.
    #[error("{0}")]
    Unsupported(&'static str),
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Metrics.
    Metrics,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// The store, as both receivers and the printer share it.
#[derive(Clone, Debug)]
pub struct Shared {
    store: Arc<Mutex<Store>>,
    budget: Budget,
    senders: Arc<Mutex<Senders>>,
}

/// Services whose spans have come, none of which had to do with a stall.
#[derive(Debug, Default)]
struct Senders {
    /// By name; no more than a few are kept.
    known: BTreeSet<String>,
    /// Those that nobody was told of.
    untold: Vec<String>,
}

/// Names of services that are remembered: who has more has no use for a list.
const MAX_SENDERS: usize = 64;

impl Shared {
    /// Shares a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store: Arc::new(Mutex::new(store)), budget: Budget::default(), senders: Arc::default() }
    }

    /// Does something with the store while nobody else does.
    pub fn with<T>(&self, action: impl FnOnce(&mut Store) -> T) -> T {
        action(&mut self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Services that have begun, since this was last asked, to send spans that have nothing to do with a stall.
    pub fn take_strangers(&self) -> Vec<String> {
        std::mem::take(&mut self.senders.lock().unwrap_or_else(PoisonError::into_inner).untold)
    }

    /// Answers one request, which comes over HTTP or gRPC.
    async fn answer(self, request: Request<Incoming>) -> Answer {
        let is_grpc = grpc::is_grpc(request.headers());
        let signal = if is_grpc { grpc::signal(request.uri()) } else { http::signal(request.uri()) };
        let Some(signal) = signal else {
            return if is_grpc { grpc::unimplemented() } else { http::status(StatusCode::NOT_FOUND) };
        };
        match *request.method() {
            Method::POST if is_grpc => grpc::answer(&self, signal, request).await,
            Method::POST => http::answer(&self, signal, request).await,
            _ => http::status(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    /// Takes spans in. What comes back is for the answer: nothing, unless some were refused.
    fn take_spans(&self, request: ExportTraceServiceRequest) -> Option<ExportTracePartialSuccess> {
        let batch = decode::spans(request.resource_spans);
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).note(&batch.spans);
        self.with(|store| {
            store.count_rejected(batch.rejected);
            store.add(batch.spans, Instant::now());
        });
        (batch.rejected > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: i64::try_from(batch.rejected).unwrap_or(i64::MAX),
            error_message: "a trace_id must be 16 bytes, a span_id 8 bytes, and neither all zero".to_owned(),
        })
    }

    /// Takes in what log records tell of stalls.
    fn take_logs(&self, request: ExportLogsServiceRequest) {
        let spans = decode::log_events(request.resource_logs);
        self.with(|store| store.add(spans, Instant::now()));
    }
}

impl Senders {
    fn note(&mut self, spans: &[Span]) {
        for span in spans.iter().filter(|span| span.scope != SCOPE_NAME && !span.is_stalled()) {
            if self.known.len() < MAX_SENDERS && !self.known.contains(&span.service) {
                self.known.insert(span.service.clone());
                self.untold.push(span.service.clone());
            }
        }
    }
}
