//! Where everything goes: to all sinks of a kind, and all of them together at a flush.

use std::sync::Arc;
use std::time::Instant;

use crate::export::otlp::metrics;
use crate::export::{Flushing, Sink};
use crate::metrics::Metrics;
use crate::model::log_event::LogEvent;
use crate::model::span::Span;
use crate::stats::{Ledger, Stats};

/// The sinks of one monitor.
#[derive(Default)]
pub struct Sinks {
    /// Spans. None at all: exporting is switched off.
    pub spans: Vec<Box<dyn Sink>>,
    /// Log-based events.
    pub logs: Vec<Box<dyn Sink>>,
    /// What the stalls come to.
    pub metrics: Arc<Metrics>,
    /// Sends that.
    pub metrics_exporter: Option<metrics::Exporter>,
}

impl From<Vec<Box<dyn Sink>>> for Sinks {
    fn from(spans: Vec<Box<dyn Sink>>) -> Self {
        Sinks { spans, ..Sinks::default() }
    }
}

impl Sinks {
    /// Spans that wait.
    pub fn queued(&self) -> usize {
        self.spans.iter().map(|sink| sink.queued()).sum()
    }

    /// Log-based events that wait.
    pub fn queued_logs(&self) -> usize {
        self.logs.iter().map(|sink| sink.queued()).sum()
    }

    /// Gives the spans to each of their sinks; without one they are counted.
    pub fn export(&self, spans: Vec<Span>, stats: &Stats) {
        match self.spans.split_last() {
            None => disabled(stats, &Ledger::SPANS, spans.len()),
            Some((last, others)) => {
                for sink in others {
                    sink.export(spans.clone());
                }
                last.export(spans);
            }
        }
    }

    /// Gives the log-based events to each of their sinks; without one they are counted.
    pub fn emit(&self, events: Vec<LogEvent>, stats: &Stats) {
        match self.logs.split_last() {
            None => disabled(stats, &Ledger::LOGS, events.len()),
            Some((last, others)) => {
                for sink in others {
                    sink.emit(events.clone());
                }
                last.emit(events);
            }
        }
    }

    /// All begin to deal with what they have.
    pub fn begin_flush(&self) -> Vec<Flushing> {
        self.each(|sink| sink.flush(), metrics::Exporter::flush)
    }

    /// The same, and then they take nothing more.
    pub fn begin_shutdown(&self) -> Vec<Flushing> {
        self.each(|sink| sink.shutdown(), metrics::Exporter::shutdown)
    }

    /// Ends that. What could not be sent by `deadline` is counted as dropped.
    pub fn end_shutdown(&self, begun: Vec<Flushing>, deadline: Instant) -> bool {
        let flushed = wait_for_all(begun, deadline);
        if !flushed {
            self.spans.iter().chain(&self.logs).for_each(|sink| sink.abandon());
        }
        flushed
    }

    fn each(
        &self,
        begin: impl Fn(&dyn Sink) -> Flushing,
        begin_metrics: impl Fn(&metrics::Exporter) -> Flushing,
    ) -> Vec<Flushing> {
        let begun = self.spans.iter().chain(&self.logs).map(|sink| begin(&**sink));
        begun.chain(self.metrics_exporter.as_ref().map(begin_metrics)).collect()
    }
}

fn disabled(stats: &Stats, ledger: &Ledger, count: usize) {
    stats.add(ledger.recorded, count);
    stats.add(ledger.disabled, count);
}

/// All have begun before the first is waited for, so together they take no longer than one deadline.
pub fn wait_for_all(begun: Vec<Flushing>, deadline: Instant) -> bool {
    begun.into_iter().filter(|flushing| !flushing.wait(deadline)).count() == 0
}
