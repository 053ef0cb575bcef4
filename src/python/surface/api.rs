//! The functions of the module.

use std::ffi::OsString;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::config::{Mode, Settings};
use crate::python::arming;
use crate::python::hooks;
use crate::python::replay::receipt;
use crate::python::surface::status;
use crate::view::cli::Command;

/// Warm-up is over: from now on a kernel that compiles or autotunes is unexpected.
///
/// In mode "warn" it is logged (logger `jitspan`, once for each kernel and specialization; every time, and with
/// everything known, if `verbose`) and put on the trace of each request that waited. In mode "error" the span is also
/// marked as failed and flushed, and `UnexpectedCompileError` is raised out of the launch.
///
/// Does nothing if it is active already. Raises ValueError for an unknown mode, and for a variable (`JITSPAN_*`,
/// `OTEL_*`) that cannot be used, naming it.
#[pyfunction]
#[pyo3(signature = (*, mode: "Literal['warn', 'error']" = "warn", verbose = false) -> "None")]
pub fn activate(py: Python<'_>, mode: &str, verbose: bool) -> PyResult<()> {
    let known = Mode::from_word(mode);
    let mode = known.ok_or_else(|| PyValueError::new_err(format!("Unsupported JIT monitor mode: {mode}")))?;
    arming::arm(py, &Settings { mode, verbose }).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Whether `activate()` has been called, and `deactivate()` not since.
#[pyfunction]
pub fn is_active() -> bool {
    arming::is_armed()
}

/// Puts back what was found in each hooked place; where somebody has chained onto us since, we fall silent.
#[pyfunction]
pub fn deactivate(py: Python<'_>) {
    hooks::remove(py);
    if let Some(monitor) = crate::monitor() {
        monitor.arm(false);
    }
}

/// Waits until everything recorded so far has been sent, at most `timeout` seconds (default:
/// `JITSPAN_FLUSH_TIMEOUT`, 2). Returns whether it was. Other threads run meanwhile; it may be called from a signal
/// handler.
#[pyfunction]
#[pyo3(signature = (timeout: "float | None" = None) -> "bool")]
pub fn flush(py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
    let Some(monitor) = crate::monitor() else { return Ok(true) };
    let timeout = match timeout {
        None => monitor.config().flush_timeout,
        Some(seconds) => Duration::try_from_secs_f64(seconds)
            .map_err(|_| PyValueError::new_err(format!("flush timeout: expected seconds, got {seconds}")))?,
    };
    Ok(py.detach(|| monitor.flush(timeout)))
}

/// What jitspan did in this process: counters by name, and the last error of the exporter, if there was one.
///
/// `spans.recorded` = `spans.exported` + all `spans.dropped.*` + `spans.queued`, and so for `logs.*`.
#[pyfunction]
#[pyo3(signature = () -> "dict[str, int | str | None]")]
pub fn stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let to = PyDict::new(py);
    let Some(monitor) = crate::monitor() else { return Ok(to) };
    for (name, count) in monitor.stats().snapshot() {
        to.set_item(name, count)?;
    }
    for (name, count) in receipt::numbers() {
        to.set_item(name, count)?;
    }
    to.set_item("spans.queued", monitor.queued())?;
    to.set_item("logs.queued", monitor.queued_logs())?;
    to.set_item("export.last_error", monitor.stats().export_error())?;
    Ok(to)
}

/// The command line program `jitspan`. `arguments` are those of the command line, program name first (default:
/// `sys.argv`). Returns its exit status: 0, 1 when the command failed, 2 when it was called wrongly.
#[pyfunction]
#[pyo3(signature = (arguments: "Sequence[str] | None" = None) -> "int")]
pub fn main(py: Python<'_>, arguments: Option<Vec<OsString>>) -> PyResult<u8> {
    let arguments = match arguments {
        Some(arguments) => arguments,
        None => py.import("sys")?.getattr("argv")?.extract()?,
    };
    match crate::view::cli::parse(arguments) {
        Ok(Command::View(arguments)) => Ok(py.detach(|| crate::view::view(arguments))),
        Ok(Command::Doctor(arguments)) => status::doctor(py, arguments.json),
        Ok(Command::Run(arguments)) => Ok(crate::python::surface::run::run(arguments)),
        Ok(Command::Report(arguments)) => Ok(py.detach(|| crate::report::cli::run(&arguments))),
        Ok(Command::Manifest(arguments)) => Ok(py.detach(|| crate::manifest::cli::run(&arguments))),
        Ok(Command::Warm(arguments)) => crate::python::replay::warm(py, &arguments),
        Err(exit_code) => Ok(exit_code),
    }
}
