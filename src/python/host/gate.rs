//! Who is inside a native of ours, so that two things can wait until nobody is.
//!
//! - **The end of the interpreter.** Up to CPython 3.13 a daemon thread that wants the interpreter back while it is
//!   finalizing is ended by `pthread_exit`, which unwinds its stack, and that cannot pass Rust frames: the process dies of
//!   SIGSEGV or SIGABRT. The host's code never runs above a Rust frame of ours (see `boundary.py`); what we read of it
//!   (a property, a `__len__`) does. So the gate closes before the interpreter does: nobody else comes in any more, and
//!   the end waits for those who are inside.
//! - **A fork.** A child has the locks of the threads that it does not have. Nobody else is inside when we fork, and
//!   nobody else is writing a log line of ours: CPython copies the lock of the buffer of `sys.stderr` into the child as it
//!   stands (seen on 3.11; `logging` sets only its own handlers' locks free).
//!
//! Neither waits for long: what somebody inside waits for is the host's, maybe the very thread that forks. Plain counters,
//! which change only while the interpreter is held: there is no lock here to be left held, and none is needed.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

use crate::process::lock;

/// A native takes microseconds, and a line as long as its reader does; but a busy machine lets a thread wait for its turn.
const FORK_PATIENCE: Duration = Duration::from_secs(1);
/// Longer, for what comes after it may be the death of the process: `activate()` in a daemon thread, with its imports, took
/// more than a second where forty processes shared two cores.
const EXIT_PATIENCE: Duration = Duration::from_secs(5);

/// Threads that are inside a native.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// The interpreter ends.
static CLOSED: AtomicBool = AtomicBool::new(false);
/// Forks that wait for those inside.
static FORKS_WAIT: AtomicUsize = AtomicUsize::new(0);
/// Threads that are writing a line, and forks from the time they wait to the time they have happened.
static WRITING: AtomicUsize = AtomicUsize::new(0);
static FORKING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Natives that this thread is inside of: the host's code that one of them reads may call another.
    static OWN: Cell<usize> = const { Cell::new(0) };
    /// Lines that this thread is writing: a handler may log in its turn.
    static OWN_LINES: Cell<usize> = const { Cell::new(0) };
    /// This thread ends the interpreter.
    static FINALIZES: Cell<bool> = const { Cell::new(false) };
    static FORKS: Cell<bool> = const { Cell::new(false) };
}

/// This thread is inside a native.
pub struct Inside<'py>(PhantomData<(Python<'py>, *const ())>);

/// A native begins. None: the interpreter ends, and nothing of ours may run in this thread any more.
pub fn enter(py: Python<'_>) -> Option<Inside<'_>> {
    lock::assert_none_held();
    let own = OWN.get();
    if own == 0 {
        if CLOSED.load(Relaxed) && !FINALIZES.get() {
            return None;
        }
        if FORKS_WAIT.load(Relaxed) > 0 && !FORKS.get() {
            wait(py, FORK_PATIENCE, || FORKS_WAIT.load(Relaxed) == 0);
            // The interpreter was let go meanwhile.
            if CLOSED.load(Relaxed) && !FINALIZES.get() {
                return None;
            }
        }
        count(&INSIDE, 1);
    }
    OWN.set(own + 1);
    Some(Inside(PhantomData))
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let own = OWN.get().saturating_sub(1);
        OWN.set(own);
        if own == 0 {
            count(&INSIDE, -1);
        }
    }
}

/// Lets go of the interpreter for something that may take long. Who waits for those inside does not wait for this. If the
/// interpreter has ended meanwhile, PyO3 parks the thread on its way back; so the caller should have nothing left to do.
pub fn outside<T: Send>(py: Python<'_>, body: impl FnOnce() -> T + Send) -> T {
    lock::assert_none_held();
    let own = OWN.replace(0);
    if own > 0 {
        count(&INSIDE, -1);
    }
    let value = py.detach(body);
    if own > 0 {
        count(&INSIDE, 1);
    }
    OWN.set(own);
    value
}

/// A line is being written while this lives.
#[pyclass(frozen, module = "jitspan")]
pub struct Line(());

/// A line of ours begins.
#[pyfunction]
pub fn line(py: Python<'_>) -> Line {
    if OWN_LINES.get() == 0 && !FORKS.get() {
        wait(py, FORK_PATIENCE, || FORKING.load(Relaxed) == 0);
    }
    count(&WRITING, 1);
    OWN_LINES.set(OWN_LINES.get() + 1);
    Line(())
}

impl Drop for Line {
    fn drop(&mut self) {
        // A traceback may keep it, and be dropped elsewhere.
        OWN_LINES.set(OWN_LINES.get().saturating_sub(1));
        count(&WRITING, -1);
    }
}

/// Closes it at exit, and keeps forks waiting. Called when the module is imported.
pub fn prepare(py: Python<'_>) -> PyResult<()> {
    let close = PyCFunction::new_closure(py, None, None, |arguments, _| close(arguments.py()))?;
    py.import("atexit")?.call_method1("register", (close,))?;
    let before = PyCFunction::new_closure(py, None, None, |arguments, _| before_fork(arguments.py()))?;
    let in_parent = PyCFunction::new_closure(py, None, None, |_, _| after_fork_in_parent())?;
    let in_child = PyCFunction::new_closure(py, None, None, |_, _| after_fork_in_child())?;
    let handlers = PyDict::new(py);
    handlers.set_item("before", before)?;
    handlers.set_item("after_in_parent", in_parent)?;
    handlers.set_item("after_in_child", in_child)?;
    py.import("os")?.call_method("register_at_fork", (), Some(&handlers)).map(drop)
}

fn close(py: Python<'_>) {
    FINALIZES.set(true);
    CLOSED.store(true, Relaxed);
    wait(py, EXIT_PATIENCE, nobody_else_is_inside);
}

fn nobody_else_is_inside() -> bool {
    INSIDE.load(Relaxed) <= usize::from(OWN.get() > 0)
}

fn before_fork(py: Python<'_>) {
    count(&FORKING, 1);
    count(&FORKS_WAIT, 1);
    FORKS.set(true);
    wait(py, FORK_PATIENCE, || nobody_else_is_inside() && WRITING.load(Relaxed) <= OWN_LINES.get());
    // Whoever comes in from now on does not wait for the fork: it may hold what another handler waits for.
    count(&FORKS_WAIT, -1);
}

fn after_fork_in_parent() {
    count(&FORKING, -1);
    FORKS.set(false);
}

/// The other threads are gone.
fn after_fork_in_child() {
    FORKING.store(0, Relaxed);
    FORKS_WAIT.store(0, Relaxed);
    FORKS.set(false);
    INSIDE.store(usize::from(OWN.get() > 0), Relaxed);
    WRITING.store(OWN_LINES.get(), Relaxed);
}

fn wait(py: Python<'_>, patience: Duration, over: impl Fn() -> bool) {
    let began = Instant::now();
    while !over() && began.elapsed() < patience {
        py.detach(|| std::thread::sleep(Duration::from_millis(1)));
    }
}

/// Two steps, for half the price of one that is atomic: only who holds the interpreter comes here.
fn count(counter: &AtomicUsize, by: isize) {
    counter.store(counter.load(Relaxed).saturating_add_signed(by), Relaxed);
}
