//! The two ways in: OTLP over gRPC and over HTTP. Both decode, hand the spans to the store, and answer.

pub mod grpc;
pub mod http;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest};

use super::decode;
use super::store::Store;

/// Four times what OTLP exporters keep to, so that other senders are heard, too.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// The store, as both receivers and the printer share it.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<Store>>);

impl Shared {
    /// Shares a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self(Arc::new(Mutex::new(store)))
    }

    /// Does something with the store while nobody else does.
    pub fn with<T>(&self, action: impl FnOnce(&mut Store) -> T) -> T {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes spans in. What comes back is for the answer: nothing, unless some were refused.
    fn take_spans(&self, request: ExportTraceServiceRequest) -> Option<ExportTracePartialSuccess> {
        let batch = decode::spans(request.resource_spans);
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
