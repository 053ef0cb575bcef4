//! Somebody else's flush, which may hang: in a thread of its own, so that we can stop waiting for it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

use crate::python::host::guard::guard;

/// Flushes that have not returned. A provider that hangs for good must not cost a thread for each error.
static RUNNING: AtomicUsize = AtomicUsize::new(0);
const RUNNING_MAX: usize = 4;

/// Calls `flush` in a daemon thread. The receiver hears when it has returned, or failed. None: too many have not.
pub fn start(
    py: Python<'_>,
    flush: impl Fn(Python<'_>) -> PyResult<()> + Send + Sync + 'static,
) -> Option<Receiver<()>> {
    if RUNNING.fetch_add(1, Ordering::Relaxed) >= RUNNING_MAX {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
        return None;
    }
    let (done, wait) = channel();
    let started = guard(py, "provider_flush", || {
        let body = PyCFunction::new_closure(py, Some(c"jitspan_flush"), None, move |arguments, _| {
            guard(arguments.py(), "provider_flush", || flush(arguments.py()));
            RUNNING.fetch_sub(1, Ordering::Relaxed);
            // Nobody waits any more if the deadline has passed.
            let _ = done.send(());
        })?;
        let options = PyDict::new(py);
        options.set_item("target", body)?;
        options.set_item("name", "jitspan-flush")?;
        options.set_item("daemon", true)?;
        // Python's own thread, not one of ours: a daemon thread may hang while the interpreter ends.
        py.import("threading")?.getattr("Thread")?.call((), Some(&options))?.call_method0("start")
    });
    if started.is_none() {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
    started.map(|_| wait)
}
