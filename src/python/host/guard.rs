//! Keeps our faults from the host: an error or a panic of ours is counted, logged once for its place, and swallowed.
//! What is no `Exception` (KeyboardInterrupt, SystemExit) is no fault of ours: a signal handler raised it, and it came up
//! in the Python that we happened to run. It goes on to the host when the native returns: see `leaving`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;

use crate::python::host::leaving;
use crate::python::host::report;

/// Runs `body`. None: it failed, which is counted under `place`.
pub fn guard<T>(py: Python<'_>, place: &str, body: impl FnOnce() -> PyResult<T>) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => Some(value),
        Ok(Err(error)) => {
            if let Some(error) = leaving::keep(py, error) {
                fault(py, place, &error.to_string());
            }
            None
        }
        Err(panic) => {
            panicked(py, place, &*panic);
            None
        }
    }
}

/// Counts a panic of ours.
pub fn panicked(py: Python<'_>, place: &str, panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    fault(py, place, text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panic"));
}

/// Counts a fault of ours, and logs it if it is the first at its place.
pub fn fault(py: Python<'_>, place: &str, message: &str) {
    let first = crate::monitor().is_none_or(|monitor| monitor.stats().fault(place));
    if first {
        report::fault(py, place, message);
    }
}
