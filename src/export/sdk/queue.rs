//! Spans that wait for the thread, bounded in number and size, and the books of what became of them.
//!
//! The thread starts with the first span, as that of our own transport. What it calls is the program's and may never
//! return: then whoever comes next leaves that thread to itself, counts what it held, and starts another one.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use super::shared::{LEDGER, Plan, Shared, State};
use super::worker::Worker;
use crate::export::Flushing;
use crate::export::pipe::MESSAGE_BYTES;
use crate::export::thread::spawn;
use crate::model::span::Span;

/// The sink's end of it.
pub struct Queue(Arc<Shared>);

impl Queue {
    /// Nothing is started yet.
    pub fn new(plan: Plan) -> Self {
        Queue(Arc::new(Shared::new(plan)))
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
