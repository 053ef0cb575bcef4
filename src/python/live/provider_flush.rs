//! Somebody else's flush, which may hang: in a thread of its own, so that we can stop waiting for it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyTuple};

use crate::python::host::boundary;
use crate::python::host::guard::guard;

/// Flushes that have not returned. A provider that hangs for good must not cost a thread for each error.
static RUNNING: AtomicUsize = AtomicUsize::new(0);
const RUNNING_MAX: usize = 4;

/// Calls `flush` in a daemon thread, once our native has returned: to start a thread is to wait for it. The receiver hears
/// when it has returned, or failed. None: too many have not.
pub fn start(flush: &Bound<'_, PyAny>, arguments: Bound<'_, PyTuple>) -> Option<Receiver<()>> {
    let py = flush.py();
    if RUNNING.fetch_add(1, Ordering::Relaxed) >= RUNNING_MAX {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
        return None;
    }
    let (done, wait) = channel();
    let left = guard(py, "provider_flush", || {
        let done = PyCFunction::new_closure(py, Some(c"jitspan_flushed"), None, move |_, _| {
            RUNNING.fetch_sub(1, Ordering::Relaxed);
            // Nobody waits any more if the deadline has passed.
            let _ = done.send(());
        })?;
        boundary::leave_text(py, "flush", (flush, arguments, done).into_pyobject(py));
        Ok(())
    });
    if left.is_none() {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
    left.map(|()| wait)
}
