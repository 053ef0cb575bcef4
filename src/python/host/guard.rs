//! Keeps our faults from the host: an error or a panic of ours is counted, logged once for its place, and swallowed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::python::host::report;

/// Runs `body`. None: it failed, which is counted under `place`.
pub fn guard<T>(py: Python<'_>, place: &str, body: impl FnOnce() -> PyResult<T>) -> Option<T> {
    match attempt(py, place, body) {
        Ok(value) => value,
        Err(error) => {
            fault(py, place, &error.to_string());
            None
        }
    }
}

/// As [`guard`], where the host's caller can be reached.
///
/// # Errors
/// What is no `Exception` (KeyboardInterrupt, SystemExit) is no fault of ours: a signal handler raised it, and it came
/// up in the Python that we happened to run.
pub fn attempt<T>(py: Python<'_>, place: &str, body: impl FnOnce() -> PyResult<T>) -> PyResult<Option<T>> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => Ok(Some(value)),
        Ok(Err(error)) if !error.is_instance_of::<PyException>(py) => Err(error),
        Ok(Err(error)) => {
            fault(py, place, &error.to_string());
            Ok(None)
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            fault(py, place, text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panic"));
            Ok(None)
        }
    }
}

/// Counts a fault of ours, and logs it if it is the first at its place.
pub fn fault(py: Python<'_>, place: &str, message: &str) {
    let first = crate::monitor().is_none_or(|monitor| monitor.stats().fault(place));
    if first {
        report::fault(py, place, message);
    }
}
