//! Where recorded spans go. A sink never blocks the one who hands it a span, never grows without bound, never fails.

mod answer;
mod backoff;
pub mod console;
pub mod memory;
pub mod otlp;
mod pipe;
pub mod resource;
#[cfg(feature = "sdk")]
pub mod sdk;
pub mod sinks;
mod thread;
#[cfg(not(jitspan_loom))]
pub mod trial;

use std::time::{Duration, Instant};

use crate::model::log_event::LogEvent;
use crate::model::span::Span;
use crate::process::concurrency::Receiver;

/// Takes finished spans somewhere, or log-based events.
pub trait Sink: Send + Sync {
    /// Takes them, or counts them as dropped.
    fn export(&self, spans: Vec<Span>);

    /// Takes them, or counts them as dropped. A sink for spans alone is never given any.
    fn emit(&self, events: Vec<LogEvent>) {
        drop(events);
    }

    /// Begins to deal with everything taken so far.
    fn flush(&self) -> Flushing;

    /// The same, and takes nothing from then on. What is not dealt with at `deadline` is counted as dropped by
    /// [`Sink::abandon`].
    fn shutdown(&self) -> Flushing;

    /// Gives up what a shutdown did not get rid of in time.
    fn abandon(&self) {}

    /// Spans or events that wait.
    fn queued(&self) -> usize {
        0
    }
}

/// The moment when this time-out is over. One that the clock cannot hold is over in a year.
pub fn deadline(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(365 * 24 * 3600))
}

/// A flush that has begun. All sinks begin before any is waited for, so that a stuck one does not use up the time of
/// the others.
#[derive(Debug, Default)]
pub struct Flushing(Option<Receiver<()>>);

impl Flushing {
    /// There was nothing to wait for.
    pub fn done() -> Self {
        Flushing(None)
    }

    /// Until something is received.
    pub fn until(done: Receiver<()>) -> Self {
        Flushing(Some(done))
    }

    /// Waits. False: not before `deadline`.
    pub fn wait(&self, deadline: Instant) -> bool {
        match &self.0 {
            None => true,
            Some(done) => done.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok(),
        }
    }
}
