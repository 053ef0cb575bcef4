//! A bounded flush at exit, in this process and in forked children.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;

use crate::export::reach::Moment;
use crate::installed;
use crate::process;
use crate::python::host::boundary;
use crate::python::host::boundary::OrNone;
use crate::python::host::gate;
use crate::python::host::imports;
use crate::python::host::report;
use crate::python::host::resource;
use crate::python::replay::receipt;

/// The fork generation whose exit is watched, plus one; 0: none yet.
static WATCHED: AtomicU64 = AtomicU64::new(0);

/// The fork generation in which an event has been seen, plus one.
static ADOPTED: AtomicU64 = AtomicU64::new(0);

/// Sees to it that what is queued when this process exits is sent, within `JITSPAN_FLUSH_TIMEOUT`.
///
/// A child of `multiprocessing` leaves by `os._exit` after running its own finalizers, and up to CPython 3.12 without
/// running `atexit`; 3.13 and newer clear what the parent registered and run what the child does.
pub fn watch_exit(py: Python<'_>) {
    let generation = process::generation() + 1;
    if WATCHED.swap(generation, Ordering::Relaxed) != generation {
        register(py).or_none();
    } else if ADOPTED.swap(generation, Ordering::Relaxed) == generation {
        return;
    }
    // At `activate()`, and again with the first event: an SDK may have been set up in between.
    resource::adopt(py);
}

fn register(py: Python<'_>) -> PyResult<()> {
    let leave = boundary::TEXT.get(py, "performs")?.call1((wrap_pyfunction!(leave, py)?,))?;
    py.import("atexit")?.call_method1("register", (&leave,))?;
    let in_child = imports::loaded(py, "multiprocessing.process")
        .and_then(|module| module.call_method0("parent_process").or_none())
        .is_some_and(|parent| !parent.is_none());
    if in_child {
        let options = pyo3::types::PyDict::new(py);
        options.set_item("exitpriority", 10)?;
        py.import("multiprocessing.util")?.call_method("Finalize", (py.None(), &leave), Some(&options))?;
    }
    Ok(())
}

#[pyfunction]
fn leave(py: Python<'_>) -> PyResult<()> {
    // Lines are left to the text, and written when we have returned.
    boundary::native(
        py,
        "leave",
        || (),
        || {
            if let Some(sentence) = receipt::sentence() {
                report::log(py, "info", &sentence);
            }
            gate::outside(py, installed::shutdown);
            report::collectors(py, Moment::Exit);
            Ok(())
        },
    )
}
