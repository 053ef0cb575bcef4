//! Imports, kept off the path of an event.
//!
//! A thread that imports a module holds that module's lock, and a child that another thread forks meanwhile has the
//! lock without the thread. While events still imported, 3 of 28 runs of forks under load (CPython 3.10 and 3.12) had a
//! child that hung; since they import nothing, 0 of 28. That it was this lock fits what was seen, and was not shown. An
//! import of what is there takes no lock.

use pyo3::prelude::*;

/// What some event needs.
const MODULES: [&str; 7] = ["atexit", "functools", "inspect", "logging", "threading", "traceback", "types"];

/// Imports what events will need.
pub fn prepare(py: Python<'_>) {
    for name in MODULES {
        let _ = py.import(name);
    }
}

/// A module, if it is there. Imports nothing, and so never fails twice over the same missing one.
pub fn loaded<'py>(py: Python<'py>, name: &str) -> Option<Bound<'py, PyAny>> {
    py.import("sys").ok()?.getattr("modules").ok()?.get_item(name).ok().filter(|module| !module.is_none())
}
