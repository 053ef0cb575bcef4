//! The OTLP sink: a bounded queue, and one thread that empties it.
//!
//! The thread starts with the first span, so that a process which sends nothing has no thread of ours to fork with.
//! It never runs Python. It is never joined without a deadline.

mod answer;
mod backoff;
mod connection;
pub mod encode;
mod transport;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::resource::v1::Resource;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::Sink;
use crate::config::{Batch, Endpoint};
use crate::span::Span;
use crate::stats::{Counter, Stats};
use worker::{Command, Worker};

/// Sends spans to a collector.
pub struct OtlpSink {
    endpoint: Endpoint,
    batch: Batch,
    resource: Arc<Resource>,
    load: Arc<Load>,
    stats: Arc<Stats>,
    thread: Mutex<Thread>,
}

/// What waits: in the queue and in the thread's hands.
#[derive(Debug, Default)]
struct Load {
    spans: AtomicUsize,
    bytes: AtomicUsize,
}

enum Thread {
    NotStarted,
    Running(mpsc::UnboundedSender<Command>),
    Closed,
}

impl OtlpSink {
    /// A sink for one endpoint. Nothing is opened and nothing is started yet.
    pub fn new(endpoint: Endpoint, batch: Batch, resource: Arc<Resource>, stats: Arc<Stats>) -> Self {
        let thread = Mutex::new(Thread::NotStarted);
        OtlpSink { endpoint, batch, resource, load: Arc::default(), stats, thread }
    }

    /// Takes a place in the queue for one span. The unbounded channel behind it is bounded by this count, and so is
    /// what the thread holds while it tries again.
    fn reserve(&self, size: usize) -> bool {
        let spans = self.load.spans.fetch_add(1, Ordering::AcqRel);
        let bytes = self.load.bytes.fetch_add(size, Ordering::AcqRel);
        let fits = spans < self.batch.queue && bytes + size <= self.batch.queue_bytes;
        if !fits {
            self.load.spans.fetch_sub(1, Ordering::AcqRel);
            self.load.bytes.fetch_sub(size, Ordering::AcqRel);
        }
        fits
    }

    fn release(&self, size: usize) {
        self.load.spans.fetch_sub(1, Ordering::AcqRel);
        self.load.bytes.fetch_sub(size, Ordering::AcqRel);
    }

    /// The way to the thread, which is started if need be. None: it has been shut down, or cannot be started.
    fn sender(&self) -> Option<mpsc::UnboundedSender<Command>> {
        let mut thread = self.thread.lock();
        if let Thread::NotStarted = *thread {
            let (sender, receiver) = mpsc::unbounded_channel();
            let worker = Worker::new(
                receiver,
                self.endpoint.clone(),
                self.batch.clone(),
                Arc::clone(&self.resource),
                Arc::clone(&self.load),
                Arc::clone(&self.stats),
            );
            *thread = if crate::process::spawn("jitspan-export", move || worker.run()).is_ok() {
                Thread::Running(sender)
            } else {
                self.stats.fault("export.thread");
                Thread::Closed
            };
        }
        match &*thread {
            Thread::Running(sender) => Some(sender.clone()),
            Thread::NotStarted | Thread::Closed => None,
        }
    }

    /// Asks the thread, if there is one, to deal with all it has, and waits.
    fn drain(&self, sender: &mpsc::UnboundedSender<Command>, timeout: Duration, last: bool) -> bool {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        let command = if last { Command::Shutdown(done) } else { Command::Flush(done) };
        sender.send(command).is_ok() && wait.recv_timeout(timeout).is_ok()
    }
}

impl Sink for OtlpSink {
    fn export(&self, spans: Vec<Span>) {
        let sender = self.sender();
        for span in spans {
            let size = span.size();
            let Some(sender) = &sender else {
                self.stats.add(Counter::DroppedShutdown, 1);
                continue;
            };
            if !self.reserve(size) {
                self.stats.add(Counter::DroppedQueueFull, 1);
                continue;
            }
            if sender.send(Command::Export(Box::new(span), size)).is_err() {
                self.release(size);
                self.stats.add(Counter::DroppedShutdown, 1);
            }
        }
    }

    fn flush(&self, timeout: Duration) -> bool {
        // The lock is not held while waiting: a signal handler may flush while another thread does.
        let sender = match &*self.thread.lock() {
            Thread::Running(sender) => Some(sender.clone()),
            Thread::NotStarted | Thread::Closed => None,
        };
        sender.is_none_or(|sender| self.drain(&sender, timeout, false))
    }

    fn shutdown(&self, timeout: Duration) -> bool {
        let before = std::mem::replace(&mut *self.thread.lock(), Thread::Closed);
        match before {
            Thread::Running(sender) => {
                let drained = self.drain(&sender, timeout, true);
                let left = self.load.spans.load(Ordering::Acquire);
                if !drained && left > 0 {
                    self.stats.add(Counter::DroppedShutdown, left);
                }
                drained
            }
            Thread::NotStarted | Thread::Closed => true,
        }
    }

    fn queued(&self) -> usize {
        self.load.spans.load(Ordering::Acquire)
    }
}
