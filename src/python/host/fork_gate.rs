//! Keeps a fork out of our log lines. The lock in which CPython keeps the buffer of `sys.stderr` is copied into the
//! child as it stands (seen on 3.11; `logging` sets only its own handlers' locks free): a fork while another thread of
//! the server writes our line leaves a child that hangs at the first line of its own.
//!
//! So a fork waits for the lines that are being written, and a line for a fork, but neither for long: what a handler
//! waits for is the server's, maybe the very thread that forks. Plain counters: there is no lock here to be left held.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

/// A line is written in microseconds, unless its reader is behind.
const PATIENCE: Duration = Duration::from_secs(1);

/// Threads that are writing a line, and threads that fork. Both change only while the interpreter is held.
static WRITING: AtomicUsize = AtomicUsize::new(0);
static FORKING: AtomicUsize = AtomicUsize::new(0);
static REGISTERED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Lines that this thread is writing: a handler may log in its turn.
    static OWN: Cell<usize> = const { Cell::new(0) };
    static FORKS_ITSELF: Cell<bool> = const { Cell::new(false) };
}

/// Runs what writes a line.
pub fn write<T>(py: Python<'_>, line: impl FnOnce() -> T) -> T {
    if !REGISTERED.swap(true, Ordering::SeqCst) {
        // Without it the line is written all the same.
        let _ = register(py);
    }
    if OWN.get() == 0 && !FORKS_ITSELF.get() {
        wait(py, || FORKING.load(Ordering::SeqCst) == 0);
    }
    let _written = Line::begin();
    line()
}

struct Line;

impl Line {
    fn begin() -> Self {
        WRITING.fetch_add(1, Ordering::SeqCst);
        OWN.set(OWN.get() + 1);
        Line
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        OWN.set(OWN.get() - 1);
        WRITING.fetch_sub(1, Ordering::SeqCst);
    }
}

fn wait(py: Python<'_>, over: impl Fn() -> bool) {
    let began = Instant::now();
    while !over() && began.elapsed() < PATIENCE {
        py.detach(|| std::thread::sleep(Duration::from_millis(1)));
    }
}

fn register(py: Python<'_>) -> PyResult<()> {
    let before = PyCFunction::new_closure(py, None, None, |arguments, _| before_fork(arguments.py()))?;
    let in_parent = PyCFunction::new_closure(py, None, None, |_, _| after_fork_in_parent())?;
    let in_child = PyCFunction::new_closure(py, None, None, |_, _| after_fork_in_child())?;
    let handlers = PyDict::new(py);
    handlers.set_item("before", before)?;
    handlers.set_item("after_in_parent", in_parent)?;
    handlers.set_item("after_in_child", in_child)?;
    py.import("os")?.call_method("register_at_fork", (), Some(&handlers)).map(drop)
}

fn before_fork(py: Python<'_>) {
    FORKING.fetch_add(1, Ordering::SeqCst);
    FORKS_ITSELF.set(true);
    wait(py, || WRITING.load(Ordering::SeqCst) <= OWN.get());
}

fn after_fork_in_parent() {
    let less = |forking: usize| Some(forking.saturating_sub(1));
    let _ = FORKING.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    FORKS_ITSELF.set(false);
}

/// The other threads are gone, and what they were writing is.
fn after_fork_in_child() {
    FORKING.store(0, Ordering::SeqCst);
    WRITING.store(OWN.get(), Ordering::SeqCst);
    FORKS_ITSELF.set(false);
}
