//! Keeps spans in memory, for tests of servers that use jitspan and for our own.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Sink;
use crate::span::Span;

/// Keeps all it is given. A clone keeps them in the same place.
#[derive(Debug, Clone, Default)]
pub struct MemorySink(Arc<Mutex<Vec<Span>>>);

impl MemorySink {
    /// What it was given since the last call.
    pub fn take(&self) -> Vec<Span> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Sink for MemorySink {
    fn export(&self, spans: Vec<Span>) {
        self.0.lock().extend(spans);
    }

    fn flush(&self, _timeout: Duration) -> bool {
        true
    }

    fn shutdown(&self, _timeout: Duration) -> bool {
        true
    }
}
