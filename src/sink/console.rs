//! `OTEL_TRACES_EXPORTER=console`: one JSON object a line on standard output.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use super::Sink;
use crate::span::Span;
use crate::stats::{Counter, Stats};

/// Writes each span as it comes.
#[derive(Debug)]
pub struct ConsoleSink {
    stats: Arc<Stats>,
}

impl ConsoleSink {
    /// One that counts in `stats`.
    pub fn new(stats: Arc<Stats>) -> Self {
        ConsoleSink { stats }
    }
}

impl Sink for ConsoleSink {
    fn export(&self, spans: Vec<Span>) {
        let mut output = std::io::stdout().lock();
        for span in spans {
            let written = serde_json::to_string(&span).is_ok_and(|line| writeln!(output, "{line}").is_ok());
            self.stats.add(if written { Counter::SpansExported } else { Counter::DroppedRefused }, 1);
        }
    }

    fn flush(&self, _timeout: Duration) -> bool {
        std::io::stdout().flush().is_ok()
    }

    fn shutdown(&self, timeout: Duration) -> bool {
        self.flush(timeout)
    }
}
