//! A thread of an exporter: started by what first needs it, told what to do through a channel, never joined.
//!
//! A panic in it, of ours or of a library, ends neither the thread nor the queue: it is counted, and the work begins
//! again.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

#[cfg(jitspan_loom)]
use super::pipe::model::{Runtime, pause, spawn};
use crate::process::lock::Mutex;
#[cfg(not(jitspan_loom))]
use opentelemetry::Context;
#[cfg(not(jitspan_loom))]
use tokio::runtime::Runtime;

/// What runs in the thread.
pub trait Work: Send + 'static {
    /// Goes on until there is nothing more to do.
    fn work(&mut self) -> impl Future<Output = ()>;

    /// [`work`](Self::work) has panicked, with this text, and will be called again.
    fn recover(&mut self, panic: &str);
}

/// The thread, and the way to it.
pub struct Thread<C>(Mutex<State<C>>);

enum State<C> {
    NotStarted,
    Running(UnboundedSender<C>),
    Closed,
}

impl<C: Send + 'static> Thread<C> {
    /// None yet.
    pub fn new() -> Self {
        Thread(Mutex::new(State::NotStarted))
    }

    /// The way to the thread, which is started if it never was. None: it has been closed, or `make` gives nothing.
    ///
    /// # Errors
    /// It cannot be started, and will not be.
    pub fn started<W: Work>(
        &self,
        name: &str,
        make: impl FnOnce(UnboundedReceiver<C>) -> Option<W>,
    ) -> io::Result<Option<UnboundedSender<C>>> {
        let mut state = self.0.lock();
        if let State::NotStarted = *state {
            let (sender, commands) = mpsc::unbounded_channel();
            *state = State::Closed;
            if let Some(work) = make(commands) {
                spawn(name, move |runtime| run(runtime, work))?;
                *state = State::Running(sender);
            }
        }
        Ok(match &*state {
            State::Running(sender) => Some(sender.clone()),
            State::NotStarted | State::Closed => None,
        })
    }

    /// The way to the thread, if it runs. The lock is not held while somebody waits: a signal handler may flush while
    /// another thread does.
    pub fn running(&self) -> Option<UnboundedSender<C>> {
        match &*self.0.lock() {
            State::Running(sender) => Some(sender.clone()),
            State::NotStarted | State::Closed => None,
        }
    }

    /// Nobody finds the way to it from now on, and it is not started again.
    pub fn close(&self) -> Option<UnboundedSender<C>> {
        match std::mem::replace(&mut *self.0.lock(), State::Closed) {
            State::Running(sender) => Some(sender),
            State::NotStarted | State::Closed => None,
        }
    }
}

/// Starts a thread of ours, with a runtime for one thread.
///
/// The runtime is made here, not there: the first one in a process sets up what tokio keeps for all of them, behind a
/// lock. A fork in that moment would leave the lock to a thread that the child does not have; the thread that forks is
/// this one, or waits for the interpreter that this one holds.
///
/// Telemetry is suppressed there, as in the SDK's own threads: what an exporter's client tells of itself would be
/// exported, which makes more of it. (tracing-opentelemetry 0.34 asks for that only at spans without a parent in
/// `tracing`, so a program's layer wants a level, for its own exporter's sake.)
#[cfg(not(jitspan_loom))]
pub(super) fn spawn(name: &str, body: impl FnOnce(&Runtime) + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    crate::process::spawn(name, move || {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        body(&runtime);
    })
}

#[cfg(not(jitspan_loom))]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn run(runtime: &Runtime, mut work: impl Work) {
    const LONGEST: Duration = Duration::from_secs(1);
    let mut wait = Duration::ZERO;
    while let Err(panic) = catch_unwind(AssertUnwindSafe(|| runtime.block_on(work.work()))) {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        work.recover(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panic"));
        // One that panics each time must not take a processor, nor fill the server's log: Rust writes a line for each.
        pause(wait);
        wait = (wait + LONGEST / 100).min(LONGEST);
    }
}
