//! `OTEL_{TRACES,LOGS}_EXPORTER=console`: one JSON object a line on standard output.

use std::io::Write;
use std::sync::Arc;

use serde::Serialize;

use super::{Flushing, Sink};
use crate::model::log_event::LogEvent;
use crate::model::span::Span;
use crate::stats::{Ledger, Stats};

/// Writes each span or event as it comes.
#[derive(Debug)]
pub struct ConsoleSink {
    stats: Arc<Stats>,
}

impl ConsoleSink {
    /// One that counts in `stats`.
    pub fn new(stats: Arc<Stats>) -> Self {
        ConsoleSink { stats }
    }

    fn write(&self, records: &[impl Serialize], ledger: &Ledger) {
        self.stats.add(ledger.recorded, records.len());
        let mut output = std::io::stdout().lock();
        for record in records {
            let written = serde_json::to_string(record).is_ok_and(|line| writeln!(output, "{line}").is_ok());
            self.stats.add(if written { ledger.exported } else { ledger.refused }, 1);
        }
    }
}

impl Sink for ConsoleSink {
    fn export(&self, spans: Vec<Span>) {
        self.write(&spans, &Ledger::SPANS);
    }

    fn emit(&self, events: Vec<LogEvent>) {
        self.write(&events, &Ledger::LOGS);
    }

    fn flush(&self) -> Flushing {
        let _ = std::io::stdout().flush();
        Flushing::done()
    }

    fn shutdown(&self) -> Flushing {
        self.flush()
    }
}
