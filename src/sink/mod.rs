//! Where recorded spans go. A sink never blocks the one who hands it a span, never grows without bound, never fails.

pub mod console;
pub mod memory;
pub mod otlp;
pub mod tracing;

use std::time::Duration;

use opentelemetry::trace::SpanContext;

use crate::attribute::Attributes;
use crate::event::{CompileEvent, Failure};
use crate::span::Span;

/// Takes finished spans somewhere.
pub trait Sink: Send + Sync {
    /// Takes them, or counts them as dropped.
    fn export(&self, spans: Vec<Span>);

    /// Waits until everything taken so far has been dealt with. False: not within `timeout`.
    fn flush(&self, timeout: Duration) -> bool;

    /// Flushes, and takes nothing from then on.
    fn shutdown(&self, timeout: Duration) -> bool;

    /// Spans that wait.
    fn queued(&self) -> usize {
        0
    }
}

/// A span that somebody else has opened: it takes the events itself, and its own SDK exports it.
pub trait LiveSpan: Send + Sync {
    /// Its identity.
    fn context(&self) -> SpanContext;
    /// Adds what happened, and the summary of all that happened on this span so far.
    fn stalled(&self, event: &CompileEvent, summary: &Attributes);
    /// Marks it as failed.
    fn fail(&self, failure: &Failure);
    /// Asks its SDK to send what it holds.
    fn flush(&self, timeout: Duration);
}
