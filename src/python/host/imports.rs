//! Imports, kept off the path of an event.
//!
//! A thread that imports a module holds that module's lock, and a child that another thread forks meanwhile has the
//! lock without the thread. While events still imported, 3 of 28 runs of forks under load (CPython 3.10 and 3.12) had a
//! child that hung; since they import nothing, 0 of 28. That it was this lock fits what was seen, and was not shown. An
//! import of what is there takes no lock.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule};

use crate::python::host::boundary::OrNone;
use crate::python::host::prepared::{Prepared, names};

/// What some event needs.
const MODULES: [&str; 6] = ["atexit", "functools", "logging", "threading", "traceback", "types"];

/// Imports what events will need.
pub fn prepare(py: Python<'_>) {
    for name in MODULES {
        py.import(name).or_none();
    }
}

static SYS: Prepared<Py<PyModule>> = Prepared::new();

/// Keeps `sys`. Called when our module is imported.
///
/// # Errors
/// Python's own.
pub fn keep_sys(py: Python<'_>) -> PyResult<()> {
    SYS.set(py, py.import("sys")?.unbind());
    Ok(())
}

/// `sys.modules`. Read each time: a program may put another mapping there.
pub fn modules(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    SYS.get(py).ok()?.bind(py).getattr(&names(py).ok()?.modules).or_none()
}

/// A module, if it is there. Imports nothing, and so never fails twice over the same missing one.
pub fn loaded<'py>(py: Python<'py>, name: &str) -> Option<Bound<'py, PyAny>> {
    let modules = modules(py)?;
    // A dictionary is asked without an exception for what is missing, as nearly everything is that is asked for.
    let module = match modules.cast::<PyDict>() {
        Ok(modules) => modules.get_item(name).or_none().flatten(),
        Err(_) => modules.get_item(name).or_none(),
    };
    module.filter(|module| !module.is_none())
}
