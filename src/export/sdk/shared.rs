//! What the sink and its thread share: the spans that wait, and the books of what became of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Through;
use crate::config::Batch;
use crate::export::pipe::MESSAGE_BYTES;
use crate::model::span::Span;
use crate::process::lock::Mutex;
use crate::stats::{Counter, Ledger, Stats};

/// What is counted.
pub const LEDGER: Ledger = Ledger::SPANS;

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
    pub(super) state: Mutex<State>,
    /// For the thread.
    pub(super) awake: Notify,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) spans: VecDeque<Waiting>,
    /// Spans in the thread's hands.
    held: usize,
    /// Size of all of these, and of those in the thread's hands.
    pub(super) bytes: usize,
    held_bytes: usize,
    /// Spans taken so far, and spans dealt with.
    pub(super) accepted: u64,
    settled: u64,
    /// Who waits for a flush, and until how many spans are settled.
    pub(super) asked: Vec<(u64, SyncSender<()>)>,
    pub(super) is_running: bool,
    pub(super) is_closed: bool,
    /// Which thread is the thread. One that was left to itself has an older number, and counts nothing.
    pub(super) life: u64,
    /// Since when the thread has been in code of the program's.
    away: Option<Instant>,
}

pub(super) struct Waiting {
    span: Span,
    size: usize,
    since: Instant,
}

impl State {
    pub(super) fn queued(&self) -> usize {
        self.spans.len() + self.held
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.bytes - self.held_bytes
    }

    pub(super) fn put(&mut self, span: Span, size: usize) {
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
    pub(super) fn forget(&mut self) {
        *self = State { is_closed: self.is_closed, life: self.life + 1, ..State::default() };
    }
}

impl Shared {
    /// Longer in code of the program's than the call is allowed to take: it will not come back.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// Threads that are left to themselves. An exporter that blocks each of them for ever must not fill the process.
    const LEFT: u64 = 4;

    /// Nothing waits yet.
    pub fn new(plan: Plan) -> Self {
        Shared { plan, state: Mutex::default(), awake: Notify::new() }
    }

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

    pub(super) fn leave_stuck(&self, state: &mut State) {
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
