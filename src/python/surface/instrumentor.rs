//! For programs that know nothing of us: `opentelemetry-instrument`, and `jitspan run`. Both put the hooks in place at
//! the start of Python, and `JITSPAN_ARM` says when warm-up is over.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::config::Settings;
use crate::python::arming;
use crate::python::host::guard::guard;
use crate::python::host::report;

/// When to arm (`JITSPAN_ARM`).
#[derive(Debug, Clone, PartialEq)]
enum When {
    /// At once.
    Now,
    /// After so many seconds.
    After(f64),
    /// Whoever knows says so: `activate()`, an engine, a readiness path.
    Manual,
}

/// A year, s. `threading.Timer` takes some 292 of them and then fails in its own thread.
const LATEST: f64 = 31_536_000.0;

fn when(said: Option<&str>) -> Result<When, String> {
    let wrong =
        |said: &str| format!("JITSPAN_ARM={said:?}: expected now, after=<seconds> (at most {LATEST}) or manual");
    match said.map(str::trim) {
        None | Some("" | "manual") => Ok(When::Manual),
        Some("now") => Ok(When::Now),
        Some(said) => {
            let seconds = said.strip_prefix("after=").and_then(|seconds| seconds.parse::<f64>().ok());
            let seconds = seconds.filter(|seconds| (0.0..=LATEST).contains(seconds));
            seconds.map(When::After).ok_or_else(|| wrong(said))
        }
    }
}

/// Puts the hooks in place, and arms as `JITSPAN_ARM` says. Never raises: a program that asked for nothing must start.
#[pyfunction]
pub fn _start(py: Python<'_>) {
    guard(py, "start", || {
        let when = match when(std::env::var("JITSPAN_ARM").ok().as_deref()) {
            Ok(when) => when,
            Err(message) => {
                report::log(py, "error", &message);
                When::Manual
            }
        };
        match arming::prepare(py) {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(error) => {
                report::log(py, "error", &format!("jitspan stays switched off: {error}"));
                return Ok(());
            }
        }
        match when {
            When::Manual => {}
            When::Now => _arm(py),
            When::After(seconds) => {
                let timer = py.import("threading")?.getattr("Timer")?;
                let timer = timer.call1((seconds, wrap_pyfunction!(_arm, py)?))?;
                timer.setattr("daemon", true)?;
                timer.call_method0("start")?;
            }
        }
        Ok(())
    });
}

#[pyfunction]
fn _arm(py: Python<'_>) {
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
    fn instrument(&self, py: Python<'_>, options: Option<&Bound<'_, PyDict>>) {
        let _ = options;
        _start(py);
    }

    /// As `deactivate()`.
    #[pyo3(signature = (**options))]
    fn uninstrument(&self, py: Python<'_>, options: Option<&Bound<'_, PyDict>>) {
        let _ = options;
        crate::python::surface::api::deactivate(py);
    }

    /// None: what is not installed is not watched.
    #[pyo3(signature = () -> "list[str]")]
    fn instrumentation_dependencies<'py>(&self, py: Python<'py>) -> Bound<'py, PyList> {
        PyList::empty(py)
    }

    /// Whether `activate()` has been called.
    #[getter]
    fn is_instrumented_by_opentelemetry(&self) -> bool {
        crate::python::hooks::are_active()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_to_arm_is_now_or_after_some_seconds_or_left_to_others() {
        assert_eq!(when(None), Ok(When::Manual));
        assert_eq!(when(Some("")), Ok(When::Manual));
        assert_eq!(when(Some(" now ")), Ok(When::Now));
        assert_eq!(when(Some("after=2.5")), Ok(When::After(2.5)));
        for wrong in ["after", "after=", "after=-1", "after=inf", "after=nan", "after=1e10", "later"] {
            assert!(when(Some(wrong)).is_err_and(|message| message.contains(wrong)), "{wrong}");
        }
    }
}
