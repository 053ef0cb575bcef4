//! Where recorded spans go. A sink never blocks the one who hands it a span, never grows without bound, never fails.

pub mod console;
pub mod memory;
pub mod otlp;
pub mod tracing;

use std::sync::Arc;
use std::sync::mpsc::Receiver;
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
    /// Whether it still takes anything. Its owner may end it while a kernel compiles.
    fn is_recording(&self) -> bool;
    /// The outermost span of this process around it, if that is another one. A trace search matches on one span, and
    /// people search for the server's.
    fn root(&self) -> Option<Arc<dyn LiveSpan>>;
    /// Adds what happened.
    fn add(&self, event: &CompileEvent);
    /// Sets the summary of all that happened so far. `first`: none has been set on this span yet.
    fn summarise(&self, summary: &Attributes, first: bool);
    /// Marks it as failed. `first`: we have not done so yet.
    fn fail(&self, failure: &Failure, first: bool);
    /// Asks its SDK to send what it holds, and returns at once. The receiver hears when that is done; None: the SDK
    /// cannot be asked.
    fn flush(&self, timeout: Duration) -> Option<Receiver<()>>;
}
