//! A bounded queue of encoded records, and one thread that empties it.
//!
//! The thread starts with the first record, so that a process which sends nothing has no thread of ours to fork with.
//! It never runs Python, and is never joined without a deadline.

#[cfg(jitspan_loom)]
pub mod model;
mod worker;

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use crate::config::Batch;
use crate::export::Flushing;
use crate::export::answer::Answer;
use crate::export::thread::Thread;
use crate::process::concurrency::{AtomicBool, AtomicUsize, Ordering, SyncSender, sync_channel};
use crate::process::lock::Mutex;
use crate::stats::{Ledger, Stats};
use worker::{Command, Worker};

/// The Collector refuses gRPC messages over 4 MiB for good, so we stay below, with room for the envelope.
pub const MESSAGE_BYTES: usize = 4 * 1024 * 1024 - 64 * 1024;

/// What a record adds to a message at most: itself, a tag and its length.
pub const fn record_len(record: &[u8]) -> usize {
    record.len() + 6
}

/// Where a pipe ends.
pub trait Outlet: Send + Sync + 'static {
    /// One message of these records.
    fn message(&self, records: &[Vec<u8>]) -> Bytes;

    /// Sends it, once.
    fn send(&mut self, message: &Bytes) -> impl Future<Output = Answer>;

    /// Begins afresh after a panic.
    fn reset(&mut self);
}

/// How records wait, and what is counted.
#[derive(Clone)]
pub struct Plan {
    /// How records wait.
    pub batch: Batch,
    /// What is counted.
    pub stats: Arc<Stats>,
    /// Under which names.
    pub ledger: &'static Ledger,
}

/// Takes the records of one signal to their outlet.
pub struct Pipe<O> {
    plan: Plan,
    load: Arc<Load>,
    /// Until the thread has it.
    outlet: Mutex<Option<O>>,
    thread: Thread<Command>,
}

impl<O: Outlet> Pipe<O> {
    /// Nothing is opened and nothing is started yet.
    pub fn new(outlet: O, plan: Plan) -> Self {
        Pipe { plan, load: Arc::default(), outlet: Mutex::new(Some(outlet)), thread: Thread::new() }
    }

    /// Takes a record, or counts it as dropped. It is encoded only if there is room for it.
    pub fn offer(&self, encode: impl FnOnce() -> Vec<u8>) {
        let Plan { stats, ledger, batch } = &self.plan;
        stats.add(ledger.recorded, 1);
        let Some(sender) = self.sender() else { return stats.add(ledger.shutdown, 1) };
        if self.load.is_refusing() {
            return stats.add(ledger.refused, 1);
        }
        if !self.load.reserve(batch.queue) {
            return stats.add(ledger.queue_full, 1);
        }
        let record = encode();
        let fate = if record_len(&record) > MESSAGE_BYTES {
            ledger.too_large
        } else if !self.load.hold(record.len(), batch.queue_bytes) {
            ledger.queue_full
        } else if self.send(&sender, record) {
            return;
        } else {
            ledger.shutdown
        };
        // If a shutdown took the place away meanwhile, it has counted this record as well.
        if self.load.settle(1) {
            stats.add(fate, 1);
        }
    }

    /// Gives a record to the thread. False: it reads no more.
    fn send(&self, sender: &mpsc::UnboundedSender<Command>, record: Vec<u8>) -> bool {
        let size = record.len();
        let is_full = self.load.gather(self.plan.batch.size);
        if sender.send(Command::Export(record)).is_err() {
            self.load.let_go(size);
            return false;
        }
        if is_full {
            self.load.wake();
        }
        // One that has given up has not ended yet, maybe.
        !self.load.is_abandoned()
    }

    /// Asks the thread, if there is one, to deal with all it has.
    pub fn flush(&self) -> Flushing {
        self.thread.running().map_or_else(Flushing::done, |sender| self.ask(&sender, Command::Flush))
    }

    /// The same, and ends the thread. A record that comes later does not start it again.
    pub fn shutdown(&self) -> Flushing {
        self.thread.close().map_or_else(Flushing::done, |sender| self.ask(&sender, Command::Shutdown))
    }

    /// Counts as dropped what a shutdown did not get rid of.
    pub fn abandon(&self) {
        let left = self.load.take_all();
        self.plan.stats.add(self.plan.ledger.shutdown, left);
    }

    fn ask(
        &self,
        sender: &mpsc::UnboundedSender<Command>,
        command: impl FnOnce(SyncSender<()>) -> Command,
    ) -> Flushing {
        let (done, wait) = sync_channel(1);
        // A thread that is gone has dropped `done`; whoever waits sees that at once.
        let _ = sender.send(command(done));
        self.load.wake();
        Flushing::until(wait)
    }

    /// Records that wait, those in the thread's hands included.
    pub fn queued(&self) -> usize {
        self.load.records.load(Ordering::Acquire)
    }

    /// The way to the thread, which is started if need be. None: it has been shut down, or cannot be started.
    fn sender(&self) -> Option<mpsc::UnboundedSender<Command>> {
        let make = |commands| {
            let outlet = self.outlet.lock().take()?;
            Some(Worker::new(commands, outlet, self.plan.clone(), Arc::clone(&self.load)))
        };
        self.thread.started("jitspan-export", make).unwrap_or_else(|_| {
            self.plan.stats.fault("export.thread");
            None
        })
    }
}

impl<O> Drop for Pipe<O> {
    fn drop(&mut self) {
        // The thread sees that the channel has ended only when it looks.
        drop(self.thread.close());
        self.load.wake();
    }
}

/// What waits: in the queue and in the thread's hands. The unbounded channel is bounded by these counts.
#[derive(Debug, Default)]
pub struct Load {
    records: AtomicUsize,
    bytes: AtomicUsize,
    /// Records that are in no message yet.
    gathering: AtomicUsize,
    /// For the thread, while it waits for more records: a full batch, or a command. It is not woken by each record, in
    /// the thread that launches kernels.
    awake: Notify,
    /// The collector does not take this signal, and is not bothered with it until then.
    refusing_until: Mutex<Option<Instant>>,
    /// A shutdown ran out of time: the thread is to end, and to count nothing more.
    abandoned: AtomicBool,
}

impl Load {
    fn reserve(&self, bound: usize) -> bool {
        let free = |records: usize| (records < bound).then_some(records + 1);
        self.records.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).is_ok()
    }

    fn hold(&self, size: usize, bound: usize) -> bool {
        let free = |bytes: usize| (bytes + size <= bound).then_some(bytes + size);
        self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).is_ok()
    }

    /// Counts one more record. True: with it there are enough for a message.
    fn gather(&self, enough: usize) -> bool {
        self.gathering.fetch_add(1, Ordering::AcqRel) + 1 == enough
    }

    /// So many went into a message.
    pub fn gathered(&self, count: usize) {
        let less = |records: usize| Some(records.saturating_sub(count));
        let _ = self.gathering.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    fn wake(&self) {
        self.awake.notify_one();
    }

    /// Until there may be something to do at once.
    pub async fn woken(&self) {
        self.awake.notified().await;
    }

    /// Gives bytes back.
    pub fn let_go(&self, size: usize) {
        let less = |bytes: usize| Some(bytes.saturating_sub(size));
        let _ = self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// Gives places back. False: a shutdown has taken them, and has counted what was in them.
    pub fn settle(&self, count: usize) -> bool {
        let less = |records: usize| records.checked_sub(count);
        self.records.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).is_ok()
    }

    fn take_all(&self) -> usize {
        self.abandoned.store(true, Ordering::Release);
        self.records.swap(0, Ordering::AcqRel)
    }

    /// Whether nobody waits for the thread any more.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Refuses records unseen until then.
    pub fn refuse_until(&self, until: Option<Instant>) {
        *self.refusing_until.lock() = until;
    }

    /// Whether records are refused unseen.
    pub fn is_refusing(&self) -> bool {
        self.refusing_until.lock().is_some_and(|until| Instant::now() < until)
    }
}
