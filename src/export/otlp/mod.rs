//! To a collector, over OTLP: spans and log-based events through a [`pipe::Pipe`] each, metrics at intervals.

mod answer;
mod backoff;
mod codec;
pub(crate) mod connection;
pub mod encode;
pub mod metrics;
#[cfg(jitspan_loom)]
mod model;
mod pipe;
#[cfg(not(jitspan_loom))]
mod transport;
mod wire;
mod worker;

use std::sync::Arc;

#[cfg(not(jitspan_loom))]
use tokio::runtime::Runtime;

use super::{Flushing, Sink};
use crate::config::{Batch, Endpoint, Signal};
use crate::export::resource::SharedResource;
use crate::model::log_event::LogEvent;
use crate::model::span::Span;
use crate::stats::{Ledger, Stats};
#[cfg(jitspan_loom)]
use model::{Runtime, spawn, transport};
use pipe::{Pipe, Plan};

/// Starts a thread of ours, with a runtime for one thread.
///
/// The runtime is made here, not there: the first one in a process sets up what tokio keeps for all of them, behind a
/// lock. A fork in that moment would leave the lock to a thread that the child does not have; the thread that forks is
/// this one, or waits for the interpreter that this one holds.
#[cfg(not(jitspan_loom))]
fn spawn(name: &str, body: impl FnOnce(&Runtime) + Send + 'static) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    crate::process::spawn(name, move || body(&runtime))
}

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
