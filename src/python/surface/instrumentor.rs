//! For programs that know nothing of us: `opentelemetry-instrument`, and `jitspan run`. Both put the hooks in place at
//! the start of Python, and `JITSPAN_ARM` says when warm-up is over.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::config::{Arm, Settings};
use crate::python::arming;
use crate::python::host::boundary;
use crate::python::host::guard::guard;
use crate::python::host::report;

/// Puts the hooks in place, and arms as `JITSPAN_ARM` says. Never raises: a program that asked for nothing must start.
#[pyfunction]
pub fn _start(py: Python<'_>) -> PyResult<()> {
    boundary::native(
        py,
        "start",
        || (),
        || {
            guard(py, "start", || start(py));
            Ok(())
        },
    )
}

fn start(py: Python<'_>) -> PyResult<()> {
    match arming::prepare(py) {
        Ok(false) => return Ok(()),
        Ok(true) => {}
        Err(error) => {
            report::log(py, "error", &format!("jitspan stays switched off: {error}"));
            return Ok(());
        }
    }
    match crate::monitor().map_or(Arm::Manual, |monitor| monitor.config().arm) {
        Arm::Manual => {}
        Arm::Now => arm(py),
        Arm::After(time) => {
            let arm = wrap_pyfunction!(_arm, py)?;
            boundary::leave_text(py, "start_timer", (time.as_secs_f64(), arm).into_pyobject(py));
        }
    }
    Ok(())
}

#[pyfunction]
fn _arm(py: Python<'_>) -> PyResult<()> {
    boundary::native(
        py,
        "arm",
        || (),
        || {
            arm(py);
            Ok(())
        },
    )
}

fn arm(py: Python<'_>) {
    if let Err(error) = arming::arm(py, &Settings::default()) {
        report::log(py, "error", &format!("not armed: {error}"));
    }
}

/// What `opentelemetry-instrument` makes of the entry point: puts the hooks in place; `JITSPAN_ARM` says when warm-up is
/// over ("now", "after=<seconds>", or "manual", the default).
#[pyclass(frozen, module = "jitspan")]
pub struct Instrumentor;

#[pymethods]
impl Instrumentor {
    #[new]
    fn new() -> Self {
        Instrumentor
    }

    /// Puts the hooks in place.
    #[pyo3(signature = (**options))]
    fn instrument(&self, py: Python<'_>, options: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let _ = options;
        _start(py)
    }

    /// As `deactivate()`.
    #[pyo3(signature = (**options))]
    fn uninstrument(&self, py: Python<'_>, options: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let _ = options;
        crate::python::surface::api::deactivate(py)
    }

    /// None: what is not installed is not watched.
    #[pyo3(signature = () -> "list[str]")]
    fn instrumentation_dependencies<'py>(&self, py: Python<'py>) -> Bound<'py, PyList> {
        PyList::empty(py)
    }

    /// Whether `activate()` has been called.
    #[getter]
    fn is_instrumented_by_opentelemetry(&self) -> bool {
        crate::python::hooks::are_installed()
    }
}
