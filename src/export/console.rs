//! `OTEL_{TRACES,LOGS}_EXPORTER=console`: one JSON object a line on standard output.
//!
//! Not through std's `stdout`: its lock is one for the process, and a reader that is slow would have the thread that
//! compiles wait in it, and a child that is forked meanwhile for ever. Lines wait in a `Pipe`, as records for a
//! collector do, and its thread alone waits for the reader. The recording thread waits for its lines only as long as a
//! reader who reads needs: what the program prints next then comes after them, and not in the middle of its own line,
//! which an unbuffered Python (`PYTHONUNBUFFERED`) writes in two pieces.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;

use super::answer::Answer;
use super::pipe::{Outlet, Pipe, Plan};
use super::{Flushing, Sink};
use crate::config::Batch;
use crate::model::log_event::LogEvent;
use crate::model::span::Span;
use crate::process::output;
use crate::stats::{Ledger, Stats};

/// How long the recording thread waits for its lines to be written.
const PATIENCE: Duration = Duration::from_millis(20);

/// Writes spans, or log-based events.
pub struct ConsoleSink {
    lines: Pipe<Lines>,
    /// The reader took longer than [`PATIENCE`]: nobody waits for it until it has read all.
    behind: AtomicBool,
}

/// Standard output at the end of a pipe.
struct Lines;

impl Outlet for Lines {
    /// The log may go the same way.
    fn address(&self) -> Option<&str> {
        None
    }

    fn message(&self, records: &[Vec<u8>]) -> Bytes {
        records.concat().into()
    }

    async fn send(&mut self, message: &Bytes) -> Answer {
        match output::write(message) {
            Ok(()) => Answer::Taken { rejected: 0, message: String::new() },
            Err(error) => Answer::Refused { message: format!("standard output: {error}") },
        }
    }

    fn reset(&mut self) {}
}

impl ConsoleSink {
    /// For spans. Nothing is started yet.
    pub fn spans(batch: &Batch, stats: Arc<Stats>) -> Self {
        Self::of(batch, stats, &Ledger::SPANS)
    }

    /// For log-based events.
    pub fn logs(batch: &Batch, stats: Arc<Stats>) -> Self {
        Self::of(batch, stats, &Ledger::LOGS)
    }

    /// Whoever reads lines wants each as it comes, so none waits for others. One that breaks off is lost alone.
    fn of(batch: &Batch, stats: Arc<Stats>, ledger: &'static Ledger) -> Self {
        let batch = Batch { delay: Duration::ZERO, size: 1, ..batch.clone() };
        ConsoleSink { lines: Pipe::new(Lines, Plan { batch, stats, ledger }), behind: AtomicBool::new(false) }
    }

    fn offer(&self, records: &[impl Serialize]) {
        if self.lines.queued() == 0 {
            self.behind.store(false, Ordering::Relaxed);
        }
        for record in records {
            self.lines.offer(|| line(record).unwrap_or_default());
        }
        if !self.behind.load(Ordering::Relaxed) && !self.lines.flush().wait(Instant::now() + PATIENCE) {
            self.behind.store(true, Ordering::Relaxed);
        }
    }
}

/// One line of JSON.
///
/// # Errors
/// The record cannot be written as JSON; ours can.
pub fn line(record: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    Ok(line)
}

impl Sink for ConsoleSink {
    fn export(&self, spans: Vec<Span>) {
        self.offer(&spans);
    }

    fn emit(&self, events: Vec<LogEvent>) {
        self.offer(&events);
    }

    fn flush(&self) -> Flushing {
        self.lines.flush()
    }

    fn shutdown(&self) -> Flushing {
        self.lines.shutdown()
    }

    fn abandon(&self) {
        self.lines.abandon();
    }

    fn queued(&self) -> usize {
        self.lines.queued()
    }
}
