//! The functions of the module.

use std::ffi::OsString;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::cli::{self, Command};
use crate::config::{Mode, Settings};
use crate::export::reach::Moment;
use crate::installed;
use crate::python::arming;
use crate::python::hooks;
use crate::python::host::boundary;
use crate::python::host::boundary::OrNone;
use crate::python::host::gate;
use crate::python::host::report;
use crate::python::replay;
use crate::python::surface::doctor;
use crate::stats::Stats;

/// Warm-up is over: from now on a kernel that compiles or autotunes is unexpected.
///
/// In mode "warn" it is logged (logger `jitspan`, once for each kernel and specialization; every time, and with
/// everything known, if `verbose`) and put on the trace of each request that waited. In mode "error" the span is also
/// marked as failed and flushed, and `UnexpectedCompileError` is raised out of the launch.
///
/// Does nothing if it is active already; a warning says so if the arguments differ from those it is active with.
/// Raises ValueError for an unknown mode, and for a variable (`JITSPAN_*`, `OTEL_*`) that cannot be used, naming it.
#[pyfunction]
#[pyo3(signature = (*, mode: "Literal['warn', 'error']" = "warn", verbose = false) -> "None")]
pub fn activate(py: Python<'_>, mode: &str, verbose: bool) -> PyResult<()> {
    let known = Mode::from_word(mode);
    let mode = known.ok_or_else(|| PyValueError::new_err(format!("Unsupported JIT monitor mode: {mode}")))?;
    boundary::native(
        py,
        "activate",
        || (),
        || arming::activate(py, &Settings { mode, verbose }).map_err(|error| PyValueError::new_err(error.to_string())),
    )
}

/// Whether `activate()` has been called, and `deactivate()` not since.
#[pyfunction]
pub fn is_active() -> bool {
    arming::is_armed()
}

/// Puts back what was found in each hooked place; where somebody has chained onto us since, we fall silent.
#[pyfunction]
pub fn deactivate(py: Python<'_>) -> PyResult<()> {
    boundary::native(
        py,
        "deactivate",
        || (),
        || {
            hooks::remove(py);
            if let Some(monitor) = crate::monitor() {
                monitor.disarm();
                monitor.board().close();
            }
            Ok(())
        },
    )
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
    boundary::native(
        py,
        "flush",
        || true,
        || {
            let flushed = gate::outside(py, || crate::flush(timeout));
            report::collectors(py, Moment::Running);
            Ok(flushed)
        },
    )
}

/// What jitspan did in this process: counters by name, each there from the start, over all activations; and
/// `export.last_error`, the exporter's last error as text, None until there is one.
///
/// `spans.recorded` = `spans.exported` + all `spans.dropped.*` + `spans.queued`, and so for `logs.*`.
#[pyfunction]
#[pyo3(signature = () -> "dict[str, int | str | None]")]
pub fn stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let to = PyDict::new(py);
    // Before there is a monitor nothing has been counted, and each name is there as 0.
    let none = Stats::default();
    let stats = crate::monitor().map_or(&none, |monitor| monitor.stats());
    for (name, count) in stats.snapshot() {
        to.set_item(name, count)?;
    }
    for (name, count) in replay::receipt::numbers() {
        to.set_item(name, count)?;
    }
    let (spans, logs) = installed::queued();
    to.set_item("spans.queued", spans)?;
    to.set_item("logs.queued", logs)?;
    to.set_item("export.last_error", stats.export_error())?;
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
    let command = match cli::parse(arguments) {
        Ok(command) => command,
        Err(exit_status) => return Ok(exit_status),
    };
    match command {
        Command::Doctor(arguments) if arguments.pid.is_none() => doctor::doctor(py, &arguments),
        Command::Run(arguments) => Ok(crate::python::surface::run::run(arguments)),
        Command::Warm(arguments) => replay::warm(py, &arguments),
        // What is left needs no Python.
        command => without_interrupts(py, || py.detach(|| cli::run(command).unwrap_or(1))),
    }
}

/// Runs what handles SIGINT itself. Python's handler would be called as well, and raise KeyboardInterrupt at the end of
/// a program that has ended in order.
fn without_interrupts<T>(py: Python<'_>, body: impl FnOnce() -> T) -> PyResult<T> {
    let signal = py.import("signal")?;
    let number = signal.getattr("SIGINT")?;
    // None: nobody in Python set it. An error: this is not the main thread, where Python handles no signals.
    let before = signal.call_method1("getsignal", (&number,))?;
    let taken = signal.call_method1("signal", (&number, signal.getattr("SIG_DFL")?)).or_none().is_some();
    let done = body();
    if taken && !before.is_none() {
        signal.call_method1("signal", (&number, before))?;
    }
    Ok(done)
}
