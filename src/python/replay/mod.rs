//! The replay of a manifest: what hurt once is compiled before the next start takes a request. [`plan`] says what,
//! [`find`] where, [`decode`] and [`mock`] make the arguments, `replay.py` compiles, [`receipt`] says what came of it.

mod decode;
mod find;
mod mock;
mod plan;
pub mod receipt;
mod unsupported;

use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyTuple};

use crate::cli::warm::WarmArguments;
use crate::config::{Config, Settings};
use crate::python::arming;
use crate::python::environment;
use crate::python::host::boundary;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::get_text;
use crate::python::host::text::{self, Text};
use plan::Plan;

static TEXT: Text = Text::new(include_str!("replay.py"));
/// What stands in the module's place until a replay is asked for.
static DOOR: Text = Text::new(include_str!("door.py"));

/// Where faults of a replay are counted.
const PLACE: &str = "preload";

/// Puts a function of Python text in the place of the one that carries its documentation. Called when the module is
/// imported.
///
/// # Errors
/// Python's, for a text that is wrong.
pub fn prepare(py: Python<'_>, module: &Bound<'_, PyModule>) -> PyResult<()> {
    DOOR.compile(py, &text::natives(py, [wrap_pyfunction!(replay_text, py)?])?)?;
    // Made here, and not with the first replay.
    let _ = (py.get_type::<Plan>(), py.get_type::<mock::MockPointer>(), py.get_type::<mock::MockType>());
    let function = DOOR.get(py, "preload")?;
    function.setattr("__doc__", get_text(&module.getattr("preload")?, "__doc__"))?;
    module.setattr("preload", function)
}

/// A function of the text, which is compiled when it is first asked for: most processes replay nothing, and it is a third
/// of all text that we have.
#[pyfunction]
fn replay_text<'py>(py: Python<'py>, function: &str) -> PyResult<Bound<'py, PyAny>> {
    if !TEXT.is_compiled(py) {
        let globals = text::natives(py, [wrap_pyfunction!(begin, py)?, wrap_pyfunction!(receipt::used, py)?])?;
        globals.set_item("perform", boundary::TEXT.get(py, "perform")?)?;
        TEXT.compile(py, &globals)?;
    }
    TEXT.get(py, function)
}

/// Compiles, before requests come, what a manifest says compiled late: by Triton's own launch path, with arguments of the
/// same classes, into memory and onto the device.
///
/// `path` is a manifest's folder or file (default: `JITSPAN_MANIFEST`). Call it when the server's modules are imported and
/// its device is chosen, before `activate()`. `timeout` bounds it, in seconds (default: `JITSPAN_PRELOAD_TIMEOUT`, 300); a
/// compile that has begun by then goes on in a thread of its own. `threads` compile at a time (default: up to 8; one before
/// Triton 3.6, whose compiler keeps the interpreter).
///
/// Imports nothing and runs no code of the manifest's. Never fails: what became of each line is logged, and returned as
/// counts: `total` specializations, of which `warm` (of these `compiled` now, `loaded` from disk), `gone` (no such kernel in
/// this process), `failed`, `unsupported`, `late` (no time); `changed` (warm, from another source than then), `malformed`
/// and `dropped` lines; `tunings`, of which `tunings.warm` restored; `seconds`, and up to 20 `problems` in words. Raises
/// ValueError for a timeout or a number of threads that is none.
#[pyfunction]
#[pyo3(signature = (path: "str | os.PathLike[str] | None" = None, *, timeout: "float | None" = None, threads: "int | None" = None) -> "dict[str, Any]")]
pub fn preload(path: Option<PathBuf>, timeout: Option<f64>, threads: Option<usize>) -> PyResult<Py<PyAny>> {
    // The module has the text's function under this name: see `finish`. This one is for the stub.
    let _ = (path, timeout, threads);
    Err(PyRuntimeError::new_err("jitspan was not initialized"))
}

/// Replays for an engine that is about to take requests, and goes on with `then`. Where there is nothing to replay, that is
/// at once; else both are left to be done when the native has returned, because Triton's code runs in a replay.
///
/// # Errors
/// Python's, when there is no memory.
pub fn before_requests(py: Python<'_>, then: impl Fn(Python<'_>) + Send + Sync + 'static) -> PyResult<()> {
    let wanted = Config::resolve(&Settings::default(), &environment::variable)
        .is_ok_and(|config| config.preload && config.manifest.is_some());
    if !wanted {
        then(py);
        return Ok(());
    }
    let then = PyCFunction::new_closure(py, None, None, move |arguments, _| {
        let py = arguments.py();
        boundary::native(
            py,
            PLACE,
            || (),
            || {
                then(py);
                Ok(())
            },
        )
    })?;
    boundary::leave(&DOOR.get(py, "preload")?, PyTuple::empty(py));
    boundary::leave(then.as_any(), PyTuple::empty(py));
    Ok(())
}

/// `jitspan warm`: fills Triton's cache on disk without a GPU. Returns the exit status: 0 if all is warm.
///
/// # Errors
/// A module that cannot be imported.
pub fn warm(py: Python<'_>, arguments: &WarmArguments) -> PyResult<u8> {
    let mut parts = arguments.target.split(':');
    let (backend, arch) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let lanes = parts.next().map_or(Ok(if backend == "hip" { 64 } else { 32 }), str::parse::<u32>);
    let (false, false, Ok(lanes), None) = (backend.is_empty(), arch.is_empty(), lanes, parts.next()) else {
        py.import("builtins")?.call_method1("print", ("jitspan warm: --target: expected cuda:90 or hip:gfx942",))?;
        return Ok(2);
    };
    let begin = PyCFunction::new_closure(py, None, None, {
        // Once the modules are there.
        let arguments = arguments.clone();
        move |given, _| {
            let path = Some(arguments.path.clone());
            self::begin(given.py(), path, Some(arguments.timeout), arguments.threads, false)
        }
    })?;
    let target = (backend, arch, lanes);
    let counts = replay_text(py, "warm")?.call1((begin, arguments.import.clone(), target))?;
    let missing: u64 = ["gone", "failed", "late", "malformed"]
        .iter()
        .filter_map(|name| counts.get_item(name).or_none()?.extract::<u64>().or_none())
        .sum();
    let total: u64 = counts.get_item("total")?.extract()?;
    Ok(u8::from(missing > 0 || total == 0))
}

#[pyfunction]
fn begin(
    py: Python<'_>,
    path: Option<PathBuf>,
    timeout: Option<f64>,
    threads: Option<usize>,
    load: bool,
) -> PyResult<Plan> {
    boundary::native(py, PLACE, || Plan::off("the interpreter ends"), || plan(py, path, timeout, threads, load))
}

fn plan(
    py: Python<'_>,
    path: Option<PathBuf>,
    timeout: Option<f64>,
    threads: Option<usize>,
    load: bool,
) -> PyResult<Plan> {
    if threads == Some(0) {
        return Err(PyValueError::new_err("preload threads: expected a number above 0, got 0"));
    }
    let seconds = |seconds: f64| {
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| PyValueError::new_err(format!("preload timeout: expected seconds, got {seconds}")))
    };
    let timeout = timeout.map(seconds).transpose()?;
    let config = match Config::resolve(&Settings::default(), &environment::variable) {
        Ok(config) => config,
        // `activate()` says it, and stops.
        Err(error) => return Ok(Plan::off(&format!("preload: nothing was done: {error}"))),
    };
    // The hooks tell a compile from a load.
    match arming::prepare(py) {
        Ok(true) => {}
        Ok(false) => return Ok(Plan::off("switched off")),
        Err(error) => return Ok(Plan::off(&error.to_string())),
    }
    let path = path.or_else(|| config.manifest.clone());
    Ok(Plan::new(py, path, timeout.unwrap_or(config.preload_timeout), threads, load))
}

/// Whether its class is Triton's.
fn is_of_triton(any: &Bound<'_, PyAny>) -> bool {
    crate::python::hooks::triton::package::has_class(&any.get_type())
}
