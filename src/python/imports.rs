//! Imports, kept off the path of an event.
//!
//! A thread that imports a module holds that module's lock, and CPython does not let go of it in a child that another
//! thread forks meanwhile: the child's own import of the module then waits for ever. Seen on 3.10 and 3.12, with
//! `contextvars` and a first compile in one thread while another forked. An import of what is there takes no lock.

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
