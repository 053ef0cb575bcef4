//! Keeps spans in memory, for tests of servers that use jitspan and for our own.

use std::sync::Arc;

use super::{Flushing, Sink};
use crate::model::log_event::LogEvent;
use crate::model::span::Span;
use crate::process::lock::Mutex;

/// Keeps all it is given. A clone keeps them in the same place.
#[derive(Debug, Clone, Default)]
pub struct MemorySink(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    spans: Vec<Span>,
    events: Vec<LogEvent>,
}

impl MemorySink {
    /// The spans it was given since the last call.
    pub fn take(&self) -> Vec<Span> {
        std::mem::take(&mut self.0.lock().spans)
    }

    /// The log-based events it was given since the last call.
    pub fn take_events(&self) -> Vec<LogEvent> {
        std::mem::take(&mut self.0.lock().events)
    }
}

impl Sink for MemorySink {
    fn export(&self, spans: Vec<Span>) {
        self.0.lock().spans.extend(spans);
    }

    fn emit(&self, events: Vec<LogEvent>) {
        self.0.lock().events.extend(events);
    }

    fn flush(&self) -> Flushing {
        Flushing::done()
    }

    fn shutdown(&self) -> Flushing {
        Flushing::done()
    }
}
