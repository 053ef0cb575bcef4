//! To a collector, over OTLP: spans and log-based events through a `Pipe` each, metrics at intervals.

mod answer;
#[cfg(not(jitspan_loom))]
pub(crate) mod connection;
pub mod encode;
#[cfg(not(jitspan_loom))]
mod grpc;
pub mod metrics;
#[cfg(not(jitspan_loom))]
mod packing;
mod status;
#[cfg_attr(jitspan_loom, path = "transport_model.rs")]
mod transport;
mod wire;

use std::sync::Arc;

use bytes::Bytes;

use super::answer::Answer;
use super::pipe::{Outlet, Pipe, Plan};
use super::{Flushing, Sink};
use crate::config::{Batch, Endpoint, Signal};
use crate::export::resource::SharedResource;
use crate::model::log_event::LogEvent;
use crate::model::span::Span;
use crate::stats::{Ledger, Stats};
use transport::Transport;

/// Sends spans, or log-based events, to a collector.
pub struct OtlpSink(Pipe<Collector>);

/// The collector at the end of a pipe.
struct Collector {
    address: String,
    transport: Transport,
    /// Who we are.
    resource: Arc<SharedResource>,
}

impl Outlet for Collector {
    fn address(&self) -> Option<&str> {
        Some(&self.address)
    }

    fn message(&self, records: &[Vec<u8>]) -> Bytes {
        encode::message(&self.resource.encoded(), records)
    }

    async fn send(&mut self, message: &Bytes) -> Answer {
        self.transport.send(message).await
    }

    fn reset(&mut self) {
        self.transport.reset();
    }
}

impl OtlpSink {
    /// A sink for spans. Nothing is opened and nothing is started yet.
    pub fn spans(endpoint: Endpoint, batch: Batch, resource: Arc<SharedResource>, stats: Arc<Stats>) -> Self {
        Self::of(Signal::Traces, endpoint, resource, Plan { batch, stats, ledger: &Ledger::SPANS })
    }

    /// A sink for log-based events.
    pub fn logs(endpoint: Endpoint, batch: Batch, resource: Arc<SharedResource>, stats: Arc<Stats>) -> Self {
        Self::of(Signal::Logs, endpoint, resource, Plan { batch, stats, ledger: &Ledger::LOGS })
    }

    fn of(signal: Signal, endpoint: Endpoint, resource: Arc<SharedResource>, plan: Plan) -> Self {
        // The specification's time for one export bounds one attempt. It does not bound all attempts: its default of
        // 30 s would lose what a restart of the collector makes wait.
        let address = address(&endpoint);
        let transport = Transport::new(endpoint, signal, plan.batch.timeout);
        OtlpSink(Pipe::new(Collector { address, transport, resource }, plan))
    }
}

/// The collector, for people: neither who we are to it nor a path, either of which may be a credential.
fn address(endpoint: &Endpoint) -> String {
    let (host, port) = (endpoint.uri.host().unwrap_or_default(), endpoint.uri.port_u16());
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}", endpoint.uri.scheme_str().unwrap_or("http"))
}

impl Sink for OtlpSink {
    fn export(&self, spans: Vec<Span>) {
        let mut shared = encode::SharedEvents::default();
        for span in spans {
            self.0.offer(|| encode::span(&span, &mut shared));
        }
    }

    fn emit(&self, events: Vec<LogEvent>) {
        for event in events {
            self.0.offer(|| encode::log(&event));
        }
    }

    fn flush(&self) -> Flushing {
        self.0.flush()
    }

    fn shutdown(&self) -> Flushing {
        self.0.shutdown()
    }

    fn abandon(&self) {
        self.0.abandon();
    }

    fn queued(&self) -> usize {
        self.0.queued()
    }
}
