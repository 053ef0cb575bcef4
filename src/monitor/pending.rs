//! A stall from its begin to its end: what it nests in, where it can be seen meanwhile, and what is held back until it is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::unexpected::UnexpectedCompile;
use crate::board::record::About;
use crate::board::{Board, Entry};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::model::event::UnixNanos;
use crate::process::lock::Mutex;
use crate::scope::{Operation, Scope};

/// A stall that is going on.
pub struct Pending {
    pub(super) scope: Scope,
    pub(super) live: Option<Live>,
    pub(super) operation: Arc<Operation>,
    pub(super) outermost: bool,
    pub(super) armed: bool,
    pub(super) started: UnixNanos,
    pub(super) clock: Instant,
    pub(super) held: Option<Arc<Held>>,
    /// Whether it is the one that holds the others back.
    pub(super) holds: bool,
    pub(super) shown: Shown,
}

/// Where everybody can see that it goes on.
pub(super) struct Shown {
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    state: Mutex<Option<(Option<Entry>, Option<String>)>>,
}

impl Shown {
    pub(super) fn new(board: &Arc<Board>, metrics: &Arc<Metrics>) -> Self {
        Shown { board: Arc::clone(board), metrics: Arc::clone(metrics), state: Mutex::default() }
    }

    pub(super) fn take(&self) -> Option<Entry> {
        // A forked child has copies, and must not wait for a lock that another thread of its parent held.
        if !self.board.is_ours() {
            return None;
        }
        let (entry, runtime) = self.state.lock().take()?;
        runtime.iter().for_each(|runtime| self.metrics.end(runtime));
        entry
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// What is kept back until an operation has ended in which nothing may raise.
#[derive(Default)]
pub(super) struct Held {
    error: Mutex<Option<UnexpectedCompile>>,
    recorded: AtomicBool,
}

impl Pending {
    /// Error mode raises when this one ends, and not inside it: a compiler that is in the middle of something would
    /// take that for an error of its own. Inside another that holds, that one is it.
    #[must_use]
    pub fn holding(mut self) -> Self {
        if self.held.is_none() {
            self.held = Some(Arc::default());
            self.holds = true;
        }
        self
    }

    /// Whether something has been recorded inside an operation that holds.
    pub fn has_recorded(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.recorded.load(Ordering::Relaxed))
    }

    /// What to raise now, of what this one gives and what was kept back.
    pub(super) fn release(&self, error: Option<UnexpectedCompile>, failed: bool) -> Option<UnexpectedCompile> {
        let Some(held) = &self.held else { return error };
        if self.holds {
            // It raises already.
            return error.or_else(|| held.error.lock().take()).filter(|_| !failed);
        }
        held.recorded.store(true, Ordering::Relaxed);
        if let Some(error) = error {
            held.error.lock().get_or_insert(error);
        }
        None
    }

    /// Shows that it goes on: on the board, and among the compiles in progress. What is only told when it is over need not
    /// say so. Once.
    pub fn shows(&self, about: About<'_>) {
        let mut state = self.shown.state.lock();
        if state.is_none() {
            let runtime = self.outermost.then(|| about.runtime.to_owned());
            runtime.iter().for_each(|runtime| self.shown.metrics.begin(runtime));
            let when = (self.started, !self.outermost, self.armed);
            *state = Some((self.shown.board.begin(about, &self.scope, when), runtime));
        }
    }

    /// It does not go on, though its end is not recorded yet, and may never be.
    pub fn hides(&self) {
        drop(self.shown.take());
    }

    /// When it began.
    pub fn started(&self) -> UnixNanos {
        self.started
    }

    /// How long it has been going on.
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.scope.waiting()
    }

    /// Whether it began after arming.
    pub fn is_armed(&self) -> bool {
        self.armed
    }
}
