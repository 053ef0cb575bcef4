//! To a collector, over OTLP: spans and log-based events through a [`pipe::Pipe`] each, metrics at intervals.

mod answer;
mod backoff;
mod codec;
mod connection;
pub mod encode;
pub mod metrics;
mod pipe;
mod transport;
mod worker;

use std::sync::Arc;

use super::{Flushing, Sink};
use crate::config::{Batch, Endpoint, Signal};
use crate::log::LogEvent;
use crate::resource::SharedResource;
use crate::span::Span;
use crate::stats::{Ledger, Stats};
use pipe::{Pipe, Plan};

/// Sends spans, or log-based events, to a collector.
pub struct OtlpSink(Pipe);

impl OtlpSink {
    /// A sink for spans. Nothing is opened and nothing is started yet.
    pub fn spans(endpoint: Endpoint, batch: Batch, resource: Arc<SharedResource>, stats: Arc<Stats>) -> Self {
        let (signal, ledger) = (Signal::Traces, &Ledger::SPANS);
        OtlpSink(Pipe::new(Plan { endpoint, signal, batch, resource, stats, ledger }))
    }

    /// A sink for log-based events.
    pub fn logs(endpoint: Endpoint, batch: Batch, resource: Arc<SharedResource>, stats: Arc<Stats>) -> Self {
        let (signal, ledger) = (Signal::Logs, &Ledger::LOGS);
        OtlpSink(Pipe::new(Plan { endpoint, signal, batch, resource, stats, ledger }))
    }
}

impl Sink for OtlpSink {
    fn export(&self, spans: Vec<Span>) {
        for span in spans {
            self.0.offer(|| encode::span(&span));
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
