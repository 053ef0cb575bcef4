//! The thread: makes the exporter, hands it batches, and outlives what that does.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use tokio::runtime::Runtime;

use super::shared::{Shared, Work};
use super::{Exporter, drive, span_data};
use crate::model::span::Span;
use crate::stats::{Counter, Ledger};

/// The thread's own state.
pub struct Worker {
    shared: Arc<Shared>,
    life: u64,
    resource: Resource,
    /// None: not made yet, or it has failed in a way after which another one is made.
    exporter: Option<Box<dyn Exporter>>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, life: u64) -> Self {
        let resource = shared.plan.through.resource();
        Worker { shared, life, resource, exporter: None }
    }

    /// Runs until told to end, or until another thread has its place.
    pub(super) fn run(mut self, runtime: &Runtime) {
        loop {
            match runtime.block_on(self.shared.next(self.life)) {
                Work::Send(spans) => {
                    let fate = self.send(runtime, &spans);
                    self.shared.settle(self.life, fate);
                }
                Work::Answer(asked) => {
                    self.settle(runtime);
                    for done in asked {
                        // One who asked may have stopped waiting.
                        let _ = done.try_send(());
                    }
                }
                Work::End => {
                    if let Some(exporter) = self.exporter.take() {
                        let ended = self.call(|| drive::within(runtime, || exporter.end()));
                        self.note(ended.and_then(Result::err));
                        self.discard(runtime, exporter);
                    }
                    return;
                }
                Work::Leave => {
                    if let Some(exporter) = self.exporter.take() {
                        self.discard(runtime, exporter);
                    }
                    return;
                }
            }
        }
    }

    /// What became of these spans.
    fn send(&mut self, runtime: &Runtime, spans: &[Span]) -> Counter {
        let ledger = Ledger::SPANS;
        let Some(exporter) = self.exporter.take().or_else(|| self.make(runtime)) else { return ledger.unreachable };
        let spans = spans.iter().map(span_data).collect();
        let timeout = self.shared.plan.batch.timeout;
        match self.call(|| drive::to_end(runtime, timeout, exporter.send(spans))) {
            Some(Some(Ok(()))) => {
                self.exporter = Some(exporter);
                return ledger.exported;
            }
            // It takes nothing any more, or nobody knows how it has been left.
            Some(Some(Err(error @ OTelSdkError::AlreadyShutdown))) => {
                self.note(Some(error));
                self.discard(runtime, exporter);
            }
            None => self.discard(runtime, exporter),
            Some(Some(Err(error))) => {
                self.exporter = Some(exporter);
                self.note(Some(error));
            }
            Some(None) => {
                self.exporter = Some(exporter);
                self.note(Some(OTelSdkError::Timeout(timeout)));
            }
        }
        ledger.unreachable
    }

    fn make(&self, runtime: &Runtime) -> Option<Box<dyn Exporter>> {
        let through = self.shared.plan.through;
        match self.call(|| drive::within(runtime, || (through.make)(&self.resource)))? {
            Ok(exporter) => Some(exporter),
            Err(message) => {
                self.shared.plan.stats.fault("export.factory");
                self.shared.plan.stats.note_export_error(&format!("no exporter: {message}"));
                None
            }
        }
    }

    /// Asks the exporter to send what it keeps itself.
    fn settle(&mut self, runtime: &Runtime) {
        if let Some(exporter) = self.exporter.take() {
            match self.call(|| drive::within(runtime, || exporter.settle())) {
                Some(settled) => {
                    self.exporter = Some(exporter);
                    self.note(settled.err());
                }
                None => self.discard(runtime, exporter),
            }
        }
    }

    fn discard(&self, runtime: &Runtime, exporter: Box<dyn Exporter>) {
        self.call(|| drive::within(runtime, || drop(exporter)));
    }

    /// Calls code of the program's. None: it panicked.
    fn call<T>(&self, body: impl FnOnce() -> T) -> Option<T> {
        self.shared.away(self.life, Some(Instant::now()));
        let answer = catch_unwind(AssertUnwindSafe(body));
        self.shared.away(self.life, None);
        answer.inspect_err(|panic| self.panicked(&**panic)).ok()
    }

    fn panicked(&self, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        self.shared.plan.stats.fault("export.panic");
        self.shared.plan.stats.note_export_error(&format!("the exporter panicked: {}", text.unwrap_or("panic")));
    }

    fn note(&self, error: Option<OTelSdkError>) {
        if let Some(error) = error {
            self.shared.plan.stats.note_export_error(&error.to_string());
        }
    }
}

/// A panic of our own: what it held is counted, and the next span starts another thread.
impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.died(self.life);
        }
    }
}
