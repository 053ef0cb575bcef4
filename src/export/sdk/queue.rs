//! Spans that wait for the thread, bounded in number and size, and the books of what became of them.
//!
//! The thread starts with the first span, as that of our own transport. What it calls is the program's and may never
//! return: then whoever comes next leaves that thread to itself, counts what it held, and starts another one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Through;
use super::worker::Worker;
use crate::config::Batch;
use crate::export::Flushing;
use crate::export::pipe::MESSAGE_BYTES;
use crate::export::thread::spawn;
use crate::model::span::Span;
use crate::process::lock::Mutex;
use crate::stats::{Counter, Ledger, Stats};

const LEDGER: Ledger = Ledger::SPANS;

/// What a queue is made from, and what its thread needs to know.
#[derive(Clone)]
pub struct Plan {
    /// Makes the exporter.
    pub through: &'static Through,
    /// How spans wait.
    pub batch: Batch,
    /// What is counted.
    pub stats: Arc<Stats>,
}

/// The sink's end of it.
pub struct Queue(Arc<Shared>);

impl Queue {
    /// Nothing is started yet.
    pub fn new(plan: Plan) -> Self {
        Queue(Arc::new(Shared { plan, state: Mutex::default(), awake: Notify::new() }))
    }

    /// Takes a span, or counts it as dropped.
    pub fn offer(&self, span: Span, size: usize) {
        let Plan { stats, batch, .. } = &self.0.plan;
        stats.add(LEDGER.recorded, 1);
        let mut state = self.0.state.lock();
        self.0.leave_stuck(&mut state);
        let fate = if state.is_closed {
            LEDGER.shutdown
        } else if size > MESSAGE_BYTES {
            LEDGER.too_large
        } else if state.queued() >= batch.queue || state.bytes + size > batch.queue_bytes {
            LEDGER.queue_full
        } else if !self.start(&mut state) {
            LEDGER.unreachable
        } else {
            state.put(span, size);
            // Not by each span: the thread wakes for the first one, which others may join, and for a full batch.
            if state.spans.len() == 1 || state.spans.len() == batch.size || state.waiting_bytes() > MESSAGE_BYTES {
                self.0.awake.notify_one();
            }
            return;
        };
        drop(state);
        stats.add(fate, 1);
    }

    /// Asks the thread, if there is one, to deal with all it has.
    pub fn flush(&self) -> Flushing {
        self.ask(&mut self.0.state.lock())
    }

    /// The same, and ends the thread.
    pub fn shutdown(&self) -> Flushing {
        let mut state = self.0.state.lock();
        let flushing = self.ask(&mut state);
        state.is_closed = true;
        flushing
    }

    fn ask(&self, state: &mut State) -> Flushing {
        self.0.leave_stuck(state);
        if state.is_closed || (!state.is_running && state.queued() == 0) {
            return Flushing::done();
        }
        self.start(state);
        let (done, wait) = sync_channel(1);
        state.asked.push((state.accepted, done));
        self.0.awake.notify_one();
        Flushing::until(wait)
    }

    /// Counts as dropped what a shutdown did not get rid of.
    pub fn abandon(&self) {
        let mut state = self.0.state.lock();
        let left = state.queued();
        state.forget();
        state.is_closed = true;
        self.0.plan.stats.add(LEDGER.shutdown, left);
        self.0.awake.notify_one();
    }

    /// Spans that wait, those in the thread's hands included.
    pub fn queued(&self) -> usize {
        self.0.state.lock().queued()
    }

    /// False: the system has no room for a thread. The next span tries again.
    fn start(&self, state: &mut State) -> bool {
        if !state.is_running {
            let worker = Worker::new(Arc::clone(&self.0), state.life);
            match spawn("jitspan-export", move |runtime| worker.run(runtime)) {
                Ok(()) => state.is_running = true,
                Err(_) => _ = self.0.plan.stats.fault("export.thread"),
            }
        }
        state.is_running
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.0.state.lock().is_closed = true;
        self.0.awake.notify_one();
    }
}

/// What the thread is to do.
pub enum Work {
    /// Send these.
    Send(Vec<Span>),
    /// Tell these that what they asked for is done.
    Answer(Vec<SyncSender<()>>),
    /// End the exporter, and itself.
    End,
    /// End itself: another thread does its work, or nobody wants it any more.
    Leave,
}

/// What the sink and its thread share.
pub struct Shared {
    pub plan: Plan,
    state: Mutex<State>,
    /// For the thread.
    awake: Notify,
}

#[derive(Default)]
struct State {
    spans: VecDeque<Waiting>,
    /// Spans in the thread's hands.
    held: usize,
    /// Size of all of these, and of those in the thread's hands.
    bytes: usize,
    held_bytes: usize,
    /// Spans taken so far, and spans dealt with.
    accepted: u64,
    settled: u64,
    /// Who waits for a flush, and until how many spans are settled.
    asked: Vec<(u64, SyncSender<()>)>,
    is_running: bool,
    is_closed: bool,
    /// Which thread is the thread. One that was left to itself has an older number, and counts nothing.
    life: u64,
    /// Since when the thread has been in code of the program's.
    away: Option<Instant>,
}

struct Waiting {
    span: Span,
    size: usize,
    since: Instant,
}

impl State {
    fn queued(&self) -> usize {
        self.spans.len() + self.held
    }

    fn waiting_bytes(&self) -> usize {
        self.bytes - self.held_bytes
    }

    fn put(&mut self, span: Span, size: usize) {
        self.accepted += 1;
        self.bytes += size;
        self.spans.push_back(Waiting { span, size, since: Instant::now() });
    }

    /// As many as make one message, which is at least one: none is queued that is too large alone.
    fn take(&mut self, most: usize) -> Vec<Span> {
        let mut taken = Vec::new();
        while let Some(next) = self.spans.front() {
            if taken.len() >= most || self.held_bytes + next.size > MESSAGE_BYTES {
                break;
            }
            self.held_bytes += next.size;
            taken.extend(self.spans.pop_front().map(|waiting| waiting.span));
        }
        self.held = taken.len();
        taken
    }

    /// What the thread held is dealt with.
    fn settle(&mut self) {
        self.settled += self.held as u64;
        self.bytes -= self.held_bytes;
        (self.held, self.held_bytes) = (0, 0);
    }

    /// Nothing waits, nobody waits, and no thread is the thread.
    fn forget(&mut self) {
        *self = State { is_closed: self.is_closed, life: self.life + 1, ..State::default() };
    }
}

impl Shared {
    /// Longer in code of the program's than the call is allowed to take: it will not come back.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// Threads that are left to themselves. An exporter that blocks each of them for ever must not fill the process.
    const LEFT: u64 = 4;

    /// What the thread is to do next; waits until there is something.
    pub async fn next(&self, life: u64) -> Work {
        let batch = &self.plan.batch;
        loop {
            let oldest = {
                let mut state = self.state.lock();
                if state.life != life {
                    return Work::Leave;
                }
                let settled = state.settled;
                let due: Vec<_> = state.asked.extract_if(.., |(until, _)| *until <= settled).collect();
                if !due.is_empty() {
                    return Work::Answer(due.into_iter().map(|(_, done)| done).collect());
                }
                let is_full = state.spans.len() >= batch.size || state.waiting_bytes() > MESSAGE_BYTES;
                let is_wanted = !state.asked.is_empty() || state.is_closed;
                let oldest = state.spans.front().map(|waiting| waiting.since.elapsed());
                match oldest {
                    Some(age) if is_full || is_wanted || age >= batch.delay => {
                        return Work::Send(state.take(batch.size));
                    }
                    None if state.is_closed => return Work::End,
                    oldest => oldest,
                }
            };
            let woken = self.awake.notified();
            match oldest {
                // Over or not, it is looked at again.
                Some(age) => _ = tokio::time::timeout(batch.delay.saturating_sub(age), woken).await,
                None => woken.await,
            }
        }
    }

    /// What the thread held has been exported, or dropped for this reason.
    pub fn settle(&self, life: u64, fate: Counter) {
        let mut state = self.state.lock();
        if state.life == life {
            self.plan.stats.add(fate, state.held);
            state.settle();
        }
    }

    /// The thread is in code of the program's from now on, or back from it.
    pub fn away(&self, life: u64, since: Option<Instant>) {
        let mut state = self.state.lock();
        if state.life == life {
            state.away = since;
        }
    }

    fn leave_stuck(&self, state: &mut State) {
        let patience = self.plan.batch.timeout.saturating_add(Self::PATIENCE);
        let is_stuck = state.away.is_some_and(|since| since.elapsed() > patience);
        if is_stuck && state.life < Self::LEFT && !state.is_closed {
            self.plan.stats.note_export_error("the exporter has blocked its thread, which is left to itself");
            self.without_thread(state, "export.stuck");
        }
    }

    /// The thread has ended as it should not.
    pub fn died(&self, life: u64) {
        let mut state = self.state.lock();
        if state.life == life {
            self.without_thread(&mut state, "export.thread");
        }
    }

    fn without_thread(&self, state: &mut State, fault: &str) {
        self.plan.stats.fault(fault);
        self.plan.stats.add(LEDGER.unreachable, state.held);
        state.settle();
        (state.life, state.away, state.is_running) = (state.life + 1, None, false);
    }
}
