//! The exporter's thread: gathers spans into batches, sends them, tries again, and answers who waits for a flush.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span as Proto;
use tokio::sync::mpsc;

use super::Load;
use super::answer::Answer;
use super::backoff::Backoff;
use super::encode::{self, MESSAGE_BYTES};
use super::transport::Transport;
use crate::config::{Batch, Endpoint};
use crate::span::Span;
use crate::stats::{Counter, Stats};

/// What the thread is told.
pub enum Command {
    /// Send this span, whose place in the queue is of this size.
    Export(Box<Span>, usize),
    /// Answer when all that came before is dealt with.
    Flush(SyncSender<()>),
    /// The same, and end.
    Shutdown(SyncSender<()>),
}

/// The thread's own state.
pub struct Worker {
    commands: mpsc::UnboundedReceiver<Command>,
    transport: Transport,
    batch: Batch,
    resource: Arc<Resource>,
    load: Arc<Load>,
    stats: Arc<Stats>,
    gathered: Vec<(Proto, usize, usize)>,
    /// Who waits until `gathered` has been dealt with.
    waiting: Vec<SyncSender<()>>,
    ending: bool,
}

impl Worker {
    /// How long a message is tried again while the collector cannot be reached. Outlives a restart of a minute; after
    /// it the message makes room for newer ones.
    const RETRY_FOR: Duration = Duration::from_secs(120);

    pub(super) fn new(
        commands: mpsc::UnboundedReceiver<Command>,
        endpoint: Endpoint,
        batch: Batch,
        resource: Arc<Resource>,
        load: Arc<Load>,
        stats: Arc<Stats>,
    ) -> Self {
        let transport = Transport::new(endpoint);
        let (gathered, waiting) = (Vec::new(), Vec::new());
        Worker { commands, transport, batch, resource, load, stats, gathered, waiting, ending: false }
    }

    /// Runs until told to end, or until the sink is gone.
    pub fn run(mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.work()),
            // Without a runtime nothing can be sent; the queue fills, and what does not fit is counted.
            Err(_) => drop(self.stats.fault("export.runtime")),
        }
    }

    async fn work(&mut self) {
        while self.gather().await {
            self.send_gathered().await;
            for waiting in self.waiting.drain(..) {
                // The one who asked may have stopped waiting.
                let _ = waiting.try_send(());
            }
            if self.ending {
                return;
            }
        }
    }

    /// Waits for spans. False: the sink is gone, and nothing is left.
    async fn gather(&mut self) -> bool {
        let mut deadline: Option<tokio::time::Instant> = None;
        while self.gathered.len() < self.batch.size {
            let command = match deadline {
                None => self.commands.recv().await,
                Some(at) => match tokio::time::timeout_at(at, self.commands.recv()).await {
                    Ok(command) => command,
                    Err(_) => return true,
                },
            };
            match command {
                None => return !self.gathered.is_empty(),
                Some(command) => {
                    if self.take(command) {
                        return true;
                    }
                }
            }
            deadline = deadline.or(Some(tokio::time::Instant::now() + self.batch.delay));
        }
        true
    }

    /// Takes one command. True: send now.
    fn take(&mut self, command: Command) -> bool {
        match command {
            Command::Export(span, size) => {
                let (span, bytes) = encode::span(&span);
                self.gathered.push((span, bytes, size));
                false
            }
            Command::Flush(done) => {
                self.waiting.push(done);
                true
            }
            Command::Shutdown(done) => {
                self.waiting.push(done);
                self.ending = true;
                true
            }
        }
    }

    async fn send_gathered(&mut self) {
        let mut left = std::mem::take(&mut self.gathered).into_iter().peekable();
        while left.peek().is_some() {
            let (mut spans, mut bytes, mut size) = (Vec::new(), 0, 0);
            while let Some((span, span_bytes, span_size)) = left.next_if(|(_, more, _)| {
                spans.is_empty() || (bytes + more <= MESSAGE_BYTES && spans.len() < self.batch.size)
            }) {
                bytes += span_bytes;
                size += span_size;
                spans.push(span);
            }
            let count = spans.len();
            if bytes > MESSAGE_BYTES {
                self.stats.add(Counter::DroppedTooLarge, count);
            } else {
                self.send(spans).await;
            }
            self.load.spans.fetch_sub(count, Ordering::AcqRel);
            self.load.bytes.fetch_sub(size, Ordering::AcqRel);
        }
    }

    async fn send(&mut self, spans: Vec<Proto>) {
        let count = spans.len();
        let message = encode::request(&self.resource, spans);
        let give_up = Instant::now() + Self::RETRY_FOR;
        let mut backoff = Backoff::new();
        loop {
            match self.transport.send(&message).await {
                Answer::Taken { rejected, message } => {
                    let rejected = rejected.min(count);
                    self.stats.add(Counter::SpansExported, count - rejected);
                    self.stats.add(Counter::DroppedRejected, rejected);
                    if rejected > 0 {
                        self.stats.note_export_error(&message);
                    }
                    return;
                }
                Answer::Refused { message } => {
                    self.stats.note_export_error(&message);
                    self.stats.add(Counter::DroppedRefused, count);
                    return;
                }
                Answer::Later { after, message } => {
                    self.stats.note_export_error(&message);
                    let wait = backoff.next(after);
                    if Instant::now() + wait > give_up {
                        self.stats.add(Counter::DroppedUnreachable, count);
                        return;
                    }
                    self.wait(wait).await;
                }
            }
        }
    }

    /// Waits before the next attempt, but less if somebody asks for a flush meanwhile: then the next attempt is
    /// his. Spans that come meanwhile are kept for later; the queue's bound holds for them too.
    async fn wait(&mut self, wait: Duration) {
        let until = tokio::time::Instant::now() + wait;
        while let Ok(Some(command)) = tokio::time::timeout_at(until, self.commands.recv()).await {
            if self.take(command) {
                // Not at once: a caller that flushes in a loop must not hammer a collector that is down.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return;
            }
        }
    }
}
